/*
 * Keys of tokens: for each algorithm the token of another implementation, which
 * verifies with its key and with no other, and not with any bit of it changed; keys
 * out of PEM, secrets and JWK sets; what a set may not contain; who a token is for
 * and from.
 */
#include "unit/proto/wire.h"

#include "core/config.h"
#include "core/crypt.h"
#include "core/doc.h"
#include "core/mem.h"
#include "proto/jwt_parts.h"
#include "unit/proto/jwt_tokens.h"

#define NOW 1700000000u

static struct arena arena;

static int set_up(void **state)
{
    (void)state;
    doc_setup();
    arena_init(&arena, 64 << 10);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static void on_sentence(void *context, enum config_voice voice, const char *sentence)
{
    (void)context;
    if (voice == CONFIG_SAYS_ERROR) fail_msg("%s", sentence);
}

/* A configuration of a section "client" whose values are quoted as JSON wants. */
static struct config *config_of(const char *client)
{
    struct config *config;
    char text[8192];
    int size = snprintf(text, sizeof(text), "{\"client\":%s}", client);
    assert_int_equal(
        config_parse(bytes_of(text, (size_t)size), "c.json", NULL, 0, on_sentence, NULL, &config),
        ERR_OK);
    return config;
}

static struct jwt_rules *rules_of(const char *client, enum jwt_use use)
{
    struct jwt_rules *rules;
    struct config *config = config_of(client);
    assert_int_equal(jwt_rules_create(config, use, &rules), ERR_OK);
    config_destroy(config);
    return rules;
}

/* {"token":{NAME: a PEM}} */
static struct jwt_rules *rules_of_pem(const char *name, const char *pem)
{
    char text[4096], quoted[3000];
    size_t used = 0;
    for (const char *at = pem; *at != 0; at++) {
        if (*at == '\n') quoted[used++] = '\\';
        quoted[used++] = *at == '\n' ? 'n' : *at;
    }
    quoted[used] = 0;
    snprintf(text, sizeof(text), "{\"token\":{\"%s\":\"%s\"}}", name, quoted);
    return rules_of(text, JWT_CONNECTION);
}

static enum err verify(const struct jwt_rules *rules, const struct jwt_set *set, const char *token)
{
    struct jwt_claims claims;
    enum err err = jwt_verify(rules, set, bytes_of_text(token), NOW, &arena, &claims);
    if (err == ERR_OK) assert_bytes(claims.user, "42");
    if (err == ERR_TOKEN_INVALID) assert_int_equal(claims.user.size, 0);
    return err;
}

struct row {
    const char *name, *token, *option, *key;
};

static const struct row rows[] = {
    {"HS256", token_hs256, "hmac_secret_key", "secret"},
    {"HS384", token_hs384, "hmac_secret_key", "secret"},
    {"HS512", token_hs512, "hmac_secret_key", "secret"},
    {"RS256", token_rs256, "rsa_public_key", rsa_pem},
    {"RS384", token_rs384, "rsa_public_key", rsa_pkcs1_pem},
    {"RS512", token_rs512, "rsa_public_key", rsa_pem},
    {"ES256", token_es256, "ecdsa_public_key", ec256_pem},
    {"ES384", token_es384, "ecdsa_public_key", ec384_pem},
    {"ES512", token_es512, "ecdsa_public_key", ec521_pem},
};

static void each_algorithm_verifies_with_its_key_alone(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(rows); i++) {
        struct jwt_rules *rules = rules_of_pem(rows[i].option, rows[i].key);
        for (size_t k = 0; k < array_count(rows); k++) {
            bool is_same = strcmp(rows[i].option, rows[k].option) == 0 &&
                           (rows[i].key == rows[k].key || rows[i].name[0] != 'E');
            enum err err = verify(rules, NULL, rows[k].token);
            if (err != (is_same ? ERR_OK : ERR_TOKEN_INVALID))
                fail_msg("key of %s, token of %s: %s", rows[i].name, rows[k].name, err_name(err));
        }
        assert_int_equal(verify(rules, NULL, token_eddsa), ERR_TOKEN_INVALID);
        jwt_rules_destroy(rules);
    }
}

