/*
 * config_write: the whole table as a YAML file.
 *
 * A section stands where the table first names it and holds every row below it,
 * so that no key stands twice.
 */
#include <stdio.h>

#include "core/check.h"
#include "core/config_parts.h"

struct config_print {
    const struct config_override *instead;
    uint32_t instead_count;
    void (*print)(void *context, const char *line);
    void *context;
};

static const char *value_of(const struct config_print *to, const struct config_row *row)
{
    for (uint32_t i = 0; i < to->instead_count; i++)
        if (strcmp(to->instead[i].path, row->path) == 0) return to->instead[i].value;
    return row->fallback;
}

static void print_row(const struct config_print *to, const struct config_row *row, const char *name,
                      int indent)
{
    char line[1024], values[200] = "";
    const char *value = value_of(to, row);
    if (row->type == CONFIG_ENUM) config_value_list(row, values, sizeof(values));
    if (row->least[0] != 0 && row->type != CONFIG_ENUM)
        snprintf(values, sizeof(values), "%.80s to %.80s", row->least,
                 row->most[0] != 0 ? row->most : "any");
    snprintf(line, sizeof(line), "%*s# %s%s%s%s", indent, "", row->text, values[0] != 0 ? "; " : "",
             values, row->is_now ? "" : "; takes a restart");
    to->print(to->context, line);
    bool is_quoted =
        row->type == CONFIG_TEXT || row->type == CONFIG_SECRET || row->type == CONFIG_ENUM;
    bool is_list = row->type == CONFIG_TEXT_LIST;
    snprintf(line, sizeof(line), "%*s%s: %s%s%s", indent, "", name, is_quoted ? "\"" : "",
             is_list ? "[]" : value, is_quoted ? "\"" : "");
    to->print(to->context, line);
}

static void print_namespaces(const struct config_print *to, int indent)
{
    char line[160];
    snprintf(line, sizeof(line), "%*s# channels whose name names no namespace", indent, "");
    to->print(to->context, line);
    snprintf(line, sizeof(line), "%*swithout_namespace:", indent, "");
    to->print(to->context, line);
    for (uint32_t i = 0; i < config_namespace_rows_count; i++)
        print_row(to, &config_namespace_rows[i], config_namespace_rows[i].path, indent + 2);
    snprintf(line, sizeof(line),
             "%*s# a name and the options above for each: [{name: chat, history_size: 100}]",
             indent, "");
    to->print(to->context, line);
    snprintf(line, sizeof(line), "%*snamespaces: []", indent, "");
    to->print(to->context, line);
}

/* True exactly when a row before `row` has the same first `size` bytes of path. */
static bool is_told(const struct config_row *row, size_t size)
{
    for (const struct config_row *other = config_rows; other < row; other++)
        if (strncmp(other->path, row->path, size) == 0) return true;
    return false;
}

/* Rows below `prefix`, which ends with its dot.  As deep as a path has dots. */
static void print_section(const struct config_print *to, const char *prefix, int indent)
{
    size_t prefix_size = strlen(prefix);
    for (uint32_t i = 0; i < config_rows_count; i++) {
        const struct config_row *row = &config_rows[i];
        if (strncmp(row->path, prefix, prefix_size) != 0) continue;
        const char *rest = row->path + prefix_size;
        size_t size = strcspn(rest, ".");
        if (rest[size] == 0) {
            print_row(to, row, rest, indent);
            continue;
        }
        if (is_told(row, prefix_size + size + 1)) continue;
        char line[CONFIG_PATH_MAX + 40], below[CONFIG_PATH_MAX];
        if (indent == 0) to->print(to->context, "");
        snprintf(line, sizeof(line), "%*s%.*s:", indent, "", (int)size, rest);
        to->print(to->context, line);
        snprintf(below, sizeof(below), "%.*s", (int)(prefix_size + size + 1), row->path);
        print_section(to, below, indent + 2);
        if (strcmp(below, "channel.") == 0) print_namespaces(to, indent + 2);
    }
}

void config_write(const struct config_override *instead, uint32_t instead_count,
                  void (*print)(void *context, const char *line), void *context)
{
    check(print != NULL);
    struct config_print to = {instead, instead_count, print, context};
    print_section(&to, "", 0);
}
