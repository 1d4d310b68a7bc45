/*
 * config_json: a JSON file as the same tree that YAML gives.
 *
 * core/doc.h keeps members in their order but no lines, so each key's line is found
 * by a second look at the text: the tree is walked in the order of the document,
 * and the next key of the walk is the next key of the text.
 */
#include <inttypes.h>
#include <stdio.h>

#include "core/check.h"
#include "core/config_parts.h"
#include "core/doc.h"

static bool fill(struct config_reader *reader, const struct doc *doc, uint32_t depth,
                 struct config_node *node);

/* A node of the right kind for `doc`, filled; NULL, and said. */
static struct config_node *make(struct config_reader *reader, const struct doc *doc, uint32_t depth)
{
    enum config_kind kind = doc_is_object(doc)  ? CONFIG_MAP
                            : doc_is_array(doc) ? CONFIG_LIST
                            : doc_is_null(doc)  ? CONFIG_NULL
                                                : CONFIG_SCALAR;
    struct config_node *node = config_node_new(reader, kind, 0);
    return fill(reader, doc, depth, node) ? node : NULL;
}

static bool fill_scalar(struct config_reader *reader, const struct doc *doc,
                        struct config_node *node)
{
    char text[40];
    struct bytes bytes;
    bool is_true;
    int64_t number;
    double real;
    if (doc_text(doc, &bytes)) {
        node->text = config_node_text(reader, 0, bytes);
        return node->text != NULL;
    }
    if (doc_bool(doc, &is_true))
        snprintf(text, sizeof(text), "%s", is_true ? "true" : "false");
    else if (doc_i64(doc, &number))
        snprintf(text, sizeof(text), "%" PRId64, number);
    else if (doc_real(doc, &real))
        snprintf(text, sizeof(text), "%.17g", real);
    else
        impossible("a scalar is a text, a truth or a number");
    node->text = config_node_text(reader, 0, bytes_of_text(text));
    return node->text != NULL;
}

/* The line of the next key of the text, which is known to be JSON: a string with a
 * colon behind it. */
static uint32_t next_key_line(struct config_reader *reader)
{
    const uint8_t *at = reader->json_left.at, *end = at + reader->json_left.size;
    bool is_key = false;
    uint32_t line = reader->json_line;
    while (at < end && !is_key) {
        uint8_t byte = *at++;
        if (byte == '\n') reader->json_line++;
        if (byte != '"') continue;
        line = reader->json_line;
        for (; at < end && *at != '"'; at++) at += *at == '\\';
        const uint8_t *behind = ++at;
        while (behind < end && strchr(" \t\r\n", *behind) != NULL) behind++;
        is_key = behind < end && *behind == ':';
    }
    reader->json_left = at < end ? bytes_of(at, (size_t)(end - at)) : BYTES_NONE;
    return line;
}

static bool fill_map(struct config_reader *reader, const struct doc *doc, uint32_t depth,
                     struct config_node *node)
{
    void *at = NULL;
    const char *name;
    for (struct doc *item = doc_next(doc, &at, &name); item != NULL;
         item = doc_next(doc, &at, &name)) {
        uint32_t line = next_key_line(reader);
        struct config_node *child = make(reader, item, depth + 1);
        if (child == NULL) return false;
        child->line = line;
        child->key = config_node_text(reader, 0, bytes_of_text(name));
        if (child->key == NULL || !config_node_add(reader, node, child)) return false;
    }
    return true;
}

static bool fill(struct config_reader *reader, const struct doc *doc, uint32_t depth,
                 struct config_node *node)
{
    if (node->kind == CONFIG_NULL) return true;
    if (node->kind == CONFIG_SCALAR) return fill_scalar(reader, doc, node);
    if (depth == CONFIG_DEPTH_MAX) {
        config_error(reader, 0, NULL, "nested deeper than %d levels", CONFIG_DEPTH_MAX);
        return false;
    }
    if (node->kind == CONFIG_MAP) return fill_map(reader, doc, depth, node);
    for (size_t i = 0; i < doc_count(doc); i++) {
        struct config_node *child = make(reader, doc_at(doc, i), depth + 1);
        if (child == NULL || !config_node_add(reader, node, child)) return false;
    }
    return true;
}

struct config_node *config_json_tree(struct config_reader *reader, struct bytes text)
{
    struct doc *doc;
    char where[160];
    enum err err = doc_parse(text, &doc, where);
    if (err != ERR_OK) {
        config_error(reader, 0, NULL, "this is not JSON: %s", where);
        return NULL;
    }
    reader->json_left = text;
    reader->json_line = 1;
    struct config_node *root = make(reader, doc, 0);
    doc_free(doc);
    return root;
}
