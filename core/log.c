/*
 * log: one bounded ring, one writer.
 *
 *        tail (next to write out)      head (next free)
 *          ▼                             ▼
 *   ┌──────┬─────────────────────────────┬──────────┐
 *   │ free │ lines, each with its newline │   free   │     bytes, circular
 *   └──────┴─────────────────────────────┴──────────┘
 *
 * The mutex is held for a copy of at most LINE_MAX bytes, never for a write:
 * the writer takes the bounds of what waits, writes it out unlocked (nobody
 * overwrites what lies between tail and head), then moves the tail.
 */
#include "core/log.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/check.h"
#include "core/clock.h"

#define LINE_MAX_BYTES 1024
#define RING_BYTES     (256u << 10)
/* How long the last lines may take at the end, and before an abort. */
#define STOP_S         2
#define CRASH_S        3

/* Under the sink's mutex.  A thread that took it has its own copy, because only
 * core/mesh.c has atomics and a lock for each line that is not written is dear. */
static enum log_level level_min = LOG_INFO;
#define LEVEL_NOT_TAKEN (LOG_NONE + 1)
static __thread unsigned level_taken = LEVEL_NOT_TAKEN;

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t filled;
    pthread_t writer;
    int fd;
    bool is_running, is_stopping;
    uint64_t head, tail; /* counted from the start; the place is modulo RING_BYTES */
    uint64_t dropped, dropped_told;
    uint8_t ring[RING_BYTES];
} sink = {
    .mutex = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER, .fd = STDERR_FILENO};

static const char *const names[] = {"trace", "debug", "info", "warn", "error", "none"};
static_assert(array_count(names) == LOG_NONE + 1, "one name per level");

void log_set_level(enum log_level level)
{
    check(level <= LOG_NONE);
    pthread_mutex_lock(&sink.mutex);
    level_min = level;
    pthread_mutex_unlock(&sink.mutex);
}

void log_take_level(void)
{
    level_taken = LEVEL_NOT_TAKEN;
    level_taken = log_get_level();
}

enum log_level log_get_level(void)
{
    if (level_taken != LEVEL_NOT_TAKEN) return (enum log_level)level_taken;
    pthread_mutex_lock(&sink.mutex);
    enum log_level level = level_min;
    pthread_mutex_unlock(&sink.mutex);
    return level;
}

bool log_level_parse(const char *name, enum log_level *level)
{
    for (uint32_t i = 0; i < array_count(names); i++) {
        if (strcmp(name, names[i]) != 0) continue;
        *level = (enum log_level)i;
        return true;
    }
    return false;
}

/* All of it, or as much as the descriptor takes before it fails: there is
 * nobody to tell. */
static void write_out(int fd, const void *at, size_t size)
{
    const char *next = at;
    while (size > 0) {
        ssize_t written = write(fd, next, size);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return;
        next += written;
        size -= (size_t)written;
    }
}

/* Writes the ring's bytes from `tail` to `head`. */
static void ring_write_out(int fd, uint64_t tail, uint64_t head)
{
    check(head - tail <= RING_BYTES);
    uint64_t at = tail % RING_BYTES, size = head - tail;
    uint64_t straight = min_u64(size, RING_BYTES - at);
    write_out(fd, sink.ring + at, straight);
    write_out(fd, sink.ring, size - straight);
}

/* "2026-11-21T07:47:18.123Z info shard=2 "; returns its size. */
static size_t line_begin(char *line, size_t line_size, enum log_level level)
{
    uint64_t wall_ms = clock_wall_ms();
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    size_t used = strftime(line, line_size, "%Y-%m-%dT%H:%M:%S", &utc);
    used += (size_t)snprintf(line + used, line_size - used, ".%03uZ %s ",
                             (unsigned)(wall_ms % 1000), names[level]);
    uint32_t shard = check_context_shard();
    if (shard != UINT32_MAX)
        used += (size_t)snprintf(line + used, line_size - used, "shard=%u ", shard);
    check(used < line_size);
    return used;
}

/* Hands a finished line to the ring, or straight to stderr before log_start. */
static void line_end(const char *line, size_t size)
{
    pthread_mutex_lock(&sink.mutex);
    bool is_running = sink.is_running;
    if (is_running) {
        if (sink.head - sink.tail + size > RING_BYTES) {
            sink.dropped++;
        } else {
            uint64_t at = sink.head % RING_BYTES;
            size_t straight = (size_t)min_u64(size, RING_BYTES - at);
            memcpy(sink.ring + at, line, straight);
            memcpy(sink.ring, line + straight, size - straight);
            if (sink.head == sink.tail) pthread_cond_signal(&sink.filled);
            sink.head += size;
        }
    }
    pthread_mutex_unlock(&sink.mutex);
    if (!is_running) write_out(STDERR_FILENO, line, size);
}

