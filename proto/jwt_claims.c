/*
 * jwt_claims: what a token says.
 *
 * One pass over the payload with the reader of commands, so that info and data
 * come out as they stand.  null is absent, as in the SDKs' world; any other wrong
 * type makes the token invalid, because a claim that was meant and not understood
 * must not turn into a permission.
 */
#include <math.h>
#include <stdlib.h>

#include "core/check.h"
#include "core/crypt.h"
#include "core/limits.h"
#include "proto/json_parts.h"
#include "proto/jwt_parts.h"

#define NUMBER_MAX 40

/* What is met on the way and decided at the end. */
struct claims_read {
    struct jwt_claims *claims;
    struct arena *arena;
    const struct jwt_rules *rules;
    bool has_audience, has_issuer; /* a value that satisfies the rules was met */
    struct bytes info, data, info_base64, data_base64;
    bool has_nbf, has_subs;
    uint64_t nbf;
};

static void refuse(struct json *json)
{
    if (json->error == ERR_OK) json->error = ERR_TOKEN_INVALID;
}

/* A NumericDate (RFC 7519 section 2), which may have a fraction; whole seconds are
 * enough for us. */
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
        refuse(json);
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

/* The raw claim, or what its base64 form says. */
static bool payload_of(struct bytes raw, struct bytes base64, struct arena *arena,
                       struct jwt_payload *payload)
{
    *payload = (struct jwt_payload){raw, false};
    if (base64.size == 0) return true;
    size_t room = base64.size / 4 * 3, used;
    uint8_t *out = arena_get(arena, room + 1);
    if (crypt_base64_decode(base64, false, out, room, &used) != ERR_OK) return false;
    payload->bytes = bytes_of(out, used);
    payload->is_opaque = !json_is_valid(payload->bytes);
    return true;
}

static bool is_wanted(struct bytes text, const char *exact, const struct pattern *pattern)
{
    if (text.size == 0) return false;
    if (exact[0] != '\0' && !bytes_equal_text(text, exact)) return false;
    return pattern == NULL || pattern_is_in(pattern, text);
}

/* One text or a list of them (RFC 7519 section 4.1.3): one that is wanted is enough. */
static void read_audience(struct json *json, struct claims_read *read)
{
    const struct jwt_rules *rules = read->rules;
    struct bytes text;
    read->has_audience = false;
    if (json_peek(json) != JSON_ARRAY) {
        json_text(json, read->arena, &text);
        read->has_audience = is_wanted(text, rules->audience, rules->audience_regex);
        return;
    }
    if (!json_enter_array(json)) return;
    while (json_element(json)) {
        json_text(json, read->arena, &text);
        if (is_wanted(text, rules->audience, rules->audience_regex)) read->has_audience = true;
    }
}

static void read_issuer(struct json *json, struct claims_read *read)
{
    const struct jwt_rules *rules = read->rules;
    struct bytes text;
    json_text(json, read->arena, &text);
    read->has_issuer = is_wanted(text, rules->issuer, rules->issuer_regex);
}

/* {"value": true} */
static void read_choice(struct json *json, uint8_t *choice)
{
    struct bytes key;
    bool value = false;
    *choice = JWT_UNSET;
    if (json_peek(json) == JSON_NULL) {
        json_skip(json);
        return;
    }
    if (!json_enter_object(json)) return;
    while (json_key(json, &key)) {
        if (bytes_equal_text(key, "value"))
            json_bool(json, &value);
        else
            json_skip(json);
    }
    *choice = value ? JWT_ON : JWT_OFF;
}

static void read_override(struct json *json, struct jwt_override *override)
{
    struct bytes key;
    *override = (struct jwt_override){0};
    if (json_peek(json) == JSON_NULL) {
        json_skip(json);
        return;
    }
    if (!json_enter_object(json)) return;
    while (json_key(json, &key)) {
        if (bytes_equal_text(key, "presence"))
            read_choice(json, &override->presence);
        else if (bytes_equal_text(key, "join_leave"))
            read_choice(json, &override->join_leave);
        else if (bytes_equal_text(key, "force_push_join_leave"))
            read_choice(json, &override->force_push_join_leave);
        else if (bytes_equal_text(key, "force_positioning"))
            read_choice(json, &override->force_positioning);
        else if (bytes_equal_text(key, "force_recovery"))
            read_choice(json, &override->force_recovery);
        else
            json_skip(json);
    }
}

