/*
 * Every error has a name, a class and a sentence for people.
 */
#include "death.h"

#include <cmocka.h>

#include "core/err.h"

static void each_error_says_what_happened(void **state)
{
    (void)state;
    for (enum err err = ERR_OK + 1; err < ERR_COUNT; err++) {
        const char *text = err_text(err);
        size_t size = strlen(text);
        assert_true(strlen(err_name(err)) > 0);
        assert_in_range(size, 8, 80);
        assert_true(text[size - 1] != '.');
        assert_true(text[0] >= 'a' || strncmp(text, "JSON", 4) == 0);
        assert_in_range(err_class_of(err), ERR_CLASS_CALLER, ERR_CLASS_WORLD);
        for (enum err other = ERR_OK; other < err; other++)
            assert_string_not_equal(err_name(other), err_name(err));
    }
    assert_int_equal(ERR_OK, 0);
    assert_string_equal(err_name(ERR_OK), "OK");
    assert_string_equal(err_name(ERR_NOT_MEMBER), "NOT_MEMBER");
    assert_int_equal(err_class_of(ERR_OK), ERR_CLASS_NONE);
    assert_int_equal(err_class_of(ERR_WORKER_BUSY), ERR_CLASS_BUSY);
}

static enum err step(enum err err)
{
    return err;
}
static enum err steps(enum err first, enum err second, int *reached)
{
    *reached = 0;
    TRY(step(first));
    *reached = 1;
    TRY(step(second));
    *reached = 2;
    return ERR_OK;
}

static void try_hands_a_failure_up_unchanged(void **state)
{
    (void)state;
    int reached;
    assert_int_equal(steps(ERR_IO, ERR_OK, &reached), ERR_IO);
    assert_int_equal(reached, 0);
    assert_int_equal(steps(ERR_OK, ERR_END, &reached), ERR_END);
    assert_int_equal(reached, 1);
    assert_int_equal(steps(ERR_OK, ERR_OK, &reached), ERR_OK);
    assert_int_equal(reached, 2);
}

static void name_an_unknown_error(void)
{
    err_name(ERR_COUNT);
}

static void unknown_error_stops_the_process(void **state)
{
    (void)state;
    assert_true(dies(name_an_unknown_error));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_error_says_what_happened),
        cmocka_unit_test(try_hands_a_failure_up_unchanged),
        cmocka_unit_test(unknown_error_stops_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
