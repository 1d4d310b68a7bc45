/* The life of this shard, and questions to those of other nodes.
 *
 * A life holds a lease at Redis that it renews each LEASE_BEAT_MS.  When the server
 * says that it is over, others clean up after it: what it had entered is gone, or
 * soon will be.  So it does not come back; a new life begins and enters
 * everything again.  Entries of two lives are never mixed up, whatever is late.
 *
 * Who beats is also handed a grave now and then: it takes back what that life left,
 * partition by partition.  A claim runs out, so one that dies over it is replaced.
 *
 * A question goes to all with one message; who is to answer stands in the list of
 * lives, which is read before.  Answers come to the asker's own channel.  Who has not
 * answered in time is looked up: one that missed a beat since is taken for dead. */
#include "core/check.h"
#include "core/log.h"
#include "core/mem.h"
#include "storage/redis/peers_parts.h"

#include <inttypes.h>
#include <stdio.h>

#define LEASE_BEAT_MS     3000
#define LEASE_MS          10000
/* A beat that failed is tried again after this. */
#define LEASE_AGAIN_MS    500
#define GRAVE_CLAIM_MS    30000
#define CLEAN_CALLS_MAX   8
/* Entries that one call takes back: some milliseconds of the server at most. */
#define CLEAN_ENTRIES_MAX 512
#define SURVEY_MS         3000
/* Who has not beaten for so long missed the last beat. */
#define SURVEY_DEAD_MS    (LEASE_BEAT_MS + 1500)

/* --- cleaning up after a life ---------------------------------------------------------------- */

struct cleaning {
    struct redis_store *redis;
    char life[LIFE_MAX + 1];
    uint32_t next; /* partition */
    uint32_t calls;
    bool has_failed;
};

struct clean_call {
    struct link_call call;
    struct cleaning *cleaning;
    uint32_t partition;
    bool is_done; /* the last one: the grave is closed */
};

static void cleaning_pump(struct cleaning *cleaning);

static void clean_write(struct link_call *base, struct link *link, struct resp_out *out)
{
    struct clean_call *call = container_of(base, struct clean_call, call);
    struct cleaning *cleaning = call->cleaning;
    if (call->is_done) {
        peers_write_script(link, out, SCRIPT_NODES, 0, "done", 1);
        resp_text(out, cleaning->life);
        return;
    }
    peers_write_script(link, out, SCRIPT_PRESENCE, call->partition, "clean", 3);
    resp_text(out, cleaning->life);
    resp_number(out, CLEAN_ENTRIES_MAX);
    resp_number(out, cleaning->redis->store.env.config->channel_presence_max_clients);
}

static void clean_on_end(struct link_call *base, enum err err, const struct reply *reply)
{
    struct clean_call *call = container_of(base, struct clean_call, call);
    struct cleaning *cleaning = call->cleaning;
    struct redis_peers *peers = cleaning->redis->peers;
    if (err != ERR_OK || reply->type == REPLY_ERROR) cleaning->has_failed = true;
    const struct reply *more = err == ERR_OK ? reply_item(reply, 1) : NULL;
    if (more != NULL && more->type == REPLY_INTEGER && more->integer == 1) {
        redis_call(cleaning->redis, call->partition, base);
        return;
    }
    bool is_done = call->is_done;
    mem_free(call);
    check(cleaning->calls > 0);
    cleaning->calls--;
    bool is_over = cleaning->calls == 0 && (is_done || cleaning->has_failed);
    if (!is_over) {
        cleaning_pump(cleaning);
        return;
    }
    /* One that failed is claimed again later, by whoever beats then. */
    if (!cleaning->has_failed)
        log_info("cleaned up after a node that ended life=%s", cleaning->life);
    peers->cleaning = NULL;
    mem_free(cleaning);
}

static void clean_call(struct cleaning *cleaning, uint32_t partition, bool is_done)
{
    struct clean_call *call = mem_alloc(sizeof *call);
    call->cleaning = cleaning;
    call->partition = partition;
    call->is_done = is_done;
    call->call.write = clean_write;
    call->call.on_end = clean_on_end;
    cleaning->calls++;
    redis_call(cleaning->redis, partition, &call->call);
}

static void cleaning_pump(struct cleaning *cleaning)
{
    uint32_t partitions = cleaning->redis->node->options.partitions;
    if (cleaning->has_failed) return; /* the calls under way end it */
    while (cleaning->next < partitions && cleaning->calls < CLEAN_CALLS_MAX)
        clean_call(cleaning, cleaning->next++, false);
    if (cleaning->next == partitions && cleaning->calls == 0) clean_call(cleaning, 0, true);
}

