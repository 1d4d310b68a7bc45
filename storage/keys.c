/*
 * One table and one row of chunks for all channels of the shard, so that the
 * capacity is one number.
 *
 * A place is chunk number * CHUNK_UNITS + offset / 8; numbers begin at 1, so no place
 * is 0.  The table probes linearly and closes gaps on removal, as core/map.h does; it
 * is not that because a slot with the key's bytes and a pointer takes 32 bytes, four
 * times as much to miss, and because who removes the oldest knows their slots before.
 *
 * Invariants: between an entry's home slot and its own no slot is free.  Every chunk
 * but the newest has an entry that is not gone, and none before `first`.
 */
#include "storage/keys.h"

#include "core/hash.h"
#include "core/mem.h"

#define TEXT_SIZE_MAX (8 + 2 + 2 * KEY_PART_MAX)
#define UNIT          8u
#define CHUNK_UNITS   (VERIFY ? 256u : 8192u)
#define CHUNK_SIZE    (CHUNK_UNITS * UNIT)
#define SLOTS_FIRST   8
/* Removed at once where there are so many that the rest does not count. */
#define STEP_MAX      8u
#define STEP_KEYS     (STEP_MAX * 1024u)
/* Pairs of neighbours that are looked at for each new chunk. */
#define LOOKS         4u

struct key_chunk {
    struct list by_age;
    uint32_t number;
    uint32_t live, kept;  /* entries that are not gone, and their bytes */
    uint32_t first, used; /* bytes */
    _Alignas(UNIT) uint8_t bytes[CHUNK_SIZE];
};

static_assert(sizeof(struct key_entry) + TEXT_SIZE_MAX + UNIT <= CHUNK_SIZE, "one fits");

/* Where a walk from the oldest entry is. */
struct key_walk {
    struct list *chunk;
    uint32_t at;
};

void keys_init(struct keys *keys, uint64_t seed, uint32_t count_max, uint64_t horizon_ms,
               struct metrics *metrics)
{
    check(count_max > 0 && horizon_ms > 0);
    *keys = (struct keys){
        .count_max = count_max, .seed = seed, .horizon_ms = horizon_ms, .metrics = metrics};
    keys->step = count_max < STEP_KEYS ? 1 : STEP_MAX;
    list_init(&keys->by_age);
}

static struct key_entry *key_at(const struct keys *keys, uint32_t at)
{
    struct key_chunk *chunk = keys->chunks[at / CHUNK_UNITS];
    return (struct key_entry *)(void *)(chunk->bytes + (size_t)(at % CHUNK_UNITS) * UNIT);
}

static size_t key_size(const struct key_entry *entry)
{
    return round_up(sizeof *entry + 10u + entry->scope_size + entry->key_size, UNIT);
}

/* ── the table ─────────────────────────────────────────────────────────── */

/* The slot of `text`, or the free one where it would go. */
static struct key_slot *slot_find(const struct keys *keys, struct bytes text, uint32_t hash)
{
    check(keys->count < keys->slots_count); /* a free slot ends every probe */
    uint32_t mask = keys->slots_count - 1;
    for (uint32_t i = hash & mask;; i = (i + 1) & mask) {
        struct key_slot *slot = &keys->slots[i];
        if (slot->at == 0) return slot;
        if (slot->hash != hash) continue;
        const struct key_entry *entry = key_at(keys, slot->at);
        size_t size = 10u + entry->scope_size + entry->key_size;
        if (bytes_equal(bytes_of(entry->text, size), text)) return slot;
    }
}

static void slots_grow(struct keys *keys)
{
    struct key_slot *old = keys->slots;
    uint32_t old_count = keys->slots_count;
    check(old_count <= UINT32_MAX / 2);
    keys->slots_count = old_count == 0 ? SLOTS_FIRST : old_count * 2;
    keys->slots = mem_alloc((size_t)keys->slots_count * sizeof *keys->slots);
    uint32_t mask = keys->slots_count - 1;
    for (uint32_t from = 0; from < old_count; from++) {
        if (old[from].at == 0) continue;
        uint32_t i = old[from].hash & mask;
        while (keys->slots[i].at != 0) i = (i + 1) & mask;
        keys->slots[i] = old[from];
    }
    mem_free(old);
}

