/*
 * backup_private: what the two ways of copying share, while a gateway runs and while none does.
 *
 * Thread:  as in backup.h.
 * Source:  backup.c; backup_still.c
 * Tests:   tests/unit/storage/test_embed_backup.c
 */
#pragma once

#include <stdio.h>

#include "core/check.h"
#include "storage/embed/embed.h"

#define BACKUP_PATH_SIZE (BACKUP_PATH_MAX + 80)

static inline void path_in(char path[BACKUP_PATH_SIZE], const char *directory, const char *name)
{
    int size = snprintf(path, BACKUP_PATH_SIZE, "%s/%s", directory, name);
    check(size > 0 && size < BACKUP_PATH_SIZE);
}

/* What made it fail, for the one who asked; always ERR_IO. */
printf_like(2, 3) enum err backup_fail(struct embed_node *node, const char *format, ...);
/* Makes the directory, with an empty BACKUP_PART before anything else. */
must_use enum err backup_target(struct embed_node *node);
/* Says in the copy at `path` what it is, and settles it. */
must_use enum err backup_mark(struct embed_node *node, const char *path);
/* All of it is there: it gets the name that a start wants. */
must_use enum err backup_name(struct embed_node *node);
/* Gives the room of what failed back. */
void backup_clean(struct embed_node *node);
