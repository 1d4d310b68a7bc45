/*
 * store_people: the members of a thing (store_world.h), asked for and checked.
 *
 * Thread:  one.
 */
#pragma once

#include "unit/storage/store_engines.h"

static inline void wait_append(struct append *append)
{
    assert_true(world_wait(append->world, &append->is_done));
    assert_int_equal(append->err, ERR_OK);
}

/* A list of one-letter users. */
static inline void change_members(struct thing *thing, enum members_kind kind, const char *letters,
                                  const struct member_join *joins)
{
    struct bytes users[32];
    uint32_t count = (uint32_t)strlen(letters);
    for (uint32_t i = 0; i < count; i++) users[i] = bytes_of(letters + i, 1);
    struct append append = {0};
    append.op.type = RECORD_MEMBERS;
    append.op.members =
        (struct members_ask){.kind = kind, .users = users, .joins = joins, .count = count};
    thing_append(thing, &append);
    memset(users, 0, sizeof users); /* what was lent is ours again */
    wait_append(&append);
    assert_int_equal(append.offset, thing->channel.head);
}

static inline uint64_t mark(struct thing *thing, const char *user, enum cursor_mark mark,
                            uint64_t offset)
{
    struct append append = {0};
    append.op.type = RECORD_CURSOR;
    append.op.user = bytes_of_text(user);
    append.op.mark = mark;
    append.op.offset = offset;
    thing_append(thing, &append);
    wait_append(&append);
    return append.offset;
}

static inline uint64_t publish_as(struct thing *thing, const char *user)
{
    struct append append = {0};
    append.op.type = RECORD_PUBLICATION;
    append.op.publication.data = BYTES_LITERAL("{}");
    append.op.publication.has_info = true;
    append.op.publication.user = bytes_of_text(user);
    thing_append(thing, &append);
    wait_append(&append);
    return append.offset;
}

static inline struct store_member *person(const struct thing *thing, const char *user)
{
    return members_find(&thing->people, bytes_of_text(user));
}

static inline void assert_person(const struct thing *thing, const char *user, uint64_t joined,
                                 uint64_t read, uint64_t delivered, uint64_t unread_from,
                                 bool is_hidden)
{
    const struct store_member *member = person(thing, user);
    assert_non_null(member);
    assert_int_equal(member->joined, joined);
    assert_int_equal(member->read, read);
    assert_int_equal(member->delivered, delivered);
    assert_int_equal(member->unread_from, unread_from);
    assert_int_equal(member->is_hidden, is_hidden);
}

static inline bool are_same(const struct members *one, const struct members *other)
{
    uint32_t count = one->map.count;
    if (count != other->map.count || one->policy != other->policy) return false;
    struct store_member *list = mem_alloc((count + 1) * sizeof *list);
    members_list(one, list);
    bool is_same = true;
    for (uint32_t i = 0; i < count && is_same; i++) {
        const struct store_member *here = &list[i], *there = members_find(other, here->user);
        is_same = there != NULL && here->joined == there->joined && here->read == there->read &&
                  here->delivered == there->delivered && here->unread_from == there->unread_from &&
                  here->is_hidden == there->is_hidden;
    }
    mem_free(list);
    return is_same;
}

/* What the feed has brought up to now is what an opening shows; the feed goes on from it. */
static inline void check_reopened(struct world *world, struct thing *thing)
{
    struct members before = thing->people;
    world_settle(world);
    before = thing->people;
    thing_close(thing);
    members_init(&thing->people, 1);
    thing_open(world, thing, 10);
    assert_true(are_same(&before, &thing->people));
    members_fini(&before);
}

struct moves {
    struct store_moves op; /* first */
    bool is_done;
    enum err err;
    struct store_moved moved[4];
};

static inline void on_moves(struct store_moves *op, enum err err, const struct store_moved *moved)
{
    struct moves *moves = (struct moves *)op;
    moves->is_done = true;
    moves->err = err;
    if (moved != NULL) memcpy(moves->moved, moved, op->users_count * sizeof *moved);
}

