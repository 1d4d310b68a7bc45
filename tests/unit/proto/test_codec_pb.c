/*
 * The Protobuf wire, inwards: each command from bytes made by hand after the rules
 * of the encoding; what breaks a message, cut at every byte and flipped at every bit;
 * what nests.
 */
#include "unit/proto/wire.h"

#include "proto/codec_pb.h"
#include "unit/proto/pb_bytes.h"

static struct arena arena;

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena, 64 << 10);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static enum err decode(struct bytes bytes, struct cmd *cmd)
{
    uint8_t *copy = tight_copy(bytes.at, bytes.size);
    struct reader frame = reader_of(bytes_of(copy, bytes.size));
    enum err err = codec_of(WIRE_PROTOBUF)->next(&frame, true, &arena, cmd);
    if (err == ERR_OK) assert_int_equal(frame.left, 0);
    /* The views are looked at by the caller: as long as the frame lives. */
    struct bytes kept = arena_copy(&arena, bytes);
    frame = reader_of(kept);
    assert_int_equal(codec_of(WIRE_PROTOBUF)->next(&frame, true, &arena, cmd), err);
    free(copy);
    return err;
}
#define BYTES(text) BYTES_LITERAL(text)

static void connect_is_read_field_by_field(void **state)
{
    (void)state;
    struct cmd cmd;
    /* id 1, connect {token "t", data 00 ff, subs {"a": {recover, epoch "e", offset 300}},
     * name "js", version "5", flag 1} */
    assert_int_equal(decode(BYTES("\x23\x08\x01\x22\x1f"
                                  "\x0a\x01t"
                                  "\x12\x02\x00\xff"
                                  "\x1a\x0d\x0a\x01"
                                  "a\x12\x08\x18\x01\x32\x01"
                                  "e\x38\xac\x02"
                                  "\x22\x02js"
                                  "\x2a\x01"
                                  "5"
                                  "\x38\x01"),
                            &cmd),
                     ERR_OK);
    assert_int_equal(cmd.kind, CMD_CONNECT);
    assert_int_equal(cmd.id, 1);
    assert_bytes(cmd.connect.token, "t");
    assert_int_equal(cmd.connect.data.size, 2);
    assert_bytes(cmd.connect.name, "js");
    assert_bytes(cmd.connect.version, "5");
    assert_int_equal(cmd.connect.flag, 1);
    assert_int_equal(cmd.connect.subs_count, 1);
    assert_bytes(cmd.connect.subs[0].channel, "a");
    assert_bytes(cmd.connect.subs[0].epoch, "e");
    assert_int_equal(cmd.connect.subs[0].offset, 300);
    assert_true(cmd.connect.subs[0].recover);
}

static void subscribe_and_history_are_read_field_by_field(void **state)
{
    (void)state;
    struct cmd cmd;
    /* subscribe {channel "c", token "t", recover, epoch "e", offset 2^53 - 1, data "[]",
     * positioned, recoverable, join_leave, delta "fossil", tf {op "and"}, flag 3, type 1},
     * id 2^32 - 1 behind it */
    assert_int_equal(decode(BYTES("\x39\x2a\x31"
                                  "\x0a\x01"
                                  "c\x12\x01t"
                                  "\x18\x01\x32\x01"
                                  "e"
                                  "\x38\xff\xff\xff\xff\xff\xff\xff\x0f"
                                  "\x42\x02[]"
                                  "\x48\x01\x50\x01\x58\x01"
                                  "\x62\x06"
                                  "fossil"
                                  "\x6a\x05\x0a\x03"
                                  "and"
                                  "\x70\x03\x78\x01"
                                  "\x08\xff\xff\xff\xff\x0f"),
                            &cmd),
                     ERR_OK);
    assert_int_equal(cmd.kind, CMD_SUBSCRIBE);
    assert_true(cmd.id == UINT32_MAX);
    assert_bytes(cmd.subscribe.channel, "c");
    assert_bytes(cmd.subscribe.token, "t");
    assert_bytes(cmd.subscribe.epoch, "e");
    assert_bytes(cmd.subscribe.data, "[]");
    assert_bytes(cmd.subscribe.delta, "fossil");
    assert_true(cmd.subscribe.offset == 9007199254740991u);
    assert_true(cmd.subscribe.recover && cmd.subscribe.positioned && cmd.subscribe.recoverable);
    assert_true(cmd.subscribe.join_leave && cmd.subscribe.has_filter);
    assert_int_equal(cmd.subscribe.flag, 3);
    assert_int_equal(cmd.subscribe.type, 1);

    /* history {channel "c", limit -1, since {offset 5, epoch "e"}, reverse} */
    assert_int_equal(decode(BYTES("\x1b\x08\x04\x52\x17"
                                  "\x0a\x01"
                                  "c\x38\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
                                  "\x42\x05\x08\x05\x12\x01"
                                  "e\x48\x01"),
                            &cmd),
                     ERR_OK);
    assert_int_equal(cmd.kind, CMD_HISTORY);
    assert_int_equal(cmd.history.limit, -1);
    assert_true(cmd.history.has_since && cmd.history.reverse);
    assert_int_equal(cmd.history.since_offset, 5);
    assert_bytes(cmd.history.since_epoch, "e");
}

