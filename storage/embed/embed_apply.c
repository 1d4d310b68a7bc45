/*
 * The index follows the log: batches go to SQLite in large transactions, memory
 * lets go of them, files are recycled once a checkpoint is on disk.  And what follows a
 * burst of commits: the mark of how far the log reaches.
 */
#include "core/disk.h"
#include "core/log.h"
#include "core/mem.h"
#include "storage/embed/embed.h"

/* Moves the WAL when it is large, when files wait for it, when the database is to get
 * shorter, and when it was large. */
static enum err apply_checkpoint(struct embed_node *node, bool is_wanted)
{
    uint64_t wal = index_wal_bytes(node->index);
    bool is_whole = false, is_shrunk = node->is_shrunk && !node->is_sweeping;
    bool is_truncating = wal >= EMBED_WAL_TRUNCATE || node->is_resting;
    if (wal < EMBED_WAL_PASSIVE && !is_wanted && !is_shrunk && !is_truncating) return ERR_OK;
    node->is_resting = false; /* the next sweep looks again */
    TRY(index_checkpoint(node->index, is_truncating, &is_whole));
    if (!is_whole) return ERR_OK;
    if (is_shrunk) node->is_shrunk = false;
    for (uint32_t i = 0; i < SHARDS_MAX; i++) node->checkpointed[i] = node->applied[i];
    return ERR_OK;
}

/* A part of the sweep, for at most `budget_ns`.  Each EMBED_SWEEP_MS that many
 * slices begin; one that had more to delete is none of them, so what is over
 * goes at the pace at which it comes, job by job. */
static enum err apply_sweep(struct embed_node *node, uint64_t budget_ns)
{
    uint64_t start_ns = clock_mono_ns(), now_ms = embed_now_ms(node);
    if (!node->is_sweeping) {
        if (start_ns < node->sweep_ns + EMBED_SWEEP_MS * 1000000ull) return ERR_OK;
        TRY(embed_age_keep(node));
        node->is_resting =
            node->quiet_bytes < EMBED_QUIET_BYTES && disk_size_at(node->wal_path) > EMBED_WAL_REST;
        node->quiet_bytes = 0;
        node->is_sweeping = true;
        node->sweep_ns = start_ns;
        node->sweep_slices = EMBED_SWEEP_SLICES;
    }
    while (clock_mono_ns() - start_ns < budget_ns) {
        struct index_swept swept;
        bool is_more = false;
        if (node->sweep_slices > 0) {
            TRY(index_sweep(node->index, now_ms, node->horizon_ms, EMBED_SWEEP_CHANNELS, &swept));
            node->sweep_slices = swept.is_round ? 0 : node->sweep_slices - !swept.is_short;
            continue;
        }
        TRY(index_shrink(node->index, EMBED_SHRINK_PAGES, &is_more));
        if (is_more) {
            node->is_shrunk = true;
            continue;
        }
        node->is_sweeping = false;
        break;
    }
    return embed_reseal(node);
}

enum err embed_apply_now(struct embed_node *node, uint32_t shard, uint64_t log,
                         const struct index_batch *batches, uint32_t count, bool wants_checkpoint)
{
    uint64_t start_ns = clock_mono_ns();
    if (count > 0) {
        check(batches[0].number > node->applied[shard]);
        TRY(index_apply(node->index, log, batches, count));
        node->applied[shard] = batches[count - 1].number;
    }
    for (uint32_t i = 0; i < count; i++) node->quiet_bytes += batches[i].payload.size;
    /* Deleting a row takes half as long as writing it. */
    uint64_t spent_ns = clock_mono_ns() - start_ns;
    TRY(apply_sweep(node, max_u64(EMBED_SWEEP_NS, spent_ns / 2)));
    return apply_checkpoint(node, wants_checkpoint);
}

static void apply_run(struct job *job, uint32_t thread)
{
    (void)thread;
    struct embed_apply *apply = container_of(job, struct embed_apply, job);
    struct embed_store *store = apply->store;
    uint32_t shard = store->store.env.shard;
    apply->err = embed_apply_now(store->node, shard, shardlog_id(&store->log), apply->batches,
                                 apply->batches_count, apply->wants_checkpoint);
    /* Behind the rest: it wants the log to be as the index has it. */
    apply->is_copying = apply->err == ERR_OK && embed_backup_run(store->node);
    apply->applied = store->node->applied[shard];
    apply->checkpointed = store->node->checkpointed[shard];
    apply->is_sweeping = store->node->is_sweeping;
}

