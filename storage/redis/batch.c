/* Records in.
 *
 * append copies what it was given into the batch of the record's partition;
 * the submit of the turn hands the batches to the link.  A batch is one script
 * call; a live publication without a key needs no script and is one SPUBLISH.
 *
 *   filling ─▶ batches ─▶ it is full, its server has few calls, or the partition none ─▶ link
 *                 ▲ └──▶ held, where it goes on filling ──┐
 *                 └── it is full, or a call of its partition has ended */
#include "core/check.h"
#include "core/mem.h"
#include "storage/redis/append.h"
#include "storage/redis/confirm.h"

/* The start of "<scope size>:<scope><key>": digits and a colon. */
#define KEY_HEAD_MAX 24

/* --- taking records ------------------------------------------------------------------------ */

static bool is_kept(const struct store_append *op)
{
    return history_is_kept(op->channel->history) && !op->is_live_only;
}

static size_t body_size(const struct redis_store *redis, const struct store_append *op)
{
    if (op->is_look_up) return 0;
    if (op->type == RECORD_PUBLICATION) return redis_seals_size(&redis->seals, op, is_kept(op));
    if (op->type == RECORD_CURSOR) return op->user.size;
    if (op->type == RECORD_REMOVE) return 0;
    return (op->members.kind == MEMBERS_SET ? 0 : MEMBERS_MARK) + members_ask_size(&op->members);
}

/* The offset is Redis' to give: it stands in the entry's id, not in the bytes. */
static void body_write(struct redis_store *redis, struct writer *writer,
                       const struct store_append *op)
{
    if (op->is_look_up) return;
    if (op->type == RECORD_PUBLICATION) {
        redis_seals_write(&redis->seals, writer, op, is_kept(op), store_now_ms(&redis->store));
    } else if (op->type == RECORD_CURSOR) {
        write_bytes(writer, op->user);
    } else if (op->type == RECORD_MEMBERS) {
        if (op->members.kind != MEMBERS_SET) write_u32(writer, members_mark(op->members.kind));
        members_ask_write(writer, &op->members);
    }
}

static char record_kind(const struct store_append *op)
{
    static const char marks[CURSOR_MARKS] = {'c', 'd', 'u', 'x', 's'};
    if (op->is_look_up) return 'k';
    switch (op->type) {
    case RECORD_PUBLICATION: return is_kept(op) ? 'p' : 'l';
    case RECORD_MEMBERS: return 'm';
    case RECORD_REMOVE: return 'r';
    case RECORD_CURSOR: check(op->mark < CURSOR_MARKS); return marks[op->mark];
    case RECORD_KEY: break;
    }
    impossible("nobody asks for a key alone");
}

static struct append_record *record_create(struct redis_store *redis, struct store_append *op)
{
    bool has_key = op->key.size > 0;
    size_t most =
        (has_key ? KEY_HEAD_MAX + op->scope.size + op->key.size : 0) + body_size(redis, op);
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
    body_write(redis, &writer, op);
    check(!writer.failed);
    record->body_size = (uint32_t)writer.used - record->key_size;

    struct history_rule history = op->channel->history;
    record->a = is_kept(op) ? history.size : 0;
    record->b = is_kept(op) ? history.ttl_ms : 0;
    if (op->type == RECORD_CURSOR) record->a = op->offset;
    record->kind = record_kind(op);
    return record;
}

static struct append_call *batch_create(struct redis_store *redis, uint32_t partition,
                                        bool is_script)
{
    struct append_call *call = append_create(redis, partition, is_script);
    list_append(&redis->batches, &call->batch);
    return call;
}

/* What stands behind the partition's calls may follow them, before what came since. */
static void partition_release(struct redis_store *redis, struct redis_partition *partition)
{
    struct list held, *node;
    list_init(&held);
    while ((node = list_take(&partition->held)) != NULL) {
        list_append(&held, node);
        check(redis->batches_held > 0);
        redis->batches_held--;
    }
    list_put_back(&held, &redis->batches);
}

/* The batch of the partition that has room for the record. */
static struct append_call *call_for(struct redis_store *redis, uint32_t partition, uint32_t size)
{
    struct redis_partition *at = &redis->partitions[partition];
    struct append_call *call = at->filling;
    bool has_room = call != NULL && call->records_count < REDIS_BATCH_RECORDS &&
                    call->bytes + size <= REDIS_BATCH_BYTES;
    if (has_room) return call;
    at->filling = NULL;
    partition_release(redis, at); /* what is full need not wait */
    return at->filling = batch_create(redis, partition, true);
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
        is_plain ? batch_create(redis, partition, false) : call_for(redis, partition, size);
    list_append(&call->records, &record->link);
    call->records_count++;
    call->bytes += size;
    op->engine = record;
    redis->pending++;
}

