/*
 * The window against what its rule says: pushes and trims with every way an
 * item may end its stay, then a random walk against a plain array.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/rng.h"
#include "shards/channel/window.h"

static void push(struct window *window, uint64_t time_ms)
{
    char text[32];
    int size = snprintf(text, sizeof text, "{\"n\":%llu}", (unsigned long long)window->head + 1);
    struct publication publication = {
        .offset = window->head + 1,
        .taken_ms = time_ms,
        .data = bytes_of(text, (size_t)size),
    };
    window_push(window, &publication);
    window_verify(window);
}

static uint64_t number_at(const struct window *window, uint64_t offset)
{
    struct publication publication;
    window_get(window, offset, &publication);
    struct reader record = reader_of(window_record(window, offset));
    struct publication again;
    assert_int_equal(publication_read(&record, &again), ERR_OK);
    assert_true(record.left == 0 && again.offset == offset);
    assert_ptr_equal(again.data.at, publication.data.at);
    return strtoull((const char *)publication.data.at + 5, NULL, 10);
}

static const struct window_rule wide = {.items_max = 1000, .history_max = 1000, .ttl_ms = 1000};

static void window_ends_at_the_head(void **state)
{
    (void)state;
    struct window window = {0};
    window_init(&window, 41);
    assert_int_equal(window_first(&window), 42);
    assert_false(window_is_whole(&window)); /* 1 to 41 may be in the store */
    push(&window, 1);
    push(&window, 1);
    assert_int_equal(window.head, 43);
    assert_int_equal(window_first(&window), 42);
    assert_int_equal(number_at(&window, 43), 43);
    window_fini(&window);
}

static void what_is_removed_moves_the_floor(void **state)
{
    (void)state;
    struct window window = {0};
    window_init(&window, 41);
    window_remove(&window, 40); /* in the store alone */
    assert_int_equal(window.floor, 41);
    for (int i = 0; i < 4; i++) push(&window, 1);
    window_remove(&window, 43);
    window_verify(&window);
    assert_int_equal(window_first(&window), 44);
    assert_int_equal(number_at(&window, 44), 44);
    window_remove(&window, 42); /* behind what is gone already */
    assert_int_equal(window.floor, 44);
    window_remove(&window, 45);
    assert_int_equal(window.count, 0);
    assert_true(window_is_whole(&window));
    push(&window, 1);
    assert_int_equal(number_at(&window, 46), 46);
    window_fini(&window);
}

static void what_was_deleted_keeps_its_place(void **state)
{
    (void)state;
    struct window window = {0};
    struct publication publication;
    window_init(&window, 41);
    for (int i = 0; i < 40; i++) push(&window, 1);
    uint64_t bytes = window.bytes;
    const uint64_t deleted[] = {42, 81, 60, 60};
    for (size_t i = 0; i < sizeof deleted / sizeof *deleted; i++) {
        window_bury(&window, deleted[i]);
        window_verify(&window);
        window_get(&window, deleted[i], &publication);
        assert_true(publication.is_deleted && bytes_equal_text(publication.data, DELETED_DATA));
        assert_true(window.bytes < bytes && window.count == 40);
    }
    window_bury(&window, 41); /* not here */
    window_bury(&window, 82);
    for (uint64_t offset = 43; offset < 60; offset++)
        assert_int_equal(number_at(&window, offset), offset);
    push(&window, 2);
    struct window_rule rule = {.items_max = 10, .history_max = 1000, .ttl_ms = 1000};
    window_trim(&window, rule, 2);
    window_verify(&window);
    assert_int_equal(window_first(&window), 73);
    assert_int_equal(number_at(&window, 82), 82);
    window_fini(&window);
}

static void a_window_from_the_first_offset_is_whole(void **state)
{
    (void)state;
    struct window window = {0};
    window_init(&window, 0);
    assert_true(window_is_whole(&window));
    push(&window, 1);
    assert_true(window_is_whole(&window));
    window_fini(&window);
}

