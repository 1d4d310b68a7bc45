/*
 * Ages over lives between which the machine's clock moved: what the life before
 * wrote down is changed here as such a clock would have it.
 */
#include "storage/embed/index.h"
#include "unit/storage/store_world.h"

#define HOUR_MS 3600000ll
#define DAY_MS  (24 * HOUR_MS)

static char path[64];
static struct world world;

static int setup(void **state)
{
    (void)state;
    char command[128];
    snprintf(path, sizeof path, "/tmp/test_embed_age.%d", (int)getpid());
    snprintf(command, sizeof command, "rm -rf %s", path);
    world_config(&world, CONFIG_ENGINE_EMBEDDED, path);
    world.config.storage_dedup_horizon_ms = 7 * DAY_MS;
    return system(command);
}

/* Between two lives: the clock moved by `wall_ms` while `real_ms` passed; `is_rebooted`: the
 * machine was started anew, and does not know how long it was off. */
static void time_goes(int64_t wall_ms, int64_t real_ms, bool is_rebooted)
{
    struct index *index;
    char index_path[80];
    uint64_t age[3] = {0}; /* store time, wall time, store time when the machine was started */
    static const uint8_t boot[16] = "another";
    snprintf(index_path, sizeof index_path, "%s/index.db", path);
    assert_int_equal(index_open(index_path, &index), ERR_OK);
    assert_int_equal(index_meta_get(index, "age", age, sizeof age), ERR_OK);
    assert_true(age[0] > 0 && age[1] > 0 && age[2] != 0);
    age[1] -= (uint64_t)wall_ms;
    age[2] += (uint64_t)real_ms;
    assert_int_equal(index_meta_put(index, "age", age, sizeof age), ERR_OK);
    if (is_rebooted) assert_int_equal(index_meta_put(index, "boot", boot, sizeof boot), ERR_OK);
    index_close(index);
}

static void life_begins(struct thing *thing, uint64_t ttl_ms)
{
    assert_int_equal(world_start(&world, 2), ERR_OK);
    thing_init(thing, "room:1", 100, ttl_ms);
    thing_open(&world, thing, 10);
}

static void life_ends(struct thing *thing)
{
    thing_close(thing);
    thing_fini(thing);
    world_stop(&world);
}

static void jump(bool is_rebooted, uint64_t ttl_ms)
{
    struct thing thing;
    static const int64_t jumps[] = {400 * DAY_MS, -800 * DAY_MS, 30 * DAY_MS, -1 * HOUR_MS};
    life_begins(&thing, ttl_ms);
    assert_int_equal(thing_publish(&thing, "key", "m1"), 1);
    for (size_t i = 0; i < array_count(jumps); i++) {
        life_ends(&thing);
        time_goes(jumps[i], 0, is_rebooted);
        life_begins(&thing, ttl_ms);
        assert_int_equal(thing.channel.head, i + 1);
        assert_answer(&thing, 1, i + 1);
        thing_read(&thing, 0, UINT32_MAX, false);
        assert_answer(&thing, 1, i + 1);
        assert_int_equal(thing_publish(&thing, "key", "again"), 1);
        publish_many(&thing, i + 2, i + 2);
    }
    life_ends(&thing);
}

static void a_clock_that_jumps_ends_nothing(void **state)
{
    (void)state;
    jump(false, HOUR_MS);
}

/* A day of it counts, each time. */
static void a_clock_that_is_wrong_after_a_boot_ends_little(void **state)
{
    (void)state;
    jump(true, 7 * DAY_MS);
}

/* Of a machine that goes on, its own time counts. */
static void away(bool is_rebooted)
{
    if (is_rebooted) {
        time_goes(4 * HOUR_MS, 0, true);
    } else {
        time_goes(-1 * HOUR_MS, 4 * HOUR_MS, false);
    }
}

static void time_goes_by(bool is_rebooted)
{
    struct thing thing;
    world.config.storage_dedup_horizon_ms = 6 * HOUR_MS;
    life_begins(&thing, 6 * HOUR_MS);
    assert_int_equal(thing_publish(&thing, "key", "m1"), 1);
    life_ends(&thing);
    away(is_rebooted);
    life_begins(&thing, 6 * HOUR_MS);
    assert_answer(&thing, 1, 1);
    publish_many(&thing, 2, 2);
    life_ends(&thing);
    away(is_rebooted);
    life_begins(&thing, 6 * HOUR_MS);
    assert_int_equal(thing.channel.head, 2);
    assert_answer(&thing, 2, 2);
    assert_int_equal(thing_publish(&thing, "key", "m3"), 3); /* its horizon has ended */
    life_ends(&thing);
}

/* While the gateway was down, and the clock was set back over a part of it. */
static void time_between_lives_counts(void **state)
{
    (void)state;
    time_goes_by(false);
}
static void time_over_a_boot_counts(void **state)
{
    (void)state;
    time_goes_by(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_clock_that_jumps_ends_nothing, setup),
        cmocka_unit_test_setup(a_clock_that_is_wrong_after_a_boot_ends_little, setup),
        cmocka_unit_test_setup(time_between_lives_counts, setup),
        cmocka_unit_test_setup(time_over_a_boot_counts, setup),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    void *none = NULL;
    setup(&none);
    return failed;
}
