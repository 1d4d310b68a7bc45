/*
 * receipt_states: what is new for a user in many channels of this home.
 *
 * Channels that are not open are opened, all at once, and the answer leaves when the last
 * of them is there.  Nothing of it is stored: the head and the user's cursor say it.
 */
#include "core/mem.h"
#include "shards/channel/channel_parts.h"
#include "shards/home.h"

struct states_ask;
struct states_wait {
    struct channel_waiter waiter;
    struct states_ask *ask;
    uint32_t index;
};

/* A question about no channel, while the store settles. */
struct settle_ask {
    struct store_settle settle;
    struct shard *shard;
    struct handle call;
    uint32_t to;
};

/* One question under way; it keeps its letter for the names in it. */
struct states_ask {
    struct shard *shard;
    struct letter *letter;
    struct handle call;
    struct bytes user;
    uint32_t left;
    uint32_t count;
    struct bytes *channels;
    struct receipt_state *states;
    char (*epochs)[EPOCH_MAX + 1];
    struct states_wait waits[];
};

static void states_end(struct states_ask *ask)
{
    struct shard *shard = ask->shard;
    call_answer_to(
        shard, ask->letter->from,
        &(struct answer){.call = ask->call, .states = ask->states, .states_count = ask->count});
    letter_release(shard->post, ask->letter);
    mem_free(ask->channels);
    mem_free(ask->states);
    mem_free(ask->epochs);
    mem_free(ask);
}

/* A state outlives its channel's turn: its texts are copied, or views of the letter. */
static void states_set(struct states_ask *ask, uint32_t index, const struct receipt_state *state)
{
    struct receipt_state *kept = &ask->states[index];
    *kept = *state;
    kept->channel = ask->channels[index];
    check(state->epoch.size <= EPOCH_MAX);
    if (state->epoch.size > 0) memcpy(ask->epochs[index], state->epoch.at, state->epoch.size);
    kept->epoch = bytes_of(ask->epochs[index], state->epoch.size);
    check(ask->left > 0);
    ask->left--;
}

static void on_ready(struct channel_waiter *waiter, struct channel *channel, enum err err)
{
    struct states_wait *wait = container_of(waiter, struct states_wait, waiter);
    struct states_ask *ask = wait->ask;
    struct receipt_state state = {.err = err};
    if (err == ERR_OK) receipt_state_of(channel, ask->user, &state);
    states_set(ask, wait->index, &state);
    /* The asker counts too (channel_on_receipt_states). */
    if (ask->left == 0) states_end(ask);
}

static void states_await(struct states_ask *ask, uint32_t index)
{
    struct states_wait *wait = &ask->waits[index];
    struct channel *channel;
    struct bytes base;
    *wait = (struct states_wait){.waiter.on_ready = on_ready, .ask = ask, .index = index};
    enum err err = home_is_receipts(ask->channels[index], &base)
                       ? ERR_NOT_AVAILABLE
                       : channel_find_or_make(ask->shard, ask->channels[index], &channel);
    if (err != ERR_OK) {
        states_set(ask, index, &(struct receipt_state){.err = err});
        return;
    }
    channel_await(channel, &wait->waiter);
    channel_settle(channel);
}

static void on_settled(struct store_settle *op)
{
    struct settle_ask *ask = container_of(op, struct settle_ask, settle);
    call_answer_to(ask->shard, ask->to, &(struct answer){.call = ask->call});
    mem_free(ask);
}

static void settle_ask(struct shard *shard, uint32_t to, struct handle call)
{
    struct settle_ask *ask = mem_alloc(sizeof *ask);
    *ask = (struct settle_ask){
        .settle.on_settled = on_settled, .shard = shard, .call = call, .to = to};
    if (store_settle(shard->store, &ask->settle)) on_settled(&ask->settle);
}

void channel_on_receipt_states(void *context, struct letter *letter)
{
    struct shard *shard = context;
    struct letter_receipt_states in;
    letter_read_receipt_states(letter, &shard->arena, &in);
    if (in.channels_count == 0) {
        settle_ask(shard, letter->from, in.call);
        return;
    }
    uint32_t count = in.channels_count;
    struct states_ask *ask = mem_alloc(sizeof *ask + count * sizeof ask->waits[0]);
    ask->shard = shard;
    ask->letter = letter;
    ask->call = in.call;
    ask->user = in.user;
    ask->count = count;
    ask->channels = mem_alloc((count + (size_t)1) * sizeof *ask->channels);
    ask->states = mem_alloc((count + (size_t)1) * sizeof *ask->states);
    ask->epochs = mem_alloc((count + (size_t)1) * sizeof *ask->epochs);
    if (count > 0) memcpy(ask->channels, in.channels, count * sizeof *ask->channels);
    letter_keep(shard->post, letter);
    ask->left = count + 1; /* nobody answers while the channels are gone through */
    for (uint32_t i = 0; i < count; i++) states_await(ask, i);
    if (--ask->left == 0) states_end(ask);
}