void append_touch(struct redis_store *redis, uint32_t partition, struct bytes channel)
{
    struct append_record *record = mem_alloc(sizeof *record + channel.size);
    record->kind = 't';
    record->body_size = (uint32_t)channel.size;
    memcpy(record->bytes, channel.at, channel.size);
    struct append_call *call = call_for(redis, partition, record->body_size);
    list_append(&call->records, &record->link);
    call->records_count++;
    call->bytes += record->body_size;
}

void append_abandon(struct redis_store *redis)
{
    struct list *node;
    check(redis->pending == 0);
    while ((node = list_take(&redis->batches)) != NULL)
        append_end(container_of(node, struct append_call, batch), ERR_STORE_DOWN);
}

/* --- sending them ------------------------------------------------------------------------ */

void batch_on_end(struct append_call *call)
{
    struct redis_partition *partition = &call->redis->partitions[call->partition];
    if (call->counted == NULL) return;
    check(call->counted->appends > 0 && partition->appends > 0);
    call->counted->appends--;
    partition->appends--;
    partition_release(call->redis, partition);
}

static void call_fill_no_more(struct redis_store *redis, const struct append_call *call)
{
    struct redis_partition *partition = &redis->partitions[call->partition];
    if (partition->filling == call) partition->filling = NULL;
}

/* The server or the replicas are far behind what is asked for, or the partition is nowhere. */
static void call_refuse(struct redis_store *redis, struct append_call *call, enum err err)
{
    list_remove(&call->batch);
    call_fill_no_more(redis, call);
    append_end(call, err);
}

/* True exactly when the call does better to stand behind its partition's others: it can take
 * more, and their server has enough to do until they end. */
static bool call_is_early(const struct redis_store *redis, const struct append_call *call)
{
    const struct redis_partition *partition = &redis->partitions[call->partition];
    const struct redis_server *server = partition->server;
    bool is_served = link_is_ready(&server->commands) && partition->hold == NULL;
    bool is_busy = partition->appends > 0 && server->appends >= REDIS_APPENDS_EAGER;
    bool is_filling = partition->filling == call && call->records_count < REDIS_BATCH_RECORDS;
    return !list_is_empty(&partition->held) || (is_served && is_busy && is_filling);
}

static void call_send(struct redis_store *redis, struct append_call *call)
{
    struct redis_partition *partition = &redis->partitions[call->partition];
    call_fill_no_more(redis, call);
    if (!call->is_plain) {
        call->counted = partition->server;
        call->counted->appends++;
        partition->appends++;
    }
    redis_call(redis, call->partition, &call->call);
}

/* Hands the call to its link, to a flight, or to its partition's line; false: it must wait. */
static bool call_submit(struct redis_store *redis, struct append_call *call)
{
    bool must_wait = redis->node->options.wait_replicas > 0 && !call->is_plain;
    if (must_wait) {
        if (route_is_held(redis, call->partition)) return false;
        if (!confirm_board(redis_server_of(redis, call->partition), call)) return false;
        call_fill_no_more(redis, call);
    } else if (call_is_early(redis, call)) {
        list_append(&redis->partitions[call->partition].held, &call->batch);
        if (redis->batches_held == LINK_CALLS_MAX) {
            call_refuse(redis, call, ERR_BACKLOG);
        } else {
            redis->batches_held++;
        }
    } else {
        call_send(redis, call);
    }
    return true;
}

void append_return(struct redis_store *redis, struct list *calls)
{
    list_put_back(calls, &redis->batches);
}

void append_submit(struct redis_store *redis)
{
    struct list waiting, *node;
    uint32_t count = 0;
    list_init(&waiting);
    while ((node = list_take(&redis->batches)) != NULL) {
        struct append_call *call = container_of(node, struct append_call, batch);
        if (call_submit(redis, call)) continue;
        list_append(&waiting, node);
        bool is_late = call->call.limit_ms > 0 && call->call.limit_ms <= redis_now_ms(redis);
        if (++count > LINK_CALLS_MAX || is_late)
            call_refuse(redis, call, is_late ? ERR_STORE_DOWN : ERR_BACKLOG);
    }
    while ((node = list_take(&waiting)) != NULL) list_append(&redis->batches, node);
    for (uint32_t i = 0; i < redis->servers_count; i++) confirm_submit(redis->servers[i]);
}
