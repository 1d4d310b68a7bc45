/* Append, commit, feed: the hot half of the embedded engine. */
#include "storage/embed/embed.h"

#include <stdio.h>

#include "core/entropy.h"
#include "core/log.h"
#include "core/mem.h"

#define ANSWERS_PER_SUBMIT (VERIFY ? 8 : 4096)
#define ANSWERS_ARENA_KEEP (256u << 10)

static void on_durable(void *context, struct log_batch *batch);
static void on_failed(void *context, struct log_batch *batch, bool is_unknown);

static struct store *embed_attach(struct store_node *node, const struct store_env *env)
{
    struct embed_store *store = mem_alloc(sizeof *store);
    store->store = (struct store){.engine = node->engine, .env = *env};
    store->node = (struct embed_node *)node;
    store->store.age_base_ms = store->node->age_base_ms;
    check(env->shard < store->node->shards_count);
    uint64_t seed;
    entropy_fill(&seed, sizeof seed);
    map_init(&store->channels, seed);
    slab_init(&store->records, "records", sizeof(struct embed_record), EMBED_RECORDS_MAX);
    keys_init(&store->keys, seed, env->config->storage_dedup_keys_max,
              env->config->storage_dedup_horizon_ms, env->metrics);
    arena_init(&store->arena, ANSWERS_ARENA_KEEP);
    list_init(&store->answers);
    list_init(&store->queries);
    list_init(&store->settles);
    struct log_hooks hooks = {store, on_durable, on_failed};
    shardlog_init(&store->log, &store->store.env, &hooks, store->node->log_path,
                  store->node->incarnation, store->node->generation);
    store->log.made_path = store->node->made_path;
    store->log.held = &store->node->held;
    embed_seal_init(store);
    store->apply.store = store;
    wheel_arm(env->wheel, &store->sweep, clock_turn_ms(env->clock) + EMBED_SWEEP_MS,
              embed_on_sweep_timer);
    wheel_arm(env->wheel, &store->look, clock_turn_ms(env->clock) + LOG_LOOK_MS,
              embed_on_look_timer);
    if (env->shard == 0)
        wheel_arm(env->wheel, &store->backup, clock_turn_ms(env->clock) + BACKUP_LOOK_MS,
                  embed_on_backup_timer);
    return &store->store;
}

/* What is not applied yet goes to the node, which applies it when it closes. */
static void embed_leave(struct embed_store *store)
{
    struct embed_left *left = &store->node->left[store->store.env.shard];
    list_init(&left->batches);
    for (struct list *node; (node = list_take(&store->log.kept)) != NULL;) {
        struct log_batch *batch = container_of(node, struct log_batch, link);
        for (struct list *item; (item = list_take(&batch->items)) != NULL;) {
            struct embed_record *record = container_of(item, struct embed_record, in_batch);
            list_remove(&record->in_channel);
            slab_put(&store->records, record);
        }
        list_append(&left->batches, node);
    }
    left->is_failed = store->log.is_failed;
    left->told = store->log.files.told;
    left->told.acked = store->log.acked;
    if (list_is_empty(&left->batches)) return;
    left->log = mem_alloc(sizeof *left->log);
    shardlog_leave(&store->log, left->log);
}

static void embed_detach(struct store *base)
{
    struct embed_store *store = embed_of(base);
    check(store->pending == 0 && !store->apply.is_under_way);
    check(list_is_empty(&store->answers) && list_is_empty(&store->queries));
    check(list_is_empty(&store->settles));
    wheel_disarm(base->env.wheel, &store->wake);
    wheel_disarm(base->env.wheel, &store->apply_timer);
    wheel_disarm(base->env.wheel, &store->sweep);
    wheel_disarm(base->env.wheel, &store->mark);
    wheel_disarm(base->env.wheel, &store->look);
    wheel_disarm(base->env.wheel, &store->backup);
    embed_leave(store);
    for (uint32_t at = 0; store->channels.count > 0; at = 0) {
        struct embed_channel *channel = map_next(&store->channels, &at);
        check(channel->open == NULL && list_is_empty(&channel->records));
        map_remove(&store->channels, channel->name);
        keys_disown(&store->keys, &channel->keys);
        mem_free(channel);
    }
    shardlog_fini(&store->log);
    slab_fini(&store->records);
    keys_fini(&store->keys);
    map_fini(&store->channels);
    arena_fini(&store->arena);
    embed_seal_fini(store);
    mem_free(store->apply.batches);
    mem_free(store->publications);
    mem_free(store);
}

