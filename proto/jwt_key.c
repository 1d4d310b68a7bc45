/*
 * jwt_key: keys and signatures, on cjose.
 *
 * cjose lets the token's header choose the algorithm and takes signatures of odd
 * lengths; so what a key may verify, and how long its signatures are, is decided
 * here before cjose is asked.  cjose has no Ed25519: that goes to core/crypt.h.
 */
#include <cjose/cjose.h>

#include "core/check.h"
#include "core/crypt.h"
#include "core/mem.h"
#include "proto/json.h"
#include "proto/jwt_parts.h"

static const struct {
    const char *name;
    uint32_t signature_size; /* 0: that of the key */
} algs[JWT_ALG_COUNT] = {
    [JWT_HS256] = {"HS256", 32}, [JWT_HS384] = {"HS384", 48}, [JWT_HS512] = {"HS512", 64},
    [JWT_RS256] = {"RS256", 0},  [JWT_RS384] = {"RS384", 0},  [JWT_RS512] = {"RS512", 0},
    [JWT_ES256] = {"ES256", 64}, [JWT_ES384] = {"ES384", 96}, [JWT_ES512] = {"ES512", 132},
    [JWT_EDDSA] = {"EdDSA", 64},
};

enum jwt_alg jwt_alg_of(struct bytes name)
{
    for (uint32_t i = 0; i < JWT_ALG_COUNT; i++)
        if (bytes_equal_text(name, algs[i].name)) return (enum jwt_alg)i;
    return JWT_ALG_COUNT;
}

static struct jwt_key *key_new(cjose_jwk_t *jwk, uint32_t bits)
{
    if (jwk == NULL) return NULL;
    check(bits != 0);
    struct jwt_key *key = mem_alloc(sizeof(*key));
    key->jwk = jwk;
    key->algs = bits;
    return key;
}

struct jwt_key *jwt_key_hmac(struct bytes secret)
{
    cjose_err err;
    if (secret.size == 0) return NULL;
    return key_new(cjose_jwk_create_oct_spec(secret.at, secret.size, &err), JWT_ALGS_HMAC);
}

/* cjose's descriptions of keys want pointers to what may be written. */
static uint8_t *copy_of(struct bytes number)
{
    uint8_t *copy = mem_alloc(number.size);
    memcpy(copy, number.at, number.size);
    return copy;
}

static struct bytes without_zeros(struct bytes number)
{
    while (number.size > 0 && number.at[0] == 0) number = bytes_of(number.at + 1, number.size - 1);
    return number;
}

/* An exponent of 1 would make every message its own signature. */
static bool rsa_is_fine(struct bytes n, struct bytes e)
{
    if (n.size < CRYPT_RSA_BITS_MIN / 8 || n.size > CRYPT_RSA_BITS_MAX / 8) return false;
    if (n.size == CRYPT_RSA_BITS_MIN / 8 && n.at[0] < 0x80) return false;
    if ((n.at[n.size - 1] & 1) == 0) return false;
    if (e.size == 0 || e.size > 8 || (e.at[e.size - 1] & 1) == 0) return false;
    return e.size > 1 || e.at[0] >= 3;
}

struct jwt_key *jwt_key_rsa(struct bytes modulus, struct bytes exponent)
{
    cjose_err err;
    struct bytes n = without_zeros(modulus), e = without_zeros(exponent);
    if (!rsa_is_fine(n, e)) return NULL;
    cjose_jwk_rsa_keyspec spec = {.n = copy_of(n), .nlen = n.size, .e = copy_of(e), .elen = e.size};
    cjose_jwk_t *jwk = cjose_jwk_create_RSA_spec(&spec, &err);
    mem_free(spec.n);
    mem_free(spec.e);
    return key_new(jwk, JWT_ALGS_RSA);
}

struct jwt_key *jwt_key_ec(uint32_t bits, struct bytes x, struct bytes y)
{
    cjose_err err;
    size_t size = (bits + 7) / 8;
    check(bits == 256 || bits == 384 || bits == 521);
    if (x.size != size || y.size != size) return NULL;
    cjose_jwk_ec_keyspec spec = {
        .crv = bits == 256   ? CJOSE_JWK_EC_P_256
               : bits == 384 ? CJOSE_JWK_EC_P_384
                             : CJOSE_JWK_EC_P_521,
        .x = copy_of(x),
        .xlen = size,
        .y = copy_of(y),
        .ylen = size,
    };
    cjose_jwk_t *jwk = cjose_jwk_create_EC_spec(&spec, &err);
    mem_free(spec.x);
    mem_free(spec.y);
    return key_new(jwk, JWT_ALG_BIT(bits == 256 ? JWT_ES256 : bits == 384 ? JWT_ES384 : JWT_ES512));
}

