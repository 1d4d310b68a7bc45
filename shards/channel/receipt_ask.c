/*
 * receipt_ask: questions about receipts of one channel.
 *
 * The sender of a publication is neither its reader nor eligible, so counting needs to
 * know who sent: from the window, else from the store.  A publication that is kept
 * nowhere has no exact count any more and says so.
 *
 * What a member learns is the policy's matter (channel.namespaces[].receipts); the
 * server, which asks without a user, learns everything that is counted at all.
 */
#include "core/mem.h"
#include "shards/channel/channel_parts.h"

/* --- counts ------------------------------------------------------------------------ */

/* Who published `offset`: found in the window or among `stored`, ascending; what could not
 * be read is missing there. */
static enum err sender_of(const struct channel *channel, uint64_t offset,
                          const struct publication *stored, uint32_t count, struct bytes *sender)
{
    if (receipt_sender(channel, offset, sender)) return ERR_OK;
    uint32_t first = 0, after = count;
    while (first < after) {
        uint32_t middle = (first + after) / 2;
        if (stored[middle].offset < offset)
            first = middle + 1;
        else
            after = middle;
    }
    if (first == count || stored[first].offset != offset) return ERR_RECEIPT_TOO_OLD;
    if (stored[first].is_deleted) return ERR_RECEIPT_DELETED; /* the index reaches less far */
    *sender = stored[first].has_info ? stored[first].user : BYTES_NONE;
    return ERR_OK;
}

static enum err counts_count(const struct channel *channel, const struct letter_receipt *in,
                             const struct publication *stored, uint32_t count, uint32_t *readers,
                             uint32_t *eligible)
{
    for (uint32_t i = 0; i < in->offsets_count; i++) {
        struct bytes sender;
        TRY(sender_of(channel, in->offsets[i], stored, count, &sender));
        TRY(cursor_counts(channel->stored->cursors, in->offsets[i], sender, &readers[i],
                          &eligible[i]));
    }
    return ERR_OK;
}