static uint32_t slot_of(const struct keys *keys, const struct key_entry *entry)
{
    uint32_t mask = keys->slots_count - 1, i = entry->hash & mask;
    while (keys->slots[i].at != entry->at) {
        check(keys->slots[i].at != 0);
        i = (i + 1) & mask;
    }
    return i;
}

static void slot_remove(struct keys *keys, const struct key_entry *entry)
{
    uint32_t mask = keys->slots_count - 1, gap = slot_of(keys, entry);
    for (uint32_t i = (gap + 1) & mask; keys->slots[i].at != 0; i = (i + 1) & mask) {
        uint32_t home = keys->slots[i].hash & mask;
        /* It may move to the gap when the gap lies between its home and it. */
        if (((i - home) & mask) < ((i - gap) & mask)) continue;
        keys->slots[gap] = keys->slots[i];
        gap = i;
    }
    keys->slots[gap] = (struct key_slot){0};
}

/* ── the chunks ────────────────────────────────────────────────────────── */

static struct key_chunk *chunk_of(struct list *node)
{
    return container_of(node, struct key_chunk, by_age);
}

static struct key_chunk *chunk_create(struct keys *keys)
{
    /* They go in the order in which they came, so the next number is mostly free. */
    uint32_t number = keys->chunks_at + 1, tries = keys->chunks_room;
    for (; tries > 0; tries--, number++) {
        if (number >= keys->chunks_room) number = 1;
        if (keys->chunks_room > 1 && keys->chunks[number] == NULL) break;
    }
    if (tries == 0) {
        uint32_t room = max_u32(16, keys->chunks_room * 2);
        check(room <= UINT32_MAX / CHUNK_UNITS);
        number = max_u32(1, keys->chunks_room);
        keys->chunks = mem_resize(keys->chunks, room * sizeof(void *));
        memset(keys->chunks + keys->chunks_room, 0, (room - keys->chunks_room) * sizeof(void *));
        keys->chunks_room = room;
    }
    struct key_chunk *chunk = mem_resize(NULL, sizeof *chunk); /* zeroes would be written twice */
    *chunk = (struct key_chunk){0};
    chunk->number = keys->chunks_at = number;
    keys->chunks[number] = chunk;
    list_append(&keys->by_age, &chunk->by_age);
    return chunk;
}

static void chunk_free(struct keys *keys, struct key_chunk *chunk)
{
    check(keys->chunks[chunk->number] == chunk);
    keys->chunks[chunk->number] = NULL;
    if (keys->look == &chunk->by_age) keys->look = chunk->by_age.next;
    list_remove(&chunk->by_age);
    mem_free(chunk);
}

static struct key_entry *chunk_entry(struct key_chunk *chunk, uint32_t at)
{
    return (struct key_entry *)(void *)(chunk->bytes + at);
}

/* To the end of `chunk`, which may be its own. */
static void entry_move(struct keys *keys, struct key_entry *entry, struct key_chunk *chunk)
{
    size_t size = key_size(entry);
    uint32_t slot = slot_of(keys, entry);
    struct list *before = entry->by_owner.prev;
    list_remove(&entry->by_owner);
    struct key_entry *moved = chunk_entry(chunk, chunk->used);
    check(chunk->used + size <= CHUNK_SIZE);
    memmove(moved, entry, size);
    moved->at = keys->slots[slot].at = chunk->number * CHUNK_UNITS + chunk->used / UNIT;
    list_init(&moved->waiters);
    list_prepend(before, &moved->by_owner);
    chunk->used += (uint32_t)size;
}

/* Moves what is not gone of `from` to the end of `chunk`, in its order. */
static void entries_move(struct keys *keys, struct key_chunk *from, struct key_chunk *chunk)
{
    uint32_t at = from->first, end = from->used;
    if (from == chunk) chunk->first = chunk->used = 0;
    while (at < end) {
        struct key_entry *entry = chunk_entry(from, at);
        at += (uint32_t)key_size(entry); /* before something comes to stand there */
        if (!entry->is_gone) entry_move(keys, entry, chunk);
    }
}