void log_line(enum log_level level, const char *format, ...)
{
    check(level > LOG_TRACE && level < LOG_NONE);
    if (level < log_get_level()) return;

    char line[LINE_MAX_BYTES];
    size_t used = line_begin(line, sizeof line, level);
    va_list args;
    va_start(args, format);
    int size = vsnprintf(line + used, sizeof line - used, format, args);
    va_end(args);
    check(size >= 0);
    /* A line that is cut says so; the newline takes the place of the NUL. */
    size_t room = sizeof line - 1 - used;
    if ((size_t)size > room) {
        memcpy(line + sizeof line - 1 - 3, "...", 3);
        size = (int)room;
    }
    used += (size_t)size;
    line[used++] = '\n';
    check(used <= sizeof line);
    line_end(line, used);
}

/* Says how many lines were lost since it was last said. */
static void writer_report(int fd, uint64_t lost)
{
    char line[160];
    size_t used = line_begin(line, sizeof line, LOG_WARN);
    int size = snprintf(line + used, sizeof line - used, "log lines were dropped count=%llu\n",
                        (unsigned long long)lost);
    write_out(fd, line, used + (size_t)size);
}

static void *writer_run(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&sink.mutex);
    for (;;) {
        while (sink.head == sink.tail && !sink.is_stopping)
            pthread_cond_wait(&sink.filled, &sink.mutex);
        if (sink.head == sink.tail) break;
        uint64_t tail = sink.tail, head = sink.head;
        uint64_t lost = sink.dropped - sink.dropped_told;
        sink.dropped_told = sink.dropped;
        pthread_mutex_unlock(&sink.mutex);

        ring_write_out(sink.fd, tail, head);
        if (lost > 0) writer_report(sink.fd, lost);

        pthread_mutex_lock(&sink.mutex);
        sink.tail = head;
    }
    /* What was dropped while the last lines were on their way out. */
    uint64_t lost = sink.dropped - sink.dropped_told;
    sink.dropped_told = sink.dropped;
    pthread_mutex_unlock(&sink.mutex);
    if (lost > 0) writer_report(sink.fd, lost);
    return NULL;
}

void log_start(int fd)
{
    check(fd >= 0);
    check(!sink.is_running);
    sink.fd = fd;
    sink.is_stopping = false;
    /* The writer takes no signals: they are for the thread that waits for them. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&sink.writer, NULL, writer_run, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    check(failed == 0);
    pthread_mutex_lock(&sink.mutex);
    sink.is_running = true;
    pthread_mutex_unlock(&sink.mutex);
}

/* A pipe that nobody reads any more must not keep a gateway from ending: what
 * found no reader in that time is lost.  write is where the writer can be
 * cancelled, and it holds no lock there. */
static void writer_join(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += STOP_S;
    if (pthread_timedjoin_np(sink.writer, NULL, &until) == 0) return;
    int failed = pthread_cancel(sink.writer);
    if (failed == 0) failed = pthread_join(sink.writer, NULL);
    check(failed == 0);
    sink.tail = sink.head;
}

void log_stop(void)
{
    pthread_mutex_lock(&sink.mutex);
    bool was_running = sink.is_running;
    sink.is_running = false;
    sink.is_stopping = true;
    pthread_cond_signal(&sink.filled);
    pthread_mutex_unlock(&sink.mutex);
    if (was_running) writer_join();
}

/* The lock may be held by a thread that will never run again, so it is waited
 * for only briefly; a line that the writer has in hand may come out twice.  Where
 * nobody reads the lines SIGALRM ends the process instead of the abort: a dead
 * gateway that stays is worse than one without a core file. */
cold void log_crash(void)
{
    signal(SIGALRM, SIG_DFL);
    alarm(CRASH_S);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 1;
    bool is_locked = pthread_mutex_timedlock(&sink.mutex, &until) == 0;
    if (sink.head - sink.tail <= RING_BYTES) ring_write_out(sink.fd, sink.tail, sink.head);
    sink.tail = sink.head;
    if (is_locked) pthread_mutex_unlock(&sink.mutex);
}

uint64_t log_dropped(void)
{
    pthread_mutex_lock(&sink.mutex);
    uint64_t dropped = sink.dropped;
    pthread_mutex_unlock(&sink.mutex);
    return dropped;
}

const char *log_quote(char *buffer, size_t size, const void *value, size_t value_size)
{
    check(size >= 8);
    static const char hex[] = "0123456789abcdef";
    const uint8_t *at = value;
    size_t used = 0;
    buffer[used++] = '"';
    size_t i = 0;
    for (; i < value_size; i++) {
        /* Room for the longest escape, the mark of a cut and the end. */
        if (used + 4 + 3 + 2 > size) break;
        uint8_t c = at[i];
        if (c == '"' || c == '\\') {
            buffer[used++] = '\\';
            buffer[used++] = (char)c;
        } else if (c < 0x20 || c >= 0x7f) {
            buffer[used++] = '\\';
            buffer[used++] = 'x';
            buffer[used++] = hex[c >> 4];
            buffer[used++] = hex[c & 15];
        } else {
            buffer[used++] = (char)c;
        }
    }
    if (i < value_size)
        for (uint32_t dot = 0; dot < 3; dot++) buffer[used++] = '.';
    buffer[used++] = '"';
    buffer[used] = '\0';
    return buffer;
}
