/* The seals of a data directory; the story stands in seals.h. */
#include "storage/embed/seals.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/check.h"
#include "core/entropy.h"
#include "core/log.h"
#include "core/mem.h"
#include "storage/embed/segment.h"

static_assert(SHARDS_MAX <= SEAL_SHARD_INDEX, "the index has a log id of its own");

static void rows_add(struct seals *seals, const struct seals_row *row)
{
    check(seals->count == 0 || seals->rows[seals->count - 1].generation < row->generation);
    seals->rows = mem_resize(seals->rows, (seals->count + 1u) * sizeof *seals->rows);
    seals->rows[seals->count++] = *row;
}

static enum err on_row(void *context, uint64_t generation, struct bytes salt, struct bytes key)
{
    struct seals *seals = context;
    struct seals_row row = {.generation = generation, .key = keyring_find(&seals->keyring, key)};
    if (salt.size != SEAL_SALT) return ERR_STORE_CORRUPT;
    memcpy(row.salt, salt.at, SEAL_SALT);
    if (row.key != NULL) {
        rows_add(seals, &row);
        return ERR_OK;
    }
    const struct keyring *keyring = &seals->keyring;
    log_error("data directory is sealed with a key that is not configured; give that one as "
              "storage.key, or in storage.previous_keys beside the new one key_id=%.*s "
              "configured=%u first_key_id=%s",
              (int)key.size, (const char *)key.at, keyring->count,
              keyring->count > 0 ? keyring->keys[0].id : "(none)");
    return ERR_DENIED;
}

enum err seals_open(struct seals *seals, const struct config *config, struct index *index)
{
    *seals = (struct seals){0};
    TRY(keyring_load(config, &seals->keyring));
    return index_seals_each(index, on_row, seals);
}

enum err seals_begin(struct seals *seals, struct index *index, uint64_t generation)
{
    struct seals_row row = {.generation = generation, .key = &seals->keyring.keys[0]};
    check(generation > 0 && seals->generation == 0);
    if (!seals->keyring.seals) return ERR_OK;
    entropy_fill(row.salt, sizeof row.salt);
    TRY(index_seal_put(index, generation, bytes_of(row.salt, sizeof row.salt),
                       bytes_of_text(row.key->id)));
    rows_add(seals, &row);
    seals->generation = generation;
    log_info("publications are sealed key_id=%s", row.key->id);
    return ERR_OK;
}

void seals_fini(struct seals *seals)
{
    keyring_fini(&seals->keyring);
    mem_free(seals->rows);
    *seals = (struct seals){0};
}

const struct seals_row *seals_find_row(const struct seals *seals, uint64_t generation)
{
    uint32_t first = 0, after = seals->count;
    while (first < after) {
        uint32_t middle = first + (after - first) / 2;
        if (seals->rows[middle].generation == generation) return &seals->rows[middle];
        if (seals->rows[middle].generation < generation)
            first = middle + 1;
        else
            after = middle;
    }
    return NULL;
}

const uint8_t *seals_salt(const struct seals *seals, uint64_t generation)
{
    const struct seals_row *row = seals_find_row(seals, generation);
    return row == NULL ? NULL : row->salt;
}

static void log_secret(const struct seals_row *row, uint32_t shard, uint8_t secret[SEAL_SECRET])
{
    char name[32];
    snprintf(name, sizeof name, "%08" PRIx64 "-%02" PRIx32, row->generation, shard);
    seal_derive(row->key, row->salt, bytes_of_text(name), secret);
}

void seals_sealer(const struct seals *seals, uint32_t shard, struct sealer *sealer)
{
    uint8_t secret[SEAL_SECRET], name[8];
    *sealer = (struct sealer){0};
    if (seals->generation == 0) return;
    check(shard <= SEAL_SHARD_INDEX);
    const struct seals_row *row = seals_find_row(seals, seals->generation);
    check(row != NULL);
    log_secret(row, shard, secret);
    struct writer writer = writer_of(name, sizeof name);
    write_u64(&writer, log_id(seals->generation, shard));
    sealer_init(sealer, secret, writer_bytes(&writer));
    crypt_wipe(secret, sizeof secret);
}

/* The row that a record's name stands for, and which log of it; NULL: unknown. */
static const struct seals_row *name_row(const struct seals *seals, struct bytes name,
                                        uint32_t *shard)
{
    struct reader reader = reader_of(name);
    uint64_t id = read_u64(&reader);
    *shard = (uint32_t)(id & 0xff);
    return reader.failed || reader.left > 0 ? NULL : seals_find_row(seals, id >> 8);
}

bool seals_find(void *context, struct bytes name, uint8_t secret[SEAL_SECRET])
{
    uint32_t shard;
    const struct seals_row *row = name_row(context, name, &shard);
    if (row == NULL) return false;
    log_secret(row, shard, secret);
    return true;
}

bool seals_is_current(const struct seals *seals, struct bytes body)
{
    struct seal_head head;
    uint32_t shard;
    if (!seal_is_on(body) || seal_head_read(body, &head) != ERR_OK) return false;
    const struct seals_row *row = name_row(seals, head.name, &shard);
    return row != NULL && row->key == &seals->keyring.keys[0];
}
