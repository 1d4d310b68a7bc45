/* Seals in Redis; the story stands in seals.h. */
#include "storage/redis/seals.h"

#include <stdio.h>

#include "core/check.h"
#include "core/entropy.h"
#include "core/log.h"
#include "core/mem.h"

/* 'L' · 8 key id · 32 salt */
#define LIVE_MARK 'L'
#define LIVE_NAME (1 + SEAL_ID / 2 + SEAL_SALT)
/* The seal outlives its records: their time is the server's, and clocks differ. */
#define SLACK_MS  86400000ull

static_assert(LIVE_NAME <= SEAL_NAME_MAX && LIVE_NAME != SEALS_NAME, "names tell which they are");

struct known_seal {
    uint8_t secret[SEAL_SECRET];
    uint8_t name[SEALS_NAME];
};

static bool seals_find(void *context, struct bytes name, uint8_t secret[SEAL_SECRET]);

static void known_add(struct redis_seals *seals, struct bytes name, const uint8_t *secret)
{
    struct known_seal *known = mem_alloc(sizeof *known);
    memcpy(known->name, name.at, sizeof known->name);
    memcpy(known->secret, secret, sizeof known->secret);
    map_put(&seals->known, bytes_of(known->name, sizeof known->name), known);
}

/* All but our own, whose announcements no fill precedes. */
static void known_forget(struct redis_seals *seals)
{
    uint32_t at = 0;
    for (struct known_seal *known; (known = map_next(&seals->known, &at)) != NULL;) {
        if (memcmp(known->name, seals->kept.name, sizeof known->name) == 0) continue;
        map_remove(&seals->known, bytes_of(known->name, sizeof known->name));
        crypt_wipe(known, sizeof *known);
        mem_free(known);
        at = 0;
    }
}

static void draw_kept(struct redis_seals *seals, const struct seal_key *key)
{
    uint8_t name[SEALS_NAME], salt[SEAL_SALT], secret[SEAL_SECRET];
    char hex[2 * SEAL_SALT + 1];
    entropy_fill(name, sizeof name);
    entropy_fill(salt, sizeof salt);
    for (uint32_t i = 0; i < sizeof name; i++) name[i] = (uint8_t)('a' + name[i] % 26);
    seal_derive(key, salt, bytes_of(name, sizeof name), secret);
    sealer_init(&seals->kept, secret, bytes_of(name, sizeof name));
    known_add(seals, bytes_of(name, sizeof name), secret);
    crypt_hex(bytes_of(salt, sizeof salt), hex);
    int used = snprintf(seals->value, sizeof seals->value, "%s%s", key->id, hex);
    check(used == SEALS_VALUE);
    crypt_wipe(secret, sizeof secret);
}

static void draw_live(struct redis_seals *seals, const struct seal_key *key)
{
    uint8_t name[LIVE_NAME] = {LIVE_MARK}, secret[SEAL_SECRET];
    bool is_hex = crypt_hex_decode(bytes_of_text(key->id), name + 1, SEAL_ID / 2);
    check(is_hex);
    entropy_fill(name + 1 + SEAL_ID / 2, SEAL_SALT);
    seal_derive(key, name + 1 + SEAL_ID / 2, BYTES_LITERAL("live"), secret);
    sealer_init(&seals->live, secret, bytes_of(name, sizeof name));
    crypt_wipe(secret, sizeof secret);
}

void redis_seals_init(struct redis_seals *seals, const struct keyring *keyring, uint64_t seed)
{
    *seals = (struct redis_seals){.keyring = keyring};
    map_init(&seals->known, seed);
    opener_init(&seals->opener, seals_find, seals);
    if (!keyring->seals) return;
    draw_kept(seals, &keyring->keys[0]);
    draw_live(seals, &keyring->keys[0]);
}

void redis_seals_fini(struct redis_seals *seals)
{
    for (uint32_t at = 0; seals->known.count > 0; at = 0) {
        struct known_seal *known = map_next(&seals->known, &at);
        map_remove(&seals->known, bytes_of(known->name, sizeof known->name));
        crypt_wipe(known, sizeof *known);
        mem_free(known);
    }
    map_fini(&seals->known);
    sealer_fini(&seals->kept);
    sealer_fini(&seals->live);
    opener_fini(&seals->opener);
}

size_t redis_seals_size(const struct redis_seals *seals, const struct store_append *op,
                        bool is_kept)
{
    const struct sealer *sealer = is_kept ? &seals->kept : &seals->live;
    if (sealer->gcm == NULL) return publication_size(&op->publication);
    return sealed_size(sealer, &op->publication, op->key);
}

