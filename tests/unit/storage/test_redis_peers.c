/*
 * What two nodes let each other know over Redis: who attends channels, and questions.
 */
#include "unit/storage/redis_ears.h"

/* --- who attends ----------------------------------------------------------------------------- */

static struct store_present who(uint8_t client, const char *user)
{
    struct store_present present = {.user = bytes_of_text(user), .conn_info = BYTES_LITERAL("{}")};
    present.client[0] = client;
    return present;
}

static void enter(struct world *world, uint32_t node, uint8_t client, const char *user,
                  uint32_t flags)
{
    struct store_present present = who(client, user);
    store_enter(world->nodes[node].store, BYTES_LITERAL("room:0"), &present, flags);
}

static void leave(struct world *world, uint32_t node, uint8_t client, bool is_listed)
{
    struct store_present present = who(client, "");
    store_leave(world->nodes[node].store, BYTES_LITERAL("room:0"), present.client, is_listed);
}

static struct {
    bool is_here;
    enum err err;
    uint32_t clients, users, count;
    char names[256];
} rolled;

static void on_roll(struct store_roll *op, enum err err, uint32_t clients, uint32_t users,
                    const struct store_present *present, uint32_t count)
{
    (void)op;
    rolled.is_here = true;
    rolled.err = err;
    rolled.clients = clients;
    rolled.users = users;
    rolled.count = count;
    rolled.names[0] = 0;
    for (uint32_t i = 0; i < count; i++)
        append_text(rolled.names, sizeof rolled.names, "", present[i].user);
}

static void roll(struct world *world, uint32_t node, bool is_count)
{
    struct store_roll op = {.channel = BYTES_LITERAL("room:0"),
                            .is_count = is_count,
                            .clients_max = 4,
                            .on_roll = on_roll};
    rolled.is_here = false;
    store_roll(world->nodes[node].store, &op);
    turn_until(world, rolled.is_here);
}

/* Waits until both nodes count so many. */
static void count_becomes(struct world *world, uint32_t clients, uint32_t users)
{
    for (uint32_t node = 0; node < NODES; node++) {
        do {
            turn_for(world, 5);
            roll(world, node, true);
        } while (rolled.err != ERR_OK || rolled.clients != clients || rolled.users != users);
    }
}

#define LISTED (STORE_PRESENT_LISTED | STORE_PRESENT_TOLD)

static void both_nodes_call_one_roll(void **state)
{
    (void)state;
    struct world *world = begin();
    turn_until(world, world_is_idle(world));
    enter(world, 0, 1, "ann", LISTED);
    enter(world, 1, 2, "ann", LISTED);
    enter(world, 1, 3, "bob", LISTED);
    enter(world, 1, 4, "eve", STORE_PRESENT_TOLD); /* not listed */
    roll(world, 1, false);                         /* whoever asks finds what it said before */
    assert_int_equal(rolled.err, ERR_OK);
    assert_true(strstr(rolled.names, "bob") != NULL);
    count_becomes(world, 3, 2);
    roll(world, 0, false);
    assert_int_equal(rolled.count, 3);
    assert_int_equal(rolled.users, 2);
    assert_int_equal(strlen(rolled.names), 9);
    turn_until(world, strlen(ears[0].heard) == 12);
    assert_string_equal(ears[0].heard, "+ann+bob+eve");
    assert_string_equal(ears[1].heard, "+ann");

    leave(world, 1, 4, false);
    leave(world, 1, 2, true);
    leave(world, 1, 2, true); /* again, which changes nothing */
    count_becomes(world, 2, 2);
    turn_until(world, strlen(ears[0].heard) == 20);
    assert_string_equal(ears[0].heard, "+ann+bob+eve-eve-ann");
    world_end(world);
}

/* At the limit everyone is listed and told; above it they are counted. */
static void a_crowd_is_counted(void **state)
{
    (void)state;
    static const char *const users[] = {"a", "b", "c", "d", "e"};
    struct world *world = begin();
    for (uint8_t i = 0; i < 4; i++) enter(world, i % 2, i + 1, users[i], LISTED);
    count_becomes(world, 4, 4);
    roll(world, 0, false);
    assert_int_equal(rolled.count, 4);
    turn_until(world, strlen(ears[0].heard) == 4 && strlen(ears[1].heard) == 4);
    enter(world, 0, 5, users[4], LISTED);
    count_becomes(world, 5, 5);
    roll(world, 1, false);
    assert_int_equal(rolled.count, 0);
    assert_int_equal(rolled.clients, 5);
    assert_int_equal(strlen(ears[1].heard), 4);
    leave(world, 0, 5, true);
    leave(world, 0, 1, true);
    count_becomes(world, 3, 3);
    turn_until(world, strlen(ears[1].heard) == 6); /* "-a": who was not told does not leave */
    world_end(world);
}

static void changes_outlive_their_links(void **state)
{
    (void)state;
    struct world *world = begin();
    enter(world, 0, 1, "ann", LISTED);
    enter(world, 1, 2, "bob", LISTED);
    count_becomes(world, 2, 2);
    redis_kill(&world->redis);
    leave(world, 0, 1, true);
    enter(world, 0, 3, "cid", LISTED);
    enter(world, 1, 4, "dan", LISTED);
    turn_for(world, 50);
    leave(world, 1, 4, true);
    redis_start(&world->redis);
    count_becomes(world, 2, 2);
    roll(world, 1, false);
    assert_true(strstr(rolled.names, "bob") != NULL && strstr(rolled.names, "cid") != NULL);
    for (uint32_t round = 0; round < 5; round++) {
        for (uint8_t i = 0; i < 40; i++) enter(world, round % 2, 100 + i, "many", LISTED);
        world_turn(world);
        redis_say(&world->redis, "CLIENT KILL TYPE normal");
        for (uint8_t i = 0; i < 40; i++) leave(world, round % 2, 100 + i, true);
    }
    count_becomes(world, 2, 2);
    world_end(world);
}

