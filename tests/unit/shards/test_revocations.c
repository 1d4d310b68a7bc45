/*
 * revocations: who began when meets which calls; what is forgotten is known to be.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/mem.h"
#include "shards/user/revocations.h"

static const struct bytes act = {(const uint8_t *)"act", 3};

static void a_connect_meets_the_calls_since_it_began(void **state)
{
    (void)state;
    struct revocations all;
    revocations_init(&all, 1);
    revocations_add(&all, BYTES_LITERAL("ann"), act, 100);
    revocations_add(&all, BYTES_LITERAL("bob"), BYTES_LITERAL("other"), 150);
    revocations_add(&all, BYTES_LITERAL("ann"), act, 200);

    const struct revocation *met = revocations_find(&all, BYTES_LITERAL("ann"), 100);
    assert_non_null(met);
    assert_int_equal(met->at_ns, 100);
    assert_int_equal(met->younger->at_ns, 200);
    assert_null(met->younger->younger);
    met = revocations_find(&all, BYTES_LITERAL("ann"), 101);
    assert_int_equal(met->at_ns, 200);
    assert_null(revocations_find(&all, BYTES_LITERAL("ann"), 201));
    assert_null(revocations_find(&all, BYTES_LITERAL("cem"), 0));
    met = revocations_find(&all, BYTES_LITERAL("bob"), 1);
    assert_true(bytes_equal_text(bytes_of(met->act, met->size), "other"));
    revocations_fini(&all);
}

static void what_is_forgotten_is_known_to_be(void **state)
{
    (void)state;
    struct revocations all;
    revocations_init(&all, 2);
    assert_true(revocations_know(&all, 1));
    revocations_add(&all, BYTES_LITERAL("ann"), act, 100);
    revocations_add(&all, BYTES_LITERAL("bob"), act, 200);
    revocations_forget(&all, 99);
    assert_int_equal(all.count, 2);
    revocations_forget(&all, 100);
    assert_int_equal(all.count, 1);
    assert_null(revocations_find(&all, BYTES_LITERAL("ann"), 1));
    assert_false(revocations_know(&all, 100));
    assert_true(revocations_know(&all, 101));
    assert_non_null(revocations_find(&all, BYTES_LITERAL("bob"), 101));
    revocations_fini(&all);
}

static void room_is_made_from_the_oldest(void **state)
{
    (void)state;
    struct revocations all;
    revocations_init(&all, 3);
    size_t size = 1u << 20;
    uint8_t *large = mem_alloc(size);
    for (uint64_t at = 1; at <= 40; at++) {
        revocations_add(&all, BYTES_LITERAL("ann"), bytes_of(large, size), at);
        assert_true(all.bytes <= REVOCATIONS_BYTES_MAX + 100 * sizeof(struct revocation));
    }
    assert_true(all.count >= 14 && all.count <= 16);
    uint64_t oldest = revocations_find(&all, BYTES_LITERAL("ann"), 0)->at_ns;
    assert_int_equal(oldest, 40 - all.count + 1);
    assert_false(revocations_know(&all, oldest - 1));
    assert_true(revocations_know(&all, oldest));
    mem_free(large);
    revocations_fini(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connect_meets_the_calls_since_it_began),
        cmocka_unit_test(what_is_forgotten_is_known_to_be),
        cmocka_unit_test(room_is_made_from_the_oldest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
