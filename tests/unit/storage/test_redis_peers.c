/*
 * What two nodes let each other know over Redis: who attends channels, questions, and
 * what is said about users.
 */
#include "storage/redis/peers_parts.h"
#include "unit/storage/redis_nodes.h"

/* --- what each node hears ------------------------------------------------------------------- */

#define SAID_MAX 512

struct ears {
    char heard[1024]; /* "+ann-ann" */
    uint32_t reentered, questions;
    bool is_silent; /* questions are not answered */
    uint32_t said_count;
    char said[SAID_MAX][24];
    uint64_t age_ms; /* of the last */
};

static struct ears ears[NODES];
static struct world *the_world;

static struct ears *ears_of(const void *context)
{
    return &ears[(const struct node *)context - the_world->nodes];
}

static void append_text(char *to, size_t size, const char *mark, struct bytes text)
{
    size_t used = strlen(to);
    assert_true(used + strlen(mark) + text.size < size);
    snprintf(to + used, size - used, "%s%.*s", mark, (int)text.size, (const char *)text.at);
}

static void on_join(void *context, struct store_channel *channel, const struct store_present *who,
                    bool is_leave)
{
    assert_true(channel->name.size > 0);
    append_text(ears_of(context)->heard, sizeof ears->heard, is_leave ? "-" : "+", who->user);
}

static void on_reenter(void *context, struct store_channel *channel)
{
    assert_true(channel->name.size > 0);
    ears_of(context)->reentered++;
}

static void on_question(void *context, const struct store_asker *asker, struct bytes question)
{
    struct node *node = context;
    char answer[64] = "";
    ears_of(context)->questions++;
    append_text(answer, sizeof answer, "to ", question);
    if (!ears_of(context)->is_silent) store_answer(node->store, asker, bytes_of_text(answer));
}

static void note_said(struct ears *at, struct bytes text)
{
    assert_true(at->said_count < SAID_MAX);
    append_text(at->said[at->said_count++], sizeof at->said[0], "", text);
}

static void on_told(void *context, struct bytes user, struct bytes text, uint64_t age_ms)
{
    assert_true(bytes_equal_text(user, "ann") || bytes_equal_text(user, "bob"));
    ears_of(context)->age_ms = age_ms;
    note_said(ears_of(context), text);
}

static const struct store_peer_sink sink = {
    .on_join = on_join, .on_reenter = on_reenter, .on_question = on_question, .on_told = on_told};

static struct world *begin(void)
{
    struct world *world = world_begin_with(NULL);
    the_world = world;
    memset(ears, 0, sizeof ears);
    for (uint32_t i = 0; i < NODES; i++) {
        world->nodes[i].config.channel_presence_max_clients = 4;
        world->nodes[i].config.client_stale_close_delay_ms = 60000;
        world->nodes[i].store->env.sink.peers = &sink;
    }
    return world;
}

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

static void kill_and_start(struct world *world)
{
    redis_kill(&world->redis);
    turn_for(world, 50);
    redis_start(&world->redis);
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

static bool both_live(const struct world *world)
{
    for (uint32_t i = 0; i < NODES; i++)
        if (!redis_of(world->nodes[i].store)->peers->is_alive) return false;
    return true;
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

/* --- what is said about users ---------------------------------------------------------------- */

struct saying {
    struct store_tell op; /* first */
    struct world *world;
    uint32_t node;
    char text[24];
    bool is_over;
    enum err err;
};

static void on_saying_end(struct store_tell *op, enum err err)
{
    struct saying *saying = (struct saying *)op;
    saying->is_over = true;
    saying->err = err;
    if (err == ERR_OK) note_said(&ears[saying->node], bytes_of_text(saying->text));
}

static void say(struct world *world, struct saying *saying, uint32_t node, uint32_t number)
{
    *saying = (struct saying){.world = world, .node = node};
    snprintf(saying->text, sizeof saying->text, "%u", number);
    saying->op = (struct store_tell){
        .user = BYTES_LITERAL("ann"), .text = bytes_of_text(saying->text), .on_end = on_saying_end};
    store_tell(world->nodes[node].store, &saying->op);
}

#define SAYINGS 100

static bool all_are_over(const struct saying *sayings)
{
    for (uint32_t i = 0; i < SAYINGS; i++)
        if (!sayings[i].is_over) return false;
    return true;
}

/* Everything that was not refused, once each, and in one order on both nodes. */
static void check_one_order(const struct saying *sayings)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < SAYINGS; i++) count += sayings[i].err == ERR_OK;
    assert_true(ears[0].said_count >= count);
    for (uint32_t i = 0; i < ears[0].said_count; i++) {
        assert_string_equal(ears[0].said[i], ears[1].said[i]);
        for (uint32_t j = 0; j < i; j++) assert_string_not_equal(ears[0].said[i], ears[0].said[j]);
    }
}

static void say_all(struct world *world, void (*trouble)(struct world *))
{
    static struct saying sayings[SAYINGS];
    for (uint32_t i = 0; i < SAYINGS; i++) {
        say(world, &sayings[i], i % NODES, i);
        if (i % 7 == 0) world_turn(world);
        if (i == SAYINGS / 2 && trouble != NULL) trouble(world);
    }
    turn_until(world, all_are_over(sayings));
    turn_until(world, ears[0].said_count == ears[1].said_count && world_is_idle(world));
    check_one_order(sayings);
    if (trouble == NULL) assert_int_equal(ears[0].said_count, SAYINGS);
}

static void cut_feeds(struct world *world)
{
    redis_say(&world->redis, "CLIENT KILL TYPE pubsub");
}

static void sayings_have_one_order_over_every_loss(void **state)
{
    (void)state;
    void (*troubles[])(struct world *) = {NULL, cut_feeds, kill_and_start};
    for (uint32_t i = 0; i < array_count(troubles); i++) {
        struct world *world = begin();
        turn_until(world, both_live(world));
        say_all(world, troubles[i]);
        world_end(world);
    }
}

/* Somebody was cut off, or begins: it reads what was said meanwhile, and how long ago. */
static void who_comes_later_hears(void **state)
{
    (void)state;
    struct world *world = begin();
    struct saying saying;
    say(world, &saying, 0, 7);
    turn_until(world, saying.is_over);
    turn_for(world, 30);
    static struct node third;
    node_start(&third, &world->redis, 9);
    third.config.client_stale_close_delay_ms = 60000;
    /* It hears with the ears of the first node. */
    memset(&ears[0], 0, sizeof ears[0]);
    third.store->env.sink.peers = &sink;
    third.store->env.sink.context = &world->nodes[0];
    uint64_t end_ns = clock_mono_ns() + 30000000000u;
    while (ears[0].said_count == 0) {
        node_turn(&third, 1);
        world_turn(world);
        assert_true(clock_mono_ns() < end_ns);
    }
    assert_string_equal(ears[0].said[0], "7");
    assert_true(ears[0].age_ms >= 30);
    while (store_pending(third.store) > 0) node_turn(&third, 1);
    node_stop(&third);
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
        cmocka_unit_test(sayings_have_one_order_over_every_loss),
        cmocka_unit_test(who_comes_later_hears),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
