/*
 * letter_receipt: questions about receipts, and their answers.
 *
 * One letter for everything that concerns one channel, told apart by its verb, and one
 * that asks what is new for a user in many channels of one home.  Who asks is a member
 * of the channel; without a user it is the server, which may see everything that the
 * channel keeps.
 *
 *   verb        needs                  answer
 *   READ        offset                 offset: the read cursor as it is now
 *   DELIVERED   offset                 offset: the delivered cursor
 *   VIEW        -                      offset: the read cursor, at the head
 *   MARK_UNREAD offset                 offset: unread from here on; 0: no mark any more
 *   HIDE        is_hidden              -
 *   COUNTS      offsets                readers and eligible, one of each per offset
 *   READERS     offset, limit, after   receipt_users, next
 *   NONREADERS  the same               the same
 *
 * Errors: ERR_NOT_MEMBER, ERR_BAD_REQUEST (an offset that never was, a page that is none),
 * ERR_RECEIPT_DISABLED (off by policy), ERR_DENIED (a list that is the sender's alone),
 * ERR_RECEIPT_TOO_OLD, ERR_RECEIPT_DELETED, ERR_RECEIPT_PAGE, ERR_CHANNEL_TOO_BIG, and those
 * of the store; nothing has changed then, but for ERR_STORE_UNKNOWN, after which the same
 * may be asked again.
 *
 * Thread:  pack on the sender, read on the home shard.
 * Tests:   tests/unit/shards/test_letter.c
 */
#pragma once

#include "shards/letter.h"

enum receipt_verb {
    RECEIPT_READ,
    RECEIPT_DELIVERED,
    RECEIPT_VIEW,
    RECEIPT_MARK_UNREAD,
    RECEIPT_HIDE,
    RECEIPT_COUNTS,
    RECEIPT_READERS,
    RECEIPT_NONREADERS,
    RECEIPT_VERB_COUNT,
};

struct letter_receipt {
    struct handle call;
    struct bytes channel;
    struct bytes user;  /* who asks, or whose cursor moves; empty: the server asks */
    uint8_t verb;       /* enum receipt_verb */
    bool is_hidden;     /* HIDE */
    bool is_seq;        /* READ: `offset` is a sequence number of the server's (channel/head.c) */
    uint8_t client[16]; /* the connection that moves its user's cursor and need not be told */
    uint64_t offset;
    const uint64_t *offsets; /* COUNTS: up to RECEIPT_BATCH_MAX; the reader fills an arena */
    uint32_t offsets_count;
    uint32_t limit; /* lists: at most receipts.max_readers_in_list; 0: so many */
    uint64_t after; /* lists: `next` of the page before; 0: the first page */
};

/* What is new for `user` in channels of one home, at most RECEIPT_STATES_MAX: as many states
 * in the same order.  Without channels: answered once the memberships that this home has
 * answered are listed (store_settle). */
struct letter_receipt_states {
    struct handle call;
    struct bytes user;
    const struct bytes *channels;
    uint32_t channels_count;
};

struct letter *letter_pack_receipt(struct post *post, uint32_t to, const struct letter_receipt *in);
void letter_read_receipt(const struct letter *letter, struct arena *arena,
                         struct letter_receipt *out);
struct letter *letter_pack_receipt_states(struct post *post, uint32_t to,
                                          const struct letter_receipt_states *in);
void letter_read_receipt_states(const struct letter *letter, struct arena *arena,
                                struct letter_receipt_states *out);

/* One of a list of readers.  Times are Unix milliseconds, 0: not known. */
struct receipt_user {
    struct bytes user;
    uint64_t read_ms, delivered_ms;
};

/* Where a member stands in a channel. */
struct receipt_state {
    enum err err; /* then nothing but the channel counts */
    struct bytes channel;
    struct bytes epoch;
    uint64_t head, read, delivered;
    uint64_t unread;       /* publications after `read` that count for this member */
    uint64_t first_unread; /* the first of them; 0: none */
    bool has_delivered;    /* delivered cursors are kept here */
};

struct json_out;
/* As JSON: {"channel" (when `with_channel`), "epoch", "head", "read", "delivered", "unread",
 * "first_unread"}; an error as {"error": {"code", "message"}}. */
void receipt_state_write(struct json_out *out, const struct receipt_state *state,
                         bool with_channel);

/* The members of an object about a channel whose member somebody is no longer: "channel",
 * "unread": 0, "removed": true. */
void receipt_removed_write(struct json_out *out, struct bytes channel);

/* {"counts": […], "eligible": […]}, one of each per offset. */
void receipt_counts_write(struct json_out *out, const struct answer *answer);

/* A page of readers: {"users": [{"user", "read_at"?, "delivered_at"?}], "times", "next"?} */
void receipt_users_write(struct json_out *out, const struct answer *answer);

/* The parts of an answer that belong to receipts. */
size_t receipts_size(const struct answer *in);
void receipts_write(struct writer *writer, const struct answer *in);
void receipts_read(struct reader *reader, struct arena *arena, struct answer *out);
