/*
 * directory: where a property program's store lives, which may be cut off at any moment.
 *
 * A crash is a copy of the directory taken between two turns: what a kill would leave
 * there.  The copy is opened, the original ends in order and is thrown away.  Everything
 * acknowledged before the copy must be in it.
 *
 * Thread:  one.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/check.h"

static char directory[64], directory_copied[80];

static inline void directory_do(const char *command, const char *first, const char *second)
{
    char text[256];
    int size = snprintf(text, sizeof text, "%s %s %s", command, first, second);
    check(size > 0 && (size_t)size < sizeof text);
    check(system(text) == 0);
}

/* Nothing is there. */
static inline void directory_clear(const char *program)
{
    snprintf(directory, sizeof directory, "/tmp/%s.%d", program, (int)getpid());
    snprintf(directory_copied, sizeof directory_copied, "%s.copy", directory);
    directory_do("rm -rf", directory, directory_copied);
}

/* Nothing may be under way in this moment, so that the files hold still. */
static inline void directory_copy(void)
{
    directory_do("rm -rf", directory_copied, "");
    directory_do("cp -r", directory, directory_copied);
}

static inline void directory_put_back(void)
{
    directory_do("rm -rf", directory, "");
    directory_do("mv", directory_copied, directory);
}
