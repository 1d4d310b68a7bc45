/*
 * The JSON wire, outwards: replies and pushes letter by letter as SDKs expect them,
 * each within its bound; client ids as text.
 */
#include "unit/proto/wire.h"

#include "proto/codec.h"
#include "proto/json.h"

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
     .version = 18446744073709551615u,
     .has_info = true,
     .info = {.user = BYTES_LITERAL("u\""),
              .client = ID,
              .conn_info = BYTES_LITERAL("{\"n\":1}"),
              .chan_info = BYTES_LITERAL("2")}},
};

#define PUBLICATIONS                                                                               \
    "[{\"data\":\"a\",\"offset\":1,\"tags\":{\"k\":\"v\"},\"epoch\":\"e\"},"                       \
    "{\"data\":[1],\"info\":{\"user\":\"u\\\"\",\"client\":\"" UUID                                \
    "\",\"conn_info\":{\"n\":1},\"chan_info\":2},\"offset\":18446744073709551615,"                 \
    "\"version\":18446744073709551615}]"

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

static void connected_tells_its_subscriptions(void **state)
{
    (void)state;
    const struct reply_connect_sub subs[] = {
        {BYTES_LITERAL("a\""),
         {.recoverable = true,
          .positioned = true,
          .epoch = BYTES_LITERAL("e"),
          .offset = 3,
          .recovered = true,
          .was_recovering = true,
          .publications = publications,
          .publications_count = 1}},
        {.channel = BYTES_LITERAL("b")},
    };
    reply_is(&(struct reply){.id = 1,
                             .kind = CMD_CONNECT,
                             .connect = {.client = ID,
                                         .version = BYTES_LITERAL("v"),
                                         .session = BYTES_LITERAL("s"),
                                         .node = BYTES_LITERAL("n"),
                                         .time_ms = 1700000000123,
                                         .subs = subs,
                                         .subs_count = 2}},
             "{\"id\":1,\"connect\":{\"client\":\"" UUID
             "\",\"version\":\"v\",\"subs\":{\"a\\\"\":{\"recoverable\":true,\"epoch\":\"e\","
             "\"publications\":[{\"data\":\"a\",\"offset\":1,\"tags\":{\"k\":\"v\"},\"epoch\":"
             "\"e\"}],\"recovered\":true,\"offset\":3,\"positioned\":true,\"was_recovering\":true},"
             "\"b\":{}},\"session\":\"s\",\"node\":\"n\",\"time\":1700000000123}}");
    reply_is(&(struct reply){.id = 2, .kind = CMD_SUBSCRIBE, .subscribe = {.id = INT64_MAX}},
             "{\"id\":2,\"subscribe\":{\"id\":9223372036854775807}}");
}

static void presence_is_told_also_when_it_is_empty(void **state)
{
    (void)state;
    const struct wire_info infos[] = {
        {.user = BYTES_LITERAL("42"), .client = ID, .chan_info = BYTES_LITERAL("{}")},
        {.client = {1}},
    };
    reply_is(&(struct reply){.id = 1, .kind = CMD_PRESENCE},
             "{\"id\":1,\"presence\":{\"presence\":{}}}");
    reply_is(&(struct reply){.id = 1, .kind = CMD_PRESENCE, .presence = {infos, 2}},
             "{\"id\":1,\"presence\":{\"presence\":{\"" UUID
             "\":{\"user\":\"42\",\"client\":\"" UUID "\",\"chan_info\":{}},"
             "\"01000000-0000-0000-0000-000000000000\":{\"user\":\"\","
             "\"client\":\"01000000-0000-0000-0000-000000000000\"}}}}");
    reply_is(&(struct reply){.id = 1, .kind = CMD_PRESENCE_STATS},
             "{\"id\":1,\"presence_stats\":{\"num_clients\":0,\"num_users\":0}}");
    reply_is(&(struct reply){.id = 1, .kind = CMD_PRESENCE_STATS, .presence_stats = {3, 2}},
             "{\"id\":1,\"presence_stats\":{\"num_clients\":3,\"num_users\":2}}");
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
    push = (struct push){
        .kind = PUSH_SUBSCRIBE,
        .channel = BYTES_LITERAL("c"),
        .subscribe = {true, true, BYTES_LITERAL("e"), BYTES_LITERAL("{}"), UINT64_MAX}};
    push_is(&push,
            "{\"push\":{\"channel\":\"c\",\"subscribe\":{\"recoverable\":true,\"epoch\":\"e\","
            "\"offset\":18446744073709551615,\"positioned\":true,\"data\":{}}}}");
    push = (struct push){.kind = PUSH_REFRESH, .refresh = {true, 60}};
    push_is(&push, "{\"push\":{\"refresh\":{\"expires\":true,\"ttl\":60}}}");
    push = (struct push){.kind = PUSH_JOIN, .id = 5, .info = {.client = ID}};
    push_is(&push,
            "{\"push\":{\"id\":5,\"join\":{\"info\":{\"user\":\"\",\"client\":\"" UUID "\"}}}}");
    push = (struct push){.kind = PUSH_MESSAGE, .message = {BYTES_LITERAL("[]")}};
    push_is(&push, "{\"push\":{\"message\":{\"data\":[]}}}");
    push = (struct push){.kind = PUSH_DISCONNECT, .disconnect = {3001, "shutdown", true}};
    push_is(
        &push,
        "{\"push\":{\"disconnect\":{\"code\":3001,\"reason\":\"shutdown\",\"reconnect\":true}}}");
    assert_bytes(codec_of(WIRE_JSON)->ping, "{}");
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
        cmocka_unit_test(replies_are_what_sdks_expect),
        cmocka_unit_test(publications_travel_in_replies),
        cmocka_unit_test(connected_tells_its_subscriptions),
        cmocka_unit_test(presence_is_told_also_when_it_is_empty),
        cmocka_unit_test(pushes_are_what_sdks_expect),
        cmocka_unit_test(client_ids_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
