/* The words are those that Redis' own errors begin with. */
#include "storage/redis/refusal.h"

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
};

enum refusal refusal_of(const struct reply *reply)
{
    if (reply->type != REPLY_ERROR) return REFUSAL_NONE;
    bool is_in_script = reply_is_error(reply, "NOPERM") &&
                        memmem(reply->text.at, reply->text.size, " script: ", 9) != NULL;
    for (uint32_t i = 0; i < array_count(words) && !is_in_script; i++) {
        if (reply_is_error(reply, words[i].word)) return words[i].refusal;
    }
    return REFUSAL_NONE;
}
