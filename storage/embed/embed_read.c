/* Open, close and read: what SQLite has, and on top what only memory has yet. */
#include "core/log.h"
#include "core/mem.h"
#include "storage/embed/embed.h"

static void query_run(struct job *job, uint32_t thread);
static void query_done(struct job *job, void *shard);

static void publications_reserve(struct embed_store *store, size_t count)
{
    if (count <= store->publications_room) return;
    store->publications_room = max_u64(64, count * 2);
    store->publications =
        mem_resize(store->publications, store->publications_room * sizeof *store->publications);
}

/* What the channel's history rule keeps at `now_ms`, and removals have left. */
struct retention {
    uint64_t floor;       /* offsets at or below it are over */
    uint64_t time_min_ms; /* older times are over */
};

static struct retention retention_of(const struct store_channel *channel, uint64_t head,
                                     uint64_t now_ms)
{
    struct history_rule rule = channel->history;
    const struct embed_channel *own = channel->engine;
    if (!history_is_kept(rule)) return (struct retention){.floor = head};
    return (struct retention){.floor =
                                  max_u64(own->removed, head > rule.size ? head - rule.size : 0),
                              .time_min_ms = now_ms >= rule.ttl_ms ? now_ms - rule.ttl_ms + 1 : 0};
}

/* The kept publication at or behind `node`, NULL when none. */
static struct embed_record *record_from(struct embed_channel *channel, struct list *node,
                                        bool is_reverse)
{
    for (; node != &channel->records; node = is_reverse ? node->prev : node->next) {
        struct embed_record *record = container_of(node, struct embed_record, in_channel);
        /* What is not durable yet was not told to anybody. */
        if (record->type != RECORD_PUBLICATION || record->offset > channel->head) continue;
        return record;
    }
    return NULL;
}
static struct embed_record *record_first(struct embed_channel *channel)
{
    return record_from(channel, channel->records.next, false);
}
static struct embed_record *record_last(struct embed_channel *channel)
{
    return record_from(channel, channel->records.prev, true);
}

/* Appends what memory keeps with an offset in (above, below), up to `limit`
 * publications in all, to store->publications[count]. */
static uint32_t merge_kept(struct embed_store *store, struct embed_channel *channel, uint32_t count,
                           uint64_t above, uint64_t below, uint64_t time_min_ms, bool is_reverse,
                           uint32_t limit)
{
    struct embed_record *record = is_reverse ? record_last(channel) : record_first(channel);
    while (record != NULL && count < limit) {
        if (is_reverse ? record->offset <= above : record->offset >= below) break;
        if (record->offset > above && record->offset < below) {
            publications_reserve(store, count + 1u);
            record_publication(store, record, &store->publications[count]);
            if (store->publications[count].taken_ms >= time_min_ms) count++;
        }
        struct list *next = is_reverse ? record->in_channel.prev : record->in_channel.next;
        record = record_from(channel, next, is_reverse);
    }
    return count;
}

static uint32_t merge_rows(struct embed_store *store, const struct query *query, uint32_t count,
                           uint64_t below)
{
    publications_reserve(store, count + query->publications_count);
    for (uint32_t i = 0; i < query->publications_count; i++) {
        if (query->publications[i].offset >= below) continue;
        store->publications[count++] = query->publications[i];
    }
    return count;
}

/* What was deleted goes from an answer: SQLite may have it still, and of what memory keeps
 * it is said by a later record. */
static void bury_deleted(struct embed_store *store, struct embed_channel *channel, uint32_t count)
{
    uint32_t left = channel->deletes;
    for (struct list *node = channel->records.prev; left > 0; node = node->prev) {
        check(node != &channel->records);
        struct embed_record *record = container_of(node, struct embed_record, in_channel);
        if (record->deletes == 0) continue;
        left--;
        for (uint32_t i = 0; i < count && record->offset <= channel->head; i++)
            if (store->publications[i].offset == record->deletes)
                publication_bury(&store->publications[i]);
    }
}