void redis_seals_write(struct redis_seals *seals, struct writer *writer,
                       const struct store_append *op, bool is_kept, uint64_t now_ms)
{
    struct sealer *sealer = is_kept ? &seals->kept : &seals->live;
    struct publication publication = op->publication;
    publication.offset = is_kept ? publication.deletes : 0; /* see lua/append.lua */
    publication.time_ms = now_ms;
    if (sealer->gcm == NULL)
        publication_write(writer, &publication);
    else
        sealed_write(sealer, writer, &publication, op->channel->name, op->key);
}

uint64_t redis_seals_life_ms(const struct redis_seals *seals)
{
    return seals->ttl_ms + SLACK_MS;
}

void redis_seals_tell(struct redis_seals *seals, uint64_t ttl_ms, struct resp_out *out)
{
    char words[SEALS_NAME + SEALS_VALUE + 32] = "";
    seals->ttl_ms = max_u64(seals->ttl_ms, ttl_ms);
    if (seals->kept.gcm != NULL && ttl_ms > 0) {
        int used = snprintf(words, sizeof words, "%.*s %s %llu", SEALS_NAME,
                            (const char *)seals->kept.name, seals->value,
                            (unsigned long long)redis_seals_life_ms(seals));
        seals->is_used = true;
        check(used > 0 && (size_t)used < sizeof words);
    }
    resp_text(out, words);
}

static void foreign(struct redis_seals *seals, struct bytes id)
{
    if (!seals->is_foreign) {
        log_error("Redis holds publications that are sealed with a key that is not configured; "
                  "give every node the same keys, that one in storage.previous_keys at least "
                  "key_id=%.*s",
                  (int)id.size, (const char *)id.at);
    }
    seals->is_foreign = true;
}

void redis_seals_learn(struct redis_seals *seals, const struct reply *pairs)
{
    /* Never in the middle: what these pairs open comes with them. */
    if (seals->known.count > 1 && seals->known.count + pairs->count / 2 > SEALS_KNOWN_MAX)
        known_forget(seals);
    for (uint32_t i = 0; i + 1 < pairs->count; i += 2) {
        struct bytes name = reply_text(pairs->items[i]), value = reply_text(pairs->items[i + 1]);
        uint8_t salt[SEAL_SALT], secret[SEAL_SECRET];
        if (name.size != SEALS_NAME || map_find(&seals->known, name) != NULL) continue;
        if (value.size != SEALS_VALUE ||
            !crypt_hex_decode(bytes_of(value.at + SEAL_ID, 2 * SEAL_SALT), salt, SEAL_SALT)) {
            log_error("what publications in Redis are sealed with is gone seal=%.*s",
                      (int)name.size, (const char *)name.at);
            continue;
        }
        struct bytes id = bytes_of(value.at, SEAL_ID);
        const struct seal_key *key = keyring_find(seals->keyring, id);
        if (key == NULL) {
            foreign(seals, id);
            continue;
        }
        seal_derive(key, salt, name, secret);
        known_add(seals, name, secret);
        crypt_wipe(secret, sizeof secret);
    }
}

/* Of a live publication; its name says everything. */
static bool live_find(struct redis_seals *seals, struct bytes name, uint8_t secret[SEAL_SECRET])
{
    char id[SEAL_ID + 1];
    crypt_hex(bytes_of(name.at + 1, SEAL_ID / 2), id);
    const struct seal_key *key = keyring_find(seals->keyring, bytes_of_text(id));
    if (key == NULL) {
        foreign(seals, bytes_of_text(id));
        return false;
    }
    seal_derive(key, name.at + 1 + SEAL_ID / 2, BYTES_LITERAL("live"), secret);
    return true;
}

static bool seals_find(void *context, struct bytes name, uint8_t secret[SEAL_SECRET])
{
    struct redis_seals *seals = context;
    if (name.size == LIVE_NAME && name.at[0] == LIVE_MARK) return live_find(seals, name, secret);
    struct known_seal *known = name.size == SEALS_NAME ? map_find(&seals->known, name) : NULL;
    if (known != NULL) memcpy(secret, known->secret, SEAL_SECRET);
    return known != NULL;
}

bool redis_seals_lacks(struct redis_seals *seals, struct bytes body)
{
    struct seal_head head;
    if (!seal_is_on(body) || seal_head_read(body, &head) != ERR_OK) return false;
    return head.name.size == SEALS_NAME && map_find(&seals->known, head.name) == NULL;
}

enum err redis_seals_open(struct redis_seals *seals, struct bytes channel, struct bytes body,
                          struct arena *arena, struct publication *publication)
{
    uint8_t *room = seal_is_on(body) ? arena_get(arena, body.size) : NULL;
    return publication_open(&seals->opener, channel, body, room, publication);
}
