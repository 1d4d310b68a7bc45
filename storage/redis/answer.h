/*
 * answer: what the scripts answer and announce, as structs.
 *
 * Pure parsing of bytes that came over the network; views point into them.
 * Anything unexpected is ERR_STORE_CORRUPT.
 *
 * Thread:  any; pure.
 * Tests:   tests/unit/storage/test_redis.c
 */
#pragma once

#include "core/limits.h"
#include "storage/record.h"
#include "storage/redis/hello.h"
#include "storage/store.h"

enum announcement_kind {
    ANNOUNCEMENT_PUBLICATION = 'p',
    ANNOUNCEMENT_LIVE = 'l',
    ANNOUNCEMENT_MEMBERS = 'm',
    ANNOUNCEMENT_CURSOR = 'c',
    ANNOUNCEMENT_DELIVERED = 'd',
    ANNOUNCEMENT_UNREAD = 'u',
    ANNOUNCEMENT_HIDDEN = 'x',
    ANNOUNCEMENT_POLICY = 's',
    ANNOUNCEMENT_REMOVE = 'r',
    ANNOUNCEMENT_HEAD = 'h', /* the position that counts now; what is below it is to be read */
    ANNOUNCEMENT_JOIN = 'j', /* and the next: lua/presence.lua */
    ANNOUNCEMENT_GONE = 'g',
};

/* Which of a member's marks it brings; CURSOR_MARKS: none. */
enum cursor_mark announcement_mark(enum announcement_kind kind);

/* One line of words and a body (lua/records.lua). */
struct announcement {
    enum announcement_kind kind;
    uint64_t number; /* offset; members, remove: the head at which it came into force; head;
                        hidden: 1 or 0; policy: it */
    struct bytes epoch;
    struct bytes boot; /* whose append it was … */
    uint64_t seq;      /* … and which */
    uint64_t revision; /* members, cursors, removals, head */
    struct bytes body;
};

/* It has no place in the channel's order: a live publication, a join, a leave. */
static inline bool announcement_is_live(const struct announcement *announcement)
{
    return announcement->kind == ANNOUNCEMENT_LIVE || announcement->kind == ANNOUNCEMENT_JOIN ||
           announcement->kind == ANNOUNCEMENT_GONE;
}

must_use enum err announcement_read(struct bytes message, struct announcement *announcement);

/* What the field '' of a meta hash, and the answers of scripts, begin with. */
struct position {
    char epoch[EPOCH_MAX + 1]; /* of channels that were never forgotten */
    char lineage[LINEAGE_MAX + 1];
    uint64_t count; /* calls that wrote */
    uint64_t sure;  /* of them, that nobody may find missing */
};
must_use enum err position_read(struct bytes text, struct position *position);

/* What an epoch ends with, of a channel that was forgotten before (lua/partition.lua). */
#define BIRTH_MAX 8
must_use enum err birth_read(struct bytes text, char birth[BIRTH_MAX + 1]);
/* The epoch of a channel. */
void epoch_write(const struct position *position, const char *birth, char epoch[EPOCH_MAX + 1]);

/* The answer of lua/read.lua. */
struct read_answer {
    struct position position;
    char epoch[EPOCH_MAX + 1]; /* of the channel */
    uint64_t head;
    uint64_t revision;
    uint64_t members_revision;
    uint64_t removed; /* everything up to it was; 0: nothing */
    uint64_t policy;  /* the channel's own mark */
    bool are_members_lost;
    bool is_held; /* there is more, not confirmed yet */
    const struct reply *entries;
    const struct reply *members;
    const struct reply *seals; /* pairs: name, value (seals.h) */
    /* Of history: the offsets that were read, both inclusive, 0 for none. */
    uint64_t first, last;
};

must_use enum err read_answer_read(const struct reply *reply, struct read_answer *answer);

/* One entry of a stream. */
struct stream_entry {
    uint64_t offset;
    uint64_t revision;
    bool is_members;
    struct bytes body;
};

/* An error leaves the offset of the entry, or 0. */
must_use enum err stream_entry_read(const struct reply *reply, struct stream_entry *entry);
/* A pair of the members' hash: the user, and "joined read [delivered unread_from hidden]". */
must_use enum err member_read(const struct reply *user, const struct reply *value,
                              struct store_member *member);
/* "head revision members-revision [removed [confirmed-head confirmed-revision]] [p<policy>]
 * [birth] [@since]" of the meta hash. */
struct meta {
    uint64_t head, revision;
    uint64_t confirmed_head, confirmed_revision; /* the same but while something is held */
    char birth[BIRTH_MAX + 1];
};
static inline bool meta_is_held(const struct meta *meta)
{
    return meta->confirmed_head < meta->head || meta->confirmed_revision < meta->revision;
}
must_use enum err meta_read(struct bytes text, struct meta *meta);
/* What stands before a list that is none of MEMBERS_SET: no size of a name, which the
 * others begin with. */
#define MEMBERS_MARK 4
static inline uint32_t members_mark(enum members_kind kind)
{
    return (uint32_t)kind << 24 | 0xffffff;
}
/* A record of members, in force after the publication `head`; as members_change_read. */
must_use enum err members_body_read(struct bytes body, uint64_t head,
                                    struct members_change *change);
