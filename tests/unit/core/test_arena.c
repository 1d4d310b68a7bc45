/*
 * The arena: alignment, large requests, what a reset keeps, red zones.
 */
#include "death.h"

#include <cmocka.h>

#include "core/arena.h"
#include "core/mem.h"

static void memory_is_aligned_and_apart(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 64 << 10);
    uint8_t *before = NULL;
    for (size_t size = 0; size < 200; size++) {
        uint8_t *at = arena_get(&arena, size);
        assert_int_equal((uintptr_t)at % 16, 0);
        memset(at, (int)size, size);
        if (size > 1) assert_int_equal(before[size - 2], size - 1);
        before = at;
    }
    arena_fini(&arena);
}

static void large_request_leaves_the_chunk_in_use(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 64 << 10);
    void *small = arena_get(&arena, 16);
    struct arena_chunk *chunk = arena.current;
    uint8_t *large = arena_get(&arena, 1 << 20);
    memset(large, 1, 1 << 20);
    assert_ptr_equal(arena.current, chunk);
    assert_non_null(small);
    assert_int_equal(arena.used, 16 + (1 << 20));
    arena_reset(&arena);
    assert_int_equal(arena.used, 0);
    arena_fini(&arena);
}

static void reset_keeps_no_more_than_it_was_told(void **state)
{
    (void)state;
    uint64_t before = mem_used();
    struct arena arena;
    arena_init(&arena, 64 << 10);
    for (int turn = 0; turn < 10; turn++) {
        for (int i = 0; i < 100; i++) memset(arena_get(&arena, 5000), turn, 5000);
        arena_reset(&arena);
        assert_true(mem_used() - before <= (64 << 10) + 1024);
    }
    arena_fini(&arena);
    assert_int_equal(mem_used(), before);
    arena_fini(&arena); /* a second time is fine */
}

static void reset_hands_the_same_memory_out_again(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 128 << 10);
    void *first = arena_get(&arena, 1000);
    for (int i = 1; i < 60; i++) memset(arena_get(&arena, 1000), 0, 1000);
    uint64_t used = mem_used();
    for (int turn = 0; turn < 5; turn++) {
        arena_reset(&arena);
        assert_ptr_equal(arena_get(&arena, 1000), first);
        for (int i = 1; i < 60; i++) memset(arena_get(&arena, 1000), turn, 1000);
        assert_int_equal(mem_used(), used); /* in the chunks that were kept */
    }
    arena_fini(&arena);
}

static void copy_is_a_copy(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 0);
    struct bytes copy = arena_copy(&arena, BYTES_LITERAL("hello"));
    assert_true(bytes_equal_text(copy, "hello"));
    assert_int_equal(arena_copy(&arena, BYTES_NONE).size, 0);
    arena_reset(&arena);
    assert_null(arena.first); /* nothing is to be kept */
    arena_fini(&arena);
}

#if VERIFY
static void write_behind(void)
{
    struct arena arena;
    arena_init(&arena, 0);
    volatile char *at = arena_get(&arena, 10);
    at[10] = 1;
    arena_reset(&arena);
}
#endif

static void write_behind_an_allocation_is_found(void **state)
{
    (void)state;
#if VERIFY
    assert_true(dies(write_behind));
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_aligned_and_apart),
        cmocka_unit_test(large_request_leaves_the_chunk_in_use),
        cmocka_unit_test(reset_keeps_no_more_than_it_was_told),
        cmocka_unit_test(reset_hands_the_same_memory_out_again),
        cmocka_unit_test(copy_is_a_copy),
        cmocka_unit_test(write_behind_an_allocation_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
