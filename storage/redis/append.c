/* Calls of records: how they are written, and what their answers mean.
 *
 * Every call takes a number when it is written (again when it is written
 * again), which its announcements carry: so the feed knows its own, which it
 * takes from the answer (feed_own). */
#include "storage/redis/append.h"

#include <stdio.h>

#include "core/check.h"
#include "core/log.h"
#include "core/mem.h"
#include "storage/redis/confirm.h"
#include "storage/redis/known.h"

/* A conversation's stream is kept so long after its last entry: who reads it has
 * been away for a week by then, and it holds a bounded number anyway. */
#define CONVERSATION_IDLE_MS (7ull * 86400000)

static struct bytes record_key(const struct append_record *record)
{
    return bytes_of(record->bytes, record->key_size);
}
struct bytes append_body(const struct append_record *record)
{
    return bytes_of(record->bytes + record->key_size, record->body_size);
}
struct bytes append_channel(const struct append_record *record)
{
    return record->op == NULL ? append_body(record) : record->op->channel->name;
}

/* --- writing ------------------------------------------------------------------------------ */

struct bytes append_origin(const struct append_call *call, char *origin, size_t size)
{
    int used = snprintf(origin, size, "%s:%llu", call->server->boot, (unsigned long long)call->seq);
    check(used > 0 && (size_t)used < size);
    return bytes_of(origin, (size_t)used);
}

/* The head that this node knows of, for the script to find a loss by. */
static uint64_t known_head(const struct store_append *op)
{
    const struct redis_channel *channel = op->channel->engine;
    return max_u64(op->channel->head, channel == NULL ? 0 : channel->acked_head);
}

void append_number(struct append_call *call, struct redis_server *server)
{
    call->server = server;
    call->seq = ++server->seq_written;
    call->started_ns = call->redis->store.env.clock->mono_ns;
}

/* What lua/streams.lua is told: nothing, or how long each stream is kept. */
void append_write_streams(const struct config *config, struct resp_out *out)
{
    char words[160] = "";
    bool has_topics = config->redis_streams_enabled;
    bool has_conversations = config->redis_streams_conversations;
    if (has_topics || has_conversations) {
        int used = snprintf(
            words, sizeof words, "%llu %llu %llu %llu %llu %u %llu",
            (unsigned long long)(has_topics ? config->redis_streams_group_msg_ms : 0),
            (unsigned long long)(has_topics ? config->redis_streams_offline_msg_ms : 0),
            (unsigned long long)(has_topics ? config->redis_streams_membership_change_ms : 0),
            (unsigned long long)(has_topics ? config->redis_streams_read_receipt_ms : 0),
            (unsigned long long)(has_conversations ? config->redis_streams_fanout_ms : 0),
            has_conversations ? config->redis_streams_conversation_size : 0,
            (unsigned long long)CONVERSATION_IDLE_MS);
        check(used > 0 && (size_t)used < sizeof words);
    }
    resp_text(out, words);
}

static void record_write(const struct append_record *record, struct resp_out *out)
{
    bool is_touch = record->op == NULL;
    resp_bytes(out, bytes_of(&record->kind, 1));
    resp_bytes(out, append_channel(record));
    resp_text(out, is_touch ? "" : record->op->channel->epoch);
    resp_number(out, is_touch ? 0 : known_head(record->op));
    resp_number(out, record->a);
    resp_number(out, record->b);
    resp_bytes(out, record_key(record));
    resp_bytes(out, is_touch ? BYTES_NONE : append_body(record));
}

/* The longest life of what the call appends. */
static uint64_t call_ttl_ms(const struct append_call *call)
{
    uint64_t ttl_ms = 0;
    list_each (node, &call->records) {
        const struct append_record *record = container_of(node, struct append_record, link);
        if (record->kind == 'p') ttl_ms = max_u64(ttl_ms, record->b);
    }
    return ttl_ms;
}

static void call_write(struct link_call *base, struct link *link, struct resp_out *out)
{
    struct append_call *call = container_of(base, struct append_call, call);
    struct redis_store *redis = call->redis;
    char origin[64];
    append_number(call, link->owner);
    call->connection = call->server->publish_connection;
    call->order = ++call->server->publish_order;
    redis_write_script(link, out, SCRIPT_APPEND, call->partition, 5 + call->records_count * 8);
    resp_bytes(out, append_origin(call, origin, sizeof origin));
    append_write_streams(redis->store.env.config, out);
    resp_number(out, redis->store.env.config->storage_dedup_horizon_ms);
    resp_text(out, call->flight != NULL ? "1" : "0");
    redis_seals_tell(&redis->seals, call_ttl_ms(call), out);
    list_each (node, &call->records)
        record_write(container_of(node, struct append_record, link), out);
}

