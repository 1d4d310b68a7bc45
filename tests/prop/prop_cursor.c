/*
 * The read index against a plain array of members (cursor_model.h): joins early and late,
 * imports, leaves, returns, moves, marks, opt-outs, deleted and system messages, posts
 * of one and of many (through the window and through rebases), and whole crowds that
 * come, leave and read.  Counts, lists by pages, sets and unread counts are compared.
 *
 * Each step is done to two indexes, one that scans plainly and one with what the machine
 * has; both must be the model.
 *
 * prop_cursor         200 seeds of up to 2,001 members, 2 of 70,000
 * prop_cursor SEED    one of them: the seed names the size, too
 * prop_cursor --all   200 seeds each of 2, 9, 257, 2,001 and 70,000 members
 */
#include "cursor_model.h"
#include "prop.h"
#include "storage/bitmap.h"
#include "storage/cursor_parts.h"

#define TWINS 2

static struct cursor_index *twins[TWINS];

static struct bytes name(uint32_t i)
{
    static char texts[4][16];
    static uint32_t turn;
    char *text = texts[turn++ % 4];
    snprintf(text, sizeof texts[0], "u%u", i);
    return bytes_of_text(text);
}

static uint32_t user_of(struct bytes name)
{
    uint64_t i;
    expect(name.size > 1 && bytes_to_u64(bytes_of(name.at + 1, name.size - 1), &i));
    expect(i < model.users_count && model.users[i].is_member);
    return (uint32_t)i;
}

/* ── comparisons ── */

/* Somewhere about the window, and now and then around it. */
static uint64_t any_offset(struct rng *rng)
{
    return model.head + 2 - rng_below(rng, min_u64(model.head + 2, RECEIPT_WINDOW + 4));
}

static uint32_t any_sender(struct rng *rng)
{
    return rng_chance(rng, 20) ? model.users_count : (uint32_t)rng_below(rng, model.users_count);
}

static struct bytes sender_name(uint32_t sender)
{
    return sender == model.users_count ? BYTES_NONE : name(sender);
}

static void compare_counts(struct rng *rng)
{
    uint64_t offset = any_offset(rng);
    uint32_t sender = any_sender(rng), readers = 0, eligible = 0;
    enum err want = model_ask(offset);
    if (want == ERR_OK) model_counts(offset, sender, &readers, &eligible);
    for (uint32_t t = 0; t < TWINS; t++) {
        uint32_t r = 0, e = 0;
        expect(cursor_counts(twins[t], offset, sender_name(sender), &r, &e) == want);
        expect(r == readers && e == eligible);
    }
}

static void compare_member(const struct cursor_member *member)
{
    const struct model_user *user = &model.users[user_of(member->user)];
    expect(member->joined == model_joined(user));
    expect(member->read == user->read);
    expect(member->delivered == model_delivered(user));
    expect(member->unread_from == user->mark);
    expect(member->is_hidden == user->is_hidden);
}

static void compare_unread(const struct cursor_index *index, uint32_t i)
{
    struct cursor_unread have = {0}, want = {0};
    bool is_member = model.users[i].is_member;
    expect(cursor_unread(index, name(i), &have) == (is_member ? ERR_OK : ERR_NOT_MEMBER));
    if (is_member) want = model_unread(&model.users[i]);
    expect(memcmp(&have, &want, sizeof have) == 0);
    uint64_t read = 0;
    expect(cursor_read(index, name(i), &read) == (is_member ? ERR_OK : ERR_NOT_MEMBER));
    expect(read == (is_member ? model.users[i].read : 0));
    struct cursor_member member;
    expect(cursor_find(index, name(i), &member) == (is_member ? ERR_OK : ERR_NOT_MEMBER));
    if (is_member) compare_member(&member);
}

static uint32_t want_users[MODEL_USERS], have_slots[MODEL_USERS];

/* All pages of one side, with pages of `limit`; whom they name, and in which order. */
static void compare_pages(const struct cursor_index *index, struct cursor_list list, uint32_t want)
{
    uint32_t seen = 0;
    do {
        expect(cursor_list(index, &list) == ERR_OK);
        expect(list.count <= list.limit && (list.next == 0 || list.count == list.limit));
        expect(list.count > 0 || want == 0); /* the last page is told to be the last */
        expect(list.next < UINT64_C(1) << 53);
        expect(seen + list.count <= want);
        for (uint32_t i = 0; i < list.count; i++, seen++) {
            struct cursor_member member;
            cursor_at(index, list.slots[i], &member);
            expect(user_of(member.user) == want_users[seen]);
        }
        list.after = list.next;
    } while (list.next != 0);
    expect(seen == want);
}

