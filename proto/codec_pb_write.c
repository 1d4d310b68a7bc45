/*
 * codec_pb_write: replies and pushes → one length-prefixed message.
 *
 * One pass.  A message inside a message needs its length in front, which is known
 * at its end: `gap_open` leaves as many bytes as the length of its bound would take,
 * `gap_close` writes the length and moves the message down when that took fewer.  The
 * bounds are close enough for that to be rare and short; measuring first would walk
 * each level once more, and padded varints would be longer on the wire.
 */
#include "core/arena.h"
#include "core/check.h"
#include "proto/codec_pb.h"
#include "proto/json.h"

/* A key of one byte, or two for the one field above 15, and a varint. */
#define NUMBER_BOUND    12
#define HEAD_BOUND      6 /* key and length, which has at most five bytes */
#define FIELD_BOUND(in) (HEAD_BOUND + (in).size)
#define UUID_SIZE       36

enum { VARINT = 0, SIZED = 2 }; /* wire types */

static uint32_t varint_size(uint64_t value)
{
    uint32_t size = 1;
    while (value >= 0x80) {
        value >>= 7;
        size++;
    }
    return size;
}

static void varint(struct writer *writer, uint64_t value)
{
    uint8_t bytes[10];
    uint32_t size = 0;
    while (value >= 0x80) {
        bytes[size++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    bytes[size++] = (uint8_t)value;
    write_bytes(writer, bytes_of(bytes, size));
}

static void key(struct writer *writer, uint32_t field, uint32_t type)
{
    check(field > 0);
    varint(writer, field << 3 | type);
}

static void number(struct writer *writer, uint32_t field, uint64_t value)
{
    if (value == 0) return;
    key(writer, field, VARINT);
    varint(writer, value);
}

/* Texts, and bytes as they are. */
static void sized(struct writer *writer, uint32_t field, struct bytes value)
{
    if (value.size == 0) return;
    key(writer, field, SIZED);
    varint(writer, value.size);
    write_bytes(writer, value);
}

static void uuid(struct writer *writer, uint32_t field, const uint8_t id[16])
{
    char text[UUID_SIZE + 1];
    codec_uuid(id, text);
    sized(writer, field, bytes_of(text, UUID_SIZE));
}

/* Room for a length. */
struct gap {
    size_t at;
    uint32_t size;
};

static struct gap gap_open_at(struct writer *writer, size_t bound)
{
    static const uint8_t zeros[10] = {0};
    struct gap gap = {writer->used, varint_size(bound)};
    check(bound <= UINT32_MAX);
    write_bytes(writer, bytes_of(zeros, gap.size));
    return gap;
}

static struct gap gap_open(struct writer *writer, uint32_t field, size_t bound)
{
    key(writer, field, SIZED);
    return gap_open_at(writer, bound);
}

static void gap_close(struct writer *writer, struct gap gap)
{
    if (writer->failed) return;
    size_t begin = gap.at + gap.size, size = writer->used - begin;
    uint32_t length = varint_size(size);
    check(length <= gap.size);
    if (length < gap.size) {
        uint8_t *at = writer->start + gap.at;
        memmove(at + length, at + gap.size, size);
    }
    struct writer head = writer_of(writer->start + gap.at, length);
    varint(&head, size);
    check(!head.failed && head.used == length);
    writer->used = gap.at + length + size;
}

static size_t info_bound(const struct wire_info *info)
{
    return FIELD_BOUND(info->user) + HEAD_BOUND + UUID_SIZE + FIELD_BOUND(info->conn_info) +
           FIELD_BOUND(info->chan_info);
}

static void write_info_body(struct writer *writer, const struct wire_info *info)
{
    sized(writer, 1, info->user);
    uuid(writer, 2, info->client);
    sized(writer, 3, info->conn_info);
    sized(writer, 4, info->chan_info);
}

static void write_info(struct writer *writer, uint32_t field, const struct wire_info *info)
{
    struct gap gap = gap_open(writer, field, info_bound(info));
    write_info_body(writer, info);
    gap_close(writer, gap);
}

/* `"":"",` is the shortest member, six bytes, and three heads are 18. */
static size_t tags_bound(struct bytes tags)
{
    return 4 * tags.size;
}

/* Tags are kept as the JSON that they came in; here they are map<string, string>. */
static void write_tags(struct writer *writer, uint32_t field, struct bytes tags)
{
    struct arena scratch; /* takes memory for names with escapes only */
    struct json json;
    struct bytes name, value;
    arena_init(&scratch, 0);
    json_open(&json, tags);
    if (json_enter_object(&json))
        while (json_key_text(&json, &scratch, &name)) {
            json_text(&json, &scratch, &value);
            struct gap gap = gap_open(writer, field, FIELD_BOUND(name) + FIELD_BOUND(value));
            sized(writer, 1, name);
            sized(writer, 2, value);
            gap_close(writer, gap);
        }
    /* They were read when they were taken in. */
    check(json_close(&json) == ERR_OK);
    arena_fini(&scratch);
}

static size_t publication_bound(const struct wire_publication *publication)
{
    size_t size = FIELD_BOUND(publication->data) + 2 * NUMBER_BOUND +
                  tags_bound(publication->tags) + FIELD_BOUND(publication->epoch);
    return size + (publication->has_info ? HEAD_BOUND + info_bound(&publication->info) : 0);
}

static void write_publication(struct writer *writer, uint32_t field,
                              const struct wire_publication *publication)
{
    /* The epoch travels with the first offset only, as on the JSON wire. */
    check(publication->epoch.size == 0 || publication->offset == 1);
    struct gap gap = gap_open(writer, field, publication_bound(publication));
    sized(writer, 4, publication->data);
    if (publication->has_info) write_info(writer, 5, &publication->info);
    number(writer, 6, publication->offset);
    if (publication->tags.size > 0) write_tags(writer, 7, publication->tags);
    sized(writer, 14, publication->epoch);
    number(writer, 16, publication->version);
    gap_close(writer, gap);
}

static size_t publications_bound(const struct wire_publication *publications, uint32_t count)
{
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++) size += HEAD_BOUND + publication_bound(&publications[i]);
    return size;
}

static size_t subscribe_bound(const struct reply_subscribe *subscribe)
{
    return 8 * NUMBER_BOUND + FIELD_BOUND(subscribe->epoch) + FIELD_BOUND(subscribe->data) +
           publications_bound(subscribe->publications, subscribe->publications_count);
}

static void write_subscribe(struct writer *writer, const struct reply_subscribe *subscribe)
{
    check(subscribe->id >= 0);
    number(writer, 1, subscribe->expires);
    number(writer, 2, subscribe->ttl);
    number(writer, 3, subscribe->recoverable);
    sized(writer, 6, subscribe->epoch);
    for (uint32_t i = 0; i < subscribe->publications_count; i++)
        write_publication(writer, 7, &subscribe->publications[i]);
    number(writer, 8, subscribe->recovered);
    number(writer, 9, subscribe->offset);
    number(writer, 10, subscribe->positioned);
    sized(writer, 11, subscribe->data);
    number(writer, 12, subscribe->was_recovering);
    number(writer, 14, (uint64_t)subscribe->id);
}

static size_t connect_sub_bound(const struct reply_connect_sub *sub)
{
    return FIELD_BOUND(sub->channel) + HEAD_BOUND + subscribe_bound(&sub->subscribe);
}

static size_t connect_bound(const struct reply *reply)
{
    size_t size = HEAD_BOUND + UUID_SIZE + 5 * NUMBER_BOUND + FIELD_BOUND(reply->connect.version) +
                  FIELD_BOUND(reply->connect.data) + FIELD_BOUND(reply->connect.session) +
                  FIELD_BOUND(reply->connect.node);
    for (uint32_t i = 0; i < reply->connect.subs_count; i++)
        size += HEAD_BOUND + connect_sub_bound(&reply->connect.subs[i]);
    return size;
}

static void write_connect(struct writer *writer, const struct reply *reply)
{
    uuid(writer, 1, reply->connect.client);
    sized(writer, 2, reply->connect.version);
    number(writer, 3, reply->connect.expires);
    number(writer, 4, reply->connect.ttl);
    sized(writer, 5, reply->connect.data);
    for (uint32_t i = 0; i < reply->connect.subs_count; i++) {
        const struct reply_connect_sub *sub = &reply->connect.subs[i];
        struct gap entry = gap_open(writer, 6, connect_sub_bound(sub));
        sized(writer, 1, sub->channel);
        struct gap value = gap_open(writer, 2, subscribe_bound(&sub->subscribe));
        write_subscribe(writer, &sub->subscribe);
        gap_close(writer, value);
        gap_close(writer, entry);
    }
    number(writer, 7, reply->connect.ping);
    number(writer, 8, reply->connect.pong);
    sized(writer, 9, reply->connect.session);
    sized(writer, 10, reply->connect.node);
    number(writer, 11, reply->connect.time_ms);
}

static size_t member_bound(const struct wire_info *info)
{
    return HEAD_BOUND + UUID_SIZE + HEAD_BOUND + info_bound(info);
}

static size_t presence_bound(const struct reply *reply)
{
    size_t size = 0;
    for (uint32_t i = 0; i < reply->presence.infos_count; i++)
        size += HEAD_BOUND + member_bound(&reply->presence.infos[i]);
    return size;
}

/* map<client id, ClientInfo> */
static void write_presence(struct writer *writer, const struct reply *reply)
{
    for (uint32_t i = 0; i < reply->presence.infos_count; i++) {
        const struct wire_info *info = &reply->presence.infos[i];
        struct gap entry = gap_open(writer, 1, member_bound(info));
        uuid(writer, 1, info->client);
        write_info(writer, 2, info);
        gap_close(writer, entry);
    }
}

/* Of the message that is the result, or the error. */
static size_t result_bound(const struct reply *reply)
{
    if (reply->error_code != 0)
        return 2 * NUMBER_BOUND + FIELD_BOUND(bytes_of_text(reply->error_text));
    switch (reply->kind) {
    case CMD_CONNECT: return connect_bound(reply);
    case CMD_SUBSCRIBE: return subscribe_bound(&reply->subscribe);
    case CMD_PRESENCE: return presence_bound(reply);
    case CMD_PRESENCE_STATS: return 2 * NUMBER_BOUND;
    case CMD_HISTORY:
        return NUMBER_BOUND + FIELD_BOUND(reply->history.epoch) +
               publications_bound(reply->history.publications, reply->history.publications_count);
    case CMD_RPC: return FIELD_BOUND(reply->rpc.data);
    case CMD_REFRESH:
    case CMD_SUB_REFRESH: return 2 * NUMBER_BOUND;
    default: return 0;
    }
}

static void write_result(struct writer *writer, const struct reply *reply)
{
    switch (reply->kind) {
    case CMD_CONNECT: write_connect(writer, reply); break;
    case CMD_SUBSCRIBE: write_subscribe(writer, &reply->subscribe); break;
    case CMD_UNSUBSCRIBE:
    case CMD_PUBLISH: break; /* an empty result, but present */
    case CMD_PRESENCE: write_presence(writer, reply); break;
    case CMD_PRESENCE_STATS:
        number(writer, 1, reply->presence_stats.clients_count);
        number(writer, 2, reply->presence_stats.users_count);
        break;
    case CMD_HISTORY:
        for (uint32_t i = 0; i < reply->history.publications_count; i++)
            write_publication(writer, 1, &reply->history.publications[i]);
        sized(writer, 2, reply->history.epoch);
        number(writer, 3, reply->history.offset);
        break;
    case CMD_RPC: sized(writer, 1, reply->rpc.data); break;
    case CMD_REFRESH: /* client and version stand before, and are left empty */
        number(writer, 3, reply->refresh.expires);
        number(writer, 4, reply->refresh.ttl);
        break;
    case CMD_SUB_REFRESH:
        number(writer, 1, reply->sub_refresh.expires);
        number(writer, 2, reply->sub_refresh.ttl);
        break;
    default: impossible("this command has no result");
    }
}

static size_t reply_body_bound(const struct reply *reply)
{
    return NUMBER_BOUND + HEAD_BOUND + result_bound(reply);
}

size_t codec_pb_reply_bound(const struct reply *reply)
{
    return HEAD_BOUND + reply_body_bound(reply);
}

void codec_pb_reply(struct writer *writer, const struct reply *reply)
{
    static const uint8_t fields[CMD_COUNT] = {
        [CMD_CONNECT] = 5,  [CMD_SUBSCRIBE] = 6,       [CMD_UNSUBSCRIBE] = 7, [CMD_PUBLISH] = 8,
        [CMD_PRESENCE] = 9, [CMD_PRESENCE_STATS] = 10, [CMD_HISTORY] = 11,    [CMD_RPC] = 13,
        [CMD_REFRESH] = 14, [CMD_SUB_REFRESH] = 15,
    };
    check(reply->kind < CMD_COUNT);
    struct gap message = gap_open_at(writer, reply_body_bound(reply));
    number(writer, 1, reply->id);
    if (reply->error_code != 0) {
        struct gap error = gap_open(writer, 2, result_bound(reply));
        number(writer, 1, reply->error_code);
        sized(writer, 2, bytes_of_text(reply->error_text));
        number(writer, 3, reply->error_temporary);
        gap_close(writer, error);
    } else {
        struct gap result = gap_open(writer, fields[reply->kind], result_bound(reply));
        write_result(writer, reply);
        gap_close(writer, result);
    }
    gap_close(writer, message);
}

/* Of the message that is the push's own. */
static size_t push_body_bound(const struct push *push)
{
    switch (push->kind) {
    case PUSH_PUBLICATION: return publication_bound(&push->publication);
    case PUSH_JOIN:
    case PUSH_LEAVE: return HEAD_BOUND + info_bound(&push->info);
    case PUSH_UNSUBSCRIBE:
        return NUMBER_BOUND + FIELD_BOUND(bytes_of_text(push->unsubscribe.reason));
    case PUSH_SUBSCRIBE:
        return 3 * NUMBER_BOUND + FIELD_BOUND(push->subscribe.epoch) +
               FIELD_BOUND(push->subscribe.data);
    case PUSH_MESSAGE: return FIELD_BOUND(push->message.data);
    case PUSH_REFRESH: return 2 * NUMBER_BOUND;
    case PUSH_DISCONNECT:
        return 2 * NUMBER_BOUND + FIELD_BOUND(bytes_of_text(push->disconnect.reason));
    }
    impossible("no such push");
}

static size_t push_bound(const struct push *push)
{
    return NUMBER_BOUND + FIELD_BOUND(push->channel) + HEAD_BOUND + push_body_bound(push);
}

size_t codec_pb_push_bound(const struct push *push)
{
    return 2 * HEAD_BOUND + push_bound(push);
}

static void write_push_body(struct writer *writer, const struct push *push)
{
    static const uint8_t fields[] = {
        [PUSH_JOIN] = 5,      [PUSH_LEAVE] = 6,    [PUSH_UNSUBSCRIBE] = 7, [PUSH_MESSAGE] = 8,
        [PUSH_SUBSCRIBE] = 9, [PUSH_REFRESH] = 12, [PUSH_DISCONNECT] = 11,
    };
    check(push->kind < array_count(fields) && fields[push->kind] != 0);
    struct gap gap = gap_open(writer, fields[push->kind], push_body_bound(push));
    switch (push->kind) {
    case PUSH_JOIN:
    case PUSH_LEAVE: write_info(writer, 1, &push->info); break;
    case PUSH_UNSUBSCRIBE:
        number(writer, 2, push->unsubscribe.code);
        sized(writer, 3, bytes_of_text(push->unsubscribe.reason));
        break;
    case PUSH_SUBSCRIBE:
        number(writer, 1, push->subscribe.recoverable);
        sized(writer, 4, push->subscribe.epoch);
        number(writer, 5, push->subscribe.offset);
        number(writer, 6, push->subscribe.positioned);
        sized(writer, 7, push->subscribe.data);
        break;
    case PUSH_MESSAGE: sized(writer, 1, push->message.data); break;
    case PUSH_REFRESH:
        number(writer, 1, push->refresh.expires);
        number(writer, 2, push->refresh.ttl);
        break;
    case PUSH_DISCONNECT:
        number(writer, 1, push->disconnect.code);
        sized(writer, 2, bytes_of_text(push->disconnect.reason));
        number(writer, 3, push->disconnect.reconnect);
        break;
    case PUSH_PUBLICATION: impossible("written by the caller");
    }
    gap_close(writer, gap);
}

/* Reply{push}: on a connection with both directions a push is a reply without an id. */
void codec_pb_push(struct writer *writer, const struct push *push)
{
    size_t bound = push_bound(push);
    check(push->id >= 0);
    struct gap message = gap_open_at(writer, HEAD_BOUND + bound);
    struct gap envelope = gap_open(writer, 4, bound);
    if (push->id > 0)
        number(writer, 1, (uint64_t)push->id);
    else
        sized(writer, 2, push->channel);
    if (push->kind == PUSH_PUBLICATION)
        write_publication(writer, 4, &push->publication);
    else
        write_push_body(writer, push);
    gap_close(writer, envelope);
    gap_close(writer, message);
}