/* A live publication: nothing is kept, so nothing needs the script. */
static void live_write(struct link_call *base, struct link *link, struct resp_out *out)
{
    struct append_call *call = container_of(base, struct append_call, call);
    struct redis_store *redis = call->redis;
    struct append_record *record = container_of(call->records.next, struct append_record, link);
    char origin[64], line[160], key[REDIS_KEY_MAX];
    append_number(call, link->owner);
    struct bytes name = append_origin(call, origin, sizeof origin);
    int used = snprintf(line, sizeof line, "l 0 %s %.*s\n", record->op->channel->epoch,
                        (int)name.size, (const char *)name.at);
    check(used > 0 && (size_t)used < sizeof line);
    resp_begin(out, 3);
    resp_text(out, "SPUBLISH");
    resp_bytes(out, redis_key(redis, key, call->partition, "c:", record->op->channel->name));
    resp_pair(out, bytes_of(line, (size_t)used), append_body(record));
}

/* --- answers ------------------------------------------------------------------------------- */

/* An answer under another epoch: ours has ended, and the fill will say so. */
static void note_epoch(struct redis_store *redis, struct store_channel *channel, struct bytes epoch,
                       uint64_t offset)
{
    struct redis_channel *known = channel->engine;
    if (known == NULL || known->state != CHANNEL_LIVE) return;
    if (bytes_equal_text(epoch, channel->epoch)) {
        known->acked_head = max_u64(known->acked_head, offset);
    } else {
        read_fill(redis, known);
    }
}

/* Ours, from the answer; the channel may have been closed by on_appended. */
static void record_feed(const struct append_call *call, const struct append_record *record,
                        struct handle channel, struct bytes epoch)
{
    struct announcement announcement = {.kind = (enum announcement_kind)record->kind,
                                        .number = record->result / 2,
                                        .epoch = epoch,
                                        .boot = bytes_of_text(call->server->boot),
                                        .seq = call->seq,
                                        .revision = record->revision,
                                        .body = append_body(record)};
    feed_own(call->server, channel, &announcement);
}

/* on_appended first, then the feed; between the two the channel may be closed. */
static void record_end(const struct append_call *call, const struct append_record *record,
                       enum err err)
{
    struct redis_store *redis = call->redis;
    struct store_append *op = record->op;
    struct redis_channel *channel = op->channel->engine;
    struct handle handle = slab_handle(&redis->channels, channel);
    uint64_t number = record->result / 2;
    char text[EPOCH_MAX + 1];
    epoch_write(&call->position, record->birth, text);
    struct bytes epoch = bytes_of_text(text);
    bool is_repeat = append_is_repeat(record);
    if (record->is_damaged) err = ERR_STORE_CORRUPT;
    if (err == ERR_OK && record->kind == 'k' && !is_repeat) err = ERR_NOT_FOUND;
    bool has_offset = memchr("plrk", record->kind, 4) != NULL;
    bool is_list = record->kind == 'm' && err == ERR_OK && !is_repeat;
    if (err == ERR_OK && record->kind == 'p' && !is_repeat)
        note_epoch(redis, op->channel, epoch, number);
    if (err == ERR_STORE_UNKNOWN) channel->is_behind = true;
    metric_add(redis->store.env.metrics, err == ERR_OK ? METRIC_STORE_APPENDS : METRIC_STORE_ERRORS,
               1);
    redis->pending--;
    op->engine = NULL;
    op->epoch = err == ERR_OK && has_offset && !bytes_equal_text(epoch, op->channel->epoch)
                    ? epoch
                    : BYTES_NONE;
    if (is_list) listing_carry(redis, call->partition);
    op->on_appended(op, err, err == ERR_OK ? number : 0, is_repeat);
    /* A live one is out as soon as the script has run, whatever the replicas do. */
    bool is_out =
        err == ERR_OK || (record->kind == 'l' && call->is_answered && !record->is_damaged);
    if (is_out && !is_repeat) record_feed(call, record, handle, epoch);
}

/* What others held is confirmed, by us or by somebody else. */
static void touch_end(struct redis_store *redis, const struct append_record *record, enum err err)
{
    struct redis_channel *channel = map_find(&redis->channels_by_name, append_channel(record));
    if (channel == NULL) return;
    bool was_touching = channel->is_touching;
    if (record->is_damaged) err = ERR_STORE_CORRUPT;
    channel->is_touching = false;
    if (err == ERR_OK && channel->state == CHANNEL_LIVE) read_fill(redis, channel);
    bool is_open_waiting = channel->state == CHANNEL_READING && channel->is_reopening;
    if (was_touching && is_open_waiting) read_open_again(redis, channel);
}

static bool is_number(const struct reply *reply)
{
    return reply->type == REPLY_INTEGER && reply->integer >= 0;
}

/* Pairs of a record's number and its channel's birth, in the order of the records. */
static bool births_take(struct append_call *call, const struct reply *reply, uint32_t at)
{
    int64_t number = 0;
    if (at > reply->count || (reply->count - at) % 2 != 0) return false;
    list_each (node, &call->records) {
        struct append_record *record = container_of(node, struct append_record, link);
        record->birth[0] = 0;
        number++;
        bool is_its =
            at < reply->count && is_number(reply->items[at]) && reply->items[at]->integer == number;
        if (!is_its) continue;
        if (birth_read(reply_text(reply->items[at + 1]), record->birth) != ERR_OK) return false;
        at += 2;
    }
    return at == reply->count;
}

