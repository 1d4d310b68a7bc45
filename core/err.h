/*
 * err: every error, from core/err.def.
 *
 * ERR_OK is 0.  Functions that can fail return `enum err` and are must_use;
 * results go through a last out-parameter.  TRY hands a failure up unchanged.
 *
 * Thread:  any; pure.
 * Tests:   tests/unit/core/test_err.c
 */
#pragma once

#include "core/base.h"

enum err_class {
    ERR_CLASS_NONE,
    ERR_CLASS_CALLER,
    ERR_CLASS_PEER,
    ERR_CLASS_BUSY,
    ERR_CLASS_LIMIT,
    ERR_CLASS_STORE,
    ERR_CLASS_WORLD,
};

enum err {
    ERR_OK,
#define ERR(name, class, text) ERR_##name,
#include "core/err.def"
#undef ERR
    ERR_COUNT,
};

/* "NOT_MEMBER"; "OK" for success. */
const char *err_name(enum err err);
/* One sentence for people, without a full stop. */
const char *err_text(enum err err);
enum err_class err_class_of(enum err err);

#define TRY(call)                                                                                  \
    do {                                                                                           \
        enum err try_err_ = (call);                                                                \
        if (unlikely(try_err_ != ERR_OK)) return try_err_;                                         \
    } while (0)
