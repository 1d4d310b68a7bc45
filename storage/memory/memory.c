/*
 * memory: the engine that keeps everything in the process.
 *
 * What a turn asks for waits in one queue and is answered by the next submit,
 * in order, so callers meet the same life as with a disk behind it.  A channel
 * that was closed keeps its records until its publications and keys are past their
 * time and nobody has opened it for history_meta_ttl.
 *
 * Memory:  a heap block per stored publication; bounded by the history rules.
 */
#include "core/entropy.h"
#include "core/log.h"
#include "core/mem.h"
#include "storage/engines.h"
#include "storage/keys.h"
#include "storage/memory/kept.h"
#include "storage/memory/listing.h"

/* Ops answered by one submit; what is left runs in the next turn. */
#define MEMORY_OPS_PER_SUBMIT (VERIFY ? 8 : 4096)
#define MEMORY_SWEEP_MS       10000

struct memory_node {
    struct store_node node;
    const struct config *config;
    struct listing listing;
};

struct memory_store {
    struct store store; /* first: a store is cast back */
    struct map channels;
    struct keys keys;
    struct list asked;
    uint32_t pending;
    bool is_submitting;
    struct timer wake, sweep;
    struct publication *publications; /* scratch of one answer */
    size_t publications_max;
    struct lister lister;
};

static struct memory_store *memory_of(struct store *store)
{
    return container_of(store, struct memory_store, store);
}

static enum err memory_node_open(const struct config *config, struct workers *workers,
                                 uint32_t shards_count, struct store_node **node)
{
    (void)workers, (void)shards_count;
    struct memory_node *memory = mem_alloc(sizeof *memory);
    memory->node.engine = &store_engine_memory;
    memory->config = config;
    listing_init(&memory->listing);
    log_info("store keeps everything in memory: a restart forgets it");
    *node = &memory->node;
    return ERR_OK;
}

static void memory_node_close(struct store_node *node)
{
    struct memory_node *memory = container_of(node, struct memory_node, node);
    listing_fini(&memory->listing);
    mem_free(memory);
}

static void memory_on_wake(struct timer *timer);
static void memory_on_sweep(struct timer *timer);

static struct store *memory_attach(struct store_node *node, const struct store_env *env)
{
    struct memory_store *memory = mem_alloc(sizeof *memory);
    memory->store = (struct store){.engine = node->engine, .env = *env};
    memory->store.age_base_ms = env->clock->wall_ms - clock_turn_ms(env->clock);
    uint64_t seed;
    entropy_fill(&seed, sizeof seed);
    map_init(&memory->channels, seed);
    keys_init(&memory->keys, seed, env->config->storage_dedup_keys_max,
              env->config->storage_dedup_horizon_ms, env->metrics);
    list_init(&memory->asked);
    struct memory_node *of = container_of(node, struct memory_node, node);
    lister_init(&memory->lister, &of->listing, &memory->store.env);
    wheel_arm(env->wheel, &memory->sweep, clock_turn_ms(env->clock) + MEMORY_SWEEP_MS,
              memory_on_sweep);
    return &memory->store;
}

static void channel_on_member(void *context, struct bytes user, bool is_leave)
{
    struct memory_channel *channel = context;
    if (is_leave) moves_forget(&channel->moves, user);
    lister_note(channel->lister, user, channel->name, is_leave);
}

static struct memory_channel *channel_create(struct memory_store *memory, struct bytes name)
{
    struct memory_channel *channel = mem_alloc(sizeof *channel + name.size);
    memcpy(channel->text, name.at, name.size);
    channel->name = bytes_of(channel->text, name.size);
    entropy_fill(channel->epoch, 8);
    for (int i = 0; i < 8; i++) {
        uint32_t letter = (uint8_t)channel->epoch[i] % 52;
        channel->epoch[i] = (char)(letter < 26 ? 'a' + letter : 'A' + letter - 26);
    }
    members_init(&channel->members, memory->channels.seed);
    channel->members.on_change = channel_on_member;
    channel->members.context = channel;
    channel->lister = &memory->lister;
    keys_own(&memory->keys, &channel->keys);
    map_put(&memory->channels, channel->name, channel);
    return channel;
}

static void channel_destroy(struct memory_store *memory, struct memory_channel *channel)
{
    check(channel->open == NULL);
    void *removed = map_remove(&memory->channels, channel->name);
    check(removed == channel);
    while (channel->count > 0) kept_shift(channel);
    keys_disown(&memory->keys, &channel->keys);
    members_fini(&channel->members);
    moves_fini(&channel->moves);
    mem_free(channel->ring);
    mem_free(channel);
}

