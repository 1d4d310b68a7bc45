/*
 * The heap, the clock and the kernel's random numbers of the real world.
 */
#include "death.h"

#include <pthread.h>

#include <cmocka.h>

#include "core/clock.h"
#include "core/entropy.h"
#include "core/mem.h"

static void memory_comes_zeroed_and_is_counted(void **state)
{
    (void)state;
    uint64_t before = mem_used();
    uint8_t *at = mem_alloc(1000);
    for (int i = 0; i < 1000; i++) assert_int_equal(at[i], 0);
    assert_in_range(mem_used() - before, 1000, 1100);
    memset(at, 7, 1000);
    at = mem_resize(at, 100000);
    assert_int_equal(at[999], 7);
    assert_in_range(mem_used() - before, 100000, 110000);
    at = mem_resize(at, 10);
    assert_int_equal(at[9], 7);
    mem_free(at);
    mem_free(NULL);
    mem_free(mem_alloc(0));
    mem_free(mem_resize(NULL, 10));
    assert_int_equal(mem_used(), before);
}

static void text_is_copied_and_ended(void **state)
{
    (void)state;
    char *text = mem_text("hello", 4);
    assert_string_equal(text, "hell");
    mem_free(text);
    text = mem_text(NULL, 0);
    assert_string_equal(text, "");
    mem_free(text);
}

static void reserved_space_is_zero_and_cheap(void **state)
{
    (void)state;
    uint64_t before = mem_used();
    size_t size = (size_t)16 << 30; /* more than most machines would give at once */
    uint8_t *at = mem_reserve(size);
    assert_int_equal(at[0], 0);
    at[size - 1] = 1;
    assert_int_equal(at[size / 2], 0);
    assert_int_equal(mem_used(), before);
    mem_unreserve(at, size);
    mem_unreserve(NULL, 0);
}

static void *free_elsewhere(void *at)
{
    mem_free(at);
    return mem_alloc(500);
}

static void memory_may_be_freed_on_another_thread(void **state)
{
    (void)state;
    uint64_t before = mem_used();
    pthread_t thread;
    void *back;
    assert_int_equal(pthread_create(&thread, NULL, free_elsewhere, mem_alloc(1000)), 0);
    assert_int_equal(pthread_join(thread, &back), 0);
    assert_in_range(mem_used() - before, 500, 600);
    mem_free(back);
    assert_int_equal(mem_used(), before);
}

static void clock_never_goes_back(void **state)
{
    (void)state;
    struct clock clock = {0};
    uint64_t before_ns = 0;
    for (int i = 0; i < 1000; i++) {
        clock_turn(&clock);
        assert_true(clock.mono_ns >= before_ns);
        before_ns = clock.mono_ns;
    }
    assert_int_equal(clock_turn_ms(&clock), clock.mono_ns / 1000000);
    assert_true(clock_mono_ns() >= clock.mono_ns);
    assert_true(clock.wall_ms > 1700000000000u); /* after 2023, in ms */
    assert_true(clock_wall_ms() < 4100000000000u);
}

static void entropy_fills_all_and_differs(void **state)
{
    (void)state;
    uint8_t a[600] = {0}, b[600] = {0};
    entropy_fill(a, sizeof a);
    entropy_fill(b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
    uint32_t zeros = 0;
    for (size_t i = 0; i < sizeof a; i++) zeros += a[i] == 0;
    assert_true(zeros < 30); /* 2.3 are likely */
    entropy_fill(NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_comes_zeroed_and_is_counted),
        cmocka_unit_test(text_is_copied_and_ended),
        cmocka_unit_test(reserved_space_is_zero_and_cheap),
        cmocka_unit_test(memory_may_be_freed_on_another_thread),
        cmocka_unit_test(clock_never_goes_back),
        cmocka_unit_test(entropy_fills_all_and_differs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
