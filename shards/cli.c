/*
 * cli: parse, look up, run.
 *
 * An option is `--name value` or `--name=value`; there are no short forms but -h,
 * so a script reads as a sentence.  A name that is not known is answered with the
 * nearest one.  Tables for commands and options instead of getopt: the help and
 * the answers to mistakes come from the same rows.
 */
#include "shards/cli.h"

#include <stdio.h>
#include <unistd.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/config.h"
#include "core/mem.h"
#include "core/near.h"
#include "proto/jwt.h"

/* Options given elsewhere than in the file: variables, and the command line. */
#define CLI_OVERRIDES_MAX 512

enum option {
    OPTION_CONFIG,
    OPTION_PORT,
    OPTION_DATA,
    OPTION_SHARDS,
    OPTION_CPUS,
    OPTION_USER,
    OPTION_TTL,
    OPTION_CHANNEL,
    OPTION_COUNT,
};

static const struct {
    const char *name, *value, *text;
    const char *path; /* of the option in core/config.def that it overrides, or NULL */
} options[OPTION_COUNT] = {
    [OPTION_CONFIG] = {"--config", "FILE",
                       "read options from FILE: YAML, or JSON when it ends in .json", NULL},
    [OPTION_PORT] = {"--port", "N", "listen on port N", "http_server.port"},
    [OPTION_DATA] = {"--data", "DIR", "keep the embedded store in DIR", "storage.path"},
    [OPTION_SHARDS] = {"--shards", "N", "run N shards; 0 is one per CPU", "shards.count"},
    [OPTION_CPUS] = {"--cpus", "LIST", "run on these CPUs, for example 0-3,8", "shards.cpus"},
    [OPTION_USER] = {"--user", "U", "the user that the token names; \"\" is the anonymous one",
                     NULL},
    [OPTION_TTL] = {"--ttl", "TIME", "how long it is good: 30m, 1h, 7d; 0 is for ever (default 1h)",
                    NULL},
    [OPTION_CHANNEL] = {"--channel", "C", "make a subscription token for channel C", NULL},
};

struct call {
    const char *values[OPTION_COUNT]; /* NULL: not given */
    cli_serve_fn serve;
};

struct command {
    const char *name, *text;
    int (*run)(const struct call *call);
    uint32_t takes;   /* a bit per option */
    const char *help; /* what --help says beyond the options */
};

/* ---- what commands do ---- */

static void on_say(void *context, enum config_voice voice, const char *sentence)
{
    bool is_warning = voice == CONFIG_SAYS_WARNING;
    if (is_warning && context != NULL) return; /* the caller wants mistakes only */
    fprintf(stderr, "sluice: %s%s\n", is_warning ? "warning: " : "", sentence);
}

/* Loads what --config, the environment and the overriding options say, the later over
 * the earlier.  Mistakes are on stderr. */
static int load(const struct call *call, bool is_quiet, struct config **config)
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
        if (options[i].path != NULL && call->values[i] != NULL)
            overrides[count++] =
                (struct config_override){options[i].path, call->values[i], options[i].name};
    enum err err = config_load(call->values[OPTION_CONFIG], overrides, count, on_say,
                               is_quiet ? &is_quiet : NULL, config);
    mem_free(environment);
    return err == ERR_OK ? CLI_DONE : CLI_WRONG;
}

static int run_serve(const struct call *call)
{
    struct config *config;
    int wrong = load(call, false, &config);
    return wrong != CLI_DONE ? wrong : call->serve(config);
}

static int run_check_config(const struct call *call)
{
    const char *path = call->values[OPTION_CONFIG];
    if (path == NULL) {
        fprintf(stderr, "sluice: check-config wants --config FILE\n");
        return CLI_WRONG;
    }
    struct config *config;
    int wrong = load(call, false, &config);
    if (wrong != CLI_DONE) return wrong;
    printf("%s: fine\n", path);
    config_destroy(config);
    return CLI_DONE;
}

static int run_gen_token(const struct call *call)
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
    int wrong = load(call, true, &config);
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

static int run_options(const struct call *call)
{
    (void)call;
    config_describe(print_line, NULL);
    return CLI_DONE;
}

static int run_version(const struct call *call)
{
    (void)call;
    puts("sluice " SLUICE_VERSION);
    return CLI_DONE;
}

/* ---- the tables ---- */

#define BIT(option) (1u << OPTION_##option)

static const struct command commands[] = {
    {"serve", "run the gateway", run_serve,
     BIT(CONFIG) | BIT(PORT) | BIT(DATA) | BIT(SHARDS) | BIT(CPUS),
     "Options given here win over the file.  Lines of the log go to standard error.\n"
     "SIGTERM and SIGINT disconnect the clients, who reconnect elsewhere, and end.\n\n"
     "  sluice serve --config config.yaml\n"
     "  sluice serve --config config.yaml --port 9000 --data /var/lib/sluice\n"
     "  sluice serve --config config.yaml --shards 4 --cpus 0-3\n"},
    {"gen-token", "print a token for a client", run_gen_token,
     BIT(CONFIG) | BIT(USER) | BIT(TTL) | BIT(CHANNEL),
     "Signs with client.token.hmac_secret_key of the file (HS256).  Without --channel it\n"
     "is a token to connect with; with it, one to subscribe to that channel.\n\n"
     "  sluice gen-token --config config.yaml --user alice\n"
     "  sluice gen-token --config config.yaml --user alice --ttl 7d\n"
     "  sluice gen-token --config config.yaml --user alice --channel '$team:7'\n"},
    {"check-config", "read a configuration and say what is wrong with it", run_check_config,
     BIT(CONFIG) | BIT(PORT) | BIT(DATA) | BIT(SHARDS) | BIT(CPUS),
     "Each mistake is one line with file, line, option and the way out.  Options of\n"
     "Centrifugo that are not served yet are warnings.  Secrets are never printed.\n\n"
     "  sluice check-config --config config.yaml && systemctl restart sluice\n"},
    {"options", "print every option of a configuration file", run_options, 0,
     "As Markdown: name, values, default, meaning.\n\n"
     "  sluice options | grep history\n"},
    {"version", "print the version", run_version, 0, ""},
};

