/*
 * reads_receipts: cursors and counts over HTTP.
 *
 * POST read_cursor {user, offset | seq}, view {user} → {"offset"}: where the cursor
 * stands now: cut to the head; a lower one than before changes nothing.
 * GET read_cursor?user= → the same.
 * GET messages/{offset}/read_count → {"count","eligible"}
 * POST read_counts {offsets} → {"counts":[…],"eligible":[…]}, as asked.
 * GET messages/{offset}/readers?limit=&after=, nonreaders → {"users":[{"user","read_at",
 * "delivered_at"}, …],"times","next"}: a page of at most receipts.max_readers_in_list.
 * GET unread?user= → {"epoch","head","read","delivered","unread","first_unread"}
 */
#include "core/check.h"
#include "shards/letter_receipt.h"
#include "shards/reads/reads_parts.h"

static enum err cursor_ask(const struct reads_ask *ask, enum receipt_verb verb, struct bytes user,
                           uint64_t offset, bool is_seq)
{
    struct letter_receipt question = {.channel = ask->channel,
                                      .user = user,
                                      .verb = (uint8_t)verb,
                                      .offset = offset,
                                      .is_seq = is_seq};
    struct call *call;
    TRY(reads_user_check(user));
    TRY(reads_call(ask, reads_on_offset, &call, &question.call));
    call_post(ask->shard, letter_pack_receipt(ask->shard->post, call->to, &question));
    return ERR_OK;
}

enum err reads_cursor_move(const struct reads_ask *ask)
{
    struct reads_mark mark;
    TRY(reads_parse_mark(ask, &mark));
    if (mark.has_offset == mark.has_seq) return ERR_BAD_REQUEST;
    return cursor_ask(ask, RECEIPT_READ, mark.user, mark.has_seq ? mark.seq : mark.offset,
                      mark.has_seq);
}

enum err reads_view(const struct reads_ask *ask)
{
    struct reads_mark mark;
    TRY(reads_parse_mark(ask, &mark));
    return cursor_ask(ask, RECEIPT_VIEW, mark.user, 0, false);
}

/* Counts. */

static void on_count(struct shard *shard, struct call *call, struct conn *conn,
                     const struct answer *answer)
{
    if (!reads_is_answered(shard, call, conn, answer)) return;
    check(answer->counts_count == 1);
    struct json_out out = {0};
    json_out_object(&out);
    json_out_key(&out, "count");
    json_out_u64(&out, answer->readers[0]);
    json_out_key(&out, "eligible");
    json_out_u64(&out, answer->eligible[0]);
    json_out_object_end(&out);
    reads_reply(shard, call, conn, &out);
}

static void on_counts(struct shard *shard, struct call *call, struct conn *conn,
                      const struct answer *answer)
{
    if (!reads_is_answered(shard, call, conn, answer)) return;
    struct json_out out = {0};
    receipt_counts_write(&out, answer);
    reads_reply(shard, call, conn, &out);
}

static enum err counts_ask(const struct reads_ask *ask, const uint64_t *offsets, uint32_t count,
                           call_fn on_answer)
{
    /* Without a user it is the server that asks. */
    struct letter_receipt question = {.channel = ask->channel,
                                      .verb = RECEIPT_COUNTS,
                                      .offsets = offsets,
                                      .offsets_count = count};
    struct call *call;
    TRY(reads_call(ask, on_answer, &call, &question.call));
    call_post(ask->shard, letter_pack_receipt(ask->shard->post, call->to, &question));
    return ERR_OK;
}

enum err reads_read_count(const struct reads_ask *ask)
{
    return counts_ask(ask, &ask->offset, 1, on_count);
}

enum err reads_read_counts(const struct reads_ask *ask)
{
    uint64_t *offsets = arena_get(&ask->shard->arena, RECEIPT_BATCH_MAX * sizeof *offsets);
    uint32_t count;
    TRY(reads_parse_offsets(ask, offsets, &count));
    return counts_ask(ask, offsets, count, on_counts);
}

/* Lists. */

static void on_list(struct shard *shard, struct call *call, struct conn *conn,
                    const struct answer *answer)
{
    if (!reads_is_answered(shard, call, conn, answer)) return;
    struct json_out out = {0};
    receipt_users_write(&out, answer);
    reads_reply(shard, call, conn, &out);
}

static enum err list_ask(const struct reads_ask *ask, enum receipt_verb verb)
{
    struct letter_receipt question = {
        .channel = ask->channel, .verb = (uint8_t)verb, .offset = ask->offset};
    TRY(reads_query_page(ask, &question.limit, &question.after));
    struct call *call;
    TRY(reads_call(ask, on_list, &call, &question.call));
    call_post(ask->shard, letter_pack_receipt(ask->shard->post, call->to, &question));
    return ERR_OK;
}

enum err reads_readers(const struct reads_ask *ask)
{
    return list_ask(ask, RECEIPT_READERS);
}

enum err reads_nonreaders(const struct reads_ask *ask)
{
    return list_ask(ask, RECEIPT_NONREADERS);
}

/* What is new. */

/* The state that was asked for; NULL when the request is answered with its error. */
static const struct receipt_state *state_of(struct shard *shard, struct call *call,
                                            struct conn *conn, const struct answer *answer)
{
    struct answer said = *answer;
    if (said.err == ERR_OK) {
        check(said.states_count == 1);
        said.err = said.states[0].err;
    }
    return reads_is_answered(shard, call, conn, &said) ? &answer->states[0] : NULL;
}

static void on_unread(struct shard *shard, struct call *call, struct conn *conn,
                      const struct answer *answer)
{
    const struct receipt_state *state = state_of(shard, call, conn, answer);
    if (state == NULL) return;
    struct json_out out = {0};
    receipt_state_write(&out, state, false);
    reads_reply(shard, call, conn, &out);
}

static void on_cursor(struct shard *shard, struct call *call, struct conn *conn,
                      const struct answer *answer)
{
    const struct receipt_state *state = state_of(shard, call, conn, answer);
    if (state == NULL) return;
    struct json_out out = {0};
    json_out_object(&out);
    json_out_key(&out, "offset");
    json_out_u64(&out, state->read);
    json_out_object_end(&out);
    reads_reply(shard, call, conn, &out);
}

static enum err state_ask(const struct reads_ask *ask, call_fn on_answer)
{
    struct letter_receipt_states question = {.channels = &ask->channel, .channels_count = 1};
    TRY(reads_query(ask, "user", &question.user));
    TRY(reads_user_check(question.user));
    struct call *call;
    TRY(reads_call(ask, on_answer, &call, &question.call));
    call_post(ask->shard, letter_pack_receipt_states(ask->shard->post, call->to, &question));
    return ERR_OK;
}

enum err reads_unread(const struct reads_ask *ask)
{
    return state_ask(ask, on_unread);
}

/* A question that moves nothing, no mark either. */
enum err reads_cursor_show(const struct reads_ask *ask)
{
    return state_ask(ask, on_cursor);
}
