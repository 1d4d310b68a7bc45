/* A channel opened, a gap filled, history read: the calls of lua/read.lua.
 *
 * Opening and filling name their channel by handle, for it may be closed before
 * the answer comes.  Every callback of the sink may close it too, so it is
 * looked up again after each. */
#include "core/arena.h"
#include "core/check.h"
#include "core/log.h"
#include "core/mem.h"
#include "storage/redis/entries.h"
#include "storage/redis/known.h"
#include "storage/redis/redis.h"

#include <stdio.h>

/* Entries in one answer: at 64 KiB a publication still 32 MiB. */
#define READ_PAGE       (VERIFY ? 4 : 512)
/* Publications of a snapshot: the server answers nobody else meanwhile.  More is
 * read as history by whoever needs it. */
#define READ_WINDOW_MAX 4096

enum read_mode { READ_OPEN, READ_FILL, READ_FORWARD, READ_REVERSE };

struct read_call {
    struct link_call call;
    struct redis_store *redis;
    uint32_t partition;
    enum read_mode mode;
    struct handle channel; /* OPEN, FILL */
    uint64_t revision;     /* FILL: where the sink stood when it began */
    bool has_filled;       /* FILL: something was missing */
    struct store_read *op; /* FORWARD, REVERSE */
    uint64_t since;        /* FORWARD, REVERSE: of the next page */
    uint32_t page;         /* entries asked for */
    struct arena arena;    /* copies of what the pages brought */
    struct publication *publications;
    uint32_t count, count_max;
};

static const char *const mode_names[] = {[READ_OPEN] = "open",
                                         [READ_FILL] = "fill",
                                         [READ_FORWARD] = "forward",
                                         [READ_REVERSE] = "reverse"};

static struct redis_channel *call_channel(const struct read_call *call)
{
    return slab_find(&call->redis->channels, call->channel);
}

static void call_destroy(struct read_call *call)
{
    arena_fini(&call->arena);
    mem_free(call->publications);
    mem_free(call);
}

/* --- writing ------------------------------------------------------------------------------- */

static void call_write_to(struct read_call *call, struct store_channel *channel, const char *epoch,
                          uint64_t head, struct bytes since, uint32_t count, struct link *link,
                          struct resp_out *out)
{
    struct redis_store *redis = call->redis;
    bool is_kept = history_is_kept(channel->history);
    redis_write_script(link, out, SCRIPT_READ, call->partition, 10);
    resp_bytes(out, channel->name);
    resp_text(out, epoch);
    resp_number(out, head);
    resp_text(out, mode_names[call->mode]);
    resp_bytes(out, since);
    resp_number(out, call->revision);
    resp_number(out, count);
    resp_number(out, is_kept ? channel->history.size : 0);
    resp_number(out, is_kept ? channel->history.ttl_ms : 0);
    resp_number(out, store_now_ms(&redis->store));
}

static void call_write(struct link_call *base, struct link *link, struct resp_out *out)
{
    struct read_call *call = container_of(base, struct read_call, call);
    char text[64];
    int used = snprintf(text, sizeof text, "%llu", (unsigned long long)call->since);
    if (call->op != NULL) {
        call_write_to(call, call->op->channel, "", 0, bytes_of(text, (size_t)used), call->page,
                      link, out);
        return;
    }
    struct redis_channel *channel = call_channel(call);
    if (channel == NULL) {
        /* Closed meanwhile; a command must be written all the same. */
        resp_begin(out, 1);
        resp_text(out, "PING");
    } else if (call->mode == READ_OPEN) {
        call_write_to(call, channel->channel, "", 0, BYTES_LITERAL("0"),
                      min_u32(channel->op->window_max, READ_WINDOW_MAX), link, out);
    } else {
        struct store_channel *of = channel->channel;
        used = snprintf(text, sizeof text, "%llu-%llu", (unsigned long long)of->head,
                        (unsigned long long)channel->revision);
        call_write_to(call, of, of->epoch, max_u64(of->head, channel->acked_head),
                      bytes_of(text, (size_t)used), READ_PAGE, link, out);
    }
}

static struct read_call *
call_create(struct redis_store *redis, enum read_mode mode, const struct store_channel *channel,
            void (*on_end)(struct link_call *, enum err, const struct reply *))
{
    struct read_call *call = mem_alloc(sizeof *call);
    call->redis = redis;
    call->partition = redis_partition_of(redis, channel->name);
    call->mode = mode;
    call->call.write = call_write;
    call->call.on_end = on_end;
    arena_init(&call->arena, 0);
    return call;
}

