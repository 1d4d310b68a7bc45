/*
 * The Protobuf wire, outwards: replies and pushes byte by byte after the numbers of
 * client.proto, each within its bound; lengths at the edges of a varint.
 */
#include "unit/proto/wire.h"

#include "proto/codec_pb.h"
#include "unit/proto/pb_bytes.h"

#define ID                                                                                         \
    {                                                                                              \
        0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,  \
            0x88                                                                                   \
    }
#define UUID    "12345678-9abc-def0-1122-334455667788"
#define TEXT(t) BYTES_LITERAL(t)

/* Rooms of messages that are put together from the inside. */
static uint8_t rooms[12][4096];
static struct writer room(uint32_t at)
{
    return writer_of(rooms[at], sizeof rooms[at]);
}

static void same(struct bytes found, struct bytes expected)
{
    if (bytes_equal(found, expected)) return;
    for (size_t i = 0; i < found.size || i < expected.size; i++)
        print_error("%zu: %02x %02x\n", i, i < found.size ? found.at[i] : 0,
                    i < expected.size ? expected.at[i] : 0);
    fail_msg("%zu bytes found, %zu expected", found.size, expected.size);
}

/* The message in `w` behind its length. */
static struct bytes delimited(const struct writer *w)
{
    static uint8_t out[8192];
    struct writer outer = writer_of(out, sizeof out);
    assert_false(w->failed);
    pb_delimited(&outer, writer_bytes(w));
    return writer_bytes(&outer);
}

static void reply_is(const struct reply *reply, struct bytes expected)
{
    const struct codec *codec = codec_of(WIRE_PROTOBUF);
    size_t bound = codec->reply_bound(reply);
    uint8_t *at = malloc(bound);
    struct writer writer = writer_of(at, bound);
    codec->reply(&writer, reply);
    assert_false(writer.failed);
    same(writer_bytes(&writer), expected);
    free(at);
}

static void push_is(const struct push *push, struct bytes expected)
{
    const struct codec *codec = codec_of(WIRE_PROTOBUF);
    size_t bound = codec->push_bound(push);
    uint8_t *at = malloc(bound);
    struct writer writer = writer_of(at, bound);
    codec->push(&writer, push);
    assert_false(writer.failed);
    same(writer_bytes(&writer), expected);
    free(at);
}

static void empty_results_are_present(void **state)
{
    (void)state;
    reply_is(&(struct reply){.id = 3, .kind = CMD_PUBLISH}, TEXT("\x04\x08\x03\x42\x00"));
    reply_is(&(struct reply){.id = 3, .kind = CMD_UNSUBSCRIBE}, TEXT("\x04\x08\x03\x3a\x00"));
    reply_is(&(struct reply){.id = 3, .kind = CMD_SUBSCRIBE}, TEXT("\x04\x08\x03\x32\x00"));
    reply_is(&(struct reply){.id = 3, .kind = CMD_HISTORY}, TEXT("\x04\x08\x03\x5a\x00"));
    reply_is(&(struct reply){.id = 3, .kind = CMD_PRESENCE}, TEXT("\x04\x08\x03\x4a\x00"));
    reply_is(&(struct reply){.id = 3, .kind = CMD_PRESENCE_STATS}, TEXT("\x04\x08\x03\x52\x00"));
}

static void small_replies_are_what_sdks_expect(void **state)
{
    (void)state;
    reply_is(&(struct reply){.id = 300, .kind = CMD_RPC, .rpc = {TEXT("\x00\xff")}},
             TEXT("\x09\x08\xac\x02\x6a\x04\x0a\x02\x00\xff"));
    reply_is(&(struct reply){.id = 5, .kind = CMD_REFRESH, .refresh = {true, 7}},
             TEXT("\x08\x08\x05\x72\x04\x18\x01\x20\x07"));
    reply_is(&(struct reply){.id = 5, .kind = CMD_SUB_REFRESH, .sub_refresh = {true, 7}},
             TEXT("\x08\x08\x05\x7a\x04\x08\x01\x10\x07"));
    reply_is(&(struct reply){.id = 5, .kind = CMD_PRESENCE_STATS, .presence_stats = {3, 2}},
             TEXT("\x08\x08\x05\x52\x04\x08\x03\x10\x02"));
    reply_is(&(struct reply){.id = 4,
                             .kind = CMD_PUBLISH,
                             .error_code = 100,
                             .error_text = "err",
                             .error_temporary = true},
             TEXT("\x0d\x08\x04\x12\x09\x08\x64\x12\x03"
                  "err\x18\x01"));
    same(codec_of(WIRE_PROTOBUF)->ping, TEXT("\0"));
}

static const struct wire_publication publications[2] = {
    {.offset = 1,
     .data = TEXT("\x01\x02"),
     .epoch = TEXT("e"),
     .tags = TEXT(" {\"k\" : \"v\", \"\\u00e9\\n\":\"\", \"\":\"\\\"\"}")},
    {.offset = UINT64_MAX,
     .data = TEXT("[1]"),
     .version = UINT64_MAX,
     .has_info = true,
     .info = {.user = TEXT("u"), .client = ID, .conn_info = TEXT("{}"), .chan_info = TEXT("2")}},
};

