/* Every address is asked until enough of them answered or the time is over: a
 * start during a fail-over waits for its end. */
#include "storage/redis/find.h"

#include <poll.h>
#include <stdio.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/mem.h"
#include "storage/redis/ask.h"
#include "storage/redis/sentinel.h"
#include "storage/redis/slots.h"

#define REDIS_PORT    6379
#define SENTINEL_PORT 26379

static enum err seeds_read(struct redis_node *node, char problem[HELLO_PROBLEM_MAX])
{
    const struct config *config = node->config;
    const struct config_texts *texts = &config->redis_addresses;
    bool is_sentinel = node->options.mode == CONFIG_REDIS_SENTINEL;
    node->seeds_count = texts->count == 0 ? 1 : texts->count;
    check(node->seeds_count <= CONFIG_REDIS_ADDRESSES_MAX);
    for (uint32_t i = 0; i < node->seeds_count; i++) {
        const char *text = texts->count == 0 ? config->redis_address : texts->items[i];
        enum err err = place_parse(text, is_sentinel ? SENTINEL_PORT : REDIS_PORT, &node->seeds[i]);
        if (err == ERR_OK) continue;
        snprintf(problem, HELLO_PROBLEM_MAX,
                 "%s cannot be used; write host:port of a server that can be found address=\"%s\"",
                 texts->count == 0 ? "redis.address" : "redis.addresses", node->seeds[i].text);
        return err;
    }
    return ERR_OK;
}

/* --- Sentinels ------------------------------------------------------------------------------- */

static enum err take_primary(void *context, const struct redis_place *asked,
                             const struct reply *reply)
{
    struct redis_node *node = context;
    struct redis_place place;
    uint64_t epoch;
    TRY(sentinel_read(reply, asked, &place, &epoch));
    if (node->place.address.size > 0 && epoch <= node->epoch) return ERR_OK;
    node->place = place;
    node->epoch = epoch;
    return ERR_OK;
}

static enum err find_primary(struct redis_node *node, char problem[HELLO_PROBLEM_MAX])
{
    struct ask_question question = {LINK_SENTINEL, sentinel_write, take_primary, node, false};
    const struct redis_options *options = &node->options;
    enum err err = ERR_STORE_DOWN;
    node->place = (struct redis_place){0};
    for (uint32_t i = 0; i < node->seeds_count; i++) {
        char one[HELLO_PROBLEM_MAX];
        err = ask_question(options, &node->seeds[i], &question, one);
        if (err == ERR_OK) continue;
        memcpy(problem, one, HELLO_PROBLEM_MAX);
        if (err == ERR_NOT_FOUND)
            snprintf(problem, HELLO_PROBLEM_MAX,
                     "the Sentinel at %s watches no primary called '%.100s'; set "
                     "redis.sentinel_master to what it is called there",
                     node->seeds[i].text, options->sentinel_master);
        if (err == ERR_STORE_CORRUPT)
            snprintf(problem, HELLO_PROBLEM_MAX,
                     "the Sentinel at %s names no address in digits for '%.100s'; announce one",
                     node->seeds[i].text, options->sentinel_master);
    }
    if (node->place.address.size == 0) return err;
    return ask_hello(options, &node->place, 0, &node->server, problem);
}

/* --- the number of partitions ---------------------------------------------------------------- */

static void partitions_write(const struct redis_options *options, struct resp_out *out)
{
    hello_ask_partitions(options, out);
}

struct partitions_answer {
    const struct redis_options *options;
    char problem[HELLO_PROBLEM_MAX];
};

static enum err partitions_take(void *context, const struct redis_place *asked,
                                const struct reply *reply)
{
    struct partitions_answer *answer = context;
    return hello_hear_partitions(answer->options, asked, reply, answer->problem);
}

static void witness_write(const struct redis_options *options, struct resp_out *out)
{
    hello_ask_witness(options, out);
}

static enum err witness_take(void *context, const struct redis_place *asked,
                             const struct reply *reply)
{
    struct partitions_answer *answer = context;
    return hello_hear_witness(answer->options, asked, reply, answer->problem);
}

/* A hello passes over a key that is elsewhere (hello.c); a slot on the move has it where only
 * ASK leads to. */
static enum err witness_ask(struct redis_node *node, char problem[HELLO_PROBLEM_MAX])
{
    struct partitions_answer answer = {.options = &node->options};
    struct ask_question question = {LINK_COMMANDS, witness_write, witness_take, &answer, true};
    enum err err = ask_question(&node->options, &node->witness, &question, problem);
    if (answer.problem[0] != 0) memcpy(problem, answer.problem, HELLO_PROBLEM_MAX);
    return err;
}