/* Every bit of the token; RSA's many only in the last bytes of each part. */
static void no_bit_of_a_token_can_be_changed(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(rows); i++) {
        struct jwt_rules *rules = rules_of_pem(rows[i].option, rows[i].key);
        size_t size = strlen(rows[i].token);
        char *token = strdup(rows[i].token);
        for (size_t at = 0; at<size; at += size> 200 ? 7 : 1) {
            for (uint32_t bit = 0; bit < 8; bit += 3) {
                token[at] ^= (char)(1 << bit);
                struct jwt_claims claims;
                enum err err = jwt_verify(rules, NULL, bytes_of(token, size), NOW, &arena, &claims);
                if (err != ERR_TOKEN_INVALID) fail_msg("%s byte %zu bit %u", rows[i].name, at, bit);
                token[at] ^= (char)(1 << bit);
            }
        }
        for (size_t cut = size - 1; cut > size - 12; cut--) {
            struct jwt_claims claims;
            assert_int_equal(jwt_verify(rules, NULL, bytes_of(token, cut), NOW, &arena, &claims),
                             ERR_TOKEN_INVALID);
        }
        free(token);
        jwt_rules_destroy(rules);
        arena_reset(&arena);
    }
}

static void a_public_key_is_no_secret(void **state)
{
    (void)state;
    struct jwt_rules *rules = rules_of_pem("rsa_public_key", rsa_pem);
    assert_int_equal(verify(rules, NULL, token_confused), ERR_TOKEN_INVALID);
    assert_int_equal(verify(rules, NULL, token_wrong_rsa), ERR_TOKEN_INVALID);
    jwt_rules_destroy(rules);
    rules = rules_of_pem("ecdsa_public_key", ec384_pem);
    assert_int_equal(verify(rules, NULL, token_es256_by_p384), ERR_TOKEN_INVALID);
    jwt_rules_destroy(rules);
    rules = rules_of_pem("ecdsa_public_key", ec256_pem);
    assert_int_equal(verify(rules, NULL, token_es384_by_p256), ERR_TOKEN_INVALID);
    jwt_rules_destroy(rules);
}

static void several_keys_and_none(void **state)
{
    (void)state;
    struct jwt_rules *rules = rules_of("{}", JWT_CONNECTION);
    assert_int_equal(verify(rules, NULL, token_hs256), ERR_TOKEN_INVALID);
    jwt_rules_destroy(rules);
    static const struct {
        const char *client;
        enum err connection, subscription;
    } tables[] = {
        {"{\"token\":{\"hmac_secret_key\":\"new and long enough\",\"hmac_previous_secret_key\":"
         "\"secret\"}}",
         ERR_OK, ERR_OK},
        {"{\"token\":{\"hmac_secret_key\":\"new and long enough\",\"hmac_previous_secret_key\":"
         "\"secret\",\"hmac_previous_secret_key_valid_until\":1700000001}}",
         ERR_OK, ERR_OK},
        {"{\"token\":{\"hmac_secret_key\":\"new and long enough\",\"hmac_previous_secret_key\":"
         "\"secret\",\"hmac_previous_secret_key_valid_until\":1700000000}}",
         ERR_TOKEN_INVALID, ERR_TOKEN_INVALID},
        {"{\"token\":{\"hmac_secret_key\":\"secret\"},\"subscription_token\":{\"enabled\":true,"
         "\"hmac_secret_key\":\"another and long\"}}",
         ERR_OK, ERR_TOKEN_INVALID},
        {"{\"subscription_token\":{\"enabled\":true,\"hmac_secret_key\":\"secret\"}}",
         ERR_TOKEN_INVALID, ERR_OK},
        {"{\"subscription_token\":{\"enabled\":false,\"hmac_secret_key\":\"secret\"}}",
         ERR_TOKEN_INVALID, ERR_TOKEN_INVALID},
        {"{\"insecure_skip_token_signature_verify\":true}", ERR_OK, ERR_OK},
    };
    for (size_t i = 0; i < array_count(tables); i++) {
        struct jwt_rules *one = rules_of(tables[i].client, JWT_CONNECTION);
        struct jwt_rules *other = rules_of(tables[i].client, JWT_SUBSCRIPTION);
        assert_int_equal(verify(one, NULL, token_hs256), tables[i].connection);
        assert_int_equal(verify(other, NULL, token_hs256), tables[i].subscription);
        jwt_rules_destroy(one);
        jwt_rules_destroy(other);
    }
}

/* --- sets ------------------------------------------------------------------------- */

#define OF_SET "{\"token\":{\"jwks_public_endpoint\":\"https://auth.example/keys\"}}"

static struct jwt_set *set_of(const char *text)
{
    struct jwt_set *set;
    assert_int_equal(jwt_set_parse(bytes_of_text(text), &set), ERR_OK);
    return set;
}

