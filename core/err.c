/*
 * err: names, classes and texts, all from core/err.def.
 */
#include "core/err.h"

#include "core/check.h"

static const struct {
    const char *name, *text;
    enum err_class class;
} rows[ERR_COUNT] = {
    [ERR_OK] = {"OK", "success", ERR_CLASS_NONE},
#define ERR(name, class, text) [ERR_##name] = {#name, text, ERR_CLASS_##class},
#include "core/err.def"
#undef ERR
};

const char *err_name(enum err err)
{
    check(err < ERR_COUNT);
    return rows[err].name;
}

const char *err_text(enum err err)
{
    check(err < ERR_COUNT);
    return rows[err].text;
}

enum err_class err_class_of(enum err err)
{
    check(err < ERR_COUNT);
    return rows[err].class;
}
