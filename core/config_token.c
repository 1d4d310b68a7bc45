/*
 * config_token: the options of tokens, of connections and of subscriptions.
 *
 * Two sections have the same options; a macro takes them from either, so that
 * they cannot drift apart.  A key that cannot verify anything is told here, with
 * the way out, and not at the first client's connect.
 */
#include <stdio.h>

#include "core/check.h"
#include "core/config_parts.h"
#include "core/crypt.h"
#include "core/fetch.h"
#include "core/pattern.h"

#define SECTION_OF(config, section)                                                                \
    {                                                                                              \
        .hmac_secret = (config)->section##_hmac_secret_key,                                        \
        .hmac_previous = (config)->section##_hmac_previous_secret_key,                             \
        .hmac_previous_until_s = (config)->section##_hmac_previous_secret_key_valid_until_s,       \
        .rsa_pem = (config)->section##_rsa_public_key,                                             \
        .ecdsa_pem = (config)->section##_ecdsa_public_key,                                         \
        .set_url = (config)->section##_jwks_public_endpoint,                                       \
        .audience = (config)->section##_audience,                                                  \
        .audience_regex = (config)->section##_audience_regex,                                      \
        .issuer = (config)->section##_issuer, .issuer_regex = (config)->section##_issuer_regex,    \
        .user_claim = (config)->section##_user_id_claim,                                           \
    }

struct config_token config_token_connections(const struct config *config)
{
    return (struct config_token)SECTION_OF(config, client_token);
}

struct config_token config_token_subscriptions(const struct config *config)
{
    if (!config->client_subscription_token_enabled) return config_token_connections(config);
    return (struct config_token)SECTION_OF(config, client_subscription_token);
}

/* "client.token" and "issuer": "client.token.issuer". */
static const char *path_of(char path[CONFIG_PATH_MAX], const char *section, const char *name)
{
    snprintf(path, CONFIG_PATH_MAX, "%s.%s", section, name);
    return path;
}

static void check_pem(struct config_reader *reader, const char *section, const char *name,
                      const char *pem, enum crypt_key_kind kind)
{
    char path[CONFIG_PATH_MAX], why[CRYPT_WHY_MAX];
    struct crypt_public_key key;
    if (pem[0] == '\0') return;
    if (crypt_public_key_read(bytes_of_text(pem), &key, why) != ERR_OK)
        config_error(reader, 0, path_of(path, section, name), "%s", why);
    else if (key.kind != kind)
        config_error(reader, 0, path_of(path, section, name), "is %s; it belongs to %s.%s",
                     key.kind == CRYPT_RSA ? "an RSA key" : "an elliptic curve key", section,
                     key.kind == CRYPT_RSA ? "rsa_public_key" : "ecdsa_public_key");
}

/* Everybody has a public key: as a secret it would let everybody sign. */
static void check_secret(struct config_reader *reader, const char *section, const char *name,
                         const char *secret)
{
    char path[CONFIG_PATH_MAX];
    if (strstr(secret, "-----BEGIN ") != NULL)
        config_error(reader, 0, path_of(path, section, name),
                     "holds a PEM, which is no secret of HMAC; a public key belongs to "
                     "rsa_public_key or ecdsa_public_key");
}

static void check_regex(struct config_reader *reader, const char *section, const char *name,
                        const char *pattern, const char *exact)
{
    char path[CONFIG_PATH_MAX], why[PATTERN_WHY_MAX];
    if (pattern[0] == '\0') return;
    if (pattern_check(pattern, why) != ERR_OK)
        config_error(reader, 0, path_of(path, section, name), "is no expression: %s", why);
    if (exact[0] != '\0')
        config_error(reader, 0, path_of(path, section, name),
                     "is set beside the option without _regex; remove one of them");
}

