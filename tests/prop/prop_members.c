/*
 * Members in a store against plain arrays: random lists and deltas, marks, publications
 * of members and of strangers, kept and live, sealed and plain; what the feed says, what
 * an opening shows, when cursors moved, over restarts and crashes (prop_store.c), on the
 * embedded engine and in memory.
 */
#include "prop/directory.h"
#include "prop/prop.h"

#include "unit/storage/store_world.h"

#define CHANNELS  3
#define USERS     6
#define STEPS     220
#define MOVES_MAX 4000
#define KEY_A     "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

struct person {
    bool is_member, is_hidden;
    uint64_t joined, read, delivered, unread_from;
};

/* The model. */
static struct model {
    uint64_t head, policy;
    struct person people[USERS];
    struct {
        uint32_t user;
        bool is_read;
        uint64_t offset, least_ms, most_ms;
    } moves[MOVES_MAX];
    uint32_t moves_count;
} models[CHANNELS];

static const char *const users[USERS] = {"ann", "bob", "bobby", "cid", "d", "\xff\x01z"};
static struct thing things[CHANNELS];
static struct world world;
static struct rng *rng;
static uint32_t engine;

#define same(a, b) expect((uint64_t)(a) == (uint64_t)(b))

static void wait_done(struct append *append)
{
    expect(world_wait(&world, &append->is_done));
    expect(append->err == ERR_OK && !append->is_repeat);
    world_settle(&world);
}

static void check_people(const struct model *model, const struct thing *thing)
{
    uint32_t count = 0;
    for (int i = 0; i < USERS; i++) {
        const struct person *person = &model->people[i];
        const struct store_member *member = members_find(&thing->people, bytes_of_text(users[i]));
        expect((member != NULL) == person->is_member);
        if (member == NULL) continue;
        count++;
        same(member->joined, person->joined);
        same(member->read, person->read);
        same(member->delivered, person->delivered);
        same(member->unread_from, person->unread_from);
        expect(member->is_hidden == person->is_hidden);
    }
    same(thing->people.map.count, count);
    same(thing->people.policy, model->policy);
}

static void check_open(uint32_t channel)
{
    thing_open(&world, &things[channel], 3);
    same(things[channel].channel.head, models[channel].head);
    check_people(&models[channel], &things[channel]);
}

static void join(struct model *model, int user, uint64_t joined, uint64_t read)
{
    struct person *person = &model->people[user];
    if (person->is_member) return;
    *person = (struct person){.is_member = true, .joined = model->head + 1};
    if (joined > 0 && joined < person->joined) person->joined = joined;
    person->read = person->joined - 1;
    if (joined > 0 && read > person->read) person->read = read < model->head ? read : model->head;
    person->delivered = person->read;
}

/* With the times: a rejoin is a new join. */
static void leave(struct model *model, int user)
{
    uint32_t kept = 0;
    model->people[user].is_member = false;
    for (uint32_t i = 0; i < model->moves_count; i++)
        if (model->moves[i].user != (uint32_t)user) model->moves[kept++] = model->moves[i];
    model->moves_count = kept;
}

static bool is_between(int user, int after, int upto)
{
    return strcmp(users[user], after < 0 ? "" : users[after]) > 0 &&
           (upto < 0 || strcmp(users[user], users[upto]) <= 0);
}

static void step_members(uint32_t channel)
{
    struct model *model = &models[channel];
    struct bytes list[USERS];
    struct member_join joins[USERS] = {{0}};
    enum members_kind kind = (enum members_kind)rng_below(rng, MEMBERS_STATE);
    int after = (int)rng_below(rng, USERS + 1) - 1, upto = (int)rng_below(rng, USERS + 1) - 1;
    bool is_list = kind == MEMBERS_SET || kind == MEMBERS_SET_BETWEEN;
    bool is_import = kind == MEMBERS_ADD && rng_chance(rng, 50);
    uint32_t count = 0;
    for (int i = 0; i < USERS; i++) {
        bool is_meant = kind != MEMBERS_SET_BETWEEN || is_between(i, after, upto);
        bool is_named = is_meant && rng_chance(rng, is_list ? 60 : 30);
        if (is_import)
            joins[count] = (struct member_join){rng_below(rng, model->head + 3),
                                                rng_below(rng, model->head + 3)};
        if (is_named && kind != MEMBERS_REMOVE)
            join(model, i, joins[count].joined, joins[count].read);
        if ((is_named && kind == MEMBERS_REMOVE) || (is_list && is_meant && !is_named))
            leave(model, i);
        if (is_named) list[count++] = bytes_of_text(users[i]);
    }
    struct append append = {0};
    append.op.type = RECORD_MEMBERS;
    append.op.members = (struct members_ask){
        .kind = kind, .users = list, .joins = is_import ? joins : NULL, .count = count};
    if (kind == MEMBERS_SET_BETWEEN) {
        append.op.members.after = after < 0 ? BYTES_NONE : bytes_of_text(users[after]);
        append.op.members.upto = upto < 0 ? BYTES_NONE : bytes_of_text(users[upto]);
    }
    thing_append(&things[channel], &append);
    wait_done(&append);
}