static void on_wake(struct timer *timer)
{
    struct embed_store *store = container_of(timer, struct embed_store, wake);
    store_submit(&store->store);
}

void embed_wake(struct embed_store *store, uint64_t due_ms)
{
    if (timer_is_armed(&store->wake) && store->wake_ms <= due_ms) return;
    store->wake_ms = due_ms;
    wheel_arm(store->store.env.wheel, &store->wake, due_ms, on_wake);
}

static void embed_wake_now(struct embed_store *store)
{
    if (!store->is_submitting) embed_wake(store, clock_turn_ms(store->store.env.clock));
}

/* Read anew each time: a reload may change it. */
static uint64_t embed_lag_max(const struct embed_store *store)
{
    return store->store.env.config->storage_index_lag_max_bytes;
}

uint64_t embed_lag(const struct embed_store *store)
{
    return store->log.kept_bytes + store->log.waiting_bytes;
}

void record_read(const struct embed_record *record, struct entry *entry)
{
    struct reader reader = reader_of(record_entry(record));
    enum err err = entry_read(&reader, entry);
    check(err == ERR_OK && reader.left == 0); /* we wrote it */
}

void record_free(struct embed_store *store, struct embed_record *record)
{
    check(record->op == NULL && record->key == NULL);
    if (record->deletes > 0) record->channel->deletes--;
    mem_free(record->live);
    list_remove(&record->in_batch);
    list_remove(&record->in_channel);
    slab_put(&store->records, record);
}

struct embed_answer *embed_answer(struct embed_store *store, struct embed_channel *channel)
{
    struct embed_answer *answer = arena_get(&store->arena, sizeof *answer);
    *answer = (struct embed_answer){.channel = channel};
    list_append(&store->answers, &answer->link);
    store->pending++;
    embed_wake_now(store);
    return answer;
}

static void append_refuse(struct embed_store *store, struct store_append *op, enum err err)
{
    struct embed_answer *answer = embed_answer(store, op->channel->engine);
    answer->append = op;
    answer->err = err;
}

/* Answers an append whose key is known; false when it is not. */
static bool append_repeat(struct embed_store *store, struct store_append *op)
{
    struct embed_channel *channel = op->channel->engine;
    if (op->key.size == 0) return false;
    struct key_entry *key =
        keys_find(&store->keys, &channel->keys, op->scope, op->key, store_now_ms(&store->store));
    if (key == NULL && op->is_look_up) append_refuse(store, op, ERR_NOT_FOUND);
    if (key == NULL) return op->is_look_up;
    if (key->state == KEY_PENDING) {
        list_append(&key->waiters, &op->link);
        store->pending++;
        return true;
    }
    struct embed_answer *answer = embed_answer(store, channel);
    answer->append = op;
    answer->err = key->state == KEY_KNOWN ? ERR_OK : ERR_STORE_UNKNOWN;
    answer->offset = key->offset;
    answer->is_repeat = key->state == KEY_KNOWN;
    return true;
}

static struct key_entry *append_key(struct embed_store *store, struct store_append *op)
{
    struct embed_channel *channel = op->channel->engine;
    if (op->key.size == 0) return NULL;
    return keys_begin(&store->keys, &channel->keys, op->scope, op->key,
                      store_now_ms(&store->store));
}

/* A publication of which nobody keeps anything goes to the feed with the next submit. */
static void append_live(struct embed_store *store, struct store_append *op)
{
    struct embed_channel *channel = op->channel->engine;
    struct embed_answer *answer = embed_answer(store, channel);
    answer->append = op;
    answer->is_live = true;
    answer->publication = op->publication;
    answer->publication.offset = 0;
    answer->publication.time_ms = store->store.env.clock->wall_ms;
    answer->publication.data = arena_copy(&store->arena, op->publication.data);
    answer->publication.tags = arena_copy(&store->arena, op->publication.tags);
    answer->publication.user = arena_copy(&store->arena, op->publication.user);
    answer->publication.conn_info = arena_copy(&store->arena, op->publication.conn_info);
    answer->publication.chan_info = arena_copy(&store->arena, op->publication.chan_info);
}

