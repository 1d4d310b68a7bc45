/*
 * cursor_model: the read index as anybody would write it: an array of members, a flag
 * for each offset, and a loop for each question.
 *
 * It says what storage/cursor.h promises, in its words and with none of its structures.
 *
 * Thread:  one.
 */
#pragma once

#include <string.h>

#include "storage/cursor.h"

#define MODEL_USERS 70400
#define MODEL_FLAGS 4096 /* offsets remembered; more than a window */

struct model_user {
    bool is_member, is_hidden;
    uint64_t joined, read, delivered, mark;
    uint64_t turn; /* the how-manieth join it was: lists go by that */
};

static struct model {
    struct model_user users[MODEL_USERS];
    uint32_t users_count, members;
    uint64_t head, floor, turns;
    uint64_t kept_from;
    bool is_tracked; /* delivered cursors */
    struct cursor_rules rules;
    bool deleted[MODEL_FLAGS], uncounted[MODEL_FLAGS];
    /* Who joined, by turn; an entry is void once that user's turn is another. */
    uint32_t order[1u << 20];
} model;

static uint64_t model_low(void)
{
    return model.head < RECEIPT_WINDOW ? 1 : model.head - RECEIPT_WINDOW + 1;
}

static void model_begin(uint32_t users_count, uint64_t head)
{
    memset(model.users, 0, users_count * sizeof *model.users);
    memset(model.deleted, 0, sizeof model.deleted);
    memset(model.uncounted, 0, sizeof model.uncounted);
    model.users_count = users_count;
    model.members = 0;
    model.head = head;
    model.floor = model.kept_from = model.turns = 0;
    model.is_tracked = false;
    model.rules = (struct cursor_rules){RECEIPT_WINDOW, 2000, 256, false, false};
}

/* As after each change of who is a member. */
static void model_fit(void)
{
    model.is_tracked = model.members > 0 && model.members <= model.rules.delivered_max;
}

static uint64_t model_joined(const struct model_user *user)
{
    return user->joined > model_low() ? user->joined : 1;
}

static void model_mark(struct model_user *user, uint64_t from)
{
    if (from > 0) from = max_u64(from, model_joined(user));
    user->mark = from > user->read ? 0 : from;
}

static void model_join(uint32_t i, const struct cursor_member *member)
{
    struct model_user *user = &model.users[i];
    uint64_t joined = min_u64(max_u64(member->joined, 1), model.head + 1);
    uint64_t read = max_u64(min_u64(member->read, model.head), joined - 1);
    *user = (struct model_user){.is_member = true, .joined = joined, .read = read};
    user->is_hidden = member->is_hidden;
    user->turn = ++model.turns;
    model.order[user->turn] = i;
    model.members++;
    model_fit();
    user->delivered = max_u64(read, min_u64(member->delivered, model.head));
    model_mark(user, member->unread_from);
}

static void model_leave(uint32_t i)
{
    model.users[i] = (struct model_user){0};
    model.members--;
    model_fit();
}

static void model_post(uint64_t head)
{
    if (head - model.head >= MODEL_FLAGS) {
        memset(model.deleted, 0, sizeof model.deleted);
        memset(model.uncounted, 0, sizeof model.uncounted);
    } else {
        for (uint64_t offset = model.head + 1; offset <= head; offset++)
            model.deleted[offset % MODEL_FLAGS] = model.uncounted[offset % MODEL_FLAGS] = false;
    }
    model.head = head;
}

static void model_move(uint32_t i, uint64_t offset)
{
    struct model_user *user = &model.users[i];
    offset = min_u64(offset, model.head);
    if (user->mark <= offset) user->mark = 0;
    user->read = max_u64(user->read, offset);
    user->delivered = max_u64(user->delivered, user->read);
}

static uint64_t model_delivered(const struct model_user *user)
{
    return max_u64(user->read, user->delivered);
}

static bool model_is_deleted(uint64_t offset)
{
    return offset <= model.floor || (offset >= model_low() && model.deleted[offset % MODEL_FLAGS]);
}

static enum err model_ask(uint64_t offset)
{
    if (offset == 0 || offset > model.head) return ERR_BAD_REQUEST;
    if (offset + model.rules.window <= model.head) return ERR_RECEIPT_TOO_OLD;
    return model_is_deleted(offset) ? ERR_RECEIPT_DELETED : ERR_OK;
}

/* Is this user of that side of the message?  `sender`: users_count for nobody. */
static bool model_is_on(enum cursor_side side, const struct model_user *user, uint64_t offset,
                        uint32_t sender)
{
    if (!user->is_member) return false;
    if (side == CURSOR_EVERYBODY) return true;
    if (user->is_hidden || user->joined > offset || user == &model.users[sender]) return false;
    return (user->read >= offset) == (side == CURSOR_READERS);
}

static void model_counts(uint64_t offset, uint32_t sender, uint32_t *readers, uint32_t *eligible)
{
    *readers = *eligible = 0;
    for (uint32_t i = 0; i < model.users_count; i++) {
        *readers += model_is_on(CURSOR_READERS, &model.users[i], offset, sender);
        *eligible += model_is_on(CURSOR_NONREADERS, &model.users[i], offset, sender);
    }
    *eligible += *readers;
}

/* Fills users[] in the order of the joins. */
static uint32_t model_list(enum cursor_side side, uint64_t offset, uint32_t sender, uint32_t *users)
{
    uint32_t count = 0;
    for (uint64_t turn = 1; turn <= model.turns; turn++) {
        const struct model_user *user = &model.users[model.order[turn]];
        if (user->turn == turn && model_is_on(side, user, offset, sender))
            users[count++] = model.order[turn];
    }
    return count;
}

static struct cursor_unread model_unread(const struct model_user *user)
{
    uint64_t seen = user->mark > 0 ? user->mark - 1 : user->read, low = model_low();
    if (model.head > model.rules.window) low = max_u64(low, model.head - model.rules.window + 1);
    low = max_u64(low, model.kept_from);
    if (!model.rules.deleted_is_unread) seen = max_u64(seen, model.floor);
    struct cursor_unread unread = {.head = model.head, .read = user->read};
    unread.delivered = model_delivered(user);
    if (seen + 1 < low) { /* what left the window counts */
        unread.unread = low - 1 - seen;
        unread.first = seen + 1;
    }
    for (uint64_t offset = max_u64(low, seen + 1); offset <= model.head; offset++) {
        if (model.uncounted[offset % MODEL_FLAGS]) continue;
        if (model.deleted[offset % MODEL_FLAGS] && !model.rules.deleted_is_unread) continue;
        if (unread.first == 0) unread.first = offset;
        unread.unread++;
    }
    return unread;
}
