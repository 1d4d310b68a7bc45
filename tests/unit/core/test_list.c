/*
 * Intrusive lists: order, removal while walking, what "linked" means.
 */
#include "death.h"

#include <cmocka.h>

#include "core/list.h"

struct item {
    int value;
    struct list link;
};

static void nodes_come_out_in_order(void **state)
{
    (void)state;
    struct list head;
    struct item items[3] = {{1, {0}}, {2, {0}}, {3, {0}}};
    list_init(&head);
    assert_true(list_is_empty(&head));
    assert_null(list_take(&head));
    for (int i = 0; i < 3; i++) list_append(&head, &items[i].link);
    for (int i = 0; i < 3; i++) {
        assert_true(list_is_linked(&items[i].link));
        struct list *node = list_take(&head);
        assert_int_equal(container_of(node, struct item, link)->value, i + 1);
        assert_false(list_is_linked(node));
    }
    assert_true(list_is_empty(&head));
}

static void walk_may_remove_the_node_it_is_at(void **state)
{
    (void)state;
    struct list head;
    struct item items[6] = {{0, {0}}};
    list_init(&head);
    for (int i = 0; i < 6; i++) {
        items[i].value = i;
        list_append(&head, &items[i].link);
    }
    int seen = 0, sum = 0;
    list_each (node, &head) {
        seen++;
        if (container_of(node, struct item, link)->value % 2 == 0) list_remove(node);
    }
    assert_int_equal(seen, 6);
    list_each (node, &head) sum += container_of(node, struct item, link)->value;
    assert_int_equal(sum, 1 + 3 + 5);
    list_remove(&items[0].link); /* in no list: nothing */
    list_append(&head, &items[0].link);
    assert_ptr_equal(head.prev, &items[0].link);
}

static void append_twice(void)
{
    struct list head, node = {0};
    list_init(&head);
    list_append(&head, &node);
    list_append(&head, &node);
}

static void node_in_two_lists_stops_the_process(void **state)
{
    (void)state;
    assert_true(dies(append_twice));
}

static void what_is_put_back_comes_first(void **state)
{
    (void)state;
    struct list items[4] = {0}, head, back;
    list_init(&head);
    list_init(&back);
    list_put_back(&back, &head);
    assert_true(list_is_empty(&head));
    for (uint32_t i = 0; i < 2; i++) list_append(&back, &items[i]);
    list_put_back(&back, &head); /* into an empty one */
    assert_true(list_is_empty(&back));
    for (uint32_t i = 2; i < 4; i++) list_append(&back, &items[i]);
    list_put_back(&back, &head);
    static const uint32_t order[] = {2, 3, 0, 1};
    for (uint32_t i = 0; i < 4; i++) assert_ptr_equal(list_take(&head), &items[order[i]]);
    assert_true(list_is_empty(&head) && list_is_empty(&back));
}

static void what_is_prepended_comes_first(void **state)
{
    (void)state;
    struct list items[3] = {0}, head;
    list_init(&head);
    for (uint32_t i = 0; i < 3; i++) list_prepend(&head, &items[i]);
    assert_ptr_equal(head.prev, &items[0]);
    for (uint32_t i = 3; i-- > 0;) assert_ptr_equal(list_take(&head), &items[i]);
    assert_true(list_is_empty(&head));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_put_back_comes_first),
        cmocka_unit_test(what_is_prepended_comes_first),
        cmocka_unit_test(nodes_come_out_in_order),
        cmocka_unit_test(walk_may_remove_the_node_it_is_at),
        cmocka_unit_test(node_in_two_lists_stops_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