static void cleaning_begin(struct redis_store *redis, struct bytes life)
{
    struct redis_peers *peers = redis->peers;
    if (peers->cleaning != NULL || life.size == 0 || life.size > LIFE_MAX) return;
    struct cleaning *cleaning = mem_alloc(sizeof *cleaning);
    cleaning->redis = redis;
    memcpy(cleaning->life, life.at, life.size);
    peers->cleaning = cleaning;
    cleaning_pump(cleaning);
}

/* --- the lease ------------------------------------------------------------------------------- */

static void beat_write(struct link_call *base, struct link *link, struct resp_out *out)
{
    struct redis_peers *peers = container_of(base, struct redis_peers, beat_call);
    peers->beat_life = peers->lives;
    peers_write_script(link, out, SCRIPT_NODES, 0, "beat", 6);
    resp_text(out, peers->life);
    resp_text(out, peers->is_alive ? "0" : "1");
    resp_number(out, LEASE_MS);
    resp_number(out, GRAVE_CLAIM_MS);
    resp_text(out, peers->cleaning == NULL ? "1" : "0");
    resp_text(out, peers->replaced);
}

static void graves_take(struct redis_peers *peers, const struct reply *graves)
{
    peers->graves_count = 0;
    for (uint32_t i = 0; graves != NULL && i < graves->count && i < GRAVES_MAX; i++) {
        struct bytes life = reply_text(graves->items[i]);
        if (life.size == 0 || life.size > LIFE_MAX) continue;
        char *grave = peers->graves[peers->graves_count++];
        memcpy(grave, life.at, life.size);
        grave[life.size] = 0;
    }
}

/* A lease that ran out, or one that is not there. */
static void nodes_tell_gone(struct redis_store *redis)
{
    uint64_t away_ms = redis_now_ms(redis) - redis->peers->lived_ms;
    if (away_ms >= LEASE_MS)
        log_warn("this shard could not renew its lease at Redis, and others took it for dead; who "
                 "attends channels is told again away_ms=%" PRIu64,
                 away_ms);
    else
        log_warn("the lease of this shard is gone from Redis before its time: keys were removed, "
                 "as by FLUSHALL, or Redis has other data or another clock than before; who "
                 "attends channels is told again renewed_before_ms=%" PRIu64,
                 away_ms);
}

static void beat_on_end(struct link_call *base, enum err err, const struct reply *reply)
{
    struct redis_peers *peers = container_of(base, struct redis_peers, beat_call);
    struct redis_store *redis = peers->redis;
    peers->is_beating = false;
    if (peers->beat_life != peers->lives) return; /* of the life before */
    if (err == ERR_OK && (reply->type != REPLY_ARRAY || reply->count != 4)) {
        log_error("Redis could not renew a lease: %.*s", (int)min_u64(reply->text.size, 200),
                  (const char *)reply->text.at);
        err = ERR_STORE_DOWN;
    }
    if (err != ERR_OK) return; /* beat_ms is near */
    uint64_t time_ms = 0;
    if (bytes_to_u64(reply_text(reply->items[0]), &time_ms))
        redis_hear_time(redis, time_ms, peers->beat_asked_ms);
    bool is_alive = reply->items[1]->type == REPLY_INTEGER && reply->items[1]->integer == 1;
    graves_take(peers, reply_item(reply, 3)->type == REPLY_ARRAY ? reply->items[3] : NULL);
    peers->replaced[0] = 0;
    cleaning_begin(redis, reply_text(reply->items[2]));
    if (!is_alive) {
        nodes_tell_gone(redis);
        nodes_renew(redis);
        return;
    }
    peers->is_alive = true;
    peers->lived_ms = peers->beat_asked_ms;
    peers->beat_ms = redis_now_ms(redis) + LEASE_BEAT_MS;
    /* Several at once: the fleet has just restarted. */
    if (peers->graves_count > 0 && peers->cleaning == NULL)
        peers->beat_ms = redis_now_ms(redis) + LEASE_AGAIN_MS;
}

void nodes_renew(struct redis_store *redis)
{
    struct redis_peers *peers = redis->peers;
    bool is_first = peers->lives == 0;
    memcpy(peers->replaced, peers->life, sizeof peers->replaced);
    int used = snprintf(peers->life, sizeof peers->life, "%s.%u", peers->box, ++peers->lives);
    check(used > 0 && (size_t)used < sizeof peers->life);
    peers->is_alive = false;
    peers->beat_ms = redis_now_ms(redis);
    if (!is_first) presence_enter_again(redis);
}