/* True when nothing that `op` asks for is in SQLite alone. */
static bool read_is_kept(const struct embed_store *store, struct embed_channel *channel,
                         const struct store_read *op)
{
    struct retention keep = retention_of(op->channel, channel->head, store_now_ms(&store->store));
    if (op->limit == 0 || keep.floor == channel->head) return true;
    struct embed_record *first = record_first(channel);
    uint64_t lowest = first == NULL ? channel->head + 1 : first->offset;
    if (!op->is_reverse) return max_u64(op->since, keep.floor) + 1 >= lowest;
    uint64_t below = op->since == 0 ? channel->head + 1 : min_u64(op->since, channel->head + 1);
    if (lowest <= keep.floor + 1) return true;
    return below > lowest && below - lowest >= op->limit;
}

void query_submit(struct embed_query *query)
{
    struct embed_store *store = query->store;
    query->job.kind = WORKER_INDEX_READER;
    query->job.run = query_run;
    query->job.done = query_done;
    query->job.home = store->store.env.inbox;
    if (workers_submit(store->store.env.workers, &query->job) == ERR_OK) return;
    list_append(&store->queries, &query->link);
    embed_wake(store, clock_turn_ms(store->store.env.clock) + EMBED_BUSY_MS);
}

void embed_queries_submit(struct embed_store *store)
{
    struct list waiting;
    if (list_is_empty(&store->queries)) return;
    list_init(&waiting);
    for (struct list *node; (node = list_take(&store->queries)) != NULL;) {
        list_append(&waiting, node);
    }
    for (struct list *node; (node = list_take(&waiting)) != NULL;) {
        query_submit(container_of(node, struct embed_query, link));
    }
}

struct embed_query *query_create(struct embed_store *store, struct embed_channel *channel)
{
    struct embed_query *query = mem_alloc(sizeof *query);
    query->store = store;
    query->channel = channel;
    query->query.log = shardlog_id(&store->log);
    query->query.bytes_max = HISTORY_BYTES_MAX;
    if (channel != NULL) {
        query->query.name = channel->name;
        channel->pins++;
    }
    store->pending++;
    return query;
}

static void query_run(struct job *job, uint32_t thread)
{
    struct embed_query *query = container_of(job, struct embed_query, job);
    struct embed_node *node = query->store->node;
    check(thread < EMBED_READERS_MAX);
    query->err = ERR_OK;
    if (node->readers[thread] == NULL) {
        query->err = index_reader_open(node->index_path, &node->readers[thread]);
        if (query->err == ERR_OK)
            index_reader_unseal(node->readers[thread], seals_find, &node->seals);
    }
    if (query->err == ERR_OK) query->err = index_query(node->readers[thread], &query->query);
}

static struct embed_channel *channel_create(struct embed_store *store, struct bytes name)
{
    struct embed_channel *channel = mem_alloc(sizeof *channel + name.size);
    memcpy(channel->text, name.at, name.size);
    channel->name = bytes_of(channel->text, name.size);
    channel->meta_ttl_ms = store_meta_ttl_ms(store->store.env.config, name);
    list_init(&channel->records);
    keys_own(&store->keys, &channel->keys);
    map_put(&store->channels, channel->name, channel);
    return channel;
}

bool embed_channel_release(struct embed_store *store, struct embed_channel *channel)
{
    bool is_needed = channel->open != NULL || channel->pins > 0 || channel->is_refused ||
                     !list_is_empty(&channel->records);
    if (is_needed) return false;
    void *removed = map_remove(&store->channels, channel->name);
    check(removed == channel);
    keys_disown(&store->keys, &channel->keys);
    mem_free(channel);
    return true;
}

void embed_open(struct store *base, struct store_open *op)
{
    struct embed_store *store = embed_of(base);
    check(op->channel->engine == NULL && op->on_opened != NULL);
    struct embed_channel *channel = map_find(&store->channels, op->channel->name);
    if (channel == NULL) channel = channel_create(store, op->channel->name);
    check(channel->open == NULL);
    channel->open = op->channel;
    op->channel->engine = channel;
    struct embed_query *query = query_create(store, channel);
    uint64_t now_ms = store_now_ms(base);
    struct retention keep = retention_of(op->channel, 0, now_ms);
    query->open = op;
    query->query.is_open = true;
    query->query.is_reverse = true;
    query->query.limit = history_is_kept(op->channel->history) ? op->window_max : 0;
    query->query.time_min_ms = keep.time_min_ms;
    query->query.keys_max = channel->is_loaded ? 0 : store->keys.count_max;
    uint64_t horizon_ms = store->keys.horizon_ms;
    query->query.key_time_ms = now_ms > horizon_ms ? now_ms - horizon_ms : 0;
    query_submit(query);
}

