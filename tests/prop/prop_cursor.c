/*
 * The read index against a plain array of members: joins early and late,
 * leaves, returns, moves, posts of one and of many (through rebases), and all
 * counts compared.
 */
#include <string.h>

#include "prop.h"
#include "storage/cursor.h"

#define USERS_MAX 3000

static struct model {
    bool is_member;
    uint64_t joined, read;
} users[USERS_MAX];
static uint64_t head;
static uint32_t users_count;

static struct bytes name(uint32_t i)
{
    static char text[16];
    snprintf(text, sizeof text, "u%u", i);
    return bytes_of_text(text);
}

static void model_counts(uint64_t offset, uint32_t sender, uint32_t *readers, uint32_t *eligible)
{
    *readers = *eligible = 0;
    for (uint32_t i = 0; i < users_count; i++) {
        const struct model *user = &users[i];
        if (!user->is_member || i == sender || user->joined > offset) continue;
        *eligible += 1;
        *readers += user->read >= offset;
    }
}

static void counts_compare(struct cursor_index *index, struct rng *rng)
{
    uint64_t offset = head + 2 - rng_below(rng, min_u64(head + 2, RECEIPT_WINDOW + 4));
    uint32_t sender = (uint32_t)rng_below(rng, users_count + 1);
    uint32_t readers, eligible, model_readers, model_eligible;
    enum err err = cursor_counts(index, offset, sender == users_count ? BYTES_NONE : name(sender),
                                 &readers, &eligible);
    if (offset == 0 || offset > head) {
        expect(err == ERR_BAD_REQUEST);
    } else if (offset + RECEIPT_WINDOW <= head) {
        expect(err == ERR_RECEIPT_TOO_OLD);
    } else {
        expect(err == ERR_OK);
        model_counts(offset, sender, &model_readers, &model_eligible);
        expect(readers == model_readers);
        expect(eligible == model_eligible);
    }
}

static void step_join(struct cursor_index *index, struct rng *rng, uint32_t i)
{
    uint64_t joined = rng_chance(rng, 40)   ? head + 1
                      : rng_chance(rng, 50) ? 1
                                            : rng_below(rng, head + 3);
    uint64_t read = rng_chance(rng, 50) ? 0 : rng_below(rng, head + 3);
    enum err err = cursor_join(index, name(i), joined, read);
    expect(err == (users[i].is_member ? ERR_CONFLICT : ERR_OK));
    if (err != ERR_OK) return;
    joined = min_u64(max_u64(joined, 1), head + 1);
    users[i] = (struct model){true, joined, max_u64(min_u64(read, head), joined - 1)};
}

static void step_move(struct cursor_index *index, struct rng *rng, uint32_t i)
{
    uint64_t to = rng_chance(rng, 70) ? head + 2 - rng_below(rng, min_u64(head + 2, 1500))
                                      : rng_below(rng, head + 2);
    uint64_t before, after;
    enum err err = cursor_move(index, name(i), to, &before, &after);
    expect(err == (users[i].is_member ? ERR_OK : ERR_NOT_MEMBER));
    if (err != ERR_OK) return;
    expect(before == users[i].read);
    users[i].read = max_u64(users[i].read, min_u64(to, head));
    expect(after == users[i].read);
}

static uint32_t each_count;
static void on_each(void *context, const struct cursor_member *member)
{
    (void)context;
    uint64_t i;
    expect(bytes_to_u64(bytes_of(member->user.at + 1, member->user.size - 1), &i));
    expect(i < users_count && users[i].is_member);
    uint64_t low = head < RECEIPT_WINDOW ? 1 : head - RECEIPT_WINDOW + 1;
    expect(member->joined == (users[i].joined > low ? users[i].joined : 1));
    expect(member->read == users[i].read);
    each_count++;
}

static void whole_compare(const struct cursor_index *index)
{
    cursor_verify(index);
    uint32_t members = 0;
    for (uint32_t i = 0; i < users_count; i++) {
        expect(cursor_is_member(index, name(i)) == users[i].is_member);
        members += users[i].is_member;
    }
    each_count = 0;
    cursor_each(index, on_each, NULL);
    expect(each_count == members);
    expect(cursor_members(index) == members);
}

static void round_cursor(struct rng *rng)
{
    static const uint32_t sizes[] = {1, 2, 10, 200, 300, 600, USERS_MAX};
    users_count = sizes[rng_below(rng, array_count(sizes))];
    memset(users, 0, sizeof users);
    head = rng_chance(rng, 50) ? 0 : rng_below(rng, 100000);
    struct cursor_index *index = cursor_create(head);
    /* Each round draws how likely its steps are, so that some only grow, some
     * churn and some post their way through rebases. */
    uint32_t join = (uint32_t)rng_below(rng, 40), leave = (uint32_t)rng_below(rng, 30);
    uint32_t post = (uint32_t)rng_below(rng, 30);
    uint64_t leap = rng_chance(rng, 40) ? 3000 : rng_chance(rng, 50) ? 3 : 100;
    uint32_t steps = 4 * users_count + 4000;
    for (uint32_t step = 0; step < steps; step++) {
        uint32_t i = (uint32_t)rng_below(rng, users_count), draw = (uint32_t)rng_below(rng, 100);
        if (draw < join || step < users_count) {
            step_join(index, rng, step < users_count ? step : i);
        } else if (draw < join + leave) {
            expect(cursor_leave(index, name(i)) == (users[i].is_member ? ERR_OK : ERR_NOT_MEMBER));
            users[i].is_member = false;
        } else if (draw < join + leave + post) {
            head += rng_below(rng, leap) + 1;
            cursor_post(index, head);
        } else {
            step_move(index, rng, i);
        }
        if (step % 8 == 0) counts_compare(index, rng);
        if (step % 2000 == 0) whole_compare(index);
    }
    whole_compare(index);
    cursor_destroy(index);
}

int main(int argc, char **argv)
{
    return prop_main(argc, argv, 60, round_cursor);
}
