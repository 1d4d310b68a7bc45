/*
 * The Redis engine on a Cluster of three primaries with a replica each, under
 * load: slots that move, a primary that dies, subscriptions that are pushed away.
 */
#include "storage/redis/slots.h"
#include "storage/sync.h"
#include "unit/storage/redis_many.h"
#include "unit/storage/redis_nodes.h"

static struct redis_many many;

static bool is_healthy(const struct node *node)
{
    struct store_health health;
    store_health(node->store, &health);
    return health.is_ok && health.servers_count == MANY_PRIMARIES;
}

static bool all_are_healthy(const struct world *world)
{
    return is_healthy(&world->nodes[0]) && is_healthy(&world->nodes[1]);
}

static uint32_t room_slot(const struct room *room)
{
    char tag[32];
    int size =
        snprintf(tag, sizeof tag, "p%u", (unsigned)(hash_bytes(bytes_of_text(room->name), 0) % 64));
    return slots_of(bytes_of(tag, (size_t)size));
}

/* The server that says that it has the slot. */
static struct redis_world *owner_of(uint32_t slot)
{
    char text[64];
    for (uint32_t i = 0; i < many.count; i++) {
        if (many.at[i].pid == 0) continue;
        snprintf(text, sizeof text, "CLUSTER COUNTKEYSINSLOT %u", slot);
        if (atoi(redis_cli(&many.at[i], text)) == 0) continue;
        if (strstr(redis_cli(&many.at[i], "ROLE"), "master") != NULL) return &many.at[i];
    }
    fail_msg("nobody holds slot %u", slot);
    return NULL;
}

static void load_for(struct world *world, uint32_t turns)
{
    for (uint32_t i = 0; i < turns; i++) load_turn(world, ASKS_MAX);
}

static void slot_say(struct redis_world *redis, uint32_t slot, const char *word,
                     struct redis_world *other)
{
    char text[256], id[64];
    snprintf(id, sizeof id, "%.40s", redis_cli(other, "CLUSTER MYID"));
    snprintf(text, sizeof text, "CLUSTER SETSLOT %u %s %s", slot, word, id);
    assert_string_equal(redis_cli(redis, text), "OK");
}

/* From now on the slot is on its way. */
static void slot_begin(uint32_t slot, struct redis_world *from, struct redis_world *to)
{
    slot_say(to, slot, "IMPORTING", from);
    slot_say(from, slot, "MIGRATING", to);
}

/* Takes up to `count` of its keys along. */
static void slot_carry(uint32_t slot, struct redis_world *from, struct redis_world *to, int count)
{
    char text[256];
    snprintf(text, sizeof text,
             "MIGRATE 127.0.0.1 %u \"\" 0 5000 KEYS $(redis-cli -p %u CLUSTER GETKEYSINSLOT %u %d)",
             to->port, from->port, slot, count);
    assert_string_equal(redis_cli(from, text), "OK");
}

/* Moves a slot as an operator's tool does, with load between the steps. */
static void slot_move(struct world *world, uint32_t slot, struct redis_world *from,
                      struct redis_world *to)
{
    char text[64];
    slot_begin(slot, from, to);
    load_for(world, 30);
    snprintf(text, sizeof text, "CLUSTER COUNTKEYSINSLOT %u", slot);
    int left = atoi(redis_cli(from, text));
    assert_true(left > 0);
    for (int step = left / 3 + 1; left > 0; left = atoi(redis_cli(from, text))) {
        slot_carry(slot, from, to, step);
        load_for(world, 30);
    }
    slot_say(to, slot, "NODE", to);
    load_for(world, 30);
    slot_say(from, slot, "NODE", to);
    load_for(world, 30);
}

static void move_slots(struct world *world)
{
    for (uint32_t r = 0; r < 3; r++) {
        uint32_t slot = room_slot(&world->rooms[0][r]);
        struct redis_world *from = owner_of(slot);
        struct redis_world *to = &many.at[((uint32_t)(from - many.at) + 1) % MANY_PRIMARIES];
        slot_move(world, slot, from, to);
    }
}

/* One Cluster serves all cases; each begins with nothing in it. */
static void everybody_says(const char *text)
{
    for (uint32_t i = 0; i < many.count; i++) redis_cli(&many.at[i], text);
}

/* How often the servers refused something with this word. */
static uint32_t refusals_of(const char *word)
{
    uint32_t count = 0;
    char name[64];
    snprintf(name, sizeof name, "errorstat_%s:count=", word);
    for (uint32_t i = 0; i < MANY_PRIMARIES; i++) {
        const char *at = strstr(redis_cli(&many.at[i], "INFO errorstats"), name);
        if (at != NULL) count += (uint32_t)atoi(at + strlen(name));
    }
    return count;
}

