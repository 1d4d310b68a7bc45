/*
 * A crowd of members on Redis: lists that are cut and replace others, and what is there
 * after the server was killed and started again.
 *
 * 20,000 of them, or as many as the first argument says.
 */
#include "storage/change.h"
#include "storage/cursor.h"
#include "unit/storage/store_engines.h"

#define USER_SIZE 16
#define READERS   20 /* who have read one, two … */

static uint32_t crowd = 20000;
static uint64_t began_ns;

struct changing {
    struct store_change op; /* first */
    bool is_done;
    enum err err;
};

static void on_changed(struct store_change *op, enum err err)
{
    struct changing *changing = (struct changing *)op;
    changing->err = err;
    changing->is_done = true;
}

/* The users whose numbers are `step` apart, from `first`, in one list. */
static void set_members(struct thing *thing, uint32_t first, uint32_t step)
{
    uint32_t count = 0;
    struct bytes *users = mem_alloc(crowd * sizeof *users);
    char *names = mem_alloc(crowd * (size_t)USER_SIZE);
    for (uint32_t i = first; i < crowd; i += step, count++) {
        char *name = names + (size_t)count * USER_SIZE;
        snprintf(name, USER_SIZE, "user%u", i);
        users[count] = bytes_of_text(name);
    }
    struct changing changing = {0};
    changing.op.channel = &thing->channel;
    changing.op.ask = (struct members_ask){.kind = MEMBERS_SET, .users = users, .count = count};
    changing.op.on_changed = on_changed;
    began_ns = clock_mono_ns();
    store_change(thing->shard->store, &changing.op);
    mem_free(users);
    mem_free(names);
    while (!changing.is_done) world_turn(thing->shard->world); /* until the test's time is over */
    assert_int_equal(changing.err, ERR_OK);
    uint64_t took_ms = (clock_mono_ns() - began_ns) / 1000000;
    while (!world_is_idle(thing->shard->world)) world_turn(thing->shard->world);
    print_message("%u members set in %u ms, listed in %u ms\n", count, (unsigned)took_ms,
                  (unsigned)((clock_mono_ns() - began_ns) / 1000000));
}

/* With patience: what is looked for is a loss, not a delay. */
static void begin_patiently(struct world *world)
{
    world_config(world, CONFIG_ENGINE_REDIS, path);
    redis_configure(&redis, &world->config);
    world->config.redis_io_timeout_ms = 60000;
    assert_int_equal(world_start(world, 1), ERR_OK);
}

static const struct store_member *member_of(const struct thing *thing, uint32_t number)
{
    char name[USER_SIZE];
    snprintf(name, sizeof name, "user%u", number);
    return members_find(&thing->people, bytes_of_text(name));
}

static void a_crowd_is_whole_after_a_restart(void **state)
{
    (void)state;
    struct world world;
    struct thing thing;
    char name[USER_SIZE];
    begin_patiently(&world);
    thing_init(&thing, "room:crowd", 100, FOREVER);
    thing_open(&world, &thing, 10);
    set_members(&thing, 0, 1);
    publish_many(&thing, 1, READERS);
    for (uint32_t i = 0; i < READERS; i++) {
        snprintf(name, sizeof name, "user%u", i * (crowd / READERS));
        thing_cursor(&thing, name, i + 1);
    }
    thing_close(&thing);
    world_stop(&world);
    redis_kill(&redis);
    redis_start(&redis);
    assert_int_equal(world_start(&world, 1), ERR_OK);
    thing_open(&world, &thing, 10);
    assert_int_equal(thing.people.map.count, crowd);
    struct cursor_index *index = cursor_create(thing.channel.head);
    for (uint32_t i = 0; i < crowd; i++) {
        const struct store_member *member = member_of(&thing, i);
        assert_non_null(member);
        struct cursor_member known = {
            .user = member->user, .joined = member->joined, .read = member->read};
        assert_int_equal(cursor_add(index, &known), ERR_OK);
    }
    for (uint64_t offset = 1; offset <= READERS; offset++) {
        uint32_t readers, eligible;
        assert_int_equal(cursor_counts(index, offset, BYTES_NONE, &readers, &eligible), ERR_OK);
        assert_int_equal(readers, READERS + 1 - offset);
        assert_int_equal(eligible, crowd);
    }
    cursor_destroy(index);
    thing_close(&thing);
    thing_fini(&thing);
    world_stop(&world);
}

/* Half of them go, with a list that is cut. */
static void a_list_that_replaces_leaves_nobody_behind(void **state)
{
    (void)state;
    struct world world;
    struct thing thing;
    begin_patiently(&world);
    thing_init(&thing, "room:crowd", 100, FOREVER);
    thing_open(&world, &thing, 10);
    set_members(&thing, 0, 1);
    set_members(&thing, 1, 2);
    thing_close(&thing);
    thing_open(&world, &thing, 10);
    assert_int_equal(thing.people.map.count, crowd / 2);
    for (uint32_t i = 0; i < crowd; i++) assert_int_equal(member_of(&thing, i) != NULL, i % 2);
    assert_string_equal(redis_cli(&redis, "--scan --pattern '*:t:room:crowd'"), "");
    thing_close(&thing);
    thing_fini(&thing);
    world_stop(&world);
}

int main(int count, char **words)
{
    if (count > 1) crowd = (uint32_t)atoi(words[1]);
    const struct CMUnitTest tests[] = {
        CASE(a_crowd_is_whole_after_a_restart, REDIS),
        CASE(a_list_that_replaces_leaves_nobody_behind, REDIS),
    };
    redis_begin(&redis, NULL);
    int failed = engines_group("a crowd", ENGINE_CASES(tests));
    redis_end(&redis);
    return failed;
}
