/*
 * config_value: what people write, and the numbers it means.
 *
 * Durations are written as Go writes them ("1h30m", "1.5s"), because operators
 * bring Centrifugo files along; a day ("7d") is ours.  A bare number is refused:
 * the most common mistake with durations is a silent change of unit.  Sizes
 * take binary units only, so that nobody wonders which kilobyte was meant.
 */
#include <inttypes.h>
#include <stdio.h>
#include <strings.h>

#include "core/check.h"
#include "core/config_parts.h"
#include "core/crypt.h"

/* Beyond it no duration makes sense, and no sum of two overflows. */
#define DURATION_NS_MAX (UINT64_C(400) * 365 * 86400 * UINT64_C(1000000000) / 4)

static const struct {
    const char *name;
    uint64_t ns;
} duration_units[] = {
    /* Longer names first where one begins another. */
    {"ms", 1000000},
    {"us", 1000},
    {"\xc2\xb5s", 1000},
    {"ns", 1},
    {"s", 1000000000},
    {"m", UINT64_C(60000000000)},
    {"h", UINT64_C(3600000000000)},
    {"d", UINT64_C(86400000000000)},
};

static const struct {
    const char *name;
    uint64_t bytes;
} size_units[] = {{"", 1}, {"B", 1}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}};

/* A value fit for a sentence: cut, and nothing unprintable. */
static const char *shown(const char *value, char text[48])
{
    size_t used = 0;
    for (; value[used] != 0 && used < 40; used++) {
        unsigned char byte = (unsigned char)value[used];
        text[used] = byte >= 0x20 && byte < 0x7f ? (char)byte : '?';
    }
    snprintf(text + used, 8, "%s", value[used] != 0 ? "..." : "");
    return text;
}

/* Digits at *at; false when there are none or they pass UINT64_MAX. */
static bool take_digits(const char **at, uint64_t *value)
{
    const char *first = *at;
    *value = 0;
    for (; **at >= '0' && **at <= '9'; (*at)++) {
        uint64_t digit = (uint64_t)(**at - '0');
        if (*value > (UINT64_MAX - digit) / 10) return false;
        *value = *value * 10 + digit;
    }
    return *at > first;
}

static bool take_duration_unit(const char **at, uint64_t *ns)
{
    for (size_t i = 0; i < array_count(duration_units); i++) {
        size_t size = strlen(duration_units[i].name);
        if (strncmp(*at, duration_units[i].name, size) != 0) continue;
        *at += size;
        *ns = duration_units[i].ns;
        return true;
    }
    return false;
}

/* One "1.5h" of a duration, added to *total. */
static bool take_duration_part(const char **at, uint64_t *total)
{
    uint64_t whole, unit, fraction = 0, scale = 1;
    if (!take_digits(at, &whole)) return false;
    if (**at == '.') {
        const char *first = ++*at;
        for (; **at >= '0' && **at <= '9'; (*at)++) {
            if (scale >= 1000000000) continue; /* finer than a nanosecond of a second */
            fraction = fraction * 10 + (uint64_t)(**at - '0');
            scale *= 10;
        }
        if (*at == first) return false;
    }
    if (!take_duration_unit(at, &unit)) return false;
    if (whole > DURATION_NS_MAX / unit) return false;
    /* fraction < scale <= 10^9 and unit < 10^14: in 128 bits nothing is lost. */
    uint64_t part = whole * unit + (uint64_t)((unsigned __int128)fraction * unit / scale);
    *total += part;
    return *total <= DURATION_NS_MAX;
}