static void apply_drop(struct embed_store *store, struct log_batch *batch)
{
    for (struct list *node; (node = batch->items.next) != &batch->items;) {
        struct embed_record *record = container_of(node, struct embed_record, in_batch);
        struct embed_channel *channel = record->channel;
        channel->dropped = batch->number;
        record_free(store, record);
        embed_channel_release(store, channel);
    }
    shardlog_applied(&store->log, batch);
}

static void apply_arm(struct embed_store *store, uint64_t delay_ms)
{
    const struct store_env *env = &store->store.env;
    if (timer_is_armed(&store->apply_timer)) return;
    store->apply_due_ms = clock_turn_ms(env->clock) + delay_ms;
    wheel_arm(env->wheel, &store->apply_timer, store->apply_due_ms, embed_on_apply_timer);
}

/* Those whom the index has reached; after a failure all: they go on with what there is. */
static void settles_wake(struct embed_store *store, uint64_t batch)
{
    struct list waiting;
    list_init(&waiting);
    for (struct list *node; (node = list_take(&store->settles)) != NULL;)
        list_append(&waiting, node);
    for (struct list *node; (node = list_take(&waiting)) != NULL;) {
        struct store_settle *op = container_of(node, struct store_settle, link);
        if (op->batch > batch) {
            list_append(&store->settles, node);
            continue;
        }
        store->pending--;
        op->on_settled(op);
    }
}

bool embed_settle(struct store *base, struct store_settle *op)
{
    struct embed_store *store = embed_of(base);
    check(op->on_settled != NULL);
    if (store->members_batch <= store->apply.applied || store->is_index_failing) return true;
    op->batch = store->members_batch;
    list_append(&store->settles, &op->link);
    store->pending++;
    embed_apply_later(store);
    return false;
}

static void apply_failed(struct embed_store *store)
{
    if (!store->is_index_failing) {
        log_error("index cannot be written, the log keeps what comes cause=\"%s\"",
                  err_text(store->apply.err));
    }
    store->is_index_failing = true;
    if (store->apply.err == ERR_STORE_CORRUPT) store->is_damaged = true;
    metric_add(store->store.env.metrics, METRIC_STORE_ERRORS, 1);
    apply_arm(store, EMBED_RETRY_MS);
    settles_wake(store, UINT64_MAX);
}

/* The next slice of a backup soon, when there is one. */
static void backup_go_on(struct embed_store *store)
{
    const struct store_env *env = &store->store.env;
    if (!store->apply.is_copying || env->shard != 0) return;
    wheel_arm(env->wheel, &store->backup, clock_turn_ms(env->clock) + BACKUP_SLICE_MS,
              embed_on_backup_timer);
}

static void apply_done(struct job *job, void *shard)
{
    (void)shard;
    struct embed_apply *apply = container_of(job, struct embed_apply, job);
    struct embed_store *store = apply->store;
    check(apply->is_under_way);
    apply->is_under_way = false;
    backup_go_on(store);
    /* Also after an error: housekeeping may fail behind a commit. */
    for (uint32_t i = 0; i < apply->batches_count; i++) {
        if (apply->batches[i].number > apply->applied) break;
        struct log_batch *batch = container_of(store->log.kept.next, struct log_batch, link);
        check(batch->number == apply->batches[i].number);
        apply_drop(store, batch);
    }
    if (apply->err != ERR_OK) {
        apply_failed(store);
        return;
    }
    store->is_index_failing = false;
    shardlog_recycle(&store->log, apply->checkpointed);
    if (apply->is_sweeping) apply->wants_sweep = true;
    settles_wake(store, apply->applied);
    embed_apply_later(store);
}

static void apply_collect(struct embed_store *store)
{
    struct embed_apply *apply = &store->apply;
    apply->batches_count = 0;
    apply->bytes = 0;
    list_each (node, &store->log.kept) {
        struct log_batch *batch = container_of(node, struct log_batch, link);
        if (apply->batches_count == EMBED_APPLY_BATCHES_MAX) break;
        if (apply->bytes > 0 && apply->bytes + batch->size > EMBED_APPLY_BYTES_MAX) break;
        if (apply->batches_count == apply->batches_room) {
            apply->batches_room = max_u32(64, apply->batches_room * 2);
            apply->batches =
                mem_resize(apply->batches, apply->batches_room * sizeof *apply->batches);
        }
        apply->batches[apply->batches_count++] = (struct index_batch){
            batch->number, bytes_of(log_batch_at(batch, BATCH_HEAD), batch->size - BATCH_HEAD)};
        apply->bytes += batch->size;
    }
}

/* Nobody waits longer because the index had time. */
static void apply_hasten(struct embed_store *store)
{
    const struct store_env *env = &store->store.env;
    uint64_t due_ms = clock_turn_ms(env->clock) + EMBED_SETTLE_MS;
    if (timer_is_armed(&store->apply_timer) && store->apply_due_ms <= due_ms) return;
    wheel_disarm(env->wheel, &store->apply_timer);
    apply_arm(store, EMBED_SETTLE_MS);
}

