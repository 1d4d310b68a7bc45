/*
 * jwt_rules: from a snapshot of the configuration to keys and expressions.
 *
 * config_check has looked at all of it before, so a refusal here is a mistake of
 * the caller; it is answered all the same.
 */
#include "core/check.h"
#include "core/config.h"
#include "core/crypt.h"
#include "core/mem.h"
#include "proto/jwt_parts.h"

static struct config_token options_of(const struct config *config, enum jwt_use use)
{
    check(use < JWT_USE_COUNT);
    return use == JWT_CONNECTION ? config_token_connections(config)
                                 : config_token_subscriptions(config);
}

static struct jwt_key *key_of_pem(const char *pem, enum crypt_key_kind kind)
{
    char why[CRYPT_WHY_MAX];
    struct crypt_public_key key;
    if (crypt_public_key_read(bytes_of_text(pem), &key, why) != ERR_OK || key.kind != kind)
        return NULL;
    struct bytes a = bytes_of(key.a, key.a_size), b = bytes_of(key.b, key.b_size);
    return kind == CRYPT_RSA ? jwt_key_rsa(a, b) : jwt_key_ec(key.bits, a, b);
}

/* Appends; false when there is no key. */
static bool add(struct jwt_key ***last, struct jwt_key *key)
{
    if (key == NULL) return false;
    **last = key;
    *last = &key->next;
    return true;
}

static bool add_keys(struct jwt_rules *rules, const struct config_token *options)
{
    struct jwt_key **last = &rules->keys;
    bool is_fine = true;
    if (options->hmac_secret[0] != '\0')
        is_fine = add(&last, jwt_key_hmac(bytes_of_text(options->hmac_secret))) && is_fine;
    if (options->hmac_previous[0] != '\0') {
        struct jwt_key *previous = jwt_key_hmac(bytes_of_text(options->hmac_previous));
        if (previous != NULL) previous->valid_until_s = options->hmac_previous_until_s;
        is_fine = add(&last, previous) && is_fine;
    }
    if (options->rsa_pem[0] != '\0')
        is_fine = add(&last, key_of_pem(options->rsa_pem, CRYPT_RSA)) && is_fine;
    if (options->ecdsa_pem[0] != '\0')
        is_fine = add(&last, key_of_pem(options->ecdsa_pem, CRYPT_EC)) && is_fine;
    return is_fine;
}

/* False when there is a text and it is no expression. */
static bool compile(const char *text, struct pattern **pattern)
{
    if (text[0] == '\0') return true;
    *pattern = pattern_create(text);
    return *pattern != NULL;
}

enum err jwt_rules_create(const struct config *config, enum jwt_use use, struct jwt_rules **out)
{
    struct config_token options = options_of(config, use);
    struct jwt_rules *rules = mem_alloc(sizeof(*rules));
    const char *user_claim = options.user_claim[0] != '\0' ? options.user_claim : "sub";
    rules->has_set = options.set_url[0] != '\0';
    rules->skips_signature = config->client_insecure_skip_token_signature_verify;
    rules->audience = mem_text(options.audience, strlen(options.audience));
    rules->issuer = mem_text(options.issuer, strlen(options.issuer));
    rules->user_claim = mem_text(user_claim, strlen(user_claim));
    bool is_fine = compile(options.audience_regex, &rules->audience_regex) &&
                   compile(options.issuer_regex, &rules->issuer_regex) &&
                   (rules->has_set || add_keys(rules, &options));
    if (!is_fine) {
        jwt_rules_destroy(rules);
        return ERR_BAD_REQUEST;
    }
    *out = rules;
    return ERR_OK;
}

void jwt_rules_destroy(struct jwt_rules *rules)
{
    if (rules == NULL) return;
    jwt_keys_free(rules->keys);
    pattern_destroy(rules->audience_regex);
    pattern_destroy(rules->issuer_regex);
    mem_free(rules->audience);
    mem_free(rules->issuer);
    mem_free(rules->user_claim);
    mem_free(rules);
}

const char *jwt_set_url(const struct config *config, enum jwt_use use)
{
    struct config_token options = options_of(config, use);
    return options.set_url;
}