static void a_set_is_asked_by_name(void **state)
{
    (void)state;
    struct jwt_rules *rules = rules_of(OF_SET, JWT_CONNECTION);
    struct jwt_set *set = set_of(jwks), *none = set_of("{\"keys\":[]}");
    assert_int_equal(jwt_set_count(set), 5);
    static const char *const good[] = {token_rs256, token_rs384, token_rs512, token_es256,
                                       token_es384, token_es512, token_eddsa};
    for (size_t i = 0; i < array_count(good); i++) {
        assert_int_equal(verify(rules, set, good[i]), ERR_OK);
        assert_int_equal(verify(rules, NULL, good[i]), ERR_KEY_UNKNOWN);
        assert_int_equal(verify(rules, none, good[i]), ERR_KEY_UNKNOWN);
    }
    struct jwt_claims claims;
    assert_int_equal(jwt_verify(rules, set, bytes_of_text(token_other_kid), NOW, &arena, &claims),
                     ERR_KEY_UNKNOWN);
    assert_bytes(claims.kid, "new");
    static const char *const bad[] = {token_no_kid,    token_hs256,         token_confused,
                                      token_wrong_rsa, token_es256_by_p384, token_es384_by_p256};
    for (size_t i = 0; i < array_count(bad); i++) {
        assert_int_equal(verify(rules, set, bad[i]), ERR_TOKEN_INVALID);
    }
    jwt_set_destroy(set);
    jwt_set_destroy(none);
    jwt_set_destroy(NULL);
    jwt_rules_destroy(rules);
}

static void an_eddsa_token_is_whole(void **state)
{
    (void)state;
    struct jwt_rules *rules = rules_of(OF_SET, JWT_CONNECTION);
    struct jwt_set *set = set_of(jwks);
    size_t size = strlen(token_eddsa);
    for (size_t at = 0; at < size; at++) {
        uint8_t *changed = tight_copy(token_eddsa, size);
        struct jwt_claims claims;
        changed[at] ^= 4;
        enum err err = jwt_verify(rules, set, bytes_of(changed, size), NOW, &arena, &claims);
        /* A changed name of the key is the name of another one. */
        if (err != ERR_TOKEN_INVALID && err != ERR_KEY_UNKNOWN) fail_msg("byte %zu", at);
        free(changed);
    }
    jwt_set_destroy(set);
    jwt_rules_destroy(rules);
}

/* `key` alone in a set: is it taken? */
__attribute__((format(printf, 1, 2))) static uint32_t taken(const char *format, ...)
{
    char text[4096], key[4000];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(key, sizeof(key), format, arguments);
    va_end(arguments);
    snprintf(text, sizeof(text), "{\"keys\":[%s]}", key);
    struct jwt_set *set = set_of(text);
    uint32_t count = jwt_set_count(set);
    jwt_set_destroy(set);
    return count;
}

#define RSA "\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\""
#define EC  "\"kty\":\"EC\",\"crv\":\"%s\",\"x\":\"%s\",\"y\":\"%s\""

