/* The consumer, on a shard of its own: the links, and with them fail-over and
 * moved slots, are the engine's.  Redis blocks a reader only on streams of one
 * slot, so partitions are asked in turn, many in one send: first one entry of
 * each, then more of those that had one.  That costs Redis 2 us a partition, and
 * with nothing to do it happens twice a second.
 *
 *   fresh ──┐ work_next           ┌─ work_done ─▶ XACK
 *   again ──┴───────────▶ handed ─┼─ work_split ─▶ again (first)
 *     ▲ XAUTOCLAIM                └─ work_leave ─▶ forgotten here
 */
#include <stdio.h>

#include "core/check.h"
#include "core/entropy.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/mem.h"
#include "storage/redis/work_parts.h"

/* With so many entries taken over and not yet handed over, no more are taken. */
#define WORK_AGAIN_MAX 256
/* How long nobody is asked when nothing came, at first and at most. */
#define PAUSE_MS       50
#define PAUSE_MAX_MS   500
/* So long the caller waits at most to be told that there is nothing. */
#define NEXT_MS        1000

/* --- names ----------------------------------------------------------------------------------- */

bool work_topic_is_known(const char *topic)
{
    static const char *const topics[] = {"group_msg", "offline_msg", "membership_change",
                                         "read_receipt"};
    for (uint32_t i = 0; i < array_count(topics); i++)
        if (strcmp(topic, topics[i]) == 0) return true;
    return false;
}

bool work_name_is_fine(const char *name)
{
    size_t size = strlen(name);
    for (size_t i = 0; i < size; i++)
        if (name[i] <= ' ' || name[i] > '~' || name[i] == '"' || name[i] == '\\') return false;
    return size >= 1 && size <= WORK_NAME_MAX;
}

/* --- turns ----------------------------------------------------------------------------------- */

static bool is_stopped(const struct work *work)
{
    return work->options.stop != NULL && *work->options.stop != 0;
}

static void turn(struct work *work, uint64_t wait_ms)
{
    uint64_t due_ms = min_u64(work_now_ms(work) + wait_ms, wheel_next_due_ms(&work->wheel));
    store_submit(&work->redis->store);
    loop_enter(work->loop, wait_ms == 0 ? 0 : due_ms);
    clock_turn(&work->clock);
    loop_run(work->loop);
    inbox_read(&work->inbox, work);
    wheel_run(&work->wheel, work_now_ms(work), 1024);
    store_submit(&work->redis->store);
}

/* Until every ask has ended: the links see to it that each does. */
static void turn_all(struct work *work)
{
    while (work->asks > 0) turn(work, 10);
}

void work_wait(struct work *work, uint64_t ms)
{
    uint64_t until_ms = work_now_ms(work) + ms;
    while (work_now_ms(work) < until_ms && !is_stopped(work))
        turn(work, min_u64(until_ms - work_now_ms(work), 50));
}

/* --- reading --------------------------------------------------------------------------------- */

/* One entry of each of the next partitions, then what is missing from those that have more. */
static void read_stride(struct work *work)
{
    uint32_t last = min_u32(work->read_next + WORK_STRIDE, work->partitions);
    if (work->read_next == 0) work->has_read = false;
    work->hot_count = 0;
    for (uint32_t p = work->read_next; p < last; p++) work_ask(work, ASK_READ, p, 1, NULL);
    turn_all(work);
    work->read_next = last == work->partitions ? 0 : last;
    uint32_t batch = work->options.batch;
    if (work->err == ERR_OK && work->hot_count > 0 && work->fresh_count < batch) {
        uint32_t hot_count = work->hot_count;
        uint32_t each = max_u32(1, (batch - work->fresh_count) / hot_count);
        work->hot_count = WORK_STRIDE; /* no further round */
        for (uint32_t i = 0; i < hot_count; i++) work_ask(work, ASK_READ, work->hot[i], each, NULL);
        turn_all(work);
    }
    if (work->read_next == 0) work->is_swept = !work->has_read && work->err == ERR_OK;
}

