/*
 * prom: one family of the table after the other.
 */
#include "proto/prom.h"

#include "core/check.h"

#define BUILD_NAME "node_build"
#define BUILD_TEXT "Always 1; the label says which version runs."

/* "# HELP sluice_… …\n# TYPE sluice_… counter\nsluice_… 18446744073709551615\n" */
#define ROW_BOUND 80

/* What stands before every name. */
#define PREFIX "sluice_"

static void write_head(struct writer *writer, const char *prefix, const char *name,
                       const char *kind, const char *text)
{
    write_text(writer, "# HELP ");
    write_text(writer, prefix);
    write_text(writer, name);
    write_u8(writer, ' ');
    write_text(writer, text);
    write_text(writer, "\n# TYPE ");
    write_text(writer, prefix);
    write_text(writer, name);
    write_u8(writer, ' ');
    write_text(writer, kind);
    write_u8(writer, '\n');
}

/* A value stands in capitals in the table, as the end of a name. */
static void write_name(struct writer *writer, const char *prefix,
                       const struct metric_family *family, const char *suffix, const char *value)
{
    write_text(writer, prefix);
    write_text(writer, family->name);
    write_text(writer, suffix);
    if (value != NULL) {
        write_u8(writer, '{');
        write_text(writer, family->label);
        write_text(writer, "=\"");
        for (; *value != '\0'; value++)
            write_u8(writer, (uint8_t)(*value >= 'A' && *value <= 'Z' ? *value | 0x20 : *value));
        write_text(writer, "\"}");
    }
    write_u8(writer, ' ');
}

static void write_number(struct writer *writer, uint64_t value)
{
    write_decimal(writer, value);
    write_u8(writer, '\n');
}

/* Each bucket counts all below it too. */
static void write_histogram(struct writer *writer, const char *prefix,
                            const struct metric_family *family, const uint64_t *values)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < family->values_count; i++) {
        count += values[i];
        write_name(writer, prefix, family, "_bucket", family->values[i]);
        write_number(writer, count);
    }
    values += family->values_count;
    write_text(writer, prefix);
    write_text(writer, family->name);
    write_text(writer, "_bucket{le=\"+Inf\"} ");
    write_number(writer, count + values[0]);
    write_name(writer, prefix, family, "_sum", NULL);
    write_decimal(writer, values[1] / family->unit);
    if (family->unit > 1) write_u8(writer, '.');
    for (uint64_t unit = family->unit / 10; unit > 0; unit /= 10)
        write_u8(writer, (uint8_t)('0' + values[1] / unit % 10));
    write_u8(writer, '\n');
    write_name(writer, prefix, family, "_count", NULL);
    write_number(writer, values[2]);
}

static void write_family(struct writer *writer, const char *prefix,
                         const struct metric_family *family, const uint64_t *values)
{
    write_head(writer, prefix, family->name, family->kind, family->text);
    if (family->bounds != NULL) {
        write_histogram(writer, prefix, family, values);
        return;
    }
    uint32_t count = family->label == NULL ? 1 : family->values_count;
    for (uint32_t i = 0; i < count; i++) {
        write_name(writer, prefix, family, "", family->label == NULL ? NULL : family->values[i]);
        write_number(writer, values[i]);
    }
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

size_t prom_bound_bare(enum family_id id)
{
    const struct metric_family *family = metric_family(id);
    /* Of head and values; a histogram has three more, all others at most one. */
    size_t rows = 2 + family->values_count + (family->bounds != NULL ? 3 : 1);
    return rows * (ROW_BOUND + strlen(family->name)) + strlen(family->text);
}

size_t prom_bound(const char *version)
{
    size_t size = ROW_BOUND + 3 * strlen(BUILD_NAME) + strlen(BUILD_TEXT) + 2 * strlen(version) +
                  sizeof("{version=\"\"}");
    for (enum family_id id = 0; id < FAMILY_COUNT; id++) size += prom_bound_bare(id);
    return size;
}

void prom_write(struct writer *writer, const struct metrics *metrics, const char *version)
{
    check(version != NULL);
    write_head(writer, PREFIX, BUILD_NAME, "gauge", BUILD_TEXT);
    write_text(writer, PREFIX BUILD_NAME "{version=\"");
    write_label(writer, version);
    write_text(writer, "\"} 1\n");
    for (enum family_id id = 0; id < FAMILY_COUNT; id++) {
        const struct metric_family *family = metric_family(id);
        write_family(writer, PREFIX, family, &metrics->values[family->first]);
    }
}

void prom_write_bare(struct writer *writer, const struct metrics *metrics, enum family_id id)
{
    const struct metric_family *family = metric_family(id);
    write_family(writer, "", family, &metrics->values[family->first]);
}