/* An append that is under way knows its entry by its place. */
static bool chunk_has_pending(struct key_chunk *chunk)
{
    for (uint32_t at = chunk->first; at < chunk->used;) {
        const struct key_entry *entry = chunk_entry(chunk, at);
        if (!entry->is_gone && entry->state == KEY_PENDING) return true;
        at += (uint32_t)key_size(entry);
    }
    return false;
}

/* Of two neighbours one, when they fill no more than half of it. */
static bool chunks_join(struct keys *keys, struct key_chunk *older, struct key_chunk *newer)
{
    if (older->kept + newer->kept > CHUNK_SIZE / 2) return false;
    if (chunk_has_pending(older) || chunk_has_pending(newer)) return false;
    entries_move(keys, older, older);
    entries_move(keys, newer, older);
    older->live += newer->live;
    older->kept += newer->kept;
    check(older->used == older->kept);
    chunk_free(keys, newer);
    return true;
}

/* The newest one is left alone: what comes goes there. */
static void chunks_look(struct keys *keys)
{
    for (uint32_t i = 0; i < LOOKS; i++) {
        struct list *node = keys->look, *newest = keys->by_age.prev;
        if (node == NULL || node == &keys->by_age) node = keys->by_age.next;
        keys->look = node->next;
        if (node == newest || node->next == newest || node == &keys->by_age) {
            keys->look = NULL;
            return;
        }
        if (chunks_join(keys, chunk_of(node), chunk_of(node->next))) keys->look = node;
    }
}

static struct key_entry *chunk_take(struct keys *keys, size_t size)
{
    struct key_chunk *chunk = NULL;
    if (!list_is_empty(&keys->by_age)) chunk = chunk_of(keys->by_age.prev);
    if (chunk != NULL && chunk->live == 0) chunk->first = chunk->used = 0;
    if (chunk == NULL || chunk->used + size > CHUNK_SIZE) {
        chunks_look(keys);
        chunk = chunk_create(keys);
    }
    struct key_entry *entry = chunk_entry(chunk, chunk->used);
    *entry = (struct key_entry){.at = chunk->number * CHUNK_UNITS + chunk->used / UNIT};
    chunk->used += (uint32_t)size;
    chunk->kept += (uint32_t)size;
    chunk->live++;
    return entry;
}

static void chunk_give(struct keys *keys, struct key_entry *entry)
{
    struct key_chunk *chunk = keys->chunks[entry->at / CHUNK_UNITS];
    check(chunk->live > 0 && !entry->is_gone);
    entry->is_gone = true;
    chunk->live--;
    chunk->kept -= (uint32_t)key_size(entry);
    if (chunk->live > 0 || keys->by_age.prev == &chunk->by_age) return;
    chunk_free(keys, chunk);
}

static struct key_walk walk_begin(const struct keys *keys)
{
    struct key_walk walk = {.chunk = keys->by_age.next};
    if (!list_is_empty(&keys->by_age)) walk.at = chunk_of(walk.chunk)->first;
    return walk;
}

/* The next entry in the order of age, or NULL.  Nothing may go while the walk lasts. */
static struct key_entry *walk_next(const struct keys *keys, struct key_walk *walk)
{
    while (walk->chunk != &keys->by_age) {
        struct key_chunk *chunk = chunk_of(walk->chunk);
        if (walk->at >= chunk->used) {
            walk->chunk = walk->chunk->next;
            if (walk->chunk != &keys->by_age) walk->at = chunk_of(walk->chunk)->first;
            continue;
        }
        struct key_entry *entry = chunk_entry(chunk, walk->at);
        uint32_t after = walk->at + (uint32_t)key_size(entry);
        if (entry->is_gone && walk->at == chunk->first) chunk->first = after;
        walk->at = after;
        if (!entry->is_gone) return entry;
    }
    return NULL;
}

/* ── entries ───────────────────────────────────────────────────────────── */

static void keys_remove(struct keys *keys, struct key_entry *entry)
{
    check(list_is_empty(&entry->waiters) && keys->count > 0);
    slot_remove(keys, entry);
    list_remove(&entry->by_owner);
    keys->count--;
    chunk_give(keys, entry);
}

