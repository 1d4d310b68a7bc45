/*
 * config_table: the table, and the walk of a tree against it.
 *
 * Every key has one of four meanings: an option that is served, an option that
 * is known, a section on the way to one of them, or a mistake.  A mistake is
 * answered with the nearest names, because most are a letter or a level away.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/check.h"
#include "core/config_parts.h"
#include "core/limits.h"

enum { RELOAD_START, RELOAD_NOW };

const struct config_row config_rows[] = {
#define OPTION(path, field, type, fallback, least, most, reload, text)                             \
    {path,                                                                                         \
     CONFIG_##type,                                                                                \
     RELOAD_##reload == RELOAD_NOW,                                                                \
     offsetof(struct config, field),                                                               \
     fallback,                                                                                     \
     least,                                                                                        \
     most,                                                                                         \
     text},
#define NAMESPACE_OPTION(path, field, type, fallback, least, most, text)
#include "core/config.def"
#undef OPTION
#undef NAMESPACE_OPTION
};
const uint32_t config_rows_count = array_count(config_rows);

const struct config_row config_namespace_rows[] = {
#define OPTION(path, field, type, fallback, least, most, reload, text)
#define NAMESPACE_OPTION(path, field, type, fallback, least, most, text)                           \
    {path,     CONFIG_##type, true, offsetof(struct config_namespace, field),                      \
     fallback, least,         most, text},
#include "core/config.def"
#undef OPTION
#undef NAMESPACE_OPTION
};
const uint32_t config_namespace_rows_count = array_count(config_namespace_rows);

const struct config_known_row config_known_rows[] = {
#define KNOWN(path, note)           {path, note, false},
#define KNOWN_NAMESPACE(path, note) {path, note, true},
#include "core/config_known.def"
#undef KNOWN
#undef KNOWN_NAMESPACE
};
const uint32_t config_known_rows_count = array_count(config_known_rows);
static_assert(array_count(config_known_rows) <= 256, "a bit per row in config_reader.known_told");

/* Other names of options, for settings that another program has already. */
static const struct {
    const char *path, *row;
} aliases[] = {
    {"ReadReceiptsSettings.Enable", "receipts.enabled"},
    {"ReadReceiptsSettings.WindowSize", "receipts.window_size"},
    {"ReadReceiptsSettings.SmallChannelThreshold", "receipts.small_channel_threshold"},
    {"ReadReceiptsSettings.LargeChannelThreshold", "receipts.large_channel_threshold"},
    {"ReadReceiptsSettings.MaxReadersInList", "receipts.max_readers_in_list"},
};

/* ---- defaults ---- */

static void set_default(const struct config_row *row, void *base, struct arena *arena)
{
    char why[CONFIG_WHY_MAX];
    bool ok = config_value_set(row, row->fallback, base, arena, why);
    check(ok); /* test_config reads every row */
}

static void namespace_defaults(struct config_namespace *space, const char *name,
                               struct arena *arena)
{
    *space = (struct config_namespace){.name = name};
    for (uint32_t i = 0; i < config_namespace_rows_count; i++)
        set_default(&config_namespace_rows[i], space, arena);
}

void config_table_defaults(struct config *config)
{
    check(config->arena != NULL);
    for (uint32_t i = 0; i < config_rows_count; i++)
        set_default(&config_rows[i], config, config->arena);
    namespace_defaults(&config->without_namespace, "", config->arena);
}

/* ---- names ---- */

static const struct config_row *row_find(const struct config_row *rows, uint32_t rows_count,
                                         const char *path)
{
    for (uint32_t i = 0; i < rows_count; i++)
        if (strcmp(rows[i].path, path) == 0) return &rows[i];
    return NULL;
}

/* The option that `path` is, or is another name of. */
static const struct config_row *row_named(const char *path)
{
    for (size_t i = 0; i < array_count(aliases); i++)
        if (strcmp(aliases[i].path, path) == 0) path = aliases[i].row;
    return row_find(config_rows, config_rows_count, path);
}

size_t config_known_size(const struct config_known_row *row)
{
    size_t size = strlen(row->path);
    return size > 2 && strcmp(row->path + size - 2, ".*") == 0 ? size - 2 : size;
}

static const struct config_known_row *known_find(const char *path, bool is_of_namespace)
{
    for (size_t i = 0; i < array_count(config_known_rows); i++) {
        const struct config_known_row *row = &config_known_rows[i];
        size_t size = config_known_size(row);
        if (row->is_of_namespace == is_of_namespace && strncmp(row->path, path, size) == 0 &&
            path[size] == 0)
            return row;
    }
    return NULL;
}

static bool is_section(const char *path)
{
    size_t size = strlen(path);
    for (uint32_t i = 0; i < config_rows_count; i++)
        if (strncmp(config_rows[i].path, path, size) == 0 && config_rows[i].path[size] == '.')
            return true;
    for (size_t i = 0; i < array_count(config_known_rows); i++)
        if (!config_known_rows[i].is_of_namespace &&
            strncmp(config_known_rows[i].path, path, size) == 0 &&
            config_known_rows[i].path[size] == '.')
            return true;
    return false;
}

