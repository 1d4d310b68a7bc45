/*
 * question: letters that ask a channel for something.
 *
 * Each begins with its asker's call and its channel's name, so one function finds the
 * channel (of a companion: the one that it tells of), and either asks now or keeps the
 * letter until the channel is loaded.  The order of one asker's questions is kept while
 * they wait.
 */
#include "core/mem.h"
#include "shards/channel/channel_parts.h"
#include "shards/home.h"

static question_fn question_of(uint16_t kind)
{
    switch (kind) {
    case LETTER_SUBSCRIBE: return subscribe_ask;
    case LETTER_PUBLISH: return publish_ask;
    case LETTER_HISTORY: return history_ask;
    case LETTER_HISTORY_REMOVE: return history_remove_ask;
    case LETTER_MESSAGE_DELETE: return delete_ask;
    case LETTER_MEMBERS: return members_ask;
    case LETTER_MEMBERS_LIST: return members_list_ask;
    case LETTER_POLICY: return policy_ask;
    case LETTER_HEAD: return head_ask;
    case LETTER_RECEIPT: return receipt_ask;
    default: impossible("only questions about channels come here");
    }
}

void question_refuse(struct shard *shard, uint32_t to, struct handle call, enum err err)
{
    check(err != ERR_OK);
    call_answer_to(shard, to, &(struct answer){.call = call, .err = err});
}

void question_wait(struct channel *channel, struct letter *letter, bool is_kept)
{
    check(channel->state != CHANNEL_LIVE && channel->stored != NULL);
    if (channel->stored->waiting_count == channel->stored->waiting_room) {
        channel->stored->waiting_room = max_u32(4, channel->stored->waiting_room * 2);
        channel->stored->waiting =
            mem_resize(channel->stored->waiting,
                       channel->stored->waiting_room * sizeof channel->stored->waiting[0]);
    }
    channel->stored->waiting[channel->stored->waiting_count++] = letter;
    if (!is_kept) letter_keep(channel->shard->post, letter);
    if (channel->state == CHANNEL_FAILED) channel_open(channel);
}

/* Nothing of the store is asked for: to listen, and to publish without a key.  Who may do
 * so as a member only is known there. */
static bool is_bare(struct channel *channel, const struct letter *letter)
{
    if (!channel_may_be_bare(channel)) return false;
    if (letter->kind == LETTER_SUBSCRIBE) {
        struct letter_subscribe in;
        letter_read_subscribe(letter, &in);
        return !in.is_as_member && !receipt_is_members_only(channel);
    }
    if (letter->kind != LETTER_PUBLISH) return false;
    struct letter_publish in;
    letter_read_publish(letter, &in);
    return in.key.size == 0 && !receipt_is_members_only(channel);
}

static void question_ask(struct channel *channel, struct letter *letter, bool is_kept)
{
    struct post *post = channel->shard->post;
    if (channel->state == CHANNEL_BARE && !is_bare(channel, letter)) channel_open(channel);
    if (channel->state != CHANNEL_LIVE && channel->state != CHANNEL_BARE) {
        question_wait(channel, letter, is_kept);
        return;
    }
    if (channel->state == CHANNEL_LIVE) channel_trim(channel);
    bool is_needed = question_of(letter->kind)(channel, letter);
    if (is_needed && !is_kept) letter_keep(post, letter);
    if (!is_needed && is_kept) letter_release(post, letter);
}

void question_wake(struct channel *channel, enum err err)
{
    struct shard *shard = channel->shard;
    struct letter **waiting = channel->stored->waiting;
    uint32_t count = channel->stored->waiting_count;
    channel->stored->waiting = NULL;
    channel->stored->waiting_count = channel->stored->waiting_room = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (err == ERR_OK) {
            question_ask(channel, waiting[i], true);
            continue;
        }
        struct letter_ask question;
        letter_read_question(waiting[i], &question);
        question_refuse(shard, waiting[i]->from, question.call, err);
        letter_release(shard->post, waiting[i]);
    }
    mem_free(waiting);
}

static void question_on_letter(struct shard *shard, struct letter *letter)
{
    struct letter_ask question;
    letter_read_question(letter, &question);
    struct channel *channel;
    struct bytes base;
    bool is_companion = home_is_receipts(question.channel, &base);
    enum err err = is_companion && letter->kind != LETTER_SUBSCRIBE
                       ? ERR_NOT_AVAILABLE
                       : channel_find_or_make(shard, base, &channel);
    if (err != ERR_OK) {
        question_refuse(shard, letter->from, question.call, err);
        return;
    }
    question_ask(channel, letter, false);
    channel_settle(channel);
}

void channel_on_subscribe(void *shard, struct letter *letter)
{
    question_on_letter(shard, letter);
}
void channel_on_publish(void *shard, struct letter *letter)
{
    question_on_letter(shard, letter);
}
void channel_on_history(void *context, struct letter *letter)
{
    struct shard *shard = context;
    metric_add(&shard->metrics, METRIC_ACTIONS_HISTORY, 1);
    question_on_letter(shard, letter);
}
void channel_on_history_remove(void *context, struct letter *letter)
{
    struct shard *shard = context;
    metric_add(&shard->metrics, METRIC_ACTIONS_HISTORY_REMOVE, 1);
    question_on_letter(shard, letter);
}
void channel_on_message_delete(void *shard, struct letter *letter)
{
    question_on_letter(shard, letter);
}
void channel_on_members_ask(void *shard, struct letter *letter)
{
    question_on_letter(shard, letter);
}
void channel_on_members_list(void *shard, struct letter *letter)
{
    question_on_letter(shard, letter);
}
void channel_on_policy(void *shard, struct letter *letter)
{
    question_on_letter(shard, letter);
}
void channel_on_head(void *shard, struct letter *letter)
{
    question_on_letter(shard, letter);
}
void channel_on_receipt(void *shard, struct letter *letter)
{
    question_on_letter(shard, letter);
}

struct channel_op *op_begin(struct channel *channel, const struct letter *letter,
                            struct handle call)
{
    return op_for(channel, letter->from, call);
}

struct channel_op *op_for(struct channel *channel, uint32_t to, struct handle call)
{
    struct channel_op *op = slab_get(&channel->shard->channels.ops, NULL);
    check(op != NULL);
    op->channel = channel;
    op->to = to;
    op->call = call;
    channel->stored->ops++;
    return op;
}

void op_end(struct channel_op *op)
{
    struct channel *channel = op->channel;
    struct shard *shard = channel->shard;
    check(channel->stored->ops > 0);
    if (op->letter != NULL) letter_release(shard->post, op->letter);
    mem_free(op->name);
    slab_put(&shard->channels.ops, op);
    channel->stored->ops--;
    channel_settle(channel);
}

static void op_requeue(struct channel_op *op)
{
    check(op->letter != NULL);
    check(op->channel->state == CHANNEL_LOST);
    question_wait(op->channel, op->letter, true);
    op->letter = NULL;
    op_end(op);
}

bool op_failed(struct channel_op *op, enum err err)
{
    if (op->channel->state == CHANNEL_LOST) {
        op_requeue(op);
        return true;
    }
    if (err == ERR_OK) return false;
    question_refuse(op->channel->shard, op->to, op->call, err);
    op_end(op);
    return true;
}
