/*
 * policy: what a channel itself says of receipts.
 *
 * It is a record of the channel's log, so it is set once for all nodes and for good, and
 * takes effect in the order of the feed: the last one that was set is in force everywhere.
 * Questions look at it when they are asked, and who listens to receipts:X is told of it.
 */
#include "shards/channel/channel_parts.h"
#include "shards/letter_members.h"

struct policy policy_now(const struct channel *channel)
{
    const struct config *config = channel->shard->config;
    const struct config_namespace *space = config_namespace_of(config, channel_name(channel));
    if (space == NULL) return (struct policy){CONFIG_RECEIPTS_OFF, false};
    uint32_t own = channel->stored == NULL ? 0 : channel->stored->policy;
    struct policy policy = policy_of(
        own, (struct policy){(enum config_receipts)space->receipts, space->receipts_opt_out});
    if (!config->receipts_enabled) policy.receipts = CONFIG_RECEIPTS_OFF;
    return policy;
}

void policy_take(struct channel *channel, uint64_t own)
{
    check(channel->state == CHANNEL_LIVE);
    struct policy before = policy_now(channel);
    channel->stored->policy = (uint32_t)own;
    struct policy now = policy_now(channel);
    if (now.receipts != before.receipts) live_policy_changed(channel);
}

static void policy_answer(struct channel *channel, uint32_t to, struct handle call)
{
    uint64_t own = channel->stored->policy, whole = policy_whole(policy_now(channel));
    call_answer_to(channel->shard, to, &(struct answer){.call = call, .offset = own << 32 | whole});
}

static void policy_on_appended(struct store_append *append, enum err err, uint64_t offset,
                               bool is_repeat)
{
    struct channel_op *op = container_of(append, struct channel_op, append);
    (void)offset;
    check(!is_repeat);
    call_answer_to(op->channel->shard, op->to, &(struct answer){.call = op->call, .err = err});
    op_end(op);
}

bool policy_ask(struct channel *channel, struct letter *letter)
{
    check(channel->state == CHANNEL_LIVE);
    struct letter_policy in;
    letter_read_policy(letter, &in);
    if (!in.is_set) {
        policy_answer(channel, letter->from, in.call);
        return false;
    }
    struct channel_op *op = op_begin(channel, letter, in.call);
    op->append = (struct store_append){
        .channel = &channel->stored->store,
        .type = RECORD_CURSOR,
        .mark = CURSOR_POLICY,
        .offset = in.own,
        .on_appended = policy_on_appended,
    };
    store_append(channel->shard->store, &op->append);
    return false;
}
