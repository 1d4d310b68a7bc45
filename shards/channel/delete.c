/*
 * delete: one message of the past goes, at the word of a backend.
 *
 * It is a publication like any other, which says of which earlier offset what was there is
 * to go: so it is durable, in order, replicated, delivered to whoever listens and recovered
 * by whoever was away, and every engine takes the other one away in the step in which it
 * keeps this one.  A mark of the channel, as its policy is, would have needed all of these
 * ways once more to be heard.
 *
 * The offset stays: whoever reads there finds that a message was deleted.  It is unread for
 * nobody, and nobody's receipt.  Asked again, nothing happens; two nodes that are asked at
 * once agree by the key of the call.
 */
#include "shards/channel/channel_parts.h"

#define DELETE_SCOPE "delete"
#define DELETE_TEXT  96

static struct bytes text_of(char text[DELETE_TEXT], const char *before, uint64_t offset,
                            const char *behind)
{
    struct writer writer = writer_of(text, DELETE_TEXT);
    write_text(&writer, before);
    write_decimal(&writer, offset);
    write_text(&writer, behind);
    check(!writer.failed);
    return writer_bytes(&writer);
}

static struct bytes key_of(char text[DELETE_TEXT], const char *epoch, uint64_t offset)
{
    struct writer writer = writer_of(text, DELETE_TEXT);
    write_text(&writer, epoch);
    write_text(&writer, " ");
    write_decimal(&writer, offset);
    check(!writer.failed);
    return writer_bytes(&writer);
}

static void delete_answer(struct channel *channel, uint32_t to, struct handle call, enum err err)
{
    call_answer_to(channel->shard, to, &(struct answer){.call = call, .err = err});
}

static void delete_on_appended(struct store_append *append, enum err err, uint64_t offset,
                               bool is_repeat)
{
    struct channel_op *op = container_of(append, struct channel_op, append);
    (void)offset;
    if (err == ERR_OK && !is_repeat) metric_add(&op->channel->shard->metrics, METRIC_PUBLISHED, 1);
    delete_answer(op->channel, op->to, op->call, err);
    op_end(op);
}

static void delete_append(struct channel_op *op)
{
    struct channel *channel = op->channel;
    char data[DELETE_TEXT], tags[DELETE_TEXT], key[DELETE_TEXT];
    op->append = (struct store_append){
        .channel = &channel->stored->store,
        .type = RECORD_PUBLICATION,
        /* Unread for nobody (receipt.c); a tag, because what clients publish has none. */
        .publication = {.data = text_of(data, "{\"deleted\":", op->offset, "}"),
                        .tags =
                            text_of(tags, "{\"system\":\"true\",\"deleted\":\"", op->offset, "\"}"),
                        .deletes = op->offset},
        .scope = BYTES_LITERAL(DELETE_SCOPE),
        .key = key_of(key, channel->stored->store.epoch, op->offset),
        .on_appended = delete_on_appended,
    };
    store_append(channel->shard->store, &op->append);
}

static void delete_on_read(struct store_read *read, enum err err,
                           const struct publication *publications, uint32_t count)
{
    struct channel_op *op = container_of(read, struct channel_op, read);
    if (op_failed(op, err)) return;
    bool is_there = count == 1 && publications[0].offset == op->offset;
    bool is_done = is_there && publications[0].is_deleted;
    err = is_there ? ERR_OK : ERR_MESSAGE_UNKNOWN;
    if (!channel_keeps_history(op->channel)) err = ERR_NOT_AVAILABLE; /* a reload came */
    if (err == ERR_OK && !is_done) {
        delete_append(op);
        return;
    }
    delete_answer(op->channel, op->to, op->call, err);
    op_end(op);
}

/* Below the window: is it kept still, and not deleted before? */
static void delete_read(struct channel *channel, struct channel_op *op, struct letter *letter)
{
    op->letter = letter;
    op->read = (struct store_read){
        .channel = &channel->stored->store,
        .since = op->offset - 1,
        .limit = 1,
        .on_read = delete_on_read,
    };
    store_read(channel->shard->store, &op->read);
}

/* *is_done: it was deleted before. */
static enum err delete_check(struct channel *channel, const struct letter_message *in,
                             bool *is_done)
{
    const struct window *window = &channel->stored->window;
    struct publication publication;
    if (!channel_keeps_history(channel)) return ERR_NOT_AVAILABLE;
    if (in->epoch.size > 0 && !bytes_equal_text(in->epoch, channel->stored->store.epoch))
        return ERR_UNRECOVERABLE;
    if (in->offset < window->floor || in->offset > window->head) return ERR_MESSAGE_UNKNOWN;
    if (in->offset < window_first(window)) return ERR_OK;
    window_get(window, in->offset, &publication);
    *is_done = publication.is_deleted;
    return publish_is_backlogged(channel) ? ERR_BACKLOG : ERR_OK;
}

bool delete_ask(struct channel *channel, struct letter *letter)
{
    check(channel->state == CHANNEL_LIVE);
    struct letter_message in;
    bool is_done = false;
    letter_read_message_delete(letter, &in);
    enum err err = delete_check(channel, &in, &is_done);
    if (err != ERR_OK || is_done) {
        delete_answer(channel, letter->from, in.call, err);
        return false;
    }
    struct channel_op *op = op_begin(channel, letter, in.call);
    op->offset = in.offset;
    bool is_here = in.offset >= window_first(&channel->stored->window);
    if (is_here)
        delete_append(op);
    else
        delete_read(channel, op, letter);
    return !is_here;
}