/* The moves of a, b and x to or past `offset`. */
static inline struct moves ask_moves(struct world *world, struct thing *thing, uint64_t offset)
{
    struct bytes users[] = {BYTES_LITERAL("a"), BYTES_LITERAL("b"), BYTES_LITERAL("x")};
    struct moves moves = {.op = {.channel = &thing->channel,
                                 .offset = offset,
                                 .users = users,
                                 .users_count = 3,
                                 .on_moves = on_moves}};
    world->is_calling = true;
    store_moves(thing->shard->store, &moves.op);
    world->is_calling = false;
    memset(users, 0, sizeof users);
    assert_true(world_wait(world, &moves.is_done));
    assert_int_equal(moves.err, ERR_OK);
    assert_true(moves.moved[2].read_ms == 0 && moves.moved[2].delivered_ms == 0);
    for (int i = 0; i < 3; i++) {
        const struct store_member *member =
            members_find(&thing->people, (struct bytes[]){BYTES_LITERAL("a"), BYTES_LITERAL("b"),
                                                          BYTES_LITERAL("x")}[i]);
        assert_int_equal(moves.moved[i].joined, member == NULL ? 0 : member->joined);
    }
    return moves;
}

static inline void pass(struct world *world, uint64_t ms)
{
    uint64_t end_ns = clock_mono_ns() + ms * 1000000;
    while (clock_mono_ns() < end_ns) world_turn(world);
}

struct listed {
    struct store_memberships op; /* first */
    bool is_done, has_more;
    enum err err;
    char names[256]; /* each and a space */
};

static inline void on_memberships(struct store_memberships *op, enum err err,
                                  const struct bytes *channels, uint32_t count, bool has_more)
{
    struct listed *listed = (struct listed *)op;
    assert_true(count <= op->limit);
    listed->is_done = true;
    listed->err = err;
    listed->has_more = has_more;
    for (uint32_t i = 0; i < count; i++) {
        size_t used = strlen(listed->names);
        snprintf(listed->names + used, sizeof listed->names - used, "%.*s ", (int)channels[i].size,
                 (const char *)channels[i].at);
    }
}

static inline struct listed ask_listed(struct world *world, uint32_t shard, const char *user,
                                       const char *after, uint32_t limit)
{
    struct listed listed = {.op = {.user = bytes_of_text(user),
                                   .after = bytes_of_text(after),
                                   .limit = limit,
                                   .on_memberships = on_memberships}};
    store_memberships(world->shards[shard].store, &listed.op);
    assert_true(world_wait(world, &listed.is_done));
    assert_int_equal(listed.err, ERR_OK);
    return listed;
}

struct settled {
    struct store_settle op; /* first */
    bool is_done;
};

static inline void on_settled(struct store_settle *op)
{
    ((struct settled *)op)->is_done = true;
}

/* Every shard says that what it answered is listed. */
static inline void settle(struct world *world)
{
    for (uint32_t shard = 0; shard < world->shards_count; shard++) {
        struct settled settled = {.op.on_settled = on_settled};
        settled.is_done = store_settle(world->shards[shard].store, &settled.op);
        assert_true(world_wait(world, &settled.is_done));
    }
}

/* Sooner or later that is what is said, on every shard. */
static inline void assert_listed(struct world *world, const char *user, const char *names)
{
    uint64_t end_ns = clock_mono_ns() + WORLD_WAIT_MS * 1000000ull;
    for (uint32_t shard = 0; shard < world->shards_count; shard++) {
        struct listed listed = ask_listed(world, shard, user, "", 100);
        while (strcmp(listed.names, names) != 0 && clock_mono_ns() < end_ns) {
            pass(world, 20);
            listed = ask_listed(world, shard, user, "", 100);
        }
        assert_string_equal(listed.names, names);
        assert_false(listed.has_more);
    }
}
