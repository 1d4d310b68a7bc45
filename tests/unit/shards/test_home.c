/*
 * home: the same name has the same home everywhere, companions share it, homes
 * are spread, and a new shard moves few names.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/limits.h"
#include "shards/home.h"

static struct bytes name_of(char *buffer, size_t size, uint32_t n)
{
    int used = snprintf(buffer, size, "chat:%u", n);
    return bytes_of(buffer, (size_t)used);
}

static void companions_share_the_home_of_their_channel(void **state)
{
    (void)state;
    for (uint32_t n = 0; n < 1000; n++) {
        char name[32], companion[64];
        uint32_t home = home_of_channel(name_of(name, sizeof name, n), 7);
        snprintf(companion, sizeof companion, "receipts:%s", name);
        assert_int_equal(home_of_channel(bytes_of_text(companion), 7), home);
        snprintf(companion, sizeof companion, "typing:%s", name);
        assert_int_equal(home_of_channel(bytes_of_text(companion), 7), home);
    }
}

static void homes_are_spread_evenly(void **state)
{
    (void)state;
    uint32_t counts[8] = {0};
    for (uint32_t n = 0; n < 80000; n++) {
        char name[32];
        counts[home_of_channel(name_of(name, sizeof name, n), 8)]++;
    }
    for (int i = 0; i < 8; i++) assert_in_range(counts[i], 9500, 10500);
}

static void a_new_shard_moves_about_its_share_and_only_to_itself(void **state)
{
    (void)state;
    uint32_t moved = 0;
    for (uint32_t n = 0; n < 10000; n++) {
        char name[32];
        struct bytes channel = name_of(name, sizeof name, n);
        uint32_t before = home_of_channel(channel, 4), after = home_of_channel(channel, 5);
        if (before == after) continue;
        assert_int_equal(after, 4);
        moved++;
    }
    assert_in_range(moved, 1800, 2200);
}

static void one_shard_is_home_to_all(void **state)
{
    (void)state;
    assert_int_equal(home_of_channel(bytes_of_text("x"), 1), 0);
    assert_int_equal(home_of_user(bytes_of_text(""), 1), 0);
    assert_true(home_of_user(bytes_of_text("u"), SHARDS_MAX) < SHARDS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(companions_share_the_home_of_their_channel),
        cmocka_unit_test(homes_are_spread_evenly),
        cmocka_unit_test(a_new_shard_moves_about_its_share_and_only_to_itself),
        cmocka_unit_test(one_shard_is_home_to_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
