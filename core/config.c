/*
 * config: from a file to a snapshot.
 *
 * YAML is read as events and becomes a small tree; JSON becomes the same tree
 * in config_json.c, and everything after does not know which it was.  Events
 * rather than libyaml's documents, because those resolve aliases and merge keys
 * into structures without bound, and lose lines.  An anchor, an alias, a tag or
 * a second document is refused by name: nothing of a configuration should be
 * somewhere else than where it is read.
 */
#include "core/config.h"

#include <errno.h>
#include <stdio.h>
#include <yaml.h>

#include "core/check.h"
#include "core/config_parts.h"
#include "core/crypt.h"
#include "core/disk.h"
#include "core/mem.h"

/* ---- sentences ---- */

static void say(struct config_reader *reader, enum config_voice voice, uint32_t line,
                const char *path, const char *format, va_list values) printf_like(5, 0);

static void say(struct config_reader *reader, enum config_voice voice, uint32_t line,
                const char *path, const char *format, va_list values)
{
    char sentence[1024];
    int used = line > 0 ? snprintf(sentence, sizeof(sentence), "%.200s:%u: ", reader->name, line)
                        : snprintf(sentence, sizeof(sentence), "%.200s: ", reader->name);
    if (path != NULL && path[0] != 0)
        used += snprintf(sentence + used, sizeof(sentence) - (size_t)used, "%.300s: ", path);
    check(used > 0 && (size_t)used < sizeof(sentence));
    vsnprintf(sentence + used, sizeof(sentence) - (size_t)used, format, values);
    /* Keys are the file's: a sentence is one line whatever they hold. */
    for (char *at = sentence; *at != 0; at++)
        if ((unsigned char)*at < ' ' || *at == 127) *at = '?';
    if (reader->say != NULL) reader->say(reader->context, voice, sentence);
}

void config_error(struct config_reader *reader, uint32_t line, const char *path, const char *format,
                  ...)
{
    va_list values;
    va_start(values, format);
    if (reader->errors++ < CONFIG_ERRORS_MAX)
        say(reader, CONFIG_SAYS_ERROR, line, path, format, values);
    va_end(values);
}

void config_warn(struct config_reader *reader, uint32_t line, const char *path, const char *format,
                 ...)
{
    va_list values;
    va_start(values, format);
    say(reader, CONFIG_SAYS_WARNING, line, path, format, values);
    va_end(values);
}

/* ---- the tree ---- */

struct config_node *config_node_new(struct config_reader *reader, enum config_kind kind,
                                    uint32_t line)
{
    struct config_node *node = arena_get(&reader->scratch, sizeof(*node));
    *node = (struct config_node){.kind = kind, .line = line};
    return node;
}

const char *config_node_text(struct config_reader *reader, uint32_t line, struct bytes text)
{
    if (text.size > CONFIG_TEXT_MAX) {
        config_error(reader, line, NULL, "a text is longer than %d bytes", CONFIG_TEXT_MAX);
        return NULL;
    }
    if (text.size > 0 && memchr(text.at, 0, text.size) != NULL) {
        config_error(reader, line, NULL, "a text holds a zero byte");
        return NULL;
    }
    char *copy = arena_get(&reader->scratch, text.size + 1);
    if (text.size > 0) memcpy(copy, text.at, text.size);
    copy[text.size] = 0;
    return copy;
}

bool config_node_add(struct config_reader *reader, struct config_node *parent,
                     struct config_node *node)
{
    check(parent->kind == CONFIG_LIST || parent->kind == CONFIG_MAP);
    check((parent->kind == CONFIG_MAP) == (node->key != NULL));
    uint32_t count_max = parent->kind == CONFIG_MAP ? CONFIG_KEYS_MAX : CONFIG_NAMESPACES_MAX;
    if (parent->count == count_max) {
        config_error(reader, node->line, NULL, "more than %u entries in one section", count_max);
        return false;
    }
    if (parent->kind == CONFIG_MAP) {
        for (const struct config_node *other = parent->first; other != NULL; other = other->next) {
            if (strcmp(other->key, node->key) != 0) continue;
            if (other->line > 0)
                config_error(reader, node->line, NULL, "'%.60s' stands twice, first in line %u",
                             node->key, other->line);
            else
                config_error(reader, node->line, NULL, "'%.60s' stands twice", node->key);
            return false;
        }
    }
    if (parent->last != NULL)
        parent->last->next = node;
    else
        parent->first = node;
    parent->last = node;
    parent->count++;
    return true;
}