static void memory_detach(struct store *store)
{
    struct memory_store *memory = memory_of(store);
    check(memory->pending == 0 && list_is_empty(&memory->asked));
    wheel_disarm(store->env.wheel, &memory->wake);
    wheel_disarm(store->env.wheel, &memory->sweep);
    for (struct memory_channel *channel; memory->channels.count > 0;) {
        uint32_t at = 0;
        channel = map_next(&memory->channels, &at);
        channel_destroy(memory, channel);
    }
    map_fini(&memory->channels);
    keys_fini(&memory->keys);
    lister_fini(&memory->lister);
    mem_free(memory->publications);
    mem_free(memory);
}

/* Queues for the next submit, which a timer brings when the turn has none left. */
static struct memory_entry *memory_ask(struct memory_store *memory, enum memory_op kind, void *op,
                                       size_t bytes_size)
{
    const struct store_env *env = &memory->store.env;
    struct memory_entry *entry = mem_alloc(sizeof *entry + bytes_size);
    entry->kind = kind;
    entry->op = op;
    if (list_is_empty(&memory->asked) && !timer_is_armed(&memory->wake)) {
        wheel_arm(env->wheel, &memory->wake, clock_turn_ms(env->clock), memory_on_wake);
    }
    list_append(&memory->asked, &entry->link);
    memory->pending++;
    return entry;
}

static void memory_open(struct store *store, struct store_open *op)
{
    check(op->channel->engine == NULL && op->on_opened != NULL);
    struct memory_store *memory = memory_of(store);
    struct memory_channel *channel = map_find(&memory->channels, op->channel->name);
    if (channel == NULL) channel = channel_create(memory, op->channel->name);
    check(channel->open == NULL);
    channel->open = op->channel;
    op->channel->engine = channel;
    memory_ask(memory, MEMORY_OPEN, op, 0)->channel = channel;
}

static void memory_close(struct store *store, struct store_channel *channel)
{
    struct memory_channel *closed = channel->engine;
    check(closed != NULL && closed->open == channel);
    closed->history = channel->history;
    closed->time_ms = max_u64(closed->time_ms, store_now_ms(store));
    closed->open = NULL;
    channel->engine = NULL;
}

/* Copies every view of the op behind the entry. */
static void entry_copy(struct memory_entry *entry, const struct store_append *op, size_t size)
{
    struct writer writer = writer_of(entry->bytes, size);
    if (op->type == RECORD_PUBLICATION) {
        struct publication publication = op->publication;
        publication.offset = publication.deletes; /* its own comes later */
        publication_write(&writer, &publication);
        struct reader reader = reader_of(writer_bytes(&writer));
        enum err err = publication_read(&reader, &entry->publication);
        check(err == ERR_OK);
    } else if (op->type == RECORD_CURSOR) {
        write_bytes(&writer, op->user);
        entry->mark = op->mark;
        entry->publication.offset = op->offset;
    } else if (op->type == RECORD_MEMBERS) {
        members_ask_write(&writer, &op->members);
        entry->members = op->members.kind;
    }
    entry->body = writer_bytes(&writer);
    check(!writer.failed);
}

static size_t append_size(const struct store_append *op)
{
    if (op->type == RECORD_PUBLICATION) return publication_size(&op->publication);
    if (op->type == RECORD_CURSOR) return op->user.size;
    if (op->type == RECORD_REMOVE) return 0;
    check(op->type == RECORD_MEMBERS);
    return members_ask_size(&op->members);
}

static void memory_append(struct store *store, struct store_append *op)
{
    struct memory_store *memory = memory_of(store);
    struct memory_channel *channel = op->channel->engine;
    check(channel != NULL && op->on_appended != NULL);
    uint64_t now_ms = store_now_ms(store);
    struct key_entry *key = NULL;
    if (op->key.size > 0) {
        key = keys_find(&memory->keys, &channel->keys, op->scope, op->key, now_ms);
        if (key != NULL && key->state == KEY_PENDING) {
            list_append(&key->waiters, &op->link);
            memory->pending++;
            return;
        }
    }
    bool is_repeat = key != NULL;
    struct memory_entry *entry =
        memory_ask(memory, MEMORY_APPEND, op, is_repeat || op->is_look_up ? 0 : append_size(op));
    entry->channel = channel;
    entry->is_repeat = is_repeat;
    if (is_repeat) entry->publication.offset = key->offset;
    if (is_repeat || op->is_look_up) return;
    entry_copy(entry, op, append_size(op));
    entry->time_ms = now_ms;
    if (op->type == RECORD_PUBLICATION) {
        entry->publication.time_ms = store->env.clock->wall_ms;
        entry->publication.taken_ms = now_ms;
    }
    if (op->key.size > 0) {
        entry->key = keys_begin(&memory->keys, &channel->keys, op->scope, op->key, now_ms);
    }
}