static void nodes_on_a_cluster_hear_each_other_exactly_once(void **state)
{
    (void)state;
    struct world *world = world_begin_on(&many.entry, NULL);
    turn_until(world, all_are_healthy(world));
    load(world, 600, NULL);
    check_exactly_once(world);
    assert_int_equal(world->unknown + world->down + world->repeats, 0);
    world_end_nodes(world);
}

/* What moved is not lost: nobody is told that it was, although these servers would lose a
 * second when they die. */
static void slots_that_move_lose_and_double_nothing(void **state)
{
    everybody_says("FLUSHALL");
    everybody_says("CONFIG RESETSTAT");
    everybody_says("CONFIG SET appendfsync everysec");
    many.entry.wait_replicas = (uint32_t)(uintptr_t)*state;
    many.entry.wait_timeout_ms = 500;
    struct world *world = world_begin_on(&many.entry, NULL);
    load(world, 300, NULL);
    load(world, 600, move_slots);
    load(world, 100, NULL);
    check_exactly_once(world);
    if (many.entry.wait_replicas == 0) assert_int_equal(world->unknown, 0);
    many.entry.wait_replicas = 0;
    assert_true(refusals_of("MOVED") > 0);
    assert_true(refusals_of("TRYAGAIN") + refusals_of("ASK") > 0);
    turn_until(world, all_are_healthy(world));
    world_end_nodes(world);
}

static void kill_primary(struct world *world)
{
    redis_kill(owner_of(room_slot(&world->rooms[0][0])));
}

static void kill_primary_for_a_while(struct world *world)
{
    struct redis_world *victim = owner_of(room_slot(&world->rooms[0][0]));
    struct redis_world *replica = victim + MANY_PRIMARIES;
    redis_kill(victim);
    while (strstr(redis_cli(replica, "ROLE"), "master") == NULL) load_for(world, 30);
    redis_start(victim); /* the replica that is waited for */
}

static void a_fail_over_of_what_was_waited_for_is_told_to_nobody(void **state)
{
    (void)state;
    everybody_says("FLUSHALL");
    many.entry.wait_replicas = 1;
    many.entry.wait_timeout_ms = 500;
    struct world *world = world_begin_on(&many.entry, NULL);
    load(world, 200, NULL);
    load(world, 200, kill_primary_for_a_while);
    check_exactly_once(world);
    many.entry.wait_replicas = 0;
    world_end_nodes(world);
}

static void a_dead_primary_is_replaced_and_told(void **state)
{
    (void)state;
    everybody_says("FLUSHALL");
    everybody_says("CONFIG SET appendfsync always");
    struct world *world = world_begin_on(&many.entry, NULL);
    load(world, 300, NULL);
    check_exactly_once(world);
    const struct redis_world *victim = owner_of(room_slot(&world->rooms[0][0]));
    uint32_t rooms_there = 0, told = 0;
    for (uint32_t r = 0; r < ROOMS; r++)
        rooms_there += owner_of(room_slot(&world->rooms[0][r])) == victim;
    load(world, 300, kill_primary);
    turn_until(world, all_are_healthy(world) && world->rooms[0][0].lost == 1 &&
                          world->rooms[1][0].lost == 1);
    turn_until(world, everything_is_heard(world));
    turn_for(world, 2000);
    for (uint32_t r = 0; r < ROOMS; r++) {
        assert_int_equal(world->rooms[0][r].lost, world->rooms[1][r].lost);
        told += world->rooms[0][r].lost;
    }
    assert_int_equal(told, rooms_there); /* the others know nothing of it */
    world_end_nodes(world);
}

/* --- one key --------------------------------------------------------------------------------- */

static bool is_synced;
static enum err sync_err;
static uint32_t sync_count;
static void on_synced(struct store_sync *op, enum err err, const struct store_position *positions,
                      uint32_t count)
{
    (void)op, (void)positions;
    is_synced = true;
    sync_err = err;
    sync_count = count;
}

static enum err sync_user(struct world *world, const char *user, bool saves)
{
    struct store_position position = {
        .channel = BYTES_LITERAL("room:0"), .epoch = BYTES_LITERAL("e"), .offset = 1};
    struct store_sync op = {.user = bytes_of_text(user),
                            .client = BYTES_LITERAL("phone"),
                            .positions = &position,
                            .positions_count = saves,
                            .on_end = on_synced};
    is_synced = false;
    store_sync(world->nodes[0].store, &op);
    turn_until(world, is_synced);
    return sync_err;
}