static void compare_set(const struct cursor_index *index, const struct cursor_list *list,
                        uint32_t want)
{
    struct bitmap *set;
    expect(cursor_set(index, list->side, list->offset, list->sender, &set) == ERR_OK);
    expect(bitmap_count(set) == want);
    bitmap_list(set, have_slots);
    for (uint32_t i = 0; i < want; i++) {
        struct cursor_member member;
        cursor_at(index, have_slots[i], &member);
        expect(user_of(member.user) == want_users[i]);
    }
    bitmap_destroy(set);
}

static void compare_list(struct rng *rng)
{
    struct cursor_list list = {.offset = any_offset(rng), .slots = have_slots};
    list.side = (enum cursor_side)rng_below(rng, 3);
    uint32_t sender = any_sender(rng), want = 0;
    list.limit = rng_chance(rng, 30) ? MODEL_USERS : 1 + (uint32_t)rng_below(rng, 130);
    bool asks = list.side != CURSOR_EVERYBODY;
    enum err err = asks ? model_ask(list.offset) : ERR_OK;
    bool is_big = asks && model.members > model.rules.lists_max;
    if (err == ERR_OK) want = model_list(list.side, list.offset, sender, want_users);
    for (uint32_t t = 0; t < TWINS; t++) {
        list.sender = sender_name(sender);
        struct bitmap *set = NULL;
        if (err != ERR_OK) {
            expect(cursor_list(twins[t], &list) == err);
            expect(cursor_set(twins[t], list.side, list.offset, list.sender, &set) == err);
            expect(set == NULL && list.count == 0);
            continue;
        }
        if (is_big)
            expect(cursor_list(twins[t], &list) == ERR_CHANNEL_TOO_BIG);
        else
            compare_pages(twins[t], list, want);
        compare_set(twins[t], &list, want);
    }
}

static uint32_t each_count;
static void on_each(void *context, const struct cursor_member *member)
{
    (void)context;
    compare_member(member);
    each_count++;
}

static void compare_whole(void)
{
    for (uint32_t t = 0; t < TWINS; t++) {
        cursor_verify(twins[t]);
        expect(cursor_members(twins[t]) == model.members);
        expect(cursor_head(twins[t]) == model.head);
        each_count = 0;
        cursor_each(twins[t], on_each, NULL);
        expect(each_count == model.members);
        /* The model counts unread messages one by one: some of many. */
        for (uint32_t i = t; i < model.users_count; i += 1 + model.users_count / 500)
            compare_unread(twins[t], i);
    }
}

/* ── steps: the same to the model and to both twins ── */

/* How a round draws: which steps are likely, and where joins and moves go. */
static struct {
    uint32_t weights[11];
    uint32_t imports, hides; /* percent of the joins */
    uint64_t leap;
} draw;

static void step_join(struct rng *rng, uint32_t i)
{
    uint64_t head = model.head;
    struct cursor_member member = {.user = name(i), .joined = head + 1, .read = head};
    if (rng_chance(rng, draw.imports)) {
        member.joined = rng_chance(rng, 50)   ? rng_below(rng, head + 3)
                        : rng_chance(rng, 50) ? 1
                                              : any_offset(rng);
        member.read = rng_chance(rng, 50) ? any_offset(rng) : rng_below(rng, head + 3);
        member.delivered = rng_chance(rng, 50) ? 0 : any_offset(rng);
        member.unread_from = rng_chance(rng, 80) ? 0 : any_offset(rng);
    }
    member.is_hidden = rng_chance(rng, draw.hides);
    bool is_member = model.users[i].is_member;
    for (uint32_t t = 0; t < TWINS; t++)
        expect(cursor_add(twins[t], &member) == (is_member ? ERR_CONFLICT : ERR_OK));
    if (!is_member) model_join(i, &member);
}

static void step_leave(uint32_t i)
{
    bool is_member = model.users[i].is_member;
    for (uint32_t t = 0; t < TWINS; t++)
        expect(cursor_leave(twins[t], name(i)) == (is_member ? ERR_OK : ERR_NOT_MEMBER));
    if (is_member) model_leave(i);
}

static void step_move(struct rng *rng, uint32_t i)
{
    uint64_t to = rng_chance(rng, 70) ? any_offset(rng) : rng_below(rng, model.head + 2);
    bool is_member = model.users[i].is_member;
    uint64_t was = model.users[i].read;
    if (is_member) model_move(i, to);
    for (uint32_t t = 0; t < TWINS; t++) {
        uint64_t before = 0, after = 0;
        enum err err = cursor_move(twins[t], name(i), to, &before, &after);
        expect(err == (is_member ? ERR_OK : ERR_NOT_MEMBER));
        if (is_member) expect(before == was && after == model.users[i].read);
    }
}

