/*
 * cli_parts: what the files of the command line share; nobody else includes this.
 *
 * Thread:  the main thread, before any other.
 */
#pragma once

#include "core/config.h"
#include "shards/cli.h"

enum option {
    OPTION_CONFIG,
    OPTION_PORT,
    OPTION_DATA,
    OPTION_SHARDS,
    OPTION_CPUS,
    OPTION_USER,
    OPTION_TTL,
    OPTION_CHANNEL,
    OPTION_URL,
    OPTION_TOKEN,
    OPTION_KEY,
    OPTION_RECOVER,
    OPTION_HISTORY,
    OPTION_GROUP,
    OPTION_CONSUMER,
    OPTION_EXEC,
    OPTION_POST,
    OPTION_BATCH,
    OPTION_WAIT,
    OPTION_IDLE,
    OPTION_DELIVERIES,
    OPTION_ONCE,
    OPTION_FULL,
    OPTION_COUNT,
};

struct cli_option {
    const char *name, *value, *text; /* value NULL: it takes none */
    const char *path; /* of the option in core/config.def that it overrides, or NULL */
};
extern const struct cli_option cli_option_rows[OPTION_COUNT];

/* Channels of one `sluice sub`: client.channel_limit's default. */
#define CLI_WORDS_MAX 128

struct cli_call {
    const char *values[OPTION_COUNT]; /* NULL: not given; "" for one without a value */
    const char *words[CLI_WORDS_MAX];
    uint32_t words_count;
    cli_serve_fn serve;
};

/* What --config, the environment and the overriding options say, the later over the
 * earlier.  Mistakes are on stderr; `is_quiet` keeps warnings back. */
must_use enum cli_exit cli_load(const struct cli_call *call, bool is_quiet, struct config **config);

/* The commands; each returns its exit code. */
int cli_serve(const struct cli_call *call);
int cli_check_config(const struct cli_call *call);
int cli_gen_config(const struct cli_call *call);
int cli_gen_token(const struct cli_call *call);
int cli_options(const struct cli_call *call);
int cli_sub(const struct cli_call *call);
int cli_pub(const struct cli_call *call);
int cli_work(const struct cli_call *call);
int cli_backup(const struct cli_call *call);