static void small_commands_are_read(void **state)
{
    (void)state;
    struct cmd cmd;
    assert_int_equal(decode(BYTES("\x0b\x08\x03\x3a\x07\x0a\x01"
                                  "c\x12\x02{}"),
                            &cmd),
                     ERR_OK);
    assert_int_equal(cmd.kind, CMD_PUBLISH);
    assert_bytes(cmd.publish.channel, "c");
    assert_bytes(cmd.publish.data, "{}");
    assert_true(cmd.publish.is_opaque);
    assert_int_equal(decode(BYTES("\x0b\x08\x05\x6a\x07\x0a\x01x\x12\x02ns"), &cmd), ERR_OK);
    assert_int_equal(cmd.kind, CMD_RPC);
    assert_bytes(cmd.rpc.method, "ns");
    assert_bytes(cmd.rpc.data, "x");
    assert_int_equal(decode(BYTES("\x05\x62\x03\x0a\x01x"), &cmd), ERR_OK);
    assert_int_equal(cmd.kind, CMD_SEND);
    assert_int_equal(cmd.id, 0);
    assert_int_equal(decode(BYTES("\x0c\x08\x07\x7a\x08\x0a\x01"
                                  "c\x12\x01t\x18\x02"),
                            &cmd),
                     ERR_OK);
    assert_int_equal(cmd.kind, CMD_SUB_REFRESH);
    assert_bytes(cmd.sub_refresh.token, "t");
    assert_int_equal(cmd.sub_refresh.type, 2);
}

static void every_command_is_known_by_its_number(void **state)
{
    (void)state;
#define CMD(id, name, field) {CMD_##id, field},
    static const struct {
        enum cmd_kind kind;
        uint32_t field;
    } rows[] = {
#include "proto/cmd.def"
    };
#undef CMD
    for (size_t i = 0; i < array_count(rows); i++) {
        /* Its body: an unknown field 99 of each wire type. */
        uint8_t body[64], message[64], out[64];
        struct writer b = writer_of(body, sizeof body), m = writer_of(message, sizeof message),
                      w = writer_of(out, sizeof out);
        pb_number(&b, 99, UINT64_MAX);
        pb_sized(&b, 99, BYTES("x"));
        pb_varint(&b, 99 * 8 + 1);
        write_u64(&b, 7);
        pb_varint(&b, 99 * 8 + 5);
        write_u32(&b, 7);
        pb_sized(&m, rows[i].field, writer_bytes(&b));
        pb_number(&m, 1, 2);
        pb_sized(&m, 1000, BYTES("unknown"));
        pb_delimited(&w, writer_bytes(&m));
        struct cmd cmd;
        assert_int_equal(decode(writer_bytes(&w), &cmd), ERR_OK);
        assert_int_equal(cmd.kind, rows[i].kind);
        assert_int_equal(cmd.id, 2);
    }
}

