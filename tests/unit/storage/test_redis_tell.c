/*
 * What is said about users, over Redis: to every node, in one order, and in passing.
 */
#include "unit/storage/redis_ears.h"

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

/* Heard by the other node, and kept nowhere. */
static void what_is_said_in_passing_leaves_nothing(void **state)
{
    (void)state;
    struct world *world = begin();
    static struct saying sayings[SAYINGS];
    turn_until(world, both_live(world));
    say_all(world, NULL); /* both hear by now */
    uint32_t before = ears[0].said_count;
    for (uint32_t i = 0; i < SAYINGS; i++) {
        struct saying *saying = &sayings[i];
        *saying = (struct saying){.world = world};
        snprintf(saying->text, sizeof saying->text, "p%u", i);
        saying->op = (struct store_tell){.user = BYTES_LITERAL("ann"),
                                         .text = bytes_of_text(saying->text),
                                         .is_passing = true,
                                         .on_end = on_saying_end};
        store_tell(world->nodes[0].store, &saying->op);
    }
    turn_until(world, all_are_over(sayings) && ears[1].said_count == before + SAYINGS);
    for (uint32_t i = 0; i < SAYINGS; i++) assert_int_equal(sayings[i].err, ERR_OK);
    assert_int_equal(ears[0].said_count, before + SAYINGS); /* by the asker, once */
    assert_string_equal(redis_say(&world->redis,
                                  "EVAL local\tn=0\tfor\t_,k\tin\tipairs(redis.call('KEYS',"
                                  "'*users'))\tdo\tn=n+redis.call('XLEN',k)\tend\treturn\tn 0"),
                        ":100");
    struct saying kept;
    say(world, &kept, 0, 7); /* and what is kept goes on behind them */
    turn_until(world, kept.is_over && ears[1].said_count == before + SAYINGS + 1);
    world_end(world);
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
        cmocka_unit_test(sayings_have_one_order_over_every_loss),
        cmocka_unit_test(what_is_said_in_passing_leaves_nothing),
        cmocka_unit_test(who_comes_later_hears),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
