/*
 * label: every size, near and far, kept and given back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/label.h"
#include "core/mem.h"

static void every_size_comes_back(void **state)
{
    (void)state;
    uint8_t text[LABEL_MAX];
    for (size_t i = 0; i < sizeof text; i++) text[i] = (uint8_t)(255 - i);
    for (size_t size = 0; size <= LABEL_MAX; size++) {
        struct label label = {0};
        uint64_t used = mem_used();
        label_set(&label, bytes_of(text, size));
        assert_int_equal(mem_used() > used, size > LABEL_NEAR);
        assert_true(bytes_equal(label_text(&label), bytes_of(text, size)));
        label_clear(&label);
        assert_int_equal(mem_used(), used);
        assert_int_equal(label_text(&label).size, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_size_comes_back)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
