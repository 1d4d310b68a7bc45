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
#include <math.h>
#include <stdlib.h>

#include "core/check.h"
#include "core/crypt.h"
#include "core/mem.h"
#include "proto/json.h"

/* Far above any real token; a connect command is smaller anyway. */
#define TOKEN_MAX  (32u << 10)
#define NUMBER_MAX 40

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

/* A NumericDate (RFC 7519 section 2), which may have a fraction; whole seconds are
 * enough for us.  Latches what is not a number. */
static void read_date(struct json *json, bool *has, uint64_t *seconds)
{
    enum json_kind kind = json_peek(json);
    struct bytes raw;
    char text[NUMBER_MAX + 1];
    *has = false;
    *seconds = 0;
    json_raw(json, &raw);
    if (json->error != ERR_OK || kind == JSON_NULL) return;
    if (kind != JSON_NUMBER || raw.size > NUMBER_MAX) {
        json->error = ERR_TOKEN_INVALID;
        return;
    }
    memcpy(text, raw.at, raw.size);
    text[raw.size] = '\0';
    double value = floor(strtod(text, NULL));
    *has = true;
    if (value >= 9.2e18)
        *seconds = INT64_MAX;
    else if (value > 0)
        *seconds = (uint64_t)value;
}

static void read_raw(struct json *json, struct bytes *raw)
{
    bool is_null = json_peek(json) == JSON_NULL;
    json_raw(json, raw);
    if (is_null) *raw = BYTES_NONE;
}

static enum err read_claims(struct bytes payload, uint64_t now_s, struct arena *arena,
                            struct jwt_claims *claims)
{
    struct json json;
    struct bytes key;
    bool has_nbf = false;
    uint64_t nbf = 0;
    json_open(&json, payload);
    if (json_enter_object(&json)) {
        while (json_key(&json, &key)) {
            if (bytes_equal_text(key, "sub"))
                json_text(&json, arena, &claims->user);
            else if (bytes_equal_text(key, "channel")) {
                claims->has_channel = json_peek(&json) != JSON_NULL;
                json_text(&json, arena, &claims->channel);
            } else if (bytes_equal_text(key, "client"))
                json_text(&json, arena, &claims->client);
            else if (bytes_equal_text(key, "info"))
                read_raw(&json, &claims->info);
            else if (bytes_equal_text(key, "data"))
                read_raw(&json, &claims->data);
            else if (bytes_equal_text(key, "exp"))
                read_date(&json, &claims->has_exp, &claims->exp);
            else if (bytes_equal_text(key, "nbf"))
                read_date(&json, &has_nbf, &nbf);
            else if (bytes_equal_text(key, "expire_at"))
                read_date(&json, &claims->has_expire_at, &claims->expire_at);
            else
                json_skip(&json);
        }
    }
    if (json_close(&json) != ERR_OK) return ERR_TOKEN_INVALID;
    /* RFC 7519 sections 4.1.4, 4.1.5: not on or after exp, not before nbf. */
    if (claims->has_exp && claims->exp <= now_s) return ERR_TOKEN_EXPIRED;
    if (has_nbf && nbf > now_s) return ERR_TOKEN_EXPIRED;
    return ERR_OK;
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
    enum err err = read_claims(payload, now_s, arena, claims);
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
