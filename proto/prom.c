/*
 * prom: one row of the table after the other.
 */
#include "proto/prom.h"

#include "core/check.h"

#define BUILD_NAME "node_build"
#define BUILD_TEXT "Always 1; the label says which version runs."

/* "# HELP sluice_… …\n# TYPE sluice_… counter\nsluice_… 18446744073709551615\n" */
#define ROW_BOUND 80

static void write_head(struct writer *writer, struct bytes name, const char *kind, const char *text)
{
    write_text(writer, "# HELP sluice_");
    write_bytes(writer, name);
    write_u8(writer, ' ');
    write_text(writer, text);
    write_text(writer, "\n# TYPE sluice_");
    write_bytes(writer, name);
    write_u8(writer, ' ');
    write_text(writer, kind);
    write_u8(writer, '\n');
}

static bool is_histogram(const struct metric_row *row)
{
    return row->kind[0] == 'h';
}

/* The name without its label, and of a histogram without what tells its rows apart. */
static struct bytes family_of(const struct metric_row *row)
{
    struct bytes name = bytes_of(row->name, strcspn(row->name, "{"));
    if (is_histogram(row))
        while (name.at[--name.size] != '_') continue;
    return name;
}

/* A bucket counts all below it too; nanoseconds are told as seconds. */
static void write_histogram_row(struct writer *writer, const struct metrics *metrics,
                                enum metric_id first, enum metric_id id)
{
    uint64_t value = metrics->values[id];
    if (id < first + METRIC_BUCKETS)
        for (enum metric_id before = first; before < id; before++) value += metrics->values[before];
    if (id != first + METRIC_BUCKETS) {
        write_decimal(writer, value);
        return;
    }
    write_decimal(writer, value / 1000000000);
    write_u8(writer, '.');
    for (uint64_t unit = 100000000; unit > 0; unit /= 10)
        write_u8(writer, (uint8_t)('0' + value / unit % 10));
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
    write_head(writer, BYTES_LITERAL(BUILD_NAME), "gauge", BUILD_TEXT);
    write_text(writer, "sluice_" BUILD_NAME "{version=\"");
    write_label(writer, version);
    write_text(writer, "\"} 1\n");
    enum metric_id first = 0;
    for (enum metric_id id = 0; id < METRIC_COUNT; id++) {
        const struct metric_row *row = metric_row(id);
        struct bytes family = family_of(row);
        if (id == 0 || !bytes_equal(family, family_of(metric_row(id - 1)))) {
            first = id;
            write_head(writer, family, row->kind, row->text);
        }
        write_text(writer, "sluice_");
        write_text(writer, row->name);
        write_u8(writer, ' ');
        if (is_histogram(row))
            write_histogram_row(writer, metrics, first, id);
        else
            write_decimal(writer, metrics->values[id]);
        write_u8(writer, '\n');
    }
}
