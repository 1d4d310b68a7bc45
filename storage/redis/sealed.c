/* The time is the server's, like that of everything that is kept. */
#include "storage/redis/sealed.h"

#include <stdio.h>

#include "core/check.h"
#include "storage/redis/ask.h"

/* Said again after this, while something is sealed. */
#define SAY_MS 60000

static void key_write(const struct redis_options *options, struct resp_out *out)
{
    resp_pair(out, bytes_of_text(options->prefix), BYTES_LITERAL(":{p0}:sealed"));
}

/* --- at the start ---------------------------------------------------------------------------- */

struct sealed_answer {
    const struct redis_node *node;
    char problem[HELLO_PROBLEM_MAX];
};

static void check_write(const struct redis_options *options, struct resp_out *out)
{
    resp_begin(out, 5);
    resp_text(out, "ZRANGE");
    key_write(options, out);
    resp_text(out, "0");
    resp_text(out, "-1");
    resp_text(out, "WITHSCORES");
}

static enum err check_take(void *context, const struct redis_place *asked,
                           const struct reply *reply)
{
    struct sealed_answer *answer = context;
    const struct keyring *keyring = &answer->node->keyring;
    for (uint32_t i = 0; reply->type == REPLY_ARRAY && i + 1 < reply->count; i += 2) {
        struct bytes id = reply_text(reply->items[i]);
        uint64_t until_ms = 0;
        bool is_number = bytes_to_u64(reply_text(reply->items[i + 1]), &until_ms);
        bool is_over = is_number && until_ms <= answer->node->server.time_ms;
        if (is_over || id.size != SEAL_ID || keyring_find(keyring, id) != NULL) continue;
        snprintf(answer->problem, sizeof answer->problem,
                 "Redis at %s holds publications that are sealed with a key that is not "
                 "configured; give every node that one as storage.key, or in "
                 "storage.previous_keys beside the new one key_id=%.*s configured=%u "
                 "first_key_id=%s",
                 asked->text, (int)id.size, (const char *)id.at, keyring->count,
                 keyring->count > 0 ? keyring->keys[0].id : "(none)");
        return ERR_DENIED;
    }
    return reply->type == REPLY_ARRAY ? ERR_OK : ERR_STORE_DOWN;
}

enum err sealed_check(struct redis_node *node, char problem[HELLO_PROBLEM_MAX])
{
    struct sealed_answer answer = {.node = node};
    struct ask_question question = {LINK_COMMANDS, check_write, check_take, &answer, true};
    enum err err = ask_question(&node->options, &node->witness, &question, problem);
    if (answer.problem[0] != 0) memcpy(problem, answer.problem, HELLO_PROBLEM_MAX);
    return err;
}

/* --- while it runs --------------------------------------------------------------------------- */

static void say_write(struct link_call *call, struct link *link, struct resp_out *out)
{
    const struct redis_store *redis = container_of(call, struct redis_store, sealed_call);
    resp_begin(out, 5);
    resp_text(out, "ZADD");
    key_write(link->options, out);
    resp_text(out, "GT");
    resp_number(out, store_now_ms(&redis->store) + redis_seals_life_ms(&redis->seals));
    resp_bytes(out, bytes_of(redis->seals.value, SEAL_ID));
}

static void say_on_end(struct link_call *call, enum err err, const struct reply *reply)
{
    struct redis_store *redis = container_of(call, struct redis_store, sealed_call);
    redis->is_sealed_calling = false;
    bool is_said = err == ERR_OK && reply->type == REPLY_INTEGER;
    if (is_said) return;
    redis->seals.is_used = true;
    redis->sealed_due_ms = redis_now_ms(redis) + 1000;
}

void sealed_submit(struct redis_store *redis)
{
    struct redis_seals *seals = &redis->seals;
    uint64_t now_ms = redis_now_ms(redis);
    if (!seals->is_used || redis->is_sealed_calling || now_ms < redis->sealed_due_ms) return;
    check(seals->kept.gcm != NULL);
    seals->is_used = false; /* until the next one is */
    redis->sealed_due_ms = now_ms + SAY_MS;
    redis->is_sealed_calling = true;
    redis->sealed_call =
        (struct link_call){.is_single = true, .write = say_write, .on_end = say_on_end};
    redis_call(redis, 0, &redis->sealed_call);
}
