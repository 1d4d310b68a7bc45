/*
 * seals: which boots of a data directory sealed, and with what.
 *
 * Every start that seals draws 32 random bytes and writes them as a row of the index,
 * on disk before its first log file, whose heads repeat them:
 *
 *   seals(generation, salt, key)     key: the id of one of the keyring
 *
 * A log of generation g and shard s seals with HKDF(key, salt of g, "<g>-<s>"), and its
 * records carry the log's id.  So two copies of a directory draw different salts and
 * never seal with the same secret, and one boot never seals with that of another.
 *
 * A start whose keyring lacks the key of any row is refused.  When the key changed (or
 * sealing was turned on), the index writer seals every older record anew, a slice at a
 * time (index_reseal.c); then the rows of other keys go, and the previous keys may too.
 *
 * Memory:  40 bytes a start that sealed.
 * Thread:  read by any once seals_begin has run; seals_drop_others by the index writer.
 * Tests:   tests/unit/storage/test_embed_seal.c
 */
#pragma once

#include "storage/embed/index.h"
#include "storage/seal.h"

/* Shards are below this; what is sealed anew stands under a log of its own. */
#define SEAL_SHARD_INDEX 255

struct seals_row {
    uint64_t generation;
    uint8_t salt[SEAL_SALT];
    const struct seal_key *key;
};

struct seals {
    struct keyring keyring;
    struct seals_row *rows; /* ascending */
    uint32_t count;
    uint64_t generation; /* of this boot; 0: nothing is sealed */
};

/* Reads keys and rows.  ERR_DENIED: sealed with a key that is not here, and said. */
must_use enum err seals_open(struct seals *seals, const struct config *config, struct index *index);
/* Draws the salt of this boot when there is a key to seal with. */
must_use enum err seals_begin(struct seals *seals, struct index *index, uint64_t generation);
void seals_fini(struct seals *seals);

/* The row of a boot, or NULL. */
const struct seals_row *seals_find_row(const struct seals *seals, uint64_t generation);
/* The salt that the heads of a generation's log files carry; NULL: it was not sealed. */
const uint8_t *seals_salt(const struct seals *seals, uint64_t generation);
/* For records of this boot's log of `shard`; does nothing when nothing is sealed. */
void seals_sealer(const struct seals *seals, uint32_t shard, struct sealer *sealer);
/* A seal_find_fn; `context` is a struct seals. */
bool seals_find(void *context, struct bytes name, uint8_t secret[SEAL_SECRET]);
/* True when the key of this boot sealed it. */
must_use bool seals_is_current(const struct seals *seals, struct bytes body);

/* What is sealed anew, slice by slice. */
struct reseal {
    const struct seals *seals;
    struct sealer sealer;
    struct opener opener;
    uint64_t channel, offset; /* everything up to there is done */
    uint64_t records;         /* sealed anew */
    bool has_body;            /* the row under way, in the table `bodies` */
    bool is_needed;
};

/* Sets `is_needed` when something may not be sealed with the key of this boot. */
must_use enum err reseal_init(struct reseal *reseal, const struct seals *seals,
                              struct index *index);
void reseal_fini(struct reseal *reseal);
/* Looks at the next `items_max` publications or a few more, in one transaction; at the end
 * drops the rows of other keys, and is needed no more. */
must_use enum err index_reseal(struct index *index, struct reseal *reseal, uint32_t items_max);

/* index_seal.c: the rows. */
must_use enum err index_seals_each(struct index *index,
                                   enum err (*each)(void *context, uint64_t generation,
                                                    struct bytes salt, struct bytes key),
                                   void *context);
must_use enum err index_seal_put(struct index *index, uint64_t generation, struct bytes salt,
                                 struct bytes key);
/* Drops every row but those of `key`. */
must_use enum err index_seals_keep(struct index *index, struct bytes key);
