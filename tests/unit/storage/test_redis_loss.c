/*
 * What may be missing is told, also where nobody listens, and what cannot be missing is
 * not: older data put back under running nodes, servers whose settings change, a number
 * of partitions that goes away.
 */
#include "unit/storage/redis_many.h"
#include "unit/storage/redis_nodes.h"

/* --- older data ------------------------------------------------------------------------------ */

static void copy(const struct redis_world *redis, bool is_back)
{
    char command[256];
    const char *at = redis->path;
    snprintf(command, sizeof command,
             is_back ? "rm -rf %s/appendonlydir && cp -r %s.old %s/appendonlydir && rm -rf %s.old"
                     : "cp -r %s/appendonlydir %s.old",
             at, at, at, at);
    assert_int_equal(system(command), 0);
}

static void close_rooms(struct world *world, uint32_t node)
{
    turn_until(world, world_is_idle(world));
    for (uint32_t r = 0; r < ROOMS; r++)
        store_close(world->nodes[node].store, &world->rooms[node][r].channel);
}

static void open_rooms(struct world *world, uint32_t node)
{
    for (uint32_t r = 0; r < ROOMS; r++) {
        struct room *room = &world->rooms[node][r];
        char name[32];
        memcpy(name, room->name, sizeof name);
        assert_int_equal(room_open(world, &world->nodes[node], room, name, NUMBERS_MAX), ERR_OK);
    }
}

static void put_back(struct world *world)
{
    redis_kill(&world->redis);
    copy(&world->redis, true);
    redis_start(&world->redis);
}

static void copy_epochs(const struct world *world, char epochs[ROOMS][EPOCH_MAX + 1])
{
    for (uint32_t r = 0; r < ROOMS; r++)
        memcpy(epochs[r], world->rooms[0][r].channel.epoch, EPOCH_MAX + 1);
}

/* Nobody has the channels open when the data goes back; who was away learns it: at once from
 * a node that knows what was there, else when one that does is linked again.  Of two rooms the
 * first node knows nothing: all of their second half went through the other one. */
static void older_data_is_told_where_nothing_was_open(void **state)
{
    (void)state;
    struct world *world = world_begin();
    char epochs[ROOMS][EPOCH_MAX + 1];
    load(world, 120, NULL);
    check_exactly_once(world);
    copy(&world->redis, false);
    load(world, 120, NULL);
    check_exactly_once(world);
    copy_epochs(world, epochs);
    for (uint32_t n = 0; n < NODES; n++) close_rooms(world, n);
    put_back(world);
    for (uint32_t n = 0; n < NODES; n++) open_rooms(world, n);
    for (uint32_t r = 0; r < ROOMS; r++) {
        turn_until(world, strcmp(epochs[r], world->rooms[0][r].channel.epoch) != 0);
        assert_true(world->rooms[0][r].channel.head > 0);
        turn_until(world,
                   strcmp(world->rooms[0][r].channel.epoch, world->rooms[1][r].channel.epoch) == 0);
    }
    world_end(world);
}

static void publish_alone(struct world *world, struct room *room, uint32_t count)
{
    struct node *node = room->node;
    for (uint32_t i = 0; i < count; i++) {
        struct ask *ask = &world->asks[0];
        *ask = (struct ask){.world = world, .room = room, .number = 1};
        snprintf(ask->key, sizeof ask->key, "alone-%u-%u", world->next_number, i);
        snprintf(ask->data, sizeof ask->data, "%u", NUMBERS_MAX - 1);
        uint64_t until_ns = clock_mono_ns() + 30000000000u;
        while (ask->number != 0) {
            if (!ask->is_busy) ask_send(ask);
            node_turn(node, 1);
            assert_true(clock_mono_ns() < until_ns);
        }
    }
}

/* One node knows less than the other, takes the older data for what was there, and goes on
 * past everything that was lost before the other one comes. */
