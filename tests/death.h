/*
 * death: does this stop the process?
 *
 * Runs a function in a child and tells whether a check stopped it, and what it
 * said.  Only for tests of checks, from a program with one thread.
 *
 * Thread:  one.
 */
#pragma once

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static char death_story[4096];

/* True when `act` ends in abort(); what it wrote to stderr is in death_story. */
static inline bool dies(void (*act)(void))
{
    int ends[2];
    if (pipe(ends) != 0) return false;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        act();
        _exit(0);
    }
    close(ends[1]);
    size_t used = 0;
    for (;;) {
        ssize_t got = read(ends[0], death_story + used, sizeof death_story - 1 - used);
        if (got <= 0) break;
        used += (size_t)got;
    }
    death_story[used] = '\0';
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}
