/*
 * events: read_cursor_events through a consumer group.
 *
 * One command is under way at a time.  Own entries, those read in another life or
 * taken over, are read from the beginning of the group's pending list as often as some
 * are left; only then come fresh ones, for which Redis waits a second.
 */
#include "storage/events.h"

#include <stdio.h>

#include "core/check.h"
#include "core/log.h"
#include "core/mem.h"
#include "storage/redis/link.h"

#define STREAM        "read_cursor_events"
#define GROUP         "sluice"
/* How long Redis waits for something fresh; below redis.io_timeout, also for ACKs' sake. */
#define BLOCK_MS      1000
/* Before entries that could not be done now are tried again. */
#define AGAIN_MS      1000
#define CLAIM_EACH_MS 30000
#define CLAIM_IDLE_MS 60000
#define CLAIM_COUNT   1000
#define ID_MAX        42 /* two numbers of 64 bits */
#define CONSUMER_MAX  64
#define UPDATES_PORT  6379
#define CALL_WAIT_MS  60000

enum events_ask { ASK_GROUP, ASK_OWN, ASK_CLAIM, ASK_FRESH, ASK_ACK };

struct entry {
    char id[ID_MAX];
    bool is_under_way, is_done;
};

struct events {
    struct events_env env;
    struct redis_options options;
    struct redis_place place;
    struct links links;
    struct link link;
    struct link_call call;
    struct timer timer;
    enum events_ask ask; /* under way, or next */
    bool is_asking;
    bool is_stopped;
    bool is_own;   /* the batch is of entries that were read before */
    bool has_left; /* something of the batch was not to be done now */
    bool has_said; /* the reason for a refusal stands in the log */
    uint64_t claim_ms;
    char consumer[CONSUMER_MAX + 1];
    struct entry entries[EVENTS_BATCH_MAX];
    uint32_t count, left; /* of the batch; of them, those under way */
};

static void ask_next(struct events *events, enum events_ask ask);

static uint64_t now_ms(const struct events *events)
{
    return clock_turn_ms(events->env.clock);
}

/* --- asking ---------------------------------------------------------------------------------- */

static void write_words(struct resp_out *out, const char *const *words, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) resp_text(out, words[i]);
}

static void write_read(const struct events *events, bool is_fresh, struct resp_out *out)
{
    const char *const head[] = {"XREADGROUP", "GROUP", GROUP, events->consumer, "COUNT"};
    resp_begin(out, is_fresh ? 11 : 9);
    write_words(out, head, array_count(head));
    resp_number(out, EVENTS_BATCH_MAX);
    if (is_fresh) {
        resp_text(out, "BLOCK");
        resp_number(out, min_u64(BLOCK_MS, events->options.io_timeout_ms / 2 + 1));
    }
    const char *const tail[] = {"STREAMS", STREAM, is_fresh ? ">" : "0"};
    write_words(out, tail, array_count(tail));
}

static void write_claim(const struct events *events, struct resp_out *out)
{
    const char *const head[] = {"XAUTOCLAIM", STREAM, GROUP, events->consumer};
    resp_begin(out, 9);
    write_words(out, head, array_count(head));
    resp_number(out, CLAIM_IDLE_MS);
    resp_text(out, "0");
    resp_text(out, "COUNT");
    resp_number(out, CLAIM_COUNT);
    resp_text(out, "JUSTID");
}

static void write_ack(const struct events *events, struct resp_out *out)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < events->count; i++) count += events->entries[i].is_done;
    check(count > 0);
    resp_begin(out, 3 + count);
    const char *const head[] = {"XACK", STREAM, GROUP};
    write_words(out, head, array_count(head));
    for (uint32_t i = 0; i < events->count; i++)
        if (events->entries[i].is_done) resp_text(out, events->entries[i].id);
}

static void events_write(struct link_call *call, struct link *link, struct resp_out *out)
{
    (void)link;
    const struct events *events = container_of(call, struct events, call);
    static const char *const create[] = {"XGROUP", "CREATE", STREAM, GROUP, "0", "MKSTREAM"};
    switch (events->ask) {
    case ASK_GROUP:
        resp_begin(out, array_count(create));
        write_words(out, create, array_count(create));
        return;
    case ASK_OWN: write_read(events, false, out); return;
    case ASK_FRESH: write_read(events, true, out); return;
    case ASK_CLAIM: write_claim(events, out); return;
    case ASK_ACK: write_ack(events, out); return;
    }
    impossible("every question has its command");
}

/* --- the batch ------------------------------------------------------------------------------- */

/* What is damaged stays so, and would keep all that comes behind it waiting. */
static bool is_for_later(enum err err)
{
    enum err_class class = err_class_of(err);
    if (err == ERR_STORE_CORRUPT) return false;
    return err == ERR_LIMIT_MEMORY || class == ERR_CLASS_BUSY || class == ERR_CLASS_STORE ||
           class == ERR_CLASS_WORLD;
}