static void step_deliver(struct rng *rng, uint32_t i)
{
    uint64_t to = any_offset(rng);
    struct model_user *user = &model.users[i];
    enum err want = !user->is_member    ? ERR_NOT_MEMBER
                    : !model.is_tracked ? ERR_CHANNEL_TOO_BIG
                                        : ERR_OK;
    uint64_t was = model_delivered(user);
    if (want == ERR_OK) user->delivered = max_u64(was, min_u64(to, model.head));
    for (uint32_t t = 0; t < TWINS; t++) {
        uint64_t before = 0, after = 0;
        expect(cursor_deliver(twins[t], name(i), to, &before, &after) == want);
        if (want == ERR_OK) expect(before == was && after == user->delivered);
    }
}

static void step_mark(struct rng *rng, uint32_t i)
{
    uint64_t from = rng_chance(rng, 20)   ? 0
                    : rng_chance(rng, 70) ? any_offset(rng)
                                          : rng_below(rng, model.head + 2);
    bool is_member = model.users[i].is_member;
    if (is_member) model_mark(&model.users[i], from);
    for (uint32_t t = 0; t < TWINS; t++)
        expect(cursor_mark_unread(twins[t], name(i), from) ==
               (is_member ? ERR_OK : ERR_NOT_MEMBER));
}

static void step_hide(struct rng *rng, uint32_t i)
{
    bool is_member = model.users[i].is_member, is_hidden = rng_chance(rng, 50);
    if (is_member) model.users[i].is_hidden = is_hidden;
    for (uint32_t t = 0; t < TWINS; t++)
        expect(cursor_hide(twins[t], name(i), is_hidden) == (is_member ? ERR_OK : ERR_NOT_MEMBER));
}

static void step_post(struct rng *rng)
{
    uint64_t head = model.head + rng_below(rng, draw.leap) + 1;
    if (rng_chance(rng, 5)) head = rng_below(rng, model.head + 1); /* an old one: nothing */
    for (uint32_t t = 0; t < TWINS; t++) cursor_post(twins[t], head);
    if (head > model.head) model_post(head);
}

static void step_send(struct rng *rng)
{
    uint32_t sender = any_sender(rng);
    model_post(model.head + 1);
    if (sender < model.users_count && model.users[sender].is_member) model_move(sender, model.head);
    for (uint32_t t = 0; t < TWINS; t++) cursor_send(twins[t], model.head, sender_name(sender));
}

static void step_void(struct rng *rng)
{
    uint64_t offset = any_offset(rng), low = model_low();
    uint32_t what = (uint32_t)rng_below(rng, 20);
    uint64_t kept_from = rng_chance(rng, 3) ? min_u64(offset, model.head + 1) : 0;
    bool is_known = offset >= low && offset <= model.head;
    for (uint32_t t = 0; t < TWINS; t++) {
        cursor_keep_from(twins[t], kept_from);
        if (what == 0)
            cursor_delete_to(twins[t], offset);
        else if (what < 8)
            cursor_delete(twins[t], offset);
        else
            cursor_uncount(twins[t], offset);
    }
    model.kept_from = max_u64(model.kept_from, kept_from);
    if (what == 0)
        model.floor = max_u64(model.floor, min_u64(offset, model.head));
    else if (is_known && what < 8)
        model.deleted[offset % MODEL_FLAGS] = true;
    else if (is_known)
        model.uncounted[offset % MODEL_FLAGS] = true;
}

static void step_configure(struct rng *rng)
{
    static const uint32_t windows[] = {1, 20, 1000, RECEIPT_WINDOW};
    static const uint32_t bounds[] = {0, 5, 256, 2000, UINT32_MAX, UINT32_MAX};
    model.rules = (struct cursor_rules){
        .window = windows[rng_below(rng, array_count(windows))],
        .lists_max = bounds[rng_below(rng, array_count(bounds))],
        .delivered_max = bounds[rng_below(rng, array_count(bounds))],
        .deleted_is_unread = rng_chance(rng, 30),
    };
    model_fit();
    for (uint32_t t = 0; t < TWINS; t++) cursor_configure(twins[t], &model.rules);
}

