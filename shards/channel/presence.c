/*
 * presence: entries, and two ways to find them.
 *
 * A number in `clients` is the entry's index + 1.  In `users` it is twice that
 * for the only entry of a user, and twice a crowd's index + 1, plus one, for a
 * user with several: most users are alone, and then no crowd is kept.
 */
#include "shards/channel/presence.h"

#include "core/check.h"
#include "core/hash.h"
#include "core/mem.h"

/* The top bits of the two names of an entry are its flags. */
#define NAME_FLAG 0x80000000u

struct entry {
    uint8_t client[16];
    uint32_t user; /* name, and NAME_FLAG: listed */
    uint32_t info; /* name of "u32 size, conn_info · chan_info", and NAME_FLAG: told */
};
static_assert(sizeof(struct entry) == 24, "stated as such in the header");

/* A listed user with several entries, or who had several. */
struct crowd {
    uint32_t user;
    uint32_t count;
};

static struct entry *entry_at(const struct presences *all, uint32_t number)
{
    return cells_at(&all->entries, number - 1);
}

static bool is_crowd(uint32_t number)
{
    return number & 1;
}

static struct crowd *crowd_at(const struct presences *all, uint32_t number)
{
    return cells_at(&all->crowds, (number >> 1) - 1);
}

static bool is_listed_entry(const struct entry *entry)
{
    return entry->user & NAME_FLAG;
}

/* --- the sets' owners ----------------------------------------------------------- */

struct client_key {
    const uint8_t *client;
    bool is_listed;
};

/* Ids are drawn by the gateway: any four bytes of them are as good as a hash. */
static uint32_t client_hash(const uint8_t client[16])
{
    uint32_t hash;
    memcpy(&hash, client, sizeof hash);
    return hash;
}

static uint32_t clients_hash(const void *context, uint32_t number)
{
    return client_hash(entry_at(context, number)->client);
}

static bool clients_is(const void *context, uint32_t number, const void *key)
{
    const struct client_key *wanted = key;
    const struct entry *entry = entry_at(context, number);
    return memcmp(entry->client, wanted->client, sizeof entry->client) == 0 &&
           is_listed_entry(entry) == wanted->is_listed;
}

static uint32_t user_hash(const struct presences *all, uint32_t user)
{
    return (uint32_t)(hash_u64(user, all->texts.seed) >> 32);
}

static uint32_t user_of(const struct presences *all, uint32_t number)
{
    if (is_crowd(number)) return crowd_at(all, number)->user;
    return entry_at(all, number >> 1)->user & ~NAME_FLAG;
}

static uint32_t users_hash(const void *context, uint32_t number)
{
    return user_hash(context, user_of(context, number));
}

static bool users_is(const void *context, uint32_t number, const void *key)
{
    return user_of(context, number) == *(const uint32_t *)key;
}

static struct compact_owner clients_owner(const struct presences *all)
{
    return (struct compact_owner){all, clients_hash, clients_is};
}

static struct compact_owner users_owner(const struct presences *all)
{
    return (struct compact_owner){all, users_hash, users_is};
}

static uint32_t *slot_of(const struct presences *all, const struct presence *presence,
                         const uint8_t client[16], bool is_listed)
{
    struct compact_owner owner = clients_owner(all);
    return compact_find(&presence->clients, &owner, client_hash(client),
                        &(struct client_key){client, is_listed});
}

/* --- life ------------------------------------------------------------------------- */

void presences_init(struct presences *all, uint64_t seed)
{
    cells_init(&all->entries, sizeof(struct entry));
    cells_init(&all->crowds, sizeof(struct crowd));
    intern_init(&all->texts, seed);
}

void presences_fini(struct presences *all)
{
    intern_fini(&all->texts);
    cells_fini(&all->crowds);
    cells_fini(&all->entries);
}

/* --- users ------------------------------------------------------------------------ */

static void users_enter(struct presences *all, struct presence *presence, uint32_t user,
                        uint32_t number)
{
    struct compact_owner owner = users_owner(all);
    uint32_t hash = user_hash(all, user);
    uint32_t *slot = compact_find(&presence->users, &owner, hash, &user);
    if (slot == NULL) {
        compact_add(&presence->users, &owner, hash, number << 1);
        return;
    }
    if (!is_crowd(*slot)) {
        uint32_t crowd = (cells_take(&all->crowds) + 1) << 1 | 1;
        *crowd_at(all, crowd) = (struct crowd){user, 1};
        *slot = crowd;
    }
    crowd_at(all, *slot)->count++;
}

/* Before the entry is freed: the set may have to read its user. */
static void users_leave(struct presences *all, struct presence *presence, uint32_t user)
{
    struct compact_owner owner = users_owner(all);
    uint32_t *slot = compact_find(&presence->users, &owner, user_hash(all, user), &user);
    check(slot != NULL);
    uint32_t number = *slot;
    if (is_crowd(number) && --crowd_at(all, number)->count > 0) return;
    compact_remove(&presence->users, &owner, slot);
    if (is_crowd(number)) cells_give(&all->crowds, (number >> 1) - 1);
}

/* --- entries ---------------------------------------------------------------------- */

