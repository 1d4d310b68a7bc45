/*
 * token: are this client's tokens good?
 *
 * Rules and keys that the configuration holds are the node's, made once and read by
 * every shard.  Keys that come as a JWK set are fetched once for the node:
 *
 *   shard S                                shard 0, the keys' home         FETCHER worker
 *   token_verify: no such key
 *     the command waits
 *     KEYS_ASK ─────────────────────────▶  a fetch under way is joined
 *                                          else one begins ──────────────▶ GET
 *   token_on_keys ◀──────────────── KEYS   every shard that asked ◀─────── text
 *     the set is parsed, who waits goes on
 *
 * Each shard parses the text for itself, so no key is shared between threads.  A set
 * is good for an hour and renewed ten minutes before; a name that is not in it makes
 * the home ask again, at most every KEYS_PAUSE_MS, and until then it is remembered
 * as absent.  A fetch that failed makes commands fail for KEYS_DOWN_MS, temporarily:
 * the client comes back, it is never told that its token is bad.
 *
 * Thread:  owner shard only.
 * Source:  token.c (the asking side), key_home.c (shard 0), key_letter.c
 * Tests:   tests/conformance/jwks.test.mjs, the simulator
 */
#pragma once

#include "proto/jwt.h"

struct shard;
struct conn;
struct letter;

#define KEYS_GOOD_MS    3600000u /* a set may be used this long after its fetch began */
#define KEYS_RENEW_MS   3000000u /* and is asked for again, in the background, after this */
#define KEYS_PAUSE_MS   2000u    /* between the beginnings of two fetches of one set */
#define KEYS_DOWN_MS    1000u    /* a failure is answered to others this long */
#define KEYS_ABSENT_MS  10000u   /* a name that a fresh set lacks is bad this long */
#define KEYS_TIMEOUT_MS 1000u    /* of one try; Centrifugo's */
#define KEYS_TRIES      3u
/* Names that one shard asks for or remembers as absent at once. */
#define KEYS_NAMES_MAX  (VERIFY ? 4 : 256)
/* Connections of one shard that wait for keys; further ones are told to come back. */
#define KEYS_PARKED_MAX (VERIFY ? 4 : 16384)

void tokens_init(struct shard *shard);
/* Nothing may be under way. */
void tokens_fini(struct shard *shard);
/* How the JWK sets of the configuration are, the worst of them; KEYS_NONE on every
 * shard but 0.  *latency_us: the longest of their last fetches. */
enum keys_state {
    KEYS_NONE,      /* no set is configured */
    KEYS_NOT_ASKED, /* no token wanted it yet */
    KEYS_FINE,
    KEYS_OLD,  /* the last fetch failed; the set before it still serves */
    KEYS_DOWN, /* the last fetch failed, and clients with its tokens cannot connect */
};
enum keys_state tokens_health(const struct shard *shard, uint64_t *latency_us);
/* True while an answer or a fetch is under way here: a drain waits for it. */
bool tokens_are_busy(const struct shard *shard);
/* shard->config and its rules have replaced `before`: sets of other addresses are
 * forgotten. */
void tokens_reload(struct shard *shard, const struct config *before);

/* ERR_TOKEN_INVALID, ERR_TOKEN_EXPIRED; ERR_KEYS_DOWN when the keys cannot be had;
 * ERR_KEY_UNKNOWN when they are being asked for: then the command must wait
 * (token_park) and be tried again; ERR_CREDIT_SPENT as everywhere.  Claims live in
 * the turn's arena. */
must_use enum err token_verify(struct shard *shard, enum jwt_use use, struct bytes token,
                               struct jwt_claims *claims);
/* Unix second at which what the token grants must be renewed: `expire_at` wins over `exp`,
 * 0 is never, a year is the most.  ERR_EXPIRED (110) when that is past already. */
must_use enum err token_expiry(const struct shard *shard, const struct jwt_claims *claims,
                               uint32_t *expires_s);
/* The connection, paused with its commands or connecting, is moved on when keys come
 * or fail.  A connection that ends meanwhile needs nothing. */
void token_park(struct shard *shard, struct conn *conn);

/* Each turn, before saved input is looked at: moves woken connections on.  True when
 * some are left for the next turn. */
bool tokens_turn(struct shard *shard);

/* Letters: KEYS_ASK on shard 0, its answer KEYS. */
void key_home_on_ask(void *shard, struct letter *letter);
void token_on_keys(void *shard, struct letter *letter);