static void age_moves_the_floor_and_size_does_not(void **state)
{
    (void)state;
    struct window window = {0};
    window_init(&window, 0);
    for (uint64_t i = 1; i <= 10; i++) push(&window, i * 100);

    window_trim(&window, wide, 1299); /* items of 100 and 200 are 1,000 ms and more old */
    assert_int_equal(window_first(&window), 3);
    assert_int_equal(window.floor, 3);
    assert_true(window_is_whole(&window));

    struct window_rule small = {.items_max = 4, .history_max = 1000, .ttl_ms = 1000};
    window_trim(&window, small, 1299);
    assert_int_equal(window_first(&window), 7);
    assert_int_equal(window.floor, 3);
    assert_false(window_is_whole(&window));

    struct window_rule few = {.items_max = 2, .history_max = 2, .ttl_ms = 1000};
    window_trim(&window, few, 1299);
    assert_int_equal(window_first(&window), 9);
    assert_int_equal(window.floor, 9);
    window_verify(&window);
    window_fini(&window);
}

static void no_history_keeps_nothing(void **state)
{
    (void)state;
    struct window window = {0};
    window_init(&window, 0);
    push(&window, 5);
    window_trim(&window, (struct window_rule){0}, 5);
    assert_int_equal(window.count, 0);
    assert_int_equal(window.head, 1);
    assert_int_equal(window.floor, 2);
    assert_true(window_is_whole(&window));
    window_fini(&window);
}

static void bytes_bound_the_window_but_one_always_stays(void **state)
{
    (void)state;
    struct window window = {0};
    window_init(&window, 0);
    uint8_t *data = calloc(1, WINDOW_BYTES_MAX);
    assert_non_null(data);
    for (uint64_t i = 1; i <= 3; i++) {
        struct publication publication = {
            .offset = i, .taken_ms = 1, .data = bytes_of(data, WINDOW_BYTES_MAX)};
        window_push(&window, &publication);
        window_trim(&window, wide, 1);
        assert_int_equal(window.count, 1);
    }
    assert_int_equal(window.floor, 1); /* they are in the store */
    free(data);
    window_fini(&window);
}

static void window_agrees_with_a_plain_array(void **state)
{
    (void)state;
    const char *text = getenv("SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 10) : 20261121;
    print_message("SEED=%llu\n", (unsigned long long)seed);
    struct rng rng;
    rng_seed(&rng, seed);
    struct window window = {0};
    window_init(&window, 0);
    uint64_t times[4096] = {0}, now = 1, floor = 1, first = 1;
    for (uint64_t step = 0; step < 20000 && window.head < 4000; step++) {
        now += rng_below(&rng, 5);
        if (rng_chance(&rng, 60)) {
            push(&window, now);
            times[window.head] = now;
            continue;
        }
        struct window_rule rule = {
            .items_max = (uint32_t)rng_below(&rng, 50),
            .history_max = (uint32_t)rng_below(&rng, 80),
            .ttl_ms = rng_below(&rng, 200),
        };
        window_trim(&window, rule, now);
        if (window.head >= rule.history_max && window.head - rule.history_max + 1 > floor)
            floor = window.head - rule.history_max + 1;
        if (first < floor) first = floor;
        while (first <= window.head && times[first] + rule.ttl_ms <= now) floor = ++first;
        if (window.head + 1 - first > rule.items_max) first = window.head + 1 - rule.items_max;
        assert_int_equal(window.floor, floor);
        assert_int_equal(window_first(&window), first);
        for (uint64_t at = first; at <= window.head; at++)
            assert_int_equal(number_at(&window, at), at);
    }
    window_fini(&window);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(window_ends_at_the_head),
        cmocka_unit_test(what_is_removed_moves_the_floor),
        cmocka_unit_test(what_was_deleted_keeps_its_place),
        cmocka_unit_test(a_window_from_the_first_offset_is_whole),
        cmocka_unit_test(age_moves_the_floor_and_size_does_not),
        cmocka_unit_test(no_history_keeps_nothing),
        cmocka_unit_test(bytes_bound_the_window_but_one_always_stays),
        cmocka_unit_test(window_agrees_with_a_plain_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