bool config_path_join(char *path, const char *prefix, const char *key)
{
    int size = snprintf(path, CONFIG_PATH_MAX, "%s%s%s", prefix, prefix[0] != 0 ? "." : "", key);
    return size > 0 && size < CONFIG_PATH_MAX;
}

/* ---- the walk ---- */

static void tell_unknown(struct config_reader *reader, uint32_t line, const char *path,
                         const char *canonical)
{
    char hint[700];
    config_table_suggest(canonical, hint, sizeof(hint));
    config_error(reader, line, path, "unknown option%s%s", hint[0] != 0 ? "; " : "", hint);
}

void config_table_tell_known(struct config_reader *reader, uint32_t line, const char *path,
                             const struct config_known_row *row)
{
    size_t index = (size_t)(row - config_known_rows);
    uint64_t bit = UINT64_C(1) << (index % 64);
    if (reader->known_told[index / 64] & bit) return;
    reader->known_told[index / 64] |= bit;
    config_warn(reader, line, path, "known option, not served yet%s%s",
                row->note[0] != 0 ? ": " : "", row->note);
}

static void apply_value(struct config_reader *reader, const struct config_row *row,
                        const struct config_node *node, const char *path, void *base,
                        struct arena *arena)
{
    char why[CONFIG_WHY_MAX];
    bool ok = true;
    if (node->kind == CONFIG_NULL) {
        config_error(reader, node->line, path, "has no value; write %s, or remove the line",
                     config_value_form(row));
    } else if (row->type == CONFIG_TEXT_LIST && node->kind == CONFIG_LIST) {
        ok = config_value_set_list(row, node, base, arena, why);
    } else if (row->type != CONFIG_TEXT_LIST && node->kind == CONFIG_SCALAR) {
        ok = config_value_set(row, node->text, base, arena, why);
    } else {
        static const char *const kinds[] = {"nothing", "a single value", "a list", "a section"};
        config_error(reader, node->line, path, "wants %s, not %s", config_value_form(row),
                     kinds[node->kind]);
    }
    if (!ok) config_error(reader, node->line, path, "%s", why);
}

/* `shown` is how sentences name this namespace. */
static void apply_namespace(struct config_reader *reader, const struct config_node *node,
                            const char *shown, struct config_namespace *space, struct arena *arena)
{
    if (node->kind == CONFIG_NULL) return;
    if (node->kind != CONFIG_MAP) {
        config_error(reader, node->line, shown, "wants a section of options");
        return;
    }
    for (const struct config_node *child = node->first; child != NULL; child = child->next) {
        char path[CONFIG_PATH_MAX], canonical[CONFIG_PATH_MAX];
        if (space->name[0] != 0 && strcmp(child->key, "name") == 0) continue; /* taken before */
        if (!config_path_join(path, shown, child->key) ||
            !config_path_join(canonical, CONFIG_WITHOUT_PATH, child->key)) {
            config_error(reader, child->line, shown, "an option's name is too long");
            continue;
        }
        const struct config_row *row =
            row_find(config_namespace_rows, config_namespace_rows_count, child->key);
        const struct config_known_row *known = known_find(child->key, true);
        if (row != NULL)
            apply_value(reader, row, child, path, space, arena);
        else if (known != NULL)
            config_table_tell_known(reader, child->line, path, known);
        else
            tell_unknown(reader, child->line, path, canonical);
    }
}