static void memory_read(struct store *store, struct store_read *op)
{
    check(op->channel->engine != NULL && op->on_read != NULL);
    memory_ask(memory_of(store), MEMORY_READ, op, 0)->channel = op->channel->engine;
}

static void memory_moves(struct store *store, struct store_moves *op)
{
    check(op->channel->engine != NULL && op->on_moves != NULL);
    check(op->users_count <= STORE_MOVES_MEMBERS_MAX);
    size_t size = op->users_count * sizeof *op->users;
    for (uint32_t i = 0; i < op->users_count; i++) size += op->users[i].size;
    struct memory_entry *entry = memory_ask(memory_of(store), MEMORY_MOVES, op, size);
    struct bytes *users = (struct bytes *)(void *)entry->bytes;
    uint8_t *text = entry->bytes + op->users_count * sizeof *op->users;
    for (uint32_t i = 0; i < op->users_count; i++) {
        memcpy(text, op->users[i].at, op->users[i].size);
        users[i] = bytes_of(text, op->users[i].size);
        text += op->users[i].size;
    }
    entry->channel = op->channel->engine;
}

static void memory_memberships(struct store *store, struct store_memberships *op)
{
    check(op->on_memberships != NULL && op->limit > 0 && op->limit <= STORE_MEMBERSHIPS_MAX);
    lister_ask(&memory_of(store)->lister, op);
}

static void memory_reserve(struct memory_store *memory, size_t count)
{
    if (count <= memory->publications_max) return;
    memory->publications_max = count * 2;
    memory->publications =
        mem_resize(memory->publications, memory->publications_max * sizeof *memory->publications);
}

static void memory_answer_open(struct memory_store *memory, struct memory_entry *entry)
{
    struct store_open *op = entry->op;
    struct memory_channel *channel = entry->channel;
    check(channel->open == op->channel);
    kept_trim(channel, store_now_ms(&memory->store));
    uint32_t count = min_u32(channel->count, op->window_max);
    memory_reserve(memory, count);
    for (uint32_t i = 0; i < count; i++) {
        memory->publications[i] = kept_at(channel, channel->head - count + 1 + i)->publication;
    }
    uint32_t members_count = channel->members.map.count;
    struct store_member *members = mem_alloc((members_count + 1) * sizeof *members);
    members_list(&channel->members, members);
    struct store_snapshot snapshot = {
        memory->publications,    count,           members, members_count,
        channel->members.policy, channel->removed};
    op->channel->head = channel->head;
    memcpy(op->channel->epoch, channel->epoch, sizeof channel->epoch);
    op->on_opened(op, ERR_OK, &snapshot);
    mem_free(members);
}

static void memory_answer_read(struct memory_store *memory, struct memory_entry *entry)
{
    struct store_read *op = entry->op;
    struct memory_channel *channel = entry->channel;
    kept_trim(channel, store_now_ms(&memory->store));
    uint64_t first = channel->head - channel->count + 1, after = channel->head + 1;
    if (op->is_reverse) {
        if (op->since > 0) after = max_u64(first, min_u64(after, op->since));
    } else {
        first = op->since >= channel->head ? after : max_u64(first, op->since + 1);
    }
    uint32_t count = (uint32_t)min_u64(after - first, op->limit);
    memory_reserve(memory, count);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t offset = op->is_reverse ? after - 1 - i : first + i;
        memory->publications[i] = kept_at(channel, offset)->publication;
    }
    op->on_read(op, ERR_OK, memory->publications, count);
}

static void memory_answer_moves(struct memory_entry *entry)
{
    struct store_moves *op = entry->op;
    struct store_moved moved[STORE_MOVES_MEMBERS_MAX] = {{0}};
    const struct bytes *users = (const struct bytes *)(void *)entry->bytes;
    moves_find(&entry->channel->moves, op->offset, users, op->users_count, moved);
    for (uint32_t i = 0; i < op->users_count; i++) {
        const struct store_member *member = members_find(&entry->channel->members, users[i]);
        moved[i].joined = member == NULL ? 0 : member->joined;
    }
    op->on_moves(op, ERR_OK, moved);
}

