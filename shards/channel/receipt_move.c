/*
 * receipt_move: cursors and marks that members move.
 *
 * A move becomes a record and is answered when that is durable; one that moves nothing
 * is answered at once and costs no write.  While a mark is under way nobody knows what
 * moves nothing: a mark put on and taken off at once are two records.
 */
#include "core/mem.h"
#include "shards/channel/channel_parts.h"

static const enum cursor_mark marks[RECEIPT_VERB_COUNT] = {
    [RECEIPT_READ] = CURSOR_READ,           [RECEIPT_VIEW] = CURSOR_READ,
    [RECEIPT_DELIVERED] = CURSOR_DELIVERED, [RECEIPT_MARK_UNREAD] = CURSOR_UNREAD,
    [RECEIPT_HIDE] = CURSOR_HIDDEN,
};

/* Where the user will stand when the feed has brought the mark.  Marks replace each other,
 * so they take effect in the feed's order only; here one is put on and taken off again.  What
 * was read in front of it counts by now: a mark above that is none. */
static void state_to_be(struct channel_op *op, struct receipt_state *state)
{
    struct cursor_index *cursors = op->channel->stored->cursors;
    struct cursor_member member;
    *state = (struct receipt_state){.err = ERR_NOT_MEMBER};
    if (cursors == NULL || cursor_find(cursors, op->user, &member) != ERR_OK) return;
    if (op->offset > member.read) op->offset = 0;
    uint64_t mark = member.unread_from;
    enum err err = cursor_mark_unread(cursors, op->user, op->offset);
    check(err == ERR_OK);
    receipt_state_of(op->channel, op->user, state);
    err = cursor_mark_unread(cursors, op->user, mark);
    check(err == ERR_OK);
}

/* What is durable takes effect here, and the user's other connections hear of it. */
static void move_apply(struct channel_op *op)
{
    struct channel *channel = op->channel;
    struct receipt_state state;
    switch ((enum receipt_verb)op->verb) {
    case RECEIPT_READ:
    case RECEIPT_VIEW:
        receipt_move(channel, op->user, op->offset, false);
        receipt_state_of(channel, op->user, &state);
        if (state.err == ERR_OK) op->offset = max_u64(op->offset, state.read); /* the answer */
        break;
    case RECEIPT_MARK_UNREAD: state_to_be(op, &state); break;
    case RECEIPT_DELIVERED:
        receipt_move(channel, op->user, op->offset, true);
        receipt_state_of(channel, op->user, &state);
        break;
    default: return; /* hidden or not, one's own view is the same */
    }
    receipt_tell_devices(channel, op->user, op->client, &state);
}

/* Of a channel's moves under way: all, and those that are no maximum. */
static bool is_mark(uint8_t verb)
{
    return verb == RECEIPT_MARK_UNREAD || verb == RECEIPT_HIDE;
}

static void moves_count(struct channel_op *op, int32_t by)
{
    op->channel->stored->moves += (uint32_t)by;
    if (is_mark(op->verb)) op->channel->stored->marks += (uint32_t)by;
}

static void move_on_appended(struct store_append *append, enum err err, uint64_t offset,
                             bool is_repeat)
{
    struct channel_op *op = container_of(append, struct channel_op, append);
    struct channel *channel = op->channel;
    (void)offset;
    (void)is_repeat;
    moves_count(op, -1);
    if (err != ERR_OK) {
        question_refuse(channel->shard, op->to, op->call, err);
    } else {
        if (channel->state == CHANNEL_LIVE) move_apply(op);
        call_answer_to(channel->shard, op->to,
                       &(struct answer){.call = op->call, .offset = op->offset});
    }
    op_end(op);
}

static void move_append(struct channel_op *op, const struct letter_receipt *in, uint64_t offset)
{
    struct channel *channel = op->channel;
    op->offset = offset;
    op->verb = in->verb;
    op->name = mem_text(in->user.at, in->user.size);
    op->user = bytes_of(op->name, in->user.size);
    memcpy(op->client, in->client, sizeof op->client);
    op->append = (struct store_append){
        .channel = &channel->stored->store,
        .type = RECORD_CURSOR,
        .user = op->user,
        .mark = marks[in->verb],
        .offset = offset,
        .on_appended = move_on_appended,
    };
    moves_count(op, 1);
    store_append(channel->shard->store, &op->append);
}

/* Does the index say already what the user is answered?  A mark depends on everything before
 * it, and what only grows on the marks. */
static bool is_settled(const struct channel *channel, uint8_t verb)
{
    return is_mark(verb) ? channel->stored->moves == 0 : channel->stored->marks == 0;
}

/* Where it stands, where it is to go, and whether anything moves by that.  A record carries
 * what was asked, cut to the head, and not what is read already: a mark that comes before it,
 * and that nobody here knows of yet, ends only when the user asked for its offset or above. */