bool config_duration(const char *text, uint64_t *ms, char why[CONFIG_WHY_MAX])
{
    char text_shown[48];
    const char *at = text;
    uint64_t number, ns = 0;
    if (take_digits(&at, &number) && *at == 0 && number != 0) {
        snprintf(why, CONFIG_WHY_MAX, "'%s' has no unit; write for example %ss or %sms",
                 shown(text, text_shown), text_shown, text_shown);
        return false;
    }
    at = text;
    bool is_fine = *at != 0;
    if (strcmp(text, "0") == 0) at++; /* no unit can change nothing */
    while (is_fine && *at != 0) is_fine = take_duration_part(&at, &ns);
    if (!is_fine) {
        snprintf(why, CONFIG_WHY_MAX, "'%s' is not a duration; write for example 25s, 5m or 1h30m",
                 shown(text, text_shown));
        return false;
    }
    /* What is finer than a millisecond is rounded up: never to "none". */
    *ms = (ns + 999999) / 1000000;
    return true;
}

static bool read_size(const char *text, uint64_t *bytes, char why[CONFIG_WHY_MAX])
{
    char text_shown[48];
    const char *at = text;
    uint64_t number;
    if (take_digits(&at, &number)) {
        if (*at == ' ') at++;
        for (size_t i = 0; i < array_count(size_units); i++) {
            if (strcmp(at, size_units[i].name) != 0) continue;
            if (number > UINT64_MAX / size_units[i].bytes) break;
            *bytes = number * size_units[i].bytes;
            return true;
        }
    }
    snprintf(why, CONFIG_WHY_MAX, "'%s' is not a size; write for example 65536, 64KiB or 1MiB",
             shown(text, text_shown));
    return false;
}

static bool read_number(const char *text, uint64_t *value, char why[CONFIG_WHY_MAX])
{
    char text_shown[48];
    const char *at = text;
    if (take_digits(&at, value) && *at == 0) return true;
    snprintf(why, CONFIG_WHY_MAX, "'%s' is not a whole number", shown(text, text_shown));
    return false;
}

static bool read_bool(const char *text, uint64_t *value, char why[CONFIG_WHY_MAX])
{
    char text_shown[48];
    if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0) {
        *value = text[0] == 't';
        return true;
    }
    snprintf(why, CONFIG_WHY_MAX, "'%s' is not a truth value; write true or false",
             shown(text, text_shown));
    return false;
}

void config_value_list(const struct config_row *row, char *text, size_t text_size)
{
    check(row->type == CONFIG_ENUM && text_size > 0);
    struct writer writer = writer_of(text, text_size - 1);
    for (const char *at = row->least;; at++) {
        size_t size = strcspn(at, "|");
        if (at != row->least) write_text(&writer, ", ");
        write_bytes(&writer, size == 0 ? BYTES_LITERAL("(empty)") : bytes_of(at, size));
        at += size;
        if (*at == 0) break;
    }
    check(!writer.failed);
    text[writer_bytes(&writer).size] = 0;
}

static bool read_enum(const struct config_row *row, const char *text, uint64_t *value,
                      char why[CONFIG_WHY_MAX])
{
    char text_shown[48];
    size_t size = strlen(text);
    const char *at = row->least;
    for (*value = 0;; (*value)++) {
        size_t name_size = strcspn(at, "|");
        /* Without regard to case: "INFO" is a level to Centrifugo too. */
        if (name_size == size && strncasecmp(at, text, size) == 0) return true;
        if (at[name_size] == 0) break;
        at += name_size + 1;
    }
    /* Centrifugo's complete files say "" for what they leave at its default. */
    if (size == 0) return read_enum(row, row->fallback, value, why);
    char list[120];
    config_value_list(row, list, sizeof(list));
    snprintf(why, CONFIG_WHY_MAX, "'%s' is not one of %s", shown(text, text_shown), list);
    return false;
}

/* The number behind `text` for the types that are numbers. */
static bool read_by_type(const struct config_row *row, const char *text, uint64_t *value,
                         char why[CONFIG_WHY_MAX])
{
    switch (row->type) {
    case CONFIG_BOOL: return read_bool(text, value, why);
    case CONFIG_U32:
    case CONFIG_U64: return read_number(text, value, why);
    case CONFIG_MS: return config_duration(text, value, why);
    case CONFIG_BYTES: return read_size(text, value, why);
    case CONFIG_ENUM: return read_enum(row, text, value, why);
    case CONFIG_TEXT:
    case CONFIG_SECRET:
    case CONFIG_TEXT_LIST: break;
    }
    impossible("texts are not numbers");
}

