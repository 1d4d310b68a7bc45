/*
 * Presence against a list: entries come and go, some hidden, some twice, users
 * with one client and with many; lists, counts and look-ups must agree.
 */
#include <string.h>

#include "prop.h"
#include "shards/channel/presence.h"

#define ENTRIES  300
#define CLIENTS  120
#define USERS    40
#define CHANNELS 3

/* The model: what was added and not removed. */
static struct row {
    uint32_t channel, client, user, info;
    uint32_t flags;
} rows[ENTRIES];
static uint32_t rows_count;

static struct wire_info who_of(const struct row *row, char user[32], char info[64])
{
    struct wire_info who = {.client = {(uint8_t)(row->client * 37), 0, 0, (uint8_t)row->client}};
    int size = row->user == 0 ? 0 : snprintf(user, 32, "user%08u", row->user);
    who.user = bytes_of(user, (size_t)size);
    size = row->info == 0 ? 0 : snprintf(info, 64, "{\"n\":%u}", row->info);
    who.conn_info = bytes_of(info, (size_t)size);
    if (row->info % 2 == 1) who.chan_info = BYTES_LITERAL("\"chan\"");
    return who;
}

static bool is_listed(const struct row *row)
{
    return row->flags & PRESENCE_LISTED;
}

static bool has_before(uint32_t channel, uint32_t at, bool by_user)
{
    for (uint32_t i = 0; i < at; i++) {
        if (rows[i].channel != channel || !is_listed(&rows[i])) continue;
        if (by_user ? rows[i].user == rows[at].user : rows[i].client == rows[at].client)
            return true;
    }
    return false;
}

/* Every entry, listed or not, is walked over once. */
static void walk_compare(const struct presences *all, const struct presence *presence,
                         uint32_t channel)
{
    struct wire_info who;
    uint32_t at = 0, flags, left[4] = {0};
    for (uint32_t i = 0; i < rows_count; i++)
        if (rows[i].channel == channel) left[rows[i].flags]++;
    while (presence_next(all, presence, &at, &who, &flags)) {
        expect(flags < 4 && left[flags] > 0);
        left[flags]--;
    }
    for (uint32_t i = 0; i < 4; i++) expect(left[i] == 0);
}

static void whole_compare(const struct presences *all, const struct presence *channels,
                          struct arena *arena)
{
    for (uint32_t channel = 0; channel < CHANNELS; channel++) {
        uint32_t clients = 0, users = 0;
        presence_verify(all, &channels[channel]);
        walk_compare(all, &channels[channel], channel);
        for (uint32_t i = 0; i < rows_count; i++) {
            if (rows[i].channel != channel || !is_listed(&rows[i])) continue;
            clients += !has_before(channel, i, false);
            users += !has_before(channel, i, true);
        }
        expect(presence_clients(&channels[channel]) == clients);
        expect(presence_users(&channels[channel]) == users);
        const struct wire_info *infos = presence_list(all, &channels[channel], arena);
        bool seen[CLIENTS] = {false};
        for (uint32_t i = 0; i < clients; i++) {
            uint32_t client = infos[i].client[3];
            expect(!seen[client]);
            seen[client] = true;
        }
    }
    expect(all->entries.count == rows_count);
    arena_reset(arena);
}

static void enter(struct rng *rng, struct presences *all, struct presence *channels)
{
    if (rows_count == ENTRIES) return;
    struct row *row = &rows[rows_count];
    char user[32], info[64];
    *row = (struct row){.channel = (uint32_t)rng_below(rng, CHANNELS),
                        .client = (uint32_t)rng_below(rng, CLIENTS),
                        .info = (uint32_t)rng_below(rng, 6),
                        .flags = (uint32_t)rng_below(rng, 4)};
    row->user = row->client % USERS; /* a client is of one user */
    struct wire_info who = who_of(row, user, info);
    presence_add(all, &channels[row->channel], &who, row->flags);
    rows_count++;
}

static void leave(struct rng *rng, struct presences *all, struct presence *channels)
{
    if (rows_count == 0) return;
    uint32_t at = (uint32_t)rng_below(rng, rows_count), flags;
    struct presence *presence = &channels[rows[at].channel];
    char user[32], info[64];
    struct wire_info wanted = who_of(&rows[at], user, info), who;
    expect(presence_find(all, presence, wanted.client, is_listed(&rows[at]), &who, &flags));
    expect(bytes_equal(who.user, wanted.user));
    /* Of two entries of one client either may go: the model follows. */
    for (uint32_t i = 0; i < rows_count; i++) {
        struct wire_info other = who_of(&rows[i], user, info);
        if (rows[i].channel == rows[at].channel && rows[i].client == rows[at].client &&
            rows[i].flags == flags && bytes_equal(other.conn_info, who.conn_info) &&
            bytes_equal(other.chan_info, who.chan_info)) {
            presence_remove(all, presence, wanted.client, is_listed(&rows[i]));
            rows[i] = rows[--rows_count];
            return;
        }
    }
    expect(!"what was found was added");
}

static void round_presence(struct rng *rng)
{
    struct presences all;
    struct presence channels[CHANNELS] = {0};
    struct arena arena;
    arena_init(&arena, 4096);
    presences_init(&all, rng_next(rng));
    rows_count = 0;
    uint32_t enters = 50;
    for (uint32_t step = 0; step < 2000; step++) {
        if (step % 300 == 0) enters = 25 + (uint32_t)rng_below(rng, 50);
        if (rng_chance(rng, enters))
            enter(rng, &all, channels);
        else
            leave(rng, &all, channels);
        if (step % 50 == 0) whole_compare(&all, channels, &arena);
    }
    while (rows_count > 0) leave(rng, &all, channels);
    whole_compare(&all, channels, &arena);
    for (uint32_t i = 0; i < CHANNELS; i++) {
        compact_fini(&channels[i].clients);
        compact_fini(&channels[i].users);
    }
    presences_fini(&all);
    arena_fini(&arena);
}

int main(int argc, char **argv)
{
    return prop_main(argc, argv, 40, round_presence);
}
