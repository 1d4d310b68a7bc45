/*
 * A channel's life at its home: opening, closing, loss, opening again.
 *
 * The store behind it is held back, refused or made to lose its data at the gate
 * (small_gate.h); what was asked meanwhile must still be answered, in order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/shards/channel_asks.h"

/* --- life --------------------------------------------------------------------------- */

static void questions_wait_for_the_opening_in_their_order(void **state)
{
    (void)state;
    struct small *small = malloc(sizeof *small);
    small_init(small, plain);
    small->gates[small_home(CHANNEL)].is_shut = true;
    struct told first, second, history;
    struct letter_publish in = {.channel = CHANNEL, .publication.data = BYTES_LITERAL("1")};
    ask_publish(small, 0, in, &first);
    in.publication.data = BYTES_LITERAL("2");
    ask_publish(small, 0, in, &second);
    ask_history(small, 0, (struct letter_history){.channel = CHANNEL}, &history);
    small_run(small);
    assert_false(first.is_here || second.is_here || history.is_here);
    small->gates[small_home(CHANNEL)].is_shut = false;
    small_run(small);
    assert_int_equal(first.offset, 1);
    assert_int_equal(second.offset, 2);
    assert_true(history.is_here);
    small_fini(small);
    free(small);
}

static void a_failed_opening_is_told_and_tried_again(void **state)
{
    (void)state;
    struct small *small = malloc(sizeof *small);
    small_init(small, plain);
    struct gate *gate = &small->gates[small_home(CHANNEL)];
    gate->open_err = ERR_STORE_DOWN;
    struct told told, other;
    ask_subscribe(small, 1, subscribe_from(0, ""), &told);
    ask_history(small, 0, (struct letter_history){.channel = CHANNEL}, &other);
    small_run(small);
    assert_int_equal(told.err, ERR_STORE_DOWN);
    assert_int_equal(other.err, ERR_STORE_DOWN);
    assert_int_equal(small->shards[small_home(CHANNEL)]->channels.channels.count, 0);
    gate->open_err = ERR_OK;
    assert_int_equal(small_publish(small, 0, CHANNEL, 1), 1);
    small_fini(small);
    free(small);
}

static void an_idle_channel_is_closed_and_comes_back(void **state)
{
    (void)state;
    struct small *small = malloc(sizeof *small);
    small_init(small, plain);
    struct shard *home = small->shards[small_home(CHANNEL)];
    struct told told;
    small_publish(small, 0, CHANNEL, 1);
    small_wait(small, CHANNEL_IDLE_MS - 1);
    assert_int_equal(home->channels.channels.count, 1);
    small_wait(small, 1);
    assert_int_equal(home->channels.channels.count, 0);

    ask_subscribe(small, 0, subscribe_from(0, ""), &told);
    small_run(small);
    small_wait(small, 10 * CHANNEL_IDLE_MS);
    assert_int_equal(home->channels.channels.count, 1); /* a listener holds it */
    assert_int_equal(home->metrics.values[METRIC_CHANNELS], 1);
    assert_int_equal(small_publish(small, 0, CHANNEL, 2), 2);
    tell_leave(small, 0, CHANNEL, hub_of(1));
    small_run(small);
    assert_int_equal(home->metrics.values[METRIC_CHANNELS], 0);
    small_fini(small);
    free(small);
}

static enum err say(struct small *small, const char *key, struct told *told)
{
    struct letter_publish in = {.channel = CHANNEL,
                                .publication.data = BYTES_LITERAL("1"),
                                .scope = BYTES_LITERAL("u"),
                                .key = bytes_of_text(key)};
    ask_publish(small, 0, in, told);
    small_run(small);
    assert_true(told->is_here);
    return told->err;
}