/* Half of a slot is elsewhere: what is one key goes on, there or here. */
static void a_key_is_followed_while_its_slot_moves(void **state)
{
    (void)state;
    struct room *room;
    char text[256];
    everybody_says("FLUSHALL");
    everybody_says("CONFIG SET appendfsync always");
    struct world *world = world_begin_on(&many.entry, NULL);
    turn_until(world, all_are_healthy(world));
    load(world, 60, NULL);
    room = &world->rooms[0][0]; /* a user of the same name is in the same partition */
    uint32_t slot = room_slot(room);
    struct redis_world *from = owner_of(slot);
    struct redis_world *to = &many.at[((uint32_t)(from - many.at) + 1) % MANY_PRIMARIES];
    slot_begin(slot, from, to);
    assert_int_equal(sync_user(world, room->name, true), ERR_OK); /* a new key: it is there */
    assert_int_equal(sync_user(world, room->name, false), ERR_OK);
    assert_int_equal(sync_count, 1);
    snprintf(text, sizeof text, "CLUSTER COUNTKEYSINSLOT %u", slot);
    assert_int_equal(atoi(redis_cli(to, text)), 1);
    /* The move is given up, but for the one key. */
    snprintf(text, sizeof text, "CLUSTER SETSLOT %u STABLE", slot);
    assert_string_equal(redis_cli(from, text), "OK");
    redis_cli(to, "FLUSHALL");
    snprintf(text, sizeof text, "CLUSTER SETSLOT %u STABLE", slot);
    assert_string_equal(redis_cli(to, text), "OK");
    world_end_nodes(world);
}

static enum err opened_with(uint32_t partitions)
{
    struct node node = {0};
    redis_configure(&many.entry, &node.config);
    node.config.redis_partitions = partitions;
    node.workers = workers_create();
    enum err err = store_node_open(&node.config, node.workers, 1, &node.node);
    if (err == ERR_OK) store_node_close(node.node);
    workers_destroy(node.workers);
    return err;
}

/* Where the keys are that a start asks for, and however far their slot has come. */
static void a_start_follows_what_moves(void **state)
{
    (void)state;
    static const char *const tags[] = {"p0", "test:partitions"};
    everybody_says("FLUSHALL");
    everybody_says("CONFIG SET appendfsync always");
    struct world *world = world_begin_on(&many.entry, NULL);
    turn_until(world, all_are_healthy(world));
    load(world, 60, NULL);
    world_end_nodes(world);
    for (uint32_t i = 0; i < array_count(tags); i++) {
        uint32_t slot = slots_of(bytes_of_text(tags[i]));
        struct redis_world *from = owner_of(slot);
        struct redis_world *to = &many.at[((uint32_t)(from - many.at) + 1) % MANY_PRIMARIES];
        slot_begin(slot, from, to);
        assert_int_equal(opened_with(64), ERR_OK);
        assert_int_equal(opened_with(65), ERR_CONFLICT);
        slot_carry(slot, from, to, 1000);
        assert_int_equal(opened_with(64), ERR_OK);
        assert_int_equal(opened_with(65), ERR_CONFLICT);
        /* Then only the first partition knows it. */
        if (i == 0) redis_cli(owner_of(slots_of(bytes_of_text(tags[1]))), "DEL test:partitions");
        assert_int_equal(opened_with(65), ERR_CONFLICT);
        assert_int_equal(opened_with(64), ERR_OK);
        slot_say(to, slot, "NODE", to);
        slot_say(from, slot, "NODE", to);
    }
}

static void mistakes_are_told(void **state)
{
    (void)state;
    struct node node = {0};
    struct redis_world alone, entry;
    redis_begin(&alone, NULL);
    entry = (struct redis_world){
        .mode = CONFIG_REDIS_CLUSTER, .seeds = {alone.address}, .seeds_count = 1};
    assert_int_equal(node_open(&node, &entry), ERR_UNSUPPORTED);
    redis_end(&alone);
    redis_prepare(&alone, &(struct redis_world){0});
    snprintf(alone.more[0], 64, "--cluster-enabled");
    snprintf(alone.more[1], 64, "yes");
    snprintf(alone.more[2], 64, "--cluster-port");
    snprintf(alone.more[3], 64, "%u", redis_free_port());
    redis_start(&alone);
    assert_int_equal(node_open(&node, &entry), ERR_STORE_DOWN); /* no slots are held */
    entry.mode = CONFIG_REDIS_STANDALONE;
    assert_int_equal(node_open(&node, &entry), ERR_UNSUPPORTED);
    redis_end(&alone);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_on_a_cluster_hear_each_other_exactly_once),
        cmocka_unit_test_prestate(slots_that_move_lose_and_double_nothing, NULL),
        cmocka_unit_test_prestate(slots_that_move_lose_and_double_nothing, (void *)(uintptr_t)1),
        cmocka_unit_test(a_key_is_followed_while_its_slot_moves),
        cmocka_unit_test(a_start_follows_what_moves),
        cmocka_unit_test(a_fail_over_of_what_was_waited_for_is_told_to_nobody),
        cmocka_unit_test(a_dead_primary_is_replaced_and_told),
        cmocka_unit_test(mistakes_are_told),
    };
    many_cluster(&many, false);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    many_end(&many);
    return failed;
}
