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

static struct pattern *pattern_of(struct patterns *patterns, const char *text)
{
    struct bytes key = bytes_of_text(text);
    struct pattern *pattern = map_find(&patterns->by_text, key);
    if (pattern != NULL) return pattern;
    pattern = mem_alloc(sizeof *pattern);
    int error = regcomp(&pattern->regex, text, REG_EXTENDED | REG_NOSUB);
    check(error == 0); /* the configuration was checked */
    pattern->text = mem_text(text, key.size);
    map_put(&patterns->by_text, bytes_of_text(pattern->text), pattern);
    return pattern;
}

bool pattern_match(struct patterns *patterns, const char *text, struct bytes subject)
{
    char copy[PATTERN_TEXT_MAX + 1];
    if (subject.size > PATTERN_TEXT_MAX) return false;
    if (subject.size > 0) memcpy(copy, subject.at, subject.size);
    copy[subject.size] = '\0';
    if (strlen(copy) != subject.size) return false;
    return regexec(&pattern_of(patterns, text)->regex, copy, 0, NULL, 0) == 0;
}

void patterns_fini(struct patterns *patterns)
{
    uint32_t at = 0;
    for (struct pattern *pattern; (pattern = map_next(&patterns->by_text, &at)) != NULL;) {
        regfree(&pattern->regex);
        mem_free(pattern->text);
        mem_free(pattern);
    }
    map_fini(&patterns->by_text);
}
