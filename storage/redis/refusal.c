/* The words are those that Redis' own errors begin with. */
#include "storage/redis/refusal.h"

#include <stdio.h>

static const struct {
    const char *word;
    enum refusal refusal;
} words[] = {
    {"NOSCRIPT", REFUSAL_STALE},     {"LINEAGE", REFUSAL_STALE},
    {"MOVED", REFUSAL_ELSEWHERE},    {"ASK", REFUSAL_ELSEWHERE},
    {"TRYAGAIN", REFUSAL_ELSEWHERE}, {"CLUSTERDOWN", REFUSAL_ELSEWHERE},
    {"LOADING", REFUSAL_LINK},       {"READONLY", REFUSAL_LINK},
    {"MASTERDOWN", REFUSAL_LINK},    {"NOAUTH", REFUSAL_LINK},
    {"BUSY", REFUSAL_CALL},          {"MISCONF", REFUSAL_CALL},
    {"OOM", REFUSAL_CALL},           {"NOREPLICAS", REFUSAL_CALL},
    {"NOPERM", REFUSAL_CALL},        {"PARTITIONS", REFUSAL_CALL},
    {"REFUSED", REFUSAL_CALL},
};

/* Where Redis' words end and it says in which script, or NULL. */
static const uint8_t *script_in(struct bytes text)
{
    return memmem(text.at, text.size, " script: ", 9);
}

bool refusal_is_of_script(const struct reply *reply)
{
    return reply->type == REPLY_ERROR && script_in(reply->text) != NULL;
}

void refusal_write(const char *place, struct bytes text, char *to, size_t size)
{
    static const char ours[] = "REFUSED ";
    const uint8_t *script = script_in(text);
    if (script != NULL) text.size = (size_t)(script - text.at);
    bool is_ours = text.size > sizeof ours - 1 && memcmp(text.at, ours, sizeof ours - 1) == 0;
    if (is_ours) text = bytes_of(text.at + sizeof ours - 1, text.size - (sizeof ours - 1));
    snprintf(to, size, "Redis at %s refuses: %.*s", place, (int)min_u64(text.size, 160),
             (const char *)text.at);
}

enum refusal refusal_of(const struct reply *reply)
{
    if (reply->type != REPLY_ERROR) return REFUSAL_NONE;
    bool is_in_script = reply_is_error(reply, "NOPERM") && refusal_is_of_script(reply);
    for (uint32_t i = 0; i < array_count(words) && !is_in_script; i++) {
        if (reply_is_error(reply, words[i].word)) return words[i].refusal;
    }
    return REFUSAL_NONE;
}
