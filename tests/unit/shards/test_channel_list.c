/*
 * What a backend may list and remove, at the home: channels by a glob up to a
 * limit, and the end of a history between readers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/shards/channel_asks.h"

/* Three channels with one, two and three listeners, one without any. */
static struct small *small_with_channels(struct ear *ear)
{
    struct small *small = small_with_ear(ear, plain);
    const char *const names[] = {"a:1", "a:2", "b:1"};
    for (uint32_t i = 0; i < array_count(names); i++)
        for (uint32_t k = 0; k <= i; k++) {
            struct told told;
            struct letter_subscribe in = {.hub = hub_of(i), .channel = bytes_of_text(names[i])};
            ask_subscribe(small, k % SMALL_SHARDS, in, &told);
            small_run(small);
            assert_int_equal(told.err, ERR_OK);
        }
    small_publish(small, 0, BYTES_LITERAL("a:unheard"), 1);
    return small;
}

static void end(struct small *small)
{
    const char *const names[] = {"a:1", "a:2", "b:1"};
    for (uint32_t i = 0; i < array_count(names); i++)
        for (uint32_t k = 0; k <= i; k++)
            tell_leave(small, k % SMALL_SHARDS, bytes_of_text(names[i]), hub_of(i));
    small_fini(small);
    free(small);
}

/* Rows of all shards together. */
static uint32_t listed(struct small *small, const char *glob, uint32_t *clients)
{
    uint32_t count = 0;
    *clients = 0;
    for (uint32_t s = 0; s < SMALL_SHARDS; s++) {
        struct answer answer = {.err = ERR_OK};
        enum err err = channels_list(small->shards[s], bytes_of_text(glob), 10, &answer);
        assert_int_equal(err, ERR_OK);
        count += answer.rows_count;
        for (uint32_t i = 0; i < answer.rows_count; i++) *clients += answer.rows[i].clients;
    }
    return count;
}

static void channels_with_listeners_are_listed(void **state)
{
    (void)state;
    struct ear ear;
    struct small *small = small_with_channels(&ear);
    uint32_t clients;
    assert_int_equal(listed(small, "*", &clients), 3);
    assert_int_equal(clients, 6);
    assert_int_equal(listed(small, "a:*", &clients), 2);
    assert_int_equal(clients, 3);
    assert_int_equal(listed(small, "?:1", &clients), 2);
    assert_int_equal(clients, 4);
    assert_int_equal(listed(small, "c*", &clients), 0);
    end(small);
}

static void a_list_above_its_limit_is_refused(void **state)
{
    (void)state;
    struct ear ear;
    struct small *small = small_with_channels(&ear);
    struct shard *shard = small->shards[small_home(BYTES_LITERAL("b:1"))];
    struct answer answer = {.err = ERR_OK};
    enum err err = channels_list(shard, BYTES_LITERAL("*"), 10, &answer);
    assert_int_equal(err, ERR_OK);
    uint32_t all = answer.rows_count;
    err = channels_list(shard, BYTES_LITERAL("*"), all, &answer);
    assert_int_equal(err, ERR_OK);
    err = channels_list(shard, BYTES_LITERAL("*"), all - 1, &answer);
    assert_int_equal(err, ERR_LIMIT_LISTED);
    err = channels_list(shard, BYTES_LITERAL("b:1"), 1, &answer);
    assert_int_equal(err, ERR_OK);
    err = channels_list(shard, BYTES_LITERAL("b:1"), 0, &answer);
    assert_int_equal(err, ERR_LIMIT_LISTED);
    end(small);
}

static void ask_remove(struct small *small, struct told *told)
{
    struct letter_ask in = {.channel = CHANNEL};
    in.call = small_call(small, 0, in.channel, told);
    call_post(small->shards[0], letter_pack_ask(small->shards[0]->post, small_home(CHANNEL),
                                                LETTER_HISTORY_REMOVE, &in));
}

static void a_removed_history_is_gone_for_readers_and_for_recovery(void **state)
{
    (void)state;
    struct ear ear;
    struct small *small = small_with_ear(&ear, plain);
    struct letter_history all = {.channel = CHANNEL, .limit = UINT32_MAX};
    struct told told, other;
    for (uint64_t i = 1; i <= 6; i++) small_publish(small, 0, CHANNEL, i);
    ask_remove(small, &told);
    small_run(small);
    assert_true(told.is_here);
    assert_int_equal(told.err, ERR_OK);
    ask_history(small, 1, all, &told);
    small_run(small);
    assert_int_equal(told.count, 0);
    assert_int_equal(told.offset, 6);
    assert_int_equal(small_publish(small, 0, CHANNEL, 7), 7);
    ask_history(small, 1, all, &told);
    ask_subscribe(small, 0, subscribe_from(4, ""), &other);
    small_run(small);
    assert_int_equal(told.count, 1);
    assert_int_equal(told.offsets[0], 7);
    assert_false(other.recovered);
    ask_subscribe(small, 0, subscribe_from(6, ""), &other);
    small_run(small);
    assert_true(other.recovered);
    assert_int_equal(other.count, 1);
    for (int i = 0; i < 2; i++) tell_leave(small, 0, CHANNEL, hub_of(1));
    small_fini(small);
    free(small);
}

/* The store reads for a question that was asked before; the removal comes first. */
static void what_is_removed_while_the_store_reads_is_not_answered(void **state)
{
    (void)state;
    struct ear ear;
    struct small *small = small_with_ear(&ear, plain);
    struct told forward, reverse, removed;
    for (uint64_t i = 1; i <= 8; i++) small_publish(small, 0, CHANNEL, i);
    struct gate *gate = &small->gates[small_home(CHANNEL)];
    struct letter_history all = {.channel = CHANNEL, .limit = UINT32_MAX};
    gate->is_shut = true;
    ask_history(small, 1, all, &forward); /* below the window of 4: the store is read */
    all.is_reverse = true;
    ask_history(small, 1, all, &reverse);
    ask_remove(small, &removed);
    small_run(small);
    assert_false(forward.is_here || reverse.is_here || removed.is_here);
    gate->is_shut = false;
    small_run(small);
    assert_true(forward.is_here && reverse.is_here && removed.is_here);
    assert_int_equal(forward.offset, 8);
    assert_int_equal(reverse.offset, 8);
    assert_true(forward.count == 8 || forward.count == 0);
    assert_true(reverse.count == 8 || reverse.count == 0);
    ask_history(small, 1, all, &forward);
    small_run(small);
    assert_int_equal(forward.count, 0);
    small_fini(small);
    free(small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(channels_with_listeners_are_listed),
        cmocka_unit_test(a_list_above_its_limit_is_refused),
        cmocka_unit_test(a_removed_history_is_gone_for_readers_and_for_recovery),
        cmocka_unit_test(what_is_removed_while_the_store_reads_is_not_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