static void what_keeps_nothing_asks_the_store_for_keys_only(void **state)
{
    (void)state;
    struct ear ear;
    struct small *small = small_with_ear(&ear, "");
    struct shard *home = small->shards[small_home(CHANNEL)];
    struct gate *gate = &small->gates[small_home(CHANNEL)];
    struct told told;
    gate->open_err = ERR_STORE_DOWN;
    for (uint32_t shard = 0; shard < 2; shard++) {
        struct letter_subscribe in = {.channel = CHANNEL, .hub = hub_of(1)};
        ask_subscribe(small, shard, in, &told);
        small_run(small);
        assert_int_equal(told.err, ERR_OK);
    }
    struct channel *channel = channel_find(home, CHANNEL);
    assert_int_equal(say(small, "", &told), ERR_OK);
    assert_int_equal(ear.count, 2);
    assert_int_equal(channel->state, CHANNEL_BARE);

    assert_int_equal(say(small, "k", &told), ERR_STORE_DOWN);
    assert_int_equal(channel->state, CHANNEL_BARE);
    assert_int_equal(say(small, "", &told), ERR_OK);
    assert_int_equal(ear.count, 4);

    gate->open_err = ERR_OK;
    assert_int_equal(say(small, "k", &told), ERR_OK);
    assert_int_equal(channel->state, CHANNEL_LIVE);
    assert_int_equal(ear.count, 6);
    small_wait(small, CHANNEL_IDLE_MS);
    assert_int_equal(channel->state, CHANNEL_BARE);
    assert_int_equal(say(small, "k", &told), ERR_OK);
    assert_true(told.is_repeat);
    assert_int_equal(ear.count, 6);

    small_wait(small, CHANNEL_IDLE_MS);
    for (uint32_t shard = 0; shard < 2; shard++) tell_leave(small, shard, CHANNEL, hub_of(1));
    small_run(small);
    assert_int_equal(home->channels.channels.count, 0);
    small_fini(small);
    free(small);
}

static void where_others_publish_who_listens_keeps_it_open(void **state)
{
    (void)state;
    struct small *small = malloc(sizeof *small);
    small_init(small, "");
    struct shard *home = small->shards[small_home(CHANNEL)];
    struct store_engine others = gate_engine;
    others.has_others = true;
    small->gates[small_home(CHANNEL)].store.engine = &others;
    struct told told;
    ask_subscribe(small, 1, (struct letter_subscribe){.channel = CHANNEL, .hub = hub_of(1)}, &told);
    small_run(small);
    assert_int_equal(told.err, ERR_OK);
    small_wait(small, 2 * CHANNEL_IDLE_MS);
    assert_int_equal(channel_find(home, CHANNEL)->state, CHANNEL_LIVE);
    tell_leave(small, 1, CHANNEL, hub_of(1));
    small_fini(small);
    free(small);
}

static void a_loss_is_told_to_listeners_and_reopens(void **state)
{
    (void)state;
    struct ear ear;
    struct small *small = small_with_ear(&ear, plain);
    struct shard *home = small->shards[small_home(CHANNEL)];
    struct gate *gate = &small->gates[small_home(CHANNEL)];
    struct told told, late, published;
    for (uint64_t i = 1; i <= 8; i++) small_publish(small, 0, CHANNEL, i);
    ask_subscribe(small, 1, subscribe_from(8, ""), &told);
    small_run(small);
    assert_true(told.recovered);

    gate->is_shut = true; /* a recovery that reads the store is under way while it happens */
    ask_subscribe(small, 0, subscribe_from(1, ""), &late);
    small_run(small);
    struct channel *channel = channel_find(home, CHANNEL);
    channel_on_lost(home, &channel->stored->store);
    assert_int_equal(channel->state, CHANNEL_LOST);
    small_run(small);
    assert_int_equal(ear.count, 1);
    assert_true(ear.heard[0].is_lost);
    tell_leave(small, 1, CHANNEL, hub_of(1)); /* what the listening shard does then */
    ask_publish(small, 0,
                (struct letter_publish){.channel = CHANNEL, .publication.data = BYTES_LITERAL("9")},
                &published);
    small_run(small);
    assert_false(late.is_here || published.is_here);

    gate->is_shut = false;
    small_run(small);
    small_run(small);
    assert_int_equal(channel->state, CHANNEL_LIVE);
    assert_int_equal(late.err, ERR_OK);
    assert_true(late.is_here && late.recovered);
    assert_int_equal(published.offset, 9);
    /* The late one had to read again and found the ninth there; nobody else
     * listens, so no frame goes out. */
    assert_int_equal(late.count, 8);
    assert_int_equal(late.offsets[7], 9);
    assert_int_equal(ear.count, 1);
    assert_int_equal(small_publish(small, 0, CHANNEL, 10), 10);
    assert_int_equal(ear.count, 2);
    assert_int_equal(ear.heard[1].shard, 0);
    tell_leave(small, 0, CHANNEL, hub_of(1));
    small_fini(small);
    free(small);
}

