/*
 * outcome: the rows of proto/outcome.def by error.
 */
#include "proto/outcome.h"

#include "core/check.h"

static const struct outcome rows[ERR_COUNT] = {
#define OUTCOME(err, code, http, temporary, text) [ERR_##err] = {code, http, temporary, text},
#include "proto/outcome.def"
#undef OUTCOME
};

const struct outcome *outcome_of(enum err err)
{
    check(err > ERR_OK && err < ERR_COUNT);
    check(rows[err].text != NULL); /* every error has its row: test_outcome walks them */
    return &rows[err];
}
