/*
 * jwt_set: a JWK set (RFC 7517) becomes keys.
 *
 * A set may hold keys for other purposes and of kinds yet to come: those are
 * passed over (section 5), and so is a key without a name, because tokens choose
 * by name.  A symmetric key has no place in a public set and is never taken: it
 * would let everybody who can read the set sign.
 */
#include "core/check.h"
#include "core/crypt.h"
#include "core/doc.h"
#include "core/mem.h"
#include "proto/jwt_parts.h"

#define NUMBER_MAX (CRYPT_RSA_BITS_MAX / 8 + 1)

/* A member that is canonical base64url, into room[NUMBER_MAX]. */
static bool number_of(const struct doc *key, const char *name, uint8_t *room, struct bytes *number)
{
    struct bytes text;
    size_t used;
    if (!doc_text(doc_get(key, name), &text)) return false;
    if (crypt_base64_decode(text, true, room, NUMBER_MAX, &used) != ERR_OK) return false;
    *number = bytes_of(room, used);
    return true;
}

static struct jwt_key *rsa_of(const struct doc *key)
{
    uint8_t n_room[NUMBER_MAX], e_room[NUMBER_MAX];
    struct bytes n, e;
    if (!number_of(key, "n", n_room, &n) || !number_of(key, "e", e_room, &e)) return NULL;
    return jwt_key_rsa(n, e);
}

static struct jwt_key *ec_of(const struct doc *key)
{
    uint8_t x_room[NUMBER_MAX], y_room[NUMBER_MAX];
    struct bytes x, y, curve;
    if (!doc_text(doc_get(key, "crv"), &curve)) return NULL;
    if (!number_of(key, "x", x_room, &x) || !number_of(key, "y", y_room, &y)) return NULL;
    uint32_t bits = bytes_equal_text(curve, "P-256")   ? 256
                    : bytes_equal_text(curve, "P-384") ? 384
                    : bytes_equal_text(curve, "P-521") ? 521
                                                       : 0;
    return bits == 0 ? NULL : jwt_key_ec(bits, x, y);
}

static struct jwt_key *okp_of(const struct doc *key)
{
    uint8_t x_room[NUMBER_MAX];
    struct bytes x, curve;
    if (!doc_text(doc_get(key, "crv"), &curve) || !bytes_equal_text(curve, "Ed25519")) return NULL;
    return number_of(key, "x", x_room, &x) ? jwt_key_ed25519(x) : NULL;
}

/* RFC 7517 sections 4.2, 4.3: what the key says it is for. */
static bool is_for_signatures(const struct doc *key)
{
    struct bytes text;
    const struct doc *use = doc_get(key, "use"), *operations = doc_get(key, "key_ops");
    if (use != NULL && !(doc_text(use, &text) && bytes_equal_text(text, "sig"))) return false;
    if (operations == NULL) return true;
    for (size_t i = 0; i < doc_count(operations); i++)
        if (doc_text(doc_at(operations, i), &text) && bytes_equal_text(text, "verify")) return true;
    return false;
}

/* NULL when it is none that tokens can name. */
static struct jwt_key *key_of(const struct doc *doc)
{
    struct bytes kid, kind, alg;
    if (!doc_is_object(doc) || !doc_text(doc_get(doc, "kid"), &kid) ||
        !doc_text(doc_get(doc, "kty"), &kind) || !is_for_signatures(doc))
        return NULL;
    if (kid.size == 0 || kid.size > JWT_KID_MAX) return NULL;
    struct jwt_key *key = bytes_equal_text(kind, "RSA")   ? rsa_of(doc)
                          : bytes_equal_text(kind, "EC")  ? ec_of(doc)
                          : bytes_equal_text(kind, "OKP") ? okp_of(doc)
                                                          : NULL;
    if (key == NULL) return NULL;
    key->kid_size = (uint8_t)kid.size;
    memcpy(key->kid, kid.at, kid.size);
    /* A key that names its algorithm is for that one alone. */
    const struct doc *only = doc_get(doc, "alg");
    if (only != NULL) {
        enum jwt_alg named = doc_text(only, &alg) ? jwt_alg_of(alg) : JWT_ALG_COUNT;
        key->algs &= named == JWT_ALG_COUNT ? 0 : JWT_ALG_BIT(named);
    }
    if (key->algs != 0) return key;
    jwt_keys_free(key);
    return NULL;
}

enum err jwt_set_parse(struct bytes text, struct jwt_set **out)
{
    struct doc *doc;
    *out = NULL;
    if (text.size > JWT_SET_BYTES_MAX) return ERR_LIMIT_SIZE;
    TRY(doc_parse(text, &doc, NULL));
    const struct doc *keys = doc_get(doc, "keys");
    if (!doc_is_array(keys)) {
        doc_free(doc);
        return ERR_BAD_REQUEST;
    }
    struct jwt_set *set = mem_alloc(sizeof(*set));
    struct jwt_key **last = &set->keys;
    for (size_t i = 0; i < doc_count(keys) && set->count < JWT_SET_KEYS_MAX; i++) {
        struct jwt_key *key = key_of(doc_at(keys, i));
        if (key == NULL) continue;
        *last = key;
        last = &key->next;
        set->count++;
    }
    doc_free(doc);
    *out = set;
    return ERR_OK;
}

bool jwt_set_has(const struct jwt_set *set, struct bytes kid)
{
    for (const struct jwt_key *key = set->keys; key != NULL; key = key->next)
        if (bytes_equal(kid, bytes_of(key->kid, key->kid_size))) return true;
    return false;
}

struct bytes jwt_set_kid(const struct jwt_set *set, uint32_t index)
{
    check(index < set->count);
    const struct jwt_key *key = set->keys;
    while (index-- > 0) key = key->next;
    return bytes_of(key->kid, key->kid_size);
}

uint32_t jwt_set_count(const struct jwt_set *set)
{
    return set->count;
}

void jwt_set_destroy(struct jwt_set *set)
{
    if (set == NULL) return;
    jwt_keys_free(set->keys);
    mem_free(set);
}