static void first_command_in_the_order_of_the_table_wins(void **state)
{
    (void)state;
    struct cmd cmd;
    /* send {data "x"}, publish {channel "p"}, connect {token "t"}, subscribe {a wrong
     * type}: what is passed over is not looked into. */
    assert_int_equal(decode(BYTES("\x15\x08\x01\x62\x03\x0a\x01x\x3a\x03\x0a\x01p\x22\x03\x0a\x01t"
                                  "\x2a\x02\x08\x01"),
                            &cmd),
                     ERR_OK);
    assert_int_equal(cmd.kind, CMD_CONNECT);
    assert_bytes(cmd.connect.token, "t");
    assert_int_equal(cmd.connect.data.size, 0);
    /* rpc before send although 12 < 13; rpc in two pieces is one. */
    assert_int_equal(
        decode(BYTES("\x11\x6a\x03\x12\x01m\x62\x03\x0a\x01x\x6a\x03\x0a\x01y\x08\x02"), &cmd),
        ERR_OK);
    assert_int_equal(cmd.kind, CMD_RPC);
    assert_bytes(cmd.rpc.method, "m");
    assert_bytes(cmd.rpc.data, "y");
    assert_int_equal(cmd.id, 2);
}

static void nothing_is_the_pong(void **state)
{
    (void)state;
    struct cmd cmd;
    assert_int_equal(decode(BYTES("\0"), &cmd), ERR_OK);
    assert_int_equal(cmd.kind, CMD_PONG);
    assert_int_equal(decode(BYTES("\x02\x08\0"), &cmd), ERR_OK);
    assert_int_equal(cmd.kind, CMD_PONG);
    assert_int_equal(decode(BYTES("\x02\x08\x01"), &cmd), ERR_BAD_REQUEST);
}

static void broken_messages_are_refused(void **state)
{
    (void)state;
    static const struct bytes messages[] = {
        BYTES(""),
        BYTES("\x01"),                                 /* a length without its message */
        BYTES("\x80"),                                 /* a length cut off */
        BYTES("\x80\x80\x80\x80\x80\x00"),             /* a length longer than five bytes */
        BYTES("\xff\xff\xff\xff\x7f"),                 /* one larger than any frame */
        BYTES("\x01\x08"),                             /* a number cut off */
        BYTES("\x03\x6a\x05x"),                        /* a command longer than its message */
        BYTES("\x02\x00\x00"),                         /* field 0 */
        BYTES("\x02\x0b\x0c"),                         /* a group */
        BYTES("\x02\x6a\x01"),                         /* rpc cut off */
        BYTES("\x02\x68\x01"),                         /* rpc that is a number */
        BYTES("\x04\x6a\x02\x10\x01"),                 /* method that is a number */
        BYTES("\x04\x6a\x02\x08\x01"),                 /* data that is a number */
        BYTES("\x05\x6a\x03\x12\x01\xff"),             /* method that is not UTF-8 */
        BYTES("\x07\x08\xff\xff\xff\xff\x1f\x62\x00"), /* an id above 2^32 - 1 */
        BYTES("\x07\x2a\x05\x6a\x03\x0a\x01\xff"),     /* a filter's text that is not UTF-8 */
        BYTES("\x04\x2a\x02\x68\x01"),                 /* a filter that is a number */
        BYTES("\x07\x22\x05\x1a\x03\x0a\x01\xff"),     /* a channel of subs that is not UTF-8 */
        BYTES("\x04\x22\x02\x18\x01"),                 /* subs that are numbers */
    };
    for (size_t i = 0; i < array_count(messages); i++) {
        struct cmd cmd;
        if (decode(messages[i], &cmd) == ERR_OK) fail_msg("taken: message %zu", i);
    }
}

static void frames_hold_several_messages(void **state)
{
    (void)state;
    const struct codec *codec = codec_of(WIRE_PROTOBUF);
    struct cmd cmd;
    struct reader frame = reader_of(BYTES("\x04\x08\x01\x6a\0\0\x04\x62\0\x08\x02"));
    assert_int_equal(codec->next(&frame, true, &arena, &cmd), ERR_OK);
    assert_int_equal(cmd.kind, CMD_RPC);
    assert_int_equal(codec->next(&frame, false, &arena, &cmd), ERR_OK);
    assert_int_equal(cmd.kind, CMD_PONG);
    assert_int_equal(codec->next(&frame, false, &arena, &cmd), ERR_OK);
    assert_int_equal(cmd.kind, CMD_SEND);
    assert_int_equal(codec->next(&frame, false, &arena, &cmd), ERR_END);
}

static const char whole[] = "\x1b\x08\x04\x52\x17\x0a\x01"
                            "c\x38\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x42\x05\x08\x05\x12\x01"
                            "e\x48\x01";

