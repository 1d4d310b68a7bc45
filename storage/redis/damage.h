/*
 * damage: what stands in Redis and cannot be read, told to people.
 *
 * A publication of a key that is not here, an entry cut off, a key of another type: the
 * channel goes on, its listeners hear of a loss (feed.c, read.c), and here it is said
 * where the damage stands and what can be done.  Health is red while something of the
 * kind was met within DAMAGE_RED_MS, so a damaged channel that is in use keeps it red and
 * one that was mended, or outlived its history, does not.
 *
 * Thread:  owner shard.
 * Bound:   DAMAGE_LINES lines a minute, however much is damaged.
 * Tests:   tests/unit/storage/test_redis_damage.c
 */
#pragma once

#include "core/bytes.h"

#define DAMAGE_RED_MS 60000
#define DAMAGE_LINES  16

struct redis_store;
struct reply;

enum damage_kind {
    DAMAGE_ENTRY,  /* of the stream: `number` is its offset */
    DAMAGE_LIVE,   /* a publication without history */
    DAMAGE_HOLE,   /* no entry where one should be: `number` is the first one missing */
    DAMAGE_MEMBER, /* an entry of the members' hash */
    DAMAGE_META,   /* what the partition's meta hash says of the channel */
    DAMAGE_TYPE,   /* a key of the channel has another type */
};

struct redis_damage {
    uint64_t met_ms; /* when something was met last; 0: never */
    struct damage_line {
        uint64_t hash, told_ms;
    } lines[DAMAGE_LINES]; /* told within the last minute */
};

void damage_note(struct redis_store *redis, enum damage_kind kind, struct bytes channel,
                 uint64_t number);
/* Whether a script stopped at damage and has changed nothing. */
bool damage_is_told(const struct reply *reply);
/* The same, noted; `channel` is what it was about. */
bool damage_refused(struct redis_store *redis, struct bytes channel, const struct reply *reply);
/* A sentence for the health page; NULL: nothing was met lately. */
const char *damage_problem(const struct redis_store *redis);
