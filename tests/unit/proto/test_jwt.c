/*
 * Tokens: a known vector, what each claim gives, times at their edges, and every
 * way to be invalid: cut at every byte, each byte changed, headers that a laxer
 * reader would take, base64 that is not canonical.  Signatures of odd tokens are
 * made here, so that only the gate can refuse them.
 */
#include "unit/proto/wire.h"

#include "core/config.h"
#include "core/crypt.h"
#include "core/doc.h"
#include "core/mem.h"
#include "proto/jwt_parts.h"

#define SECRET BYTES_LITERAL("secret")
#define NOW    1700000000u

static struct arena arena;
static struct jwt_rules *rules;

static void on_sentence(void *context, enum config_voice voice, const char *sentence)
{
    (void)context;
    if (voice == CONFIG_SAYS_ERROR) fail_msg("%s", sentence);
}

/* The rules of connections of a configuration. */
static struct jwt_rules *rules_of(const char *client)
{
    char text[8192];
    struct config *config;
    struct jwt_rules *made;
    int size = snprintf(text, sizeof(text), "{\"client\":%s}", client);
    assert_int_equal(
        config_parse(bytes_of(text, (size_t)size), "c.json", NULL, 0, on_sentence, NULL, &config),
        ERR_OK);
    assert_int_equal(jwt_rules_create(config, JWT_CONNECTION, &made), ERR_OK);
    config_destroy(config);
    return made;
}

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena, 64 << 10);
    doc_setup();
    rules = rules_of("{\"token\":{\"hmac_secret_key\":\"secret\"}}");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    jwt_rules_destroy(rules);
    arena_fini(&arena);
    return 0;
}

/* A token with exactly these parts, well signed. */
static size_t make(const char *header, const char *payload, char *out, size_t room)
{
    uint8_t mac[32];
    size_t used = crypt_base64url(bytes_of_text(header), out, room);
    out[used++] = '.';
    used += crypt_base64url(bytes_of_text(payload), out + used, room - used);
    crypt_hmac_sha256(SECRET, bytes_of(out, used), mac);
    out[used++] = '.';
    return used + crypt_base64url(bytes_of(mac, 32), out + used, room - used);
}

static enum err verify(const char *header, const char *payload, struct jwt_claims *claims)
{
    char token[4096];
    size_t size = make(header, payload, token, sizeof(token));
    uint8_t *copy = tight_copy(token, size);
    enum err err = jwt_verify(rules, NULL, bytes_of(copy, size), NOW, &arena, claims);
    free(copy);
    return err;
}

#define HS256 "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"

static void a_known_token_verifies(void **state)
{
    (void)state;
    /* RFC 7515 appendix A.1. */
    static const uint8_t secret[] = {
        3,   35,  53, 75,  43,  15, 165, 188, 131, 126, 6,   101, 119, 123, 166, 143,
        90,  179, 40, 230, 240, 84, 201, 40,  169, 15,  132, 178, 210, 80,  46,  191,
        211, 251, 90, 146, 210, 6,  71,  239, 150, 138, 180, 195, 119, 98,  61,  34,
        61,  46,  33, 114, 5,   46, 79,  8,   192, 205, 154, 245, 103, 208, 128, 163};
    static const char token[] = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9."
                                "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcG"
                                "xlLmNvbS9pc19yb290Ijp0cnVlfQ."
                                "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    struct jwt_claims claims;
    char none[] = "", sub[] = "sub";
    struct jwt_rules other = {.keys = jwt_key_hmac(bytes_of(secret, sizeof(secret))),
                              .audience = none,
                              .issuer = none,
                              .user_claim = sub};
    assert_int_equal(jwt_verify(&other, NULL, BYTES_LITERAL(token), 1300819379, &arena, &claims),
                     ERR_OK);
    assert_true(claims.has_exp && claims.exp == 1300819380);
    assert_int_equal(jwt_verify(&other, NULL, BYTES_LITERAL(token), 1300819380, &arena, &claims),
                     ERR_TOKEN_EXPIRED);
    assert_int_equal(jwt_verify(rules, NULL, BYTES_LITERAL(token), 1300819379, &arena, &claims),
                     ERR_TOKEN_INVALID);
    jwt_keys_free(other.keys);
}

