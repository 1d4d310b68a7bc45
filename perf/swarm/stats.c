/*
 * stats: numbers from /proc, and a histogram.
 */
#include "stats.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The first line of a file of /proc; false when it cannot be read. */
static bool read_line(const char *path, char *line, size_t size)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) return false;
    bool is_read = fgets(line, (int)size, file) != NULL;
    fclose(file);
    return is_read;
}

static uint64_t schedstat_ns(const char *folder)
{
    char path[320], line[128];
    snprintf(path, sizeof path, "%s/schedstat", folder);
    return read_line(path, line, sizeof line) ? strtoull(line, NULL, 10) : 0;
}

/* utime and stime are fields 14 and 15; the name before them may hold spaces. */
static void stat_ticks(pid_t pid, struct cpu_time *time)
{
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (!read_line(path, line, sizeof line)) return;
    char *at = strrchr(line, ')');
    for (int field = 2; at != NULL && field < 14; field++) at = strchr(at + 1, ' ');
    if (at == NULL) return;
    time->user_ticks = strtoull(at, &at, 10);
    time->system_ticks = strtoull(at, NULL, 10);
}

/* ksoftirqd's pid, looked for once: it does not change. */
static pid_t softirq_pid(int cpu)
{
    static pid_t found;
    static int found_cpu = -1;
    if (cpu < 0 || cpu == found_cpu) return cpu < 0 ? 0 : found;
    char name[32], path[320], line[64];
    snprintf(name, sizeof name, "ksoftirqd/%d\n", cpu);
    DIR *proc = opendir("/proc");
    for (struct dirent *entry; proc != NULL && (entry = readdir(proc)) != NULL;) {
        snprintf(path, sizeof path, "/proc/%s/comm", entry->d_name);
        if (!read_line(path, line, sizeof line) || strcmp(line, name) != 0) continue;
        found = (pid_t)atoi(entry->d_name);
        found_cpu = cpu;
    }
    if (proc != NULL) closedir(proc);
    return found_cpu == cpu ? found : 0;
}

bool cpu_time_read(pid_t pid, int cpu, struct cpu_time *time)
{
    char path[320];
    *time = (struct cpu_time){0};
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    if (tasks == NULL) return false;
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) {
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "/proc/%d/task/%s", (int)pid, entry->d_name);
        time->ns += schedstat_ns(path);
    }
    closedir(tasks);
    pid_t softirq = softirq_pid(cpu);
    if (softirq != 0) {
        snprintf(path, sizeof path, "/proc/%d", (int)softirq);
        time->softirq_ns = schedstat_ns(path);
    }
    stat_ticks(pid, time);
    return true;
}

uint64_t thread_cpu_ns(pid_t pid, const char *name)
{
    char path[320], line[64];
    uint64_t ns = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    for (struct dirent *entry; tasks != NULL && (entry = readdir(tasks)) != NULL;) {
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "/proc/%d/task/%s/comm", (int)pid, entry->d_name);
        if (!read_line(path, line, sizeof line) || strncmp(line, name, strlen(name)) != 0) continue;
        snprintf(path, sizeof path, "/proc/%d/task/%s", (int)pid, entry->d_name);
        ns += schedstat_ns(path);
    }
    if (tasks != NULL) closedir(tasks);
    return ns;
}

uint64_t resident_bytes(pid_t pid)
{
    char path[64], line[128];
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) return 0;
    uint64_t bytes = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "RssAnon:", 8) == 0 || strncmp(line, "RssShmem:", 9) == 0)
            bytes += strtoull(strchr(line, ':') + 1, NULL, 10) * 1024;
    }
    fclose(file);
    return bytes;
}

/* Eight buckets per doubling; below eight each value has its own. */
static uint32_t bucket_of(uint64_t us)
{
    if (us < 8) return (uint32_t)us;
    uint32_t power = 63 - (uint32_t)__builtin_clzll(us);
    uint32_t bucket = (power - 2) * 8 + (uint32_t)(us >> (power - 3) & 7);
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

static uint64_t bucket_end(uint32_t bucket)
{
    if (bucket < 8) return bucket;
    uint32_t power = bucket / 8 + 2;
    return ((uint64_t)(8 + bucket % 8 + 1) << (power - 3)) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t us)
{
    histogram->counts[bucket_of(us)]++;
    histogram->total++;
    if (us > histogram->most) histogram->most = us;
}

uint64_t histogram_at(const struct histogram *histogram, double share)
{
    uint64_t wanted = (uint64_t)((double)histogram->total * share), seen = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->counts[i];
        if (seen > wanted) return bucket_end(i) < histogram->most ? bucket_end(i) : histogram->most;
    }
    return histogram->most;
}
