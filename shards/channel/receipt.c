/*
 * receipt: members, their cursors, and who has read what.
 *
 * The store holds members and cursors; this shard's picture of them is a
 * cursor_index (storage/cursor.h), made when the channel is opened and moved by
 * the feed.  A cursor is a maximum, so the same move twice, or an old one late,
 * changes nothing, and a move is applied both when its record is durable (the
 * asker may count at once) and when the feed brings it.
 *
 * The sender of a publication is neither its reader nor eligible, so counting
 * needs to know who sent: from the window, else from the store.  A publication
 * that is kept nowhere has no exact count any more and says so.
 */
#include "core/map.h"
#include "core/mem.h"
#include "shards/channel/channel_parts.h"

void receipt_load(struct channel *channel, const struct store_member *members, uint32_t count)
{
    check(channel->stored->cursors == NULL);
    if (count == 0) return;
    channel->stored->cursors = cursor_create(channel->stored->store.head);
    for (uint32_t i = 0; i < count; i++) {
        enum err err = cursor_join(channel->stored->cursors, members[i].user, members[i].joined,
                                   members[i].read);
        check(err == ERR_OK); /* the store has each member once, and no more than the limit */
    }
}

/* Members. */

static void members_set_on_appended(struct store_append *append, enum err err, uint64_t offset,
                                    bool is_repeat)
{
    struct channel_op *op = container_of(append, struct channel_op, append);
    (void)offset;
    (void)is_repeat;
    call_answer_to(op->channel->shard, op->to, &(struct answer){.call = op->call, .err = err});
    op_end(op);
}

bool members_set_ask(struct channel *channel, struct letter *letter)
{
    struct letter_members_set in;
    letter_read_members_set(letter, &channel->shard->arena, &in);
    check(in.users_count <= MEMBERS_MAX);
    struct channel_op *op = op_begin(channel, letter, in.call);
    op->append = (struct store_append){
        .channel = &channel->stored->store,
        .type = RECORD_MEMBERS,
        .users = in.users,
        .users_count = in.users_count,
        .on_appended = members_set_on_appended,
    };
    store_append(channel->shard->store, &op->append);
    return false; /* the store has copied everything */
}

/* Members who are not in the new list, collected because the index may not
 * change under its walk. */
struct leavers {
    const struct map *stay;
    struct bytes *users;
    uint32_t count;
    struct arena *arena;
};

static void leavers_add(void *context, const struct cursor_member *member)
{
    struct leavers *leavers = context;
    if (map_find(leavers->stay, member->user) == NULL)
        leavers->users[leavers->count++] = arena_copy(leavers->arena, member->user);
}

static void members_leave(struct channel *channel, const struct bytes *users, uint32_t users_count)
{
    struct map stay;
    map_init(&stay, rng_next(&channel->shard->rng));
    for (uint32_t i = 0; i < users_count; i++)
        if (map_find(&stay, users[i]) == NULL) map_put(&stay, users[i], channel);

    struct arena *arena = &channel->shard->arena;
    struct leavers leavers = {.stay = &stay, .arena = arena};
    leavers.users =
        arena_get(arena, (cursor_members(channel->stored->cursors) + 1) * sizeof(struct bytes));
    cursor_each(channel->stored->cursors, leavers_add, &leavers);
    for (uint32_t i = 0; i < leavers.count; i++) {
        enum err err = cursor_leave(channel->stored->cursors, leavers.users[i]);
        check(err == ERR_OK);
    }
    map_fini(&stay);
}

void channel_on_members(void *shard, struct store_channel *store, const struct bytes *users,
                        uint32_t users_count)
{
    struct channel *channel = channel_of_store(store);
    check(channel->shard == shard);
    if (channel->state != CHANNEL_LIVE) return;
    if (users_count == 0) {
        cursor_destroy(channel->stored->cursors);
        channel->stored->cursors = NULL;
        return;
    }
    if (channel->stored->cursors == NULL) channel->stored->cursors = cursor_create(store->head);
    members_leave(channel, users, users_count);
    for (uint32_t i = 0; i < users_count; i++) {
        if (cursor_is_member(channel->stored->cursors, users[i])) continue;
        enum err err =
            cursor_join(channel->stored->cursors, users[i], store->head + 1, store->head);
        check(err == ERR_OK);
    }
}

