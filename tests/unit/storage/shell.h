/*
 * shell: a command of the shell, in a test that wants files copied, moved or removed.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "death.h"

#include <cmocka.h>

#include "core/base.h"

/* A command that succeeds. */
static inline printf_like(1, 2) void shell(const char *format, ...)
{
    char command[512];
    va_list list;
    va_start(list, format);
    vsnprintf(command, sizeof command, format, list);
    va_end(list);
    assert_int_equal(system(command), 0);
}