static void note(struct model *model, uint32_t user, bool is_read, uint64_t offset,
                 uint64_t least_ms, uint64_t most_ms)
{
    if (model->moves_count == MOVES_MAX) return;
    model->moves[model->moves_count].user = user;
    model->moves[model->moves_count].is_read = is_read;
    model->moves[model->moves_count].offset = offset;
    model->moves[model->moves_count].least_ms = least_ms;
    model->moves[model->moves_count++].most_ms = most_ms;
}

static void read_to(struct model *model, uint32_t user, uint64_t offset, uint64_t least_ms,
                    uint64_t most_ms)
{
    struct person *person = &model->people[user];
    if (!person->is_member) return;
    if (person->unread_from <= offset) person->unread_from = 0;
    if (offset > person->delivered) person->delivered = offset;
    if (offset <= person->read) return;
    person->read = offset;
    note(model, user, true, offset, least_ms, most_ms);
}

static void step_mark(uint32_t channel)
{
    struct model *model = &models[channel];
    uint32_t user = (uint32_t)rng_below(rng, USERS);
    struct person *person = &model->people[user];
    enum cursor_mark mark = (enum cursor_mark)rng_below(rng, CURSOR_POLICY);
    uint64_t offset = mark == CURSOR_HIDDEN ? rng_below(rng, 2) : rng_below(rng, model->head + 3);
    uint64_t cut = offset < model->head ? offset : model->head;
    struct append append = {0};
    append.op.type = RECORD_CURSOR;
    append.op.user = bytes_of_text(users[user]);
    append.op.mark = mark;
    append.op.offset = offset;
    uint64_t least_ms = store_now_ms(things[channel].shard->store);
    thing_append(&things[channel], &append);
    wait_done(&append);
    uint64_t most_ms = store_now_ms(things[channel].shard->store);
    same(append.offset, mark <= CURSOR_DELIVERED ? cut : offset);
    if (mark == CURSOR_READ) read_to(model, user, cut, least_ms, most_ms);
    if (!person->is_member || mark == CURSOR_READ) return;
    if (mark == CURSOR_DELIVERED && cut > person->delivered) {
        person->delivered = cut;
        note(model, user, false, cut, least_ms, most_ms);
    } else if (mark == CURSOR_UNREAD) {
        if (offset > 0 && offset < person->joined) offset = person->joined;
        person->unread_from = offset > person->read ? 0 : offset;
    } else if (mark == CURSOR_HIDDEN) {
        person->is_hidden = offset == 1;
    }
}

static void step_policy(uint32_t channel)
{
    struct append append = {0};
    append.op.type = RECORD_CURSOR;
    append.op.mark = CURSOR_POLICY;
    append.op.offset = rng_below(rng, 3) * 17;
    thing_append(&things[channel], &append);
    wait_done(&append);
    same(append.offset, append.op.offset);
    models[channel].policy = append.op.offset;
}

static void step_publish(uint32_t channel)
{
    struct model *model = &models[channel];
    uint32_t user = (uint32_t)rng_below(rng, USERS + 1);
    struct append append = {0};
    append.op.type = RECORD_PUBLICATION;
    append.op.publication.data = BYTES_LITERAL("{\"text\":\"hello\"}");
    append.op.publication.has_info = user < USERS;
    append.op.publication.user = user < USERS ? bytes_of_text(users[user]) : BYTES_NONE;
    append.op.is_live_only = rng_chance(rng, 20);
    uint64_t least_ms = store_now_ms(things[channel].shard->store);
    thing_append(&things[channel], &append);
    wait_done(&append);
    uint64_t most_ms = store_now_ms(things[channel].shard->store);
    if (append.op.is_live_only) return;
    same(append.offset, ++model->head);
    if (user < USERS) read_to(model, user, model->head, least_ms, most_ms);
}