static void counts_answer(struct channel *channel, uint32_t to, const struct letter_receipt *in,
                          const struct publication *stored, uint32_t count)
{
    struct arena *arena = &channel->shard->arena;
    uint32_t *readers = arena_get(arena, (in->offsets_count + (size_t)1) * sizeof *readers);
    uint32_t *eligible = arena_get(arena, (in->offsets_count + (size_t)1) * sizeof *eligible);
    /* Members may have gone while the store was read. */
    enum err err = channel->stored->cursors == NULL
                       ? ERR_NOT_MEMBER
                       : counts_count(channel, in, stored, count, readers, eligible);
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

/* --- lists --------------------------------------------------------------------------- */

static enum err list_read(const struct channel *channel, const struct letter_receipt *in,
                          const struct publication *stored, uint32_t count, struct answer *answer)
{
    const struct cursor_index *cursors = channel->stored->cursors;
    struct arena *arena = &channel->shard->arena;
    uint32_t most = channel->shard->config->receipts_list_max;
    struct cursor_list list = {
        .side = in->verb == RECEIPT_READERS ? CURSOR_READERS : CURSOR_NONREADERS,
        .offset = in->offset,
        .after = in->after,
        .limit = in->limit == 0 ? most : min_u32(in->limit, most),
    };
    TRY(sender_of(channel, in->offset, stored, count, &list.sender));
    bool is_for_sender = receipt_policy(channel) == CONFIG_RECEIPTS_SENDER;
    if (is_for_sender && in->user.size > 0 && !bytes_equal(in->user, list.sender))
        return ERR_DENIED;
    list.slots = arena_get(arena, list.limit * sizeof *list.slots);
    TRY(cursor_list(cursors, &list));
    struct receipt_user *users = arena_get(arena, (list.count + (size_t)1) * sizeof *users);
    for (uint32_t i = 0; i < list.count; i++) {
        struct cursor_member member;
        cursor_at(cursors, list.slots[i], &member);
        users[i] = (struct receipt_user){.user = member.user};
    }
    answer->receipt_users = users;
    answer->receipt_users_count = list.count;
    answer->next = list.next;
    answer->has_times = channel->shard->store->engine->moves != NULL &&
                        cursor_members(cursors) <= STORE_MOVES_MEMBERS_MAX;
    return ERR_OK;
}

/* A page that waits for its times.  Names are copies: members may go meanwhile. */
struct list_wait {
    struct store_moves op;
    struct channel_op *of; /* holds the channel */
    struct answer answer;
    struct receipt_user *users;
    struct bytes *names;
    bool is_of_readers;
};

static void list_on_moves(struct store_moves *moves, enum err err, const struct store_moved *moved)
{
    struct list_wait *wait = container_of(moves, struct list_wait, op);
    struct channel_op *op = wait->of;
    /* Who has read is known in any case, and when is better not told than nothing. */
    if (err != ERR_OK) wait->answer.has_times = false;
    for (uint32_t i = 0; err == ERR_OK && i < wait->answer.receipt_users_count; i++) {
        /* Who had not read it may have done so meanwhile. */
        if (wait->is_of_readers) wait->users[i].read_ms = moved[i].read_ms;
        wait->users[i].delivered_ms = moved[i].delivered_ms;
    }
    call_answer_to(op->channel->shard, op->to, &wait->answer);
    mem_free(wait);
    op_end(op);
}

/* The op, which is the wait's from now on. */
static void list_await(struct channel_op *op, const struct letter_receipt *in,
                       const struct answer *answer, uint64_t since_ms)
{
    uint32_t count = answer->receipt_users_count;
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++) size += answer->receipt_users[i].user.size;
    struct list_wait *wait = mem_alloc(sizeof *wait + count * sizeof(struct receipt_user) +
                                       count * sizeof(struct bytes) + size);
    wait->users = (struct receipt_user *)(wait + 1);
    wait->names = (struct bytes *)(wait->users + count);
    uint8_t *at = (uint8_t *)(wait->names + count);
    for (uint32_t i = 0; i < count; i++) {
        struct bytes user = answer->receipt_users[i].user;
        memcpy(at, user.at, user.size);
        wait->names[i] = wait->users[i].user = bytes_of(at, user.size);
        at += user.size;
    }
    wait->of = op;
    wait->is_of_readers = in->verb == RECEIPT_READERS;
    wait->answer = *answer;
    wait->answer.receipt_users = wait->users;
    wait->op = (struct store_moves){
        .channel = &op->channel->stored->store,
        .offset = in->offset,
        .since_ms = since_ms,
        .users = wait->names,
        .users_count = count,
        .on_moves = list_on_moves,
    };
    store_moves(op->channel->shard->store, &wait->op);
}

/* When `offset` came: of the window, else it is what was read. */
static uint64_t time_of(const struct channel *channel, uint64_t offset,
                        const struct publication *stored, uint32_t count)
{
    const struct window *window = &channel->stored->window;
    struct publication publication = {0};
    if (offset >= window_first(window))
        window_get(window, offset, &publication);
    else if (count > 0)
        publication = stored[0];
    return publication.taken_ms;
}

/* `op`: of the question, NULL while it has none.  True when the answer waits with it. */
static bool list_answer(struct channel *channel, uint32_t to, const struct letter_receipt *in,
                        const struct publication *stored, uint32_t count, struct channel_op *op)
{
    struct answer answer = {.call = in->call, .offset = channel->stored->window.head};
    answer.err = channel->stored->cursors == NULL ? ERR_NOT_MEMBER
                                                  : list_read(channel, in, stored, count, &answer);
    if (answer.err != ERR_OK || !answer.has_times || answer.receipt_users_count == 0) {
        call_answer_to(channel->shard, to, &answer);
        return false;
    }
    if (op == NULL) op = op_for(channel, to, in->call);
    list_await(op, in, &answer, time_of(channel, in->offset, stored, count));
    return true;
}

/* --- may it be asked at all? -------------------------------------------------------- */

/* What the index says of `offset` before it is known who sent it: ERR_BAD_REQUEST for what
 * never was, ERR_RECEIPT_TOO_OLD, ERR_RECEIPT_DELETED.  Below the floor nobody knows any
 * more who sent it. */
static enum err offset_check(const struct channel *channel, uint64_t offset)
{
    uint32_t readers, eligible;
    TRY(cursor_counts(channel->stored->cursors, offset, BYTES_NONE, &readers, &eligible));
    return offset < channel->stored->window.floor ? ERR_RECEIPT_TOO_OLD : ERR_OK;
}

