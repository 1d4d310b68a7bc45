/*
 * The JSON wire: commands by table, frames of several, what breaks a frame;
 * replies and pushes letter by letter as SDKs expect them, each within its bound.
 */
#include "unit/proto/wire.h"

#include "proto/codec.h"
#include "proto/json.h"

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

static enum err decode(const char *text, struct cmd *cmd)
{
    struct reader frame = reader_of(bytes_of_text(text));
    return codec_of(WIRE_JSON)->next(&frame, true, &arena, cmd);
}

static void commands_are_read_field_by_field(void **state)
{
    (void)state;
    struct cmd cmd;
    assert_int_equal(
        decode("{\"id\":1,\"connect\":{\"token\":\"t\",\"data\":{\"a\": 1},\"name\":\"js\","
               "\"version\":\"5\",\"subs\":{},\"flag\":1}}",
               &cmd),
        ERR_OK);
    assert_int_equal(cmd.kind, CMD_CONNECT);
    assert_int_equal(cmd.id, 1);
    assert_bytes(cmd.connect.token, "t");
    assert_bytes(cmd.connect.data, "{\"a\": 1}");
    assert_bytes(cmd.connect.name, "js");
    assert_bytes(cmd.connect.version, "5");

    assert_int_equal(
        decode("{\"subscribe\":{\"channel\":\"c\",\"token\":\"t\",\"recover\":true,\"epoch\":\"e\","
               "\"offset\":9007199254740991,\"data\":[],\"positioned\":true,\"recoverable\":true,"
               "\"join_leave\":true,\"delta\":\"fossil\",\"tf\":{\"op\":\"and\"},\"flag\":3,"
               "\"type\":1},\"id\":4294967295}",
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

    assert_int_equal(
        decode("{\"id\":3,\"publish\":{\"channel\":\"c\\u0031\",\"data\":\"x\\n\"}}", &cmd),
        ERR_OK);
    assert_int_equal(cmd.kind, CMD_PUBLISH);
    assert_bytes(cmd.publish.channel, "c1");
    assert_bytes(cmd.publish.data, "\"x\\n\"");

    assert_int_equal(
        decode("{\"id\":4,\"history\":{\"channel\":\"c\",\"limit\":-1,\"since\":{\"offset\":5,"
               "\"epoch\":\"e\"},\"reverse\":true}}",
               &cmd),
        ERR_OK);
    assert_int_equal(cmd.kind, CMD_HISTORY);
    assert_int_equal(cmd.history.limit, -1);
    assert_true(cmd.history.has_since && cmd.history.reverse);
    assert_int_equal(cmd.history.since_offset, 5);
    assert_bytes(cmd.history.since_epoch, "e");

    assert_int_equal(decode("{\"id\":5,\"rpc\":{\"method\":\"message.send\",\"data\":null}}", &cmd),
                     ERR_OK);
    assert_int_equal(cmd.kind, CMD_RPC);
    assert_bytes(cmd.rpc.method, "message.send");
    assert_int_equal(cmd.rpc.data.size, 0);
}

static void every_command_is_known_by_its_name(void **state)
{
    (void)state;
    for (enum cmd_kind kind = CMD_PONG + 1; kind < CMD_COUNT; kind++) {
        char text[64];
        struct cmd cmd;
        snprintf(text, sizeof(text), "{\"id\":2,\"%s\":{\"channel\":\"c\",\"x\":[{}]}}",
                 cmd_name(kind));
        assert_int_equal(decode(text, &cmd), ERR_OK);
        assert_int_equal(cmd.kind, kind);
        assert_int_equal(cmd.id, 2);
    }
}

static void null_and_absent_are_the_same(void **state)
{
    (void)state;
    struct cmd cmd;
    assert_int_equal(
        decode("{\"id\":1,\"connect\":null,\"subscribe\":{\"channel\":\"c\",\"token\":null,"
               "\"data\":null,\"tf\":null,\"offset\":null,\"recover\":null,\"type\":null}}",
               &cmd),
        ERR_OK);
    assert_int_equal(cmd.kind, CMD_SUBSCRIBE);
    assert_int_equal(cmd.subscribe.token.size + cmd.subscribe.data.size, 0);
    assert_false(cmd.subscribe.has_filter);
    assert_int_equal(decode("{\"id\":4,\"history\":{\"channel\":\"c\",\"since\":null}}", &cmd),
                     ERR_OK);
    assert_false(cmd.history.has_since);
    assert_int_equal(decode("{\"id\":null}", &cmd), ERR_OK);
    assert_int_equal(cmd.kind, CMD_PONG);
}

static void first_command_in_the_order_of_the_table_wins(void **state)
{
    (void)state;
    struct cmd cmd;
    assert_int_equal(decode("{\"id\":1,\"send\":{\"data\":1},\"publish\":{\"channel\":\"p\"},"
                            "\"connect\":{\"token\":\"t\"},"
                            "\"subscribe\":{\"channel\":7}}",
                            &cmd),
                     ERR_OK);
    assert_int_equal(cmd.kind, CMD_CONNECT);
    assert_bytes(cmd.connect.token, "t");
    assert_int_equal(
        decode("{\"rpc\":{\"method\":\"a\"},\"rpc\":{\"data\":1},\"id\":1,\"id\":2}", &cmd),
        ERR_OK);
    assert_int_equal(cmd.kind, CMD_RPC);
    assert_int_equal(cmd.rpc.method.size, 0);
    assert_int_equal(cmd.id, 2);
}

static void empty_object_is_the_pong(void **state)
{
    (void)state;
    struct cmd cmd;
    assert_int_equal(decode("{}", &cmd), ERR_OK);
    assert_int_equal(cmd.kind, CMD_PONG);
    assert_int_equal(decode("{\"unknown\":{\"id\":4}}", &cmd), ERR_OK);
    assert_int_equal(cmd.kind, CMD_PONG);
    assert_int_equal(decode("{\"id\":1}", &cmd), ERR_BAD_REQUEST);
}

static void broken_lines_are_refused(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "",
        "\n",
        " ",
        "x",
        "[]",
        "null",
        "1",
        "{\"id\":1,\"publish\":[]}",
        "{\"id\":1,\"publish\":{}",
        "{\"id\":1,\"publish\":{\"channel\":1}}",
        "{\"id\":-1,\"publish\":{}}",
        "{\"id\":1.5,\"publish\":{}}",
        "{\"id\":\"1\",\"publish\":{}}",
        "{\"id\":4294967296,\"publish\":{}}",
        "{\"id\":1,\"subscribe\":{\"type\":2147483648}}",
        "{\"id\":1,\"rpc\":{}} {}",
        "{\"id\":1,\n\"rpc\":{}}",
        "{\"id\":1,\"history\":{\"since\":[]}}",
        "{\"id\":1,\"rpc\":{\"data\":\"\xFF\"}}",
    };
    for (size_t i = 0; i < array_count(lines); i++) {
        struct cmd cmd;
        if (decode(lines[i], &cmd) == ERR_OK) fail_msg("taken: %s", lines[i]);
    }
    struct cmd cmd;
    assert_int_equal(decode("{\"id\":4294967296,\"rpc\":{}}", &cmd), ERR_BAD_REQUEST);
    assert_int_equal(decode("{\"id\":99999999999999999999,\"rpc\":{}}", &cmd), ERR_BAD_REQUEST);
}

static void frames_hold_several_lines(void **state)
{
    (void)state;
    const struct codec *codec = codec_of(WIRE_JSON);
    struct cmd cmd;
    struct reader frame =
        reader_of(BYTES_LITERAL("{\"id\":1,\"rpc\":{}}\n{}\n{\"id\":2,\"send\":{}}\n"));
    assert_int_equal(codec->next(&frame, true, &arena, &cmd), ERR_OK);
    assert_int_equal(cmd.kind, CMD_RPC);
    assert_int_equal(codec->next(&frame, false, &arena, &cmd), ERR_OK);
    assert_int_equal(cmd.kind, CMD_PONG);
    assert_int_equal(codec->next(&frame, false, &arena, &cmd), ERR_OK);
    assert_int_equal(cmd.kind, CMD_SEND);
    assert_int_equal(codec->next(&frame, false, &arena, &cmd), ERR_END);

    frame = reader_of(BYTES_LITERAL("{}\n\n{}"));
    assert_int_equal(codec->next(&frame, true, &arena, &cmd), ERR_OK);
    assert_int_equal(codec->next(&frame, false, &arena, &cmd), ERR_BAD_REQUEST);
    frame = reader_of(BYTES_LITERAL("{}\n\n"));
    assert_int_equal(codec->next(&frame, true, &arena, &cmd), ERR_OK);
    assert_int_equal(codec->next(&frame, false, &arena, &cmd), ERR_BAD_REQUEST);
}

static void every_cut_of_a_command_is_refused(void **state)
{
    (void)state;
    static const char text[] =
        "{\"id\":1,\"history\":{\"channel\":\"\\u00e9\",\"since\":{\"offset\":1,\"epoch\":\"e\"}}}";
    for (size_t cut = 0; cut < sizeof(text) - 1; cut++) {
        struct cmd cmd;
        uint8_t *copy = tight_copy(text, cut);
        struct reader frame = reader_of(bytes_of(copy, cut));
        if (codec_of(WIRE_JSON)->next(&frame, true, &arena, &cmd) == ERR_OK)
            fail_msg("taken: %zu", cut);
        free(copy);
    }
}

static void flipped_bits_are_survived(void **state)
{
    (void)state;
    static const char text[] =
        "{\"id\":1,\"subscribe\":{\"channel\":\"\\u00e9\",\"offset\":12,\"data\":[{}],"
        "\"recover\":true}}\n{\"rpc\":{\"data\":\"\xC3\xA9\"}}";
    size_t size = sizeof(text) - 1;
    for (size_t bit = 0; bit < 8 * size; bit++) {
        struct cmd cmd;
        uint8_t *copy = tight_copy(text, size);
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        struct reader frame = reader_of(bytes_of(copy, size));
        uint32_t commands = 0;
        while (codec_of(WIRE_JSON)->next(&frame, commands == 0, &arena, &cmd) == ERR_OK) commands++;
        assert_true(commands <= 3);
        free(copy);
    }
}

static void reply_is(const struct reply *reply, const char *expected)
{
    const struct codec *codec = codec_of(WIRE_JSON);
    size_t bound = codec->reply_bound(reply);
    uint8_t *room = malloc(bound);
    struct writer writer = writer_of(room, bound);
    codec->reply(&writer, reply);
    assert_false(writer.failed);
    assert_bytes(writer_bytes(&writer), expected);
    assert_true(json_is_valid(writer_bytes(&writer)));
    free(room);
}

static void push_is(const struct push *push, const char *expected)
{
    const struct codec *codec = codec_of(WIRE_JSON);
    size_t bound = codec->push_bound(push);
    uint8_t *room = malloc(bound);
    struct writer writer = writer_of(room, bound);
    codec->push(&writer, push);
    assert_false(writer.failed);
    assert_bytes(writer_bytes(&writer), expected);
    assert_true(json_is_valid(writer_bytes(&writer)));
    free(room);
}

#define ID                                                                                         \
    {                                                                                              \
        0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,  \
            0x88                                                                                   \
    }
#define UUID "12345678-9abc-def0-1122-334455667788"

static void replies_are_what_sdks_expect(void **state)
{
    (void)state;
    reply_is(
        &(struct reply){
            .id = 1,
            .kind = CMD_CONNECT,
            .connect = {.client = ID, .version = BYTES_LITERAL("0.1"), .ping = 25, .pong = true}},
        "{\"id\":1,\"connect\":{\"client\":\"" UUID
        "\",\"version\":\"0.1\",\"ping\":25,\"pong\":true}}");
    reply_is(&(struct reply){.id = 1,
                             .kind = CMD_CONNECT,
                             .connect = {.client = ID,
                                         .version = BYTES_LITERAL("v"),
                                         .data = BYTES_LITERAL("{}"),
                                         .expires = true,
                                         .ttl = 60}},
             "{\"id\":1,\"connect\":{\"client\":\"" UUID
             "\",\"version\":\"v\",\"expires\":true,\"ttl\":60,\"data\":{}}}");
    reply_is(&(struct reply){.id = 2, .kind = CMD_SUBSCRIBE}, "{\"id\":2,\"subscribe\":{}}");
    reply_is(&(struct reply){.id = 3, .kind = CMD_PUBLISH}, "{\"id\":3,\"publish\":{}}");
    reply_is(&(struct reply){.id = 3, .kind = CMD_UNSUBSCRIBE}, "{\"id\":3,\"unsubscribe\":{}}");
    reply_is(&(struct reply){.id = 4, .kind = CMD_RPC, .rpc = {BYTES_LITERAL("{\"a\":\n1}")}},
             "{\"id\":4,\"rpc\":{\"data\":{\"a\":1}}}");
    reply_is(&(struct reply){.id = 5, .kind = CMD_REFRESH, .refresh = {true, 7}},
             "{\"id\":5,\"refresh\":{\"expires\":true,\"ttl\":7}}");
    reply_is(&(struct reply){.id = 5, .kind = CMD_HISTORY},
             "{\"id\":5,\"history\":{\"publications\":[],\"epoch\":\"\",\"offset\":0}}");
    reply_is(
        &(struct reply){
            .id = 4, .kind = CMD_PRESENCE, .error_code = 103, .error_text = "permission denied"},
        "{\"id\":4,\"error\":{\"code\":103,\"message\":\"permission denied\"}}");
    reply_is(&(struct reply){.id = 4,
                             .kind = CMD_PUBLISH,
                             .error_code = 100,
                             .error_text = "internal server error",
                             .error_temporary = true},
             "{\"id\":4,\"error\":{\"code\":100,\"message\":\"internal server "
             "error\",\"temporary\":true}}");
}

static const struct wire_publication publications[2] = {
    {.offset = 1,
     .data = BYTES_LITERAL("\"a\""),
     .epoch = BYTES_LITERAL("e"),
     .tags = BYTES_LITERAL("{\"k\":\"v\"}")},
    {.offset = 18446744073709551615u,
     .data = BYTES_LITERAL("[1]"),
     .has_info = true,
     .info = {.user = BYTES_LITERAL("u\""),
              .client = ID,
              .conn_info = BYTES_LITERAL("{\"n\":1}"),
              .chan_info = BYTES_LITERAL("2")}},
};

#define PUBLICATIONS                                                                               \
    "[{\"data\":\"a\",\"offset\":1,\"tags\":{\"k\":\"v\"},\"epoch\":\"e\"},"                       \
    "{\"data\":[1],\"info\":{\"user\":\"u\\\"\",\"client\":\"" UUID                                \
    "\",\"conn_info\":{\"n\":1},\"chan_info\":2},\"offset\":18446744073709551615}]"

static void publications_travel_in_replies(void **state)
{
    (void)state;
    reply_is(
        &(struct reply){
            .id = 6, .kind = CMD_HISTORY, .history = {publications, 2, BYTES_LITERAL("e"), 2}},
        "{\"id\":6,\"history\":{\"publications\":" PUBLICATIONS ",\"epoch\":\"e\",\"offset\":2}}");
    reply_is(&(struct reply){.id = 4294967295u,
                             .kind = CMD_SUBSCRIBE,
                             .subscribe = {.recoverable = true,
                                           .positioned = true,
                                           .recovered = true,
                                           .was_recovering = true,
                                           .expires = true,
                                           .ttl = 4294967295u,
                                           .epoch = BYTES_LITERAL("abcdefgh"),
                                           .data = BYTES_LITERAL("{}"),
                                           .offset = 18446744073709551615u,
                                           .publications = publications,
                                           .publications_count = 2}},
             "{\"id\":4294967295,\"subscribe\":{\"expires\":true,\"ttl\":4294967295,"
             "\"recoverable\":true,\"epoch\":\"abcdefgh\",\"publications\":" PUBLICATIONS
             ",\"recovered\":true,\"offset\":18446744073709551615,\"positioned\":true,\"data\":{},"
             "\"was_recovering\":true}}");
}

static void pushes_are_what_sdks_expect(void **state)
{
    (void)state;
    struct push push = {
        .kind = PUSH_PUBLICATION,
        .channel = BYTES_LITERAL("c"),
        .publication = {
            .offset = 7, .data = BYTES_LITERAL("{}"), .has_info = true, .info = {.client = ID}}};
    push_is(&push, "{\"push\":{\"channel\":\"c\",\"pub\":{\"data\":{},\"info\":{\"user\":\"\","
                   "\"client\":\"" UUID "\"},\"offset\":7}}}");
    push.publication = (struct wire_publication){.data = BYTES_LITERAL("1")};
    push_is(&push, "{\"push\":{\"channel\":\"c\",\"pub\":{\"data\":1}}}");
    push = (struct push){.kind = PUSH_JOIN,
                         .channel = BYTES_LITERAL("c"),
                         .info = {.user = BYTES_LITERAL("42"), .client = ID}};
    push_is(&push,
            "{\"push\":{\"channel\":\"c\",\"join\":{\"info\":{\"user\":\"42\",\"client\":\"" UUID
            "\"}}}}");
    push.kind = PUSH_LEAVE;
    push_is(&push,
            "{\"push\":{\"channel\":\"c\",\"leave\":{\"info\":{\"user\":\"42\",\"client\":\"" UUID
            "\"}}}}");
    push = (struct push){.kind = PUSH_UNSUBSCRIBE,
                         .channel = BYTES_LITERAL("c"),
                         .unsubscribe = {2500, "insufficient state"}};
    push_is(&push, "{\"push\":{\"channel\":\"c\",\"unsubscribe\":{\"code\":2500,\"reason\":"
                   "\"insufficient state\"}}}");
    push = (struct push){.kind = PUSH_MESSAGE, .message = {BYTES_LITERAL("[]")}};
    push_is(&push, "{\"push\":{\"message\":{\"data\":[]}}}");
    push = (struct push){.kind = PUSH_DISCONNECT, .disconnect = {3001, "shutdown", true}};
    push_is(
        &push,
        "{\"push\":{\"disconnect\":{\"code\":3001,\"reason\":\"shutdown\",\"reconnect\":true}}}");
    assert_bytes(codec_of(WIRE_JSON)->ping, "{}");
    assert_null(codec_of(WIRE_PROTOBUF));
}

static void client_ids_read_back(void **state)
{
    (void)state;
    const uint8_t id[16] = ID;
    uint8_t back[16];
    char text[37];
    codec_uuid(id, text);
    assert_string_equal(text, UUID);
    assert_int_equal(codec_uuid_parse(bytes_of_text(text), back), ERR_OK);
    assert_memory_equal(id, back, 16);
    assert_int_equal(codec_uuid_parse(BYTES_LITERAL("12345678-9ABC-DEF0-1122-334455667788"), back),
                     ERR_OK);
    assert_memory_equal(id, back, 16);
    for (size_t i = 0; i < 36; i++) {
        char broken[37];
        memcpy(broken, text, sizeof(broken));
        broken[i] = broken[i] == '-' ? '0' : '-';
        assert_int_equal(codec_uuid_parse(bytes_of_text(broken), back), ERR_BAD_REQUEST);
        assert_int_equal(codec_uuid_parse(bytes_of(text, i), back), ERR_BAD_REQUEST);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_are_read_field_by_field),
        cmocka_unit_test(every_command_is_known_by_its_name),
        cmocka_unit_test(null_and_absent_are_the_same),
        cmocka_unit_test(first_command_in_the_order_of_the_table_wins),
        cmocka_unit_test(empty_object_is_the_pong),
        cmocka_unit_test(broken_lines_are_refused),
        cmocka_unit_test(frames_hold_several_lines),
        cmocka_unit_test(every_cut_of_a_command_is_refused),
        cmocka_unit_test(flipped_bits_are_survived),
        cmocka_unit_test(replies_are_what_sdks_expect),
        cmocka_unit_test(publications_travel_in_replies),
        cmocka_unit_test(pushes_are_what_sdks_expect),
        cmocka_unit_test(client_ids_read_back),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
