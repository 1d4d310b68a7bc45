/*
 * The machine ends at any moment of the first start of a store: nothing was kept yet, so
 * every start after that begins.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/config.h"
#include "disk_sim.h"
#include "fiber.h"
#include "mem_sim.h"
#include "storage/embed/sql.h"
#include "storage/store.h"
#include "world.h"

#define SEEDS     6
#define STEPS_MAX 2000

static bool is_done;
static enum err started;

static void start(void *context)
{
    static struct config config;
    struct store_node *node = NULL;
    (void)context;
    config = (struct config){.storage_engine = CONFIG_ENGINE_EMBEDDED,
                             .storage_path = "/data",
                             .storage_durability = CONFIG_DURABLE,
                             .storage_index_lag_max_bytes = 256u << 20,
                             .storage_dedup_horizon_ms = 86400000,
                             .storage_dedup_keys_max = 1024};
    started = store_node_open(&config, NULL, 1, &node);
    if (started == ERR_OK) store_node_close(node);
    is_done = true;
}

/* A process that lives for so many steps; true: its start came to an end, and it ended. */
static bool life(uint32_t steps)
{
    is_done = false;
    fiber_spawn("start", start, NULL);
    for (; steps > 0 && !is_done; steps--)
        if (!fibers_step()) world.now_ns = max_u64(world.now_ns, fibers_next_ns());
    return is_done;
}

static void machine_ends(void)
{
    fibers_drop();
    disk_sim_kill(true);
    embed_sqlite_forget();
    mem_sim_forget();
}

static void a_first_start_that_was_cut_off_is_none(void **state)
{
    static const struct disk_sim_options options = {
        .pause_percent = 100, .pause_ns_max = 1000, .sync_ns_max = 1000, .writeback_percent = 30};
    uint32_t cuts = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        for (uint32_t steps = 1;; steps += 7) {
            world_init(seed);
            disk_sim_init(&options);
            bool was_whole = life(steps);
            machine_ends();
            assert_true(life(STEPS_MAX));
            assert_int_equal(started, ERR_OK);
            machine_ends();
            fibers_fini();
            disk_sim_fini();
            world_fini();
            cuts += !was_whole;
            if (was_whole) break;
        }
    }
    assert_true(cuts > SEEDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_first_start_that_was_cut_off_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