static bool is_in_range(const struct config_row *row, const char *text, uint64_t value,
                        char why[CONFIG_WHY_MAX])
{
    if (row->type == CONFIG_ENUM || row->type == CONFIG_BOOL) return true;
    char text_shown[48];
    uint64_t limit;
    if (row->type == CONFIG_U32 && value > UINT32_MAX) {
        snprintf(why, CONFIG_WHY_MAX, "'%s' is more than the most, %s", shown(text, text_shown),
                 row->most[0] != 0 ? row->most : "4294967295");
        return false;
    }
    if (row->least[0] != 0) {
        bool ok = read_by_type(row, row->least, &limit, why);
        check(ok);
        if (value < limit) {
            snprintf(why, CONFIG_WHY_MAX, "'%s' is less than the least, %s",
                     shown(text, text_shown), row->least);
            return false;
        }
    }
    if (row->most[0] != 0) {
        bool ok = read_by_type(row, row->most, &limit, why);
        check(ok);
        if (value > limit) {
            snprintf(why, CONFIG_WHY_MAX, "'%s' is more than the most, %s", shown(text, text_shown),
                     row->most);
            return false;
        }
    }
    return true;
}

static char *text_copy(struct arena *arena, const char *text, size_t size)
{
    char *copy = arena_get(arena, size + 1);
    memcpy(copy, text, size);
    copy[size] = 0;
    return copy;
}

static void put(const struct config_row *row, void *base, const void *value, size_t size)
{
    memcpy((char *)base + row->at, value, size);
}

/* A list from one text, split at commas: the form of the command line. */
static void set_split(const struct config_row *row, const char *text, void *base,
                      struct arena *arena)
{
    uint32_t count = text[0] == 0 ? 0 : 1;
    for (const char *at = text; *at != 0; at++) count += *at == ',';
    const char **items = arena_get(arena, (count + 1) * sizeof(*items));
    for (uint32_t i = 0; i < count; i++) {
        size_t size = strcspn(text, ",");
        items[i] = text_copy(arena, text, size);
        text += size + 1;
    }
    struct config_texts texts = {items, count};
    put(row, base, &texts, sizeof(texts));
}

bool config_value_set(const struct config_row *row, const char *text, void *base,
                      struct arena *arena, char why[CONFIG_WHY_MAX])
{
    check(row != NULL && text != NULL);
    uint64_t value;
    if (row->type == CONFIG_TEXT || row->type == CONFIG_SECRET) {
        const char *copy = text_copy(arena, text, strlen(text));
        put(row, base, &copy, sizeof(copy));
        return true;
    }
    if (row->type == CONFIG_TEXT_LIST) {
        set_split(row, text, base, arena);
        return true;
    }
    if (!read_by_type(row, text, &value, why)) return false;
    if (!is_in_range(row, text, value, why)) return false;
    if (row->type == CONFIG_BOOL) {
        bool truth = value != 0;
        put(row, base, &truth, sizeof(truth));
    } else if (row->type == CONFIG_U32 || row->type == CONFIG_ENUM) {
        uint32_t small = (uint32_t)value;
        put(row, base, &small, sizeof(small));
    } else {
        put(row, base, &value, sizeof(value));
    }
    return true;
}

bool config_value_set_list(const struct config_row *row, const struct config_node *list, void *base,
                           struct arena *arena, char why[CONFIG_WHY_MAX])
{
    check(row->type == CONFIG_TEXT_LIST);
    check(list->kind == CONFIG_LIST);
    const char **items = arena_get(arena, (list->count + 1) * sizeof(*items));
    uint32_t count = 0;
    for (const struct config_node *node = list->first; node != NULL; node = node->next) {
        if (node->kind != CONFIG_SCALAR) {
            snprintf(why, CONFIG_WHY_MAX, "item %u of the list is not a text", count + 1);
            return false;
        }
        items[count++] = text_copy(arena, node->text, strlen(node->text));
    }
    check(count == list->count);
    struct config_texts texts = {items, count};
    put(row, base, &texts, sizeof(texts));
    return true;
}

