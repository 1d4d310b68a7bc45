/*
 * users against an array of sessions: random entering, ending and leaving of few
 * or many users, ids of all lengths.
 */
#include <string.h>

#include "prop.h"
#include "shards/user/users.h"

#define SESSIONS 400

static struct model {
    uint32_t user; /* 0: the slot is free */
    uint32_t session, generation;
    bool is_ended;
} model[SESSIONS];

/* Short ids and such as need a block of their own. */
static struct bytes id_of(uint32_t user)
{
    static char text[64];
    int size =
        snprintf(text, sizeof text, user % 3 == 0 ? "a user whose id is long: %u" : "%u", user);
    return bytes_of(text, (size_t)size);
}

static void compare(const struct users *users, uint32_t users_max)
{
    users_verify(users);
    uint32_t distinct = 0, sessions = 0;
    for (uint32_t user = 1; user <= users_max; user++) {
        uint32_t count = 0, counted = 0;
        for (uint32_t i = 0; i < SESSIONS; i++) {
            if (model[i].user != user) continue;
            count++;
            counted += !model[i].is_ended;
        }
        const struct user *found = users_find(users, id_of(user));
        expect((found != NULL) == (count > 0));
        if (found == NULL) continue;
        distinct++;
        sessions += count;
        expect(bytes_equal(users_id(found), id_of(user)));
        expect(users_count_of(found) == counted);
        for (uint32_t at = users_first(users, found); at != SESSION_NONE;
             at = users_next(users, found, at)) {
            struct user_place place = users_place(users, at);
            const struct model *as = &model[place.conn.index];
            expect(as->user == user && as->session == at);
            expect(as->generation == place.conn.generation && as->is_ended == place.is_ended);
            expect(place.shard == place.conn.index % 5);
            count--;
        }
        expect(count == 0);
    }
    expect(users->users_count == distinct);
    expect(users->sessions_count == sessions);
}

static void leave(struct users *users, uint32_t index)
{
    users_leave(users, model[index].session, (struct handle){index, model[index].generation});
    model[index].user = 0;
}

static void enter(struct users *users, uint32_t index, uint32_t user)
{
    struct model *entry = &model[index];
    struct user_place place = {.shard = index % 5, .conn = {index, entry->generation + 2}};
    enum err err = users_enter(users, id_of(user), &place, &entry->session);
    expect(err == ERR_OK);
    *entry = (struct model){user, entry->session, entry->generation + 2, false};
}

static void round_users(struct rng *rng)
{
    struct users users;
    users_init(&users, rng_next(rng), SESSIONS);
    memset(model, 0, sizeof model);
    for (uint32_t i = 0; i < SESSIONS; i++) model[i].generation = 1;
    uint32_t users_max = rng_chance(rng, 30) ? 3 : 300;
    uint32_t enters = (uint32_t)rng_below(rng, 60) + 20;
    for (uint32_t step = 0; step < 3000; step++) {
        uint32_t index = (uint32_t)rng_below(rng, SESSIONS);
        if (model[index].user == 0) {
            if (rng_chance(rng, enters))
                enter(&users, index, 1 + (uint32_t)rng_below(rng, users_max));
        } else if (rng_chance(rng, 10)) {
            users_end(&users, users_find(&users, id_of(model[index].user)), model[index].session);
            model[index].is_ended = true;
        } else if (!rng_chance(rng, enters)) {
            leave(&users, index);
        }
        if (step % 200 == 0) compare(&users, users_max);
    }
    for (uint32_t i = 0; i < SESSIONS; i++)
        if (model[i].user != 0) leave(&users, i);
    compare(&users, users_max);
    users_fini(&users);
}

int main(int argc, char **argv)
{
    return prop_main(argc, argv, 40, round_users);
}