static void on_timer(struct timer *timer)
{
    struct events *events = container_of(timer, struct events, timer);
    ask_next(events, events->ask);
}

static void ask_later(struct events *events, enum events_ask ask, uint64_t wait_ms)
{
    events->ask = ask;
    wheel_arm(events->env.wheel, &events->timer, now_ms(events) + wait_ms, on_timer);
}

/* Every entry of the batch has its answer. */
static void batch_end(struct events *events)
{
    check(events->left == 0);
    for (uint32_t i = 0; i < events->count; i++)
        if (events->entries[i].is_done) {
            ask_next(events, ASK_ACK);
            return;
        }
    ask_later(events, ASK_OWN, AGAIN_MS);
}

bool events_done(struct events *events, uint32_t slot, enum err err)
{
    check(slot < events->count && events->left > 0);
    struct entry *entry = &events->entries[slot];
    check(entry->is_under_way);
    entry->is_under_way = false;
    entry->is_done = !is_for_later(err);
    bool is_done = entry->is_done;
    events->has_left = events->has_left || !is_done;
    if (--events->left == 0) batch_end(events);
    return is_done;
}

static void event_read(const struct reply *fields, struct event *event)
{
    *event = (struct event){.is_whole = false};
    bool has_seq = false;
    for (uint32_t i = 0; fields->type == REPLY_ARRAY && i + 1 < fields->count; i += 2) {
        struct bytes name = reply_text(fields->items[i]), value = reply_text(fields->items[i + 1]);
        if (bytes_equal_text(name, "channel_id"))
            event->channel = value;
        else if (bytes_equal_text(name, "user_id"))
            event->user = value;
        else if (bytes_equal_text(name, "last_post_seq"))
            has_seq = bytes_to_u64(value, &event->seq);
    }
    event->is_whole = has_seq && event->channel.size > 0 && event->user.size > 0;
}

/* [[stream, [[id, [name, value, …]], …]]]; nil when nothing came.  An entry that was taken out
 * of the stream meanwhile has no fields, and is done with. */
static uint32_t batch_take(struct events *events, const struct reply *reply)
{
    const struct reply *list = reply_item(reply, 0);
    list = list == NULL ? NULL : reply_item(list, 1);
    if (list == NULL || list->type != REPLY_ARRAY) return 0;
    events->count = events->left = 0;
    events->has_left = false;
    for (uint32_t i = 0; i < list->count && events->count < EVENTS_BATCH_MAX; i++) {
        struct bytes id = reply_text(reply_item(list->items[i], 0));
        if (id.size == 0 || id.size >= ID_MAX) continue;
        struct entry *entry = &events->entries[events->count++];
        *entry = (struct entry){.is_under_way = true};
        memcpy(entry->id, id.at, id.size);
    }
    if (events->count == 0) return 0;
    events->left = events->count + 1; /* the answers of this loop do not end the batch */
    for (uint32_t i = 0, slot = 0; i < list->count && slot < events->count; i++) {
        struct bytes id = reply_text(reply_item(list->items[i], 0));
        if (id.size == 0 || id.size >= ID_MAX) continue;
        const struct reply *fields = reply_item(list->items[i], 1);
        struct event event = {.is_whole = false};
        if (fields != NULL) event_read(fields, &event);
        events->env.on_event(events->env.context, &event, slot++);
    }
    return events->count;
}

/* --- answers --------------------------------------------------------------------------------- */

/* What follows when nothing is to be done at once. */
static enum events_ask ask_idle(struct events *events)
{
    if (now_ms(events) < events->claim_ms) return ASK_FRESH;
    events->claim_ms = now_ms(events) + CLAIM_EACH_MS;
    return ASK_CLAIM;
}

static void take_batch(struct events *events, const struct reply *reply)
{
    events->is_own = events->ask == ASK_OWN;
    if (batch_take(events, reply) == 0) {
        ask_next(events, ask_idle(events));
        return;
    }
    if (--events->left == 0) batch_end(events);
}

static void take_refusal(struct events *events, const struct reply *reply)
{
    if (!events->has_said)
        log_warn(
            "the stream of cursor moves cannot be read stream=" STREAM " address=%s error=\"%.*s\"",
            events->place.text, (int)min_u64(reply->text.size, 120), (const char *)reply->text.at);
    events->has_said = true;
    ask_later(events, ASK_GROUP, AGAIN_MS);
}