static void whoever_knows_more_tells_the_others(void **state)
{
    (void)state;
    struct world *world = world_begin();
    struct room *here = &world->rooms[0][0], *there = &world->rooms[1][0];
    load(world, 60, NULL);
    check_exactly_once(world);
    char epoch[EPOCH_MAX + 1];
    copy(&world->redis, false);
    memcpy(epoch, here->channel.epoch, sizeof epoch);
    redis_say(&world->redis, "CLIENT KILL TYPE normal SKIPME yes");
    redis_say(&world->redis, "CLIENT KILL TYPE pubsub");
    publish_alone(world, there, 5); /* the first node sleeps over it, without a link */
    uint64_t head = there->channel.head;
    put_back(world);
    publish_alone(world, here, 10);
    assert_true(here->channel.head > head);
    assert_string_equal(epoch, here->channel.epoch); /* it cannot know */
    turn_until(world, here->lost == 1 && there->lost == 1);
    assert_string_not_equal(epoch, here->channel.epoch);
    assert_string_equal(here->channel.epoch, there->channel.epoch);
    turn_for(world, 1200);
    for (uint32_t r = 0; r < ROOMS; r++) assert_true(world->rooms[0][r].lost <= 1);
    world_end(world);
}

/* The letters come back with older data, after everything was emptied meanwhile. */
static void data_from_before_it_was_emptied_is_told(void **state)
{
    (void)state;
    struct world *world = world_begin();
    char epoch[EPOCH_MAX + 1];
    load(world, 60, NULL);
    check_exactly_once(world);
    memcpy(epoch, world->rooms[0][0].channel.epoch, sizeof epoch);
    copy(&world->redis, false);
    load(world, 60, NULL);
    assert_string_equal(redis_say(&world->redis, "FLUSHALL"), "+OK");
    turn_until(world, world->rooms[0][0].lost == 1 && world->rooms[1][0].lost == 1);
    world->next_number = 0; /* in no data that is kept */
    memset(world->offsets, 0, sizeof world->offsets);
    put_back(world);
    turn_until(world, world->rooms[0][0].lost >= 2 && world->rooms[1][0].lost >= 2);
    assert_string_not_equal(epoch, world->rooms[0][0].channel.epoch);
    world_end(world);
}

/* --- other data for a while ------------------------------------------------------------------ */

static uint32_t losses(const struct world *world)
{
    uint32_t count = 0;
    for (uint32_t n = 0; n < NODES; n++)
        for (uint32_t r = 0; r < ROOMS; r++) count += world->rooms[n][r].lost;
    return count;
}

static void say_port(struct redis_world *redis, uint16_t port)
{
    char text[64];
    snprintf(text, sizeof text, "CONFIG SET port %u", port);
    assert_string_equal(redis_say(redis, text), "+OK");
    redis->port = port;
}

/* The other server takes this one's port; both run on. */
static void change_places(struct world *world, struct redis_world *other)
{
    struct redis_world *here = &world->redis;
    const uint16_t port = here->port, aside = redis_free_port();
    struct redis_world was = *here;
    say_port(&was, aside);
    say_port(other, port);
    here->pid = other->pid;
    memcpy(here->path, other->path, sizeof here->path);
    *other = was;
    redis_say(other, "CLIENT KILL TYPE normal SKIPME yes");
    redis_say(other, "CLIENT KILL TYPE pubsub");
}

static void load_unchecked(struct world *world)
{
    world->next_number = 0; /* in no data that is kept */
    memset(world->offsets, 0, sizeof world->offsets);
    load(world, 60, NULL);
}

/* Everybody was told, and all go on in one epoch that is not the old one, once. */
static void check_went_on(struct world *world, char epochs[ROOMS][EPOCH_MAX + 1])
{
    turn_until(world, losses(world) >= 2 * NODES * ROOMS);
    turn_for(world, 1200);
    for (uint32_t r = 0; r < ROOMS; r++) {
        const struct store_channel *here = &world->rooms[0][r].channel;
        assert_string_not_equal(epochs[r], here->epoch);
        assert_string_equal(here->epoch, world->rooms[1][r].channel.epoch);
    }
    uint32_t count = losses(world);
    load_unchecked(world);
    turn_for(world, 1200);
    assert_int_equal(losses(world), count);
}

/* What was acknowledged by the other one is gone, and so is who trusted the first meanwhile. */
static void a_server_that_was_replaced_and_comes_back_is_told(void **state)
{
    (void)state;
    struct redis_world other;
    char epochs[ROOMS][EPOCH_MAX + 1];
    struct world *world = world_begin();
    redis_begin_with(&other, &(struct redis_world){0});
    load(world, 60, NULL);
    check_exactly_once(world);
    copy_epochs(world, epochs);
    change_places(world, &other);
    turn_until(world, losses(world) == NODES * ROOMS);
    load_unchecked(world);
    change_places(world, &other);
    check_went_on(world, epochs);
    world_end(world);
    redis_end(&other);
}