static void put_info(struct writer *w, const struct wire_info *info)
{
    pb_sized(w, 1, info->user);
    pb_sized(w, 2, TEXT(UUID));
    pb_sized(w, 3, info->conn_info);
    pb_sized(w, 4, info->chan_info);
}

/* Both publications as field `field` of `w`; uses rooms 8 to 11. */
static void put_publications(struct writer *w, uint32_t field)
{
    struct writer p = room(8), q = room(9), info = room(10);
    pb_sized(&p, 4, TEXT("\x01\x02"));
    pb_number(&p, 6, 1);
    pb_sized(&p, 7, TEXT("\x0a\x01k\x12\x01v"));
    pb_sized(&p, 7, TEXT("\x0a\x03\xc3\xa9\n"));
    pb_sized(&p, 7, TEXT("\x12\x01\""));
    pb_sized(&p, 14, TEXT("e"));
    pb_sized(&q, 4, TEXT("[1]"));
    put_info(&info, &publications[1].info);
    pb_sized(&q, 5, writer_bytes(&info));
    pb_number(&q, 6, UINT64_MAX);
    pb_number(&q, 16, UINT64_MAX);
    pb_sized(w, field, writer_bytes(&p));
    pb_sized(w, field, writer_bytes(&q));
}

static void put_subscribe(struct writer *w)
{
    pb_number(w, 1, 1);
    pb_number(w, 2, UINT32_MAX);
    pb_number(w, 3, 1);
    pb_sized(w, 6, TEXT("abcdefgh"));
    put_publications(w, 7);
    pb_number(w, 8, 1);
    pb_number(w, 9, UINT64_MAX);
    pb_number(w, 10, 1);
    pb_sized(w, 11, TEXT("{}"));
    pb_number(w, 12, 1);
    pb_number(w, 14, 9);
}
static const struct reply_subscribe subscribed = {
    .recoverable = true,
    .positioned = true,
    .recovered = true,
    .was_recovering = true,
    .expires = true,
    .ttl = UINT32_MAX,
    .epoch = TEXT("abcdefgh"),
    .data = TEXT("{}"),
    .offset = UINT64_MAX,
    .publications = publications,
    .publications_count = 2,
    .id = 9,
};

static void publications_travel_in_replies(void **state)
{
    (void)state;
    struct writer body = room(0), message = room(1);
    put_subscribe(&body);
    pb_number(&message, 1, 6);
    pb_sized(&message, 6, writer_bytes(&body));
    reply_is(&(struct reply){.id = 6, .kind = CMD_SUBSCRIBE, .subscribe = subscribed},
             delimited(&message));

    body = room(0), message = room(1);
    put_publications(&body, 1);
    pb_sized(&body, 2, TEXT("e"));
    pb_number(&body, 3, 2);
    pb_number(&message, 1, 7);
    pb_sized(&message, 11, writer_bytes(&body));
    reply_is(
        &(struct reply){.id = 7, .kind = CMD_HISTORY, .history = {publications, 2, TEXT("e"), 2}},
        delimited(&message));
}

static void connected_tells_everything(void **state)
{
    (void)state;
    const struct reply_connect_sub subs[] = {{TEXT("a"), subscribed}, {.channel = TEXT("b")}};
    struct writer sub = room(0), entry = room(1), body = room(2), message = room(3);
    pb_sized(&body, 1, TEXT(UUID));
    pb_sized(&body, 2, TEXT("0.1"));
    pb_number(&body, 3, 1);
    pb_number(&body, 4, 60);
    pb_sized(&body, 5, TEXT("{}"));
    put_subscribe(&sub);
    pb_sized(&entry, 1, TEXT("a"));
    pb_sized(&entry, 2, writer_bytes(&sub));
    pb_sized(&body, 6, writer_bytes(&entry));
    pb_sized(&body, 6,
             TEXT("\x0a\x01"
                  "b\x12\x00"));
    pb_number(&body, 7, 25);
    pb_number(&body, 8, 1);
    pb_sized(&body, 9, TEXT("s"));
    pb_sized(&body, 10, TEXT("n"));
    pb_number(&body, 11, 1700000000123);
    pb_number(&message, 1, 1);
    pb_sized(&message, 5, writer_bytes(&body));
    reply_is(&(struct reply){.id = 1,
                             .kind = CMD_CONNECT,
                             .connect = {.client = ID,
                                         .version = TEXT("0.1"),
                                         .data = TEXT("{}"),
                                         .session = TEXT("s"),
                                         .node = TEXT("n"),
                                         .expires = true,
                                         .pong = true,
                                         .ttl = 60,
                                         .ping = 25,
                                         .time_ms = 1700000000123,
                                         .subs = subs,
                                         .subs_count = 2}},
             delimited(&message));
}

