/*
 * channel_parts: what the files of a channel share.
 *
 * A question is a letter that asks for an answer.  Its handler runs when the
 * channel is LIVE; what it cannot answer at once becomes an op at the store,
 * which remembers whom to answer and keeps the letter when its views are
 * needed later.
 *
 * Thread:  home shard of the channel.
 */
#pragma once

#include "core/check.h"
#include "shards/channel/channel.h"
#include "shards/letter.h"
#include "shards/shard.h"

/* A question under way at the store. */
struct channel_op {
    struct channel *channel;
    struct letter *letter; /* the kept question; NULL when `to` and `call` say enough */
    uint32_t to;           /* the asking shard */
    uint32_t rounds;       /* store reads of a recovery so far */
    struct handle call;
    uint64_t offset;   /* history: the head when it was asked; receipt: the cursor to be */
    bool has_version;  /* publish: version_answered at its end */
    struct bytes user; /* receipt: whose, in the mem block `name` */
    char *name;
    union {
        struct store_append append;
        struct store_read read;
    };
};

/* Answers a LIVE channel's question, now or by an op.  True when an op needs
 * the letter until its end. */
typedef bool (*question_fn)(struct channel *channel, struct letter *letter);
must_use bool subscribe_ask(struct channel *channel, struct letter *letter);
must_use bool publish_ask(struct channel *channel, struct letter *letter);
must_use bool history_ask(struct channel *channel, struct letter *letter);
must_use bool history_remove_ask(struct channel *channel, struct letter *letter);
must_use bool members_set_ask(struct channel *channel, struct letter *letter);
must_use bool receipt_read_ask(struct channel *channel, struct letter *letter);
must_use bool receipt_counts_ask(struct channel *channel, struct letter *letter);

/* channel.c */
static inline struct bytes channel_name(const struct channel *channel)
{
    return label_text(&channel->name);
}
/* NULL when this shard has none of that name. */
struct channel *channel_find(const struct shard *shard, struct bytes name);
/* Finds, or makes a BARE one; ERR_LIMIT_MEMORY. */
must_use enum err channel_find_or_make(struct shard *shard, struct bytes name,
                                       struct channel **channel);
/* Begins to open a channel that is BARE, FAILED or LOST. */
void channel_open(struct channel *channel);
/* The options now in force and the engine let it be BARE. */
bool channel_may_be_bare(const struct channel *channel);
static inline struct channel *channel_of_store(struct store_channel *store)
{
    return container_of(store, struct stored, store)->channel;
}
static inline bool channel_keeps_history(const struct channel *channel)
{
    return channel->stored != NULL && history_is_kept(channel->stored->store.history);
}
/* After anything that may have let go of the channel: idle, or held.  A BARE or
 * failed one that nothing holds is freed: the caller does not look at it again. */
void channel_settle(struct channel *channel);

/* question.c */
/* Keeps a question until the channel is LIVE or FAILED.  `is_kept`: letter_keep
 * was called for it already. */
void question_wait(struct channel *channel, struct letter *letter, bool is_kept);
/* Asks everything that waited; `err`: answers it with that error. */
void question_wake(struct channel *channel, enum err err);
/* Answers with nothing but an error. */
void question_refuse(struct shard *shard, uint32_t to, struct handle call, enum err err);

/* An op for a question; never NULL, since a question holds a credit of its pair
 * and the pool has as many.  Holds the channel. */
must_use struct channel_op *op_begin(struct channel *channel, const struct letter *letter,
                                     struct handle call);
/* Gives it back with its letter, and settles the channel. */
void op_end(struct channel_op *op);
/* For a read that found the channel no longer LIVE: its question waits again. */
void op_requeue(struct channel_op *op);

/* window.c's rule of this channel, from the options now in force. */
struct window_rule channel_rule(const struct channel *channel);
/* Drops what is no longer kept. */
void channel_trim(struct channel *channel);

/* attend.c */
/* After the reply was posted: makes the entry, tells the join. */
void attend_enter(struct channel *channel, const struct letter_subscribe *in);
/* After the listener was taken off: ends the entry, tells the leave. */
void attend_leave(struct channel *channel, const struct letter_leave *in);
/* With other nodes: the store is told of everyone again; `is_quiet`: nobody else is. */
void attend_again(struct channel *channel, bool is_quiet);

/* version.c: of a publication whose version is above 0. */
/* *is_covered: it is older than what the channel shows, or the same; else it is under
 * way until version_answered.  ERR_CONFLICT: one under way may cover it. */
must_use enum err version_ask(struct channel *channel, const struct publication *publication,
                              bool *is_covered);
void version_answered(struct channel *channel);
/* A publication has come, or was loaded; one without a version says nothing. */
void version_note(struct channel *channel, const struct publication *publication);
/* The stored data is gone. */
void version_forget(struct channel *channel);
void version_fini(struct channel *channel);

/* receipt.c */
void receipt_load(struct channel *channel, const struct store_member *members, uint32_t count);
