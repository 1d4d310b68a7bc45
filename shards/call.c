/*
 * call: questions under way.
 */
#include "shards/call.h"

#include "core/check.h"
#include "shards/shard.h"

enum err call_begin(struct shard *shard, struct conn *conn, uint32_t to, call_fn on_answer,
                    struct call **call, struct handle *handle)
{
    check(to < shard->shards_count);
    check(on_answer != NULL);

    /* However much clients ask, a backend's call finds credit. */
    bool is_client = conn != NULL && conn->state == CONN_WS;
    bool is_spent = is_client && letter_credits_left(shard->post, to) <= MESH_CREDITS_KEPT;
    if ((conn != NULL && conn->calls_count == UINT16_MAX) || is_spent ||
        !letter_credit(shard->post, to)) {
        metric_add(&shard->metrics, METRIC_CREDITS_WAITED, 1);
        return ERR_CREDIT_SPENT;
    }
    struct call *made = slab_get(&shard->calls, handle);
    if (made == NULL) {
        letter_credit_return(shard->post, to);
        return ERR_LIMIT_MEMORY;
    }
    made->on_answer = on_answer;
    made->began_ns = shard->clock.mono_ns;
    made->conn = UINT32_MAX;
    made->to = (uint16_t)to;
    made->is_bulk = made->is_question = false;
    if (conn != NULL) {
        made->conn = conn_index(shard, conn);
        conn->calls_count++;
    }
    *call = made;
    return ERR_OK;
}

enum err call_begin_bulk(struct shard *shard, struct conn *conn, uint32_t to, call_fn on_answer,
                         struct call **call, struct handle *handle)
{
    check(conn != NULL);
    check(conn->bulk_count <= BULK_CALLS_MAX);

    if (conn->bulk_count == BULK_CALLS_MAX || conn_is_full(shard, conn)) return ERR_CREDIT_SPENT;
    TRY(call_begin(shard, conn, to, on_answer, call, handle));
    (*call)->is_bulk = true;
    conn->bulk_count++;
    return ERR_OK;
}

void call_is_question(struct conn *conn, struct call *call)
{
    check(!call->is_question);
    check(conn->questions_count < UINT8_MAX);
    call->is_question = true;
    conn->questions_count++;
}

void call_cancel(struct shard *shard, struct call *call)
{
    check(call->conn == UINT32_MAX);
    letter_credit_return(shard->post, call->to);
    slab_put(&shard->calls, call);
}

void call_post(struct shard *shard, struct letter *question)
{
    letter_post_request(shard->post, question);
}

/* `from` has answered. */
static void call_take(struct shard *shard, uint32_t from, const struct answer *answer)
{
    struct call *call = slab_find(&shard->calls, answer->call);
    check(call != NULL);
    check(call->to == from);
    struct conn *conn = call->conn == UINT32_MAX ? NULL : conn_at(shard, call->conn);
    if (call->conn != UINT32_MAX) check(conn != NULL);

    shard->is_credit_back = true;
    if (conn != NULL && conn->state == CONN_WS)
        metric_observe(&shard->metrics, FAMILY_COMMAND_SECONDS,
                       shard->clock.mono_ns - call->began_ns);
    call->on_answer(shard, call, conn, answer);
    if (conn != NULL) {
        check(conn->calls_count > 0);
        check(conn->bulk_count >= (call->is_bulk ? 1 : 0));
        check(conn->questions_count >= (call->is_question ? 1 : 0));
        conn->calls_count--;
        if (call->is_bulk) conn->bulk_count--;
        if (call->is_question) conn->questions_count--;
        if (shard->sub_parked > 0) indexes_add(&shard->sub_unpark, call->conn);
    }
    slab_put(&shard->calls, call);
    if (conn != NULL && conn->state == CONN_DYING) conn_settle(shard, conn);
}

void call_on_answer(void *context, struct letter *letter)
{
    struct shard *shard = context;
    struct answer answer;
    letter_read_answer(letter, &shard->arena, &answer);
    call_take(shard, letter->from, &answer);
}

void call_answer_to(struct shard *shard, uint32_t to, const struct answer *answer)
{
    letter_post_answer(shard->post, letter_pack_answer(shard->post, to, answer));
}

void call_answer_now(struct shard *shard, uint32_t to, const struct answer *answer)
{
    if (to != shard->index) {
        call_answer_to(shard, to, answer);
        return;
    }
    letter_answer_here(shard->post);
    call_take(shard, to, answer);
}

void call_answer(struct shard *shard, const struct letter *question, const struct answer *answer)
{
    check(question->is_request);
    call_answer_to(shard, question->from, answer);
}