/* Into the process that runs, key by key, when everybody has seen that it was empty. */
static void older_data_that_is_restored_without_a_restart_is_told(void **state)
{
    (void)state;
    char epochs[ROOMS][EPOCH_MAX + 1];
    struct world *world = world_begin();
    load(world, 60, NULL);
    check_exactly_once(world);
    redis_say(&world->redis, "EVAL for\t_,k\tin\tipairs(redis.call('KEYS','*'))do\t"
                             "redis.call('COPY',k,k,'DB',1)end 0");
    load(world, 60, NULL);
    check_exactly_once(world);
    copy_epochs(world, epochs);
    assert_string_equal(redis_say(&world->redis, "FLUSHDB"), "+OK");
    turn_until(world, losses(world) == NODES * ROOMS);
    assert_string_equal(redis_say(&world->redis, "SWAPDB 0 1"), "+OK");
    check_went_on(world, epochs);
    world_end(world);
}

/* --- fail-overs ------------------------------------------------------------------------------ */

/* The replica takes the primary's place and its port; the primary comes back behind it. */
static void fail_over(struct world *world)
{
    char text[64];
    struct redis_world dead = world->redis;
    redis_kill(&dead);
    assert_string_equal(redis_say(&world->replica, "REPLICAOF NO ONE"), "+OK");
    snprintf(text, sizeof text, "CONFIG SET port %u", dead.port);
    assert_string_equal(redis_say(&world->replica, text), "+OK");
    world->redis.pid = world->replica.pid;
    memcpy(world->redis.path, world->replica.path, sizeof dead.path);
    world->replica.pid = 0;
    memcpy(world->replica.path, dead.path, sizeof dead.path);
    world->replica.primary_port = dead.port;
    redis_start(&world->replica);
}

static void who_waits_for_every_replica_is_told_of_no_fail_over(void **state)
{
    (void)state;
    struct world *world = world_begin_waiting(1, 300);
    struct room late = {0};
    assert_int_equal(room_open(world, &world->nodes[0], &late, "late", 10), ERR_OK);
    char epoch[EPOCH_MAX + 1];
    memcpy(epoch, late.channel.epoch, sizeof epoch);
    store_close(world->nodes[0].store, &late.channel);
    for (uint32_t i = 0; i < 2; i++) {
        load(world, 200, fail_over);
        load(world, 50, NULL);
        check_exactly_once(world); /* nobody was told of a loss */
    }
    assert_int_equal(room_open(world, &world->nodes[1], &late, "late", 10), ERR_OK);
    assert_string_equal(epoch, late.channel.epoch);
    store_close(world->nodes[1].store, &late.channel);
    world_end(world);
}

/* Its primary took another replication id when it came, moments before. */
static void a_first_replica_that_takes_over_soon_is_no_loss(void **state)
{
    (void)state;
    struct redis_world redis;
    redis_begin_with(&redis, &(struct redis_world){.wait_replicas = 1, .wait_timeout_ms = 900});
    struct world *world = world_begin_on(&redis, NULL);
    turn_for(world, 1200); /* they know that there is none */
    redis_begin_replica(&world->replica, &redis);
    load(world, 100, fail_over);
    check_exactly_once(world);
    world_end(world);
}

/* The replica that takes over has the record, and not that it was confirmed: whoever knows
 * the record, and comes to a channel that was open nowhere, is told of no loss. */
static void what_is_there_is_confirmed_for_who_opens(void **state)
{
    (void)state;
    char command[512];
    struct world *world = world_begin_waiting(1, 900);
    load(world, 60, NULL);
    check_exactly_once(world);
    uint64_t head = world->rooms[0][0].channel.head;
    uint32_t partition = (uint32_t)(hash_bytes(BYTES_LITERAL("room:0"), 0) % 64);
    for (uint32_t n = 0; n < NODES; n++) close_rooms(world, n);
    snprintf(command, sizeof command,
             "EVAL return{ok=tostring(redis.call('HSET','test:{p%u}:meta','room:0',table.concat({"
             "%llu,0,0,0,%llu,0},string.char(32))))} 0",
             partition, (unsigned long long)head, (unsigned long long)head - 1);
    assert_string_equal(redis_say(&world->redis, command), "+0");
    open_rooms(world, 1);
    assert_int_equal(world->rooms[1][0].channel.head, head);
    /* Without the replica it counts as what it may be: not there, yet. */
    kill(world->replica.pid, SIGSTOP);
    assert_string_equal(redis_say(&world->redis, command), "+0");
    open_rooms(world, 0);
    assert_int_equal(world->rooms[0][0].channel.head, head - 1);
    kill(world->replica.pid, SIGCONT);
    turn_until(world, world->rooms[0][0].channel.head == head);
    world_end(world);
}

