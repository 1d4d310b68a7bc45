/*
 * receipt: members and their cursors.
 *
 * The store holds members and cursors; this shard's picture of them is a
 * cursor_index (storage/cursor.h), made when the channel is opened and moved by
 * the feed.  A cursor is a maximum, so the same move twice, or an old one late,
 * changes nothing, and a move is applied both when its record is durable (the
 * asker may count at once) and when the feed brings it.
 *
 * Who listens to the companion is told of moves (live.c); the user's own other
 * connections are told through the user's home, wherever they are and whatever they
 * listen to.
 */
#include "core/map.h"
#include "core/mem.h"
#include "proto/json.h"
#include "shards/channel/channel_parts.h"
#include "shards/home.h"
#include "shards/json_out.h"
#include "shards/user/act.h"

/* More who leave by one record are not told one by one: a letter and a message each. */
#define LEAVERS_TOLD_MAX 1000

static struct cursor_rules rules_of(const struct channel *channel)
{
    const struct config *config = channel->shard->config;
    return (struct cursor_rules){
        .window = config->receipts_window_size,
        .lists_max = config->receipts_huge_channel,
        .delivered_max = config->receipts_delivered_max,
        .holds_two_lists = true,
    };
}

/* Tagged {"system": "true"}: somebody joined, a name changed.  It has an offset and is
 * unread for nobody. */
static bool is_of_system(const struct publication *publication)
{
    struct bytes name, value = BYTES_NONE, tags = publication->tags;
    if (tags.size == 0 || memmem(tags.at, tags.size, "\"system\"", 8) == NULL) return false;
    struct json json;
    bool is_system = false;
    json_open(&json, tags);
    if (json_enter_object(&json))
        while (json_key(&json, &name)) {
            json_raw(&json, &value);
            if (bytes_equal_text(name, "system")) is_system = bytes_equal_text(value, "\"true\"");
        }
    return json_close(&json) == ERR_OK && is_system;
}

/* What a publication is besides a message, or says of another one. */
static void note_kind(struct cursor_index *cursors, const struct publication *publication)
{
    if (publication->is_deleted) cursor_delete(cursors, publication->offset);
    if (publication->deletes > 0) cursor_delete(cursors, publication->deletes);
    if (is_of_system(publication)) cursor_uncount(cursors, publication->offset);
}

/* What memory no longer held when the index was made. */
struct older {
    struct store_read read;
    struct channel *channel;
};

static void on_older(struct store_read *read, enum err err, const struct publication *publications,
                     uint32_t count)
{
    struct older *older = container_of(read, struct older, read);
    struct channel *channel = older->channel;
    struct cursor_index *cursors = channel->stored->cursors;
    bool is_of_use = err == ERR_OK && channel->state == CHANNEL_LIVE && cursors != NULL;
    for (uint32_t i = 0; is_of_use && i < count; i++) note_kind(cursors, &publications[i]);
    mem_free(older);
    channel->stored->ops--;
    channel_settle(channel);
}

/* Members who came while the channel was open see what those see who load it later. */
static void older_ask(struct channel *channel)
{
    const struct window *window = &channel->stored->window;
    uint64_t reach = channel->shard->config->receipts_window_size, low = window->floor;
    if (window->head > reach) low = max_u64(low, window->head - reach + 1);
    if (low >= window_first(window)) return;
    struct older *older = mem_alloc(sizeof *older);
    older->channel = channel;
    older->read = (struct store_read){
        .channel = &channel->stored->store,
        .since = low - 1,
        .limit = (uint32_t)(window_first(window) - low),
        .on_read = on_older,
    };
    channel->stored->ops++; /* it stays until then */
    store_read(channel->shard->store, &older->read);
}

/* What the window holds, and what was removed, may be older than the first member. */
static struct cursor_index *index_make(struct channel *channel)
{
    struct cursor_rules rules = rules_of(channel);
    struct cursor_index *cursors = cursor_create(channel->stored->store.head);
    cursor_configure(cursors, &rules);
    cursor_delete_to(cursors, channel->stored->removed);
    const struct window *window = &channel->stored->window;
    for (uint64_t offset = window_first(window); offset <= window->head; offset++) {
        struct publication publication;
        window_get(window, offset, &publication);
        note_kind(cursors, &publication);
    }
    channel->stored->cursors = cursors;
    return cursors;
}