static void take_reply(struct events *events, const struct reply *reply)
{
    if (events->ask == ASK_GROUP && reply_is_error(reply, "BUSYGROUP")) {
        ask_next(events, ASK_OWN); /* another consumer was first, or ourselves */
        return;
    }
    if (reply_is_error(reply, "NOGROUP")) {
        ask_next(events, ASK_GROUP); /* the stream vanished with its group */
        return;
    }
    if (reply->type == REPLY_ERROR) {
        take_refusal(events, reply);
        return;
    }
    events->has_said = false;
    const struct reply *claimed = reply_item(reply, 1);
    switch (events->ask) {
    case ASK_GROUP: ask_next(events, ASK_OWN); return;
    case ASK_CLAIM:
        ask_next(events, claimed != NULL && claimed->count > 0 ? ASK_OWN : ASK_FRESH);
        return;
    case ASK_ACK:
        if (events->has_left)
            ask_later(events, ASK_OWN, AGAIN_MS);
        else
            ask_next(events, events->is_own ? ASK_OWN : ask_idle(events));
        return;
    case ASK_OWN:
    case ASK_FRESH: take_batch(events, reply); return;
    }
    impossible("every question has its answer");
}

static void events_on_end(struct link_call *call, enum err err, const struct reply *reply)
{
    struct events *events = container_of(call, struct events, call);
    check(events->is_asking);
    events->is_asking = false;
    if (events->is_stopped) return;
    if (err == ERR_OK)
        take_reply(events, reply);
    else
        ask_later(events, ASK_GROUP, AGAIN_MS);
}

static void ask_next(struct events *events, enum events_ask ask)
{
    check(!events->is_asking && events->left == 0);
    events->ask = ask;
    if (events->is_stopped) return;
    events->is_asking = true;
    link_call(&events->link, &events->call, now_ms(events) + CALL_WAIT_MS);
}

/* --- life ------------------------------------------------------------------------------------ */

static void on_ready(struct link *link)
{
    (void)link;
}

static const struct link_events link_events = {.on_ready = on_ready, .on_lost = on_ready};

static enum err options_read(const struct config *config, struct redis_options *options,
                             struct redis_place *place)
{
    const char *address = config->read_index_redis_address;
    if (address[0] == '\0') address = config->redis_address;
    *options = (struct redis_options){
        .mode = CONFIG_REDIS_STANDALONE,
        .user = config->redis_user,
        .password = config->redis_password,
        .db = config->redis_db,
        .connect_timeout_ms = config->redis_connect_timeout_ms,
        .io_timeout_ms = config->redis_io_timeout_ms,
        .server_name = config->redis_tls_server_name,
    };
    return place_parse(address, UPDATES_PORT, place);
}

enum err events_check(const struct config *config)
{
    struct redis_options options;
    struct redis_place place;
    if (!config->read_index_events) return ERR_OK;
    bool is_single = config->redis_mode == CONFIG_REDIS_STANDALONE;
    if (config->read_index_redis_address[0] == '\0' && !is_single) {
        log_error("read_index.redis_address must name the server that holds " STREAM
                  ": redis.mode is not standalone");
        return ERR_BAD_REQUEST;
    }
    if (options_read(config, &options, &place) == ERR_OK) return ERR_OK;
    log_error("read_index.redis_address, or redis.address, is no address of a Redis server");
    return ERR_BAD_REQUEST;
}

/* A name that Redis takes as one word and people can read. */
static void consumer_name(const char *name, char consumer[CONSUMER_MAX + 1])
{
    snprintf(consumer, CONSUMER_MAX + 1, "%s", name);
    for (char *c = consumer; *c != '\0'; c++)
        if (*c <= ' ' || *c > '~') *c = '_';
}

struct events *events_create(const struct events_env *env)
{
    struct events *events = mem_alloc(sizeof *events);
    events->env = *env;
    if (options_read(env->config, &events->options, &events->place) != ERR_OK ||
        wrap_context(env->config, &events->options.secure) != ERR_OK) {
        mem_free(events);
        return NULL;
    }
    consumer_name(env->consumer, events->consumer);
    events->call.write = events_write;
    events->call.on_end = events_on_end;
    links_init(&events->links, SOCK_EVENTS, env->loop, env->wheel, env->clock, env->rng);
    link_start(&events->link, &events->links, &events->options, &events->place, LINK_EVENTS,
               &link_events, events);
    ask_next(events, ASK_GROUP);
    return events;
}

void events_stop(struct events *events)
{
    if (events == NULL) return;
    events->is_stopped = true;
    wheel_disarm(events->env.wheel, &events->timer);
}

void events_destroy(struct events *events)
{
    if (events == NULL) return;
    check(events->left == 0);
    events_stop(events);
    links_fini(&events->links);
    secure_context_destroy(events->options.secure);
    mem_free(events);
}

void events_turn(struct events *events)
{
    if (events != NULL) link_flush(&events->link);
}
