/* One map for all channels of the shard, so that the capacity is one number. */
#include "storage/keys.h"

#include "core/mem.h"

#define TEXT_SIZE_MAX (8 + 2 + 2 * KEY_PART_MAX)

void keys_init(struct keys *keys, uint64_t seed, uint32_t count_max, uint64_t horizon_ms,
               struct metrics *metrics)
{
    check(count_max > 0 && horizon_ms > 0);
    *keys = (struct keys){.count_max = count_max, .horizon_ms = horizon_ms, .metrics = metrics};
    map_init(&keys->map, seed);
    list_init(&keys->by_age);
}

static void keys_remove(struct keys *keys, struct key_entry *entry)
{
    check(list_is_empty(&entry->waiters));
    struct bytes text = bytes_of(entry->text, 10u + entry->scope_size + entry->key_size);
    void *removed = map_remove(&keys->map, text);
    check(removed == entry);
    list_remove(&entry->by_age);
    list_remove(&entry->by_owner);
    mem_free(entry);
}

void keys_fini(struct keys *keys)
{
    list_each (node, &keys->by_age) {
        struct key_entry *entry = container_of(node, struct key_entry, by_age);
        check(entry->state != KEY_PENDING);
        keys_remove(keys, entry);
    }
    map_fini(&keys->map);
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

static bool key_is_over(const struct keys *keys, const struct key_entry *entry, uint64_t now_ms)
{
    return entry->state == KEY_KNOWN && entry->time_ms + keys->horizon_ms <= now_ms;
}

struct key_entry *keys_find(struct keys *keys, const struct key_owner *owner, struct bytes scope,
                            struct bytes key, uint64_t now_ms)
{
    uint8_t text[TEXT_SIZE_MAX];
    struct key_entry *entry = map_find(&keys->map, keys_text(text, owner, scope, key));
    if (entry == NULL) return NULL;
    if (!key_is_over(keys, entry, now_ms)) return entry;
    keys_remove(keys, entry);
    return NULL;
}

/* Makes room for one: only what is KNOWN may go, an answer under way may not. */
static void keys_make_room(struct keys *keys, uint64_t now_ms)
{
    if (keys->map.count < keys->count_max) return;
    list_each (node, &keys->by_age) {
        struct key_entry *entry = container_of(node, struct key_entry, by_age);
        if (entry->state != KEY_KNOWN) continue;
        if (!key_is_over(keys, entry, now_ms)) metric_add(keys->metrics, METRIC_KEYS_EARLY, 1);
        keys_remove(keys, entry);
        return;
    }
}

static struct key_entry *keys_add(struct keys *keys, struct key_owner *owner, struct bytes scope,
                                  struct bytes text, uint64_t time_ms)
{
    struct key_entry *entry = mem_alloc(sizeof *entry + text.size);
    entry->time_ms = time_ms;
    entry->scope_size = (uint16_t)scope.size;
    entry->key_size = (uint16_t)(text.size - 10 - scope.size);
    memcpy(entry->text, text.at, text.size);
    list_init(&entry->waiters);
    list_append(&keys->by_age, &entry->by_age);
    list_append(&owner->entries, &entry->by_owner);
    map_put(&keys->map, bytes_of(entry->text, text.size), entry);
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
    struct key_entry *known = map_find(&keys->map, name);
    if (known != NULL && (known->state != KEY_KNOWN || known->offset >= offset)) return;
    if (known != NULL) keys_remove(keys, known);
    keys_make_room(keys, time_ms);
    struct key_entry *entry = keys_add(keys, owner, scope, name, time_ms);
    keys_end(entry, offset);
}

void keys_expire(struct keys *keys, uint64_t now_ms, uint32_t count_max)
{
    list_each (node, &keys->by_age) {
        struct key_entry *entry = container_of(node, struct key_entry, by_age);
        if (count_max == 0 || !key_is_over(keys, entry, now_ms)) return;
        keys_remove(keys, entry);
        count_max--;
    }
}