/* What stands behind a channel in the claim subs; null is an empty object. */
static void read_sub(struct json *json, struct arena *arena, struct jwt_sub *sub)
{
    struct bytes key, info = BYTES_NONE, data = BYTES_NONE;
    struct bytes info_base64 = BYTES_NONE, data_base64 = BYTES_NONE;
    if (json_peek(json) == JSON_NULL) {
        json_skip(json);
        return;
    }
    if (!json_enter_object(json)) return;
    while (json_key(json, &key)) {
        if (bytes_equal_text(key, "info"))
            read_raw(json, &info);
        else if (bytes_equal_text(key, "b64info"))
            json_text(json, arena, &info_base64);
        else if (bytes_equal_text(key, "data"))
            read_raw(json, &data);
        else if (bytes_equal_text(key, "b64data"))
            json_text(json, arena, &data_base64);
        else if (bytes_equal_text(key, "override"))
            read_override(json, &sub->override);
        else
            json_skip(json);
    }
    if (!payload_of(info, info_base64, arena, &sub->info) ||
        !payload_of(data, data_base64, arena, &sub->data))
        refuse(json);
}

/* Members or elements of the container that comes next; the reader stays. */
static uint32_t count_of(const struct json *json)
{
    struct json ahead = *json;
    struct bytes key;
    uint32_t count = 0;
    if (json_peek(&ahead) == JSON_OBJECT) {
        if (!json_enter_object(&ahead)) return 0;
        for (; json_key(&ahead, &key); count++) json_skip(&ahead);
    } else if (json_peek(&ahead) == JSON_ARRAY) {
        if (!json_enter_array(&ahead)) return 0;
        for (; json_element(&ahead); count++) json_skip(&ahead);
    }
    return count;
}

static struct jwt_sub *subs_new(struct claims_read *read, uint32_t count)
{
    struct jwt_sub *subs = arena_get(read->arena, (count + 1) * sizeof(*subs));
    memset(subs, 0, (count + 1) * sizeof(*subs));
    read->claims->subs = subs;
    read->claims->subs_count = count;
    return subs;
}

/* {"channel": {…}}; it wins over the claim channels, wherever that stands, when there
 * is a channel in it. */
static void read_subs(struct json *json, struct claims_read *read)
{
    if (json_peek(json) == JSON_NULL) {
        json_skip(json);
        return;
    }
    uint32_t count = count_of(json), at = 0;
    struct bytes key;
    struct jwt_sub *subs = count > 0 ? subs_new(read, count) : NULL;
    read->has_subs = count > 0;
    if (!json_enter_object(json)) return;
    for (; json_key(json, &key); at++) {
        check(at < count);
        bool has_escapes = memchr(key.at, '\\', key.size) != NULL;
        subs[at].channel = has_escapes ? json_unescape(key, read->arena) : key;
        read_sub(json, read->arena, &subs[at]);
        if (subs[at].channel.size == 0) refuse(json);
    }
}

/* ["channel", …] */
static void read_channels(struct json *json, struct claims_read *read)
{
    if (json_peek(json) == JSON_NULL || read->has_subs) {
        if (json_peek(json) != JSON_NULL && json_peek(json) != JSON_ARRAY) refuse(json);
        json_skip(json);
        return;
    }
    uint32_t count = count_of(json), at = 0;
    struct jwt_sub *subs = subs_new(read, count);
    if (!json_enter_array(json)) return;
    for (; json_element(json); at++) {
        check(at < count);
        json_text(json, read->arena, &subs[at].channel);
        if (subs[at].channel.size == 0) refuse(json);
    }
}

static bool read_time(struct json *json, struct claims_read *read, struct bytes key)
{
    struct jwt_claims *claims = read->claims;
    bool has_iat;
    uint64_t iat;
    if (bytes_equal_text(key, "exp"))
        read_date(json, &claims->has_exp, &claims->exp);
    else if (bytes_equal_text(key, "nbf"))
        read_date(json, &read->has_nbf, &read->nbf);
    else if (bytes_equal_text(key, "iat"))
        read_date(json, &has_iat, &iat);
    else if (bytes_equal_text(key, "expire_at"))
        read_date(json, &claims->has_expire_at, &claims->expire_at);
    else
        return false;
    return true;
}

