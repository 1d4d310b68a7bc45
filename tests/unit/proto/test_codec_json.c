/*
 * The JSON wire, inwards: commands by table, frames of several, what breaks a frame.
 */
#include "unit/proto/wire.h"

#include "proto/codec.h"

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
    assert_int_equal(cmd.connect.subs_count, 0);
    assert_int_equal(cmd.connect.flag, 1);

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

static void connect_names_positions_of_subscriptions(void **state)
{
    (void)state;
    struct cmd cmd;
    assert_int_equal(
        decode("{\"id\":1,\"connect\":{\"subs\":{\"a\":{\"recover\":true,\"offset\":7,\"epoch\":"
               "\"e\",\"token\":\"t\"},\"\\u0062\":{},\"c\":null},\"name\":\"js\"}}",
               &cmd),
        ERR_OK);
    assert_int_equal(cmd.connect.subs_count, 3);
    const struct cmd_connect_sub *subs = cmd.connect.subs;
    assert_bytes(subs[0].channel, "a");
    assert_bytes(subs[0].epoch, "e");
    assert_true(subs[0].recover);
    assert_int_equal(subs[0].offset, 7);
    assert_bytes(subs[1].channel, "b");
    assert_false(subs[1].recover);
    assert_bytes(subs[2].channel, "c");
    assert_int_equal(subs[2].epoch.size, 0);
    assert_bytes(cmd.connect.name, "js");

    assert_int_equal(decode("{\"id\":1,\"connect\":{\"subs\":{\"a\":{}},\"subs\":null}}", &cmd),
                     ERR_OK);
    assert_int_equal(cmd.connect.subs_count, 0);
    assert_int_equal(decode("{\"id\":1,\"connect\":{\"subs\":[]}}", &cmd), ERR_BAD_JSON);
    assert_int_equal(decode("{\"id\":1,\"connect\":{\"subs\":{\"a\":1}}}", &cmd), ERR_BAD_JSON);
}

static void connect_names_so_many_and_no_more(void **state)
{
    (void)state;
    for (uint32_t count = CONNECT_SUBS_MAX - 1; count <= CONNECT_SUBS_MAX + 1; count++) {
        size_t room = 64 + 16 * (size_t)count;
        char *text = malloc(room);
        size_t used = (size_t)snprintf(text, room, "{\"id\":1,\"connect\":{\"subs\":{");
        for (uint32_t i = 0; i < count; i++)
            used += (size_t)snprintf(text + used, room - used, "%s\"c%u\":{}", i > 0 ? "," : "", i);
        snprintf(text + used, room - used, "}}}");
        struct cmd cmd;
        enum err err = decode(text, &cmd);
        assert_int_equal(err, count <= CONNECT_SUBS_MAX ? ERR_OK : ERR_BAD_FRAME);
        if (err == ERR_OK) {
            assert_int_equal(cmd.connect.subs_count, count);
            assert_bytes(cmd.connect.subs[999].channel, "c999");
        }
        free(text);
    }
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_are_read_field_by_field),
        cmocka_unit_test(connect_names_positions_of_subscriptions),
        cmocka_unit_test(connect_names_so_many_and_no_more),
        cmocka_unit_test(every_command_is_known_by_its_name),
        cmocka_unit_test(null_and_absent_are_the_same),
        cmocka_unit_test(first_command_in_the_order_of_the_table_wins),
        cmocka_unit_test(empty_object_is_the_pong),
        cmocka_unit_test(broken_lines_are_refused),
        cmocka_unit_test(frames_hold_several_lines),
        cmocka_unit_test(every_cut_of_a_command_is_refused),
        cmocka_unit_test(flipped_bits_are_survived),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
