/*
 * config_near: which names of the table are near a mistaken one.
 *
 * O(rows x name length squared), some 100,000 steps: only ever for a mistake.
 */
#include <stdio.h>

#include "core/check.h"
#include "core/config_parts.h"
#include "core/near.h"

#define NEAR_MAX      3
#define NEAR_TEXT_MAX 96

struct near {
    const char *wanted;
    size_t reach; /* edits that still count as near */
    size_t count;
    struct {
        size_t distance;
        char name[NEAR_TEXT_MAX];
    } best[NEAR_MAX];
};

static const char *last_part(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot != NULL ? dot + 1 : path;
}

/* Keeps the nearest names, nearest first.  A name whose last part fits counts
 * too, one edit further: the option is right and the level is not. */
static void near_offer(struct near *near, const char *name)
{
    size_t distance = near_distance(near->wanted, name);
    size_t by_part = near_distance(last_part(near->wanted), last_part(name)) + 1;
    if (by_part < distance) distance = by_part;
    if (distance > near->reach || strlen(name) >= NEAR_TEXT_MAX) return;
    size_t at = near->count;
    while (at > 0 && near->best[at - 1].distance > distance) at--;
    if (at == NEAR_MAX) return;
    if (near->count < NEAR_MAX) near->count++;
    for (size_t k = near->count - 1; k > at; k--) near->best[k] = near->best[k - 1];
    near->best[at].distance = distance;
    snprintf(near->best[at].name, NEAR_TEXT_MAX, "%s", name);
}

/* The sections on the way to row `index`, each with its first row; their names are short, so
 * most of one must fit. */
static void near_offer_sections(struct near *near, uint32_t index)
{
    const char *path = config_rows[index].path;
    for (const char *dot = strchr(path, '.'); dot != NULL; dot = strchr(dot + 1, '.')) {
        size_t size = (size_t)(dot - path);
        if (index > 0 && strncmp(config_rows[index - 1].path, path, size + 1) == 0) continue;
        char name[CONFIG_PATH_MAX];
        snprintf(name, sizeof(name), "%.*s", (int)size, path);
        if (2 * near_distance(near->wanted, name) < strlen(last_part(name))) near_offer(near, name);
    }
}

static void near_offer_known(struct near *near, const struct config_known_row *row)
{
    char name[CONFIG_PATH_MAX];
    snprintf(name, sizeof(name), "%s%s%.*s", row->is_of_namespace ? CONFIG_WITHOUT_PATH : "",
             row->is_of_namespace ? "." : "", (int)config_known_size(row), row->path);
    near_offer(near, name);
}

/* The names directly below `prefix`, as "a, b, c". */
static void list_allowed(const char *prefix, char *text, size_t text_size)
{
    size_t prefix_size = strlen(prefix), used = 0;
    char seen[NEAR_TEXT_MAX] = "";
    text[0] = 0;
    for (uint32_t i = 0; i < config_rows_count; i++) {
        const char *path = config_rows[i].path;
        if (prefix_size > 0) {
            if (strncmp(path, prefix, prefix_size) != 0 || path[prefix_size] != '.') continue;
            path += prefix_size + 1;
        }
        char name[NEAR_TEXT_MAX];
        snprintf(name, sizeof(name), "%.*s", (int)min_u64(strcspn(path, "."), 80), path);
        if (strcmp(name, seen) == 0) continue; /* rows of one section stand together */
        memcpy(seen, name, sizeof(seen));
        int size = snprintf(text + used, text_size - used, "%s%s", used > 0 ? ", " : "", name);
        if (size < 0 || used + (size_t)size >= text_size) return;
        used += (size_t)size;
    }
}

void config_table_suggest(const char *path, char *text, size_t text_size)
{
    check(text_size > 0);
    text[0] = 0;
    struct near near = {.wanted = path, .reach = max_u64(2, strlen(last_part(path)) / 3)};
    char name[CONFIG_PATH_MAX];
    for (uint32_t i = 0; i < config_rows_count; i++) {
        near_offer(&near, config_rows[i].path);
        near_offer_sections(&near, i);
    }
    for (uint32_t i = 0; i < config_namespace_rows_count; i++)
        if (config_path_join(name, CONFIG_WITHOUT_PATH, config_namespace_rows[i].path))
            near_offer(&near, name);
    near_offer(&near, CONFIG_WITHOUT_PATH);
    near_offer(&near, CONFIG_NAMESPACES_PATH);
    for (uint32_t i = 0; i < config_known_rows_count; i++)
        near_offer_known(&near, &config_known_rows[i]);

    /* Of several levels of nearness only the nearest is told. */
    while (near.count > 1 && near.best[near.count - 1].distance > near.best[0].distance)
        near.count--;
    if (near.count > 0) {
        size_t used = (size_t)snprintf(text, text_size, "did you mean %s", near.best[0].name);
        for (size_t i = 1; i < near.count && used < text_size; i++)
            used += (size_t)snprintf(text + used, text_size - used, "%s%s",
                                     i + 1 < near.count ? ", " : " or ", near.best[i].name);
        if (used < text_size) snprintf(text + used, text_size - used, "?");
        return;
    }
    char prefix[CONFIG_PATH_MAX], allowed[600];
    snprintf(prefix, sizeof(prefix), "%.*s",
             last_part(path) > path ? (int)(last_part(path) - path - 1) : 0, path);
    list_allowed(prefix, allowed, sizeof(allowed));
    if (allowed[0] != 0) snprintf(text, text_size, "allowed here: %s", allowed);
}
