/*
 * live: who has read what, told as it happens.
 *
 * "receipts:X" is a companion of X on the same home: members of X subscribe to it, it
 * keeps no history, and what X's feed moves is told there as a publication of the server.
 * Told to everybody, every move of every member would be members² frames a message; so
 * the more members, the less often and the less:
 *
 *    members                    what                             at most
 *    <= small_channel (8)       each move                        every one
 *    <= large_channel (256)     moves, put together              each 200 ms
 *    <= huge_channel (2,000)    counts of the newest 20          each second
 *    above                      its members, once; then counts   -
 *                               on request
 *
 *    {"moves": [{"user", "from", "to"}], "delivered": [the same]}
 *    {"counts": [{"offset", "readers", "eligible"}]}       those that changed
 *    {"members": n}                                        members came or left
 *    {"policy": "count"}                                    what may be told is this from now on
 *
 * Where the policy does not show names to everybody, counts are told in place of moves.
 * The first one after a pause is told at once, and what comes within the interval waits
 * for its end.  So what a listener gets is bounded by time, and what all get is linear in
 * members.
 *
 * Who listens holds the channel open, because what is told comes from its feed.
 */
#include "core/mem.h"
#include "shards/channel/channel_parts.h"
#include "shards/fanout/fanout.h"
#include "shards/json_out.h"

#define LIVE_MOVES_MS  200
#define LIVE_COUNTS_MS 1000

/* One member's way since it was told last. */
struct live_move {
    uint64_t from, to;
    bool is_delivered;
    uint8_t size;
    char *user;
};

enum live_rung { LIVE_AT_ONCE, LIVE_MOVES, LIVE_COUNTS, LIVE_SILENT };

static enum live_rung rung_of(const struct channel *channel)
{
    const struct config *config = channel->shard->config;
    const struct cursor_index *cursors = channel->stored->cursors;
    uint32_t members = cursors == NULL ? 0 : cursor_members(cursors);
    if (receipt_policy(channel) == CONFIG_RECEIPTS_OFF) return LIVE_SILENT;
    if (members <= config->receipts_small_channel) return LIVE_AT_ONCE;
    if (members <= config->receipts_large_channel) return LIVE_MOVES;
    return members <= config->receipts_huge_channel ? LIVE_COUNTS : LIVE_SILENT;
}

static uint64_t pause_ms(enum live_rung rung)
{
    return rung == LIVE_AT_ONCE ? 0 : rung == LIVE_MOVES ? LIVE_MOVES_MS : LIVE_COUNTS_MS;
}

static bool has_names(const struct channel *channel, enum live_rung rung)
{
    return rung <= LIVE_MOVES && receipt_policy(channel) == CONFIG_RECEIPTS_ALL;
}

/* --- telling ------------------------------------------------------------------------- */

static void moves_forget(struct live *live)
{
    for (uint32_t i = 0; i < live->moves_count; i++) mem_free(live->moves[i].user);
    live->moves_count = 0;
}

static void write_moves(struct json_out *out, const struct live *live, const char *name,
                        bool is_delivered)
{
    bool is_begun = false;
    for (uint32_t i = 0; i < live->moves_count; i++) {
        const struct live_move *move = &live->moves[i];
        if (move->is_delivered != is_delivered) continue;
        if (!is_begun) {
            json_out_key(out, name);
            json_out_array(out);
            is_begun = true;
        }
        json_out_object(out);
        json_out_member_text(out, "user", bytes_of(move->user, move->size));
        json_out_key(out, "from");
        json_out_u64(out, move->from);
        json_out_key(out, "to");
        json_out_u64(out, move->to);
        json_out_object_end(out);
    }
    if (is_begun) json_out_array_end(out);
}

/* Those of the newest publications that are not as they were told. */
static bool write_counts(struct json_out *out, struct live *live)
{
    const struct channel *channel = live->channel;
    const struct window *window = &channel->stored->window;
    uint64_t head = window->head;
    uint64_t first = head >= LIVE_COUNTS_MAX ? head - LIVE_COUNTS_MAX + 1 : 1;
    bool is_begun = false;
    for (uint64_t offset = first; offset <= head && channel->stored->cursors != NULL; offset++) {
        struct live_count *told = &live->told[offset % LIVE_COUNTS_MAX];
        struct live_count now = {.offset = offset};
        struct bytes sender;
        if (!receipt_sender(channel, offset, &sender) ||
            cursor_counts(channel->stored->cursors, offset, sender, &now.readers, &now.eligible) !=
                ERR_OK)
            continue;
        bool is_told = told->offset == offset && told->readers == now.readers &&
                       told->eligible == now.eligible;
        if (is_told) continue;
        *told = now;
        if (!is_begun) {
            json_out_key(out, "counts");
            json_out_array(out);
            is_begun = true;
        }
        json_out_object(out);
        json_out_key(out, "offset");
        json_out_u64(out, offset);
        json_out_key(out, "readers");
        json_out_u64(out, now.readers);
        json_out_key(out, "eligible");
        json_out_u64(out, now.eligible);
        json_out_object_end(out);
    }
    if (is_begun) json_out_array_end(out);
    return is_begun;
}

/* A channel that grows beyond what is told says so once: from then on clients ask. */
static bool is_heard(const struct live *live, enum live_rung rung)
{
    if (rung != LIVE_SILENT) return true;
    return !live->is_silent && receipt_policy(live->channel) != CONFIG_RECEIPTS_OFF;
}