static void claims_are_read(void **state)
{
    (void)state;
    struct jwt_claims claims;
    assert_int_equal(verify(HS256,
                            "{\"sub\":\"4\\u00322\",\"channel\":\"c\",\"client\":\"x\",\"info\":{"
                            "\"a\": 1},\"data\":[2],"
                            "\"exp\":1700000001,\"expire_at\":5,\"other\":[{}]}",
                            &claims),
                     ERR_OK);
    assert_bytes(claims.user, "422");
    assert_bytes(claims.channel, "c");
    assert_bytes(claims.client, "x");
    assert_bytes(claims.info.bytes, "{\"a\": 1}");
    assert_bytes(claims.data.bytes, "[2]");
    assert_true(claims.has_exp && claims.has_channel && claims.has_expire_at);
    assert_int_equal(claims.exp, 1700000001);
    assert_int_equal(claims.expire_at, 5);
    assert_int_equal(verify(HS256, "{}", &claims), ERR_OK);
    assert_int_equal(claims.user.size, 0);
    assert_false(claims.has_exp || claims.has_channel || claims.has_expire_at);
    assert_int_equal(
        verify(HS256, "{\"sub\":null,\"info\":null,\"exp\":null,\"channel\":null}", &claims),
        ERR_OK);
    assert_false(claims.has_exp || claims.has_channel);
    assert_int_equal(claims.info.bytes.size, 0);
}

static void server_side_subscriptions_are_read(void **state)
{
    (void)state;
    struct jwt_claims claims;
    assert_int_equal(
        verify(HS256,
               "{\"channels\":[\"x\"],\"subs\":{\"a\\u0062\":{\"info\":{},\"b64info\":\"AAE=\","
               "\"b64data\":\"eyJhIjoxfQ==\",\"override\":{\"presence\":{\"value\":true},"
               "\"join_leave\":{\"value\":false},\"force_recovery\":null,\"new\":1}},"
               "\"c\":null},\"channels\":[\"y\",\"z\"]}",
               &claims),
        ERR_OK);
    assert_int_equal(claims.subs_count, 2);
    assert_bytes(claims.subs[0].channel, "ab");
    assert_int_equal(claims.subs[0].info.bytes.size, 2);
    assert_true(claims.subs[0].info.is_opaque && !claims.subs[0].data.is_opaque);
    assert_bytes(claims.subs[0].data.bytes, "{\"a\":1}");
    assert_int_equal(claims.subs[0].override.presence, JWT_ON);
    assert_int_equal(claims.subs[0].override.join_leave, JWT_OFF);
    assert_int_equal(claims.subs[0].override.force_recovery, JWT_UNSET);
    assert_bytes(claims.subs[1].channel, "c");
    assert_int_equal(verify(HS256, "{\"channels\":[\"y\",\"z\"],\"subs\":{}}", &claims), ERR_OK);
    assert_int_equal(claims.subs_count, 2);
    assert_bytes(claims.subs[1].channel, "z");
    static const char *const wrong[] = {
        "{\"channels\":\"a\"}",
        "{\"channels\":[1]}",
        "{\"channels\":[\"\"]}",
        "{\"channels\":[null]}",
        "{\"channels\":{\"a\":{}}}",
        "{\"subs\":[\"a\"]}",
        "{\"subs\":{\"\":{}}}",
        "{\"subs\":{\"a\":1}}",
        "{\"subs\":{\"a\":{\"b64info\":\"AAE\"}}}",
        "{\"subs\":{\"a\":{\"b64data\":1}}}",
        "{\"subs\":{\"a\":{\"override\":[]}}}",
        "{\"subs\":{\"a\":{\"override\":{\"presence\":true}}}}",
        "{\"subs\":{\"a\":{\"override\":{\"presence\":{\"value\":1}}}}}",
        "{\"subs\":{\"a\":{}},\"channels\":1}",
        "{\"b64info\":\"*\"}",
        "{\"override\":true}",
        "{\"iat\":\"now\"}",
    };
    for (size_t i = 0; i < array_count(wrong); i++)
        if (verify(HS256, wrong[i], &claims) != ERR_TOKEN_INVALID) fail_msg("taken: %s", wrong[i]);
}