/* What went wrong with an answer, as one of ours. */
static enum err answer_parse(struct redis_store *redis, struct bytes channel, enum err err,
                             const struct reply *reply, struct read_answer *answer)
{
    if (err == ERR_STORE_UNKNOWN) return ERR_STORE_DOWN; /* a read leaves nothing behind */
    if (err != ERR_OK) return err;
    if (damage_refused(redis, channel, reply)) return ERR_STORE_CORRUPT;
    if (reply->type == REPLY_ERROR) {
        log_error("Redis could not run a read: %.*s", (int)min_u64(reply->text.size, 200),
                  (const char *)reply->text.at);
        return ERR_STORE_DOWN;
    }
    TRY(read_answer_read(reply, answer));
    known_learn(redis, redis_partition_of(redis, channel), &answer->position,
                answer->position.sure);
    redis_seals_learn(&redis->seals, answer->seals);
    return ERR_OK;
}

/* Said at each look until the backend sets them again: without members everybody is
 * refused, and that must not pass for an answer. */
static void members_check(const struct store_channel *channel, const struct read_answer *answer)
{
    if (!answer->are_members_lost) return;
    log_warn("the members and read positions of a channel were deleted or evicted in Redis, and "
             "its epoch ends; set its members again, and maxmemory-policy to noeviction "
             "channel=%.*s",
             (int)channel->name.size, (const char *)channel->name.at);
}

/* --- open ---------------------------------------------------------------------------------- */

static void open_take(struct redis_store *redis, struct redis_channel *channel,
                      const struct read_answer *answer)
{
    struct store_channel *opened = channel->channel;
    struct store_open *op = channel->op;
    struct store_member *members =
        mem_alloc((answer->members->count / 2 + (size_t)1) * sizeof *members);
    uint32_t count = entries_window(redis, opened->name, answer);
    uint32_t members_count = entries_members(redis, opened->name, answer, members);
    memcpy(opened->epoch, answer->epoch, sizeof opened->epoch);
    opened->head = answer->head;
    channel->revision = answer->revision;
    channel->removed = answer->removed;
    channel->policy = answer->policy;
    channel->acked_head = 0;
    presence_note_epoch(redis, channel->partition, bytes_of_text(answer->position.epoch));
    feed_begin(redis, channel);
    struct store_snapshot snapshot = {redis->publications, count,          members,
                                      members_count,       answer->policy, answer->removed};
    op->on_opened(op, ERR_OK, &snapshot);
    arena_reset(&redis->opened);
    mem_free(members);
}

/* A fail-over may have left behind that what was acknowledged is confirmed, though the
 * record is there: who knows the record would be told of a loss.  So who waits for replicas
 * confirms it first, once; without replicas it is as if that were not there. */
static bool open_must_wait(struct redis_store *redis, struct redis_channel *channel,
                           const struct read_answer *answer)
{
    bool is_ours = redis->node->options.wait_replicas > 0;
    if (!answer->is_held || !is_ours || channel->is_reopening) return false;
    channel->is_reopening = channel->is_touching = true;
    append_touch(redis, channel->partition, channel->channel->name);
    return true;
}

static void open_on_end(struct link_call *base, enum err err, const struct reply *reply)
{
    struct read_call *call = container_of(base, struct read_call, call);
    struct redis_store *redis = call->redis;
    struct redis_channel *channel = call_channel(call);
    call_destroy(call);
    if (channel == NULL) return;
    check(channel->state == CHANNEL_READING);
    struct read_answer answer;
    err = answer_parse(redis, channel->channel->name, err, reply, &answer);
    if (err == ERR_OK) members_check(channel->channel, &answer);
    if (err == ERR_OK && open_must_wait(redis, channel, &answer)) return;
    if (err != ERR_OK) {
        feed_fail(redis, channel, err);
        return;
    }
    open_take(redis, channel, &answer);
    feed_release(redis);
}

static void open_ask(struct redis_store *redis, struct redis_channel *channel)
{
    struct read_call *call = call_create(redis, READ_OPEN, channel->channel, open_on_end);
    call->channel = slab_handle(&redis->channels, channel);
    redis_call(redis, call->partition, &call->call);
}

void read_open(struct redis_store *redis, struct redis_channel *channel)
{
    check(channel->state == CHANNEL_SUBSCRIBING);
    channel->state = CHANNEL_READING;
    open_ask(redis, channel);
}

void read_open_again(struct redis_store *redis, struct redis_channel *channel)
{
    check(channel->state == CHANNEL_READING && channel->is_reopening);
    open_ask(redis, channel);
}

/* --- fill ---------------------------------------------------------------------------------- */

static void fill_on_end(struct link_call *base, enum err err, const struct reply *reply);

