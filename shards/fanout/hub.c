/*
 * hub: listeners by channel on one shard.
 *
 * An entry lives while listeners or pending subscriptions hold it; `count` and
 * `pending` are its only counts, so freeing is one test.
 */
#include "shards/fanout/hub.h"

#include "core/check.h"
#include "core/hash.h"
#include "core/limits.h"
#include "core/mem.h"
#include "shards/home.h"

static_assert(SHARDS_MAX <= UINT8_MAX + 1, "an entry's home is a byte");
static_assert(CHANNEL_NAME_MAX <= LABEL_MAX, "a channel's name fits a label");

/* --- by name -------------------------------------------------------------------- */

static const struct hub_entry *entry_of(const struct hub *hub, uint32_t number)
{
    return slab_at(&hub->entries, number - 1);
}

static uint64_t owner_hash(const void *context, uint32_t number)
{
    const struct hub *hub = context;
    return hash_bytes(hub_name(entry_of(hub, number)), hub->seed);
}

static bool owner_is(const void *context, uint32_t number, const void *key)
{
    return bytes_equal(hub_name(entry_of(context, number)), *(const struct bytes *)key);
}

static uint32_t *owner_link(const void *context, uint32_t number)
{
    const struct hub *hub = context;
    return &((struct hub_entry *)slab_at(&hub->entries, number - 1))->link;
}

static struct chains_owner owner_of(const struct hub *hub)
{
    return (struct chains_owner){hub, owner_hash, owner_is, owner_link};
}

/* --- life ----------------------------------------------------------------------- */

void hub_init(struct hub *hub, uint64_t seed, uint32_t entries_max, uint32_t shards_count)
{
    chains_init(&hub->by_name, entries_max);
    hub->seed = seed;
    slab_init(&hub->entries, "hub_entry", sizeof(struct hub_entry), entries_max);
    hub->home_shards = shards_count;
    hub->listeners_count = 0;
}

void hub_fini(struct hub *hub)
{
    check(hub->listeners_count == 0);
    chains_fini(&hub->by_name);
    slab_fini(&hub->entries);
}

struct hub_entry *hub_find(const struct hub *hub, struct bytes channel)
{
    struct chains_owner owner = owner_of(hub);
    uint64_t hash = hash_bytes(channel, hub->seed);
    uint32_t number = chains_find(&hub->by_name, &owner, hash, &channel);
    return number == 0 ? NULL : slab_at(&hub->entries, number - 1);
}

struct hub_entry *hub_at(const struct hub *hub, struct handle handle)
{
    return slab_find(&hub->entries, handle);
}

struct handle hub_handle(const struct hub *hub, const struct hub_entry *entry)
{
    return slab_handle(&hub->entries, entry);
}

struct hub_entry *hub_expect(struct hub *hub, struct bytes channel)
{
    check(channel.size > 0);
    struct hub_entry *entry = hub_find(hub, channel);
    if (entry == NULL) {
        struct handle handle;
        entry = slab_get(&hub->entries, &handle);
        if (entry == NULL) return NULL;
        label_set(&entry->name, channel);
        entry->home = (uint8_t)home_of_channel(channel, hub->home_shards);
        struct chains_owner owner = owner_of(hub);
        chains_add(&hub->by_name, &owner, handle.index + 1);
    }
    entry->pending++;
    return entry;
}

static void entry_settle(struct hub *hub, struct hub_entry *entry)
{
    if (entry->count > 0 || entry->pending > 0) return;
    check(entry->room_log == 0);
    struct chains_owner owner = owner_of(hub);
    chains_remove(&hub->by_name, &owner, hub_handle(hub, entry).index + 1);
    label_clear(&entry->name);
    slab_put(&hub->entries, entry);
}

/* --- listeners ------------------------------------------------------------------ */

static void listeners_resize(struct hub_entry *entry, uint32_t room_log)
{
    check(room_log < 32 && entry->count <= 1u << room_log);
    struct hub_listener *before = hub_listeners(entry), first = before[0];
    size_t size = sizeof(struct hub_listener) << room_log;
    if (room_log == 0) {
        mem_free(entry->many);
        entry->one = first;
    } else if (entry->room_log == 0) {
        entry->many = mem_alloc(size);
        entry->many[0] = first;
    } else {
        entry->many = mem_resize(before, size);
    }
    entry->room_log = (uint8_t)room_log;
}

uint32_t hub_enter(struct hub *hub, struct hub_entry *entry, uint32_t conn, uint32_t sub)
{
    check(entry->pending > 0);
    if (entry->count == 1u << entry->room_log) listeners_resize(entry, entry->room_log + 1u);
    entry->pending--;
    hub_listeners(entry)[entry->count] = (struct hub_listener){conn, sub};
    hub->listeners_count++;
    return entry->count++;
}

void hub_forget(struct hub *hub, struct hub_entry *entry)
{
    check(entry->pending > 0);
    entry->pending--;
    entry_settle(hub, entry);
}

uint32_t hub_leave(struct hub *hub, struct hub_entry *entry, uint32_t at)
{
    check(at < entry->count);
    check(hub->listeners_count > 0);
    uint32_t moved = UINT32_MAX;
    entry->count--;
    hub->listeners_count--;
    if (at < entry->count) {
        struct hub_listener *listeners = hub_listeners(entry);
        listeners[at] = listeners[entry->count];
        moved = listeners[at].sub;
    }
    /* At a quarter, so that who comes and goes at a border does not pay each time. */
    if (entry->count <= 1 && entry->room_log > 0)
        listeners_resize(entry, 0);
    else if (entry->count < 1u << entry->room_log >> 2)
        listeners_resize(entry, entry->room_log - 1u);
    /* Nobody listens: the home may stop sending here, so order begins anew. */
    if (entry->count == 0) entry->entered = 0;
    entry_settle(hub, entry);
    return moved;
}

void hub_verify(const struct hub *hub)
{
    uint64_t listeners = 0;
    for (uint32_t i = 0; i < hub->entries.touched; i++) {
        const struct hub_entry *entry = slab_at(&hub->entries, i);
        if (entry == NULL) continue;
        check(entry->count > 0 || entry->pending > 0);
        check(entry->count <= 1u << entry->room_log);
        check(hub_find(hub, hub_name(entry)) == entry);
        listeners += entry->count;
    }
    check(listeners == hub->listeners_count);
    check(hub->by_name.count == hub->entries.count);
    struct chains_owner owner = owner_of(hub);
    chains_verify(&hub->by_name, &owner);
}
