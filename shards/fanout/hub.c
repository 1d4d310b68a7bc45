/*
 * hub: listeners by channel on one shard.
 *
 * An entry lives while listeners or pending subscriptions hold it; `count` and
 * `pending` are its only counts, so freeing is one test.
 */
#include "shards/fanout/hub.h"

#include "core/check.h"
#include "core/mem.h"
#include "shards/home.h"

void hub_init(struct hub *hub, uint64_t seed, uint32_t entries_max, uint32_t shards_count)
{
    map_init(&hub->by_name, seed);
    slab_init(&hub->entries, "hub_entry", sizeof(struct hub_entry), entries_max);
    hub->home_shards = shards_count;
    hub->listeners_count = 0;
}

void hub_fini(struct hub *hub)
{
    check(hub->listeners_count == 0);
    map_fini(&hub->by_name);
    slab_fini(&hub->entries);
}

struct hub_entry *hub_find(const struct hub *hub, struct bytes channel)
{
    return map_find(&hub->by_name, channel);
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
        entry->name = mem_text(channel.at, channel.size);
        entry->name_size = (uint32_t)channel.size;
        entry->home = home_of_channel(channel, hub->home_shards);
        map_put(&hub->by_name, hub_name(entry), entry);
    }
    entry->pending++;
    return entry;
}

static void entry_settle(struct hub *hub, struct hub_entry *entry)
{
    if (entry->count > 0 || entry->pending > 0) return;
    void *removed = map_remove(&hub->by_name, hub_name(entry));
    check(removed == entry);
    mem_free(entry->name);
    mem_free(entry->listeners);
    slab_put(&hub->entries, entry);
}

uint32_t hub_enter(struct hub *hub, struct hub_entry *entry, uint32_t conn, uint32_t sub)
{
    check(entry->pending > 0);
    if (entry->count == entry->room) {
        entry->room = entry->room == 0 ? 4 : 2 * entry->room;
        entry->listeners = mem_resize(entry->listeners, entry->room * sizeof *entry->listeners);
    }
    entry->pending--;
    entry->listeners[entry->count] = (struct hub_listener){conn, sub};
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
        entry->listeners[at] = entry->listeners[entry->count];
        moved = entry->listeners[at].sub;
    }
    /* Nobody listens: the home may stop sending here, so order begins anew. */
    if (entry->count == 0) entry->entered = 0;
    entry_settle(hub, entry);
    return moved;
}

void hub_verify(const struct hub *hub)
{
    uint64_t listeners = 0;
    uint32_t entries = 0, at = 0;
    for (struct hub_entry *entry; (entry = map_next(&hub->by_name, &at)) != NULL; entries++) {
        check(entry->count > 0 || entry->pending > 0);
        check(entry->count <= entry->room);
        check(hub_find(hub, hub_name(entry)) == entry);
        listeners += entry->count;
    }
    check(listeners == hub->listeners_count);
    check(entries == hub->entries.count);
}