void embed_close(struct store *base, struct store_channel *channel)
{
    struct embed_channel *closed = channel->engine;
    check(closed != NULL && closed->open == channel);
    closed->open = NULL;
    channel->engine = NULL;
    embed_channel_release(embed_of(base), closed);
}

static void read_query(struct embed_store *store, struct store_read *op)
{
    struct embed_channel *channel = op->channel->engine;
    struct embed_query *query = query_create(store, channel);
    struct retention keep = retention_of(op->channel, channel->head, store_now_ms(&store->store));
    query->read = op;
    query->query.is_reverse = op->is_reverse;
    query->query.since = op->since;
    query->query.limit = op->limit;
    query->query.floor = keep.floor;
    query->query.time_min_ms = keep.time_min_ms;
    query_submit(query);
}

void embed_read(struct store *base, struct store_read *op)
{
    struct embed_store *store = embed_of(base);
    struct embed_channel *channel = op->channel->engine;
    check(channel != NULL && channel->is_loaded && op->on_read != NULL);
    if (read_is_kept(store, channel, op))
        embed_answer(store, channel)->read = op;
    else
        read_query(store, op);
}

/* Answers when memory alone knows everything that was asked for, and asks
 * SQLite when it no longer does. */
void embed_read_kept(struct embed_store *store, struct embed_answer *answer)
{
    struct store_read *op = answer->read;
    struct embed_channel *channel = answer->channel;
    if (!read_is_kept(store, channel, op)) {
        read_query(store, op);
        return;
    }
    struct retention keep = retention_of(op->channel, channel->head, store_now_ms(&store->store));
    uint64_t above = op->is_reverse ? keep.floor : max_u64(keep.floor, op->since);
    uint64_t below = op->is_reverse && op->since > 0 ? op->since : UINT64_MAX;
    uint32_t count =
        merge_kept(store, channel, 0, above, below, keep.time_min_ms, op->is_reverse, op->limit);
    bury_deleted(store, channel, count);
    op->on_read(op, ERR_OK, store->publications, count);
    arena_reset(&store->opened);
}

/* First sight of a channel in this process. */
static void channel_load(struct embed_store *store, struct embed_channel *channel,
                         const struct query *query)
{
    channel->head = channel->assigned = query->head;
    channel->time_ms = query->time_ms;
    channel->removed = query->removed;
    if (query->epoch[0] != '\0')
        memcpy(channel->epoch, query->epoch, sizeof channel->epoch);
    else
        index_epoch(store->node->incarnation, query->forgets, channel->name, channel->epoch);
    /* They come newest first; loaded from the old end, the capacity keeps the newest. */
    for (uint32_t i = query->keys_count; i > 0; i--) {
        const struct index_key *key = &query->keys[i - 1];
        keys_load(&store->keys, &channel->keys, key->scope, key->key, key->offset, key->time_ms);
    }
    channel->is_loaded = true;
}

static void publications_reverse(struct publication *publications, uint32_t count)
{
    for (uint32_t i = 0; i < count / 2; i++) {
        struct publication swap = publications[i];
        publications[i] = publications[count - 1 - i];
        publications[count - 1 - i] = swap;
    }
}

