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

static uint32_t read_count;
static enum err read_err;
static bool is_read;
static void on_read(struct store_read *op, enum err err, const struct publication *publications,
                    uint32_t count)
{
    (void)op, (void)publications;
    read_err = err;
    read_count = count;
    is_read = true;
}

/* A look takes out what is over and takes away the mark of who nobody uses: neither is needed
 * for its answer. */
static void who_may_not_write_may_read(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"},
        {"CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"},
    };
    struct world *world = begin();
    struct room *room = &world->rooms[0][0];
    load(world, 600, NULL);
    turn_until(world, world_is_idle(world) && room->channel.head > 90);
    turn_for(world, 20);
    for (size_t i = 0; i < array_count(rows); i++) {
        store_close(room->node->store, &room->channel);
        for (uint32_t p = 0; p < 64; p++) {
            char words[192];
            snprintf(words, sizeof words, "HGET test:{p%u}:meta room:0", p);
            if (redis_say(&world->redis, words)[1] == '-') continue;
            snprintf(words, sizeof words,
                     "EVAL redis.call('HSET',KEYS[1],'room:0',(string.gsub(redis.call('HGET',"
                     "KEYS[1],'room:0'),'.@%%d+$',''))..string.char(32)..'@1') 1 test:{p%u}:meta",
                     p);
            redis_say(&world->redis, words);
        }
        say(world, rows[i][0]);
        assert_int_equal(room_open(world, room->node, room, "room:0", 100), ERR_OK);
        for (uint32_t ttl_ms = 1; ttl_ms <= DAY_MS; ttl_ms += DAY_MS - 1) {
            struct store_read read = {
                .channel = &room->channel, .limit = UINT32_MAX, .on_read = on_read};
            room->channel.history.ttl_ms = ttl_ms;
            is_read = false;
            store_read(room->node->store, &read);
            turn_until(world, is_read);
            assert_int_equal(read_err, ERR_OK);
            /* A full server lets go of what is over. */
            assert_int_equal(read_count > 0, ttl_ms > 1 && i == 0);
        }
        say(world, rows[i][1]);
    }
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
        cmocka_unit_test(who_may_not_write_may_read),
        cmocka_unit_test(keys_that_were_given_away_are_told),
        cmocka_unit_test(what_skips_the_disk_is_not_durable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
