/*
 * pattern: expressions by their text.
 */
#include "core/pattern.h"

#include <regex.h>
#include <string.h>

#include "core/check.h"
#include "core/mem.h"

struct pattern {
    regex_t regex;
    char *text;
};

enum err pattern_check(const char *text, char why[PATTERN_WHY_MAX])
{
    regex_t regex;
    int error = regcomp(&regex, text, REG_EXTENDED | REG_NOSUB);
    why[0] = '\0';
    if (error == 0) {
        regfree(&regex);
        return ERR_OK;
    }
    regerror(error, &regex, why, PATTERN_WHY_MAX);
    return ERR_BAD_REQUEST;
}

struct pattern *pattern_create(const char *text)
{
    struct pattern *pattern = mem_alloc(sizeof *pattern);
    if (regcomp(&pattern->regex, text, REG_EXTENDED | REG_NOSUB) != 0) {
        mem_free(pattern);
        return NULL;
    }
    pattern->text = mem_text(text, strlen(text));
    return pattern;
}

void pattern_destroy(struct pattern *pattern)
{
    if (pattern == NULL) return;
    regfree(&pattern->regex);
    mem_free(pattern->text);
    mem_free(pattern);
}

bool pattern_is_in(const struct pattern *pattern, struct bytes subject)
{
    char copy[PATTERN_TEXT_MAX + 1];
    if (subject.size > PATTERN_TEXT_MAX) return false;
    if (subject.size > 0) memcpy(copy, subject.at, subject.size);
    copy[subject.size] = '\0';
    if (strlen(copy) != subject.size) return false;
    return regexec(&pattern->regex, copy, 0, NULL, 0) == 0;
}

static struct pattern *pattern_of(struct patterns *patterns, const char *text)
{
    struct pattern *pattern = map_find(&patterns->by_text, bytes_of_text(text));
    if (pattern != NULL) return pattern;
    pattern = pattern_create(text);
    check(pattern != NULL); /* the configuration was checked */
    map_put(&patterns->by_text, bytes_of_text(pattern->text), pattern);
    return pattern;
}

bool pattern_match(struct patterns *patterns, const char *text, struct bytes subject)
{
    return pattern_is_in(pattern_of(patterns, text), subject);
}

void patterns_fini(struct patterns *patterns)
{
    uint32_t at = 0;
    for (struct pattern *pattern; (pattern = map_next(&patterns->by_text, &at)) != NULL;)
        pattern_destroy(pattern);
    map_fini(&patterns->by_text);
}