/* Neighbours all do the same. */
static void step_crowd(struct rng *rng)
{
    uint32_t count = model.users_count, what = (uint32_t)rng_below(rng, 4);
    uint32_t first = (uint32_t)rng_below(rng, count);
    uint32_t many = 1 + (uint32_t)rng_below(rng, rng_chance(rng, 80) ? count / 8 + 1 : count);
    uint64_t before, after;
    for (uint32_t k = 0; k < many; k++) {
        uint32_t i = (first + k) % count;
        if (what == 0) step_leave(i);
        if (what == 1 && !model.users[i].is_member && model.turns < array_count(model.order) - 2)
            step_join(rng, i);
        if (what < 2 || !model.users[i].is_member) continue;
        uint64_t to = what == 2 ? model.head : model.head - min_u64(model.head, 3);
        model_move(i, to);
        for (uint32_t t = 0; t < TWINS; t++)
            expect(cursor_move(twins[t], name(i), to, &before, &after) == ERR_OK);
    }
}

static void step_any(struct rng *rng)
{
    uint32_t i = (uint32_t)rng_below(rng, model.users_count), kind = 0;
    uint32_t total = 0;
    for (uint32_t k = 0; k < array_count(draw.weights); k++) total += draw.weights[k];
    for (uint64_t at = rng_below(rng, total); at >= draw.weights[kind]; kind++)
        at -= draw.weights[kind];
    switch (kind) {
    case 0: step_join(rng, i); break;
    case 1: step_leave(i); break;
    case 2: step_move(rng, i); break;
    case 3: step_deliver(rng, i); break;
    case 4: step_mark(rng, i); break;
    case 5: step_hide(rng, i); break;
    case 6: step_post(rng); break;
    case 7: step_send(rng); break;
    case 8: step_void(rng); break;
    case 9: step_configure(rng); break;
    default:
        if (rng_chance(rng, 10)) step_crowd(rng);
    }
}

/* ── rounds ── */

static void round_begin(struct rng *rng, uint32_t size)
{
    /* A few more users than members, so that some come and go. */
    model_begin(size + (size > 100 ? size / 200 : 1),
                rng_chance(rng, 40) ? 0 : rng_below(rng, 90000));
    for (uint32_t t = 0; t < TWINS; t++) {
        twins[t] = cursor_create(model.head);
        if (t == 0) twins[t]->scan = &scan_plain;
        if (rng_chance(rng, 30)) cursor_reserve(twins[t], size);
    }
    for (uint32_t k = 0; k < array_count(draw.weights); k++)
        draw.weights[k] = (uint32_t)rng_below(rng, k == 9 ? 4 : 30);
    draw.weights[2] += 20;
    draw.imports = rng_chance(rng, 30) ? 0 : rng_chance(rng, 50) ? 100 : 40;
    draw.hides = rng_chance(rng, 60) ? 0 : rng_chance(rng, 50) ? 3 : 60;
    draw.leap = rng_chance(rng, 30) ? 3000 : rng_chance(rng, 60) ? 3 : 100;
    /* Some arrive all at once, some while others write. */
    bool is_slow = rng_chance(rng, 50);
    for (uint32_t i = 0; i < size; i++) {
        step_join(rng, i);
        if (is_slow && rng_chance(rng, size < 1000 ? 50 : 2)) step_send(rng);
    }
}

static void round_of(struct rng *rng, uint32_t size)
{
    round_begin(rng, size);
    uint32_t steps = size > 10000 ? 900 : 700;
    uint32_t count_each = size > 10000 ? 16 : 8, list_each = size > 10000 ? 90 : 20;
    compare_whole();
    for (uint32_t step = 0; step < steps; step++) {
        step_any(rng);
        if (step % count_each == 0) compare_counts(rng);
        if (step % list_each == 0) compare_list(rng);
        compare_unread(twins[step % TWINS], (uint32_t)rng_below(rng, model.users_count));
        if (step % (steps / 2) == 1) compare_whole();
    }
    compare_whole();
    for (uint32_t t = 0; t < TWINS; t++) cursor_destroy(twins[t]);
}

static const uint32_t sizes[] = {2, 9, 257, 2001, 70000};

/* Which size a seed has, when not all are asked for. */
static void round_short(struct rng *rng)
{
    round_of(rng, prop_seed % 100 == 7 ? 70000 : sizes[prop_seed % 4]);
}

static void round_all(struct rng *rng)
{
    round_of(rng, sizes[prop_seed % array_count(sizes)]);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--all") == 0) {
        argc = 1;
        return prop_main(argc, argv, 200 * array_count(sizes), round_all);
    }
    return prop_main(argc, argv, 202, round_short);
}