/* ---- YAML ---- */

/* A section being read: `key` waits for its value. */
struct yaml_level {
    struct config_node *node;
    const char *key;
    uint32_t key_line;
};

struct yaml_walk {
    struct config_reader *reader;
    struct yaml_level levels[CONFIG_DEPTH_MAX];
    uint32_t depth;
    uint32_t documents;
    struct config_node *root;
};

/* Places a finished or opened node where the walk stands.  A map's odd children
 * are its keys. */
static bool yaml_place(struct yaml_walk *walk, struct config_node *node)
{
    if (walk->depth == 0) {
        check(walk->root == NULL);
        walk->root = node;
        return true;
    }
    struct yaml_level *level = &walk->levels[walk->depth - 1];
    if (level->node->kind == CONFIG_LIST) return config_node_add(walk->reader, level->node, node);
    if (level->key == NULL) {
        if (node->kind != CONFIG_SCALAR) {
            config_error(walk->reader, node->line, NULL, "the name of an option must be a text");
            return false;
        }
        level->key = node->text;
        level->key_line = node->line;
        return true;
    }
    node->key = level->key;
    node->line = level->key_line;
    level->key = NULL;
    return config_node_add(walk->reader, level->node, node);
}

static bool is_yaml_null(const yaml_event_t *event)
{
    if (event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) return false;
    struct bytes text = bytes_of(event->data.scalar.value, event->data.scalar.length);
    return text.size == 0 || bytes_equal_text(text, "~") || bytes_equal_text(text, "null") ||
           bytes_equal_text(text, "Null") || bytes_equal_text(text, "NULL");
}

static bool yaml_scalar(struct yaml_walk *walk, const yaml_event_t *event, uint32_t line)
{
    struct bytes bytes = bytes_of(event->data.scalar.value, event->data.scalar.length);
    bool is_null = is_yaml_null(event);
    struct config_node *node =
        config_node_new(walk->reader, is_null ? CONFIG_NULL : CONFIG_SCALAR, line);
    if (!is_null) {
        node->text = config_node_text(walk->reader, line, bytes);
        if (node->text == NULL) return false;
    }
    return yaml_place(walk, node);
}

static bool yaml_open(struct yaml_walk *walk, enum config_kind kind, uint32_t line)
{
    if (walk->depth == CONFIG_DEPTH_MAX) {
        config_error(walk->reader, line, NULL, "nested deeper than %d levels", CONFIG_DEPTH_MAX);
        return false;
    }
    struct config_node *node = config_node_new(walk->reader, kind, line);
    if (!yaml_place(walk, node)) return false;
    walk->levels[walk->depth++] = (struct yaml_level){.node = node};
    return true;
}

/* What we do not read, by the name that its reader would give it. */
static const char *yaml_refused(const yaml_event_t *event)
{
    const void *anchor = NULL, *tag = NULL;
    switch (event->type) {
    case YAML_ALIAS_EVENT: return "aliases (*name) are not read; write the value out";
    case YAML_SCALAR_EVENT:
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
        break;
    default: break;
    }
    if (anchor != NULL) return "anchors (&name) are not read; write the value out";
    if (tag != NULL) return "tags (!name) are not read; the option decides the type";
    return NULL;
}

static bool yaml_event(struct yaml_walk *walk, const yaml_event_t *event)
{
    uint32_t line = (uint32_t)event->start_mark.line + 1;
    const char *refused = yaml_refused(event);
    if (refused != NULL) {
        config_error(walk->reader, line, NULL, "%s", refused);
        return false;
    }
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (walk->documents++ == 0) return true;
        config_error(walk->reader, line, NULL, "a second document begins here; one is read");
        return false;
    case YAML_SCALAR_EVENT: return yaml_scalar(walk, event, line);
    case YAML_SEQUENCE_START_EVENT: return yaml_open(walk, CONFIG_LIST, line);
    case YAML_MAPPING_START_EVENT: return yaml_open(walk, CONFIG_MAP, line);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        check(walk->depth > 0);
        walk->depth--;
        return true;
    default: return true; /* the ends of the stream and of a document */
    }
}