static void apply_start(struct embed_store *store)
{
    struct embed_apply *apply = &store->apply;
    const struct store_env *env = &store->store.env;
    if (apply->is_under_way) return;
    bool has_work = !list_is_empty(&store->log.kept) || shardlog_has_full(&store->log);
    if (!has_work && !apply->wants_sweep) return;
    apply->wants_sweep = false;
    wheel_disarm(env->wheel, &store->apply_timer);
    apply_collect(store);
    /* When that lets a file be used again, and not before. */
    uint32_t count = apply->batches_count;
    uint64_t last = count > 0 ? apply->batches[count - 1].number : apply->applied;
    apply->wants_checkpoint =
        shardlog_has_full(&store->log) && shardlog_full_last(&store->log) <= last;
    apply->job.kind = WORKER_INDEX_WRITER;
    apply->job.run = apply_run;
    apply->job.done = apply_done;
    apply->job.home = env->inbox;
    apply->is_under_way = workers_submit(env->workers, &apply->job) == ERR_OK;
    if (!apply->is_under_way) apply_arm(store, EMBED_BUSY_MS);
}

void embed_apply_sweep(struct embed_store *store)
{
    store->apply.wants_sweep = true;
    if (!store->is_index_failing) apply_start(store);
}

/* Keys past their horizon, log files that nobody needs, the index. */
void embed_on_sweep_timer(struct timer *timer)
{
    struct embed_store *store = container_of(timer, struct embed_store, sweep);
    const struct store_env *env = &store->store.env;
    keys_expire(&store->keys, store_now_ms(&store->store), 10000);
    shardlog_rest(&store->log);
    if (shardlog_has_full(&store->log)) embed_apply_later(store);
    shardlog_mark(&store->log);
    if (env->shard == 0) embed_apply_sweep(store); /* one of them is enough */
    wheel_arm(env->wheel, timer, clock_turn_ms(env->clock) + EMBED_SWEEP_MS, embed_on_sweep_timer);
}

void embed_on_look_timer(struct timer *timer)
{
    struct embed_store *store = container_of(timer, struct embed_store, look);
    const struct store_env *env = &store->store.env;
    if (store->log.is_gone) return;
    shardlog_look(&store->log, store->log.marked);
    wheel_arm(env->wheel, timer, clock_turn_ms(env->clock) + LOG_LOOK_MS, embed_on_look_timer);
}

void embed_on_backup_timer(struct timer *timer)
{
    struct embed_store *store = container_of(timer, struct embed_store, backup);
    const struct store_env *env = &store->store.env;
    embed_apply_sweep(store);
    wheel_arm(env->wheel, timer, clock_turn_ms(env->clock) + BACKUP_LOOK_MS, embed_on_backup_timer);
}

void embed_on_apply_timer(struct timer *timer)
{
    apply_start(container_of(timer, struct embed_store, apply_timer));
}

void embed_apply_later(struct embed_store *store)
{
    if (store->is_index_failing) return; /* its own timer is armed */
    if (store->log.kept_bytes >= EMBED_APPLY_BYTES)
        apply_start(store);
    else if (store->apply.wants_sweep)
        apply_arm(store, EMBED_BUSY_MS);
    else if (!list_is_empty(&store->settles))
        apply_hasten(store);
    else if (!list_is_empty(&store->log.kept))
        apply_arm(store, EMBED_APPLY_MS);
    else if (shardlog_has_full(&store->log))
        apply_arm(store, EMBED_RETRY_MS);
}

/* Once nothing was committed for a while.  While there is load the timer goes on from
 * the last commit, so a commit costs a look at it. */
static void on_mark(struct timer *timer)
{
    struct embed_store *store = container_of(timer, struct embed_store, mark);
    uint64_t now_ms = clock_turn_ms(store->store.env.clock);
    uint64_t due_ms = store->log.quiet_ms + LOG_MARK_MS;
    if (now_ms >= due_ms) {
        shardlog_mark(&store->log);
        if (shardlog_is_marking(&store->log)) return;
        due_ms = now_ms + LOG_MARK_MS; /* another job is under way */
    }
    wheel_arm(store->store.env.wheel, timer, due_ms, on_mark);
}

void embed_mark_later(struct embed_store *store)
{
    const struct store_env *env = &store->store.env;
    if (timer_is_armed(&store->mark)) return;
    wheel_arm(env->wheel, &store->mark, clock_turn_ms(env->clock) + LOG_MARK_MS, on_mark);
}
