/*
 * Slabs: handles, limits, taking by index; under ASan the twin is tested.
 */
#include "death.h"

#include <cmocka.h>

#include "core/slab.h"

struct object {
    uint64_t a;
    uint32_t b;
};

static void object_comes_zeroed_each_time(void **state)
{
    (void)state;
    struct slab slab;
    slab_init(&slab, "test", sizeof(struct object), 4);
    struct handle handle;
    struct object *object = slab_get(&slab, &handle);
    assert_int_equal(object->a, 0);
    object->a = 1;
    object->b = 2;
    slab_put(&slab, object);
    object = slab_get(&slab, NULL);
    assert_int_equal(object->a, 0);
    assert_int_equal(object->b, 0);
    slab_put(&slab, object);
    slab_verify(&slab);
    slab_fini(&slab);
}

static void object_comes_as_it_is_when_asked_so(void **state)
{
    (void)state;
    struct slab slab;
    slab_init(&slab, "test", sizeof(struct object), 2);
    struct handle handle;
    struct object *object = slab_get_unset(&slab, &handle);
    assert_ptr_equal(slab_find(&slab, handle), object);
    *object = (struct object){1, 2};
    slab_put(&slab, object);
    assert_null(slab_find(&slab, handle));
    object = slab_get_unset(&slab, NULL);
    slab_put(&slab, object);
    object = slab_get(&slab, NULL); /* and zeroed, whoever had it before */
    assert_int_equal(object->a + object->b, 0);
    slab_put(&slab, object);
    slab_verify(&slab);
    slab_fini(&slab);
}

static void stale_handle_finds_nothing(void **state)
{
    (void)state;
    struct slab slab;
    slab_init(&slab, "test", 24, 4);
    struct handle first, second;
    void *object = slab_get(&slab, &first);
    assert_ptr_equal(slab_find(&slab, first), object);
    assert_int_equal(slab_handle(&slab, object).generation, first.generation);
    slab_put(&slab, object);
    assert_null(slab_find(&slab, first));
    object = slab_get(&slab, &second);
    assert_int_equal(first.index, second.index);
    assert_null(slab_find(&slab, first));
    assert_ptr_equal(slab_find(&slab, second), object);
    assert_null(slab_find(&slab, (struct handle){0, 0}));
    assert_null(slab_find(&slab, (struct handle){3, 1}));
    assert_null(slab_find(&slab, (struct handle){UINT32_MAX, 1}));
    slab_put(&slab, object);
    slab_fini(&slab);
}

static void limit_is_a_null(void **state)
{
    (void)state;
    struct slab slab;
    slab_init(&slab, "test", 8, 3);
    void *objects[3];
    for (int i = 0; i < 3; i++) assert_non_null(objects[i] = slab_get(&slab, NULL));
    assert_null(slab_get(&slab, NULL));
    assert_int_equal(slab.count, 3);
    slab_put(&slab, objects[1]);
    assert_non_null(objects[1] = slab_get(&slab, NULL));
    for (int i = 0; i < 3; i++) slab_put(&slab, objects[i]);
    slab_fini(&slab);
}

static void index_may_be_given_by_another_authority(void **state)
{
    (void)state;
    struct slab slab;
    slab_init(&slab, "test", 8, 8);
    struct handle handle;
    uint64_t *fifth = slab_get_at(&slab, 5, &handle);
    assert_int_equal(handle.index, 5);
    assert_null(slab_at(&slab, 4));
    assert_ptr_equal(slab_at(&slab, 5), fifth);
    assert_null(slab_at(&slab, 6));
    uint64_t *second = slab_get_at(&slab, 2, NULL);
    slab_verify(&slab);
    slab_put(&slab, second); /* it was still on the free list */
    slab_verify(&slab);
    second = slab_get_at(&slab, 2, NULL);
    void *others[6];
    for (int i = 0; i < 6; i++) {
        others[i] = slab_get(&slab, &handle);
        assert_non_null(others[i]);
        assert_true(handle.index != 5 && handle.index != 2);
    }
    assert_null(slab_get(&slab, NULL));
    slab_verify(&slab);
    for (int i = 0; i < 6; i++) slab_put(&slab, others[i]);
    slab_put(&slab, second);
    slab_put(&slab, fifth);
    slab_verify(&slab);
    slab_fini(&slab);
}

static void give_back_twice(void)
{
    struct slab slab;
    slab_init(&slab, "test", 8, 2);
    void *object = slab_get(&slab, NULL);
    void *keeps_the_page = slab_get(&slab, NULL);
    slab_put(&slab, object);
    slab_put(&slab, object);
    (void)keeps_the_page;
}
static void leave_one_out(void)
{
    struct slab slab;
    slab_init(&slab, "test", 8, 2);
    void *object = slab_get(&slab, NULL);
    (void)object;
    slab_fini(&slab);
}
static void take_a_taken_index(void)
{
    struct slab slab;
    slab_init(&slab, "test", 8, 2);
    void *object = slab_get_at(&slab, 1, NULL);
    object = slab_get_at(&slab, 1, NULL);
    (void)object;
}
static void give_to_the_wrong_slab(void)
{
    struct slab a, b;
    slab_init(&a, "a", 8, 2);
    slab_init(&b, "b", 8, 2);
    slab_put(&b, slab_get(&a, NULL));
}

static void misuse_stops_the_process(void **state)
{
    (void)state;
#ifndef __SANITIZE_ADDRESS__ /* there the sanitizer itself speaks first */
    assert_true(dies(give_back_twice));
#else
    (void)give_back_twice;
#endif
    assert_true(dies(leave_one_out));
    assert_non_null(strstr(death_story, "slab->count == 0"));
    assert_true(dies(take_a_taken_index));
    assert_true(dies(give_to_the_wrong_slab));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(object_comes_zeroed_each_time),
        cmocka_unit_test(object_comes_as_it_is_when_asked_so),
        cmocka_unit_test(stale_handle_finds_nothing),
        cmocka_unit_test(limit_is_a_null),
        cmocka_unit_test(index_may_be_given_by_another_authority),
        cmocka_unit_test(misuse_stops_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