/* ---- help ---- */

static void print_usage(FILE *to)
{
    fputs("sluice: a WebSocket gateway for chat; speaks the Centrifuge protocol\n\n"
          "usage: sluice COMMAND [OPTION VALUE]...\n\n",
          to);
    for (size_t i = 0; i < array_count(commands); i++)
        fprintf(to, "  %-14s %s\n", commands[i].name, commands[i].text);
    fputs("\nsluice COMMAND --help tells more about each.  To begin:\n\n"
          "  sluice check-config --config config.yaml\n"
          "  sluice serve --config config.yaml --port 8000\n"
          "  sluice gen-token --config config.yaml --user alice\n\n"
          "exit codes: 0 done; 1 tried and failed; 2 the command line or the\n"
          "configuration is wrong, nothing was tried\n",
          to);
}

static void print_help(const struct command *command)
{
    printf("usage: sluice %s%s\n\n%s\n\n", command->name,
           command->takes != 0 ? " [OPTION VALUE]..." : "", command->text);
    for (uint32_t i = 0; i < OPTION_COUNT; i++) {
        if (!(command->takes & (1u << i))) continue;
        char name[40];
        snprintf(name, sizeof(name), "%s %s", options[i].name, options[i].value);
        printf("  %-16s %s\n", name, options[i].text);
    }
    printf("%s%s", command->takes != 0 ? "\n" : "", command->help);
}

/* ---- parsing ---- */

/* The nearest of the names, when it is near enough to be meant. */
static void print_nearest(const char *wanted, const char *best, size_t distance)
{
    if (best != NULL && distance <= max_u64(2, strlen(wanted) / 3))
        fprintf(stderr, "; did you mean %s?\n", best);
    else
        fprintf(stderr, "\n");
}

static const struct command *command_find(const char *name)
{
    const char *best = NULL;
    size_t nearest = NEAR_FAR;
    for (size_t i = 0; i < array_count(commands); i++) {
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
        size_t distance = near_distance(name, commands[i].name);
        if (distance >= nearest) continue;
        nearest = distance;
        best = commands[i].name;
    }
    fprintf(stderr, "sluice: '%.60s' is not a command", name);
    print_nearest(name, best, nearest);
    fprintf(stderr, "sluice: see sluice --help\n");
    return NULL;
}

/* The option named by the first `size` bytes of `text`; OPTION_COUNT, and said. */
static enum option option_find(const struct command *command, const char *text, size_t size)
{
    char name[NEAR_NAME_MAX + 1];
    snprintf(name, sizeof(name), "%.*s", (int)min_u64(size, NEAR_NAME_MAX), text);
    const char *best = NULL;
    size_t nearest = NEAR_FAR;
    for (uint32_t i = 0; i < OPTION_COUNT; i++) {
        if (!(command->takes & (1u << i))) continue;
        if (strcmp(options[i].name, name) == 0) return (enum option)i;
        size_t distance = near_distance(name, options[i].name);
        if (distance >= nearest) continue;
        nearest = distance;
        best = options[i].name;
    }
    fprintf(stderr, "sluice: %s does not take '%.60s'", command->name, name);
    print_nearest(name, best, nearest);
    fprintf(stderr, "sluice: see sluice %s --help\n", command->name);
    return OPTION_COUNT;
}

/* Takes the option at *at and its value; false, and said. */
static bool take_option(const struct command *command, char **argv, int argc, int *at,
                        struct call *call)
{
    const char *text = argv[(*at)++];
    size_t size = strcspn(text, "=");
    enum option option = option_find(command, text, size);
    if (option == OPTION_COUNT) return false;
    const char *value = NULL;
    if (text[size] == '=')
        value = text + size + 1;
    else if (*at < argc)
        value = argv[(*at)++];
    if (value == NULL) {
        fprintf(stderr, "sluice: %s wants a value: %s %s\n", options[option].name,
                options[option].name, options[option].value);
        return false;
    }
    if (call->values[option] != NULL) {
        fprintf(stderr, "sluice: %s stands twice\n", options[option].name);
        return false;
    }
    call->values[option] = value;
    return true;
}

static bool is_help(const char *text)
{
    return strcmp(text, "--help") == 0 || strcmp(text, "-h") == 0 || strcmp(text, "help") == 0;
}

int cli_run(int argc, char **argv, cli_serve_fn serve)
{
    check(serve != NULL);
    if (argc < 2) {
        print_usage(stderr);
        return CLI_WRONG;
    }
    if (is_help(argv[1]) && argc == 2) {
        print_usage(stdout);
        return CLI_DONE;
    }
    bool is_about = is_help(argv[1]); /* sluice help serve */
    const char *name = argv[is_about ? 2 : 1];
    if (strcmp(name, "--version") == 0) name = "version";
    const struct command *command = command_find(name);
    if (command == NULL) return CLI_WRONG;

    struct call call = {.serve = serve};
    for (int at = 2; at < argc && !is_about;) {
        is_about = is_help(argv[at]);
        if (!is_about && !take_option(command, argv, argc, &at, &call)) return CLI_WRONG;
    }
    if (is_about) {
        print_help(command);
        return CLI_DONE;
    }
    return command->run(&call);
}