static void a_set_gives_only_keys_that_are_fit(void **state)
{
    (void)state;
    assert_int_equal(taken("{\"kid\":\"a\"," RSA "}", jwk_rsa_n, "AQAB"), 1);
    assert_int_equal(taken("{\"kid\":\"a\"," RSA ",\"alg\":\"RS384\"}", jwk_rsa_n, "AQAB"), 1);
    assert_int_equal(taken("{\"kid\":\"a\"," RSA ",\"use\":\"enc\"}", jwk_rsa_n, "AQAB"), 0);
    assert_int_equal(taken("{\"kid\":\"a\"," RSA ",\"key_ops\":[\"sign\"]}", jwk_rsa_n, "AQAB"), 0);
    assert_int_equal(taken("{\"kid\":\"a\"," RSA ",\"alg\":\"PS256\"}", jwk_rsa_n, "AQAB"), 0);
    assert_int_equal(taken("{\"kid\":\"a\"," RSA ",\"alg\":\"HS256\"}", jwk_rsa_n, "AQAB"), 0);
    assert_int_equal(taken("{\"kid\":\"a\"," RSA ",\"alg\":1}", jwk_rsa_n, "AQAB"), 0);
    assert_int_equal(taken("{\"kid\":\"\"," RSA "}", jwk_rsa_n, "AQAB"), 0);
    assert_int_equal(taken("{\"kid\":7," RSA "}", jwk_rsa_n, "AQAB"), 0);
    assert_int_equal(taken("{" RSA "}", jwk_rsa_n, "AQAB"), 0);
    assert_int_equal(taken("{\"kid\":\"a\"," RSA "}", jwk_rsa_n, "AQ"), 0); /* e = 1 */
    assert_int_equal(taken("{\"kid\":\"a\"," RSA "}", jwk_rsa_n, "Ag"), 0); /* even */
    assert_int_equal(taken("{\"kid\":\"a\"," RSA "}", jwk_rsa_n, ""), 0);
    assert_int_equal(taken("{\"kid\":\"a\"," RSA "}", jwk_rsa_n, "AQAB="), 0);
    assert_int_equal(taken("{\"kid\":\"a\"," RSA "}", jwk_small_n, "AQAB"), 0);
    assert_int_equal(taken("{\"kid\":\"a\"," RSA "}", "", "AQAB"), 0);
    assert_int_equal(taken("{\"kid\":\"a\"," EC "}", "P-256", jwk_ec256_x, jwk_ec256_y), 1);
    assert_int_equal(taken("{\"kid\":\"a\"," EC "}", "P-256", jwk_ec256_y, jwk_ec256_x), 0);
    assert_int_equal(taken("{\"kid\":\"a\"," EC "}", "P-384", jwk_ec256_x, jwk_ec256_y), 0);
    assert_int_equal(taken("{\"kid\":\"a\"," EC "}", "secp256k1", jwk_ec256_x, jwk_ec256_y), 0);
    assert_int_equal(taken("{\"kid\":\"a\"," EC "}", "P-256", jwk_ec256_x, ""), 0);
    assert_int_equal(
        taken("{\"kid\":\"a\"," EC ",\"alg\":\"ES384\"}", "P-256", jwk_ec256_x, jwk_ec256_y), 0);
    assert_int_equal(
        taken("{\"kid\":\"a\",\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"%s\"}", jwk_ed_x), 1);
    assert_int_equal(
        taken("{\"kid\":\"a\",\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"%s\"}", jwk_ed_x), 0);
    assert_int_equal(taken("{\"kid\":\"a\",\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"}"),
                     0);
    assert_int_equal(taken("{\"kid\":\"a\",\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}"), 0);
    assert_int_equal(taken("1,null,[],{},\"\""), 0);
}

static void a_set_is_a_set(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum err err;
    } texts[] = {
        {"", ERR_BAD_JSON},
        {"<html>", ERR_BAD_JSON},
        {"{\"keys\":[}", ERR_BAD_JSON},
        {"{}", ERR_BAD_REQUEST},
        {"[]", ERR_BAD_REQUEST},
        {"null", ERR_BAD_REQUEST},
        {"{\"keys\":{}}", ERR_BAD_REQUEST},
    };
    struct jwt_set *set;
    for (size_t i = 0; i < array_count(texts); i++) {
        enum err err = jwt_set_parse(bytes_of_text(texts[i].text), &set);
        if (err != texts[i].err) fail_msg("%s: %s", texts[i].text, err_name(err));
        assert_null(set);
    }
    uint8_t *huge = malloc(JWT_SET_BYTES_MAX + 1);
    memset(huge, ' ', JWT_SET_BYTES_MAX + 1);
    assert_int_equal(jwt_set_parse(bytes_of(huge, JWT_SET_BYTES_MAX + 1), &set), ERR_LIMIT_SIZE);
    assert_int_equal(jwt_set_parse(bytes_of(huge, JWT_SET_BYTES_MAX), &set), ERR_BAD_JSON);
    free(huge);
}

/* --- for whom, from whom ------------------------------------------------------------ */

static enum err says(const char *options, const char *payload, const char *user)
{
    char client[1024], token[2048];
    uint8_t mac[32];
    snprintf(client, sizeof(client), "{\"token\":{\"hmac_secret_key\":\"secret\",%s}}", options);
    struct jwt_rules *rules = rules_of(client, JWT_CONNECTION);
    size_t used = crypt_base64url(BYTES_LITERAL("{\"alg\":\"HS256\"}"), token, sizeof(token));
    token[used++] = '.';
    used += crypt_base64url(bytes_of_text(payload), token + used, sizeof(token) - used);
    crypt_hmac_sha256(BYTES_LITERAL("secret"), bytes_of(token, used), mac);
    token[used++] = '.';
    used += crypt_base64url(bytes_of(mac, 32), token + used, sizeof(token) - used);
    struct jwt_claims claims;
    enum err err = jwt_verify(rules, NULL, bytes_of(token, used), NOW, &arena, &claims);
    if (err == ERR_OK) assert_bytes(claims.user, user);
    jwt_rules_destroy(rules);
    return err;
}

