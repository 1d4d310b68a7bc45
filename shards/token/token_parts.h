/*
 * token_parts: what the files of token share; nobody else includes this.
 *
 * Thread:  owner shard only.
 */
#pragma once

#include "shards/token/token.h"

struct key_home;
struct post;

/* "A set whose fetch began after `after_ms` (clock_turn_ms; 0: any)". */
struct letter_keys_ask {
    uint8_t use; /* enum jwt_use */
    uint64_t after_ms;
};
struct letter_keys {
    uint8_t use;
    bool is_there; /* else it could not be had */
    uint64_t url_hash;
    uint64_t began_ms;
    struct bytes text; /* a view of the letter */
};
must_use struct letter *letter_pack_keys_ask(struct post *post, uint32_t to,
                                             const struct letter_keys_ask *in);
void letter_read_keys_ask(const struct letter *letter, struct letter_keys_ask *out);
must_use struct letter *letter_pack_keys(struct post *post, uint32_t to,
                                         const struct letter_keys *in);
void letter_read_keys(const struct letter *letter, struct letter_keys *out);

struct key_home *tokens_home(const struct shard *shard);
/* Of the address that the shard's configuration names. */
uint64_t key_url_hash(const struct shard *shard, enum jwt_use use);

/* Shard 0 alone. */
must_use struct key_home *key_home_create(struct shard *shard);
/* Accepts NULL. */
void key_home_destroy(struct key_home *home);
bool key_home_is_busy(const struct key_home *home);
/* The address of this use is another one. */
void key_home_reload(struct key_home *home, enum jwt_use use);
