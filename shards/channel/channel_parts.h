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
#include "shards/letter_receipt.h"
#include "shards/policy.h"
#include "shards/shard.h"
#include "storage/change.h"

/* A question under way at the store. */
struct channel_op {
    struct channel *channel;
    struct letter *letter; /* the kept question; NULL when `to` and `call` say enough */
    uint32_t to;           /* the asking shard */
    uint32_t rounds;       /* store reads of a recovery so far */
    struct handle call;
    /* history: the head when it was asked; receipt: the cursor to be; publish: the
     * publisher's read cursor when it was asked; delete: the message */
    uint64_t offset;
    bool has_version;   /* publish: version_answered at its end */
    bool is_member;     /* publish: of a member */
    bool is_head;       /* publish: head_answered at its end */
    uint8_t verb;       /* receipt: enum receipt_verb */
    uint8_t client[16]; /* receipt, publish: the connection that asked */
    uint64_t time_ms;   /* publish: when it was asked */
    uint64_t seq;       /* publish of a head: its number */
    struct list heads;  /* the same: in stored->heads until it is answered */
    struct bytes user;  /* receipt, publish: whose, in the mem block `name` */
    char *name;
    union {
        struct store_append append;
        struct store_change change;
        struct store_read read;
        struct store_moves moves;
    };
};

/* Answers a LIVE channel's question, now or by an op.  True when an op needs
 * the letter until its end. */
typedef bool (*question_fn)(struct channel *channel, struct letter *letter);
must_use bool subscribe_ask(struct channel *channel, struct letter *letter);
must_use bool publish_ask(struct channel *channel, struct letter *letter);
must_use bool history_ask(struct channel *channel, struct letter *letter);
must_use bool history_remove_ask(struct channel *channel, struct letter *letter);
must_use bool delete_ask(struct channel *channel, struct letter *letter);
must_use bool members_ask(struct channel *channel, struct letter *letter);
must_use bool members_list_ask(struct channel *channel, struct letter *letter);
must_use bool policy_ask(struct channel *channel, struct letter *letter);
must_use bool head_ask(struct channel *channel, struct letter *letter);
must_use bool receipt_ask(struct channel *channel, struct letter *letter);

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

/* Something of the home itself that waits until a channel is LIVE, or FAILED with `err`;
 * it holds the channel meanwhile.  A zeroed one waits for nothing. */
struct channel_waiter {
    struct list link;
    void (*on_ready)(struct channel_waiter *waiter, struct channel *channel, enum err err);
};
/* Opens the channel if it must be; on_ready may run inside the call, when it is LIVE
 * already, and else runs once, later. */
void channel_await(struct channel *channel, struct channel_waiter *waiter);

/* publish.c */
/* A listening shard is behind: what would have to be delivered there is refused. */
must_use bool publish_is_backlogged(struct channel *channel);

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
/* The same for who is known already. */
must_use struct channel_op *op_for(struct channel *channel, uint32_t to, struct handle call);
/* Gives it back with its letter, and settles the channel. */
void op_end(struct channel_op *op);
/* A read has ended.  True when that was all: the question is refused with `err`, or waits
 * again because the channel is no longer LIVE. */
must_use bool op_failed(struct channel_op *op, enum err err);

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

/* members.c */
/* The metrics know what the channel's index holds; after it was made, grew or went. */
void members_account(struct channel *channel);

/* policy.c */
/* What is in force: the channel's own, and else its namespace's. */
struct policy policy_now(const struct channel *channel);
/* The feed brought another one of its own. */
void policy_take(struct channel *channel, uint64_t own);

/* head.c: sequence numbers of a server that keeps its messages itself. */
/* The last offset whose number is not above `seq`, 0 when there is none;
 * ERR_RECEIPT_TOO_OLD when it may have left the window. */
must_use enum err head_of_seq(const struct channel *channel, uint64_t seq, uint64_t *offset);
/* What becomes of a head. */
struct head_fate {
    uint64_t seq;
    uint64_t offset; /* it is there already; 0: it is not */
    bool is_late;    /* below the newest: nothing but a repeat of what has its id */
};
/* ERR_SEQ_BELOW_HEAD: it cannot be the next message, and has no id to be a repeat by. */
must_use enum err head_take(const struct channel *channel, const struct publication *publication,
                            bool has_id, struct head_fate *fate);