/* What others left, a stride at a time; a whole round each half of idle_ms. */
static void claim_stride(struct work *work)
{
    if (work->claim_next == work->partitions) {
        if (work_now_ms(work) < work->claim_ms) return;
        work->claim_next = 0;
    }
    if (work->again_count >= WORK_AGAIN_MAX) return;
    uint32_t last = min_u32(work->claim_next + WORK_STRIDE, work->partitions);
    for (uint32_t p = work->claim_next; p < last; p++) work_ask(work, ASK_CLAIM, p, 0, NULL);
    turn_all(work);
    if (work->err != ERR_OK) return; /* the same partitions again */
    work->claim_next = last;
    work->claim_ms = work_now_ms(work) + work->options.idle_ms / 2;
}

/* --- handing over ---------------------------------------------------------------------------- */

static uint32_t hand(struct work *work, struct list *from, uint32_t count,
                     const struct work_entry **entries)
{
    for (uint32_t i = 0; i < count; i++) {
        struct list *node = list_take(from);
        list_append(&work->handed, node);
        entries[i] = container_of(node, struct work_entry, link);
    }
    work->handed_count = count;
    return count;
}

static uint32_t hand_over(struct work *work, const struct work_entry **entries)
{
    if (work->again_count > 0) {
        work->again_count--;
        return hand(work, &work->again, 1, entries);
    }
    bool is_full = work->fresh_count >= work->options.batch;
    bool is_late = work_now_ms(work) - work->fresh_ms >= work->options.wait_ms;
    if (work->fresh_count == 0 || (!is_full && !is_late)) return 0;
    uint32_t count = min_u32(work->fresh_count, work->options.batch);
    work->fresh_count -= count;
    return hand(work, &work->fresh, count, entries);
}

/* Nothing came of a whole sweep that ended just now, and nothing is to be taken over. */
static bool is_dry(const struct work *work)
{
    return work->is_swept && work->read_next == 0 && work->again_count == 0 &&
           work->claim_next == work->partitions;
}

enum err work_next(struct work *work, const struct work_entry **entries, uint32_t *count,
                   bool *is_empty)
{
    check(work->handed_count == 0);
    *is_empty = false;
    work->err = ERR_OK;
    clock_turn(&work->clock);
    uint64_t until_ms = work_now_ms(work) + NEXT_MS;
    for (;;) {
        *count = hand_over(work, entries);
        if (*count > 0 || is_stopped(work)) return ERR_OK;
        claim_stride(work);
        if (work->err == ERR_OK && work->fresh_count < work->options.batch) read_stride(work);
        if (work->err != ERR_OK) return work->err;
        if (!is_dry(work)) {
            if (work->has_read) work->pause_ms = PAUSE_MS;
            continue;
        }
        bool has_none = work->fresh_count == 0;
        if (has_none && (work->options.is_once || work_now_ms(work) >= until_ms)) break;
        work_wait(work, has_none ? work->pause_ms : min_u64(PAUSE_MS, work->options.wait_ms));
        work->pause_ms = min_u64(work->pause_ms * 2, PAUSE_MAX_MS);
    }
    *is_empty = true;
    return ERR_OK;
}

/* One ask for each run of entries of the same partition. */
static void ask_handed(struct work *work, enum ask_kind kind)
{
    struct list *first = NULL;
    uint32_t count = 0, partition = 0;
    list_each (node, &work->handed) {
        const struct work_entry *entry = container_of(node, struct work_entry, link);
        if (first != NULL && entry->partition != partition) {
            work_ask(work, kind, partition, count, first);
            first = NULL;
            count = 0;
        }
        if (first == NULL) first = node;
        partition = entry->partition;
        count++;
    }
    if (first != NULL) work_ask(work, kind, partition, count, first);
    turn_all(work);
}

static void entries_free(struct list *entries)
{
    struct list *node;
    while ((node = list_take(entries)) != NULL)
        mem_free(container_of(node, struct work_entry, link));
}

void work_leave(struct work *work)
{
    entries_free(&work->handed);
    work->handed_count = 0;
}

enum err work_done(struct work *work)
{
    check(work->handed_count > 0);
    work->err = ERR_OK;
    clock_turn(&work->clock);
    ask_handed(work, ASK_ACK);
    if (work->err == ERR_OK) work_leave(work);
    return work->err;
}

enum err work_hold(struct work *work)
{
    check(work->handed_count > 0);
    work->err = ERR_OK;
    clock_turn(&work->clock);
    ask_handed(work, ASK_HOLD);
    return work->err;
}