/* With more replicas than are waited for it may be another one that has less. */
static void a_fail_over_among_more_replicas_is_told(void **state)
{
    (void)state;
    struct redis_world second;
    struct world *world = world_begin_waiting(1, 300);
    redis_begin_replica(&second, &world->redis);
    redis_cli_until(&world->redis, "INFO replication", "connected_slaves:2");
    load(world, 200, NULL);
    turn_for(world, 1500); /* they look how many there are */
    redis_end(&second);
    load(world, 100, fail_over);
    turn_until(world, losses(world) == NODES * ROOMS);
    world_end(world);
}

/* One after another: the first has less than the second, and whoever wrote that is gone. */
static void a_fail_over_to_a_replica_from_before_is_told(void **state)
{
    (void)state;
    struct redis_world second;
    struct world *world = world_begin_waiting(1, 300);
    struct node *writer = &world->nodes[1];
    char epoch[EPOCH_MAX + 1];
    load(world, 60, NULL);
    close_rooms(world, 0);
    memcpy(epoch, world->rooms[0][0].channel.epoch, sizeof epoch);
    kill(world->replica.pid, SIGSTOP);
    redis_say(&world->redis, "CLIENT KILL TYPE replica");
    redis_begin_replica(&second, &world->redis);
    turn_for(world, 2200); /* they look who is there */
    publish_alone(world, &world->rooms[1][0], 5);
    while (store_pending(writer->store) > 0) node_turn(writer, 1);
    for (uint32_t r = 0; r < ROOMS; r++) store_close(writer->store, &world->rooms[1][r].channel);
    node_stop(writer);
    *writer = (struct node){0};
    kill(world->redis.pid, SIGSTOP);
    redis_end(&second);
    kill(world->replica.pid, SIGCONT);
    fail_over(world);
    uint64_t until_ns = clock_mono_ns() + 2000000000u;
    while (clock_mono_ns() < until_ns) node_turn(&world->nodes[0], 1); /* first */
    node_start(writer, &world->redis, 9);
    for (uint32_t n = 0; n < NODES; n++) open_rooms(world, n);
    assert_string_not_equal(world->rooms[0][0].channel.epoch, epoch);
    world_end(world);
}

/* Nor does it help when another node does not wait. */
static void a_fail_over_after_somebody_did_not_wait_is_told(void **state)
{
    (void)state;
    struct world *world = world_begin_waiting(1, 300);
    close_rooms(world, 1);
    node_stop(&world->nodes[1]);
    world->nodes[1] = (struct node){0};
    world->redis.wait_replicas = 0;
    node_start(&world->nodes[1], &world->redis, 9);
    open_rooms(world, 1);
    load(world, 100, NULL);
    load(world, 100, fail_over);
    for (uint32_t r = 1; r < ROOMS; r += 3) /* that node writes to these */
        turn_until(world, world->rooms[0][r].lost == 1 && world->rooms[1][r].lost == 1);
    world_end(world);
}

/* --- a server as it is now ------------------------------------------------------------------- */

static const char *durability(const struct world *world)
{
    struct store_health health;
    store_health(world->nodes[0].store, &health);
    return health.durability;
}

/* On standing links; and what such a server may have lost is told, whatever it says of
 * itself after its end. */
static void durability_is_what_the_server_does_now(void **state)
{
    (void)state;
    struct world *world = world_begin();
    load(world, 60, NULL);
    turn_until(world, strcmp(durability(world), "durable") == 0);
    redis_say(&world->redis, "CONFIG SET appendfsync everysec");
    turn_until(world, strcmp(durability(world), "written") == 0);
    redis_say(&world->redis, "CONFIG SET appendfsync always");
    turn_until(world, strcmp(durability(world), "durable") == 0);
    redis_say(&world->redis, "CONFIG SET appendonly no");
    turn_until(world, strcmp(durability(world), "written") == 0);
    redis_say(&world->redis, "CONFIG SET appendonly yes");
    turn_until(world, strcmp(durability(world), "durable") == 0);
    check_exactly_once(world);
    redis_say(&world->redis, "CONFIG SET appendfsync everysec");
    turn_until(world, strcmp(durability(world), "written") == 0);
    redis_kill(&world->redis);
    redis_start(&world->redis); /* with always */
    turn_until(world, world->rooms[0][0].lost == 1 && world->rooms[1][0].lost == 1);
    world_end(world);
}