struct moves {
    struct store_moves op; /* first */
    bool is_done;
    struct store_moved moved[USERS];
};

static void on_moves(struct store_moves *op, enum err err, const struct store_moved *moved)
{
    struct moves *moves = (struct moves *)op;
    expect(err == ERR_OK && moved != NULL);
    memcpy(moves->moved, moved, sizeof moves->moved);
    moves->is_done = true;
}

/* The first move of the model to `offset` or past it, which reads, or also one that delivers. */
static void check_move(const struct model *model, uint32_t user, uint64_t offset, bool is_read,
                       uint64_t time_ms)
{
    for (uint32_t i = 0; i < model->moves_count; i++) {
        if (model->moves[i].user != user || model->moves[i].offset < offset) continue;
        if (is_read && !model->moves[i].is_read) continue;
        expect(time_ms >= model->moves[i].least_ms && time_ms <= model->moves[i].most_ms);
        return;
    }
    same(time_ms, 0);
}

static void step_moves(uint32_t channel)
{
    const struct model *model = &models[channel];
    struct bytes list[USERS];
    for (int i = 0; i < USERS; i++) list[i] = bytes_of_text(users[i]);
    struct moves moves = {.op = {.channel = &things[channel].channel,
                                 .offset = 1 + rng_below(rng, model->head + 1),
                                 .users = list,
                                 .users_count = USERS,
                                 .on_moves = on_moves}};
    store_moves(things[channel].shard->store, &moves.op);
    expect(world_wait(&world, &moves.is_done));
    for (uint32_t i = 0; i < USERS; i++) {
        same(moves.moved[i].joined, model->people[i].is_member ? model->people[i].joined : 0);
        if (!model->people[i].is_member) continue; /* nothing is promised */
        check_move(model, i, moves.op.offset, true, moves.moved[i].read_ms);
        check_move(model, i, moves.op.offset, false, moves.moved[i].delivered_ms);
    }
}

static void start(void)
{
    world_config(&world, engine, directory);
    world.config.storage_key =
        engine == CONFIG_ENGINE_EMBEDDED && rng_chance(rng, 50) ? KEY_A : NULL;
    world.config.storage_previous_keys = engine == CONFIG_ENGINE_EMBEDDED ? KEY_A : NULL;
    enum err err = world_start(&world, (uint32_t)rng_below(rng, WORLD_SHARDS_MAX) + 1);
    check(err == ERR_OK);
    for (uint32_t i = 0; i < CHANNELS; i++) check_open(i);
}

static void step_restart(bool is_crash)
{
    if (engine == CONFIG_ENGINE_MEMORY) return;
    world_settle(&world);
    if (is_crash) directory_copy();
    for (uint32_t i = 0; i < CHANNELS; i++) thing_close(&things[i]);
    world_stop(&world);
    if (is_crash) directory_put_back();
    start();
}

static void round_run(struct rng *seeded)
{
    rng = seeded;
    engine = rng_chance(rng, 25) ? CONFIG_ENGINE_MEMORY : CONFIG_ENGINE_EMBEDDED;
    directory_clear("prop_members");
    memset(models, 0, sizeof models);
    for (uint32_t i = 0; i < CHANNELS; i++) {
        char name[16];
        snprintf(name, sizeof name, "room:%u", i);
        thing_init(&things[i], name, i == 0 ? 5 : 1000, 86400000);
    }
    start();
    for (uint32_t i = 0; i < STEPS; i++) {
        uint32_t channel = (uint32_t)rng_below(rng, CHANNELS), dice = (uint32_t)rng_below(rng, 100);
        if (dice < 35)
            step_publish(channel);
        else if (dice < 50)
            step_members(channel);
        else if (dice < 76)
            step_mark(channel);
        else if (dice < 80)
            step_policy(channel);
        else if (dice < 90)
            step_moves(channel);
        else if (dice < 96) {
            thing_close(&things[channel]);
            check_open(channel);
        } else {
            step_restart(dice >= 98);
        }
        check_people(&models[channel], &things[channel]);
    }
    for (uint32_t i = 0; i < CHANNELS; i++) thing_close(&things[i]);
    world_stop(&world);
    for (uint32_t i = 0; i < CHANNELS; i++) thing_fini(&things[i]);
    directory_clear("prop_members");
}

int main(int argc, char **argv)
{
    return prop_main(argc, argv, 3, round_run);
}