/* What the script said of the record first: its result, or the damage that it met. */
static void result_take(const struct append_call *call, struct append_record *record,
                        int64_t result)
{
    record->is_damaged = result < 0;
    record->result = result < 0 ? 0 : (uint64_t)result;
    if (result < 0)
        damage_note(call->redis, result == -1 ? DAMAGE_META : DAMAGE_TYPE, append_channel(record),
                    0);
}

bool append_answer(struct append_call *call, const struct reply *reply)
{
    uint32_t each = call->flight == NULL ? 2 : 3, at = 1;
    uint32_t numbers = call->records_count * each;
    bool is_whole = reply->type == REPLY_ARRAY && reply->count >= numbers + 1 &&
                    position_read(reply_text(reply->items[0]), &call->position) == ERR_OK;
    for (uint32_t i = 1; is_whole && i <= numbers; i++) {
        const struct reply *item = reply->items[i];
        bool is_damage = (i - 1) % each == 0 && item->type == REPLY_INTEGER &&
                         (item->integer == -1 || item->integer == -2);
        is_whole = is_damage || is_number(item);
    }
    struct append_record *head = container_of(call->records.next, struct append_record, link);
    if (!is_whole) damage_refused(call->redis, append_channel(head), reply);
    if (!is_whole || !births_take(call, reply, numbers + 1)) {
        log_error("Redis could not run an append to its end: %.*s",
                  (int)min_u64(reply->text.size, 200), (const char *)reply->text.at);
        return false;
    }
    list_each (node, &call->records) {
        struct append_record *record = container_of(node, struct append_record, link);
        result_take(call, record, reply->items[at]->integer);
        record->revision = (uint64_t)reply->items[at + 1]->integer;
        record->head = each == 3 ? (uint64_t)reply->items[at + 2]->integer : 0;
        at += each;
    }
    known_learn(call->redis, call->partition, &call->position, call->position.sure);
    call->is_answered = true;
    return true;
}

/* Its number is behind us; a call that was never written has none.  A live publication
 * does not pass through the link of the others: it says nothing of them. */
static void call_note_end(const struct append_call *call, enum err err)
{
    struct redis_server *server = call->server;
    if (server == NULL) return;
    if (err == ERR_STORE_UNKNOWN) {
        if (call->seq != server->unknown_last + 1) server->unknown_first = call->seq;
        server->unknown_last = call->seq;
    }
    /* Refused, for want of rights, memory or a disk: the link says why. */
    if (err == ERR_STORE_DOWN) server->is_refusing = true;
    if (err == ERR_OK) server_takes_again(server);
    if (!call->is_plain) server->seq_answered = max_u64(server->seq_answered, call->seq);
}

void append_end(struct append_call *call, enum err err)
{
    struct redis_store *redis = call->redis;
    struct list *node;
    while ((node = list_take(&call->records)) != NULL) {
        struct append_record *record = container_of(node, struct append_record, link);
        if (record->op != NULL) {
            record_end(call, record, err);
        } else {
            touch_end(redis, record, err);
        }
        mem_free(record);
    }
    if (err == ERR_OK) {
        redis->latency_us = (redis->store.env.clock->mono_ns - call->started_ns) / 1000;
        metric_add(redis->store.env.metrics, METRIC_STORE_COMMITS, 1);
    }
    call_note_end(call, err);
    batch_on_end(call);
    mem_free(call);
    feed_release(redis);
}

enum err append_failure(const struct reply *reply)
{
    return damage_is_told(reply) ? ERR_STORE_CORRUPT : ERR_STORE_UNKNOWN;
}

static void call_on_end(struct link_call *base, enum err err, const struct reply *reply)
{
    struct append_call *call = container_of(base, struct append_call, call);
    if (call->flight != NULL) {
        confirm_on_appended(call, err, reply);
        return;
    }
    if (err == ERR_OK && !append_answer(call, reply)) err = append_failure(reply);
    append_end(call, err);
}

static void live_on_end(struct link_call *base, enum err err, const struct reply *reply)
{
    struct append_call *call = container_of(base, struct append_call, call);
    if (err == ERR_OK && reply->type != REPLY_INTEGER) err = ERR_STORE_UNKNOWN;
    append_end(call, err);
}

struct append_call *append_create(struct redis_store *redis, uint32_t partition, bool is_script)
{
    struct append_call *call = mem_alloc(sizeof *call);
    call->redis = redis;
    call->partition = partition;
    call->is_plain = !is_script;
    call->call.write = is_script ? call_write : live_write;
    call->call.on_end = is_script ? call_on_end : live_on_end;
    list_init(&call->records);
    return call;
}