static void memory_end_key(struct memory_store *memory, struct key_entry *key, uint64_t offset)
{
    struct list waiters;
    list_init(&waiters);
    for (struct list *node; (node = list_take(&key->waiters)) != NULL;) {
        list_append(&waiters, node);
    }
    keys_end(key, offset);
    for (struct list *node; (node = list_take(&waiters)) != NULL;) {
        struct store_append *op = container_of(node, struct store_append, link);
        memory->pending--;
        op->on_appended(op, ERR_OK, offset, true);
    }
}

/* Moves a cursor, and remembers when. */
static void channel_move(struct memory_channel *channel, const struct store_cursor *cursor)
{
    bool has_moved =
        members_move(&channel->members, cursor->user, cursor->mark, cursor->offset, channel->head);
    if (has_moved && !mark_is_of_channel(cursor->mark) &&
        channel->members.map.count <= STORE_MOVES_MEMBERS_MAX)
        moves_add(&channel->moves, cursor);
}

/* Applies a publication and feeds it.  Returns true when it is kept. */
static bool memory_publish(struct memory_store *memory, struct memory_entry *entry)
{
    struct memory_channel *channel = entry->channel;
    const struct store_sink *sink = &memory->store.env.sink;
    struct store_channel *open = channel->open;
    bool is_kept = entry->publication.offset > 0;
    if (is_kept) kept_push(channel, entry);
    if (is_kept && entry->publication.deletes > 0) kept_bury(channel, entry->publication.deletes);
    struct bytes mover = publication_mover(&entry->publication);
    if (mover.size > 0) {
        struct store_cursor cursor = {mover, CURSOR_READ, entry->publication.offset,
                                      entry->publication.taken_ms};
        channel_move(channel, &cursor);
    }
    if (open != NULL) {
        if (is_kept) open->head = entry->publication.offset;
        sink->on_publication(sink->context, open, &entry->publication);
    }
    /* Last: it may free this very entry when the sink changed the rule. */
    kept_trim(channel, store_now_ms(&memory->store));
    return is_kept;
}

static void memory_change(struct memory_store *memory, struct memory_entry *entry)
{
    struct memory_channel *channel = entry->channel;
    const struct store_sink *sink = &memory->store.env.sink;
    struct members_change change;
    enum err err = members_change_read(entry->body, entry->members, channel->head, &change);
    check(err == ERR_OK); /* we wrote it */
    members_apply(&channel->members, &change);
    if (channel->open != NULL) sink->on_members(sink->context, channel->open, &change);
    members_change_fini(&change);
}

/* Applies the record and feeds it.  Returns true when the entry is kept. */
static bool memory_apply(struct memory_store *memory, struct memory_entry *entry,
                         enum record_type type)
{
    struct memory_channel *channel = entry->channel;
    const struct store_sink *sink = &memory->store.env.sink;
    if (type == RECORD_PUBLICATION) return memory_publish(memory, entry);
    if (type == RECORD_MEMBERS) {
        memory_change(memory, entry);
    } else if (type == RECORD_REMOVE) {
        while (channel->count > 0) kept_shift(channel);
        channel->removed = channel->head;
        if (channel->open != NULL) sink->on_removed(sink->context, channel->open, channel->head);
    } else {
        check(type == RECORD_CURSOR);
        struct store_cursor cursor = {entry->body, entry->mark, entry->publication.offset,
                                      entry->time_ms};
        channel_move(channel, &cursor);
        if (channel->open != NULL) sink->on_cursor(sink->context, channel->open, &cursor);
    }
    return false;
}

/* Returns true when the entry is kept as a stored publication. */
static bool memory_answer_append(struct memory_store *memory, struct memory_entry *entry)
{
    struct store_append *op = entry->op;
    struct memory_channel *channel = entry->channel;
    struct metrics *metrics = memory->store.env.metrics;
    if (entry->is_repeat) {
        op->on_appended(op, ERR_OK, entry->publication.offset, true);
        return false;
    }
    if (op->is_look_up) {
        op->on_appended(op, ERR_NOT_FOUND, 0, false);
        return false;
    }
    enum record_type type = op->type;
    uint64_t answer = channel->head;
    if (type == RECORD_CURSOR) {
        if (entry->mark <= CURSOR_DELIVERED)
            entry->publication.offset = min_u64(entry->publication.offset, channel->head);
        answer = entry->publication.offset;
    }
    if (type == RECORD_PUBLICATION) {
        answer = 0;
        if (history_is_kept(op->channel->history) && !op->is_live_only) {
            answer = ++channel->head;
            channel->time_ms = entry->publication.taken_ms;
        }
        entry->publication.offset = answer;
    }
    metric_add(metrics, METRIC_STORE_APPENDS, 1);
    struct key_entry *key = entry->key;
    op->on_appended(op, ERR_OK, answer, false);
    if (key != NULL) memory_end_key(memory, key, answer);
    return memory_apply(memory, entry, type);
}