void work_split(struct work *work)
{
    check(work->handed_count > 0);
    work->again_count += work->handed_count;
    work->handed_count = 0;
    /* In their order, before what waits there. */
    struct list *node;
    while ((node = list_take(&work->again)) != NULL) list_append(&work->handed, node);
    while ((node = list_take(&work->handed)) != NULL) list_append(&work->again, node);
}

uint64_t work_dead(const struct work *work)
{
    return work->dead;
}

const char *work_problem(const struct work *work)
{
    return work->problem;
}

/* --- life ------------------------------------------------------------------------------------ */

/* A sink for nothing: no channel is ever open. */
static void on_publication(void *context, struct store_channel *channel,
                           const struct publication *publication)
{
    (void)context, (void)channel, (void)publication;
    impossible("nothing is fed without an open channel");
}
static void on_members(void *context, struct store_channel *channel,
                       const struct members_change *change)
{
    (void)context, (void)channel, (void)change;
    impossible("nothing is fed without an open channel");
}
static void on_cursor(void *context, struct store_channel *channel,
                      const struct store_cursor *cursor)
{
    (void)context, (void)channel, (void)cursor;
    impossible("nothing is fed without an open channel");
}
static void on_removed(void *context, struct store_channel *channel, uint64_t offset)
{
    (void)context, (void)channel, (void)offset;
    impossible("nothing is fed without an open channel");
}
static void on_lost(void *context, struct store_channel *channel)
{
    (void)context, (void)channel;
    impossible("nothing is fed without an open channel");
}

static void attach(struct work *work, const struct config *config)
{
    uint64_t seed;
    entropy_fill(&seed, sizeof seed);
    loop_start(work->loop);
    inbox_init(&work->inbox, work->loop);
    clock_turn(&work->clock);
    wheel_init(&work->wheel, work_now_ms(work));
    rng_seed(&work->rng, seed);
    struct store_env env = {.shards_count = 1,
                            .loop = work->loop,
                            .inbox = &work->inbox,
                            .wheel = &work->wheel,
                            .clock = &work->clock,
                            .rng = &work->rng,
                            .metrics = &work->metrics,
                            .workers = work->workers,
                            .config = config,
                            .sink = {.on_publication = on_publication,
                                     .on_members = on_members,
                                     .on_cursor = on_cursor,
                                     .on_removed = on_removed,
                                     .on_lost = on_lost}};
    struct store *store = store_attach(work->node, &env);
    check(store != NULL); /* this engine always can */
    work->redis = redis_of(store);
    groups_stop(work->redis); /* gateways tell */
    work->partitions = work->redis->node->options.partitions;
    work->read_next = 0;
}

enum err work_open(const struct config *config, const struct work_options *options,
                   struct work **out)
{
    static const struct loop_options loop_options = {.socks_max = 256,
                                                     .recv_buffers = 64,
                                                     .recv_buffer_size = 64u << 10,
                                                     .sq_entries = 256,
                                                     .cq_entries = 1024,
                                                     .is_quiet = true};
    check(config->storage_engine == CONFIG_ENGINE_REDIS);
    check(options->batch >= 1 && options->batch <= WORK_BATCH_MAX && options->idle_ms > 0);
    struct work *work = mem_alloc(sizeof *work);
    work->options = *options;
    work->pause_ms = PAUSE_MS;
    list_init(&work->fresh);
    list_init(&work->again);
    list_init(&work->handed);
    work->workers = workers_create();
    enum err err = store_node_open(config, work->workers, 1, &work->node);
    if (err == ERR_OK) err = loop_create(&loop_options, &work->loop);
    if (err != ERR_OK) {
        store_node_close(work->node);
        workers_destroy(work->workers);
        mem_free(work);
        return err;
    }
    attach(work, config);
    *out = work;
    return ERR_OK;
}

void work_close(struct work *work)
{
    if (work == NULL) return;
    entries_free(&work->fresh);
    entries_free(&work->again);
    work_leave(work);
    work->err = ERR_OK;
    for (uint32_t p = 0; p < work->partitions && work->err == ERR_OK; p++) {
        work_ask(work, ASK_LEAVE, p, 0, NULL);
        if (p % WORK_STRIDE == WORK_STRIDE - 1) turn_all(work);
    }
    turn_all(work);
    store_detach(&work->redis->store);
    store_node_close(work->node);
    workers_destroy(work->workers);
    inbox_fini(&work->inbox);
    loop_destroy(work->loop);
    mem_free(work);
}