/* The stored data is gone: who knows enters again, by a new life. */
static void an_emptied_server_is_filled_again(void **state)
{
    (void)state;
    struct world *world = begin();
    enter(world, 0, 1, "ann", LISTED);
    count_becomes(world, 1, 1);
    redis_say(&world->redis, "FLUSHALL");
    turn_until(world, ears[0].reentered >= ROOMS && ears[1].reentered >= ROOMS);
    enter(world, 0, 1, "ann", LISTED | STORE_PRESENT_QUIET);
    count_becomes(world, 1, 1);
    world_end(world);
}

/* A life that was taken for dead: others clean up, it begins anew. */
static void a_lease_that_ends_is_cleaned_up(void **state)
{
    (void)state;
    struct world *world = begin();
    enter(world, 0, 1, "ann", LISTED);
    enter(world, 1, 2, "eve", LISTED);
    for (uint8_t i = 0; i < 200; i++) enter(world, 1, i + 3, "bob", STORE_PRESENT_LISTED);
    count_becomes(world, 202, 3);
    leave(world, 0, 1, true);
    for (uint8_t i = 3; i < 200; i++) leave(world, 1, i + 3, true);
    count_becomes(world, 4, 2);
    struct redis_store *second = redis_of(world->nodes[1].store);
    char life[LIFE_MAX + 1], text[128];
    snprintf(life, sizeof life, "%s", second->peers->life);
    snprintf(text, sizeof text, "ZADD test:{p0}:nodes XX 1 %s", life);
    redis_say(&world->redis, text);
    uint64_t end_ns = clock_mono_ns() + 30000000000u;
    do { /* the second node sleeps */
        struct store_roll op = {
            .channel = BYTES_LITERAL("room:0"), .is_count = true, .on_roll = on_roll};
        rolled.is_here = false;
        store_roll(world->nodes[0].store, &op);
        while (!rolled.is_here) node_turn(&world->nodes[0], 1);
        assert_true(clock_mono_ns() < end_ns);
    } while (rolled.clients > 0);
    while (strcmp(redis_say(&world->redis, "ZCARD test:{p0}:graves"), ":0") != 0)
        node_turn(&world->nodes[0], 1);
    assert_string_equal(ears[0].heard, "+eve-eve");
    turn_until(world, ears[1].reentered >= ROOMS);
    assert_string_not_equal(second->peers->life, life);
    enter(world, 1, 2, "eve", LISTED);
    count_becomes(world, 1, 1);
    world_end(world);
}

/* --- questions ------------------------------------------------------------------------------- */

static struct {
    uint32_t parts;
    bool is_over;
    enum err err;
} surveyed;

static void on_part(struct store_survey *op, struct bytes answer)
{
    (void)op;
    surveyed.parts++;
    assert_true(bytes_equal_text(answer, "to who?"));
}

static void on_survey_end(struct store_survey *op, enum err err)
{
    (void)op;
    surveyed.is_over = true;
    surveyed.err = err;
}

static void survey_begin(struct world *world)
{
    static struct store_survey op;
    op = (struct store_survey){
        .question = BYTES_LITERAL("who?"), .on_part = on_part, .on_end = on_survey_end};
    memset(&surveyed, 0, sizeof surveyed);
    store_survey(world->nodes[0].store, &op);
}

static void survey(struct world *world)
{
    survey_begin(world);
    turn_until(world, surveyed.is_over);
}

static void every_other_node_answers(void **state)
{
    (void)state;
    struct world *world = begin();
    turn_until(world, both_live(world));
    survey(world);
    assert_int_equal(surveyed.err, ERR_OK);
    assert_int_equal(surveyed.parts, 1);
    assert_int_equal(ears[1].questions, 1);
    /* One that does not answer is told of; an answer that comes too late is not. */
    ears[1].is_silent = true;
    survey(world);
    assert_int_equal(surveyed.err, ERR_PEER_SILENT);
    assert_int_equal(surveyed.parts, 0);
    ears[1].is_silent = false;
    survey(world);
    assert_int_equal(surveyed.parts, 1);
    /* One that sleeps and missed a beat is taken for dead. */
    char text[128];
    snprintf(text, sizeof text, "ZADD test:{p0}:nodes XX %llu %s",
             (unsigned long long)clock_wall_ms() - 6000,
             redis_of(world->nodes[1].store)->peers->life);
    redis_say(&world->redis, text);
    survey_begin(world);
    while (!surveyed.is_over) node_turn(&world->nodes[0], 1);
    assert_int_equal(surveyed.err, ERR_OK);
    assert_int_equal(surveyed.parts, 0);
    /* One that said goodbye is not asked. */
    store_goodbye(world->nodes[1].store);
    turn_until(world, world_is_idle(world));
    survey(world);
    assert_int_equal(surveyed.err, ERR_OK);
    assert_int_equal(surveyed.parts, 0);
    redis_kill(&world->redis);
    survey(world);
    assert_int_equal(surveyed.err, ERR_STORE_DOWN);
    redis_start(&world->redis);
    world_end(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_nodes_call_one_roll),
        cmocka_unit_test(a_crowd_is_counted),
        cmocka_unit_test(changes_outlive_their_links),
        cmocka_unit_test(an_emptied_server_is_filled_again),
        cmocka_unit_test(a_lease_that_ends_is_cleaned_up),
        cmocka_unit_test(every_other_node_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
