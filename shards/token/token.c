/*
 * token: the asking side.
 */
#include "shards/token/token.h"

#include "core/check.h"
#include "core/hash.h"
#include "core/mem.h"
#include "shards/letter.h"
#include "shards/shard.h"
#include "shards/token/token_parts.h"

/* A signature takes some 30 µs: a wave of clients must not hold up the turn. */
#define TURN_WOKEN_MAX 64

/* Far ends stay within a u32 of seconds: a year is renewed often enough. */
#define EXPIRY_MAX_S (365u * 86400u)

/* The name of a key that no set had, as a hash: names are the peer's. */
struct key_name {
    uint64_t hash;
    uint64_t asked_ms; /* when it was first wanted; 0: it is known to be absent */
    uint64_t until_ms; /* absent: until then */
};

/* The set of one use on this shard. */
struct key_ring {
    struct jwt_set *set; /* NULL: none yet */
    uint64_t began_ms;   /* when its fetch began; 0: none yet */
    uint64_t down_until_ms;
    bool is_asking;
    struct key_name names[KEYS_NAMES_MAX];
    uint32_t names_count;
};

struct tokens {
    struct key_ring rings[JWT_USE_COUNT];
    struct indexes parked; /* connections that wait for keys */
    struct indexes woken;  /* and those that try again, from woken_at on */
    uint32_t woken_at;
    struct key_home *home; /* shard 0 */
    uint64_t seed;         /* of the hashes */
};

static struct key_ring *ring_of(struct shard *shard, enum jwt_use use)
{
    /* Without a section of their own subscriptions use the set of connections. */
    bool is_own = use == JWT_SUBSCRIPTION && shard->config->client_subscription_token_enabled;
    return &shard->tokens->rings[is_own ? JWT_SUBSCRIPTION : JWT_CONNECTION];
}

void tokens_init(struct shard *shard)
{
    shard->tokens = mem_alloc(sizeof *shard->tokens);
    shard->tokens->seed = rng_next(&shard->rng);
    if (shard->index == 0) shard->tokens->home = key_home_create(shard);
}

void tokens_fini(struct shard *shard)
{
    struct tokens *tokens = shard->tokens;
    if (tokens == NULL) return;
    key_home_destroy(tokens->home);
    for (uint32_t use = 0; use < JWT_USE_COUNT; use++) jwt_set_destroy(tokens->rings[use].set);
    mem_free(tokens->parked.items);
    mem_free(tokens->woken.items);
    mem_free(tokens);
    shard->tokens = NULL;
}

struct key_home *tokens_home(const struct shard *shard)
{
    return shard->tokens->home;
}

bool tokens_are_busy(const struct shard *shard)
{
    const struct tokens *tokens = shard->tokens;
    for (uint32_t use = 0; use < JWT_USE_COUNT; use++)
        if (tokens->rings[use].is_asking) return true;
    return tokens->home != NULL && key_home_is_busy(tokens->home);
}

uint64_t key_url_hash(const struct shard *shard, enum jwt_use use)
{
    return hash_bytes(bytes_of_text(jwt_set_url(shard->config, use)), 0);
}

/* --- names ---------------------------------------------------------------------- */

/* Drops what was absent and may have come since. */
static void names_age(struct key_ring *ring, uint64_t now)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < ring->names_count; i++)
        if (ring->names[i].asked_ms != 0 || ring->names[i].until_ms > now)
            ring->names[kept++] = ring->names[i];
    ring->names_count = kept;
}

static struct key_name *name_find(struct key_ring *ring, uint64_t hash)
{
    for (uint32_t i = 0; i < ring->names_count; i++)
        if (ring->names[i].hash == hash) return &ring->names[i];
    return NULL;
}

/* Names that a set has are not missed any more. */
static void names_found(struct key_ring *ring, const struct jwt_set *set, uint64_t seed)
{
    for (uint32_t i = 0; i < jwt_set_count(set); i++) {
        struct key_name *name = name_find(ring, hash_bytes(jwt_set_kid(set, i), seed));
        if (name != NULL) *name = ring->names[--ring->names_count];
    }
}

