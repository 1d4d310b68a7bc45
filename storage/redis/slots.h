/*
 * slots: what a Redis Cluster says of itself, parsed.
 *
 * A key belongs to one of 16,384 slots: the CRC16 of its tag.  CLUSTER NODES is
 * read and not CLUSTER SLOTS or SHARDS: it alone says in which configuration
 * epoch a primary claims its slots, which tells a server that was cut off, and
 * still believes in its slots, from the one that took them over.
 *
 * Thread:  any; pure.
 * Source:  Redis Cluster specification: key distribution, redirection, nodes.conf
 * Tests:   tests/unit/storage/test_slots.c
 */
#pragma once

#include "storage/redis/place.h"

#define SLOTS_COUNT         16384
/* Primaries of one Cluster. */
#define SLOTS_PRIMARIES_MAX 64

struct slots_primary {
    struct redis_place place;
    uint64_t epoch; /* of its claims; the highest wins */
};

struct slots_view {
    struct slots_primary primaries[SLOTS_PRIMARIES_MAX]; /* with slots */
    uint32_t primaries_count;
    uint8_t owners[SLOTS_COUNT]; /* 0: nobody, else index in primaries plus 1 */
};

static_assert(SLOTS_PRIMARIES_MAX < 256, "an index plus 1 is a byte");

/* The slot of a key, or of its tag alone: the first "{…}" that is not empty. */
uint32_t slots_of(struct bytes key);

/* The answer of CLUSTER NODES; `asked` is who gave it.  ERR_STORE_CORRUPT: malformed;
 * ERR_LIMIT_MEMORY: too many primaries. */
must_use enum err slots_view_read(struct bytes text, const struct redis_place *asked,
                                  struct slots_view *view);
/* The primary that claims the slot, or NULL. */
const struct slots_primary *slots_view_owner(const struct slots_view *view, uint32_t slot);

/* "MOVED <slot> <host>:<port>", given by `asked`; ERR_STORE_CORRUPT for anything else, a
 * host with a name included. */
must_use enum err slots_moved_read(struct bytes text, const struct redis_place *asked,
                                   uint32_t *slot, struct redis_place *place);
/* The same of "ASK …": only this time. */
must_use enum err slots_ask_read(struct bytes text, const struct redis_place *asked, uint32_t *slot,
                                 struct redis_place *place);