static void times_hold_at_their_edges(void **state)
{
    (void)state;
    struct jwt_claims claims;
    static const struct {
        const char *payload;
        enum err err;
    } rows[] = {
        {"{\"exp\":1700000000}", ERR_TOKEN_EXPIRED},
        {"{\"exp\":1700000001}", ERR_OK},
        {"{\"exp\":1700000000.9}", ERR_TOKEN_EXPIRED},
        {"{\"exp\":1.700000001e9}", ERR_OK},
        {"{\"exp\":0}", ERR_TOKEN_EXPIRED},
        {"{\"exp\":-1}", ERR_TOKEN_EXPIRED},
        {"{\"exp\":1e400}", ERR_OK},
        {"{\"exp\":99999999999999999999}", ERR_OK},
        {"{\"exp\":-1e400}", ERR_TOKEN_EXPIRED},
        {"{\"nbf\":1700000000}", ERR_OK},
        {"{\"nbf\":1700000001}", ERR_TOKEN_EXPIRED},
        {"{\"nbf\":1700000001,\"exp\":1700000005}", ERR_TOKEN_EXPIRED},
        {"{\"exp\":\"1700000001\"}", ERR_TOKEN_INVALID},
        {"{\"exp\":true}", ERR_TOKEN_INVALID},
        {"{\"exp\":10000000000000000000000000000000000000000}", ERR_TOKEN_INVALID},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        enum err err = verify(HS256, rows[i].payload, &claims);
        if (err != rows[i].err) fail_msg("%s: %s", rows[i].payload, err_name(err));
    }
}

static void headers_must_have_one_reading(void **state)
{
    (void)state;
    struct jwt_claims claims;
    static const char *const headers[] = {
        "{}",
        "[]",
        "",
        "null",
        "{\"alg\":\"none\"}",
        "{\"alg\":\"HS384\"}",
        "{\"alg\":\"hs256\"}",
        "{\"alg\":\"RS256\"}",
        "{\"alg\":null}",
        "{\"alg\":[\"HS256\"]}",
        "{\"alg\":\"HS256\",\"crit\":[]}",
        "{\"alg\":\"HS256\",\"crit\":[\"b64\"],\"b64\":false}",
        "{\"alg\":\"none\",\"alg\":\"HS256\"}",
        "{\"alg\":\"HS256\",\"alg\":\"HS256\"}",
        "{\"alg\":\"HS256\",\"\\u0061lg\":\"none\"}",
        "{\"alg\":\"HS256\",\"cri\\u0074\":[]}",
        "{\"alg\":\"HS256\"} x",
        "{\"alg\":\"HS256\"",
        "{\"alg\":\"HS256 \"}",
    };
    for (size_t i = 0; i < array_count(headers); i++) {
        if (verify(headers[i], "{\"sub\":\"1\"}", &claims) != ERR_TOKEN_INVALID)
            fail_msg("taken: %s", headers[i]);
        assert_int_equal(claims.user.size, 0);
    }
    assert_int_equal(verify("{\"alg\":\"HS256\",\"kid\":\"k\",\"typ\":\"at+jwt\"}", "{}", &claims),
                     ERR_OK);
}

static void payloads_must_be_objects(void **state)
{
    (void)state;
    struct jwt_claims claims;
    static const char *const payloads[] = {"",
                                           "[]",
                                           "1",
                                           "{\"sub\":1}",
                                           "{\"sub\":\"a\"",
                                           "{\"channel\":[]}",
                                           "{}{}",
                                           "{\"info\":x}",
                                           "{\"sub\":\"\xFF\"}"};
    for (size_t i = 0; i < array_count(payloads); i++) {
        if (verify(HS256, payloads[i], &claims) != ERR_TOKEN_INVALID)
            fail_msg("taken: %s", payloads[i]);
    }
}