static void check_set(struct config_reader *reader, const char *section,
                      const struct config_token *token)
{
    char path[CONFIG_PATH_MAX];
    if (token->set_url[0] == '\0') return;
    path_of(path, section, "jwks_public_endpoint");
    if (!fetch_url_is_fine(token->set_url)) {
        config_error(reader, 0, path,
                     "wants an address such as https://auth.example/.well-known/jwks.json");
        return;
    }
    if (strncmp(token->set_url, "http://", 7) == 0 && !fetch_url_is_local(token->set_url))
        config_warn(reader, 0, path,
                    "keys come without protection, and who is between can put in their own; use "
                    "https");
    if (token->hmac_secret[0] != '\0' || token->hmac_previous[0] != '\0' ||
        token->rsa_pem[0] != '\0' || token->ecdsa_pem[0] != '\0')
        config_warn(reader, 0, path, "is set, so the other keys of %s do not count", section);
}

static void check_user_claim(struct config_reader *reader, const char *section, const char *claim)
{
    static const char *const taken[] = {
        "exp",      "nbf",  "iat",  "jti",     "aud",  "iss",     "channel",  "client",
        "channels", "subs", "info", "b64info", "data", "b64data", "override", "expire_at"};
    char path[CONFIG_PATH_MAX];
    bool is_fine = strpbrk(claim, "\"\\") == NULL;
    for (const char *at = claim; *at != '\0'; at++)
        if ((unsigned char)*at < ' ') is_fine = false;
    for (size_t i = 0; i < array_count(taken); i++)
        if (strcmp(claim, taken[i]) == 0) is_fine = false;
    if (!is_fine)
        config_error(reader, 0, path_of(path, section, "user_id_claim"),
                     "wants the name of a claim that means nothing else, without quotes");
}

static void check_section(struct config_reader *reader, const char *section,
                          const struct config_token *token)
{
    check_secret(reader, section, "hmac_secret_key", token->hmac_secret);
    check_secret(reader, section, "hmac_previous_secret_key", token->hmac_previous);
    check_pem(reader, section, "rsa_public_key", token->rsa_pem, CRYPT_RSA);
    check_pem(reader, section, "ecdsa_public_key", token->ecdsa_pem, CRYPT_EC);
    check_regex(reader, section, "audience_regex", token->audience_regex, token->audience);
    check_regex(reader, section, "issuer_regex", token->issuer_regex, token->issuer);
    check_set(reader, section, token);
    check_user_claim(reader, section, token->user_claim);
}

static bool has_key(const struct config_token *token)
{
    return token->hmac_secret[0] != '\0' || token->rsa_pem[0] != '\0' ||
           token->ecdsa_pem[0] != '\0' || token->set_url[0] != '\0';
}

void config_check_tokens(struct config_reader *reader, const struct config *config, bool is_local)
{
    struct config_token connections = config_token_connections(config);
    struct config_token subscriptions = SECTION_OF(config, client_subscription_token);
    check_section(reader, "client.token", &connections);
    check_section(reader, "client.subscription_token", &subscriptions);
    if (has_key(&subscriptions) && !config->client_subscription_token_enabled)
        config_warn(reader, 0, "client.subscription_token",
                    "has keys and is not used; set client.subscription_token.enabled: true");
    if (config->client_subscription_token_enabled && !has_key(&subscriptions))
        config_warn(reader, 0, "client.subscription_token.enabled",
                    "no key is set there, so every subscription token is invalid");
    if (config->client_insecure_skip_token_signature_verify && !is_local)
        config_warn(reader, 0, "client.insecure_skip_token_signature_verify",
                    "everybody who reaches this port may be whoever they say");
    if (!config->client_insecure && !config->client_allow_anonymous_connect_without_token &&
        !config->client_insecure_skip_token_signature_verify &&
        config->client_user_id_http_header[0] == '\0' && !has_key(&connections))
        config_warn(reader, 0, "client.token.hmac_secret_key",
                    "no key is set, so no client can connect");
    size_t key_size = strlen(config->client_token_hmac_secret_key);
    if (key_size > 0 && key_size < 16)
        config_warn(reader, 0, "client.token.hmac_secret_key",
                    "the key is short and can be guessed; 32 random bytes are good");
}
