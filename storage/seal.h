/*
 * seal: publications that only the holder of a key can read.
 *
 *   sealed publication   u8 version (2) · u8 flags, u64 offset, u64 time_ms as record.h has them
 *                        · sized user · sized key · u8 size, name of the seal · u64 count
 *                        · box: what follows the time in record.h, the user left out,
 *                          under AES-256-GCM · 16 tag
 *
 * A seal is one secret: HKDF(storage key, 32 random bytes of one boot, name of the log).
 * Its nonces are a count from 1 on, so no two records share one, and neither do two
 * copies of a data directory, because each boot draws its own salt.  Bound to the box
 * are the channel's name and everything that stands before it: a record that is moved to
 * another channel, or whose user, key, time or offset is changed, does not open.
 *
 * Readable without the key stay what the store finds its way by: names of channels,
 * users, idempotency keys, offsets, times.  Sealed are data, tags, the infos, the client
 * and the version.
 *
 * Memory:  a box is opened into room that the caller gives.
 * Thread:  a sealer or an opener belongs to one thread at a time; a keyring is not
 *          changed once it is loaded.
 * Source:  NIST SP 800-38D, RFC 5869
 * Tests:   tests/unit/storage/test_seal.c, test_embed_seal.c
 */
#pragma once

#include "core/crypt.h"
#include "storage/record.h"

struct config;

#define SEAL_SALT     32
#define SEAL_SECRET   32
#define SEAL_NAME_MAX 47
#define SEAL_KEYS_MAX 8
#define SEAL_ID       16 /* hexadecimal digits that name a key */

struct seal_key {
    uint8_t bytes[CRYPT_GCM_KEY];
    char id[SEAL_ID + 1]; /* of a digest: tells nothing about the key */
};

/* keys[0] seals when `seals`; all of them open. */
struct keyring {
    struct seal_key keys[SEAL_KEYS_MAX];
    uint32_t count;
    bool seals;
};

/* storage.key and storage.previous_keys, or the lines of storage.key_file; what is wrong
 * with them is in the log. */
must_use enum err keyring_load(const struct config *config, struct keyring *keyring);
void keyring_fini(struct keyring *keyring);
/* NULL: no such key. */
const struct seal_key *keyring_find(const struct keyring *keyring, struct bytes id);

/* The secret of one seal. */
void seal_derive(const struct seal_key *key, const uint8_t salt[SEAL_SALT], struct bytes log_name,
                 uint8_t secret[SEAL_SECRET]);

struct sealer {
    struct crypt_gcm *gcm; /* NULL: nothing is sealed */
    uint64_t count;        /* of the last record sealed */
    uint8_t name[SEAL_NAME_MAX];
    uint8_t name_size;
};

/* `name` is what records carry, and what seal_find_fn is asked for. */
void sealer_init(struct sealer *sealer, const uint8_t secret[SEAL_SECRET], struct bytes name);
void sealer_fini(struct sealer *sealer);
size_t sealed_size(const struct sealer *sealer, const struct publication *publication,
                   struct bytes key);
/* Writes exactly sealed_size bytes. */
void sealed_write(struct sealer *sealer, struct writer *writer,
                  const struct publication *publication, struct bytes channel, struct bytes key);

/* True when a stored publication is a sealed one. */
static inline bool seal_is_on(struct bytes body)
{
    return body.size > 0 && body.at[0] == 2;
}
/* What can be told of a sealed publication without its key.  Views into `body`. */
struct seal_head {
    uint64_t offset, time_ms, count;
    struct bytes user, key, name;
    struct bytes box; /* without the tag */
};
must_use enum err seal_head_read(struct bytes body, struct seal_head *head);

/* The secret of the seal `name`; false: unknown here. */
typedef bool (*seal_find_fn)(void *context, struct bytes name, uint8_t secret[SEAL_SECRET]);

#define OPENER_SEALS 32

/* Keeps the seals that it met last. */
struct opener {
    seal_find_fn find; /* NULL: nothing that is sealed can be read */
    void *context;
    struct opener_seal {
        struct crypt_gcm *gcm;
        uint8_t name[SEAL_NAME_MAX];
        uint8_t name_size;
    } seals[OPENER_SEALS];
    uint32_t newest, next; /* where the last one was found; where another goes */
};

void opener_init(struct opener *opener, seal_find_fn find, void *context);
/* Accepts a zeroed one. */
void opener_fini(struct opener *opener);
/* Reads a stored publication of `channel`, sealed or not, into room[body.size]; views of a
 * sealed one point into `room`, of another into `body`.  ERR_STORE_CORRUPT: it is damaged,
 * or of a seal that is unknown here. */
must_use enum err publication_open(struct opener *opener, struct bytes channel, struct bytes body,
                                   uint8_t *room, struct publication *publication);