/* What of a publication waits in memory for the commit of its key. */
static struct embed_live *live_create(const struct embed_store *store,
                                      const struct store_append *op)
{
    struct publication publication = op->publication;
    publication.offset = 0;
    publication.time_ms = store->store.env.clock->wall_ms;
    size_t size = publication_size(&publication);
    struct embed_live *live = mem_alloc(sizeof *live + size);
    live->size = size;
    struct writer writer = writer_of(live->bytes, size);
    publication_write(&writer, &publication);
    check(!writer.failed && writer.used == size);
    return live;
}

static size_t append_body_size(const struct embed_store *store, const struct store_append *op,
                               enum record_type type)
{
    if (type == RECORD_KEY) return 0;
    if (op->type == RECORD_PUBLICATION) return embed_publication_size(store, op);
    if (op->type == RECORD_CURSOR) return op->user.size;
    if (op->type == RECORD_REMOVE) return 0;
    check(op->type == RECORD_MEMBERS);
    return members_ask_size(&op->members);
}

static void append_write(struct embed_store *store, struct writer *writer,
                         const struct store_append *op, const struct entry *entry)
{
    entry_write(writer, entry, append_body_size(store, op, entry->type));
    if (entry->type == RECORD_PUBLICATION) {
        embed_publication_write(store, writer, op, entry);
    } else if (op->type == RECORD_CURSOR) {
        write_bytes(writer, op->user);
    } else if (op->type == RECORD_MEMBERS) {
        members_ask_write(writer, &op->members);
    }
    check(!writer->failed && writer->used == writer->size);
}

/* What an entry without a publication says beside its body. */
static void entry_vary(struct entry *entry, const struct store_append *op)
{
    if (op->type == RECORD_MEMBERS) entry->variant = (uint8_t)(op->members.kind + 1);
    if (op->type != RECORD_CURSOR) return;
    uint64_t most = op->mark <= CURSOR_DELIVERED ? entry->offset : INT64_MAX; /* SQLite's most */
    check(op->mark < CURSOR_MARKS && (op->user.size == 0) == mark_is_of_channel(op->mark));
    entry->variant = (uint8_t)op->mark;
    entry->offset = min_u64(op->offset, most);
}

/* `type`: of the op, or RECORD_KEY for a publication of which only the key is kept. */
static void append_record(struct embed_store *store, struct store_append *op, enum record_type type,
                          struct embed_record *record)
{
    struct embed_channel *channel = op->channel->engine;
    channel->time_ms = max_u64(channel->time_ms, store_now_ms(&store->store));
    struct entry entry = {.type = type,
                          .name = channel->name,
                          .epoch = bytes_of_text(channel->epoch),
                          .time_ms = channel->time_ms,
                          .history_size = op->channel->history.size,
                          .history_ttl_ms = min_u64(op->channel->history.ttl_ms, INT64_MAX / 2),
                          .meta_ttl_ms = channel->meta_ttl_ms,
                          .offset = channel->assigned};
    record->deletes = 0;
    if (op->type == RECORD_PUBLICATION) {
        bool is_kept = type == RECORD_PUBLICATION;
        entry.scope = op->key.size > 0 ? op->scope : BYTES_NONE;
        entry.key = op->key;
        entry.offset = record->offset = is_kept ? ++channel->assigned : 0;
        entry.deletes = record->deletes = is_kept ? op->publication.deletes : 0;
        if (record->deletes > 0) channel->deletes++;
    } else {
        entry_vary(&entry, op);
        record->offset = entry.offset;
    }
    record->type = type;
    record->live = type == RECORD_KEY ? live_create(store, op) : NULL;
    record->channel = channel;
    record->op = op;
    record->key = append_key(store, op);
    record->size = entry_size(&entry, append_body_size(store, op, type));
    record->batch = shardlog_reserve(&store->log, record->size, &record->at);
    struct writer writer = writer_of(log_batch_at(record->batch, record->at), record->size);
    append_write(store, &writer, op, &entry);
    list_append(&record->batch->items, &record->in_batch);
    list_append(&channel->records, &record->in_channel);
    store->pending++;
    metric_add(store->store.env.metrics, METRIC_STORE_APPENDS, 1);
    embed_wake_now(store);
}