static void presence_is_a_map(void **state)
{
    (void)state;
    struct writer info = room(0), entry = room(1), body = room(2), message = room(3);
    put_info(&info, &publications[1].info);
    pb_sized(&entry, 1, TEXT(UUID));
    pb_sized(&entry, 2, writer_bytes(&info));
    pb_sized(&body, 1, writer_bytes(&entry));
    pb_sized(&body, 1, writer_bytes(&entry));
    pb_number(&message, 1, 2);
    pb_sized(&message, 9, writer_bytes(&body));
    const struct wire_info infos[] = {publications[1].info, publications[1].info};
    reply_is(&(struct reply){.id = 2, .kind = CMD_PRESENCE, .presence = {infos, 2}},
             delimited(&message));
}

/* Reply{push{channel "c", `field`: `body`}} */
static struct bytes pushed(uint32_t field, struct bytes body)
{
    struct writer envelope = room(6), message = room(7);
    pb_sized(&envelope, 2, TEXT("c"));
    pb_sized(&envelope, field, body);
    pb_sized(&message, 4, writer_bytes(&envelope));
    return delimited(&message);
}

static void pushes_are_what_sdks_expect(void **state)
{
    (void)state;
    struct writer info = room(0), pub = room(1), join = room(2);
    put_info(&info, &publications[1].info);
    pb_sized(&pub, 4, TEXT("[1]"));
    pb_sized(&pub, 5, writer_bytes(&info));
    pb_number(&pub, 6, UINT64_MAX);
    pb_number(&pub, 16, UINT64_MAX);
    struct push push = {
        .kind = PUSH_PUBLICATION, .channel = TEXT("c"), .publication = publications[1]};
    push_is(&push, pushed(4, writer_bytes(&pub)));
    pb_sized(&join, 1, writer_bytes(&info));
    push = (struct push){.kind = PUSH_JOIN, .channel = TEXT("c"), .info = publications[1].info};
    push_is(&push, pushed(5, writer_bytes(&join)));
    push.kind = PUSH_LEAVE;
    push_is(&push, pushed(6, writer_bytes(&join)));
    push = (struct push){
        .kind = PUSH_UNSUBSCRIBE, .channel = TEXT("c"), .unsubscribe = {2500, "insufficient"}};
    push_is(&push, pushed(7, TEXT("\x10\xc4\x13\x1a\x0cinsufficient")));
    push = (struct push){.kind = PUSH_MESSAGE, .channel = TEXT("c"), .message = {TEXT("\xff")}};
    push_is(&push, pushed(8, TEXT("\x0a\x01\xff")));
    push = (struct push){.kind = PUSH_SUBSCRIBE,
                         .channel = TEXT("c"),
                         .subscribe = {true, true, TEXT("e"), TEXT("d"), 5}};
    push_is(&push, pushed(9, TEXT("\x08\x01\x22\x01"
                                  "e\x28\x05\x30\x01\x3a\x01"
                                  "d")));
    push = (struct push){
        .kind = PUSH_DISCONNECT, .channel = TEXT("c"), .disconnect = {3001, "shutdown", true}};
    push_is(&push, pushed(11, TEXT("\x08\xb9\x17\x12\x08shutdown\x18\x01")));
    push = (struct push){.kind = PUSH_REFRESH, .channel = TEXT("c"), .refresh = {true, 60}};
    push_is(&push, pushed(12, TEXT("\x08\x01\x10\x3c")));
    push = (struct push){.kind = PUSH_REFRESH, .id = 5};
    push_is(&push, TEXT("\x06\x22\x04\x08\x05\x62\x00"));
}

/* Around the sizes at which a length takes one byte more, at each level. */
static void lengths_grow_where_a_varint_does(void **state)
{
    (void)state;
    static uint8_t data[20000], out[20100], middle[20100], inner[20100];
    memset(data, 'x', sizeof data);
    for (size_t size = 1; size<sizeof data; size += size> 300 && size < 16000 ? 997 : 1) {
        struct writer p = writer_of(inner, sizeof inner), e = writer_of(middle, sizeof middle),
                      w = writer_of(out, sizeof out);
        pb_sized(&p, 4, bytes_of(data, size));
        pb_sized(&e, 4, writer_bytes(&p));
        p = writer_of(inner, sizeof inner);
        pb_sized(&p, 4, writer_bytes(&e));
        pb_delimited(&w, writer_bytes(&p));
        assert_false(w.failed);
        struct push push = {.kind = PUSH_PUBLICATION,
                            .publication = {.data = bytes_of(data, size)}};
        push_is(&push, writer_bytes(&w));
        if (size > 16600) break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_results_are_present),
        cmocka_unit_test(small_replies_are_what_sdks_expect),
        cmocka_unit_test(publications_travel_in_replies),
        cmocka_unit_test(connected_tells_everything),
        cmocka_unit_test(presence_is_a_map),
        cmocka_unit_test(pushes_are_what_sdks_expect),
        cmocka_unit_test(lengths_grow_where_a_varint_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