/* It is under way, until it is answered. */
void head_begin(struct channel_op *op, const struct head_fate *fate);
void head_answered(struct channel_op *op, enum err err, bool is_repeat);

/* receipt.c: members and their cursors. */
void receipt_load(struct channel *channel, const struct store_member *members, uint32_t count);
/* The options now in force; a reload may have changed them. */
void receipt_configure(struct channel *channel);
/* What members learn of readers here, by the options and the channel's own policy. */
enum config_receipts receipt_policy(const struct channel *channel);
/* Only members subscribe, publish and read here. */
bool receipt_is_members_only(const struct channel *channel);
/* Members may opt out of counts and lists. */
bool receipt_may_hide(const struct channel *channel);
/* ERR_NOT_MEMBER; the empty user is nobody. */
must_use enum err receipt_member(const struct channel *channel, struct bytes user);
/* The read cursor of a member; false: `user` is none. */
bool receipt_cursor(const struct channel *channel, struct bytes user, uint64_t *read);
/* A cursor has moved to `offset` or beyond: once the record is durable, and again when the
 * feed brings it, which changes nothing. */
void receipt_move(struct channel *channel, struct bytes user, uint64_t offset, bool is_delivered);
/* The feed brought a publication with an offset: the head moves, and its publisher's cursor. */
void receipt_post(struct channel *channel, const struct publication *publication);
/* Who published `offset`, when that is in the window: BYTES_NONE for the server.  False:
 * it is not there. */
must_use bool receipt_sender(const struct channel *channel, uint64_t offset, struct bytes *sender);
/* Where `user` stands; state->err says why not. */
void receipt_state_of(const struct channel *channel, struct bytes user,
                      struct receipt_state *state);
/* The user's connections, but that of `client`, are told where the user stands. */
void receipt_tell_devices(struct channel *channel, struct bytes user, const uint8_t client[16],
                          const struct receipt_state *state);

/* receipt_move.c: a question that moves a cursor or a mark; the error is the caller's to answer.
 * *is_kept: an op needs the letter until its end. */
must_use enum err receipt_move_ask(struct channel *channel, struct letter *letter,
                                   const struct letter_receipt *in, bool *is_kept);

/* live.c: receipts:<name>, while somebody listens to it. */
struct live_move;
struct live_count {
    uint64_t offset;
    uint32_t readers, eligible;
};
#define LIVE_COUNTS_MAX 20 /* newest publications whose counts are told */
struct live {
    struct channel *channel;   /* whose members it tells of */
    struct channel *companion; /* who listens */
    struct timer timer;        /* armed while something waits to be told */
    uint64_t next_ms;          /* nothing is told before */
    struct live_move *moves;   /* to be told, one per member and sort */
    uint32_t moves_count, moves_room;
    bool has_members;                        /* members came or left since that was told */
    bool is_silent;                          /* it had too many members then */
    bool has_policy;                         /* the policy is another one since that was told */
    struct live_count told[LIVE_COUNTS_MAX]; /* by offset, in a ring */
};
/* Each does nothing while nobody listens. */
/* A subscription to the companion: its one turn, as subscribe_finish is for others. */
void live_subscribe(struct channel *channel, uint32_t to, const struct letter_subscribe *in);
/* A listener of `companion` has left; `channel` is the one that it tells of, or NULL. */
void live_leave(struct channel *channel, struct channel *companion);
/* A member's cursor moved; of hidden ones nobody is told. */
void live_moved(struct channel *channel, struct bytes user, uint64_t from, uint64_t to,
                bool is_delivered);
/* Members came or left: counts may be others. */
void live_members_changed(struct channel *channel);
/* What may be told is something else. */
void live_policy_changed(struct channel *channel);
/* Its data vanished: listeners come back. */
void live_lose(struct channel *channel);
void live_end(struct channel *channel);

/* subscribe.c */
void listener_enter(struct channel *channel, uint32_t shard, const struct letter_subscribe *in);