static void embed_append(struct store *base, struct store_append *op)
{
    struct embed_store *store = embed_of(base);
    struct embed_channel *channel = op->channel->engine;
    check(channel != NULL && channel->open == op->channel && channel->is_loaded);
    check(op->on_appended != NULL && op->scope.size <= KEY_PART_MAX);
    if (append_repeat(store, op)) return;
    bool is_kept = history_is_kept(op->channel->history) && !op->is_live_only;
    bool is_live = op->type == RECORD_PUBLICATION && !is_kept;
    if (is_live && op->key.size == 0) {
        append_live(store, op);
        return;
    }
    enum err err;
    if (shardlog_refuses(&store->log, &err)) {
        append_refuse(store, op, err);
        return;
    }
    /* Commits stop at the limit; what still comes waits in memory up to an
     * eighth more, then it is refused. */
    uint64_t slack = max_u64(embed_lag_max(store) / 8, 1u << 20);
    struct handle handle;
    struct embed_record *record = NULL;
    if (embed_lag(store) < embed_lag_max(store) + slack)
        record = slab_get(&store->records, &handle);
    if (record == NULL)
        append_refuse(store, op, ERR_STORE_LAG);
    else
        append_record(store, op, is_live ? RECORD_KEY : op->type, record);
}

/* The key's fate is known: so is that of every append that joined it. */
static void key_settle(struct embed_store *store, struct embed_channel *channel,
                       struct key_entry *key, enum err err, uint64_t offset)
{
    struct list waiters;
    list_init(&waiters);
    if (key == NULL) return;
    for (struct list *node; (node = list_take(&key->waiters)) != NULL;) {
        list_append(&waiters, node);
    }
    if (err == ERR_OK)
        keys_end(key, offset);
    else if (err == ERR_STORE_UNKNOWN)
        keys_refuse(key);
    else
        keys_cancel(&store->keys, key);
    if (err == ERR_STORE_UNKNOWN) channel->is_refused = true;
    for (struct list *node; (node = list_take(&waiters)) != NULL;) {
        struct store_append *op = container_of(node, struct store_append, link);
        store->pending--;
        op->on_appended(op, err, offset, err == ERR_OK);
    }
}

static void feed_live(struct embed_store *store, struct embed_record *record)
{
    const struct store_sink *sink = &store->store.env.sink;
    struct embed_live *live = record->live;
    record->live = NULL;
    if (record->channel->open != NULL) {
        struct publication publication;
        struct reader reader = reader_of(bytes_of(live->bytes, live->size));
        enum err err = publication_read(&reader, &publication);
        check(err == ERR_OK && reader.left == 0); /* we wrote it */
        sink->on_publication(sink->context, record->channel->open, &publication);
    }
    mem_free(live);
}

static void record_feed(struct embed_store *store, struct embed_record *record)
{
    if (record->type == RECORD_MEMBERS) store->members_batch = record->batch->number;
    if (record->type == RECORD_KEY) {
        feed_live(store, record);
        return;
    }
    const struct store_sink *sink = &store->store.env.sink;
    struct embed_channel *channel = record->channel;
    if (record->type == RECORD_PUBLICATION) {
        check(record->offset == channel->head + 1);
        channel->head = record->offset;
    } else if (record->type == RECORD_REMOVE) {
        check(record->offset == channel->head);
        channel->removed = channel->head;
    }
    if (channel->open == NULL) return;
    if (record->type == RECORD_PUBLICATION) {
        struct publication publication;
        record_publication(store, record, &publication);
        channel->open->head = channel->head;
        sink->on_publication(sink->context, channel->open, &publication);
        arena_reset(&store->opened);
        return;
    }
    if (record->type == RECORD_REMOVE) {
        sink->on_removed(sink->context, channel->open, channel->removed);
        return;
    }
    embed_feed_members(store, record);
}

static void on_durable(void *context, struct log_batch *batch)
{
    struct embed_store *store = context;
    embed_mark_later(store);
    list_each (node, &batch->items) {
        struct embed_record *record = container_of(node, struct embed_record, in_batch);
        struct store_append *op = record->op;
        struct key_entry *key = record->key;
        record->op = NULL;
        record->key = NULL;
        store->pending--;
        op->on_appended(op, ERR_OK, record->offset, false);
        key_settle(store, record->channel, key, ERR_OK, record->offset);
        record_feed(store, record);
    }
    embed_apply_later(store);
}

