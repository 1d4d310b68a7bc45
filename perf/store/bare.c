/* The floor: what the disk and nothing else takes. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "perf/store/run.h"

#define FILE_SIZE   (64u << 20)
#define BUFFER_SIZE (1u << 20)
#define HEAD_SIZE   32 /* length, checksum, channel, offset: what any log needs */

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

uint64_t run_thread_ns(void)
{
    return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t run_process_ns(void)
{
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

/* What the process is told (/proc/self/io) counts a whole folio of the page cache, up to
 * megabytes, for the few bytes that were changed in it: the device's own count does not. */
uint64_t run_disk_bytes(const char *directory)
{
    char path[64];
    struct stat info;
    unsigned long long sectors = 0;
    if (stat(directory, &info) != 0) return 0;
    snprintf(path, sizeof path, "/sys/dev/block/%u:%u/stat", major(info.st_dev),
             minor(info.st_dev));
    FILE *file = fopen(path, "r");
    if (file == NULL) return 0; /* no disk is behind it */
    if (fscanf(file, "%*u %*u %*u %*u %*u %*u %llu", &sectors) != 1) sectors = 0;
    fclose(file);
    return sectors * 512;
}

/* Blocks that were written before: a sync then has no extents to note. */
static int bare_file(const char *directory)
{
    static char zeros[BUFFER_SIZE];
    char path[512];
    (void)mkdir(directory, 0750);
    snprintf(path, sizeof path, "%s/bare", directory);
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (file < 0) abort();
    struct stat info;
    if (fstat(file, &info) != 0) abort();
    for (off_t at = info.st_size; at < FILE_SIZE; at += BUFFER_SIZE)
        if (pwrite(file, zeros, BUFFER_SIZE, at) != BUFFER_SIZE) abort();
    if (fsync(file) != 0) abort();
    return file;
}

static void commit(int file, const uint8_t *buffer, size_t size, uint64_t *at)
{
    if (*at + size > FILE_SIZE) *at = 0;
    if (pwrite(file, buffer, size, (off_t)*at) != (ssize_t)size || fdatasync(file) != 0) abort();
    *at += size;
}

static void rest_until(uint64_t ns)
{
    struct timespec time = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

void bare_run(const struct run_plan *plan, struct run_result *result)
{
    static uint8_t buffer[BUFFER_SIZE], record[4096];
    uint32_t size = plan->payload + HEAD_SIZE;
    if (size > sizeof record) abort();
    int file = bare_file(plan->directory);
    uint64_t at = 0, done = 0, thread_ns = 0;
    uint64_t process_ns = run_process_ns(), disk_bytes = run_disk_bytes(plan->directory);
    uint64_t start = clock_mono_ns(), measured = start + (uint64_t)(plan->warm_up * 1e9);
    uint64_t stop = measured + (uint64_t)(plan->seconds * 1e9);
    double gap_ns = plan->rate > 0 ? 1e9 / plan->rate : 0;
    bool is_measuring = false;
    *result = (struct run_result){0};
    for (uint64_t now = start; now < stop; now = clock_mono_ns()) {
        if (!is_measuring && now >= measured) {
            is_measuring = true;
            measured = now;
            thread_ns = run_thread_ns();
        }
        uint64_t due = plan->flights;
        if (plan->rate > 0) due = (uint64_t)((double)(now - start) / gap_ns) + 1 - done;
        if (due > BUFFER_SIZE / size) due = BUFFER_SIZE / size;
        if (due == 0) {
            rest_until(start + (uint64_t)((double)done * gap_ns) + 1);
            continue;
        }
        for (uint64_t i = 0; i < due; i++) memcpy(buffer + i * size, record, size);
        commit(file, buffer, due * size, &at);
        uint64_t end = clock_mono_ns();
        for (uint64_t i = 0; i < due && is_measuring; i++) {
            uint64_t asked = gap_ns > 0 ? start + (uint64_t)((double)(done + i) * gap_ns) : now;
            spread_add(&result->spread, end > asked ? end - asked : 0);
        }
        done += due;
        result->acks += is_measuring ? due : 0;
        result->commits += is_measuring;
    }
    result->seconds = (double)(clock_mono_ns() - measured) / 1e9;
    result->thread_ns = run_thread_ns() - thread_ns;
    result->process_ns_each = (double)(run_process_ns() - process_ns) / (double)done;
    result->disk_bytes_each = (double)(run_disk_bytes(plan->directory) - disk_bytes) / (double)done;
    close(file);
}