/* As a primary does that had no replica for an hour. */
static void another_replication_id_of_one_process_is_no_loss(void **state)
{
    (void)state;
    struct world *world = world_begin();
    load(world, 60, NULL);
    close_rooms(world, 1);
    node_stop(&world->nodes[1]);
    world->nodes[1] = (struct node){0};
    assert_string_equal(redis_say(&world->redis, "DEBUG CHANGE-REPL-ID"), "+OK");
    node_start(&world->nodes[1], &world->redis, 9);
    open_rooms(world, 1);
    load(world, 60, NULL);
    turn_for(world, 1500);
    for (uint32_t r = 0; r < ROOMS; r++) {
        assert_int_equal(world->rooms[0][r].lost + world->rooms[1][r].lost, 0);
        assert_non_null(strstr(world->rooms[1][r].channel.epoch, ".1"));
    }
    world_end(world);
}

/* --- the number of partitions ---------------------------------------------------------------- */

static void another_number_is_refused_though_the_key_is_gone(void **state)
{
    (void)state;
    struct world *world = world_begin();
    struct node node = {0};
    load(world, 60, NULL);
    assert_string_equal(redis_say(&world->redis, "DEL test:partitions"), ":1");
    node.config.storage_dedup_horizon_ms = DAY_MS;
    redis_configure(&world->redis, &node.config);
    node.config.redis_partitions = 32;
    node.workers = workers_create();
    assert_int_equal(store_node_open(&node.config, node.workers, 1, &node.node), ERR_CONFLICT);
    workers_destroy(node.workers);
    assert_string_equal(redis_say(&world->redis, "EXISTS test:partitions"), ":0");
    turn_until(world, strcmp(redis_say(&world->redis, "EXISTS test:partitions"), ":1") == 0);
    assert_string_equal(redis_say(&world->redis, "STRLEN test:partitions"), ":2");
    check_exactly_once(world);
    world_end(world);
}

/* Emptied, and begun anew by somebody else with another number. */
static void a_node_whose_number_is_not_the_one_any_more_says_so(void **state)
{
    (void)state;
    struct world *world = world_begin();
    struct store_health health;
    load(world, 60, NULL);
    assert_string_equal(redis_say(&world->redis, "SET test:partitions 32"), "+OK");
    turn_until(world, (store_health(world->nodes[0].store, &health), !health.is_ok));
    assert_non_null(strstr(health.detail, "redis.partitions"));
    assert_string_equal(redis_say(&world->redis, "SET test:partitions 64"), "+OK");
    turn_until(world, (store_health(world->nodes[0].store, &health), health.is_ok));
    world_end(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(older_data_is_told_where_nothing_was_open),
        cmocka_unit_test(whoever_knows_more_tells_the_others),
        cmocka_unit_test(data_from_before_it_was_emptied_is_told),
        cmocka_unit_test(a_server_that_was_replaced_and_comes_back_is_told),
        cmocka_unit_test(older_data_that_is_restored_without_a_restart_is_told),
        cmocka_unit_test(who_waits_for_every_replica_is_told_of_no_fail_over),
        cmocka_unit_test(a_first_replica_that_takes_over_soon_is_no_loss),
        cmocka_unit_test(what_is_there_is_confirmed_for_who_opens),
        cmocka_unit_test(a_fail_over_among_more_replicas_is_told),
        cmocka_unit_test(a_fail_over_to_a_replica_from_before_is_told),
        cmocka_unit_test(a_fail_over_after_somebody_did_not_wait_is_told),
        cmocka_unit_test(durability_is_what_the_server_does_now),
        cmocka_unit_test(another_replication_id_of_one_process_is_no_loss),
        cmocka_unit_test(another_number_is_refused_though_the_key_is_gone),
        cmocka_unit_test(a_node_whose_number_is_not_the_one_any_more_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