void keys_fini(struct keys *keys)
{
    struct key_walk walk = walk_begin(keys);
    for (struct key_entry *entry; (entry = walk_next(keys, &walk)) != NULL;) {
        check(entry->state != KEY_PENDING && list_is_empty(&entry->waiters));
    }
    for (struct list *node; (node = keys->by_age.next) != &keys->by_age;) {
        chunk_free(keys, chunk_of(node));
    }
    mem_free(keys->chunks);
    mem_free(keys->slots);
    keys->chunks = NULL;
    keys->slots = NULL;
    keys->look = NULL;
    keys->count = keys->slots_count = keys->chunks_room = 0;
}

void keys_own(struct keys *keys, struct key_owner *owner)
{
    check(owner->id == 0);
    owner->id = ++keys->owner_last;
    list_init(&owner->entries);
}

void keys_disown(struct keys *keys, struct key_owner *owner)
{
    if (owner->id == 0) return;
    list_each (node, &owner->entries) {
        struct key_entry *entry = container_of(node, struct key_entry, by_owner);
        check(entry->state != KEY_PENDING);
        keys_remove(keys, entry);
    }
    owner->id = 0;
}

static struct bytes keys_text(uint8_t text[TEXT_SIZE_MAX], const struct key_owner *owner,
                              struct bytes scope, struct bytes key)
{
    check(owner->id != 0);
    check(scope.size <= KEY_PART_MAX && key.size > 0 && key.size <= KEY_PART_MAX);
    struct writer writer = writer_of(text, TEXT_SIZE_MAX);
    write_u64(&writer, owner->id);
    write_u16(&writer, (uint16_t)scope.size); /* so that ("a","bc") is not ("ab","c") */
    write_bytes(&writer, scope);
    write_bytes(&writer, key);
    check(!writer.failed);
    return writer_bytes(&writer);
}

static struct key_entry *keys_look(const struct keys *keys, struct bytes text)
{
    if (keys->count == 0) return NULL;
    uint32_t at = slot_find(keys, text, (uint32_t)hash_bytes(text, keys->seed))->at;
    return at == 0 ? NULL : key_at(keys, at);
}

static bool key_is_over(const struct keys *keys, const struct key_entry *entry, uint64_t now_ms)
{
    return entry->state == KEY_KNOWN && entry->time_ms + keys->horizon_ms <= now_ms;
}

struct key_entry *keys_find(struct keys *keys, const struct key_owner *owner, struct bytes scope,
                            struct bytes key, uint64_t now_ms)
{
    uint8_t text[TEXT_SIZE_MAX];
    struct key_entry *entry = keys_look(keys, keys_text(text, owner, scope, key));
    if (entry == NULL) return NULL;
    if (!key_is_over(keys, entry, now_ms)) return entry;
    keys_remove(keys, entry);
    return NULL;
}

/* Makes room: only what is KNOWN may go, an answer under way may not.  The lines of
 * all that go are fetched before the first of them is needed. */
static void keys_make_room(struct keys *keys, uint64_t now_ms)
{
    struct key_entry *going[STEP_MAX];
    if (keys->count < keys->count_max + keys->step - 1) return;
    uint32_t count = 0;
    struct key_walk walk = walk_begin(keys);
    for (struct key_entry *entry; count < keys->step;) {
        entry = walk_next(keys, &walk);
        if (entry == NULL) break;
        if (entry->state != KEY_KNOWN) continue;
        __builtin_prefetch(&keys->slots[entry->hash & (keys->slots_count - 1)], 1);
        __builtin_prefetch(entry->by_owner.next, 1);
        __builtin_prefetch(entry->by_owner.prev, 1);
        going[count++] = entry;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!key_is_over(keys, going[i], now_ms)) metric_add(keys->metrics, METRIC_KEYS_EARLY, 1);
        keys_remove(keys, going[i]);
    }
}

