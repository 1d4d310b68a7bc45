/*
 * config: every option of the gateway as one immutable snapshot.
 *
 * core/config.def is the table: path, field, type, default, range, whether a
 * reload takes it, and a sentence.  `struct config` is generated from it, so a
 * field exists exactly when an option does.  A file (YAML, or JSON when its
 * name ends in ".json") is walked against the table; what it leaves out keeps
 * its default, and what it gets wrong is told as one sentence per mistake with
 * the file, the line and the way out.  Options of Centrifugo that are not
 * served yet stand in core/config_known.def: they warn once by name and never
 * stop the start.  Secrets are never part of a sentence.
 *
 * Memory:  a snapshot owns its texts; a reload makes a new one, which replaces
 *          the old between turns, freed when every shard has let go of it.
 * Thread:  a loaded snapshot is read-only: any thread.
 * Source:  config.c (files, YAML), config_json.c, config_table.c (the walk),
 *          config_env.c (the environment), config_near.c (nearest names),
 *          config_value.c (what people may write),
 *          config_check.c and config_token.c (rules between options), snapshots compared,
 *          config_write.c (a file with every option)
 * Tests:   tests/unit/core/test_config.c, tests/fuzz/fuzz_config.c
 */
#pragma once

#include "core/bytes.h"
#include "core/err.h"

/* A file above this is not a configuration. */
#define CONFIG_FILE_MAX            (1u << 20)
#define CONFIG_DEPTH_MAX           16
#define CONFIG_NAMESPACES_MAX      4096
/* Sentinels, or servers of a Cluster to begin with. */
#define CONFIG_REDIS_ADDRESSES_MAX 15
#define CONFIG_NAMESPACE_NAME_MAX  128
/* Mistakes told in one go; more are counted. */
#define CONFIG_ERRORS_MAX          20

/* NUL-terminated texts, in the order of the file. */
struct config_texts {
    const char *const *items;
    uint32_t count;
};

/* Values of the ENUM fields, in the order of their rows. */
enum config_engine { CONFIG_ENGINE_EMBEDDED, CONFIG_ENGINE_REDIS, CONFIG_ENGINE_MEMORY };
enum config_error_mode { CONFIG_ERROR_REPLY, CONFIG_ERROR_TRANSPORT };
/* What redis.addresses are: a server, Sentinels that know it, or some servers of a Cluster. */
enum config_redis_mode {
    CONFIG_REDIS_STANDALONE,
    CONFIG_REDIS_SENTINEL,
    CONFIG_REDIS_CLUSTER,
};
/* durable: acknowledged after fdatasync.  written: after the write; a crash of
 * the process loses nothing, a crash of the machine may, and changes epochs. */
enum config_durability { CONFIG_DURABLE, CONFIG_WRITTEN };
/* What the data of a publication must be; `any` is anything that is not empty,
 * `binary` anything at all. */
enum config_data { CONFIG_DATA_ANY, CONFIG_DATA_JSON, CONFIG_DATA_OBJECT, CONFIG_DATA_BINARY };

/* What members learn of readers, each more than the one before. */
enum config_receipts {
    CONFIG_RECEIPTS_OFF,
    CONFIG_RECEIPTS_COUNT,
    CONFIG_RECEIPTS_SENDER,
    CONFIG_RECEIPTS_ALL,
};

/* The C type behind each type of a row. */
#define CONFIG_C_BOOL      bool
#define CONFIG_C_U32       uint32_t
#define CONFIG_C_U64       uint64_t
#define CONFIG_C_MS        uint64_t     /* milliseconds; the field ends in _ms */
#define CONFIG_C_BYTES     uint64_t     /* the field ends in _bytes */
#define CONFIG_C_TEXT      const char * /* NUL-terminated, never NULL */
#define CONFIG_C_SECRET    const char * /* the same, and never printed */
#define CONFIG_C_ENUM      uint32_t     /* position in the row's list */
#define CONFIG_C_TEXT_LIST struct config_texts

/* What one namespace of channels may do.  Generated from NAMESPACE_OPTION rows;
 * `history_meta_ttl_ms` is resolved: never 0. */
struct config_namespace {
    const char *name; /* "" for channels without a namespace */
#define OPTION(path, field, type, fallback, least, most, reload, text)
#define NAMESPACE_OPTION(path, field, type, fallback, least, most, text) CONFIG_C_##type field;
#include "core/config.def"
#undef OPTION
#undef NAMESPACE_OPTION
};

struct arena;

/* An option given elsewhere than in the file; it wins over the file. */
struct config_override {
    const char *path;   /* "http_server.port"; NULL: `source` is a variable that names it */
    const char *value;  /* as it would stand in the file; a list is split at commas */
    const char *source; /* how a sentence names it: "--port", "SLUICE_HTTP_SERVER_PORT" */
};