struct jwt_key *jwt_key_ed25519(struct bytes x)
{
    if (x.size != 32) return NULL;
    struct jwt_key *key = mem_alloc(sizeof(*key));
    memcpy(key->ed25519, x.at, 32);
    key->algs = JWT_ALG_BIT(JWT_EDDSA);
    return key;
}

void jwt_keys_free(struct jwt_key *keys)
{
    while (keys != NULL) {
        struct jwt_key *next = keys->next;
        if (keys->jwk != NULL) cjose_jwk_release(keys->jwk);
        crypt_wipe(keys, sizeof(*keys));
        mem_free(keys);
        keys = next;
    }
}

bool jwt_key_verifies(const struct jwt_key *key, const struct jwt_token *token)
{
    check(token->alg < JWT_ALG_COUNT);
    if (!(key->algs & JWT_ALG_BIT(token->alg))) return false;
    uint32_t size = algs[token->alg].signature_size;
    if (size != 0 && token->signature.size != size) return false;
    if (key->jwk == NULL) {
        const uint8_t *dot = memrchr(token->text.at, '.', token->text.size);
        check(dot != NULL);
        struct bytes signed_text = bytes_of(token->text.at, (size_t)(dot - token->text.at));
        return crypt_ed25519_verify(key->ed25519, signed_text, token->signature);
    }
    cjose_err err;
    cjose_jws_t *jws = cjose_jws_import((const char *)token->text.at, token->text.size, &err);
    if (jws == NULL) return false;
    bool is_fine = cjose_jws_verify(jws, key->jwk, &err);
    cjose_jws_release(jws);
    return is_fine;
}

/* ---- making tokens ---- */

static void claim_text(struct writer *writer, const char *name, const char *value)
{
    write_text(writer, name);
    json_write_text(writer, bytes_of_text(value));
}

static void claim_number(struct writer *writer, const char *name, uint64_t value)
{
    write_text(writer, name);
    write_decimal(writer, value);
}

/* A compact serialisation of `payload`, or NULL; mem_free it. */
static char *sign(const struct jwt_key *key, const char *alg, struct bytes payload)
{
    cjose_err err;
    const char *serial;
    char *text = NULL;
    cjose_header_t *header = cjose_header_new(&err);
    if (header != NULL && cjose_header_set(header, CJOSE_HDR_ALG, alg, &err) &&
        cjose_header_set(header, "typ", "JWT", &err)) {
        cjose_jws_t *jws = cjose_jws_sign(key->jwk, header, payload.at, payload.size, &err);
        if (jws != NULL && cjose_jws_export(jws, &serial, &err))
            text = mem_text(serial, strlen(serial));
        cjose_jws_release(jws);
    }
    cjose_header_release(header);
    return text;
}

enum err jwt_sign(struct bytes secret, const char *user, const char *channel, uint64_t now_s,
                  uint64_t ttl_s, char **text)
{
    *text = NULL;
    struct jwt_key *key = jwt_key_hmac(secret);
    if (key == NULL) return ERR_BAD_REQUEST;
    size_t room =
        128 + json_text_bound(bytes_of_text(user)) + json_text_bound(bytes_of_text(channel));
    uint8_t *claims = mem_alloc(room);
    struct writer writer = writer_of(claims, room);
    claim_text(&writer, "{\"sub\":", user);
    if (channel != NULL) claim_text(&writer, ",\"channel\":", channel);
    claim_number(&writer, ",\"iat\":", now_s);
    if (ttl_s > 0) claim_number(&writer, ",\"exp\":", now_s + ttl_s);
    write_text(&writer, "}");
    check(!writer.failed);
    *text = sign(key, algs[JWT_HS256].name, writer_bytes(&writer));
    mem_free(claims);
    jwt_keys_free(key);
    return *text != NULL ? ERR_OK : ERR_BAD_REQUEST;
}