/* Everything that could speak against our number was asked before. */
static enum err partitions_fix(struct redis_node *node, char problem[HELLO_PROBLEM_MAX])
{
    struct partitions_answer answer = {.options = &node->options};
    if (node->options.mode != CONFIG_REDIS_CLUSTER) node->witness = node->place;
    struct ask_question question = {LINK_COMMANDS, partitions_write, partitions_take, &answer,
                                    true};
    enum err err = ask_question(&node->options, &node->place, &question, problem);
    if (answer.problem[0] != 0) memcpy(problem, answer.problem, HELLO_PROBLEM_MAX);
    return err;
}

/* --- a Cluster ------------------------------------------------------------------------------- */

static void write_nodes(const struct redis_options *options, struct resp_out *out)
{
    (void)options;
    resp_begin(out, 2);
    resp_text(out, "CLUSTER");
    resp_text(out, "NODES");
}

static enum err take_view(void *context, const struct redis_place *asked, const struct reply *reply)
{
    struct redis_node *node = context;
    if (reply->type == REPLY_ERROR) return ERR_UNSUPPORTED;
    return slots_view_read(reply_text(reply), asked, node->view);
}

static const struct slots_primary *owner_of(const struct redis_node *node, const char *rest)
{
    char key[256];
    int size = snprintf(key, sizeof key, "%s:%s", node->options.prefix, rest);
    check(size > 0 && (size_t)size < sizeof key);
    return slots_view_owner(node->view, slots_of(bytes_of(key, (size_t)size)));
}

/* Who holds the number of partitions; before that whoever else knows it (hello.c). */
static enum err owners_ask(struct redis_node *node, const struct redis_place *seed,
                           char problem[HELLO_PROBLEM_MAX])
{
    const struct slots_primary *owner = owner_of(node, "partitions");
    const struct slots_primary *witness = owner_of(node, "{p0}:meta");
    struct hello_server said;
    if (owner == NULL || witness == NULL) {
        snprintf(
            problem, HELLO_PROBLEM_MAX,
            "Redis at %s knows nobody who holds some of the slots; the Cluster is not complete",
            seed->text);
        return ERR_STORE_DOWN;
    }
    node->place = owner->place;
    node->witness = witness->place;
    if (witness != owner) TRY(ask_hello(&node->options, &witness->place, 0, &said, problem));
    TRY(ask_hello(&node->options, &node->place, 0, &node->server, problem));
    return witness_ask(node, problem);
}

static enum err view_ask(struct redis_node *node, const struct redis_place *seed,
                         char problem[HELLO_PROBLEM_MAX])
{
    struct ask_question question = {LINK_SEED, write_nodes, take_view, node, false};
    enum err err = ask_question(&node->options, seed, &question, problem);
    if (err == ERR_UNSUPPORTED)
        snprintf(problem, HELLO_PROBLEM_MAX,
                 "the server at %s belongs to no Redis Cluster; set redis.mode to standalone or "
                 "sentinel",
                 seed->text);
    if (err == ERR_STORE_CORRUPT || err == ERR_LIMIT_MEMORY)
        snprintf(problem, HELLO_PROBLEM_MAX,
                 "what Redis at %s says of its Cluster cannot be used: more than %u primaries, or "
                 "no addresses in digits",
                 seed->text, (unsigned)SLOTS_PRIMARIES_MAX);
    return err == ERR_OK ? owners_ask(node, seed, problem) : err;
}

static enum err find_cluster(struct redis_node *node, char problem[HELLO_PROBLEM_MAX])
{
    enum err err = ERR_STORE_DOWN;
    if (node->view == NULL) node->view = mem_alloc(sizeof *node->view);
    for (uint32_t i = 0; i < node->seeds_count && err == ERR_STORE_DOWN; i++)
        err = view_ask(node, &node->seeds[i], problem);
    return err;
}

/* --- */

enum err find_servers(struct redis_node *node, char problem[HELLO_PROBLEM_MAX])
{
    uint64_t patience_ms = node->options.connect_timeout_ms;
    uint64_t due_ms = clock_mono_ns() / 1000000u + patience_ms;
    TRY(seeds_read(node, problem));
    if (node->options.mode == CONFIG_REDIS_STANDALONE) {
        node->place = node->seeds[0];
        TRY(ask_hello(&node->options, &node->place, patience_ms, &node->server, problem));
        return partitions_fix(node, problem);
    }
    for (;;) {
        bool is_cluster = node->options.mode == CONFIG_REDIS_CLUSTER;
        enum err err = is_cluster ? find_cluster(node, problem) : find_primary(node, problem);
        if (err == ERR_OK) err = partitions_fix(node, problem);
        bool is_over = clock_mono_ns() / 1000000u >= due_ms;
        if (err != ERR_STORE_DOWN || is_over) return err;
        poll(NULL, 0, ASK_PAUSE_MS);
    }
}
