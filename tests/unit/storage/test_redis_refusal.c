/*
 * A Redis that answers and refuses: for want of memory, of replicas, of rights.  Nothing is
 * lost, /health says it in Redis' words, and all is well when the reason is gone.
 */
#include "unit/storage/redis_nodes.h"

static struct world *begin(void)
{
    return world_begin_as(
        &(struct redis_world){.acl = REDIS_RIGHTS, .user = "sluice", .user_password = "secret"},
        NULL);
}

static struct store_health health_of(const struct world *world)
{
    struct store_health health;
    store_health(world->nodes[0].store, &health);
    return health;
}

static void say(struct world *world, const char *text)
{
    assert_string_equal(redis_say(&world->redis, text), "+OK");
}

/* Also between two publications: what looks whether it is over is refused as they are. */
static void assert_red_for(struct world *world, uint64_t ms)
{
    uint64_t until_ns = clock_mono_ns() + ms * 1000000u;
    while (clock_mono_ns() < until_ns) {
        world_turn(world);
        assert_false(health_of(world).is_ok);
    }
}

static void a_refused_append_turns_health_red(void **state)
{
    (void)state;
    static const struct {
        const char *say, *unsay, *word;
        bool is_probed; /* a probe finds that it is over; else it is forgotten in time */
    } rows[] = {
        {"CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", ": OOM ", true},
        {"CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0",
         ": NOREPLICAS ", true},
        {"ACL SETUSER sluice -xadd", "ACL SETUSER sluice +xadd", "can't run this command", false},
    };
    struct world *world = begin();
    load(world, 60, NULL);
    for (size_t i = 0; i < array_count(rows); i++) {
        say(world, rows[i].say);
        uint64_t until_ns = clock_mono_ns() + 20000000000u;
        world->numbers_max = world->next_number + 8;
        do load_turn(world, 8);
        while (health_of(world).is_ok && clock_mono_ns() < until_ns);
        struct store_health health = health_of(world);
        assert_false(health.is_ok);
        assert_non_null(strstr(health.detail, rows[i].word));
        assert_red_for(world, rows[i].is_probed ? 2200 : 0);
        say(world, rows[i].unsay);
        if (rows[i].is_probed) turn_until(world, health_of(world).is_ok);
        while (world->answered < world->next_number) load_turn(world, 8);
        load(world, 60, NULL);
    }
    check_exactly_once(world);
    world_end(world);
}

/* Who only reads is told too. */
static void a_refused_question_turns_health_red(void **state)
{
    (void)state;
    static const char *const rights[][2] = {{"evalsha", "NOPERM"},
                                            {"hget", "can't run this command"}};
    struct world *world = begin();
    load(world, 60, NULL);
    for (size_t i = 0; i < array_count(rights); i++) {
        char text[64];
        static struct room room;
        room = (struct room){.node = NULL};
        snprintf(text, sizeof text, "ACL SETUSER sluice -%s", rights[i][0]);
        say(world, text);
        assert_int_not_equal(room_open(world, &world->nodes[0], &room, "unread", 100), ERR_OK);
        turn_until(world, !health_of(world).is_ok);
        assert_non_null(strstr(health_of(world).detail, rights[i][1]));
        snprintf(text, sizeof text, "ACL SETUSER sluice +%s", rights[i][0]);
        say(world, text);
    }
    turn_until(world, health_of(world).is_ok);
    load(world, 60, NULL);
    check_exactly_once(world);
    world_end(world);
}

/* Nobody misses a key that is gone, so the server is asked. */
static void keys_that_were_given_away_are_told(void **state)
{
    (void)state;
    struct world *world = begin();
    load(world, 60, NULL);
    turn_until(world, strcmp(health_of(world).durability, "durable") == 0);
    say(world, "CONFIG SET maxmemory-policy allkeys-random");
    turn_for(world, 1500);
    assert_string_equal(health_of(world).durability, "durable"); /* there is no limit */
    say(world, "CONFIG SET maxmemory 1");
    turn_until(world, !health_of(world).is_ok);
    turn_until(world, world->nodes[0].metrics.values[METRIC_STORE_EVICTED] > 0);
    assert_non_null(strstr(health_of(world).detail, "noeviction"));
    turn_until(world, strcmp(health_of(world).durability, "written") == 0);
    say(world, "CONFIG SET maxmemory 0");
    turn_until(world, strcmp(health_of(world).durability, "durable") == 0);
    world_end(world);
}

static void what_skips_the_disk_is_not_durable(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"CONFIG SET no-appendfsync-on-rewrite yes", "CONFIG SET no-appendfsync-on-rewrite no"},
        {"CONFIG SET appendfsync everysec", "CONFIG SET appendfsync always"},
    };
    struct world *world = begin();
    for (size_t i = 0; i < array_count(rows); i++) {
        turn_until(world, strcmp(health_of(world).durability, "durable") == 0);
        say(world, rows[i][0]);
        turn_until(world, strcmp(health_of(world).durability, "written") == 0);
        say(world, rows[i][1]);
    }
    turn_until(world, strcmp(health_of(world).durability, "durable") == 0);
    world_end(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refused_append_turns_health_red),
        cmocka_unit_test(a_refused_question_turns_health_red),
        cmocka_unit_test(keys_that_were_given_away_are_told),
        cmocka_unit_test(what_skips_the_disk_is_not_durable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
