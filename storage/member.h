/*
 * member: who belongs to a channel and where each stands: the rules and the bytes
 * that all engines share.
 *
 * Members change by lists and move by marks.  A list as bytes (struct members_ask):
 *
 *   SET           sized user …
 *   ADD           (sized user · u64 joined · u64 read) …
 *   REMOVE        sized user …
 *   SET_BETWEEN   sized after · sized upto · sized user …
 *
 * A publication moves its publisher, too (publication_mover): whoever sends has read
 * what came before.  It is one step with the publication, and no record of its own.
 *
 * A mark of no user is the channel's own: it takes the ways of the others, so that it is
 * durable, in order and told to every node as they are.
 *
 * Thread:  any; pure.
 * Tests:   tests/unit/storage/test_members.c, tests/fuzz/fuzz_entry.c
 */
#pragma once

#include "storage/record.h"

/* A member of a channel.
 *
 *   joined - 1 <= read <= delivered <= head, unread_from <= read */
struct store_member {
    struct bytes user;
    uint64_t joined;      /* the first offset that is for this member */
    uint64_t read;        /* everything up to here is read */
    uint64_t delivered;   /* everything up to here is on a device */
    uint64_t unread_from; /* marked as unread from here on; 0: not */
    bool is_hidden;       /* is in no count and no list of readers */
};

enum members_kind {
    MEMBERS_SET,    /* the whole list: who is new joins, who is missing leaves */
    MEMBERS_ADD,    /* these join; who is a member stays as he is */
    MEMBERS_REMOVE, /* these leave; coming back is a new join */
    /* The whole list of the users above `after` and up to `upto`, compared byte by
     * byte, an empty `upto` being above all: a long list, cut into records. */
    MEMBERS_SET_BETWEEN,
    MEMBERS_STATE, /* for sinks only: exactly these, with all that is known of them */
};

enum cursor_mark {
    CURSOR_READ,      /* up to the offset; also delivers, and ends an unread mark at or below */
    CURSOR_DELIVERED, /* up to the offset */
    CURSOR_UNREAD,    /* from the offset on; 0, or above what is read: no mark */
    CURSOR_HIDDEN,    /* 1: hidden, 0: not */
    CURSOR_POLICY,    /* of the channel, so of no user: a number its owner understands; 0: none */
    CURSOR_MARKS,
};
static inline bool mark_is_of_channel(enum cursor_mark mark)
{
    return mark == CURSOR_POLICY;
}

/* Where someone who is added begins.  joined 0: behind the head, like everybody who
 * joins now; else an import, cut to what the head allows. */
struct member_join {
    uint64_t joined, read;
};

/* A change of the list as it is asked for. */
struct members_ask {
    enum members_kind kind;
    struct bytes after, upto;        /* SET_BETWEEN */
    const struct bytes *users;       /* of 1 .. USER_ID_MAX bytes */
    const struct member_join *joins; /* ADD: one a user; NULL: all behind the head */
    uint32_t count;
};

/* A change as a sink hears it.  SET, SET_BETWEEN, ADD: the numbers are for who is new.
 * REMOVE: only the users. */
struct members_change {
    enum members_kind kind;
    struct bytes after, upto; /* SET_BETWEEN */
    const struct store_member *list;
    uint32_t count;
};

size_t members_ask_size(const struct members_ask *ask);
void members_ask_write(struct writer *writer, const struct members_ask *ask);
/* The change that `body` asks for after the publication `head`; its views point into
 * `body`, its list is freed by members_change_fini.  ERR_STORE_CORRUPT: nothing to free. */
must_use enum err members_change_read(struct bytes body, enum members_kind kind, uint64_t head,
                                      struct members_change *change);
void members_change_fini(struct members_change *change);

/* Is `user` among those that a SET_BETWEEN speaks of? */
bool members_are_between(struct bytes user, struct bytes after, struct bytes upto);

/* Someone who joins after the publication `head`. */
struct store_member member_begin(struct bytes user, struct member_join join, uint64_t head);
/* Applies a mark; true when what it names moved. */
bool member_move(struct store_member *member, enum cursor_mark mark, uint64_t offset,
                 uint64_t head);
/* Whose cursors go to the publication's offset, if a member: BYTES_NONE for nobody's. */
struct bytes publication_mover(const struct publication *publication);