/* A set came whose fetch began at `began_ms`: names wanted before that and not in
 * it are absent.  True when one was wanted later: that fetch proves nothing of it. */
static bool names_settle(struct key_ring *ring, uint64_t began_ms, uint64_t now)
{
    bool is_wanted = false;
    for (uint32_t i = 0; i < ring->names_count; i++) {
        struct key_name *name = &ring->names[i];
        if (name->asked_ms > began_ms) is_wanted = true;
        if (name->asked_ms == 0 || name->asked_ms > began_ms) continue;
        name->asked_ms = 0;
        name->until_ms = now + KEYS_ABSENT_MS;
    }
    return is_wanted;
}

/* The fetch failed: nobody knows anything about what was wanted. */
static void names_forget(struct key_ring *ring)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < ring->names_count; i++)
        if (ring->names[i].asked_ms == 0) ring->names[kept++] = ring->names[i];
    ring->names_count = kept;
}

/* --- asking ---------------------------------------------------------------------- */

/* For a set whose fetch began later than that of ours.  False: out of credit. */
static bool ask(struct shard *shard, struct key_ring *ring)
{
    check(!ring->is_asking);
    if (!letter_credit(shard->post, 0)) {
        metric_add(&shard->metrics, METRIC_CREDITS_WAITED, 1);
        return false;
    }
    struct letter_keys_ask in = {.use = (uint8_t)(ring - shard->tokens->rings),
                                 .after_ms = ring->began_ms};
    letter_post_request(shard->post, letter_pack_keys_ask(shard->post, 0, &in));
    ring->is_asking = true;
    return true;
}

static uint32_t parked_count(const struct tokens *tokens)
{
    return tokens->parked.count + tokens->woken.count - tokens->woken_at;
}

/* The key is in no set that we have: may the command wait for one? */
static enum err want(struct shard *shard, struct key_ring *ring, bool has_set, struct bytes kid)
{
    uint64_t now = clock_turn_ms(&shard->clock);
    uint64_t hash = hash_bytes(kid, shard->tokens->seed);
    names_age(ring, now);
    struct key_name *name = name_find(ring, hash);
    if (name != NULL && name->asked_ms == 0 && has_set) return ERR_TOKEN_INVALID;
    if (now < ring->down_until_ms || shard->is_draining) return ERR_KEYS_DOWN;
    if (parked_count(shard->tokens) >= KEYS_PARKED_MAX) return ERR_KEYS_DOWN;
    if (name == NULL && ring->names_count == KEYS_NAMES_MAX) return ERR_KEYS_DOWN;
    if (!ring->is_asking && !ask(shard, ring)) return ERR_CREDIT_SPENT;
    bool is_wanted = name != NULL && name->asked_ms != 0;
    if (name == NULL) name = &ring->names[ring->names_count++];
    if (!is_wanted) *name = (struct key_name){.hash = hash, .asked_ms = max_u64(1, now)};
    return ERR_KEY_UNKNOWN;
}

enum err token_verify(struct shard *shard, enum jwt_use use, struct bytes token,
                      struct jwt_claims *claims)
{
    check(use < JWT_USE_COUNT);
    const struct jwt_rules *rules = shard->token_rules[use];
    struct key_ring *ring = ring_of(shard, use);
    uint64_t now = clock_turn_ms(&shard->clock);
    uint64_t age = now - ring->began_ms;
    bool has_set = ring->set != NULL && age < KEYS_GOOD_MS;
    enum err err = jwt_verify(rules, has_set ? ring->set : NULL, token, shard->clock.wall_ms / 1000,
                              &shard->arena, claims);
    if (err == ERR_KEY_UNKNOWN) return want(shard, ring, has_set, claims->kid);
    /* Renewed while the old one serves; out of credit, the next token tries again. */
    if (has_set && age >= KEYS_RENEW_MS && !ring->is_asking && now >= ring->down_until_ms)
        (void)ask(shard, ring);
    return err;
}

