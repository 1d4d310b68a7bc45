/* Damage is met again and again: by each reader of history, each second by the sweep.  So
 * what was told stays untold for a minute. */
#include "storage/redis/damage.h"

#include "core/hash.h"
#include "core/log.h"
#include "storage/redis/redis.h"

static const struct {
    const char *key; /* kind of the key; NULL: the partition's meta hash, or none */
    const char *what, *remedy;
} kinds[] = {
    [DAMAGE_ENTRY] =
        {"s:",
         "a publication is damaged, or sealed with a key that is not here, and is passed over",
         "give this node the key, or end the gap for readers with history_remove"},
    [DAMAGE_LIVE] =
        {NULL,
         "a live publication is damaged, or sealed with a key that is not here, and is passed over",
         "give every node the same storage.key and storage.previous_keys"},
    [DAMAGE_HOLE] = {"s:", "publications are missing from the middle of a stream",
                     "end the gap for readers with history_remove"},
    [DAMAGE_MEMBER] = {"m:", "an entry of the member list is damaged and is passed over",
                       "set the members again"},
    [DAMAGE_META] =
        {NULL, "what the meta hash says of a channel is damaged, which stops the channel",
         "HDEL from the key the field of that name and the one without a name, which ends "
         "the epoch"},
    [DAMAGE_TYPE] =
        {"s:",
         "a key of a channel, its stream most likely, has another type, which stops the channel",
         "ask TYPE which of its keys is no stream (s:), hash (m:), list (w:) or string (k:), and "
         "RENAME that one"},
};

/* Whether it is to be told now. */
static bool line_take(struct redis_damage *damage, uint64_t hash, uint64_t now_ms)
{
    struct damage_line *oldest = &damage->lines[0];
    for (uint32_t i = 0; i < DAMAGE_LINES; i++) {
        struct damage_line *line = &damage->lines[i];
        bool is_fresh = line->told_ms > 0 && now_ms - line->told_ms < DAMAGE_RED_MS;
        if (is_fresh && line->hash == hash) return false;
        if (line->told_ms < oldest->told_ms) oldest = line;
    }
    if (oldest->told_ms > 0 && now_ms - oldest->told_ms < DAMAGE_RED_MS) return false;
    *oldest = (struct damage_line){hash, now_ms};
    return true;
}

void damage_note(struct redis_store *redis, enum damage_kind kind, struct bytes channel,
                 uint64_t number)
{
    char name[256], key[REDIS_KEY_MAX], quoted[512];
    uint64_t now_ms = max_u64(1, redis_now_ms(redis));
    uint32_t partition = redis_partition_of(redis, channel);
    redis->damage.met_ms = now_ms;
    metric_add(redis->store.env.metrics, METRIC_STORE_ERRORS, 1);
    uint64_t hash = hash_bytes(channel, ((uint64_t)kind << 56) ^ number);
    if (!line_take(&redis->damage, hash, now_ms)) return;
    struct bytes at = kinds[kind].key == NULL
                          ? redis_key(redis, key, partition, "meta", BYTES_NONE)
                          : redis_key(redis, key, partition, kinds[kind].key, channel);
    if (kind == DAMAGE_LIVE) at = BYTES_NONE;
    log_error("in Redis %s; %s channel=%s key=%s offset=%llu", kinds[kind].what, kinds[kind].remedy,
              log_quote(name, sizeof name, channel.at, channel.size),
              log_quote(quoted, sizeof quoted, at.at, at.size), (unsigned long long)number);
}

/* The script says its reason first where it has changed nothing (lua/records.lua), and Redis
 * may put a word before it. */
static bool says(const struct reply *reply, const char *word)
{
    static const char before[] = "ERR ";
    struct bytes text = reply->text;
    bool is_behind = text.size >= strlen(before) && memcmp(text.at, before, strlen(before)) == 0;
    if (is_behind) text = bytes_of(text.at + strlen(before), text.size - strlen(before));
    return reply->type == REPLY_ERROR && text.size > strlen(word) &&
           memcmp(text.at, word, strlen(word)) == 0;
}

bool damage_is_told(const struct reply *reply)
{
    return says(reply, "DAMAGED ") || says(reply, "WRONGTYPE ");
}

bool damage_refused(struct redis_store *redis, struct bytes channel, const struct reply *reply)
{
    if (!damage_is_told(reply)) return false;
    damage_note(redis, says(reply, "DAMAGED ") ? DAMAGE_META : DAMAGE_TYPE, channel, 0);
    return true;
}

const char *damage_problem(const struct redis_store *redis)
{
    const struct redis_damage *damage = &redis->damage;
    bool is_recent = damage->met_ms > 0 && redis_now_ms(redis) - damage->met_ms < DAMAGE_RED_MS;
    return is_recent ? "something in Redis cannot be read; the log names its key" : NULL;
}
