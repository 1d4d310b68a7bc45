/*
 * redis_many: several redis-servers of our own: a primary with a replica and
 * three Sentinels, or a Cluster of three primaries with a replica each.
 *
 * Thread:  one.
 */
#pragma once

#include "unit/storage/redis_world.h"

#define MANY_MAX       6
#define MANY_PRIMARIES 3

struct redis_many {
    struct redis_world at[MANY_MAX];
    uint32_t count;
    struct redis_world entry; /* how a node comes to them; runs nothing */
};

/* What redis-cli prints for `text`, or "". */
static inline const char *redis_cli(const struct redis_world *redis, const char *text)
{
    static char answer[8192];
    char command[2048];
    snprintf(command, sizeof command, "redis-cli -p %u %s", redis->port, text);
    FILE *file = popen(command, "r");
    check(file != NULL);
    size_t size = fread(answer, 1, sizeof answer - 1, file);
    pclose(file);
    answer[size] = 0;
    while (size > 0 && (answer[size - 1] == '\n' || answer[size - 1] == '\r')) answer[--size] = 0;
    return answer;
}

/* Waits until what redis-cli prints has `part` in it. */
static inline void redis_cli_until(const struct redis_world *redis, const char *text,
                                   const char *part)
{
    uint64_t end_ns = clock_mono_ns() + 60000000000ull;
    while (strstr(redis_cli(redis, text), part) == NULL) {
        check(clock_mono_ns() < end_ns);
        usleep(20000);
    }
}

static inline void many_end(struct redis_many *many)
{
    for (uint32_t i = 0; i < many->count; i++) redis_end(&many->at[i]);
}

/* --- Sentinels ------------------------------------------------------------------------------- */

static inline void sentinel_begin(struct redis_world *redis, const struct redis_world *primary)
{
    char file[96];
    redis_prepare(redis, &(struct redis_world){0});
    snprintf(file, sizeof file, "%s/sentinel.conf", redis->path);
    FILE *out = fopen(file, "w");
    check(out != NULL);
    fprintf(out,
            "port %u\nbind 127.0.0.1\ndir %s\nsentinel monitor test 127.0.0.1 %u 2\n"
            "sentinel down-after-milliseconds test 1000\nsentinel failover-timeout test 3000\n",
            redis->port, redis->path, primary->port);
    fclose(out);
    redis->pid = fork();
    check(redis->pid >= 0);
    if (redis->pid == 0) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) _exit(126);
        if (freopen("/dev/null", "w", stdout) == NULL) _exit(126);
        execlp("redis-server", "redis-server", file, "--sentinel", (char *)NULL);
        _exit(127);
    }
    redis_cli_until(redis, "PING 2>&1", "PONG");
}

/* at[0] the primary, at[1] its replica, at[2] to at[4] Sentinels. */
static inline void many_sentinel(struct redis_many *many, bool is_everysec)
{
    *many = (struct redis_many){.count = 5};
    for (uint32_t i = 0; i < 2; i++) {
        uint16_t primary_port = i == 0 ? 0 : many->at[0].port;
        redis_begin_with(&many->at[i], &(struct redis_world){.is_everysec = is_everysec,
                                                             .primary_port = primary_port});
    }
    redis_cli_until(&many->at[1], "INFO replication", "master_link_status:up");
    many->entry.mode = CONFIG_REDIS_SENTINEL;
    for (uint32_t i = 2; i < many->count; i++) {
        sentinel_begin(&many->at[i], &many->at[0]);
        many->entry.seeds[many->entry.seeds_count++] = many->at[i].address;
    }
    for (uint32_t i = 2; i < many->count; i++) {
        redis_cli_until(&many->at[i], "SENTINEL MASTER test | tr '\\n' ' '",
                        "num-other-sentinels 2 ");
        redis_cli_until(&many->at[i], "SENTINEL MASTER test | tr '\\n' ' '", "num-slaves 1 ");
    }
}

/* --- a Cluster ------------------------------------------------------------------------------- */

static inline void many_meet(struct redis_many *many)
{
    char text[128];
    for (uint32_t i = 0; i < many->count; i++) {
        snprintf(text, sizeof text, "CLUSTER SET-CONFIG-EPOCH %u", i + 1);
        redis_cli(&many->at[i], text);
        snprintf(text, sizeof text, "CLUSTER MEET 127.0.0.1 %u %s", many->at[0].port,
                 many->at[0].more[5]);
        if (i > 0) redis_cli(&many->at[i], text);
    }
    for (uint32_t i = 0; i < many->count; i++)
        redis_cli_until(&many->at[i], "CLUSTER INFO", "cluster_known_nodes:6");
}

/* at[0] to at[2] primaries with a third of the slots each, at[3] to at[5] their replicas. */
static inline void many_cluster(struct redis_many *many, bool is_everysec)
{
    char text[128];
    *many = (struct redis_many){.count = MANY_MAX};
    for (uint32_t i = 0; i < many->count; i++) {
        struct redis_world *one = &many->at[i];
        redis_prepare(one, &(struct redis_world){.is_everysec = is_everysec});
        snprintf(one->more[0], 64, "--cluster-enabled");
        snprintf(one->more[1], 64, "yes");
        snprintf(one->more[2], 64, "--cluster-node-timeout");
        snprintf(one->more[3], 64, "2000");
        snprintf(one->more[4], 64, "--cluster-port");
        snprintf(one->more[5], 64, "%u", redis_free_port());
        redis_start(one);
    }
    many_meet(many);
    for (uint32_t i = 0; i < MANY_PRIMARIES; i++) {
        uint32_t last = i == 2 ? 16383 : (i + 1) * 5461 - 1;
        snprintf(text, sizeof text, "CLUSTER ADDSLOTSRANGE %u %u", i * 5461, last);
        redis_cli(&many->at[i], text);
        snprintf(text, sizeof text, "CLUSTER REPLICATE %.40s",
                 redis_cli(&many->at[i], "CLUSTER MYID"));
        redis_cli_until(&many->at[i + MANY_PRIMARIES], text, "OK");
    }
    many->entry.mode = CONFIG_REDIS_CLUSTER;
    for (uint32_t i = 0; i < many->count; i++) {
        redis_cli_until(&many->at[i], "CLUSTER INFO", "cluster_state:ok");
        many->entry.seeds[many->entry.seeds_count++] = many->at[i].address;
        if (i >= MANY_PRIMARIES)
            redis_cli_until(&many->at[i], "INFO replication", "master_link_status:up");
    }
}