struct config {
#define OPTION(path, field, type, fallback, least, most, reload, text) CONFIG_C_##type field;
#define NAMESPACE_OPTION(path, field, type, fallback, least, most, text)
#include "core/config.def"
#undef OPTION
#undef NAMESPACE_OPTION
    struct config_namespace without_namespace;
    struct config_namespace *namespaces; /* sorted by name */
    uint32_t namespaces_count;
    /* What of each namespace holds for companions: namespaces[i] and, last, of no namespace. */
    struct config_namespace *companions;
    struct arena *arena;               /* private: holds every text */
    const char *path;                  /* private: where config_reload reads; NULL: no file */
    struct config_override *overrides; /* private: what it lays on top */
    uint32_t overrides_count;
};

/* True exactly when channels of this namespace keep publications. */
static inline bool config_has_history(const struct config_namespace *space)
{
    return space->history_size > 0 && space->history_ttl_ms > 0;
}

/* The options of one section of tokens: client.token or client.subscription_token. */
struct config_token {
    const char *hmac_secret, *hmac_previous, *rsa_pem, *ecdsa_pem, *set_url;
    uint64_t hmac_previous_until_s; /* 0: for ever */
    const char *audience, *audience_regex, *issuer, *issuer_regex, *user_claim;
};
struct config_token config_token_connections(const struct config *config);
/* The section of its own when that is enabled, else that of connections. */
struct config_token config_token_subscriptions(const struct config *config);

/* channel.namespace_boundary. */
uint8_t config_boundary(const struct config *config);
/* What the name of a channel begins with that tells the members of another, whose name
 * follows, who has read what. */
#define CONFIG_RECEIPTS_PREFIX "receipts:"
/* The options of `channel`: a leading '$' is passed over, then the text before
 * the first boundary names the namespace; without one it is config->without_namespace.
 * A companion (CONFIG_RECEIPTS_PREFIX) has what its channel's namespace says of receipts
 * and names, and nothing else: no history, presence, publishing.
 * NULL when that namespace is not configured.  O(log namespaces), no allocation. */
const struct config_namespace *config_namespace_of(const struct config *config,
                                                   struct bytes channel);

enum config_voice {
    CONFIG_SAYS_WARNING, /* the start goes on */
    CONFIG_SAYS_ERROR,   /* this file is not taken */
};

/* Hears one sentence, without a line end: "config.yaml:12: client.ping_interval:
 * 'abc' is not a duration; write for example 25s".  `context` is the caller's. */
typedef void (*config_say_fn)(void *context, enum config_voice voice, const char *sentence);

/* The overrides of an environment: one per variable that begins with SLUICE_, in its
 * order (core/config_env.c).  One block of memory for the caller to mem_free; values
 * are views of the environment.  Returns their count. */
uint32_t config_environment(char *const *environment, struct config_override **overrides);

/* Reads the file at `path` and the overrides on top, the later over the earlier; NULL
 * path: defaults and overrides alone.  Every mistake is said, up to CONFIG_ERRORS_MAX; then
 * ERR_BAD_REQUEST (ERR_IO when the file cannot be read) and *config untouched. */
must_use enum err config_load(const char *path, const struct config_override *overrides,
                              uint32_t overrides_count, config_say_fn say, void *context,
                              struct config **config);
/* The same from memory; `name` stands for the file in sentences and its ending
 * decides between YAML and JSON. */
must_use enum err config_parse(struct bytes text, const char *name,
                               const struct config_override *overrides, uint32_t overrides_count,
                               config_say_fn say, void *context, struct config **config);
/* What config_load was asked for `before`, once more: a new snapshot. */
must_use enum err config_reload(const struct config *before, config_say_fn say, void *context,
                                struct config **config);
/* Accepts NULL.  Secrets are wiped. */
void config_destroy(struct config *config);

/* Options that differ and that only a start can take: each is warned of by name,
 * and `after` gets the value of `before`.  Returns their count. */
uint32_t config_keep_started(const struct config *before, struct config *after, config_say_fn say,
                             void *context);
/* The same without keeping: what a reload could not take. */
uint32_t config_compare(const struct config *before, const struct config *after, config_say_fn say,
                        void *context);
/* The CPUs of a list such as "0-3,8", ascending, each once: `cpus[0 .. *count)`.
 * An empty text gives none.  ERR_BAD_REQUEST when it is malformed or names one
 * at or above CONFIG_CPUS_MAX. */
#define CONFIG_CPUS_MAX 1024
must_use enum err config_cpus(const char *text, uint16_t cpus[CONFIG_CPUS_MAX], uint32_t *count);
/* Reads a duration such as 250ms, 25s or 1h30m; false with a clause for people in
 * `why`: "'abc' is not a duration; write for example 25s, 5m or 1h30m". */
#define CONFIG_WHY_MAX 256
must_use bool config_duration(const char *text, uint64_t *ms, char why[CONFIG_WHY_MAX]);
/* Every option with its default and its sentence, as a YAML file that loads; values of
 * `instead` (their paths are those of the table) take the place of defaults. */
void config_write(const struct config_override *instead, uint32_t instead_count,
                  void (*print)(void *context, const char *line), void *context);
/* The table as Markdown, for the README: one line per option. */
void config_describe(void (*print)(void *context, const char *line), void *context);