/* Membership before anything else, so that strangers learn nothing. */
static enum err question_check(struct channel *channel, const struct letter_receipt *in)
{
    if (channel->stored->cursors == NULL)
        return in->user.size == 0 ? ERR_UNKNOWN_CHANNEL : ERR_NOT_MEMBER;
    if (in->user.size > 0) TRY(receipt_member(channel, in->user));
    receipt_configure(channel);
    enum config_receipts policy = receipt_policy(channel);
    if (policy == CONFIG_RECEIPTS_OFF) return ERR_RECEIPT_DISABLED;
    if (in->verb != RECEIPT_COUNTS && in->user.size > 0 && policy == CONFIG_RECEIPTS_COUNT)
        return ERR_RECEIPT_DISABLED;
    if (in->verb != RECEIPT_COUNTS) return offset_check(channel, in->offset);
    for (uint32_t i = 0; i < in->offsets_count; i++) TRY(offset_check(channel, in->offsets[i]));
    return ERR_OK;
}

/* The first and the last offset that is asked about. */
static void range_of(const struct letter_receipt *in, uint64_t *first, uint64_t *last)
{
    bool is_one = in->verb != RECEIPT_COUNTS;
    *first = is_one ? in->offset : UINT64_MAX;
    *last = is_one ? in->offset : 0;
    for (uint32_t i = 0; i < in->offsets_count; i++) {
        *first = min_u64(*first, in->offsets[i]);
        *last = max_u64(*last, in->offsets[i]);
    }
}

/* True when `op` is needed on. */
static bool question_answer(struct channel *channel, uint32_t to, const struct letter_receipt *in,
                            const struct publication *stored, uint32_t count, struct channel_op *op)
{
    if (in->verb != RECEIPT_COUNTS) return list_answer(channel, to, in, stored, count, op);
    counts_answer(channel, to, in, stored, count);
    return false;
}

/* --- senders below the window -------------------------------------------------------- */

static void on_senders(struct store_read *read, enum err err,
                       const struct publication *publications, uint32_t count)
{
    struct channel_op *op = container_of(read, struct channel_op, read);
    struct channel *channel = op->channel;
    if (op_failed(op, err)) return;
    struct letter_receipt in;
    letter_read_receipt(op->letter, &channel->shard->arena, &in);
    if (!question_answer(channel, op->to, &in, publications, count, op)) op_end(op);
}

/* True: the store is read first. */
static bool question_begin(struct channel *channel, struct letter *letter,
                           const struct letter_receipt *in)
{
    uint64_t first, last;
    range_of(in, &first, &last);
    if (first >= window_first(&channel->stored->window)) {
        (void)question_answer(channel, letter->from, in, NULL, 0, NULL);
        return false;
    }
    struct channel_op *op = op_begin(channel, letter, in->call);
    op->letter = letter;
    op->read = (struct store_read){
        .channel = &channel->stored->store,
        .since = first - 1,
        .limit = (uint32_t)(last - first + 1), /* within the window of receipts */
        .on_read = on_senders,
    };
    store_read(channel->shard->store, &op->read);
    return true;
}

bool receipt_ask(struct channel *channel, struct letter *letter)
{
    check(channel->state == CHANNEL_LIVE);
    struct letter_receipt in;
    letter_read_receipt(letter, &channel->shard->arena, &in);
    enum err err = ERR_OK;
    bool is_kept = false;
    switch ((enum receipt_verb)in.verb) {
    case RECEIPT_READ:
    case RECEIPT_VIEW:
    case RECEIPT_DELIVERED:
    case RECEIPT_MARK_UNREAD:
    case RECEIPT_HIDE: err = receipt_move_ask(channel, letter, &in, &is_kept); break;
    case RECEIPT_COUNTS:
    case RECEIPT_READERS:
    case RECEIPT_NONREADERS:
        err = question_check(channel, &in);
        if (err == ERR_OK) return question_begin(channel, letter, &in);
        break;
    case RECEIPT_VERB_COUNT: impossible("a verb is one of those above");
    }
    if (err != ERR_OK) question_refuse(channel->shard, letter->from, in.call, err);
    return is_kept;
}
