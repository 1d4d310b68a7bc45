/*
 * prom: one row of the table after the other.
 */
#include "proto/prom.h"

#include "core/check.h"

#define BUILD_NAME "node_build"
#define BUILD_TEXT "Always 1; the label says which version runs."

/* "# HELP sluice_… …\n# TYPE sluice_… counter\nsluice_… 18446744073709551615\n" */
#define ROW_BOUND 80

static void write_row(struct writer *writer, const char *name, const char *kind, const char *text)
{
    const char *const parts[] = {
        "# HELP sluice_", name, " ", text, "\n", "# TYPE sluice_", name, " ", kind,
        "\nsluice_",      name};
    for (size_t i = 0; i < array_count(parts); i++) write_text(writer, parts[i]);
}

/* A label's value: backslash, quote and newline are escaped. */
static void write_label(struct writer *writer, const char *value)
{
    for (; *value != '\0'; value++) {
        if (*value == '\n') {
            write_text(writer, "\\n");
            continue;
        }
        if (*value == '\\' || *value == '"') write_u8(writer, '\\');
        write_u8(writer, (uint8_t)*value);
    }
}

size_t prom_bound(const char *version)
{
    size_t size = ROW_BOUND + 3 * strlen(BUILD_NAME) + strlen(BUILD_TEXT) + 2 * strlen(version) +
                  sizeof("{version=\"\"}");
    for (enum metric_id id = 0; id < METRIC_COUNT; id++) {
        const struct metric_row *row = metric_row(id);
        size += ROW_BOUND + 3 * strlen(row->name) + strlen(row->text);
    }
    return size;
}

void prom_write(struct writer *writer, const struct metrics *metrics, const char *version)
{
    check(version != NULL);
    write_row(writer, BUILD_NAME, "gauge", BUILD_TEXT);
    write_text(writer, "{version=\"");
    write_label(writer, version);
    write_text(writer, "\"} 1\n");
    for (enum metric_id id = 0; id < METRIC_COUNT; id++) {
        const struct metric_row *row = metric_row(id);
        write_row(writer, row->name, row->kind, row->text);
        write_u8(writer, ' ');
        write_decimal(writer, metrics->values[id]);
        write_u8(writer, '\n');
    }
}