static struct key_entry *keys_add(struct keys *keys, struct key_owner *owner, struct bytes scope,
                                  struct bytes text, uint64_t time_ms)
{
    if ((uint64_t)(keys->count + 1) * 4 > (uint64_t)keys->slots_count * 3) slots_grow(keys);
    uint32_t hash = (uint32_t)hash_bytes(text, keys->seed);
    struct key_slot *slot = slot_find(keys, text, hash);
    check(slot->at == 0); /* the key must not be present */
    struct key_entry *entry =
        chunk_take(keys, round_up(sizeof(struct key_entry) + text.size, UNIT));
    entry->hash = hash;
    entry->state = KEY_PENDING;
    entry->time_ms = time_ms;
    entry->scope_size = (uint16_t)scope.size;
    entry->key_size = (uint16_t)(text.size - 10 - scope.size);
    memcpy(entry->text, text.at, text.size);
    list_init(&entry->waiters);
    list_append(&owner->entries, &entry->by_owner);
    *slot = (struct key_slot){hash, entry->at};
    keys->count++;
    return entry;
}

struct key_entry *keys_begin(struct keys *keys, struct key_owner *owner, struct bytes scope,
                             struct bytes key, uint64_t now_ms)
{
    uint8_t text[TEXT_SIZE_MAX];
    keys_make_room(keys, now_ms);
    struct key_entry *entry =
        keys_add(keys, owner, scope, keys_text(text, owner, scope, key), now_ms);
    check(entry->state == KEY_PENDING);
    return entry;
}

void keys_end(struct key_entry *entry, uint64_t offset)
{
    check(entry->state == KEY_PENDING && list_is_empty(&entry->waiters));
    entry->state = KEY_KNOWN;
    entry->offset = offset;
}

void keys_refuse(struct key_entry *entry)
{
    check(entry->state == KEY_PENDING && list_is_empty(&entry->waiters));
    entry->state = KEY_REFUSED;
}

void keys_cancel(struct keys *keys, struct key_entry *entry)
{
    check(entry->state == KEY_PENDING);
    keys_remove(keys, entry);
}

void keys_load(struct keys *keys, struct key_owner *owner, struct bytes scope, struct bytes key,
               uint64_t offset, uint64_t time_ms)
{
    uint8_t text[TEXT_SIZE_MAX];
    struct bytes name = keys_text(text, owner, scope, key);
    struct key_entry *known = keys_look(keys, name);
    if (known != NULL && (known->state != KEY_KNOWN || known->offset >= offset)) return;
    if (known != NULL) keys_remove(keys, known);
    keys_make_room(keys, time_ms);
    struct key_entry *entry = keys_add(keys, owner, scope, name, time_ms);
    keys_end(entry, offset);
}

void keys_expire(struct keys *keys, uint64_t now_ms, uint32_t count_max)
{
    for (; count_max > 0; count_max--) {
        struct key_walk walk = walk_begin(keys); /* its chunk may be gone */
        struct key_entry *entry = walk_next(keys, &walk);
        if (entry == NULL || !key_is_over(keys, entry, now_ms)) return;
        keys_remove(keys, entry);
    }
}

static void chunk_verify(const struct keys *keys, struct key_chunk *chunk)
{
    uint32_t live = 0, kept = 0;
    check(keys->chunks[chunk->number] == chunk && chunk->first <= chunk->used);
    for (uint32_t at = chunk->first; at < chunk->used;) {
        const struct key_entry *entry = chunk_entry(chunk, at);
        uint32_t size = (uint32_t)key_size(entry);
        live += !entry->is_gone;
        kept += entry->is_gone ? 0 : size;
        at += size;
    }
    check(live == chunk->live && kept == chunk->kept);
    check(live > 0 || keys->by_age.prev == &chunk->by_age);
}

void keys_verify(const struct keys *keys)
{
    list_each (node, &keys->by_age) chunk_verify(keys, chunk_of(node));
    uint32_t count = 0, slots = 0;
    struct key_walk walk = walk_begin(keys);
    for (struct key_entry *entry; (entry = walk_next(keys, &walk)) != NULL; count++) {
        struct bytes text = bytes_of(entry->text, 10u + entry->scope_size + entry->key_size);
        check(key_at(keys, entry->at) == entry);
        check(slot_find(keys, text, entry->hash)->at == entry->at);
    }
    for (uint32_t i = 0; i < keys->slots_count; i++) slots += keys->slots[i].at != 0;
    check(count == keys->count && slots == keys->count);
}