static void audience_and_issuer_decide(void **state)
{
    (void)state;
    static const struct {
        const char *options, *payload;
        bool is_fine;
    } cases[] = {
        {"\"audience\":\"chat\"", "{\"aud\":\"chat\"}", true},
        {"\"audience\":\"chat\"", "{\"aud\":[\"mail\",\"chat\"]}", true},
        {"\"audience\":\"chat\"", "{\"aud\":\"chats\"}", false},
        {"\"audience\":\"chat\"", "{\"aud\":[]}", false},
        {"\"audience\":\"chat\"", "{\"aud\":null}", false},
        {"\"audience\":\"chat\"", "{\"aud\":1}", false},
        {"\"audience\":\"chat\"", "{\"aud\":[1,\"chat\"]}", false},
        {"\"audience\":\"chat\"", "{}", false},
        {"\"audience_regex\":\"ch[ao]t\"", "{\"aud\":\"a chot b\"}", true},
        {"\"audience_regex\":\"^ch[ao]t$\"", "{\"aud\":\"a chot b\"}", false},
        {"\"audience_regex\":\"^(a|b)+$\"", "{\"aud\":[\"c\",\"abba\"]}", true},
        {"\"audience_regex\":\"^a\"", "{\"aud\":\"a\\u0000b\"}", false},
        {"\"issuer\":\"me\"", "{\"iss\":\"me\"}", true},
        {"\"issuer\":\"me\"", "{\"iss\":\"you\"}", false},
        {"\"issuer\":\"me\"", "{\"iss\":[\"me\"]}", false},
        {"\"issuer\":\"me\"", "{}", false},
        {"\"issuer_regex\":\"^https://.*\\\\.example$\"", "{\"iss\":\"https://a.example\"}", true},
        {"\"issuer_regex\":\"^https://.*\\\\.example$\"", "{\"iss\":\"https://a.examples\"}",
         false},
        {"\"issuer\":\"me\",\"audience\":\"chat\"", "{\"iss\":\"me\",\"aud\":\"chat\"}", true},
        {"\"issuer\":\"me\",\"audience\":\"chat\"", "{\"iss\":\"me\"}", false},
        {"\"issuer\":\"me\"", "{\"iss\":\"me\",\"iss\":\"you\"}", false},
        {"\"user_id_claim\":\"uid\"", "{\"aud\":1}", false},
    };
    for (size_t i = 0; i < array_count(cases); i++) {
        enum err err = says(cases[i].options, cases[i].payload, "");
        if (err != (cases[i].is_fine ? ERR_OK : ERR_TOKEN_INVALID))
            fail_msg("%s %s: %s", cases[i].options, cases[i].payload, err_name(err));
    }
    assert_int_equal(says("\"user_id_claim\":\"uid\"", "{\"sub\":\"a\",\"uid\":\"b\"}", "b"),
                     ERR_OK);
    assert_int_equal(says("\"user_id_claim\":\"uid\"", "{\"sub\":\"a\"}", ""), ERR_OK);
    assert_int_equal(says("\"user_id_claim\":\"uid\"", "{\"uid\":7}", "7"), ERR_OK);
    assert_int_equal(says("\"user_id_claim\":\"uid\"", "{\"uid\":7.5}", ""), ERR_TOKEN_INVALID);
    assert_int_equal(says("\"user_id_claim\":\"uid\"", "{\"uid\":-7}", ""), ERR_TOKEN_INVALID);
    assert_int_equal(says("\"user_id_claim\":\"uid\"", "{\"uid\":[7]}", ""), ERR_TOKEN_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_algorithm_verifies_with_its_key_alone),
        cmocka_unit_test(no_bit_of_a_token_can_be_changed),
        cmocka_unit_test(a_public_key_is_no_secret),
        cmocka_unit_test(several_keys_and_none),
        cmocka_unit_test(a_set_is_asked_by_name),
        cmocka_unit_test(an_eddsa_token_is_whole),
        cmocka_unit_test(a_set_gives_only_keys_that_are_fit),
        cmocka_unit_test(a_set_is_a_set),
        cmocka_unit_test(audience_and_issuer_decide),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