static void open_answer(struct embed_store *store, struct embed_query *query)
{
    struct store_open *op = query->open;
    struct embed_channel *channel = query->channel;
    struct retention keep = retention_of(op->channel, channel->head, store_now_ms(&store->store));
    uint32_t count = merge_kept(store, channel, 0, keep.floor, UINT64_MAX, keep.time_min_ms, true,
                                query->query.limit);
    uint64_t below = count == 0 ? UINT64_MAX : store->publications[count - 1].offset;
    count = merge_rows(store, &query->query, count, below);
    while (count > 0 && store->publications[count - 1].offset <= keep.floor) count--;
    count = min_u32(count, op->window_max);
    publications_reverse(store->publications, count);
    bury_deleted(store, channel, count);
    struct members members;
    members_init(&members, store->channels.seed);
    embed_members_merge(channel, &query->query, &members);
    uint32_t members_count = members.map.count;
    struct store_member *list = mem_alloc((members_count + 1) * sizeof *list);
    members_list(&members, list);
    struct store_snapshot snapshot = {store->publications, count,          list,
                                      members_count,       members.policy, channel->removed};
    op->channel->head = channel->head;
    memcpy(op->channel->epoch, channel->epoch, sizeof channel->epoch);
    op->on_opened(op, ERR_OK, &snapshot);
    mem_free(list);
    members_fini(&members);
}

static void read_answer(struct embed_store *store, struct embed_query *query)
{
    struct store_read *op = query->read;
    struct embed_channel *channel = query->channel;
    const struct query *rows = &query->query;
    uint32_t count;
    if (rows->is_cut && op->limit == UINT32_MAX) {
        op->on_read(op, ERR_LIMIT_SIZE, NULL, 0);
        return;
    }
    if (op->is_reverse) {
        uint64_t below = op->since == 0 ? UINT64_MAX : op->since;
        count =
            merge_kept(store, channel, 0, rows->floor, below, rows->time_min_ms, true, op->limit);
        if (count > 0) below = store->publications[count - 1].offset;
        count = merge_rows(store, rows, count, below);
    } else {
        count = merge_rows(store, rows, 0, UINT64_MAX);
        uint64_t above = max_u64(op->since, rows->floor);
        if (count > 0) above = store->publications[count - 1].offset;
        /* A cut answer ends where the rows end: what is kept would leave a hole. */
        if (!rows->is_cut) {
            count = merge_kept(store, channel, count, above, UINT64_MAX, rows->time_min_ms, false,
                               op->limit);
        }
    }
    count = min_u32(count, op->limit);
    bury_deleted(store, channel, count);
    op->on_read(op, ERR_OK, store->publications, count);
}

static void query_fail(struct embed_query *query)
{
    struct embed_channel *channel = query->channel;
    if (query->moves != NULL) {
        embed_answer_moves(query);
        return;
    }
    if (query->memberships != NULL) {
        embed_answer_memberships(query);
        return;
    }
    if (query->read != NULL) {
        query->read->on_read(query->read, query->err, NULL, 0);
        return;
    }
    query->open->channel->engine = NULL;
    channel->open = NULL;
    query->open->on_opened(query->open, query->err, NULL);
}

static void query_done(struct job *job, void *shard)
{
    (void)shard;
    struct embed_query *query = container_of(job, struct embed_query, job);
    struct embed_store *store = query->store;
    struct embed_channel *channel = query->channel;
    bool is_behind = channel != NULL && channel->dropped > query->query.applied;
    if (query->err == ERR_OK && is_behind) {
        /* Memory let go of records after this snapshot was taken. */
        sometimes(query->open != NULL);
        query_clear(&query->query);
        query_submit(query);
        return;
    }
    store->pending--;
    if (query->err != ERR_OK) {
        metric_add(store->store.env.metrics, METRIC_STORE_ERRORS, 1);
        if (query->err == ERR_STORE_CORRUPT) store->is_damaged = true;
        query_fail(query);
    } else if (query->moves != NULL) {
        embed_answer_moves(query);
    } else if (query->memberships != NULL) {
        embed_answer_memberships(query);
    } else if (query->open != NULL) {
        if (!channel->is_loaded) channel_load(store, channel, &query->query);
        open_answer(store, query);
    } else {
        read_answer(store, query);
    }
    query_fini(&query->query);
    arena_reset(&store->opened);
    mem_free(query);
    if (channel == NULL) return;
    channel->pins--;
    embed_channel_release(store, channel);
}
