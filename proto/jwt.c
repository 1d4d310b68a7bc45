/*
 * jwt: tokens through cjose, behind a gate of our own.
 *
 * cjose decodes base64 loosely, takes duplicate and escaped header names and lets
 * the header choose the algorithm.  So the gate comes first: three parts of
 * canonical base64url, a header whose only reading is the key's algorithm, no
 * `crit` (RFC 7515 section 4.1.11: what is critical and not understood is
 * refused, and nothing is understood).  Only then is the signature computed, and
 * the claims are read from the very bytes that the gate decoded.
 */
#include "proto/jwt.h"

#include <cjose/cjose.h>

#include "core/check.h"
#include "core/crypt.h"
#include "core/mem.h"
#include "proto/json.h"
#include "proto/jwt_parts.h"

/* Far above any real token; a connect command is smaller anyway. */
#define TOKEN_MAX (32u << 10)

struct jwt_key {
    cjose_jwk_t *jwk;
    const char *alg; /* the one algorithm that this key verifies */
};

enum err jwt_key_hmac(struct bytes secret, struct jwt_key **key)
{
    *key = NULL;
    if (secret.size == 0) return ERR_BAD_REQUEST;
    cjose_err err;
    cjose_jwk_t *jwk = cjose_jwk_create_oct_spec(secret.at, secret.size, &err);
    if (jwk == NULL) return ERR_BAD_REQUEST;
    *key = mem_alloc(sizeof(**key));
    **key = (struct jwt_key){jwk, CJOSE_HDR_ALG_HS256};
    return ERR_OK;
}

void jwt_key_destroy(struct jwt_key *key)
{
    if (key == NULL) return;
    cjose_jwk_release(key->jwk);
    mem_free(key);
}

struct parts {
    struct bytes header, payload, signature;
};

/* header.payload.signature, none of them empty. */
static bool split(struct bytes token, struct parts *parts)
{
    struct bytes *const part[] = {&parts->header, &parts->payload, &parts->signature};
    const uint8_t *at = token.at, *end = token.at + token.size;
    for (uint32_t i = 0; i < 3; i++) {
        const uint8_t *dot = at < end ? memchr(at, '.', (size_t)(end - at)) : NULL;
        const uint8_t *stop = dot != NULL ? dot : end;
        if ((dot == NULL) != (i == 2) || stop == at) return false;
        *part[i] = bytes_of(at, (size_t)(stop - at));
        at = stop + (dot != NULL);
    }
    return true;
}

static bool decode(struct bytes text, struct arena *arena, struct bytes *out)
{
    size_t room = text.size / 4 * 3 + 3, used;
    uint8_t *bytes = arena_get(arena, room);
    if (crypt_base64_decode(text, true, bytes, room, &used) != ERR_OK) return false;
    *out = bytes_of(bytes, used);
    return true;
}

/* True when the header says `alg` and nothing that could be read otherwise. */
static bool header_is_fine(struct bytes text, struct arena *arena, const char *alg)
{
    struct json json;
    struct bytes key, value = BYTES_NONE;
    uint32_t algs = 0;
    bool is_plain = true;
    json_open(&json, text);
    if (json_enter_object(&json)) {
        while (json_key(&json, &key)) {
            /* An escaped name is another name to us and the same one to jansson. */
            if (memchr(key.at, '\\', key.size) != NULL || bytes_equal_text(key, "crit"))
                is_plain = false;
            if (bytes_equal_text(key, "alg")) {
                json_text(&json, arena, &value);
                algs++;
            } else {
                json_skip(&json);
            }
        }
    }
    return json_close(&json) == ERR_OK && is_plain && algs == 1 && bytes_equal_text(value, alg);
}

static bool signature_is_fine(const struct jwt_key *key, struct bytes token)
{
    cjose_err err;
    cjose_jws_t *jws = cjose_jws_import((const char *)token.at, token.size, &err);
    if (jws == NULL) return false;
    bool is_fine = cjose_jws_verify(jws, key->jwk, &err);
    cjose_jws_release(jws);
    return is_fine;
}

enum err jwt_verify(const struct jwt_key *key, struct bytes token, uint64_t now_s,
                    struct arena *arena, struct jwt_claims *claims)
{
    struct parts parts;
    struct bytes header, payload, signature;
    check(key != NULL);
    *claims = (struct jwt_claims){0};
    if (token.size == 0 || token.size > TOKEN_MAX || !split(token, &parts))
        return ERR_TOKEN_INVALID;
    if (!decode(parts.header, arena, &header) || !decode(parts.payload, arena, &payload) ||
        !decode(parts.signature, arena, &signature))
        return ERR_TOKEN_INVALID;
    if (!header_is_fine(header, arena, key->alg)) return ERR_TOKEN_INVALID;
    if (!signature_is_fine(key, token)) return ERR_TOKEN_INVALID;
    enum err err = jwt_claims_read(payload, "sub", now_s, arena, claims);
    if (err != ERR_OK) *claims = (struct jwt_claims){0};
    return err;
}

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
static char *sign(const struct jwt_key *key, struct bytes payload)
{
    cjose_err err;
    const char *serial;
    char *text = NULL;
    cjose_header_t *header = cjose_header_new(&err);
    if (header != NULL && cjose_header_set(header, CJOSE_HDR_ALG, key->alg, &err) &&
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
    struct jwt_key *key;
    *text = NULL;
    TRY(jwt_key_hmac(secret, &key));
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
    *text = sign(key, writer_bytes(&writer));
    mem_free(claims);
    jwt_key_destroy(key);
    return *text != NULL ? ERR_OK : ERR_BAD_REQUEST;
}