static void every_cut_of_a_message_is_refused(void **state)
{
    (void)state;
    for (size_t cut = 0; cut < sizeof(whole) - 1; cut++) {
        struct cmd cmd;
        if (decode(bytes_of(whole, cut), &cmd) == ERR_OK) fail_msg("taken: %zu", cut);
    }
}

static void flipped_bits_are_survived(void **state)
{
    (void)state;
    size_t size = sizeof(whole) - 1;
    for (size_t bit = 0; bit < 8 * size; bit++) {
        struct cmd cmd;
        uint8_t *copy = tight_copy(whole, size);
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        struct reader frame = reader_of(bytes_of(copy, size));
        uint32_t commands = 0;
        while (codec_of(WIRE_PROTOBUF)->next(&frame, commands == 0, &arena, &cmd) == ERR_OK)
            commands++;
        assert_true(commands <= size);
        free(copy);
    }
}

/* subscribe {tf {nodes {nodes {… }}}} with `depth` filters, built from the inside. */
static struct bytes nested(uint32_t depth, uint8_t *room, size_t size)
{
    size_t at = size;
    for (uint32_t level = 0; level < depth; level++) {
        uint8_t head[12];
        struct writer w = writer_of(head, sizeof head);
        pb_varint(&w, (level + 1 == depth ? 13 : 6) * 8 + 2);
        pb_varint(&w, size - at);
        at -= w.used;
        memcpy(room + at, head, w.used);
    }
    for (uint32_t level = 0; level < 2; level++) {
        uint8_t head[12];
        struct writer w = writer_of(head, sizeof head);
        if (level == 0) pb_varint(&w, 5 * 8 + 2);
        pb_varint(&w, size - at);
        at -= w.used;
        memcpy(room + at, head, w.used);
    }
    return bytes_of(room + at, size - at);
}

static void filters_nest_so_deep_and_no_deeper(void **state)
{
    (void)state;
    static uint8_t room[80 << 10];
    struct cmd cmd;
    for (uint32_t depth = CODEC_PB_DEPTH_MAX - 1; depth <= CODEC_PB_DEPTH_MAX + 1; depth++) {
        enum err err = decode(nested(depth, room, sizeof room), &cmd);
        assert_int_equal(err, depth <= CODEC_PB_DEPTH_MAX ? ERR_OK : ERR_TOO_DEEP);
        if (err == ERR_OK) assert_true(cmd.subscribe.has_filter);
    }
    struct bytes deep = nested(17000, room, sizeof room);
    assert_true(deep.size <= 65536);
    assert_int_equal(decode(deep, &cmd), ERR_TOO_DEEP);
}

static void connect_names_so_many_and_no_more(void **state)
{
    (void)state;
    static uint8_t subs[CONNECT_SUBS_MAX * 8 + 64], out[sizeof subs + 32],
        command[sizeof subs + 16];
    for (uint32_t count = CONNECT_SUBS_MAX - 1; count <= CONNECT_SUBS_MAX + 1; count++) {
        struct writer s = writer_of(subs, sizeof subs), c = writer_of(command, sizeof command),
                      w = writer_of(out, sizeof out);
        for (uint32_t i = 0; i < count; i++)
            pb_sized(&s, 3,
                     BYTES("\x0a\x01"
                           "c"));
        pb_sized(&c, 4, writer_bytes(&s));
        pb_delimited(&w, writer_bytes(&c));
        struct cmd cmd;
        enum err err = decode(writer_bytes(&w), &cmd);
        assert_int_equal(err, count <= CONNECT_SUBS_MAX ? ERR_OK : ERR_BAD_FRAME);
        if (err == ERR_OK) assert_int_equal(cmd.connect.subs_count, count);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connect_is_read_field_by_field),
        cmocka_unit_test(subscribe_and_history_are_read_field_by_field),
        cmocka_unit_test(small_commands_are_read),
        cmocka_unit_test(every_command_is_known_by_its_number),
        cmocka_unit_test(first_command_in_the_order_of_the_table_wins),
        cmocka_unit_test(nothing_is_the_pong),
        cmocka_unit_test(broken_messages_are_refused),
        cmocka_unit_test(frames_hold_several_messages),
        cmocka_unit_test(every_cut_of_a_message_is_refused),
        cmocka_unit_test(flipped_bits_are_survived),
        cmocka_unit_test(filters_nest_so_deep_and_no_deeper),
        cmocka_unit_test(connect_names_so_many_and_no_more),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
