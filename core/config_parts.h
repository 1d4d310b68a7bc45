/*
 * config_parts: what the files of config share; nobody else includes this.
 *
 * Loading has four steps: bytes become a tree (YAML in config.c, JSON in
 * config_json.c), the tree is walked against the table (config_table.c, config_near.c), each
 * text becomes a value (config_value.c), and the rules between options are
 * looked at (config_check.c).  The tree lives in a scratch arena until the
 * snapshot is made.
 *
 * Thread:  any; one load belongs to one thread.
 */
#pragma once

#include <stdarg.h>

#include "core/arena.h"
#include "core/config.h"

#define CONFIG_PATH_MAX 256
#define CONFIG_TEXT_MAX 8192
/* Keys in one section; bounds the search for duplicates. */
#define CONFIG_KEYS_MAX 256

enum config_kind { CONFIG_NULL, CONFIG_SCALAR, CONFIG_LIST, CONFIG_MAP };

struct config_node {
    enum config_kind kind;
    uint32_t line;    /* of the value, or of the key where there is one; 0: unknown */
    uint32_t count;   /* of children */
    const char *key;  /* in a map, else NULL */
    const char *text; /* of a scalar */
    struct config_node *first, *last, *next;
};

/* One load under way. */
struct config_reader {
    struct arena scratch;
    const char *name;
    config_say_fn say;
    void *context;
    uint32_t errors;
    uint64_t known_told[4]; /* a bit per row of config_known.def: warned already */
    struct bytes json_left; /* JSON: what lies behind the last key, */
    uint32_t json_line;     /* and its line */
};

/* Says "name:line: path: …"; line 0 and path NULL are left out. */
void config_error(struct config_reader *reader, uint32_t line, const char *path, const char *format,
                  ...) printf_like(4, 5);
void config_warn(struct config_reader *reader, uint32_t line, const char *path, const char *format,
                 ...) printf_like(4, 5);

/* Hangs `node` behind the children of `parent`.  False, and said, when its key
 * is there already or the parent is full. */
must_use bool config_node_add(struct config_reader *reader, struct config_node *parent,
                              struct config_node *node);
must_use struct config_node *config_node_new(struct config_reader *reader, enum config_kind kind,
                                             uint32_t line);
/* A NUL-terminated copy; NULL, and said, when it holds a NUL or is too long. */
must_use const char *config_node_text(struct config_reader *reader, uint32_t line,
                                      struct bytes text);

/* JSON to a tree; NULL, and said, when it is not JSON. */
must_use struct config_node *config_json_tree(struct config_reader *reader, struct bytes text);

enum config_type {
    CONFIG_BOOL,
    CONFIG_U32,
    CONFIG_U64,
    CONFIG_MS,
    CONFIG_BYTES,
    CONFIG_TEXT,
    CONFIG_SECRET,
    CONFIG_ENUM,
    CONFIG_TEXT_LIST,
};

struct config_row {
    const char *path;
    enum config_type type;
    bool is_now; /* a reload takes it */
    uint32_t at; /* offset of the field */
    const char *fallback, *least, *most, *text;
};

extern const struct config_row config_rows[];
extern const uint32_t config_rows_count;
extern const struct config_row config_namespace_rows[];
extern const uint32_t config_namespace_rows_count;

/* A row of config_known.def. */
struct config_known_row {
    const char *path, *note;
    bool is_of_namespace;
};

extern const struct config_known_row config_known_rows[];
extern const uint32_t config_known_rows_count;
/* The size of its path without the ".*". */
size_t config_known_size(const struct config_known_row *row);

#define CONFIG_WITHOUT_PATH    "channel.without_namespace"
#define CONFIG_NAMESPACES_PATH "channel.namespaces"

/* Joins into path[CONFIG_PATH_MAX]; false when it does not fit, which no name of
 * the table is long enough for. */
must_use bool config_path_join(char *path, const char *prefix, const char *key);

/* Reads `text` into the field of `base`; texts are copied to `arena`.  False
 * with a clause in `why` that never shows a secret. */
must_use bool config_value_set(const struct config_row *row, const char *text, void *base,
                               struct arena *arena, char why[CONFIG_WHY_MAX]);
/* Takes the items of a list. */
must_use bool config_value_set_list(const struct config_row *row, const struct config_node *list,
                                    void *base, struct arena *arena, char why[CONFIG_WHY_MAX]);
/* The values of an ENUM: "(empty), json, binary". */
void config_value_list(const struct config_row *row, char *text, size_t text_size);
/* What a value of this row looks like: "a duration, for example 25s". */
const char *config_value_form(const struct config_row *row);
/* True exactly when the fields are equal. */
bool config_value_equal(const struct config_row *row, const void *a, const void *b);

/* Gives `base` the field of `from`; texts are copied to `arena`. */
void config_value_copy(const struct config_row *row, const void *from, void *base,
                       struct arena *arena);

/* Every row's default. */
void config_table_defaults(struct config *config);
/* Walks the tree; mistakes are said. */
void config_table_apply(struct config_reader *reader, const struct config_node *root,
                        struct config *config);
void config_table_override(struct config_reader *reader, const struct config_override *override,
                           struct config *config);
/* Takes an override that a variable names. */
void config_env_apply(struct config_reader *reader, const struct config_override *variable,
                      struct config *config);
/* All namespaces from their list; those before are forgotten. */
void config_table_namespaces(struct config_reader *reader, const struct config_node *list,
                             struct config *config);
/* Warns of a known option, once a load. */
void config_table_tell_known(struct config_reader *reader, uint32_t line, const char *path,
                             const struct config_known_row *row);
/* What follows from other options: a namespace's history_meta_ttl. */
void config_table_finish(struct config *config);

/* Up to three names of the table that are near `path`, or what is allowed there,
 * as "did you mean …?"; "" when nothing is. */
void config_table_suggest(const char *path, char *text, size_t text_size);

/* The rules between options. */
void config_check(struct config_reader *reader, const struct config *config);
/* config_token.c: those of tokens; `is_local` when only this machine reaches the port. */
void config_check_tokens(struct config_reader *reader, const struct config *config, bool is_local);
