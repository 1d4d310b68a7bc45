/*
 * host: the simulated machine and the gateway process on it.
 */
#include "host.h"

#include <inttypes.h>
#include <string.h>

#include "core/check.h"
#include "core/config.h"
#include "core/mem.h"
#include "fiber.h"
#include "mem_sim.h"
#include "proto/jwt.h"
#include "shards/node.h"
#include "shards/shard.h"
#include "storage/embed/sql.h"
#include "world.h"

#define VERIFY_TURNS 32 /* a whole structure is walked every so many turns */

static struct {
    const struct plan *plan;
    enum host_state state;
    uint32_t lives, shards_count, shards_started, shards_ended, machines;
    struct node *node;
    struct fiber *main;
} host;

void host_init(const struct plan *plan)
{
    memset(&host, 0, sizeof(host));
    host.plan = plan;
    disk_sim_init(&plan->disk);
    net_sim_init(&plan->net);
    loop_sim_init(&plan->loop);
}

void host_fini(void)
{
    if (host.state != HOST_DOWN) host_kill(false);
    net_sim_fini();
    disk_sim_fini();
}

enum host_state host_state(void)
{
    return host.state;
}
struct node *host_node(void)
{
    return host.node;
}
uint32_t host_lives(void)
{
    return host.lives;
}

uint32_t host_shards(void)
{
    return host.node == NULL ? 0 : host.node->shards_count;
}
struct shard *host_shard(uint32_t index)
{
    check(index < host_shards());
    return host.node->shards[index];
}

static void shard_main(void *argument)
{
    struct shard *shard = argument;
    enum err err = shard_start(shard);
    if (err != ERR_OK) world_fail("a shard starts", "%s", err_name(err));
    /* As the threads do: nobody turns before everybody has started. */
    host.shards_started++;
    while (host.shards_started < host.shards_count) fiber_wait(world.now_ns + 10000);
    while (!shard->is_stopped) {
        shard_turn(shard);
        if (host.plan->is_large) continue;
        check_users_turn(host.plan, shard);
        if (shard->turn % VERIFY_TURNS == 0) shard_verify(shard);
    }
    check_home(shard);
    shard_stop(shard);
    host.shards_ended++;
    fiber_wake(host.main);
}

static void config_say(void *context, enum config_voice voice, const char *sentence)
{
    (void)context;
    if (voice == CONFIG_SAYS_ERROR)
        world_fail("the simulator's configuration is taken", "%s", sentence);
}

/* The process ended in order. */
static void host_rest(void)
{
    if (mem_sim_count() != 0)
        world_fail("everything comes home", "%" PRIu64 " allocations", mem_sim_count());
    host.state = HOST_DOWN;
    disk_sim_kill(false);
}

static void process_main(void *argument)
{
    static char text[8192];
    struct config *config = NULL;
    (void)argument;
    uint32_t size = plan_config(host.plan, host.shards_count, text, sizeof(text));
    enum err err =
        config_parse(bytes_of(text, size), "sim.json", NULL, 0, config_say, NULL, &config);
    if (err != ERR_OK) world_fail("the simulator's configuration is taken", "%s", err_name(err));
    err = node_create(config, &host.node);
    if (err != ERR_OK && disk_sim_has_struck()) {
        /* Refused for trouble that it met, and it holds nothing. */
        host.node = NULL;
        host_rest();
        return;
    }
    /* Whatever the crash before left must be good enough to start from. */
    if (err != ERR_OK)
        world_fail("the gateway starts on what a crash left", "life %u: %s", host.lives,
                   err_name(err));
    for (uint32_t i = 0; i < host.node->shards_count; i++)
        fiber_spawn("shard", shard_main, host.node->shards[i]);
    host.state = HOST_UP;
    while (host.shards_ended < host.shards_count) fiber_wait(UINT64_MAX);
    node_destroy(host.node);
    host.node = NULL;
    host_rest();
}

void host_boot(uint32_t shards)
{
    check(host.state == HOST_DOWN);
    fibers_drop();
    host.state = HOST_STARTING;
    host.shards_count = shards;
    host.shards_started = host.shards_ended = 0;
    host.lives++;
    check_users_forget();
    world_note(TRACE_BOOT, host.lives, shards, host.machines);
    host.main = fiber_spawn("main", process_main, NULL);
}

/* wslay and cjose allocate on their own: what they hold would outlive the life. */
static void host_drop_foreign(void)
{
    if (host.node == NULL) return;
    for (uint32_t i = 0; i < host.node->shards_count; i++)
        if (host.node->shards[i] != NULL) ws_pool_destroy(host.node->shards[i]->ws_pool);
    for (uint32_t use = 0; use < JWT_USE_COUNT; use++)
        jwt_rules_destroy(host.node->reload.first->token_rules[use]);
}

void host_kill(bool is_machine)
{
    world_note(TRACE_KILL, host.lives, is_machine, host.state == HOST_STARTING);
    fibers_drop();
    net_sim_kill(is_machine);
    loop_sim_kill();
    disk_sim_kill(is_machine);
    /* SQLite's own globals name memory of the life that ends. */
    embed_sqlite_forget();
    host_drop_foreign();
    mem_sim_forget();
    host.machines += is_machine;
    host.node = NULL;
    host.state = HOST_DOWN;
}

void host_drain(void)
{
    check(host.state == HOST_UP);
    host.state = HOST_DRAINING;
    node_drain(host.node);
}
