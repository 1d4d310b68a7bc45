/*
 * log: structured lines for people and machines.
 *
 *   2026-11-21T07:47:18.123Z info shard=2 listening address=127.0.0.1:8000
 *
 * One line per event: time, level, shard, a fixed sentence, then key=value
 * pairs; values with spaces are quoted.  A line is formatted on its thread's
 * stack and copied into one bounded ring that a writer thread drains, so a line
 * never waits for a disk or a terminal and never allocates; lines that found no
 * room are counted and reported.  No message bodies, no tokens,
 * no keys: callers pass none, and log_user shortens nothing.
 *
 * Thread:  any.  log_start once, before shards; before that lines go straight
 *          to stderr.
 * Tests:   tests/unit/core/test_log.c
 */
#pragma once

#include "core/base.h"

/* LOG_TRACE and LOG_NONE are limits only: no line has them. */
enum log_level { LOG_TRACE, LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_NONE };

/* LOG_INFO until then.  Threads that took the level before keep what they took. */
void log_set_level(enum log_level level);
/* Takes the level for this thread, so that its lines below the level cost no
 * lock: for shards, at their start and at a reload. */
void log_take_level(void);
enum log_level log_get_level(void);
/* "trace", "debug", "info", "warn", "error", "none"; false for others. */
bool log_level_parse(const char *name, enum log_level *level);
/* Lines go to descriptor `fd` from now on, by the writer thread. */
void log_start(int fd);
/* Writes out everything, or what is read within 2 s, and joins the writer; a no-op
 * when none was started. */
void log_stop(void);
/* Writes out what waits, from a thread that is about to abort. */
void log_crash(void);
/* Lines that found no room since the start. */
uint64_t log_dropped(void);

/* `format` gives the sentence and pairs: log_line(LOG_INFO, "listening address=%s", a) */
void log_line(enum log_level level, const char *format, ...) printf_like(2, 3);

#define log_debug(...)                                                                             \
    do {                                                                                           \
        if (unlikely(log_get_level() <= LOG_DEBUG)) log_line(LOG_DEBUG, __VA_ARGS__);              \
    } while (0)
#define log_info(...)  log_line(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)

/* A value safe for a line: quotes it and escapes control bytes into buffer[size]. */
const char *log_quote(char *buffer, size_t size, const void *value, size_t value_size);