/* Where a claim of the application's own stands in for sub, an id of its database may be
 * a number: its digits are the id.  sub is text (RFC 7519 section 4.1.2). */
static void read_user(struct json *json, struct claims_read *read, struct bytes key)
{
    struct bytes *user = &read->claims->user;
    if (bytes_equal_text(key, "sub") || json_peek(json) != JSON_NUMBER) {
        json_text(json, read->arena, user);
        return;
    }
    json_raw(json, user);
    for (size_t i = 0; i < user->size; i++)
        if (user->at[i] < '0' || user->at[i] > '9') refuse(json);
}

static void read_claim(struct json *json, struct claims_read *read, struct bytes key)
{
    struct jwt_claims *claims = read->claims;
    struct bytes ignored;
    if (bytes_equal_text(key, read->rules->user_claim))
        read_user(json, read, key);
    else if (bytes_equal_text(key, "channel")) {
        claims->has_channel = json_peek(json) != JSON_NULL;
        json_text(json, read->arena, &claims->channel);
    } else if (bytes_equal_text(key, "client"))
        json_text(json, read->arena, &claims->client);
    else if (bytes_equal_text(key, "info"))
        read_raw(json, &read->info);
    else if (bytes_equal_text(key, "b64info"))
        json_text(json, read->arena, &read->info_base64);
    else if (bytes_equal_text(key, "data"))
        read_raw(json, &read->data);
    else if (bytes_equal_text(key, "b64data"))
        json_text(json, read->arena, &read->data_base64);
    else if (bytes_equal_text(key, "override"))
        read_override(json, &claims->override);
    else if (bytes_equal_text(key, "subs"))
        read_subs(json, read);
    else if (bytes_equal_text(key, "channels"))
        read_channels(json, read);
    else if (bytes_equal_text(key, "aud"))
        read_audience(json, read);
    else if (bytes_equal_text(key, "iss"))
        read_issuer(json, read);
    else if (bytes_equal_text(key, "jti"))
        json_text(json, read->arena, &ignored);
    else if (!read_time(json, read, key))
        json_skip(json);
}

/* An audience or issuer that is demanded must be there; a value that has another
 * type than text was refused on the way. */
static bool is_from_and_for(const struct claims_read *read)
{
    const struct jwt_rules *rules = read->rules;
    bool wants_audience = rules->audience[0] != '\0' || rules->audience_regex != NULL;
    bool wants_issuer = rules->issuer[0] != '\0' || rules->issuer_regex != NULL;
    return (!wants_audience || read->has_audience) && (!wants_issuer || read->has_issuer);
}

enum err jwt_claims_read(struct bytes payload, const struct jwt_rules *rules, uint64_t now_s,
                         struct arena *arena, struct jwt_claims *claims)
{
    struct claims_read read = {.claims = claims, .arena = arena, .rules = rules};
    struct json json;
    struct bytes key;
    check(rules->user_claim[0] != '\0');
    *claims = (struct jwt_claims){0};
    json_open(&json, payload);
    if (json_enter_object(&json))
        while (json_key(&json, &key)) read_claim(&json, &read, key);
    if (json_close(&json) != ERR_OK) return ERR_TOKEN_INVALID;
    if (!payload_of(read.info, read.info_base64, arena, &claims->info) ||
        !payload_of(read.data, read.data_base64, arena, &claims->data))
        return ERR_TOKEN_INVALID;
    if (claims->user.size > USER_ID_MAX) return ERR_TOKEN_INVALID;
    if (!is_from_and_for(&read)) return ERR_TOKEN_INVALID;
    /* RFC 7519 sections 4.1.4, 4.1.5: not on or after exp, not before nbf. */
    if (claims->has_exp && claims->exp <= now_s) return ERR_TOKEN_EXPIRED;
    if (read.has_nbf && read.nbf > now_s) return ERR_TOKEN_EXPIRED;
    return ERR_OK;
}
