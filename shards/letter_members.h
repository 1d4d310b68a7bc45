/*
 * letter_members: a channel's members, and its head, as backends speak of them.
 *
 *   MEMBERS       who joins, leaves or is the whole list         answer: nothing
 *   MEMBERS_LIST  a page of the members as they stand            answer: members, next_slot,
 *                                                                offset: how many there are
 *   HEAD          the newest offset, or the last one whose       answer: offset, epoch
 *                 sequence number is not above `seq`
 *   POLICY        what the channel itself says of receipts      answer: offset: what is in
 *                 is to be, or is                              force and, 32 bits higher,
 *                                                              what is its own (policy.h)
 *
 * Errors: ERR_UNKNOWN_CHANNEL (it has no members), ERR_RECEIPT_PAGE (the members
 * were numbered anew), ERR_RECEIPT_TOO_OLD and those of the store.
 *
 * Thread:  pack on the sender, read on the home shard.
 * Tests:   tests/unit/shards/test_letter.c
 */
#pragma once

#include "shards/letter.h"
#include "storage/cursor.h"
#include "storage/member.h"

struct letter_members {
    struct handle call;
    struct bytes channel;
    uint8_t kind;                    /* enum members_kind: SET, ADD or REMOVE */
    const struct bytes *users;       /* on the sender arrays; the reader fills an arena */
    const struct member_join *joins; /* ADD: one a user; NULL: all join now */
    uint32_t count;
};

struct letter_members_list {
    struct handle call;
    struct bytes channel;
    uint64_t after; /* `next` of the page before; 0: the first one */
    uint32_t limit; /* 1 .. RECEIPT_LIST_MAX */
};

struct letter_head {
    struct handle call;
    struct bytes channel;
    uint64_t seq;
    bool has_seq;
};

struct letter *letter_pack_members(struct post *post, uint32_t to, const struct letter_members *in);
struct letter *letter_pack_members_list(struct post *post, uint32_t to,
                                        const struct letter_members_list *in);
struct letter *letter_pack_head(struct post *post, uint32_t to, const struct letter_head *in);
void letter_read_members(const struct letter *letter, struct arena *arena,
                         struct letter_members *out);
void letter_read_members_list(const struct letter *letter, struct letter_members_list *out);
void letter_read_head(const struct letter *letter, struct letter_head *out);

struct letter_policy {
    struct handle call;
    struct bytes channel;
    uint32_t own; /* policy.h; with `is_set` */
    bool is_set;
};

struct letter *letter_pack_policy(struct post *post, uint32_t to, const struct letter_policy *in);
void letter_read_policy(const struct letter *letter, struct letter_policy *out);

/* The part of an answer that lists members. */
size_t members_list_size(const struct answer *in);
void members_list_write(struct writer *writer, const struct answer *in);
void members_list_read(struct reader *reader, struct arena *arena, struct answer *out);