void receipt_configure(struct channel *channel)
{
    struct cursor_index *cursors = channel->stored->cursors;
    if (cursors == NULL) return;
    struct cursor_rules now = rules_of(channel);
    const struct cursor_rules *then = cursor_rules(cursors);
    if (now.window != then->window || now.lists_max != then->lists_max ||
        now.delivered_max != then->delivered_max)
        cursor_configure(cursors, &now);
}

static struct cursor_member member_of(const struct store_member *stored)
{
    return (struct cursor_member){.user = stored->user,
                                  .joined = stored->joined,
                                  .read = stored->read,
                                  .delivered = stored->delivered,
                                  .unread_from = stored->unread_from,
                                  .is_hidden = stored->is_hidden};
}

/* Two nodes that add at once may make a list longer than it may be; what does not even fit
 * where two lists do is passed over. */
static void member_add(struct cursor_index *cursors, const struct store_member *stored)
{
    struct cursor_member member = member_of(stored);
    enum err err = cursor_add(cursors, &member);
    check(err == ERR_OK || err == ERR_LIMIT_MEMBERS); /* the store has each member once */
}

void receipt_load(struct channel *channel, const struct store_member *members, uint32_t count)
{
    check(channel->stored->cursors == NULL);
    if (count == 0) return;
    struct cursor_index *cursors = index_make(channel);
    cursor_reserve(cursors, min_u32(count, 2 * MEMBERS_MAX));
    for (uint32_t i = 0; i < count; i++) member_add(cursors, &members[i]);
    members_account(channel);
}

/* --- questions of the other files -------------------------------------------------- */

static const struct config_namespace *space_of(const struct channel *channel)
{
    return config_namespace_of(channel->shard->config, channel_name(channel));
}

enum config_receipts receipt_policy(const struct channel *channel)
{
    return policy_now(channel).receipts;
}

bool receipt_is_members_only(const struct channel *channel)
{
    const struct config_namespace *space = space_of(channel);
    return space != NULL && space->members_only;
}

bool receipt_may_hide(const struct channel *channel)
{
    return policy_now(channel).opt_out;
}

bool receipt_cursor(const struct channel *channel, struct bytes user, uint64_t *read)
{
    if (channel->stored == NULL || channel->stored->cursors == NULL) return false;
    return cursor_read(channel->stored->cursors, user, read) == ERR_OK;
}

enum err receipt_member(const struct channel *channel, struct bytes user)
{
    uint64_t read;
    return receipt_cursor(channel, user, &read) ? ERR_OK : ERR_NOT_MEMBER;
}

bool receipt_sender(const struct channel *channel, uint64_t offset, struct bytes *sender)
{
    const struct window *window = &channel->stored->window;
    struct publication publication;
    if (offset < window_first(window) || offset > window->head) return false;
    window_get(window, offset, &publication);
    *sender = publication.has_info ? publication.user : BYTES_NONE;
    return true;
}

/* --- who is told besides ------------------------------------------------------------ */

static void tell(struct channel *channel, const struct act *act, bool is_of_this_node)
{
    struct shard *shard = channel->shard;
    uint32_t home = home_of_user(act->user, shard->shards_count);
    letter_post(shard->post, letter_pack_user_tell(shard->post, home, act, is_of_this_node));
}

/* {"receipt": {"channel", "epoch", "head", "read", "delivered", "unread", "first_unread"}} */
void receipt_tell_devices(struct channel *channel, struct bytes user, const uint8_t client[16],
                          const struct receipt_state *state)
{
    static const uint8_t nobody[16];
    if (state->err != ERR_OK) return;
    struct json_out out = {0};
    json_out_object(&out);
    json_out_key(&out, "receipt");
    receipt_state_write(&out, state, true);
    json_out_object_end(&out);
    tell(channel,
         &(struct act){
             .verb = ACT_MESSAGE,
             .user = user,
             .data.bytes = json_out_bytes(&out),
             .whitelist = memcmp(client, nobody, 16) == 0 ? BYTES_NONE : bytes_of(client, 16),
         },
         false);
    json_out_fini(&out);
}

/* {"receipt": {"channel", "unread": 0, "removed": true}} */
static void tell_removed(struct channel *channel, struct bytes user)
{
    struct json_out out = {0};
    json_out_object(&out);
    json_out_key(&out, "receipt");
    json_out_object(&out);
    receipt_removed_write(&out, channel_name(channel));
    json_out_object_end(&out);
    json_out_object_end(&out);
    struct act act = {.verb = ACT_MESSAGE, .user = user, .data.bytes = json_out_bytes(&out)};
    tell(channel, &act, true);
    json_out_fini(&out);
}

