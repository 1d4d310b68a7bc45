/*
 * Options of tokens: what cannot work is told at the start, with the option, the
 * reason and the way out; what works and is probably not meant is a warning.
 */
#include "unit/core/config_said.h"
#include "unit/proto/jwt_tokens.h"

/* {"client":{SECTION:{OPTION: value}}}, the value quoted as JSON wants. */
static const char *file(const char *section, const char *option, const char *value)
{
    static char text[8192];
    size_t used =
        (size_t)snprintf(text, sizeof(text), "{\"client\":{\"%s\":{\"%s\":\"", section, option);
    for (const char *at = value; *at != 0; at++) {
        if (*at == '\n' || *at == '\\' || *at == '"') text[used++] = '\\';
        text[used++] = *at == '\n' ? 'n' : *at;
    }
    snprintf(text + used, sizeof(text) - used, "\"}}}");
    return text;
}

static void is_refused(const char *section, const char *option, const char *value,
                       const char *words)
{
    char beginning[200];
    assert_null(read_as("c.json", file(section, option, value)));
    assert_int_equal(said.errors_count, 1);
    snprintf(beginning, sizeof(beginning), "c.json: client.%s.%s: ", section, option);
    if (strncmp(said.errors[0], beginning, strlen(beginning)) != 0) fail_msg("%s", said.errors[0]);
    if (strstr(said.errors[0], words) == NULL) fail_msg("%s", said.errors[0]);
    assert_null(strstr(said.errors[0], "s3cr3t"));
}

static void is_taken(const char *section, const char *option, const char *value)
{
    struct config *config = read_as("c.json", file(section, option, value));
    if (config == NULL) fail_msg("%s %s: %s", option, value, said.errors[0]);
    config_destroy(config);
}

static const char *const sections[] = {"token", "subscription_token"};

static void keys_that_cannot_verify_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(sections); i++) {
        is_taken(sections[i], "rsa_public_key", rsa_pem);
        is_taken(sections[i], "rsa_public_key", rsa_pkcs1_pem);
        is_taken(sections[i], "ecdsa_public_key", ec256_pem);
        is_taken(sections[i], "ecdsa_public_key", ec521_pem);
        is_refused(sections[i], "rsa_public_key", "s3cr3t", "is no PEM");
        is_refused(sections[i], "rsa_public_key", rsa_small_pem, "2048 bits or more");
        is_refused(sections[i], "rsa_public_key", ec256_pem,
                   "is an elliptic curve key; it belongs to client.");
        is_refused(sections[i], "ecdsa_public_key", rsa_pem,
                   "is an RSA key; it belongs to client.");
        is_refused(sections[i], "ecdsa_public_key", ec_other_curve_pem, "P-256, P-384 and P-521");
        is_refused(sections[i], "ecdsa_public_key",
                   "-----BEGIN PRIVATE KEY-----\ns3cr3t\n-----END PRIVATE KEY-----\n",
                   "holds a private key");
        is_refused(sections[i], "hmac_secret_key", rsa_pem, "is no secret of HMAC");
        is_refused(sections[i], "hmac_previous_secret_key", ec256_pem, "is no secret of HMAC");
    }
}

static void demands_must_be_clear(void **state)
{
    (void)state;
    is_taken("token", "audience_regex", "^a|b$");
    is_refused("token", "audience_regex", "(", "is no expression");
    is_refused("subscription_token", "issuer_regex", "[a", "is no expression");
    is_taken("token", "user_id_claim", "https://example/user");
    is_refused("token", "user_id_claim", "exp", "means nothing else");
    is_refused("token", "user_id_claim", "a\"b", "means nothing else");
    bad("client: {token: {issuer: a, issuer_regex: b}}",
        "c.yaml: client.token.issuer_regex: is set beside the option without _regex; remove one of "
        "them");
}

static void addresses_of_keys_are_http(void **state)
{
    (void)state;
    is_taken("token", "jwks_public_endpoint", "https://auth.example/keys");
    is_taken("token", "jwks_public_endpoint", "http://127.0.0.1:8080/keys");
    static const char *const wrong[] = {"auth.example/keys", "file:///etc/passwd", "ftp://a/",
                                        "https://", "https://a b/"};
    for (size_t i = 0; i < array_count(wrong); i++)
        is_refused("token", "jwks_public_endpoint", wrong[i], "wants an address such as https://");
}

static bool is_warned(const char *text, const char *words)
{
    struct config *config = good(text);
    bool is_said = false;
    for (uint32_t i = 0; i < said.warnings_count; i++)
        if (strstr(said.warnings[i], words) != NULL) is_said = true;
    config_destroy(config);
    return is_said;
}

static void what_is_not_meant_is_told(void **state)
{
    (void)state;
    const char *nobody = "no key is set, so no client can connect";
    assert_true(is_warned("log: {level: info}", nobody));
    assert_false(is_warned("client: {insecure: true}", nobody));
    assert_false(is_warned("client: {user_id_http_header: X-User}", nobody));
    assert_false(is_warned("client: {token: {jwks_public_endpoint: https://a/}}", nobody));
    assert_true(is_warned("client: {token: {hmac_secret_key: short}}", "can be guessed"));
    assert_true(is_warned("client: {token: {jwks_public_endpoint: http://a/}}", "use https"));
    assert_false(is_warned("client: {token: {jwks_public_endpoint: http://localhost/}}", "https"));
    assert_true(is_warned("client: {token: {jwks_public_endpoint: https://a/, hmac_secret_key: "
                          "0123456789abcdef}}",
                          "the other keys of client.token do not count"));
    assert_true(is_warned("client: {subscription_token: {hmac_secret_key: 0123456789abcdef}}",
                          "set client.subscription_token.enabled"));
    assert_true(is_warned("client: {subscription_token: {enabled: true}}",
                          "every subscription token is invalid"));
    assert_true(is_warned("client: {insecure_skip_token_signature_verify: true}",
                          "may be whoever they say"));
    assert_false(is_warned("{http_server: {address: 127.0.0.1}, client: "
                           "{insecure_skip_token_signature_verify: true}}",
                           "may be whoever they say"));
}

int main(void)
{
    doc_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_that_cannot_verify_are_refused),
        cmocka_unit_test(demands_must_be_clear),
        cmocka_unit_test(addresses_of_keys_are_http),
        cmocka_unit_test(what_is_not_meant_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