/* Takes one entry of the stream; false: it cannot follow what the sink has. */
static bool fill_entry(struct redis_store *redis, struct redis_channel *channel,
                       const struct stream_entry *entry, bool is_readable)
{
    uint64_t head = channel->channel->head;
    if (entry->is_members) {
        if (entry->revision <= channel->revision) return true;
        if (entry->offset != head) return false;
        /* One that cannot be read: the members come whole behind the last entry. */
        feed_members(redis, channel, entry->revision, entry->body);
        return true;
    }
    if (entry->offset <= head) return true;
    if (entry->offset != head + 1) return false;
    if (!is_readable || !feed_publication(redis, channel, entry->offset, entry->body))
        feed_pass_over(redis, channel, entry->offset);
    return true;
}

/* Everybody with all that is known: what of it the sink has heard does no harm. */
static void fill_members(struct read_call *call, const struct read_answer *answer)
{
    struct redis_store *redis = call->redis;
    struct redis_channel *channel = call_channel(call);
    const struct store_sink *sink = &redis->store.env.sink;
    struct store_member *members =
        mem_alloc((answer->members->count / 2 + (size_t)1) * sizeof *members);
    uint32_t count = entries_members(redis, channel->channel->name, answer, members);
    struct members_change change = {.kind = MEMBERS_STATE, .list = members, .count = count};
    channel->revision = answer->revision;
    sink->on_members(sink->context, channel->channel, &change);
    mem_free(members);
}

/* The same of the channel's own mark. */
static void fill_policy(struct read_call *call, const struct read_answer *answer)
{
    const struct store *store = &call->redis->store;
    struct redis_channel *channel = call_channel(call);
    if (channel->policy == answer->policy) return;
    channel->policy = answer->policy;
    struct store_cursor cursor = {BYTES_NONE, CURSOR_POLICY, answer->policy, store_now_ms(store)};
    store->env.sink.on_cursor(store->env.sink.context, channel->channel, &cursor);
}

/* Behind the last page.  What is missing outlived its history, or was removed. */
static void fill_end(struct read_call *call, const struct read_answer *answer)
{
    struct redis_channel *channel = call_channel(call);
    if (channel->channel->head < answer->head) {
        feed_reset(call->redis, channel, answer);
    } else if (answer->revision > call->revision) {
        call->has_filled = true;
        feed_remove(call->redis, channel, min_u64(answer->removed, channel->channel->head));
        if (call_channel(call) != NULL) fill_policy(call, answer);
        if (call_channel(call) != NULL) fill_members(call, answer);
    }
}

/* Hands over one page; true: another one follows. */
static bool fill_take(struct read_call *call, const struct read_answer *answer)
{
    struct redis_store *redis = call->redis;
    struct redis_channel *channel = call_channel(call);
    uint32_t count = answer->entries->count;
    uint64_t head = channel->channel->head, revision = channel->revision;
    if (strcmp(answer->epoch, channel->channel->epoch) != 0) {
        feed_reset(redis, channel, answer);
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct stream_entry entry;
        bool is_readable = stream_entry_read(answer->entries->items[i], &entry) == ERR_OK;
        /* Above the head nobody of us has written anything: this is the last page. */
        if (entry.offset > answer->head) {
            fill_end(call, answer);
            return false;
        }
        if (!fill_entry(redis, channel, &entry, is_readable)) {
            feed_reset(redis, channel, answer);
            return false;
        }
        call->has_filled = true;
        channel = call_channel(call);
        if (channel == NULL) return false;
    }
    bool has_moved = channel->channel->head > head || channel->revision > revision;
    if (count == READ_PAGE && has_moved) return true;
    if (count == READ_PAGE)
        feed_reset(redis, channel, answer); /* a page of damage: the same one would follow */
    else
        fill_end(call, answer);
    return false;
}

static void fill_on_end(struct link_call *base, enum err err, const struct reply *reply)
{
    struct read_call *call = container_of(base, struct read_call, call);
    struct redis_store *redis = call->redis;
    struct redis_channel *channel = call_channel(call);
    struct read_answer answer;
    if (channel == NULL) {
        call_destroy(call);
        return;
    }
    err = answer_parse(redis, channel->channel->name, err, reply, &answer);
    if (err == ERR_OK) members_check(channel->channel, &answer);
    if (err == ERR_OK && fill_take(call, &answer)) {
        redis_call_behind(redis, call->partition, base);
        return;
    }
    if (call->has_filled) metric_add(redis->store.env.metrics, METRIC_STORE_GAPS, 1);
    channel = call_channel(call);
    if (channel != NULL) {
        channel->is_filling = false;
        /* Failed: the next sweep, or the link's return, tries again. */
        if (err != ERR_OK) channel->is_behind = true;
    }
    call_destroy(call);
    if (err == ERR_OK) feed_release(redis);
}