static uint32_t info_take(struct presences *all, const struct wire_info *who)
{
    size_t size = 4 + who->conn_info.size + who->chan_info.size;
    if (size == 4) return 0;
    uint8_t near[512];
    uint8_t *bytes = size <= sizeof near ? near : mem_alloc(size);
    struct writer writer = writer_of(bytes, size);
    write_sized(&writer, who->conn_info);
    write_bytes(&writer, who->chan_info);
    check(!writer.failed);
    uint32_t name = intern_take(&all->texts, writer_bytes(&writer));
    if (bytes != near) mem_free(bytes);
    return name;
}

static void info_read(const struct presences *all, const struct entry *entry, struct wire_info *who)
{
    memcpy(who->client, entry->client, sizeof who->client);
    who->user = intern_text(&all->texts, entry->user & ~NAME_FLAG);
    who->conn_info = who->chan_info = BYTES_NONE;
    struct bytes infos = intern_text(&all->texts, entry->info & ~NAME_FLAG);
    if (infos.size == 0) return;
    struct reader reader = reader_of(infos);
    who->conn_info = read_sized(&reader);
    who->chan_info = read_bytes(&reader, reader.left);
    check(!reader.failed);
}

void presence_add(struct presences *all, struct presence *presence, const struct wire_info *who,
                  uint32_t flags)
{
    check((flags & ~(uint32_t)(PRESENCE_LISTED | PRESENCE_TOLD)) == 0);
    bool is_listed = flags & PRESENCE_LISTED;
    bool is_again = is_listed && slot_of(all, presence, who->client, true) != NULL;
    uint32_t index = cells_take(&all->entries);
    struct entry *entry = cells_at(&all->entries, index);
    uint32_t user = intern_take(&all->texts, who->user);
    memcpy(entry->client, who->client, sizeof entry->client);
    entry->user = user | (is_listed ? NAME_FLAG : 0);
    entry->info = info_take(all, who) | (flags & PRESENCE_TOLD ? NAME_FLAG : 0);

    struct compact_owner owner = clients_owner(all);
    compact_add(&presence->clients, &owner, client_hash(who->client), index + 1);
    if (is_listed)
        users_enter(all, presence, user, index + 1);
    else
        presence->hidden++;
    if (is_again) presence->again++;
}

bool presence_find(const struct presences *all, const struct presence *presence,
                   const uint8_t client[16], bool is_listed, struct wire_info *who, uint32_t *flags)
{
    const uint32_t *slot = slot_of(all, presence, client, is_listed);
    if (slot == NULL) return false;
    const struct entry *entry = entry_at(all, *slot);
    info_read(all, entry, who);
    *flags = (is_listed ? PRESENCE_LISTED : 0) | (entry->info & NAME_FLAG ? PRESENCE_TOLD : 0);
    return true;
}

void presence_remove(struct presences *all, struct presence *presence, const uint8_t client[16],
                     bool is_listed)
{
    uint32_t *slot = slot_of(all, presence, client, is_listed);
    check(slot != NULL);
    uint32_t number = *slot;
    const struct entry *entry = entry_at(all, number);
    uint32_t user = entry->user & ~NAME_FLAG, info = entry->info & ~NAME_FLAG;
    struct compact_owner owner = clients_owner(all);
    compact_remove(&presence->clients, &owner, slot);
    if (is_listed) {
        users_leave(all, presence, user);
        if (slot_of(all, presence, client, true) != NULL) presence->again--;
    } else {
        check(presence->hidden > 0);
        presence->hidden--;
    }
    cells_give(&all->entries, number - 1);
    intern_give(&all->texts, user);
    intern_give(&all->texts, info);
}

bool presence_next(const struct presences *all, const struct presence *presence, uint32_t *at,
                   struct wire_info *who, uint32_t *flags)
{
    uint32_t number = compact_next(&presence->clients, at);
    if (number == 0) return false;
    const struct entry *entry = entry_at(all, number);
    info_read(all, entry, who);
    *flags = (is_listed_entry(entry) ? PRESENCE_LISTED : 0) |
             (entry->info & NAME_FLAG ? PRESENCE_TOLD : 0);
    return true;
}

const struct wire_info *presence_list(const struct presences *all, const struct presence *presence,
                                      struct arena *arena)
{
    uint32_t at = 0, count = 0, most = presence_clients(presence);
    struct wire_info *infos = arena_get(arena, (most + (size_t)1) * sizeof *infos);
    for (uint32_t number; (number = compact_next(&presence->clients, &at)) != 0;) {
        const struct entry *entry = entry_at(all, number);
        if (!is_listed_entry(entry)) continue;
        /* Of two entries of one client the one that a look-up finds. */
        if (presence->again > 0 && *slot_of(all, presence, entry->client, true) != number) continue;
        check(count < most);
        info_read(all, entry, &infos[count++]);
    }
    check(count == most);
    return infos;
}

void presence_verify(const struct presences *all, const struct presence *presence)
{
    uint32_t at = 0, hidden = 0, again = 0, listed = 0, used = 0;
    for (uint32_t number; (number = compact_next(&presence->clients, &at)) != 0;) {
        const struct entry *entry = entry_at(all, number);
        const uint32_t *slot = slot_of(all, presence, entry->client, is_listed_entry(entry));
        check(slot != NULL);
        if (is_listed_entry(entry)) {
            listed++;
            again += *slot != number;
        } else {
            hidden++;
        }
    }
    check(hidden == presence->hidden);
    check(again == presence->again);
    at = 0;
    for (uint32_t number; (number = compact_next(&presence->users, &at)) != 0;)
        used += is_crowd(number) ? crowd_at(all, number)->count : 1;
    check(used == listed);
}
