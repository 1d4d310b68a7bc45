/*
 * check: the crash report, and the count of what was sometimes true.
 *
 * The context is the one thread-local of the house: it names who crashed and
 * nothing else reads it but the log, so that a line says which shard it is of.
 */
#include "core/check.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/log.h"

#define SHARD_NONE UINT32_MAX

static _Thread_local struct {
    uint64_t turn;
    uint32_t shard;
} context = {0, SHARD_NONE};

/* Best effort: the process ends anyway. */
static void story_write(const char *text, int size, int size_max)
{
    if (size > size_max - 1) size = size_max - 1;
    ssize_t written = write(STDERR_FILENO, text, size > 0 ? (size_t)size : 0);
    (void)written;
}

cold _Noreturn void check_failed(const char *file, int line, const char *function, const char *fact)
{
    /* A check that fails inside this function must not come back here. */
    static _Thread_local bool is_failing;
    if (is_failing) abort();
    is_failing = true;

    char who[64] = "no shard";
    if (context.shard != SHARD_NONE)
        snprintf(who, sizeof who, "shard %u, turn %llu", context.shard,
                 (unsigned long long)context.turn);
    char story[1024];
    int size = snprintf(story, sizeof story, "%s:%d: %s: check failed: %s (%s)\n", file, line,
                        function, fact, who);
    log_crash();
    story_write(story, size, (int)sizeof story);
    abort();
}

void check_context(uint32_t shard, uint64_t turn)
{
    context.shard = shard;
    context.turn = turn;
}

uint32_t check_context_shard(void)
{
    return context.shard;
}

/* One row per place in the source; a place is its line and the address of its
 * file's name.  A mutex, because VERIFY builds of the real program count too. */
#define SOMETIMES_MAX 1024
static struct check_sometimes_row rows[SOMETIMES_MAX];
static uint32_t rows_count;
static pthread_mutex_t rows_mutex = PTHREAD_MUTEX_INITIALIZER;

void check_sometimes(const char *file, int line, const char *fact, bool value)
{
    pthread_mutex_lock(&rows_mutex);
    uint32_t i = 0;
    while (i < rows_count && !(rows[i].line == line && rows[i].file == file)) i++;
    if (i == rows_count && rows_count < SOMETIMES_MAX)
        rows[rows_count++] = (struct check_sometimes_row){file, fact, line, 0, 0};
    if (i < rows_count) {
        if (value)
            rows[i].true_count++;
        else
            rows[i].false_count++;
    }
    pthread_mutex_unlock(&rows_mutex);
}

bool check_sometimes_row(uint32_t index, struct check_sometimes_row *row)
{
    pthread_mutex_lock(&rows_mutex);
    bool is_there = index < rows_count;
    if (is_there) *row = rows[index];
    pthread_mutex_unlock(&rows_mutex);
    return is_there;
}
