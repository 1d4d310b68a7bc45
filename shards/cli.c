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

#include "core/check.h"
#include "core/near.h"
#include "shards/cli_parts.h"

const struct cli_option cli_option_rows[OPTION_COUNT] = {
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
    [OPTION_URL] = {"--url", "URL", "the gateway (default http://127.0.0.1 and the port)", NULL},
    [OPTION_TOKEN] = {"--token", "T", "connect with this token", NULL},
    [OPTION_KEY] = {"--key", "K", "the key, when it is not in the file", NULL},
    [OPTION_RECOVER] = {"--recover", "AT", "go on behind this position, OFFSET/EPOCH", NULL},
    [OPTION_HISTORY] = {"--history", "N", "print up to N kept publications first", NULL},
    [OPTION_GROUP] = {"--group", "G",
                      "consumer group; each entry goes to one of it (default sluice)", NULL},
    [OPTION_CONSUMER] = {"--consumer", "NAME", "name in the group (default host and process)",
                         NULL},
    [OPTION_EXEC] = {"--exec", "COMMAND", "give batches to this shell command's standard input",
                     NULL},
    [OPTION_POST] = {"--post", "URL", "or POST them there", NULL},
    [OPTION_BATCH] = {"--batch", "N", "entries of a batch, at most (default 100)", NULL},
    [OPTION_WAIT] = {"--wait", "TIME", "time that a smaller batch waits for more (default 5s)",
                     NULL},
    [OPTION_IDLE] = {"--idle", "TIME",
                     "take over what nobody acknowledged for so long (default 1m)", NULL},
    [OPTION_DELIVERIES] = {"--deliveries", "N",
                           "tries of an entry before it is a dead letter (default 5)", NULL},
    [OPTION_ONCE] = {"--once", NULL, "end when nothing is left", NULL},
    [OPTION_FULL] = {"--full", NULL, "every option with its default", NULL},
};

struct command {
    const char *name, *text;
    int (*run)(const struct cli_call *call);
    uint32_t takes;    /* a bit per option */
    const char *help;  /* what --help says beyond the options */
    const char *words; /* what stands before the options; NULL: nothing may */
    uint32_t words_least, words_most;
};

static int cli_version(const struct cli_call *call)
{
    (void)call;
    puts("sluice " SLUICE_VERSION);
    return CLI_DONE;
}

/* ---- the tables ---- */

#define BIT(option) (1u << OPTION_##option)