static void no_byte_can_be_cut_or_changed(void **state)
{
    (void)state;
    char token[1024];
    struct jwt_claims claims;
    size_t size = make(HS256, "{\"sub\":\"42\"}", token, sizeof(token));
    assert_int_equal(jwt_verify(rules, NULL, bytes_of(token, size), NOW, &arena, &claims), ERR_OK);
    for (size_t i = 0; i < size; i++) {
        uint8_t *cut = tight_copy(token, i);
        assert_int_equal(jwt_verify(rules, NULL, bytes_of(cut, i), NOW, &arena, &claims),
                         ERR_TOKEN_INVALID);
        free(cut);
        for (uint32_t bit = 0; bit < 8; bit++) {
            uint8_t *changed = tight_copy(token, size);
            changed[i] ^= (uint8_t)(1u << bit);
            if (jwt_verify(rules, NULL, bytes_of(changed, size), NOW, &arena, &claims) !=
                ERR_TOKEN_INVALID)
                fail_msg("byte %zu bit %u", i, bit);
            free(changed);
        }
    }
}

static void base64_must_be_canonical(void **state)
{
    (void)state;
    char token[1024];
    struct jwt_claims claims;
    static const char *const tails[] = {"=", " ", "\n", ".", ".x", "A"};
    size_t size = make(HS256, "{\"sub\":\"42\"}", token, sizeof(token));
    for (size_t i = 0; i < array_count(tails); i++) {
        char odd[1100];
        int used = snprintf(odd, sizeof(odd), "%.*s%s", (int)size, token, tails[i]);
        assert_int_equal(jwt_verify(rules, NULL, bytes_of(odd, (size_t)used), NOW, &arena, &claims),
                         ERR_TOKEN_INVALID);
        used = snprintf(odd, sizeof(odd), "%s%.*s", tails[i], (int)size, token);
        assert_int_equal(jwt_verify(rules, NULL, bytes_of(odd, (size_t)used), NOW, &arena, &claims),
                         ERR_TOKEN_INVALID);
    }
    static const char *const shapes[] = {"",    ".",       "..",   "...",  "a",
                                         "a.b", "a.b.c.d", "a..c", ".b.c", "a.b."};
    for (size_t i = 0; i < array_count(shapes); i++)
        assert_int_equal(jwt_verify(rules, NULL, bytes_of_text(shapes[i]), NOW, &arena, &claims),
                         ERR_TOKEN_INVALID);
    uint8_t *huge = malloc(1 << 20);
    memset(huge, 'A', 1 << 20);
    assert_int_equal(jwt_verify(rules, NULL, bytes_of(huge, 1 << 20), NOW, &arena, &claims),
                     ERR_TOKEN_INVALID);
    free(huge);
}

static void signed_tokens_verify(void **state)
{
    (void)state;
    char *text;
    struct jwt_claims claims;
    assert_int_equal(jwt_sign(SECRET, "u\"\n", NULL, NOW, 60, &text), ERR_OK);
    assert_int_equal(jwt_verify(rules, NULL, bytes_of_text(text), NOW, &arena, &claims), ERR_OK);
    assert_bytes(claims.user, "u\"\n");
    assert_true(claims.has_exp && claims.exp == NOW + 60 && !claims.has_channel);
    assert_int_equal(jwt_verify(rules, NULL, bytes_of_text(text), NOW + 60, &arena, &claims),
                     ERR_TOKEN_EXPIRED);
    mem_free(text);
    assert_int_equal(jwt_sign(SECRET, "", "chat:1", NOW, 0, &text), ERR_OK);
    assert_int_equal(
        jwt_verify(rules, NULL, bytes_of_text(text), NOW + (1u << 30), &arena, &claims), ERR_OK);
    assert_bytes(claims.channel, "chat:1");
    assert_true(claims.has_channel && !claims.has_exp);
    mem_free(text);
    assert_int_equal(jwt_sign(BYTES_NONE, "", NULL, NOW, 0, &text), ERR_BAD_REQUEST);
    assert_null(text);
    jwt_rules_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_known_token_verifies),
        cmocka_unit_test(claims_are_read),
        cmocka_unit_test(server_side_subscriptions_are_read),
        cmocka_unit_test(times_hold_at_their_edges),
        cmocka_unit_test(headers_must_have_one_reading),
        cmocka_unit_test(payloads_must_be_objects),
        cmocka_unit_test(no_byte_can_be_cut_or_changed),
        cmocka_unit_test(base64_must_be_canonical),
        cmocka_unit_test(signed_tokens_verify),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
