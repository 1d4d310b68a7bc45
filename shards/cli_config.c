/*
 * cli_config: the commands about configurations and keys, and serve.
 */
#include <stdio.h>
#include <unistd.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/mem.h"
#include "proto/jwt.h"
#include "shards/cli_parts.h"
#include "shards/ops/certificate.h"

/* Options given elsewhere than in the file: variables, and the command line. */
#define CLI_OVERRIDES_MAX 512

static void on_say(void *context, enum config_voice voice, const char *sentence)
{
    bool is_warning = voice == CONFIG_SAYS_WARNING;
    if (is_warning && context != NULL) return; /* the caller wants mistakes only */
    fprintf(stderr, "sluice: %s%s\n", is_warning ? "warning: " : "", sentence);
}

enum cli_exit cli_load(const struct cli_call *call, bool is_quiet, struct config **config)
{
    struct config_override *environment, overrides[CLI_OVERRIDES_MAX];
    uint32_t count = config_environment(environ, &environment);
    if (count > CLI_OVERRIDES_MAX - OPTION_COUNT) {
        fprintf(stderr, "sluice: more than %d variables begin with SLUICE_\n",
                CLI_OVERRIDES_MAX - OPTION_COUNT);
        mem_free(environment);
        return CLI_WRONG;
    }
    memcpy(overrides, environment, count * sizeof(overrides[0]));
    for (uint32_t i = 0; i < OPTION_COUNT; i++)
        if (cli_option_rows[i].path != NULL && call->values[i] != NULL)
            overrides[count++] = (struct config_override){cli_option_rows[i].path, call->values[i],
                                                          cli_option_rows[i].name};
    enum err err = config_load(call->values[OPTION_CONFIG], overrides, count, on_say,
                               is_quiet ? &is_quiet : NULL, config);
    mem_free(environment);
    return err == ERR_OK ? CLI_DONE : CLI_WRONG;
}

int cli_serve(const struct cli_call *call)
{
    struct config *config;
    enum cli_exit wrong = cli_load(call, false, &config);
    if (wrong != CLI_DONE) return wrong;
    return call->serve(config);
}

int cli_check_config(const struct cli_call *call)
{
    const char *path = call->values[OPTION_CONFIG];
    if (path == NULL) {
        fprintf(stderr, "sluice: check-config wants --config FILE\n");
        return CLI_WRONG;
    }
    struct config *config;
    enum cli_exit wrong = cli_load(call, false, &config);
    if (wrong != CLI_DONE) return wrong;
    if (certificate_check(config, on_say, NULL) != ERR_OK) wrong = CLI_WRONG;
    if (wrong == CLI_DONE) printf("%s: fine\n", path);
    config_destroy(config);
    return wrong;
}

int cli_gen_token(const struct cli_call *call)
{
    const char *user = call->values[OPTION_USER], *ttl = call->values[OPTION_TTL];
    const char *channel = call->values[OPTION_CHANNEL];
    char why[CONFIG_WHY_MAX];
    uint64_t ttl_ms;
    if (call->values[OPTION_CONFIG] == NULL || user == NULL) {
        fprintf(stderr, "sluice: gen-token wants --config FILE and --user U\n");
        return CLI_WRONG;
    }
    if (!config_duration(ttl != NULL ? ttl : "1h", &ttl_ms, why)) {
        fprintf(stderr, "sluice: --ttl: %s\n", why);
        return CLI_WRONG;
    }
    struct config *config;
    enum cli_exit wrong = cli_load(call, true, &config);
    if (wrong != CLI_DONE) return wrong;
    struct bytes key = bytes_of_text(config->client_token_hmac_secret_key);
    if (key.size == 0) {
        fprintf(stderr, "sluice: %s: client.token.hmac_secret_key is not set; tokens need a key\n",
                call->values[OPTION_CONFIG]);
        config_destroy(config);
        return CLI_WRONG;
    }
    char *token;
    enum err err =
        jwt_sign(key, user, channel, clock_wall_ms() / 1000, (ttl_ms + 999) / 1000, &token);
    if (err == ERR_OK)
        puts(token);
    else
        fprintf(stderr, "sluice: the token cannot be signed: %s\n", err_text(err));
    mem_free(token);
    config_destroy(config);
    return err == ERR_OK ? CLI_DONE : CLI_FAILED;
}

static void print_line(void *context, const char *line)
{
    (void)context;
    puts(line);
}

int cli_options(const struct cli_call *call)
{
    (void)call;
    config_describe(print_line, NULL);
    return CLI_DONE;
}
