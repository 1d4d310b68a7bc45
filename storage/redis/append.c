/* Records in.
 *
 * append copies what it was given into the batch of the record's partition;
 * the submit of the turn hands the batches to the link.  A batch is one script
 * call; a live publication without a key needs no script and is one SPUBLISH.
 *
 * Every call takes a number when it is written (again when it is written
 * again), which its announcements carry: so the feed knows its own, which it
 * takes from the answer (feed_own). */
#include "core/check.h"
#include "core/log.h"
#include "core/mem.h"
#include "storage/redis/redis.h"

#include <stdio.h>

struct append_record {
    struct list link;
    struct store_append *op;
    char kind; /* as in lua/append.lua */
    uint64_t a, b;
    uint32_t key_size, body_size;
    uint8_t bytes[]; /* key, body */
};

struct append_call {
    struct link_call call;
    struct list batch; /* in redis->batches until submitted */
    struct redis_store *redis;
    struct redis_server *server; /* to which it was written last */
    struct list records;
    uint32_t records_count;
    uint32_t bytes;
    uint32_t partition;
    uint64_t seq;
    uint64_t started_ns;
};

/* The start of "<scope size>:<scope><key>": digits and a colon. */
#define KEY_HEAD_MAX 24

/* A conversation's stream is kept so long after its last entry: who reads it has
 * been away for a week by then, and it holds a bounded number anyway. */
#define CONVERSATION_IDLE_MS (7ull * 86400000)

static struct bytes record_key(const struct append_record *record)
{
    return bytes_of(record->bytes, record->key_size);
}
static struct bytes record_body(const struct append_record *record)
{
    return bytes_of(record->bytes + record->key_size, record->body_size);
}

/* --- writing ------------------------------------------------------------------------------ */

static struct bytes call_origin(const struct append_call *call, char *origin, size_t size)
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

/* Every time it is written it is another call, with a number of its own. */
static void call_number(struct append_call *call, struct redis_server *server)
{
    call->server = server;
    call->seq = ++server->seq_written;
    call->started_ns = call->redis->store.env.clock->mono_ns;
}

/* What lua/streams.lua is told: nothing, or how long each stream is kept. */
static void write_streams(const struct config *config, struct resp_out *out)
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

static void call_write(struct link_call *base, struct link *link, struct resp_out *out)
{
    struct append_call *call = container_of(base, struct append_call, call);
    struct redis_store *redis = call->redis;
    char origin[64];
    call_number(call, link->owner);
    redis_write_script(call->server, out, SCRIPT_APPEND, call->partition,
                       3 + call->records_count * 8);
    resp_number(out, redis->store.env.config->storage_dedup_horizon_ms);
    resp_bytes(out, call_origin(call, origin, sizeof origin));
    write_streams(redis->store.env.config, out);
    list_each (node, &call->records) {
        struct append_record *record = container_of(node, struct append_record, link);
        resp_bytes(out, bytes_of(&record->kind, 1));
        resp_bytes(out, record->op->channel->name);
        resp_text(out, record->op->channel->epoch);
        resp_number(out, known_head(record->op));
        resp_number(out, record->a);
        resp_number(out, record->b);
        resp_bytes(out, record_key(record));
        resp_bytes(out, record_body(record));
    }
}