const char *config_value_form(const struct config_row *row)
{
    switch (row->type) {
    case CONFIG_BOOL: return "true or false";
    case CONFIG_U32:
    case CONFIG_U64: return "a whole number";
    case CONFIG_MS: return "a duration, for example 25s";
    case CONFIG_BYTES: return "a size, for example 64KiB";
    case CONFIG_TEXT:
    case CONFIG_SECRET: return "a text";
    case CONFIG_ENUM: return "one of its values";
    case CONFIG_TEXT_LIST: return "a list of texts, for example [\"https://chat.example\"]";
    }
    impossible("every type has a form");
}

static size_t field_size(const struct config_row *row)
{
    return row->type == CONFIG_BOOL                              ? sizeof(bool)
           : row->type == CONFIG_U32 || row->type == CONFIG_ENUM ? sizeof(uint32_t)
                                                                 : sizeof(uint64_t);
}

void config_value_copy(const struct config_row *row, const void *from, void *base,
                       struct arena *arena)
{
    const char *field = (const char *)from + row->at;
    if (row->type == CONFIG_TEXT || row->type == CONFIG_SECRET) {
        const char *text;
        memcpy(&text, field, sizeof(text));
        text = text_copy(arena, text, strlen(text));
        if (row->type == CONFIG_SECRET) {
            char *old;
            memcpy(&old, (const char *)base + row->at, sizeof(old));
            crypt_wipe(old, strlen(old));
        }
        put(row, base, &text, sizeof(text));
    } else if (row->type == CONFIG_TEXT_LIST) {
        struct config_texts texts;
        memcpy(&texts, field, sizeof(texts));
        const char **items = arena_get(arena, (texts.count + 1) * sizeof(*items));
        for (uint32_t i = 0; i < texts.count; i++)
            items[i] = text_copy(arena, texts.items[i], strlen(texts.items[i]));
        texts.items = items;
        put(row, base, &texts, sizeof(texts));
    } else {
        put(row, base, field, field_size(row));
    }
}

bool config_value_equal(const struct config_row *row, const void *a, const void *b)
{
    const char *left = (const char *)a + row->at, *right = (const char *)b + row->at;
    if (row->type == CONFIG_TEXT || row->type == CONFIG_SECRET) {
        const char *x, *y;
        memcpy(&x, left, sizeof(x));
        memcpy(&y, right, sizeof(y));
        return strcmp(x, y) == 0;
    }
    if (row->type == CONFIG_TEXT_LIST) {
        struct config_texts x, y;
        memcpy(&x, left, sizeof(x));
        memcpy(&y, right, sizeof(y));
        bool is_equal = x.count == y.count;
        for (uint32_t i = 0; is_equal && i < x.count; i++)
            is_equal = strcmp(x.items[i], y.items[i]) == 0;
        return is_equal;
    }
    return memcmp(left, right, field_size(row)) == 0;
}

enum err config_cpus(const char *text, uint16_t cpus[CONFIG_CPUS_MAX], uint32_t *count)
{
    check(text != NULL && count != NULL);
    bool is_named[CONFIG_CPUS_MAX] = {false};
    *count = 0;
    while (*text != 0) {
        uint64_t first, last;
        if (!take_digits(&text, &first)) return ERR_BAD_REQUEST;
        last = first;
        if (*text == '-' && (text++, !take_digits(&text, &last))) return ERR_BAD_REQUEST;
        if (last < first || last >= CONFIG_CPUS_MAX) return ERR_BAD_REQUEST;
        for (uint64_t cpu = first; cpu <= last; cpu++) is_named[cpu] = true;
        if (*text == 0) break;
        if (*text++ != ',' || *text == 0) return ERR_BAD_REQUEST;
    }
    for (uint32_t cpu = 0; cpu < CONFIG_CPUS_MAX; cpu++)
        if (is_named[cpu]) cpus[(*count)++] = (uint16_t)cpu;
    return ERR_OK;
}