void read_fill(struct redis_store *redis, struct redis_channel *channel)
{
    check(channel->state == CHANNEL_LIVE);
    if (channel->is_filling) return;
    channel->is_filling = true;
    channel->is_behind = false;
    channel->suspect_head = 0;
    channel->suspect_revision = 0;
    struct read_call *call = call_create(redis, READ_FILL, channel->channel, fill_on_end);
    call->channel = slab_handle(&redis->channels, channel);
    call->revision = channel->revision;
    redis_call_behind(redis, call->partition, &call->call);
}

/* --- history ------------------------------------------------------------------------------- */

static void history_add(struct read_call *call, const struct publication *publication)
{
    if (call->count == call->count_max) {
        call->count_max = max_u32(64, call->count_max * 2);
        call->publications =
            mem_resize(call->publications, call->count_max * sizeof *call->publications);
    }
    call->publications[call->count++] = *publication;
}

static void history_hole(struct read_call *call, uint64_t offset)
{
    damage_note(call->redis, DAMAGE_HOLE, call->op->channel->name, offset);
    call->op->has_holes = true;
}

/* Copies what can be read of an entry whose place is the next one. */
static void history_entry(struct read_call *call, const struct stream_entry *entry)
{
    struct publication publication;
    struct bytes body = entry->body; /* what is sealed is copied when it is opened */
    if (!seal_is_on(body)) body = arena_copy(&call->arena, body);
    if (entries_open(call->redis, call->op->channel->name, entry, body, &call->arena, &publication))
        history_add(call, &publication);
    else
        call->op->has_holes = true;
}

/* Copies one page; `taken` counts its offsets. */
static enum err history_take(struct read_call *call, const struct read_answer *answer,
                             uint64_t *taken)
{
    bool is_forward = call->mode == READ_FORWARD;
    *taken =
        answer->last == 0 || answer->last < answer->first ? 0 : answer->last - answer->first + 1;
    if (*taken == 0) return ERR_OK;
    /* Trimmed between two pages: what came before is no longer kept either. */
    if (is_forward && call->count > 0 && answer->first != call->since + 1) {
        call->count = 0;
        call->op->has_holes = false;
    }
    uint64_t left = *taken; /* offsets for which nothing has come */
    for (uint32_t i = 0; i < answer->entries->count; i++) {
        struct stream_entry entry;
        bool is_readable =
            entries_read(call->redis, call->op->channel->name, answer->entries->items[i], &entry);
        if (entry.is_members || entry.offset < answer->first || entry.offset > answer->last)
            continue;
        uint64_t next = is_forward ? answer->last + 1 - left : answer->first + left - 1;
        uint64_t left_here =
            is_forward ? answer->last - entry.offset + 1 : entry.offset - answer->first + 1;
        if (left_here > left) continue; /* a second one in the place of one before */
        if (left_here < left) history_hole(call, next);
        left = left_here - 1;
        if (is_readable)
            history_entry(call, &entry);
        else
            call->op->has_holes = true;
    }
    if (left > 0) history_hole(call, is_forward ? answer->last + 1 - left : answer->first);
    call->since = is_forward ? answer->last : answer->first;
    return call->arena.used <= HISTORY_BYTES_MAX ? ERR_OK : ERR_LIMIT_SIZE;
}

static bool history_goes_on(struct read_call *call, uint64_t taken)
{
    bool is_last = taken < call->page || call->count >= call->op->limit ||
                   (call->mode == READ_REVERSE && call->since <= 1);
    if (is_last) return false;
    call->page = min_u32(READ_PAGE, call->op->limit - call->count);
    return true;
}

static void history_on_end(struct link_call *base, enum err err, const struct reply *reply)
{
    struct read_call *call = container_of(base, struct read_call, call);
    struct redis_store *redis = call->redis;
    struct store_read *op = call->op;
    struct read_answer answer;
    uint64_t taken = 0;
    err = answer_parse(redis, op->channel->name, err, reply, &answer);
    if (err == ERR_OK) err = history_take(call, &answer, &taken);
    if (err == ERR_OK && history_goes_on(call, taken)) {
        redis_call(redis, call->partition, base);
        return;
    }
    redis->pending--;
    if (err != ERR_OK) metric_add(redis->store.env.metrics, METRIC_STORE_ERRORS, 1);
    op->engine = NULL;
    op->on_read(op, err, call->publications, err == ERR_OK ? call->count : 0);
    call_destroy(call);
}

void redis_read(struct store *store, struct store_read *op)
{
    struct redis_store *redis = redis_of(store);
    check(op->on_read != NULL);
    struct read_call *call = call_create(redis, op->is_reverse ? READ_REVERSE : READ_FORWARD,
                                         op->channel, history_on_end);
    call->op = op;
    call->since = op->since;
    call->page = min_u32(READ_PAGE, op->limit);
    op->engine = call;
    redis->pending++;
    redis_call(redis, call->partition, &call->call);
}