static const struct command commands[] = {
    {"serve", "run the gateway", cli_serve,
     BIT(CONFIG) | BIT(PORT) | BIT(DATA) | BIT(SHARDS) | BIT(CPUS),
     "Options given here win over the file.  Lines of the log go to standard error.\n"
     "SIGTERM and SIGINT disconnect the clients, who reconnect elsewhere, and end; a\n"
     "second one ends at once.  SIGHUP reads the file again.  SLUICE_HTTP_SERVER_PORT=9000\n"
     "in the environment is http_server.port, and so on: it wins over the file.\n\n"
     "  sluice serve --config config.yaml\n"
     "  sluice serve --config config.yaml --port 9000 --data /var/lib/sluice\n"
     "  sluice serve --config config.yaml --shards 4 --cpus 0-3\n",
     NULL, 0, 0},
    {"sub", "print what is published to channels", cli_sub,
     BIT(CONFIG) | BIT(URL) | BIT(TOKEN) | BIT(USER) | BIT(KEY) | BIT(RECOVER) | BIT(HISTORY),
     "One JSON line per publication: channel, offset, data and, where there are any, info\n"
     "and tags.  Reconnects by itself and goes on where it was, in channels that recover.\n"
     "--user signs a token with client.token.hmac_secret_key of the file, or with --key;\n"
     "without --user and --token it connects without a token.  Ends with Ctrl-C.\n\n"
     "  sluice sub chat:general --config config.yaml --user alice\n"
     "  sluice sub chat:general chat:random --url ws://127.0.0.1:8000 --token \"$TOKEN\"\n"
     "  sluice sub chat:general --config config.yaml --user alice --history 10\n"
     "  sluice sub chat:general --config config.yaml --user alice --recover 120/xyz\n",
     "CHANNEL...", 1, CLI_WORDS_MAX},
    {"pub", "publish to a channel through the server API", cli_pub,
     BIT(CONFIG) | BIT(URL) | BIT(KEY),
     "Prints the offset, or 0 where the channel keeps no history.  - in place of the JSON\n"
     "reads standard input, one publication a line.  The key is http_api.key of the file,\n"
     "or --key.\n\n"
     "  sluice pub chat:general '{\"text\": \"hello\"}' --config config.yaml\n"
     "  sluice pub chat:general '\"hello\"' --url http://127.0.0.1:8000 --key \"$KEY\"\n"
     "  tail -f events.ndjson | sluice pub events - --config config.yaml\n",
     "CHANNEL JSON", 2, 2},
    {"work", "hand what the worker streams hold to a command or a server", cli_work,
     BIT(CONFIG) | BIT(GROUP) | BIT(CONSUMER) | BIT(EXEC) | BIT(POST) | BIT(BATCH) | BIT(WAIT) |
         BIT(IDLE) | BIT(DELIVERIES) | BIT(ONCE),
     "Topics: group_msg, offline_msg, membership_change, read_receipt; written by gateways\n"
     "with redis.streams.enabled.  A batch is JSON lines, one entry each.  It is done when\n"
     "the command ends with 0 or the server answers 2xx, and then acknowledged.  Exit code\n"
     "75 and statuses 408, 429 and 5xx: the same batch again, a little later.  Anything\n"
     "else: its entries again, one by one; one that fails comes back after --idle, and\n"
     "after --deliveries tries it goes to the stream TOPIC:dead.  Run as many as you like.\n\n"
     "  sluice work offline_msg --config config.yaml --group push --exec ./push\n"
     "  sluice work group_msg --config config.yaml --group search --post "
     "http://127.0.0.1:9000/index\n"
     "  sluice work read_receipt --config config.yaml --once --exec 'cat >> receipts.ndjson'\n",
     "TOPIC", 1, 1},
    {"backup", "copy the data directory, also while no gateway runs", cli_backup,
     BIT(CONFIG) | BIT(DATA),
     "DIR is made, and becomes a data directory: everything that was acknowledged when the\n"
     "command began is in it, sealed as it was.  Start on it with --data DIR; it then goes\n"
     "on as a store of its own, so clients of the original are told that they cannot\n"
     "recover there.  Run it on the gateway's machine as the gateway's user; it shows how\n"
     "far it is, and the gateway goes on meanwhile.\n\n"
     "  sluice backup /backups/monday --config config.yaml\n"
     "  sluice serve --config config.yaml --data /backups/monday\n",
     "DIR", 1, 1},
    {"gen-config", "print a configuration to begin with", cli_gen_config, BIT(FULL),
     "YAML with comments and fresh random keys.  --full is every option with its default.\n\n"
     "  (umask 077 && sluice gen-config > config.yaml)\n"
     "  sluice gen-config --full | less\n",
     NULL, 0, 0},
    {"gen-token", "print a token for a client", cli_gen_token,
     BIT(CONFIG) | BIT(USER) | BIT(TTL) | BIT(CHANNEL),
     "Signs with client.token.hmac_secret_key of the file (HS256).  Without --channel it\n"
     "is a token to connect with; with it, one to subscribe to that channel.\n\n"
     "  sluice gen-token --config config.yaml --user alice\n"
     "  sluice gen-token --config config.yaml --user alice --ttl 7d\n"
     "  sluice gen-token --config config.yaml --user alice --channel '$team:7'\n",
     NULL, 0, 0},
    {"check-config", "read a configuration and say what is wrong with it", cli_check_config,
     BIT(CONFIG) | BIT(PORT) | BIT(DATA) | BIT(SHARDS) | BIT(CPUS),
     "Each mistake is one line with file, line, option and the way out.  Options of\n"
     "Centrifugo that are not served yet are warnings.  Secrets are never printed.\n\n"
     "  sluice check-config --config config.yaml && systemctl restart sluice\n",
     NULL, 0, 0},
    {"options", "print every option of a configuration file", cli_options, 0,
     "As Markdown: name, values, default, meaning.\n\n"
     "  sluice options | grep history\n",
     NULL, 0, 0},
    {"version", "print the version", cli_version, 0, "", NULL, 0, 0},
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
          "  (umask 077 && sluice gen-config > config.yaml)\n"
          "  sluice serve --config config.yaml\n"
          "  sluice sub chat:general --config config.yaml --user alice\n"
          "  sluice pub chat:general '{\"text\": \"hello\"}' --config config.yaml\n\n"
          "exit codes: 0 done; 1 tried and failed; 2 the command line or the\n"
          "configuration is wrong, nothing was tried\n",
          to);
}