/* Who is no member any more has nothing unread here, and does not listen any more where
 * membership was the permission.  Every node hears of it by the feed and acts on its own
 * connections; of a crowd that leaves at once their digests tell. */
static void tell_left(struct channel *channel, struct bytes user, bool is_crowd)
{
    struct act act = {.verb = ACT_UNSUBSCRIBE, .user = user};
    if (!is_crowd) tell_removed(channel, user);
    if (channel->listeners_count > 0 && receipt_is_members_only(channel)) {
        act.channel = channel_name(channel);
        tell(channel, &act, true);
    }
    if (channel->stored->live == NULL) return;
    act.channel = channel_name(channel->stored->live->companion);
    tell(channel, &act, true);
}

/* --- members ----------------------------------------------------------------------- */

/* Members whom a list spoke of and did not name, collected because the index may not
 * change under its walk. */
struct leavers {
    const struct members_change *change;
    const struct map *stay;
    struct bytes *users;
    uint32_t count;
    struct arena *arena;
};

static void leavers_add(void *context, const struct cursor_member *member)
{
    struct leavers *leavers = context;
    const struct members_change *change = leavers->change;
    if (change->kind == MEMBERS_SET_BETWEEN &&
        !members_are_between(member->user, change->after, change->upto))
        return;
    if (map_find(leavers->stay, member->user) == NULL)
        leavers->users[leavers->count++] = arena_copy(leavers->arena, member->user);
}

static void member_leave(struct channel *channel, struct bytes user, bool is_crowd)
{
    enum err err = cursor_leave(channel->stored->cursors, user);
    check(err == ERR_OK);
    tell_left(channel, user, is_crowd);
}

static void members_leave(struct channel *channel, const struct members_change *change)
{
    struct map stay;
    map_init(&stay, rng_next(&channel->shard->rng));
    for (uint32_t i = 0; i < change->count; i++)
        if (map_find(&stay, change->list[i].user) == NULL)
            map_put(&stay, change->list[i].user, channel);

    struct arena *arena = &channel->shard->arena;
    struct leavers leavers = {.change = change, .stay = &stay, .arena = arena};
    leavers.users =
        arena_get(arena, (cursor_members(channel->stored->cursors) + 1) * sizeof(struct bytes));
    cursor_each(channel->stored->cursors, leavers_add, &leavers);
    for (uint32_t i = 0; i < leavers.count; i++)
        member_leave(channel, leavers.users[i], leavers.count > LEAVERS_TOLD_MAX);
    map_fini(&stay);
}

/* One who is here is brought to what the store says; false: it is of another join. */
static bool member_bring(struct channel *channel, const struct store_member *stored)
{
    struct cursor_index *cursors = channel->stored->cursors;
    struct cursor_member here;
    enum err err = cursor_find(cursors, stored->user, &here);
    check(err == ERR_OK);
    /* When exactly somebody joined is known for the window only. */
    bool is_old = here.joined == 1 && stored->joined + RECEIPT_WINDOW <= cursor_head(cursors) + 1;
    if (here.joined != stored->joined && !is_old) return false;
    receipt_move(channel, stored->user, stored->delivered, true);
    receipt_move(channel, stored->user, stored->read, false);
    err = cursor_mark_unread(cursors, stored->user, stored->unread_from);
    if (err == ERR_OK) err = cursor_hide(cursors, stored->user, stored->is_hidden);
    check(err == ERR_OK);
    return true;
}

/* One who is named by a change. */
static void member_take(struct channel *channel, const struct store_member *stored,
                        const struct members_change *change)
{
    enum members_kind kind = change->kind;
    bool is_here = cursor_is_member(channel->stored->cursors, stored->user);
    bool must_leave = kind == MEMBERS_REMOVE;
    if (is_here && kind == MEMBERS_STATE) must_leave = !member_bring(channel, stored);
    if (is_here && must_leave) {
        enum err err = cursor_leave(channel->stored->cursors, stored->user);
        check(err == ERR_OK);
        is_here = false;
        if (kind == MEMBERS_REMOVE)
            tell_left(channel, stored->user, change->count > LEAVERS_TOLD_MAX);
    }
    if (!is_here && kind != MEMBERS_REMOVE) member_add(channel->stored->cursors, stored);
}

