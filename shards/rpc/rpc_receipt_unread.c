/*
 * rpc_receipt_unread: what is new for me.
 *
 * {"channels":["name", …]} → {"channels": {"name": {"epoch","head","read","delivered"?,
 * "unread","first_unread"?}, …}}, at most RECEIPT_STATES_MAX, each once however often it is
 * named; of a channel that cannot be told {"error": {"code","message"}} in its place.
 * Computed from the head and the user's cursor: nobody keeps a counter that could be wrong.
 *
 * Each home that has one of the channels is asked once, and the reply waits for all.
 */
#include "core/check.h"
#include "core/limits.h"
#include "core/mem.h"
#include "proto/json.h"
#include "shards/cmd/rules.h"
#include "shards/home.h"
#include "shards/letter_receipt.h"
#include "shards/rpc/rpc_parts.h"
#include "shards/shard.h"

struct wanted {
    struct bytes channels[RECEIPT_STATES_MAX];
    uint32_t count;
};

static enum err unread_parse(struct bytes text, struct arena *arena, struct wanted *out)
{
    out->count = 0;
    struct bytes name, channel = BYTES_NONE;
    uint32_t count = 0;
    struct json json;
    json_open(&json, text);
    if (json_enter_object(&json))
        while (json_key(&json, &name)) {
            if (!bytes_equal_text(name, "channels")) {
                json_skip(&json);
                continue;
            }
            count = 0;
            if (json_enter_array(&json))
                for (; json_element(&json); count++) {
                    json_text(&json, arena, &channel);
                    if (count < RECEIPT_STATES_MAX) out->channels[count] = channel;
                }
        }
    TRY(json_close(&json));
    if (count > RECEIPT_STATES_MAX) return ERR_LIMIT_SIZE;
    out->count = count;
    return count == 0 ? ERR_BAD_REQUEST : ERR_OK;
}

/* Answers of several homes for one reply. */
struct unread {
    struct json_out out;
    uint32_t left; /* homes to answer */
};

static void unread_add(struct unread *unread, const struct receipt_state *state)
{
    json_out_key_text(&unread->out, state->channel);
    receipt_state_write(&unread->out, state, false);
}

static void on_states(struct shard *shard, struct call *call, struct conn *conn,
                      const struct answer *answer)
{
    struct unread *unread = call->context;
    check(answer->err == ERR_OK); /* what fails is told for each channel */
    for (uint32_t i = 0; i < answer->states_count; i++) unread_add(unread, &answer->states[i]);
    check(unread->left > 0);
    if (--unread->left > 0) return;
    json_out_object_end(&unread->out);
    json_out_object_end(&unread->out);
    if (rpc_is_answered(shard, call, conn, answer))
        rpc_reply(shard, call, conn, &unread->out);
    else
        json_out_fini(&unread->out);
    mem_free(unread);
}

static bool is_named_before(const struct wanted *wanted, uint32_t index)
{
    for (uint32_t i = 0; i < index; i++)
        if (bytes_equal(wanted->channels[i], wanted->channels[index])) return true;
    return false;
}

/* The channels of each home, those that cannot be asked for left out and told. */
struct homes {
    struct bytes *channels[SHARDS_MAX];
    uint32_t counts[SHARDS_MAX];
    uint32_t used; /* homes */
};

static void homes_sort(struct shard *shard, const struct wanted *wanted, struct homes *homes,
                       struct unread *unread)
{
    *homes = (struct homes){.used = 0};
    for (uint32_t i = 0; i < wanted->count; i++) {
        if (is_named_before(wanted, i)) continue;
        const struct config_namespace *space;
        struct receipt_state state = {.channel = wanted->channels[i]};
        state.err = rules_channel(shard, state.channel, &space);
        if (state.err == ERR_OK && !config_has_history(space)) state.err = ERR_NOT_AVAILABLE;
        if (state.err != ERR_OK) {
            unread_add(unread, &state);
            continue;
        }
        uint32_t home = home_of_channel(state.channel, shard->shards_count);
        if (homes->counts[home] == 0) {
            homes->channels[home] = arena_get(&shard->arena, wanted->count * sizeof(struct bytes));
            homes->used++;
        }
        homes->channels[home][homes->counts[home]++] = state.channel;
    }
}

/* All homes or none: what waits for credit has asked nobody. */
static bool has_credit(const struct rpc *rpc, const struct homes *homes)
{
    for (uint32_t to = 0; to < rpc->shard->shards_count; to++)
        if (homes->counts[to] > 0 && letter_credits_left(rpc->shard->post, to) <= MESH_CREDITS_KEPT)
            return false;
    return rpc->conn->calls_count + homes->used < UINT16_MAX;
}

static void ask_home(const struct rpc *rpc, uint32_t to, const struct homes *homes,
                     struct unread *unread)
{
    struct letter_receipt_states question = {
        .user = conn_user(rpc->conn),
        .channels = homes->channels[to],
        .channels_count = homes->counts[to],
    };
    struct call *call;
    enum err err = rpc_call(rpc, question.channels[0], on_states, &call, &question.call);
    if (err != ERR_OK) { /* the pool of calls is spent */
        for (uint32_t i = 0; i < question.channels_count; i++)
            unread_add(unread,
                       &(struct receipt_state){.channel = question.channels[i], .err = err});
        return;
    }
    call->context = unread;
    unread->left++;
    call_post(rpc->shard, letter_pack_receipt_states(rpc->shard->post, to, &question));
}

static void reply_now(const struct rpc *rpc, struct unread *unread)
{
    json_out_object_end(&unread->out);
    json_out_object_end(&unread->out);
    struct call call = {.id = rpc->id};
    rpc_reply(rpc->shard, &call, rpc->conn, &unread->out);
    mem_free(unread);
}

enum err rpc_receipt_unread(const struct rpc *rpc)
{
    struct wanted *wanted = arena_get(&rpc->shard->arena, sizeof *wanted);
    TRY(unread_parse(rpc->data, &rpc->shard->arena, wanted));
    if (rpc->conn->user_size == 0) return ERR_NOT_MEMBER;

    struct unread *unread = mem_alloc(sizeof *unread);
    json_out_object(&unread->out);
    json_out_key(&unread->out, "channels");
    json_out_object(&unread->out);
    struct homes homes;
    homes_sort(rpc->shard, wanted, &homes, unread);
    if (!has_credit(rpc, &homes)) {
        json_out_fini(&unread->out);
        mem_free(unread);
        metric_add(&rpc->shard->metrics, METRIC_CREDITS_WAITED, 1);
        return ERR_CREDIT_SPENT;
    }
    for (uint32_t to = 0; to < rpc->shard->shards_count; to++)
        if (homes.counts[to] > 0) ask_home(rpc, to, &homes, unread);
    if (unread->left == 0) reply_now(rpc, unread);
    return ERR_OK;
}
