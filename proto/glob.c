/*
 * glob: patterns of origins.
 *
 * A star tries every end, nearest first, and a brace every alternative, so the
 * cost can grow with the power of the stars; both come from the operator's
 * configuration, and texts are as short as an origin.  A steps limit bounds it
 * all the same: a pattern that needs more does not match.
 */
#include "core/check.h"
#include "proto/handshake.h"

#define STEPS_MAX 100000
#define DEPTH_MAX 64

struct match {
    uint32_t steps, depth;
};

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

/* After the ']' of the set that begins at `glob`, NULL when it never ends. */
static const char *set_take(const char *glob, uint8_t c, bool *is_in)
{
    bool is_negated = *glob == '!', found = false;
    if (is_negated) glob++;
    for (bool is_first = true; is_first || *glob != ']'; is_first = false) {
        if (*glob == '\\' && glob[1] != '\0') glob++;
        if (*glob == '\0') return NULL;
        uint8_t from = lower((uint8_t)*glob++), to = from;
        if (glob[0] == '-' && glob[1] != ']' && glob[1] != '\0') {
            to = lower((uint8_t)glob[1]);
            glob += 2;
        }
        if (c >= from && c <= to) found = true;
    }
    *is_in = found != is_negated;
    return glob + 1;
}

/* The ',' or '}' that ends an alternative, braces inside it passed; NULL: none. */
static const char *alternative_end(const char *glob)
{
    uint32_t depth = 0;
    for (; *glob != '\0'; glob++) {
        if (*glob == '\\' && glob[1] != '\0')
            glob++;
        else if (*glob == '{')
            depth++;
        else if (depth > 0 && *glob == '}')
            depth--;
        else if (depth == 0 && (*glob == ',' || *glob == '}'))
            return glob;
    }
    return NULL;
}

/* `glob` up to `end` (NULL: its NUL), then `rest` up to its own. */
struct part {
    const char *at, *end;
    const struct part *rest;
};

static bool match_part(struct match *match, struct part part, struct bytes text);

static bool match_star(struct match *match, struct part part, struct bytes text)
{
    for (size_t skip = 0; skip <= text.size; skip++) {
        if (match_part(match, part, bytes_of(text.at + skip, text.size - skip))) return true;
        if (match->steps >= STEPS_MAX) return false;
    }
    return false;
}

static bool match_braces(struct match *match, struct part part, struct bytes text)
{
    const char *close = part.at, *from = part.at;
    do {
        close = alternative_end(close);
        if (close == NULL) return false;
    } while (*close++ == ',');
    struct part after = {close, part.end, part.rest};
    for (;;) {
        const char *end = alternative_end(from);
        if (match_part(match, (struct part){from, end, &after}, text)) return true;
        if (*end == '}') return false;
        from = end + 1;
    }
}

static bool match_part(struct match *match, struct part part, struct bytes text)
{
    bool matches = false, is_over = false;
    if (match->depth == DEPTH_MAX) return false;
    match->depth++;
    while (!is_over && match->steps++ < STEPS_MAX) {
        if (part.at == part.end || *part.at == '\0') {
            if (part.rest != NULL) {
                part = *part.rest;
                continue;
            }
            matches = text.size == 0;
            break;
        }
        char c = *part.at++;
        if (c == '*' || c == '{') {
            matches = c == '*' ? match_star(match, part, text) : match_braces(match, part, text);
            break;
        }
        if (text.size == 0) break;
        if (c == '[') {
            bool is_in = false;
            part.at = set_take(part.at, lower(text.at[0]), &is_in);
            is_over = part.at == NULL || !is_in;
        } else if (c != '?') {
            if (c == '\\' && *part.at != '\0') c = *part.at++;
            is_over = lower((uint8_t)c) != lower(text.at[0]);
        }
        text = bytes_of(text.at + 1, text.size - 1);
    }
    match->depth--;
    return matches;
}

bool handshake_glob(const char *glob, struct bytes text)
{
    check(glob != NULL);
    struct match match = {0, 0};
    return match_part(&match, (struct part){glob, NULL, NULL}, text);
}