/* The name of a namespace that `node` describes; NULL, and said. */
static const char *namespace_name(struct config_reader *reader, const struct config_node *node,
                                  const char *shown)
{
    if (node->kind != CONFIG_MAP) {
        config_error(reader, node->line, shown, "wants a section of options with a name");
        return NULL;
    }
    const struct config_node *child = node->first;
    while (child != NULL && strcmp(child->key, "name") != 0) child = child->next;
    if (child == NULL || child->kind != CONFIG_SCALAR) {
        config_error(reader, node->line, shown, "a namespace needs a name, for example name: chat");
        return NULL;
    }
    size_t size = strlen(child->text);
    size_t good =
        strspn(child->text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");
    if (size < 2 || size > CONFIG_NAMESPACE_NAME_MAX || good != size) {
        config_error(reader, child->line, shown,
                     "name wants 2 to %d letters, digits, '-' or '_', nothing else",
                     CONFIG_NAMESPACE_NAME_MAX);
        return NULL;
    }
    return child->text;
}

static int by_name(const void *a, const void *b)
{
    const struct config_namespace *left = a, *right = b;
    return strcmp(left->name, right->name);
}

void config_table_namespaces(struct config_reader *reader, const struct config_node *node,
                             struct config *config)
{
    if (node->kind == CONFIG_NULL) return;
    if (node->kind != CONFIG_LIST) {
        config_error(reader, node->line, CONFIG_NAMESPACES_PATH,
                     "wants a list: one '- name: ...' for each namespace");
        return;
    }
    struct config_namespace *spaces = arena_get(config->arena, (node->count + 1) * sizeof(*spaces));
    uint32_t count = 0, index = 0;
    for (const struct config_node *child = node->first; child != NULL; child = child->next) {
        char shown[CONFIG_PATH_MAX];
        snprintf(shown, sizeof(shown), "%s[%u]", CONFIG_NAMESPACES_PATH, index++);
        const char *name = namespace_name(reader, child, shown);
        if (name == NULL) continue;
        snprintf(shown, sizeof(shown), "%s[%.130s]", CONFIG_NAMESPACES_PATH, name);
        struct config_namespace *space = &spaces[count++];
        char *copy = arena_get(config->arena, strlen(name) + 1);
        memcpy(copy, name, strlen(name) + 1);
        namespace_defaults(space, copy, config->arena);
        apply_namespace(reader, child, shown, space, config->arena);
    }
    qsort(spaces, count, sizeof(*spaces), by_name);
    for (uint32_t i = 1; i < count; i++)
        if (by_name(&spaces[i - 1], &spaces[i]) == 0)
            config_error(reader, node->line, CONFIG_NAMESPACES_PATH, "the name '%s' stands twice",
                         spaces[i].name);
    config->namespaces = spaces;
    config->namespaces_count = count;
}

static void apply_section(struct config_reader *reader, const struct config_node *section,
                          const char *prefix, struct config *config);

static void apply_key(struct config_reader *reader, const struct config_node *node,
                      const char *path, struct config *config)
{
    const struct config_row *row = row_named(path);
    const struct config_known_row *known = known_find(path, false);
    if (row != NULL)
        apply_value(reader, row, node, path, config, config->arena);
    else if (strcmp(path, CONFIG_WITHOUT_PATH) == 0)
        apply_namespace(reader, node, path, &config->without_namespace, config->arena);
    else if (strcmp(path, CONFIG_NAMESPACES_PATH) == 0)
        config_table_namespaces(reader, node, config);
    else if (known != NULL)
        config_table_tell_known(reader, node->line, path, known);
    else if (is_section(path))
        apply_section(reader, node, path, config);
    else
        tell_unknown(reader, node->line, path, path);
}

static void apply_section(struct config_reader *reader, const struct config_node *section,
                          const char *prefix, struct config *config)
{
    if (section->kind == CONFIG_NULL) return;
    if (section->kind != CONFIG_MAP) {
        config_error(reader, section->line, prefix, "wants a section of options");
        return;
    }
    for (const struct config_node *node = section->first; node != NULL; node = node->next) {
        char path[CONFIG_PATH_MAX];
        if (config_path_join(path, prefix, node->key))
            apply_key(reader, node, path, config);
        else
            config_error(reader, node->line, prefix, "an option's name is too long");
    }
}

void config_table_apply(struct config_reader *reader, const struct config_node *root,
                        struct config *config)
{
    /* The depth is bounded by the table: a section is one on the way to a row. */
    apply_section(reader, root, "", config);
}

void config_table_override(struct config_reader *reader, const struct config_override *override,
                           struct config *config)
{
    if (override->path == NULL) {
        config_env_apply(reader, override, config);
        return;
    }
    char why[CONFIG_WHY_MAX];
    const struct config_row *row = row_find(config_rows, config_rows_count, override->path);
    check(row != NULL); /* the caller names options of the table */
    const char *name = reader->name;
    reader->name = override->source;
    if (!config_value_set(row, override->value, config, config->arena, why))
        config_error(reader, 0, NULL, "%s", why);
    reader->name = name;
}

static void namespace_finish(const struct config *config, struct config_namespace *space)
{
    if (space->history_meta_ttl_ms == 0)
        space->history_meta_ttl_ms = config->channel_history_meta_ttl_ms;
    /* A size alone would keep the last publications of every channel for ever. */
    if (space->history_size > 0 && space->history_ttl_ms == 0)
        space->history_ttl_ms = min_u64(HISTORY_TTL_MS, space->history_meta_ttl_ms);
}

static void companion_of(const struct config_namespace *space, struct config_namespace *companion)
{
    *companion = (struct config_namespace){
        .name = space->name,
        .channel_regex = space->channel_regex,
        .receipts = space->receipts,
        .members_only = true,
        .history_meta_ttl_ms = space->history_meta_ttl_ms,
    };
}

void config_table_finish(struct config *config)
{
    uint32_t count = config->namespaces_count;
    config->companions = arena_get(config->arena, (count + (size_t)1) * sizeof *config->companions);
    for (uint32_t i = 0; i < count; i++) {
        namespace_finish(config, &config->namespaces[i]);
        companion_of(&config->namespaces[i], &config->companions[i]);
    }
    namespace_finish(config, &config->without_namespace);
    companion_of(&config->without_namespace, &config->companions[count]);
}