struct bye_call {
    struct link_call call;
    struct redis_store *redis;
};

static void bye_write(struct link_call *base, struct link *link, struct resp_out *out)
{
    const struct redis_store *redis = container_of(base, struct bye_call, call)->redis;
    peers_write_script(link, out, SCRIPT_NODES, 0, "bye", 1);
    resp_text(out, redis->peers->life);
}

/* Unheard, it is found out by the end of the lease. */
static void bye_on_end(struct link_call *base, enum err err, const struct reply *reply)
{
    (void)err, (void)reply;
    struct bye_call *call = container_of(base, struct bye_call, call);
    call->redis->pending--;
    mem_free(call);
}

void redis_goodbye(struct store *store)
{
    struct redis_store *redis = redis_of(store);
    if (redis->peers->is_leaving || !redis->peers->is_alive) return;
    redis->peers->is_leaving = true;
    struct bye_call *call = mem_alloc(sizeof *call);
    call->redis = redis;
    call->call.write = bye_write;
    call->call.on_end = bye_on_end;
    redis->pending++;
    redis_call(redis, 0, &call->call);
}

/* --- questions ------------------------------------------------------------------------------- */

struct survey_run {
    struct link_call call;
    struct redis_store *redis;
    struct store_survey *op;
    char (*boxes)[BOX_SIZE + 1]; /* who has not answered; "": has */
    uint32_t boxes_count, left;
    bool is_listing; /* the lives are asked for: whom to ask, and, too late, who is there */
};

static void survey_end(struct survey_run *run, enum err err)
{
    struct store_survey *op = run->op;
    check(!run->is_listing);
    list_remove(&op->link);
    run->redis->pending--;
    mem_free(run->boxes);
    mem_free(run);
    op->engine = NULL;
    op->on_end(op, err);
}

static void lives_write(struct link_call *base, struct link *link, struct resp_out *out)
{
    (void)base;
    peers_write_script(link, out, SCRIPT_NODES, 0, "lives", 0);
}

/* { now, { life, beat … } } */
static enum err lives_read(const struct reply *reply, uint64_t *now_ms, const struct reply **lives)
{
    *lives = reply_item(reply, 1);
    bool is_good = *lives != NULL && (*lives)->type == REPLY_ARRAY && (*lives)->count % 2 == 0 &&
                   bytes_to_u64(reply_text(reply->items[0]), now_ms);
    return is_good ? ERR_OK : ERR_STORE_DOWN;
}

/* Every shard of every other node. */
static void boxes_take(struct survey_run *run, const struct reply *lives)
{
    run->boxes = mem_alloc((lives->count / 2 + (size_t)1) * sizeof *run->boxes);
    for (uint32_t i = 0; i < lives->count; i += 2) {
        struct bytes life = reply_text(lives->items[i]);
        bool is_own = life.size > REDIS_BOOT_SIZE &&
                      memcmp(life.at, run->redis->node->letters, REDIS_BOOT_SIZE) == 0;
        if (life.size <= BOX_SIZE || is_own) continue;
        memcpy(run->boxes[run->boxes_count++], life.at, BOX_SIZE);
    }
    run->left = run->boxes_count;
}

static void survey_ask(struct survey_run *run)
{
    char head[64];
    int used = snprintf(head, sizeof head, "%s %llu\n", run->redis->peers->box,
                        (unsigned long long)run->op->id);
    check(used > 0 && (size_t)used < sizeof head);
    peers_publish(run->redis, "all", "", bytes_of(head, (size_t)used), run->op->question);
}

/* True when everyone who has not answered is dead, or said goodbye. */
static bool survey_is_whole(const struct survey_run *run, uint64_t now_ms,
                            const struct reply *lives)
{
    for (uint32_t i = 0; i < lives->count; i += 2) {
        struct bytes life = reply_text(lives->items[i]);
        uint64_t beat_ms = 0;
        bool is_beating = bytes_to_u64(reply_text(lives->items[i + 1]), &beat_ms) &&
                          beat_ms + SURVEY_DEAD_MS >= now_ms;
        for (uint32_t at = 0; is_beating && at < run->boxes_count; at++)
            if (life.size > BOX_SIZE && memcmp(life.at, run->boxes[at], BOX_SIZE) == 0)
                return false;
    }
    return true;
}