void channel_on_members(void *shard, struct store_channel *store,
                        const struct members_change *change)
{
    struct channel *channel = channel_of_store(store);
    struct stored *stored = channel->stored;
    check(channel->shard == shard);
    if (channel->state != CHANNEL_LIVE) return;
    bool is_delta = change->kind == MEMBERS_ADD || change->kind == MEMBERS_REMOVE;
    if (stored->cursors == NULL) {
        if (change->count == 0) return;
        index_make(channel);
        older_ask(channel);
    }
    if (!is_delta) members_leave(channel, change);
    for (uint32_t i = 0; i < change->count; i++) member_take(channel, &change->list[i], change);
    if (cursor_members(stored->cursors) == 0) {
        cursor_destroy(stored->cursors);
        stored->cursors = NULL;
    }
    members_account(channel);
    live_members_changed(channel);
}

/* --- cursors ----------------------------------------------------------------------- */

void receipt_move(struct channel *channel, struct bytes user, uint64_t offset, bool is_delivered)
{
    struct cursor_index *cursors = channel->stored->cursors;
    check(channel->state == CHANNEL_LIVE);
    if (cursors == NULL) return;
    uint64_t before, after;
    enum err err = is_delivered ? cursor_deliver(cursors, user, offset, &before, &after)
                                : cursor_move(cursors, user, offset, &before, &after);
    if (err != ERR_OK || before == after) return; /* no longer a member; was there */
    metric_add(&channel->shard->metrics, METRIC_RECEIPTS, !is_delivered);
    live_moved(channel, user, before, after, is_delivered);
}

void receipt_post(struct channel *channel, const struct publication *publication)
{
    struct cursor_index *cursors = channel->stored->cursors;
    if (cursors == NULL) return;
    struct bytes sender = publication_mover(publication);
    uint64_t before = publication->offset;
    if (channel->stored->live != NULL) receipt_cursor(channel, sender, &before);
    cursor_send(cursors, publication->offset, sender);
    note_kind(cursors, publication);
    /* That a sender has read its own message is no news. */
    if (before + 1 < publication->offset)
        live_moved(channel, sender, before, publication->offset, false);
}

void channel_on_cursor(void *shard, struct store_channel *store, const struct store_cursor *cursor)
{
    struct channel *channel = channel_of_store(store);
    struct cursor_index *cursors = channel->stored->cursors;
    enum err err = ERR_OK;
    check(channel->shard == shard);
    if (channel->state != CHANNEL_LIVE) return;
    if (cursor->mark == CURSOR_POLICY) policy_take(channel, cursor->offset);
    if (mark_is_of_channel(cursor->mark) || cursors == NULL) return;
    switch (cursor->mark) {
    case CURSOR_READ: receipt_move(channel, cursor->user, cursor->offset, false); return;
    case CURSOR_DELIVERED: receipt_move(channel, cursor->user, cursor->offset, true); return;
    case CURSOR_UNREAD: err = cursor_mark_unread(cursors, cursor->user, cursor->offset); break;
    case CURSOR_HIDDEN:
        err = cursor_hide(cursors, cursor->user, cursor->offset != 0);
        live_members_changed(channel);
        break;
    case CURSOR_POLICY:
    case CURSOR_MARKS: impossible("a mark is one of those above");
    }
    check(err == ERR_OK || err == ERR_NOT_MEMBER); /* who left meanwhile */
}

void receipt_state_of(const struct channel *channel, struct bytes user, struct receipt_state *state)
{
    const struct stored *stored = channel->stored;
    struct cursor_unread unread = {0};
    if (stored->cursors != NULL) cursor_keep_from(stored->cursors, stored->window.floor);
    *state = (struct receipt_state){.channel = channel_name(channel), .err = ERR_NOT_MEMBER};
    if (stored->cursors == NULL || cursor_unread(stored->cursors, user, &unread) != ERR_OK) return;
    *state = (struct receipt_state){
        .channel = channel_name(channel),
        .epoch = bytes_of_text(stored->store.epoch),
        .head = unread.head,
        .read = unread.read,
        .delivered = unread.delivered,
        .unread = unread.unread,
        .first_unread = unread.first,
        .has_delivered =
            cursor_members(stored->cursors) <= cursor_rules(stored->cursors)->delivered_max,
    };
}
