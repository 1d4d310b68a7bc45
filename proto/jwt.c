/*
 * jwt: the gate in front of every signature.
 *
 * cjose decodes base64 loosely, takes duplicate and escaped header names and lets
 * the header choose the algorithm.  So the gate comes first: three parts of
 * canonical base64url, a header with one reading, an algorithm that we know, no
 * `crit` (RFC 7515 section 4.1.11: what is critical and not understood is
 * refused, and nothing is understood).  Then the keys that may verify that
 * algorithm are asked, and the claims are read from the very bytes that the gate
 * decoded.
 */
#include "proto/jwt.h"

#include "core/check.h"
#include "core/crypt.h"
#include "proto/json.h"
#include "proto/jwt_parts.h"

/* Far above any real token; a connect command is smaller anyway. */
#define TOKEN_MAX (32u << 10)

static bool decode(struct bytes text, struct arena *arena, struct bytes *out)
{
    size_t room = text.size / 4 * 3 + 3, used;
    uint8_t *bytes = arena_get(arena, room);
    if (crypt_base64_decode(text, true, bytes, room, &used) != ERR_OK) return false;
    *out = bytes_of(bytes, used);
    return true;
}

/* header.payload.signature, none of them empty. */
static bool split(struct bytes text, struct arena *arena, struct jwt_token *token)
{
    struct bytes *const part[] = {&token->header, &token->payload, &token->signature};
    const uint8_t *at = text.at, *end = text.at + text.size;
    token->text = text;
    for (uint32_t i = 0; i < 3; i++) {
        const uint8_t *dot = at < end ? memchr(at, '.', (size_t)(end - at)) : NULL;
        const uint8_t *stop = dot != NULL ? dot : end;
        if ((dot == NULL) != (i == 2) || stop == at) return false;
        if (!decode(bytes_of(at, (size_t)(stop - at)), arena, part[i])) return false;
        at = stop + (dot != NULL);
    }
    return true;
}

/* True when the header names an algorithm of ours and nothing that could be read
 * otherwise. */
static bool header_is_fine(struct arena *arena, struct jwt_token *token)
{
    struct json json;
    struct bytes key, alg = BYTES_NONE;
    uint32_t algs = 0, kids = 0;
    bool is_plain = true;
    json_open(&json, token->header);
    if (json_enter_object(&json)) {
        while (json_key(&json, &key)) {
            /* An escaped name is another name to us and the same one to jansson. */
            if (memchr(key.at, '\\', key.size) != NULL || bytes_equal_text(key, "crit"))
                is_plain = false;
            if (bytes_equal_text(key, "alg")) {
                json_text(&json, arena, &alg);
                algs++;
            } else if (bytes_equal_text(key, "kid")) {
                json_text(&json, arena, &token->kid);
                kids++;
            } else {
                json_skip(&json);
            }
        }
    }
    token->alg = jwt_alg_of(alg);
    return json_close(&json) == ERR_OK && is_plain && algs == 1 && kids <= 1 &&
           token->alg != JWT_ALG_COUNT && token->kid.size <= JWT_KID_MAX;
}

/* Every key that may, the newest first: a previous secret stands behind its
 * successor. */
static bool some_key_verifies(const struct jwt_key *keys, const struct jwt_token *token,
                              bool is_by_kid, uint64_t now_s)
{
    for (const struct jwt_key *key = keys; key != NULL; key = key->next) {
        if (is_by_kid && !bytes_equal(token->kid, bytes_of(key->kid, key->kid_size))) continue;
        if (key->valid_until_s != 0 && now_s >= key->valid_until_s) continue;
        if (jwt_key_verifies(key, token)) return true;
    }
    return false;
}

static enum err check_signature(const struct jwt_rules *rules, const struct jwt_set *set,
                                const struct jwt_token *token, uint64_t now_s,
                                struct jwt_claims *claims)
{
    if (rules->skips_signature) return ERR_OK;
    const struct jwt_key *keys = rules->keys;
    if (rules->has_set) {
        if (token->kid.size == 0 || JWT_ALG_BIT(token->alg) & JWT_ALGS_HMAC)
            return ERR_TOKEN_INVALID;
        if (set == NULL || !jwt_set_has(set, token->kid)) {
            claims->kid = token->kid;
            return ERR_KEY_UNKNOWN;
        }
        keys = set->keys;
    }
    return some_key_verifies(keys, token, rules->has_set, now_s) ? ERR_OK : ERR_TOKEN_INVALID;
}

enum err jwt_verify(const struct jwt_rules *rules, const struct jwt_set *set, struct bytes text,
                    uint64_t now_s, struct arena *arena, struct jwt_claims *claims)
{
    struct jwt_token token = {0};
    check(rules != NULL);
    *claims = (struct jwt_claims){0};
    if (text.size == 0 || text.size > TOKEN_MAX || !split(text, arena, &token))
        return ERR_TOKEN_INVALID;
    if (!header_is_fine(arena, &token)) return ERR_TOKEN_INVALID;
    TRY(check_signature(rules, set, &token, now_s, claims));
    enum err err = jwt_claims_read(token.payload, rules, now_s, arena, claims);
    if (err == ERR_TOKEN_INVALID) *claims = (struct jwt_claims){0};
    return err;
}