static enum err move_check(struct channel *channel, const struct letter_receipt *in,
                           uint64_t *current, uint64_t *wanted, bool *moves)
{
    uint64_t head = channel->stored->window.head;
    struct cursor_member member;
    struct cursor_index *cursors = channel->stored->cursors;
    if (cursors == NULL) return ERR_NOT_MEMBER;
    TRY(cursor_find(cursors, in->user, &member));
    switch ((enum receipt_verb)in->verb) {
    case RECEIPT_READ:
    case RECEIPT_VIEW:
        *wanted = in->verb == RECEIPT_VIEW ? head : min_u64(in->offset, head);
        *current = member.read;
        /* Reading ends a mark at or below, also where nothing else moves. */
        *moves = *wanted > member.read || (member.unread_from > 0 && member.unread_from <= *wanted);
        return ERR_OK;
    case RECEIPT_DELIVERED:
        receipt_configure(channel);
        if (cursor_members(cursors) > cursor_rules(cursors)->delivered_max)
            return ERR_CHANNEL_TOO_BIG;
        *current = member.delivered;
        *wanted = max_u64(min_u64(in->offset, head), member.delivered);
        break;
    case RECEIPT_MARK_UNREAD:
        if (in->offset > head) return ERR_BAD_REQUEST;
        *current = member.unread_from;
        *wanted = in->offset == 0 ? 0 : max_u64(in->offset, member.joined);
        if (*wanted > member.read && is_settled(channel, in->verb)) *wanted = 0;
        break;
    default:
        check(in->verb == RECEIPT_HIDE);
        if (in->is_hidden && !receipt_may_hide(channel)) return ERR_RECEIPT_DISABLED;
        *current = member.is_hidden;
        *wanted = in->is_hidden;
        break;
    }
    *moves = *wanted != *current;
    return ERR_OK;
}

/* `op`: of the question, NULL while it has none; it goes with the append. */
static enum err move_go(struct channel *channel, uint32_t to, const struct letter_receipt *in,
                        struct channel_op **op)
{
    uint64_t current = 0, wanted = 0;
    bool moves = false;
    TRY(move_check(channel, in, &current, &wanted, &moves));
    if (moves || !is_settled(channel, in->verb)) {
        move_append(*op == NULL ? op_for(channel, to, in->call) : *op, in, wanted);
        *op = NULL;
    } else { /* what is read stays read */
        call_answer_to(channel->shard, to, &(struct answer){.call = in->call, .offset = current});
    }
    return ERR_OK;
}

/* --- marks from before the window ---------------------------------------------------- */

static void on_joined(struct store_moves *moves, enum err err, const struct store_moved *moved)
{
    struct channel_op *op = container_of(moves, struct channel_op, moves);
    struct channel *channel = op->channel;
    if (op_failed(op, err)) return;
    struct letter_receipt in;
    letter_read_receipt(op->letter, &channel->shard->arena, &in);
    in.offset = max_u64(in.offset, moved[0].joined);
    err = move_go(channel, op->to, &in, &op);
    if (err != ERR_OK) question_refuse(channel->shard, op->to, in.call, err);
    if (op != NULL) op_end(op);
}

/* The index knows when somebody joined for the window only, and nothing before the join may
 * ever be unread: of a mark further back the store is asked first. */
static bool must_know_join(const struct channel *channel, const struct letter_receipt *in)
{
    struct cursor_member member;
    const struct cursor_index *cursors = channel->stored->cursors;
    if (in->verb != RECEIPT_MARK_UNREAD || cursors == NULL) return false;
    uint64_t head = cursor_head(cursors);
    return in->offset > 0 && head >= RECEIPT_WINDOW && in->offset <= head - RECEIPT_WINDOW &&
           cursor_find(cursors, in->user, &member) == ERR_OK && member.joined == 1 &&
           channel->shard->store->engine->moves != NULL;
}

static void join_ask(struct channel *channel, struct letter *letter,
                     const struct letter_receipt *in)
{
    struct channel_op *op = op_begin(channel, letter, in->call);
    op->letter = letter;
    op->moves = (struct store_moves){
        .channel = &channel->stored->store,
        .offset = channel->stored->window.head,
        .since_ms = store_now_ms(channel->shard->store), /* no times are asked for */
        .users = &in->user,
        .users_count = 1,
        .on_moves = on_joined,
    };
    store_moves(channel->shard->store, &op->moves);
}

enum err receipt_move_ask(struct channel *channel, struct letter *letter,
                          const struct letter_receipt *in, bool *is_kept)
{
    struct letter_receipt asked = *in;
    struct channel_op *op = NULL;
    if (in->is_seq) TRY(head_of_seq(channel, in->offset, &asked.offset));
    *is_kept = must_know_join(channel, &asked);
    if (!*is_kept) return move_go(channel, letter->from, &asked, &op);
    join_ask(channel, letter, &asked);
    return ERR_OK;
}