static void memory_submit(struct store *store)
{
    struct memory_store *memory = memory_of(store);
    check(!memory->is_submitting);
    if (list_is_empty(&memory->asked)) return;
    memory->is_submitting = true;
    wheel_disarm(store->env.wheel, &memory->wake);
    for (uint32_t i = 0; i < MEMORY_OPS_PER_SUBMIT; i++) {
        struct list *node = list_take(&memory->asked);
        if (node == NULL) break;
        struct memory_entry *entry = container_of(node, struct memory_entry, link);
        bool is_kept = false;
        memory->pending--;
        if (entry->kind == MEMORY_OPEN) memory_answer_open(memory, entry);
        if (entry->kind == MEMORY_READ) memory_answer_read(memory, entry);
        if (entry->kind == MEMORY_MOVES) memory_answer_moves(entry);
        if (entry->kind == MEMORY_APPEND) is_kept = memory_answer_append(memory, entry);
        if (!is_kept) mem_free(entry);
    }
    metric_add(store->env.metrics, METRIC_STORE_COMMITS, 1);
    if (!list_is_empty(&memory->asked)) {
        wheel_arm(store->env.wheel, &memory->wake, clock_turn_ms(store->env.clock), memory_on_wake);
    }
    memory->is_submitting = false;
}

static void memory_on_wake(struct timer *timer)
{
    memory_submit(&container_of(timer, struct memory_store, wake)->store);
}

/* Keys hold offsets of the channel's epoch, so they keep it as well. */
static bool channel_is_over(const struct memory_store *memory, const struct memory_channel *channel,
                            uint64_t now_ms)
{
    uint64_t ttl_ms = store_meta_ttl_ms(memory->store.env.config, channel->name);
    bool is_empty = channel->count == 0 && channel->members.map.count == 0 &&
                    channel->members.policy == 0 && list_is_empty(&channel->keys.entries);
    return channel->open == NULL && is_empty && channel->time_ms + ttl_ms <= now_ms;
}

/* Forgets closed channels whose time is over; the walk is O(channels), rare. */
static void memory_on_sweep(struct timer *timer)
{
    struct memory_store *memory = container_of(timer, struct memory_store, sweep);
    const struct store_env *env = &memory->store.env;
    struct memory_channel *gone[1024];
    uint64_t now_ms = store_now_ms(&memory->store);
    uint32_t at = 0, count = 0;
    keys_expire(&memory->keys, now_ms, 10000);
    for (struct memory_channel *channel; (channel = map_next(&memory->channels, &at)) != NULL;) {
        kept_trim(channel, now_ms);
        moves_trim(&channel->moves, now_ms);
        if (count < array_count(gone) && channel_is_over(memory, channel, now_ms))
            gone[count++] = channel;
    }
    for (uint32_t i = 0; i < count; i++) channel_destroy(memory, gone[i]);
    wheel_arm(env->wheel, timer, clock_turn_ms(env->clock) + MEMORY_SWEEP_MS, memory_on_sweep);
}

static uint32_t memory_pending(const struct store *store)
{
    const struct memory_store *memory = (const struct memory_store *)store;
    return memory->pending + lister_pending(&memory->lister);
}

static void memory_health(const struct store *store, struct store_health *health)
{
    (void)store;
    *health = (struct store_health){
        .is_ok = true, .detail = "everything is kept in memory", .durability = "memory"};
}

const struct store_engine store_engine_memory = {
    .name = "memory",
    .node_open = memory_node_open,
    .node_close = memory_node_close,
    .attach = memory_attach,
    .detach = memory_detach,
    .open = memory_open,
    .close = memory_close,
    .append = memory_append,
    .read = memory_read,
    .moves = memory_moves,
    .memberships = memory_memberships,
    .submit = memory_submit,
    .pending = memory_pending,
    .health = memory_health,
};