/* Cursors. */

static void receipt_move(struct channel *channel, struct bytes user, uint64_t offset)
{
    if (channel->stored->cursors == NULL) return;
    uint64_t before, after;
    enum err err = cursor_move(channel->stored->cursors, user, offset, &before, &after);
    if (err != ERR_OK) return; /* no longer a member */
    check(before <= after);
    if (before < after) metric_add(&channel->shard->metrics, METRIC_RECEIPTS, 1);
}

void channel_on_cursor(void *shard, struct store_channel *store, struct bytes user, uint64_t offset)
{
    struct channel *channel = channel_of_store(store);
    check(channel->shard == shard);
    if (channel->state == CHANNEL_LIVE) receipt_move(channel, user, offset);
}

static void receipt_read_on_appended(struct store_append *append, enum err err, uint64_t offset,
                                     bool is_repeat)
{
    struct channel_op *op = container_of(append, struct channel_op, append);
    struct channel *channel = op->channel;
    (void)offset;
    (void)is_repeat;
    if (err != ERR_OK) {
        question_refuse(channel->shard, op->to, op->call, err);
    } else {
        if (channel->state == CHANNEL_LIVE) receipt_move(channel, op->user, op->offset);
        call_answer_to(channel->shard, op->to,
                       &(struct answer){.call = op->call, .offset = op->offset});
    }
    op_end(op);
}

/* Where the cursor of `user` stands, or that there is none. */
static enum err receipt_cursor(const struct channel *channel, struct bytes user, uint64_t *offset)
{
    if (channel->stored->cursors == NULL) return ERR_NOT_MEMBER;
    return cursor_read(channel->stored->cursors, user, offset);
}

bool receipt_read_ask(struct channel *channel, struct letter *letter)
{
    struct shard *shard = channel->shard;
    struct letter_receipt_read in;
    letter_read_receipt_read(letter, &in);
    uint64_t current = 0;
    enum err err = receipt_cursor(channel, in.user, &current);
    if (err != ERR_OK) {
        question_refuse(shard, letter->from, in.call, err);
        return false;
    }
    uint64_t wanted = min_u64(in.offset, channel->stored->window.head);
    if (wanted <= current) { /* what is read stays read, and costs no write */
        call_answer_to(shard, letter->from, &(struct answer){.call = in.call, .offset = current});
        return false;
    }
    struct channel_op *op = op_begin(channel, letter, in.call);
    op->offset = wanted;
    op->name = mem_text(in.user.at, in.user.size);
    op->user = bytes_of(op->name, in.user.size);
    op->append = (struct store_append){
        .channel = &channel->stored->store,
        .type = RECORD_CURSOR,
        .user = op->user,
        .offset = wanted,
        .on_appended = receipt_read_on_appended,
    };
    store_append(shard->store, &op->append);
    return false;
}

/* Counts. */

static void receipt_on_senders(struct store_read *read, enum err err,
                               const struct publication *publications, uint32_t count);

/* Who published `offset`: found in the window or among `stored`, ascending. */
static enum err receipt_sender(const struct channel *channel, uint64_t offset,
                               const struct publication *stored, uint32_t count,
                               struct bytes *sender)
{
    struct publication publication = {0};
    if (offset >= window_first(&channel->stored->window)) {
        window_get(&channel->stored->window, offset, &publication);
    } else {
        if (count == 0 || offset < stored[0].offset) return ERR_RECEIPT_TOO_OLD;
        uint64_t at = offset - stored[0].offset;
        if (at >= count || stored[at].offset != offset) return ERR_RECEIPT_TOO_OLD;
        publication = stored[at];
    }
    *sender = publication.has_info ? publication.user : BYTES_NONE;
    return ERR_OK;
}