static void print_help(const struct command *command)
{
    printf("usage: sluice %s%s%s%s\n\n%s\n\n", command->name, command->words != NULL ? " " : "",
           command->words != NULL ? command->words : "",
           command->takes != 0 ? " [OPTION VALUE]..." : "", command->text);
    for (uint32_t i = 0; i < OPTION_COUNT; i++) {
        if (!(command->takes & (1u << i))) continue;
        char name[40];
        snprintf(name, sizeof(name), "%s %s", cli_option_rows[i].name,
                 cli_option_rows[i].value != NULL ? cli_option_rows[i].value : "");
        printf("  %-16s %s\n", name, cli_option_rows[i].text);
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
        if (strcmp(cli_option_rows[i].name, name) == 0) return (enum option)i;
        size_t distance = near_distance(name, cli_option_rows[i].name);
        if (distance >= nearest) continue;
        nearest = distance;
        best = cli_option_rows[i].name;
    }
    fprintf(stderr, "sluice: %s does not take '%.60s'", command->name, name);
    print_nearest(name, best, nearest);
    fprintf(stderr, "sluice: see sluice %s --help\n", command->name);
    return OPTION_COUNT;
}

/* Takes the option at *at and its value; false, and said. */
static bool take_option(const struct command *command, char **argv, int argc, int *at,
                        struct cli_call *call)
{
    const char *text = argv[(*at)++];
    size_t size = strcspn(text, "=");
    enum option option = option_find(command, text, size);
    if (option == OPTION_COUNT) return false;
    const char *value = NULL;
    bool wants_value = cli_option_rows[option].value != NULL;
    if (!wants_value && text[size] == 0)
        value = "";
    else if (text[size] == '=' && wants_value)
        value = text + size + 1;
    else if (*at < argc && wants_value)
        value = argv[(*at)++];
    if (value == NULL && !wants_value) {
        fprintf(stderr, "sluice: %s takes no value\n", cli_option_rows[option].name);
        return false;
    }
    if (value == NULL) {
        fprintf(stderr, "sluice: %s wants a value: %s %s\n", cli_option_rows[option].name,
                cli_option_rows[option].name, cli_option_rows[option].value);
        return false;
    }
    if (call->values[option] != NULL) {
        fprintf(stderr, "sluice: %s stands twice\n", cli_option_rows[option].name);
        return false;
    }
    call->values[option] = value;
    return true;
}

/* A word that is no option; "-" is one.  False, and said. */
static bool take_word(const struct command *command, const char *word, struct cli_call *call)
{
    if (call->words_count == command->words_most) {
        fprintf(stderr, "sluice: %s takes %s, and not also '%.60s'\n", command->name,
                command->words, word);
        return false;
    }
    call->words[call->words_count++] = word;
    return true;
}

static bool is_word(const struct command *command, const char *text)
{
    return command->words != NULL && (text[0] != '-' || text[1] == 0);
}

static bool is_help(const char *text)
{
    return strcmp(text, "--help") == 0 || strcmp(text, "-h") == 0 || strcmp(text, "help") == 0;
}

static int run(int argc, char **argv, cli_serve_fn serve)
{
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

    struct cli_call call = {.serve = serve};
    for (int at = 2; at < argc && !is_about;) {
        is_about = is_help(argv[at]);
        if (is_about) break;
        bool ok = is_word(command, argv[at]) ? take_word(command, argv[at++], &call)
                                             : take_option(command, argv, argc, &at, &call);
        if (!ok) return CLI_WRONG;
    }
    if (is_about) {
        print_help(command);
        return CLI_DONE;
    }
    if (call.words_count < command->words_least) {
        fprintf(stderr, "sluice: %s wants %s; see sluice %s --help\n", command->name,
                command->words, command->name);
        return CLI_WRONG;
    }
    return command->run(&call);
}

int cli_run(int argc, char **argv, cli_serve_fn serve)
{
    check(serve != NULL);
    int exit = run(argc, argv, serve);
    /* A full disk behind standard output must not look like success. */
    if ((fflush(stdout) == 0 && !ferror(stdout)) || exit != CLI_DONE) return exit;
    fprintf(stderr, "sluice: standard output cannot be written\n");
    return CLI_FAILED;
}