/* A live publication: nothing is kept, so nothing needs the script. */
static void live_write(struct link_call *base, struct link *link, struct resp_out *out)
{
    struct append_call *call = container_of(base, struct append_call, call);
    struct redis_store *redis = call->redis;
    struct append_record *record = container_of(call->records.next, struct append_record, link);
    char origin[64], line[160], key[REDIS_KEY_MAX];
    call_number(call, link->owner);
    struct bytes name = call_origin(call, origin, sizeof origin);
    int used = snprintf(line, sizeof line, "l 0 %s %.*s\n", record->op->channel->epoch,
                        (int)name.size, (const char *)name.at);
    check(used > 0 && (size_t)used < sizeof line);
    resp_begin(out, 3);
    resp_text(out, "SPUBLISH");
    resp_bytes(out, redis_key(redis, key, call->partition, "c:", record->op->channel->name));
    resp_pair(out, bytes_of(line, (size_t)used), record_body(record));
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

/* on_appended first, then the feed; between the two the channel may be closed. */
static void record_end(const struct append_call *call, struct append_record *record, enum err err,
                       struct bytes epoch, uint64_t result, uint64_t revision)
{
    struct redis_store *redis = call->redis;
    struct store_append *op = record->op;
    struct redis_channel *channel = op->channel->engine;
    struct handle handle = slab_handle(&redis->channels, channel);
    uint64_t number = result / 2;
    bool is_repeat = (result & 1) != 0;
    bool has_offset = record->kind == 'p' || record->kind == 'l' || record->kind == 'r';
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
    op->on_appended(op, err, err == ERR_OK && has_offset ? number : 0, is_repeat);
    if (err == ERR_OK && !is_repeat) {
        struct announcement announcement = {.kind = (enum announcement_kind)record->kind,
                                            .number = number,
                                            .epoch = epoch,
                                            .boot = bytes_of_text(call->server->boot),
                                            .seq = call->seq,
                                            .revision = revision,
                                            .body = record_body(record)};
        feed_own(call->server, handle, &announcement);
    }
    mem_free(record);
}

/* The answer of the script holds two numbers for each record; anything else
 * means that it stopped somewhere in the middle. */
static bool answer_is_whole(const struct append_call *call, const struct reply *reply)
{
    if (reply->type != REPLY_ARRAY || reply->count != call->records_count * 2 + 1) return false;
    for (uint32_t i = 1; i < reply->count; i++) {
        const struct reply *item = reply->items[i];
        if (item->type != REPLY_INTEGER || item->integer < 0) return false;
    }
    return reply->items[0]->type == REPLY_TEXT;
}

/* Its number is behind us; a call that was never written has none. */
static void call_note_end(const struct append_call *call, enum err err)
{
    struct redis_server *server = call->server;
    if (server == NULL) return;
    if (err == ERR_STORE_UNKNOWN) {
        if (call->seq != server->unknown_last + 1) server->unknown_first = call->seq;
        server->unknown_last = call->seq;
    }
    server->seq_answered = max_u64(server->seq_answered, call->seq);
}

/* `reply`: the whole answer of the script, or NULL. */
static void call_end(struct append_call *call, enum err err, const struct reply *reply)
{
    struct redis_store *redis = call->redis;
    struct bytes epoch = reply == NULL ? BYTES_NONE : reply->items[0]->text;
    struct list *node;
    for (uint32_t at = 1; (node = list_take(&call->records)) != NULL; at += 2) {
        struct append_record *record = container_of(node, struct append_record, link);
        uint64_t result = reply == NULL ? 0 : (uint64_t)reply->items[at]->integer;
        uint64_t revision = reply == NULL ? 0 : (uint64_t)reply->items[at + 1]->integer;
        record_end(call, record, err, epoch, result, revision);
    }
    if (err == ERR_OK) {
        redis->latency_us = (redis->store.env.clock->mono_ns - call->started_ns) / 1000;
        metric_add(redis->store.env.metrics, METRIC_STORE_COMMITS, 1);
    }
    call_note_end(call, err);
    mem_free(call);
    feed_release(redis);
}

static void call_on_end(struct link_call *base, enum err err, const struct reply *reply)
{
    struct append_call *call = container_of(base, struct append_call, call);
    if (err == ERR_OK && !answer_is_whole(call, reply)) {
        log_error("Redis could not run an append to its end: %.*s",
                  (int)min_u64(reply->text.size, 200), (const char *)reply->text.at);
        err = ERR_STORE_UNKNOWN;
    }
    call_end(call, err, err == ERR_OK ? reply : NULL);
}

static void live_on_end(struct link_call *base, enum err err, const struct reply *reply)
{
    struct append_call *call = container_of(base, struct append_call, call);
    if (err == ERR_OK && reply->type != REPLY_INTEGER) err = ERR_STORE_UNKNOWN;
    call_end(call, err, NULL);
}

/* --- taking records ------------------------------------------------------------------------ */

static size_t body_size(const struct store_append *op)
{
    if (op->type == RECORD_PUBLICATION) return publication_size(&op->publication);
    if (op->type == RECORD_CURSOR) return op->user.size;
    if (op->type == RECORD_REMOVE) return 0;
    size_t size = 0;
    for (uint32_t i = 0; i < op->users_count; i++) size += 4 + op->users[i].size;
    return size;
}

/* The offset is Redis' to give: it stands in the entry's id, not in the bytes. */
static void body_write(struct writer *writer, const struct store_append *op, uint64_t now_ms)
{
    if (op->type == RECORD_PUBLICATION) {
        struct publication publication = op->publication;
        publication.offset = 0;
        publication.time_ms = now_ms;
        publication_write(writer, &publication);
    } else if (op->type == RECORD_CURSOR) {
        write_bytes(writer, op->user);
    } else if (op->type == RECORD_MEMBERS) {
        for (uint32_t i = 0; i < op->users_count; i++) write_sized(writer, op->users[i]);
    }
}

static struct append_record *record_create(struct redis_store *redis, struct store_append *op)
{
    bool has_key = op->key.size > 0;
    size_t most = (has_key ? KEY_HEAD_MAX + op->scope.size + op->key.size : 0) + body_size(op);
    check(most < UINT32_MAX);
    struct append_record *record = mem_alloc(sizeof *record + most);
    record->op = op;
    struct writer writer = writer_of(record->bytes, most);
    if (has_key) {
        write_decimal(&writer, op->scope.size);
        write_text(&writer, ":");
        write_bytes(&writer, op->scope);
        write_bytes(&writer, op->key);
        record->key_size = (uint32_t)writer.used;
    }
    body_write(&writer, op, redis->store.env.clock->wall_ms);
    check(!writer.failed);
    record->body_size = (uint32_t)writer.used - record->key_size;

    struct history_rule history = op->channel->history;
    bool is_kept = history_is_kept(history) && !op->is_live_only;
    record->a = is_kept ? history.size : 0;
    record->b = is_kept ? history.ttl_ms : 0;
    if (op->type == RECORD_PUBLICATION) record->kind = is_kept ? 'p' : 'l';
    if (op->type == RECORD_MEMBERS) record->kind = 'm';
    if (op->type == RECORD_REMOVE) record->kind = 'r';
    if (op->type == RECORD_CURSOR) {
        record->kind = 'c';
        record->a = op->offset;
    }
    check(record->kind != 0);
    return record;
}

static struct append_call *call_create(struct redis_store *redis, uint32_t partition,
                                       bool is_script)
{
    struct append_call *call = mem_alloc(sizeof *call);
    call->redis = redis;
    call->partition = partition;
    call->call.write = is_script ? call_write : live_write;
    call->call.on_end = is_script ? call_on_end : live_on_end;
    list_init(&call->records);
    list_append(&redis->batches, &call->batch);
    return call;
}

/* The batch of the partition that has room for the record. */
static struct append_call *call_for(struct redis_store *redis, uint32_t partition, uint32_t size)
{
    struct redis_partition *at = &redis->partitions[partition];
    struct append_call *call = at->filling;
    bool has_room = call != NULL && call->records_count < REDIS_BATCH_RECORDS &&
                    call->bytes + size <= REDIS_BATCH_BYTES;
    if (!has_room) at->filling = call = call_create(redis, partition, true);
    return call;
}

void redis_append(struct store *store, struct store_append *op)
{
    struct redis_store *redis = redis_of(store);
    check(op->on_appended != NULL);
    check(op->channel->engine != NULL);
    struct append_record *record = record_create(redis, op);
    uint32_t partition = redis_partition_of(redis, op->channel->name);
    uint32_t size = record->key_size + record->body_size;
    bool is_plain = record->kind == 'l' && record->key_size == 0;
    struct append_call *call =
        is_plain ? call_create(redis, partition, false) : call_for(redis, partition, size);
    list_append(&call->records, &record->link);
    call->records_count++;
    call->bytes += size;
    op->engine = record;
    redis->pending++;
}

void append_submit(struct redis_store *redis)
{
    struct list *node;
    while ((node = list_take(&redis->batches)) != NULL) {
        struct append_call *call = container_of(node, struct append_call, batch);
        if (redis->partitions[call->partition].filling == call)
            redis->partitions[call->partition].filling = NULL;
        redis_call(redis, call->partition, &call->call);
    }
}