static void live_tell(struct live *live)
{
    struct channel *channel = live->channel;
    struct shard *shard = channel->shard;
    enum live_rung rung = rung_of(channel);
    bool is_news = live->has_policy || (live->has_members && is_heard(live, rung));
    struct json_out out = {0};
    json_out_object(&out);
    if (has_names(channel, rung)) {
        is_news = is_news || live->moves_count > 0;
        write_moves(&out, live, "moves", false);
        write_moves(&out, live, "delivered", true);
    } else if (rung != LIVE_SILENT) {
        is_news = write_counts(&out, live) || is_news;
    }
    if (live->has_members) {
        json_out_key(&out, "members");
        json_out_u64(
            &out, channel->stored->cursors == NULL ? 0 : cursor_members(channel->stored->cursors));
    }
    if (live->has_policy)
        json_out_member_text(&out, "policy", policy_name(receipt_policy(channel)));
    json_out_object_end(&out);
    moves_forget(live);
    live->has_members = live->has_policy = false;
    live->is_silent = rung == LIVE_SILENT;
    live->next_ms = clock_turn_ms(&shard->clock) + pause_ms(rung);
    if (is_news && live->companion->listeners_count > 0) {
        struct publication publication = {.data = json_out_bytes(&out),
                                          .time_ms = shard->clock.wall_ms};
        metric_add(&shard->metrics, METRIC_RECEIPTS_TOLD, 1);
        fanout_publish(shard, live->companion, &publication);
    }
    json_out_fini(&out);
}

static void on_timer(struct timer *timer)
{
    live_tell(container_of(timer, struct live, timer));
}

/* At once, or when the pause is over. */
static void live_wake(struct live *live)
{
    struct shard *shard = live->channel->shard;
    if (timer_is_armed(&live->timer)) return;
    if (clock_turn_ms(&shard->clock) >= live->next_ms)
        live_tell(live);
    else
        wheel_arm(&shard->wheel, &live->timer, live->next_ms, on_timer);
}

/* --- what happens -------------------------------------------------------------------- */

static struct live_move *move_of(struct live *live, struct bytes user, bool is_delivered)
{
    for (uint32_t i = 0; i < live->moves_count; i++) {
        struct live_move *move = &live->moves[i];
        if (move->is_delivered == is_delivered &&
            bytes_equal(bytes_of(move->user, move->size), user))
            return move;
    }
    if (live->moves_count == live->moves_room) {
        live->moves_room = max_u32(8, live->moves_room * 2);
        live->moves = mem_resize(live->moves, live->moves_room * sizeof live->moves[0]);
    }
    struct live_move *move = &live->moves[live->moves_count++];
    *move = (struct live_move){.is_delivered = is_delivered,
                               .size = (uint8_t)user.size,
                               .user = mem_text(user.at, user.size)};
    return move;
}

void live_moved(struct channel *channel, struct bytes user, uint64_t from, uint64_t to,
                bool is_delivered)
{
    check(from < to);
    struct live *live = channel->stored->live;
    if (live == NULL) return;
    enum live_rung rung = rung_of(channel);
    if (rung == LIVE_SILENT) {
        live_members_changed(channel); /* a threshold may be another one since a reload */
        return;
    }
    struct cursor_member member;
    if (cursor_find(channel->stored->cursors, user, &member) != ERR_OK || member.is_hidden) return;
    if (has_names(channel, rung)) {
        struct live_move *move = move_of(live, user, is_delivered);
        if (move->to == 0) move->from = from;
        move->to = to;
    } else if (is_delivered) {
        return; /* how many have it is not counted */
    }
    live_wake(live);
}

void live_members_changed(struct channel *channel)
{
    struct live *live = channel->stored->live;
    if (live == NULL || !is_heard(live, rung_of(channel))) return;
    live->has_members = true;
    live_wake(live);
}

void live_policy_changed(struct channel *channel)
{
    struct live *live = channel->stored->live;
    if (live == NULL) return;
    live->has_policy = true;
    live_wake(live);
}

/* --- life ------------------------------------------------------------------------------ */

void live_subscribe(struct channel *channel, uint32_t to, const struct letter_subscribe *in)
{
    struct shard *shard = channel->shard;
    struct channel *companion;
    enum err err = receipt_member(channel, in->user);
    if (err == ERR_OK && receipt_policy(channel) == CONFIG_RECEIPTS_OFF) err = ERR_RECEIPT_DISABLED;
    if (err == ERR_OK) err = channel_find_or_make(shard, in->channel, &companion);
    if (err != ERR_OK) {
        question_refuse(shard, to, in->call, err);
        return;
    }
    struct live *live = channel->stored->live;
    if (live == NULL) {
        live = channel->stored->live = mem_alloc(sizeof *live);
        live->channel = channel;
        live->companion = companion;
        live->is_silent = rung_of(channel) == LIVE_SILENT;
    }
    check(live->companion == companion);
    listener_enter(companion, to, in);
    call_answer_to(shard, to, &(struct answer){.call = in->call});
}

void live_leave(struct channel *channel, struct channel *companion)
{
    check(channel != NULL && channel->stored != NULL); /* its listeners hold it */
    check(channel->stored->live->companion == companion);
    if (companion->listeners_count == 0) {
        live_end(channel);
        channel_settle(channel);
    }
    channel_settle(companion);
}

void live_lose(struct channel *channel)
{
    struct live *live = channel->stored->live;
    if (live == NULL) return;
    moves_forget(live);
    live->has_members = live->has_policy = false;
    memset(live->told, 0, sizeof live->told);
    fanout_lose(channel->shard, live->companion);
}

void live_end(struct channel *channel)
{
    struct live *live = channel->stored->live;
    if (live == NULL) return;
    wheel_disarm(&channel->shard->wheel, &live->timer);
    moves_forget(live);
    mem_free(live->moves);
    mem_free(live);
    channel->stored->live = NULL;
}