enum err token_expiry(const struct shard *shard, const struct jwt_claims *claims,
                      uint32_t *expires_s)
{
    uint64_t now = shard->clock.wall_ms / 1000;
    uint64_t end = claims->has_expire_at ? claims->expire_at : claims->has_exp ? claims->exp : 0;
    *expires_s = end == 0 ? 0 : (uint32_t)min_u64(end, now + EXPIRY_MAX_S);
    return end != 0 && end <= now ? ERR_EXPIRED : ERR_OK;
}

void token_park(struct shard *shard, struct conn *conn)
{
    metric_add(&shard->metrics, METRIC_KEY_WAITS, 1);
    conn->flags |= CONN_LISTED;
    indexes_add(&shard->tokens->parked, conn_index(shard, conn));
}

/* Everybody who waits tries again, some each turn. */
static void wake(struct tokens *tokens)
{
    for (uint32_t i = 0; i < tokens->parked.count; i++)
        indexes_add(&tokens->woken, tokens->parked.items[i]);
    tokens->parked.count = 0;
}

bool tokens_turn(struct shard *shard)
{
    struct tokens *tokens = shard->tokens;
    uint32_t stop = min_u32(tokens->woken.count, tokens->woken_at + TURN_WOKEN_MAX);
    while (tokens->woken_at < stop) {
        uint32_t index = tokens->woken.items[tokens->woken_at++];
        struct conn *conn = conn_at(shard, index);
        /* Not listed: it has ended meanwhile, the slot may have a new tenant. */
        if (conn != NULL && conn->flags & CONN_LISTED) indexes_add(&shard->resumed, index);
    }
    if (tokens->woken_at < tokens->woken.count) return true;
    tokens->woken.count = tokens->woken_at = 0;
    return false;
}

void token_on_keys(void *context, struct letter *letter)
{
    struct shard *shard = context;
    struct letter_keys keys;
    letter_read_keys(letter, &keys);
    check(letter->from == 0);
    check(keys.use < JWT_USE_COUNT);
    struct key_ring *ring = &shard->tokens->rings[keys.use];
    uint64_t now = clock_turn_ms(&shard->clock);
    check(ring->is_asking);
    ring->is_asking = false;
    shard->is_credit_back = true;
    struct jwt_set *set = NULL;
    /* From another address than ours: one of the two shards has been told of a new
     * configuration, the other not yet. */
    if (keys.url_hash != key_url_hash(shard, (enum jwt_use)keys.use)) keys.is_there = false;
    if (keys.is_there && jwt_set_parse(keys.text, &set) == ERR_OK) {
        jwt_set_destroy(ring->set);
        ring->set = set;
        ring->began_ms = keys.began_ms;
        ring->down_until_ms = 0;
        names_found(ring, set, shard->tokens->seed);
        /* Wanted after that fetch began: one more; without credit the retry asks. */
        if (names_settle(ring, keys.began_ms, now)) (void)ask(shard, ring);
    } else {
        ring->down_until_ms = now + KEYS_DOWN_MS;
        names_forget(ring);
    }
    wake(shard->tokens);
}

void tokens_reload(struct shard *shard, const struct config *before)
{
    struct tokens *tokens = shard->tokens;
    for (uint32_t use = 0; use < JWT_USE_COUNT; use++) {
        const char *was = jwt_set_url(before, (enum jwt_use)use);
        if (strcmp(was, jwt_set_url(shard->config, (enum jwt_use)use)) == 0) continue;
        struct key_ring *ring = &tokens->rings[use];
        jwt_set_destroy(ring->set);
        ring->set = NULL;
        ring->began_ms = ring->down_until_ms = 0;
        ring->names_count = 0;
        if (tokens->home != NULL) key_home_reload(tokens->home, (enum jwt_use)use);
    }
}