/* YAML to a tree; NULL, and said, when it is not YAML.  An empty file is a NULL node. */
static struct config_node *yaml_tree(struct config_reader *reader, struct bytes text)
{
    yaml_parser_t parser;
    int ok = yaml_parser_initialize(&parser);
    check(ok == 1);
    yaml_parser_set_input_string(&parser, text.size > 0 ? text.at : (const uint8_t *)"", text.size);

    struct yaml_walk walk = {.reader = reader};
    bool is_fine = true, is_over = false;
    while (is_fine && !is_over) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            /* libyaml names problems, never values. */
            config_error(reader, (uint32_t)parser.problem_mark.line + 1, NULL,
                         "this is not YAML: %s",
                         parser.problem != NULL ? parser.problem : "it cannot be read");
            is_fine = false;
            break;
        }
        is_over = event.type == YAML_STREAM_END_EVENT;
        is_fine = yaml_event(&walk, &event);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    if (!is_fine) return NULL;
    return walk.root != NULL ? walk.root : config_node_new(reader, CONFIG_NULL, 0);
}

/* ---- snapshots ---- */

static bool ends_with(const char *name, const char *end)
{
    size_t size = strlen(name), end_size = strlen(end);
    return size >= end_size && strcmp(name + size - end_size, end) == 0;
}

/* The file as a tree; NULL, and said. */
static struct config_node *read_tree(struct config_reader *reader, struct bytes text)
{
    if (ends_with(reader->name, ".json")) return config_json_tree(reader, text);
    if (!ends_with(reader->name, ".toml")) return yaml_tree(reader, text);
    config_error(reader, 0, NULL,
                 "TOML is not read here; write the same options as YAML, or as JSON in a file "
                 "whose name ends in .json");
    return NULL;
}

static struct config *config_new(void)
{
    struct config *config = mem_alloc(sizeof(*config));
    config->arena = mem_alloc(sizeof(*config->arena));
    arena_init(config->arena, 0);
    config_table_defaults(config);
    return config;
}

void config_destroy(struct config *config)
{
    if (config == NULL) return;
    for (uint32_t i = 0; i < config_rows_count; i++) {
        if (config_rows[i].type != CONFIG_SECRET) continue;
        char *secret;
        memcpy(&secret, (const char *)config + config_rows[i].at, sizeof(secret));
        crypt_wipe(secret, strlen(secret));
    }
    for (uint32_t i = 0; i < config->overrides_count; i++) {
        char *value; /* may be a secret */
        memcpy(&value, &config->overrides[i].value, sizeof(value));
        crypt_wipe(value, strlen(value));
    }
    arena_fini(config->arena);
    mem_free(config->arena);
    mem_free(config);
}

enum err config_parse(struct bytes text, const char *name, const struct config_override *overrides,
                      uint32_t overrides_count, config_say_fn say_fn, void *context,
                      struct config **config)
{
    check(name != NULL);
    check(config != NULL);
    struct config_reader reader = {.name = name, .say = say_fn, .context = context};
    arena_init(&reader.scratch, 0);
    struct config *made = config_new();

    struct config_node *root = read_tree(&reader, text);
    if (root != NULL) config_table_apply(&reader, root, made);
    for (uint32_t i = 0; i < overrides_count; i++)
        config_table_override(&reader, &overrides[i], made);
    config_table_finish(made);
    if (reader.errors == 0) config_check(&reader, made);

    uint32_t errors = reader.errors;
    if (errors > CONFIG_ERRORS_MAX) {
        reader.errors = 0;
        config_error(&reader, 0, NULL, "and %u mistakes more", errors - CONFIG_ERRORS_MAX);
    }
    arena_fini(&reader.scratch);
    if (errors > 0) {
        config_destroy(made);
        return ERR_BAD_REQUEST;
    }
    *config = made;
    return ERR_OK;
}