static void lives_on_end(struct link_call *base, enum err err, const struct reply *reply)
{
    struct survey_run *run = container_of(base, struct survey_run, call);
    const struct reply *lives = NULL;
    uint64_t now_ms = 0;
    run->is_listing = false;
    if (err == ERR_OK) err = lives_read(reply, &now_ms, &lives);
    if (err == ERR_STORE_UNKNOWN) err = ERR_STORE_DOWN;
    if (err == ERR_OK && run->boxes != NULL) {
        survey_end(run, survey_is_whole(run, now_ms, lives) ? ERR_OK : ERR_PEER_SILENT);
        return;
    }
    if (err == ERR_OK) boxes_take(run, lives);
    if (err != ERR_OK || run->left == 0)
        survey_end(run, err);
    else
        survey_ask(run);
}

static void lives_call(struct survey_run *run)
{
    run->is_listing = true;
    run->call.write = lives_write;
    run->call.on_end = lives_on_end;
    redis_call(run->redis, 0, &run->call);
}

void redis_survey(struct store *store, struct store_survey *op)
{
    struct redis_store *redis = redis_of(store);
    check(op->on_part != NULL && op->on_end != NULL);
    struct survey_run *run = mem_alloc(sizeof *run);
    run->redis = redis;
    run->op = op;
    op->engine = run;
    op->id = ++redis->peers->survey_last;
    op->due_ms = redis_now_ms(redis) + SURVEY_MS;
    list_append(&redis->peers->surveys, &op->link);
    redis->pending++;
    lives_call(run);
}

void redis_answer(struct store *store, const struct store_asker *asker, struct bytes answer)
{
    struct redis_store *redis = redis_of(store);
    char head[64];
    int used =
        snprintf(head, sizeof head, "%s %llu\n", redis->peers->box, (unsigned long long)asker->id);
    check(used > 0 && (size_t)used < sizeof head);
    peers_publish(redis, "box:", asker->box, bytes_of(head, (size_t)used), answer);
}

static void answer_take(struct redis_store *redis, const char *box, uint64_t id, struct bytes text)
{
    list_each (node, &redis->peers->surveys) {
        struct store_survey *op = container_of(node, struct store_survey, link);
        struct survey_run *run = op->engine;
        if (op->id != id || run->boxes == NULL) continue;
        for (uint32_t i = 0; i < run->boxes_count; i++) {
            if (strcmp(run->boxes[i], box) != 0) continue;
            run->boxes[i][0] = 0;
            op->on_part(op, text);
            if (--run->left == 0 && !run->is_listing) survey_end(run, ERR_OK);
            return;
        }
    }
}

void nodes_take(struct redis_store *redis, bool is_all, struct bytes message)
{
    const struct store_peer_sink *sink = peers_sink(redis);
    struct store_asker asker = {.id = 0};
    const uint8_t *end = message.size == 0 ? NULL : memchr(message.at, '\n', message.size);
    if (end == NULL || end < message.at + BOX_SIZE + 2) return;
    size_t number = (size_t)(end - message.at) - BOX_SIZE - 1;
    if (!bytes_to_u64(bytes_of(message.at + BOX_SIZE + 1, number), &asker.id)) return;
    memcpy(asker.box, message.at, BOX_SIZE);
    struct bytes text = bytes_of(end + 1, message.size - (size_t)(end + 1 - message.at));
    if (!is_all) {
        answer_take(redis, asker.box, asker.id, text);
        return;
    }
    bool is_own_node = memcmp(asker.box, redis->node->letters, REDIS_BOOT_SIZE) == 0;
    if (is_own_node || sink == NULL) return;
    sink->on_question(redis->store.env.sink.context, &asker, text);
}

/* --- the tick -------------------------------------------------------------------------------- */

void nodes_tick(struct redis_store *redis, uint64_t now_ms)
{
    struct redis_peers *peers = redis->peers;
    /* Who has a lease is asked, so a life begins when it hears. */
    bool may_beat = peers->is_alive || (peers->all.is_on && peers->mail.is_on);
    if (may_beat && !peers->is_beating && !peers->is_leaving && now_ms >= peers->beat_ms) {
        peers->is_beating = true;
        peers->beat_ms = now_ms + LEASE_AGAIN_MS;
        peers->beat_asked_ms = now_ms;
        peers->beat_call.write = beat_write;
        peers->beat_call.on_end = beat_on_end;
        redis_call(redis, 0, &peers->beat_call);
    }
    list_each (node, &peers->surveys) {
        struct store_survey *op = container_of(node, struct store_survey, link);
        struct survey_run *run = op->engine;
        if (now_ms >= op->due_ms && !run->is_listing) lives_call(run);
    }
}

/* Every call has ended. */
void nodes_fini(struct redis_store *redis)
{
    struct redis_peers *peers = redis->peers;
    check(list_is_empty(&peers->surveys));
    check(!peers->is_beating && peers->cleaning == NULL);
}