static void on_failed(void *context, struct log_batch *batch, bool is_unknown)
{
    struct embed_store *store = context;
    enum err err = is_unknown ? ERR_STORE_UNKNOWN : ERR_STORE_READONLY;
    for (struct list *node; (node = list_take(&batch->items)) != NULL;) {
        struct embed_record *record = container_of(node, struct embed_record, in_batch);
        struct embed_channel *channel = record->channel;
        struct store_append *op = record->op;
        struct key_entry *key = record->key;
        record->op = NULL;
        record->key = NULL;
        record_free(store, record);
        /* Nothing that waits is durable, and all of it fails with this. */
        channel->assigned = channel->head;
        store->pending--;
        channel->pins++; /* the owner may close it in its callback */
        metric_add(store->store.env.metrics, METRIC_STORE_ERRORS, 1);
        op->on_appended(op, err, 0, false);
        key_settle(store, channel, key, err, 0);
        channel->pins--;
        embed_channel_release(store, channel);
    }
}

static void answer_append(struct embed_store *store, const struct embed_answer *answer)
{
    struct embed_channel *channel = answer->channel;
    const struct store_sink *sink = &store->store.env.sink;
    channel->pins++; /* the owner may close it in its callback */
    answer->append->on_appended(answer->append, answer->err, answer->offset, answer->is_repeat);
    if (answer->is_live && channel->open != NULL)
        sink->on_publication(sink->context, channel->open, &answer->publication);
    channel->pins--;
    embed_channel_release(store, channel);
}

static void embed_submit(struct store *base)
{
    struct embed_store *store = embed_of(base);
    check(!store->is_submitting);
    wheel_disarm(base->env.wheel, &store->wake);
    store->is_submitting = true;
    for (uint32_t i = 0; i < ANSWERS_PER_SUBMIT; i++) {
        struct list *node = list_take(&store->answers);
        if (node == NULL) break;
        struct embed_answer *answer = container_of(node, struct embed_answer, link);
        store->pending--;
        if (answer->append != NULL)
            answer_append(store, answer);
        else
            embed_read_kept(store, answer);
    }
    store->is_submitting = false;
    if (list_is_empty(&store->answers))
        arena_reset(&store->arena);
    else
        embed_wake_now(store);
    embed_queries_submit(store);
    if (store->log.kept_bytes < embed_lag_max(store)) shardlog_submit(&store->log);
    metric_set(base->env.metrics, METRIC_STORE_LAG_BYTES, embed_lag(store));
}

static uint32_t embed_pending(const struct store *base)
{
    const struct embed_store *store = (const struct embed_store *)base;
    return store->pending + shardlog_pending(&store->log) + store->apply.is_under_way;
}

/* What is wrong, as a sentence that says what to do, or NULL. */
static const char *embed_trouble(const struct embed_store *store)
{
    if (store->log.is_gone)
        return "the data directory, or a file in it, was removed, moved or replaced; stop, put it "
               "back or restore a backup, and start";
    if (store->log.is_failed) return "a write to the log failed; mend the disk and restart";
    if (store->is_damaged) return "the index is damaged; restore the data directory from a backup";
    if (shardlog_is_short(&store->log)) {
        return "the next log file cannot be made; make room on the disk";
    }
    if (store->log.kept_bytes >= embed_lag_max(store)) {
        return "the index lags beyond storage.index_lag_max; publications wait";
    }
    return store->is_index_failing ? "the index cannot be written; make room on the disk" : NULL;
}

/* What will be wrong soon, or that all is well. */
static const char *embed_comment(const struct embed_store *store)
{
    if (!store->log.is_retrying) return "publications become durable";
    return "publications become durable; the next log file cannot be made, make room on the disk";
}

static void embed_health(const struct store *base, struct store_health *health)
{
    const struct embed_store *store = (const struct embed_store *)base;
    const char *trouble = embed_trouble(store);
    *health = (struct store_health){.is_ok = trouble == NULL,
                                    .lag_bytes = embed_lag(store),
                                    .latency_us = store->log.latency_us,
                                    .durability = store->log.is_durable ? "durable" : "written"};
    snprintf(health->detail, sizeof health->detail, "%s%s%.180s",
             trouble != NULL ? trouble : embed_comment(store), store->log.is_gone ? ": " : "",
             store->log.is_gone ? store->log.files.gone : "");
}

const struct store_engine store_engine_embed = {
    .name = "embedded",
    .node_open = embed_node_open,
    .node_close = embed_node_close,
    .attach = embed_attach,
    .detach = embed_detach,
    .open = embed_open,
    .close = embed_close,
    .append = embed_append,
    .read = embed_read,
    .moves = embed_moves,
    .memberships = embed_memberships,
    .settle = embed_settle,
    .submit = embed_submit,
    .pending = embed_pending,
    .health = embed_health,
};