/* Reads the whole file; *text is mem_alloc'ed.  False, and said. */
static bool file_read(struct config_reader *reader, const char *path, char **text,
                      size_t *text_size)
{
    int file = disk_open(path, DISK_READ);
    if (file < 0) {
        config_error(reader, 0, NULL, "cannot be opened: %s", strerror(-file));
        return false;
    }
    /* One byte more than is allowed tells a file that is too large. */
    *text = mem_alloc(CONFIG_FILE_MAX + 1);
    int64_t size = disk_read(file, *text, CONFIG_FILE_MAX + 1, 0);
    disk_close(file);
    if (size < 0)
        config_error(reader, 0, NULL, "cannot be read: %s", strerror((int)-size));
    else if (size > CONFIG_FILE_MAX)
        config_error(reader, 0, NULL, "is larger than %u bytes", CONFIG_FILE_MAX);
    if (reader->errors > 0) {
        mem_free(*text);
        return false;
    }
    *text_size = (size_t)size;
    return true;
}

static const char *keep_text(struct config *config, const char *text)
{
    char *copy = arena_get(config->arena, strlen(text) + 1);
    return memcpy(copy, text, strlen(text) + 1);
}

/* Remembers what was asked, for a reload. */
static void keep_request(struct config *config, const char *path,
                         const struct config_override *overrides, uint32_t overrides_count)
{
    config->path = path != NULL ? keep_text(config, path) : NULL;
    config->overrides = arena_get(config->arena, (overrides_count + 1) * sizeof(*overrides));
    config->overrides_count = overrides_count;
    for (uint32_t i = 0; i < overrides_count; i++)
        config->overrides[i] = (struct config_override){
            overrides[i].path != NULL ? keep_text(config, overrides[i].path) : NULL,
            keep_text(config, overrides[i].value), keep_text(config, overrides[i].source)};
}

enum err config_load(const char *path, const struct config_override *overrides,
                     uint32_t overrides_count, config_say_fn say_fn, void *context,
                     struct config **config)
{
    struct config_reader reader = {.name = path, .say = say_fn, .context = context};
    char *text = NULL;
    size_t text_size = 0;
    if (path != NULL && !file_read(&reader, path, &text, &text_size)) return ERR_IO;
    enum err err = config_parse(bytes_of(text, text_size), path != NULL ? path : "options",
                                overrides, overrides_count, say_fn, context, config);
    crypt_wipe(text, text_size);
    mem_free(text);
    TRY(err);
    keep_request(*config, path, overrides, overrides_count);
    return ERR_OK;
}

enum err config_reload(const struct config *before, config_say_fn say_fn, void *context,
                       struct config **config)
{
    check(before != NULL);
    return config_load(before->path, before->overrides, before->overrides_count, say_fn, context,
                       config);
}

/* ---- questions ---- */

uint8_t config_boundary(const struct config *config)
{
    static const char boundaries[] = ":./;@~+=!%&^"; /* in the order of the option's values */
    check(config->channel_namespace_boundary < sizeof(boundaries) - 1);
    return (uint8_t)boundaries[config->channel_namespace_boundary];
}

static const struct config_namespace *namespace_of(const struct config *config,
                                                   struct bytes channel)
{
    if (channel.size > 0 && channel.at[0] == '$')
        channel = bytes_of(channel.at + 1, channel.size - 1);
    const uint8_t *end =
        channel.size > 0 ? memchr(channel.at, config_boundary(config), channel.size) : NULL;
    if (end == NULL) return &config->without_namespace;
    struct bytes name = bytes_of(channel.at, (size_t)(end - channel.at));

    uint32_t first = 0, after = config->namespaces_count;
    while (first < after) {
        uint32_t middle = first + (after - first) / 2;
        const char *other = config->namespaces[middle].name;
        /* strcmp order, on a name that is not terminated. */
        int order = strncmp((const char *)name.at, other, name.size);
        if (order == 0 && other[name.size] != 0) order = -1;
        if (order == 0) return &config->namespaces[middle];
        if (order < 0)
            after = middle;
        else
            first = middle + 1;
    }
    return NULL;
}

const struct config_namespace *config_namespace_of(const struct config *config,
                                                   struct bytes channel)
{
    size_t size = sizeof CONFIG_RECEIPTS_PREFIX - 1;
    if (channel.size <= size || memcmp(channel.at, CONFIG_RECEIPTS_PREFIX, size) != 0)
        return namespace_of(config, channel);
    const struct config_namespace *space =
        namespace_of(config, bytes_of(channel.at + size, channel.size - size));
    if (space == NULL) return NULL;
    bool is_named = space != &config->without_namespace;
    return &config->companions[is_named ? space - config->namespaces : config->namespaces_count];
}