static enum err receipt_count(const struct channel *channel, const struct letter_receipt_counts *in,
                              const struct publication *stored, uint32_t count, uint32_t *readers,
                              uint32_t *eligible)
{
    for (uint32_t i = 0; i < in->offsets_count; i++) {
        struct bytes sender;
        TRY(receipt_sender(channel, in->offsets[i], stored, count, &sender));
        TRY(cursor_counts(channel->stored->cursors, in->offsets[i], sender, &readers[i],
                          &eligible[i]));
    }
    return ERR_OK;
}

static void receipt_answer(struct channel *channel, uint32_t to,
                           const struct letter_receipt_counts *in, const struct publication *stored,
                           uint32_t count)
{
    uint32_t readers[RECEIPT_OFFSETS_MAX], eligible[RECEIPT_OFFSETS_MAX];
    /* Members may have gone while the store was read. */
    enum err err = channel->stored->cursors == NULL
                       ? ERR_NOT_MEMBER
                       : receipt_count(channel, in, stored, count, readers, eligible);
    if (err != ERR_OK) {
        question_refuse(channel->shard, to, in->call, err);
        return;
    }
    call_answer_to(channel->shard, to,
                   &(struct answer){
                       .call = in->call,
                       .offset = channel->stored->window.head,
                       .readers = readers,
                       .eligible = eligible,
                       .counts_count = in->offsets_count,
                   });
}

/* May it be asked at all?  `lowest`: the smallest offset in question. */
static enum err receipt_counts_check(const struct channel *channel,
                                     const struct letter_receipt_counts *in, uint64_t *lowest)
{
    uint64_t head = channel->stored->window.head, cursor;
    if (channel->stored->cursors == NULL) return ERR_NOT_MEMBER;
    if (in->user.size > 0) TRY(cursor_read(channel->stored->cursors, in->user, &cursor));
    *lowest = head + 1;
    for (uint32_t i = 0; i < in->offsets_count; i++) {
        if (in->offsets[i] == 0 || in->offsets[i] > head) return ERR_BAD_REQUEST;
        if (head - in->offsets[i] >= RECEIPT_WINDOW) return ERR_RECEIPT_TOO_OLD;
        *lowest = min_u64(*lowest, in->offsets[i]);
    }
    if (*lowest < channel->stored->window.floor) return ERR_RECEIPT_TOO_OLD;
    return ERR_OK;
}

static void receipt_on_senders(struct store_read *read, enum err err,
                               const struct publication *publications, uint32_t count)
{
    struct channel_op *op = container_of(read, struct channel_op, read);
    struct channel *channel = op->channel;
    if (channel->state == CHANNEL_LOST) {
        op_requeue(op);
        return;
    }
    struct letter_receipt_counts in;
    letter_read_receipt_counts(op->letter, &in);
    if (err != ERR_OK)
        question_refuse(channel->shard, op->to, op->call, err);
    else
        receipt_answer(channel, op->to, &in, publications, count);
    op_end(op);
}

bool receipt_counts_ask(struct channel *channel, struct letter *letter)
{
    struct letter_receipt_counts in;
    letter_read_receipt_counts(letter, &in);
    check(in.offsets_count <= RECEIPT_OFFSETS_MAX);
    uint64_t lowest = 0;
    enum err err = receipt_counts_check(channel, &in, &lowest);
    if (err != ERR_OK) {
        question_refuse(channel->shard, letter->from, in.call, err);
        return false;
    }
    if (lowest >= window_first(&channel->stored->window)) {
        receipt_answer(channel, letter->from, &in, NULL, 0);
        return false;
    }
    struct channel_op *op = op_begin(channel, letter, in.call);
    op->letter = letter;
    op->read = (struct store_read){
        .channel = &channel->stored->store,
        .since = lowest - 1,
        .limit = RECEIPT_WINDOW,
        .on_read = receipt_on_senders,
    };
    store_read(channel->shard->store, &op->read);
    return true;
}