static void a_reopening_that_fails_keeps_its_listeners(void **state)
{
    (void)state;
    struct ear ear;
    struct small *small = small_with_ear(&ear, plain);
    struct shard *home = small->shards[small_home(CHANNEL)];
    struct gate *gate = &small->gates[small_home(CHANNEL)];
    struct told told;
    ask_subscribe(small, 1, subscribe_from(0, ""), &told);
    small_run(small);
    struct channel *channel = channel_find(home, CHANNEL);
    gate->open_err = ERR_STORE_DOWN;
    channel_on_lost(home, &channel->stored->store);
    small_run(small);
    assert_int_equal(channel->state, CHANNEL_FAILED);
    assert_int_equal(channel->listeners_count, 1); /* its LEAVE is still to come */
    ask_history(small, 0, (struct letter_history){.channel = CHANNEL}, &told);
    small_run(small);
    assert_int_equal(told.err, ERR_STORE_DOWN); /* tried again, in vain */

    gate->open_err = ERR_OK;
    assert_int_equal(small_publish(small, 0, CHANNEL, 1), 1);
    assert_int_equal(channel->state, CHANNEL_LIVE);
    gate->open_err = ERR_STORE_DOWN;
    channel_on_lost(home, &channel->stored->store);
    small_run(small);
    tell_leave(small, 1, CHANNEL, hub_of(1));
    small_run(small);
    assert_int_equal(home->channels.channels.count, 0); /* failed and held by nobody */
    small_fini(small);
    free(small);
}

static void a_recovery_larger_than_an_answer_is_none(void **state)
{
    (void)state;
    struct small *small = malloc(sizeof *small);
    small_init(small, plain);
    size_t size = HISTORY_BYTES_MAX / 5;
    char *data = malloc(size);
    memset(data, '1', size);
    struct told told;
    for (int i = 0; i < 6; i++) {
        struct letter_publish in = {.channel = CHANNEL, .publication.data = bytes_of(data, size)};
        ask_publish(small, 0, in, &told);
        small_run(small);
        assert_int_equal(told.err, ERR_OK);
    }
    ask_subscribe(small, 1, subscribe_from(3, ""), &told);
    small_run(small);
    assert_true(told.recovered && told.count == 3);
    ask_subscribe(small, 1, subscribe_from(0, ""), &told);
    small_run(small);
    assert_int_equal(told.err, ERR_OK);
    assert_false(told.recovered);
    assert_int_equal(told.offset, 6);
    struct letter_history in = {.channel = CHANNEL, .limit = UINT32_MAX};
    ask_history(small, 0, in, &told);
    small_run(small);
    assert_int_equal(told.err, ERR_LIMIT_SIZE);
    tell_leave(small, 1, CHANNEL, hub_of(1));
    tell_leave(small, 1, CHANNEL, hub_of(1));
    small_fini(small);
    free(data);
    free(small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(questions_wait_for_the_opening_in_their_order),
        cmocka_unit_test(a_failed_opening_is_told_and_tried_again),
        cmocka_unit_test(an_idle_channel_is_closed_and_comes_back),
        cmocka_unit_test(what_keeps_nothing_asks_the_store_for_keys_only),
        cmocka_unit_test(where_others_publish_who_listens_keeps_it_open),
        cmocka_unit_test(a_loss_is_told_to_listeners_and_reopens),
        cmocka_unit_test(a_reopening_that_fails_keeps_its_listeners),
        cmocka_unit_test(a_recovery_larger_than_an_answer_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
