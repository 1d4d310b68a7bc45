/*
 * redis_world: a real redis-server of our own, on a free port of loopback with
 * a directory of its own, that a test may kill, stop and start again; and one
 * that replicates another.
 *
 * Thread:  one.
 */
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/config.h"
#include "core/net.h"
#include "storage/redis/resp.h"

/* Exactly what storage/redis/README.md says, for the prefix of the tests; with and without
 * what redis.streams.conversations needs. */
#define REDIS_RIGHTS_TO(keys)                                                                      \
    "ACL SETUSER sluice on >secret resetkeys resetchannels " keys " &test:* -@all +@read +@write " \
    "+@pubsub +@scripting +@connection -@dangerous +info +config|get +wait +time"
#define REDIS_RIGHTS        REDIS_RIGHTS_TO("~test:* ~stream:*")
#define REDIS_RIGHTS_NARROW REDIS_RIGHTS_TO("~test:*")

struct redis_world {
    pid_t pid; /* 0: not running */
    uint16_t port;
    char path[48];
    char address[64]; /* "redis://127.0.0.1:port" */
    const char *password;
    const char *acl;  /* said after each start: makes the user that nodes are */
    const char *user; /* and its password; NULL: the default one, with `password` */
    const char *user_password;
    bool is_everysec;       /* fsync each second instead of before each answer */
    uint16_t primary_port;  /* of the server that it replicates; 0: none */
    uint32_t wait_replicas; /* for redis_configure */
    uint64_t wait_timeout_ms;
    const char *tls_path;  /* with cert.pem and key.pem: speaks TLS, too; NULL: not */
    bool asks_certificate; /* clients of TLS must have one that cert.pem signed */
    uint16_t tls_port;
    char tls_address[64];
    char more[6][64]; /* further words for its command line, unless it speaks TLS */
    /* How a node comes to it. */
    uint32_t mode; /* enum config_redis_mode */
    const char *seeds[8];
    uint32_t seeds_count;
};

static inline int redis_connect(const struct redis_world *redis)
{
    struct net_address address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(net_address_parse("127.0.0.1", redis->port, &address) == ERR_OK);
    if (connect(fd, (struct sockaddr *)&address.storage, address.size) == 0) return fd;
    close(fd);
    return -1;
}

/* Sends the words of `text`, separated by spaces, and gives the first line of
 * the answer, or "" when there is none. */
static inline const char *redis_say(const struct redis_world *redis, const char *text)
{
    static char answer[256];
    char words[1024], *rest = NULL;
    struct resp_out out = {0};
    uint32_t count = 1;
    for (const char *at = text; *at != 0; at++) count += *at == ' ';
    snprintf(words, sizeof words, "%s", text);
    if (redis->password != NULL) {
        resp_begin(&out, 2);
        resp_text(&out, "AUTH");
        resp_text(&out, redis->password);
    }
    resp_begin(&out, count);
    for (char *word = strtok_r(words, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest))
        resp_text(&out, word);
    int fd = redis_connect(redis);
    answer[0] = 0;
    if (fd >= 0 && send(fd, out.at, out.used, MSG_NOSIGNAL) == (ssize_t)out.used) {
        FILE *file = fdopen(dup(fd), "r");
        bool is_answered = redis->password == NULL || fgets(answer, sizeof answer, file) != NULL;
        if (!is_answered || fgets(answer, sizeof answer, file) == NULL) answer[0] = 0;
        answer[strcspn(answer, "\r\n")] = 0;
        fclose(file);
    }
    if (fd >= 0) close(fd);
    resp_fini(&out);
    return answer;
}

#define REDIS_WORDS_MAX 10

/* The further words of the command line, up to an empty one. */
static inline void redis_words(const struct redis_world *redis, char words[REDIS_WORDS_MAX][160])
{
    for (uint32_t i = 0; i < array_count(redis->more); i++)
        snprintf(words[i], 160, "%s", redis->more[i]);
    if (redis->tls_path == NULL) return;
    snprintf(words[0], 160, "--tls-port");
    snprintf(words[1], 160, "%u", redis->tls_port);
    snprintf(words[2], 160, "--tls-cert-file");
    snprintf(words[3], 160, "%s/cert.pem", redis->tls_path);
    snprintf(words[4], 160, "--tls-key-file");
    snprintf(words[5], 160, "%s/key.pem", redis->tls_path);
    snprintf(words[6], 160, "--tls-ca-cert-file");
    snprintf(words[7], 160, "%s/cert.pem", redis->tls_path);
    snprintf(words[8], 160, "--tls-auth-clients");
    snprintf(words[9], 160, "%s", redis->asks_certificate ? "yes" : "no");
}

/* Starts the server with what its directory holds, and waits until it answers. */
static inline void redis_start(struct redis_world *redis)
{
    char port[16], primary[16], words[REDIS_WORDS_MAX][160] = {{0}};
    const char *more[REDIS_WORDS_MAX] = {0};
    bool is_replica = redis->primary_port != 0;
    check(redis->pid == 0);
    snprintf(port, sizeof port, "%u", redis->port);
    snprintf(primary, sizeof primary, "%u", redis->primary_port);
    redis_words(redis, words);
    for (uint32_t i = 0; i < REDIS_WORDS_MAX; i++) more[i] = words[i][0] == 0 ? NULL : words[i];
    redis->pid = fork();
    check(redis->pid >= 0);
    if (redis->pid == 0) {
        /* A test that fails half-way leaves no server behind. */
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) _exit(126);
        if (freopen("/dev/null", "w", stdout) == NULL) _exit(126);
        execlp("redis-server", "redis-server", "--port", port, "--bind", "127.0.0.1", "--dir",
               redis->path, "--save", "", "--appendonly", "yes", "--appendfsync",
               redis->is_everysec ? "everysec" : "always", "--enable-debug-command", "yes",
               "--requirepass", redis->password == NULL ? "" : redis->password,
               "--repl-diskless-sync-delay", "0", "--replicaof", is_replica ? "127.0.0.1" : "no",
               is_replica ? primary : "one", more[0], more[1], more[2], more[3], more[4], more[5],
               more[6], more[7], more[8], more[9], (char *)NULL);
        _exit(127);
    }
    uint64_t end_ns = clock_mono_ns() + 20000000000ull;
    while (strcmp(redis_say(redis, "PING"), "+PONG") != 0 && clock_mono_ns() < end_ns) {
        check(waitpid(redis->pid, NULL, WNOHANG) == 0); /* it runs */
        usleep(5000);
    }
    check(clock_mono_ns() < end_ns);
    if (redis->acl != NULL) check(strcmp(redis_say(redis, redis->acl), "+OK") == 0);
}

static inline void redis_kill(struct redis_world *redis)
{
    if (redis->pid == 0) return;
    kill(redis->pid, SIGKILL);
    waitpid(redis->pid, NULL, 0);
    redis->pid = 0;
}

/* Below the ports that the kernel gives to clients, or one of them has it while its server
 * is down; and nobody else's until this process ends: the tests that run beside it ask for
 * the datagram port first, as this one does. */
static inline uint16_t redis_free_port(void)
{
    enum { FIRST = 20000, COUNT = 12000 };
    static uint32_t asked;
    for (;;) {
        uint16_t port = (uint16_t)(FIRST + ((uint32_t)getpid() * 31 + asked++) % COUNT);
        check(asked < COUNT);
        struct sockaddr_in place = {.sin_family = AF_INET,
                                    .sin_port = htons(port),
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int held = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        check(held >= 0);
        bool is_ours = bind(held, (struct sockaddr *)&place, sizeof place) == 0;
        struct net_address address;
        check(net_address_parse("127.0.0.1", port, &address) == ERR_OK);
        int listener = is_ours ? net_listen(&address, false) : -1;
        if (listener >= 0) {
            close(listener);
            return port; /* `held` stays open */
        }
        close(held);
    }
}

/* In memory where that can be: what these tests take away are processes, never the machine,
 * and a log that is synced before each answer is as slow as whatever else the disk does. */
static inline const char *redis_place(void)
{
    return access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
}

/* A port and an empty directory. */
static inline void redis_prepare(struct redis_world *redis, const struct redis_world *options)
{
    char command[128];
    *redis = *options;
    redis->port = redis_free_port();
    if (redis->tls_path != NULL) redis->tls_port = redis_free_port();
    snprintf(redis->tls_address, sizeof redis->tls_address, "127.0.0.1:%u", redis->tls_port);
    snprintf(redis->address, sizeof redis->address, "redis://127.0.0.1:%u", redis->port);
    snprintf(redis->path, sizeof redis->path, "%s/test_redis.%d.%u", redis_place(), (int)getpid(),
             redis->port);
    snprintf(command, sizeof command, "rm -rf %s && mkdir %s", redis->path, redis->path);
    check(system(command) == 0);
}

static inline void redis_begin_with(struct redis_world *redis, const struct redis_world *options)
{
    redis_prepare(redis, options);
    redis_start(redis);
}

static inline void redis_begin(struct redis_world *redis, const char *password)
{
    redis_begin_with(redis, &(struct redis_world){.password = password});
}

/* Until the primary counts on a replica; WAIT tells of more when there are. */
static inline void redis_await_replica(const struct redis_world *primary)
{
    uint64_t end_ns = clock_mono_ns() + 30000000000ull;
    for (const char *said = ""; said[0] != ':' || said[1] < '1';) {
        check(clock_mono_ns() < end_ns);
        said = redis_say(primary, "WAIT 1 100");
    }
}

static inline void redis_begin_replica(struct redis_world *redis, const struct redis_world *primary)
{
    redis_begin_with(redis, &(struct redis_world){.primary_port = primary->port});
    redis_await_replica(primary);
}

static inline void redis_end(struct redis_world *redis)
{
    char command[128];
    redis_kill(redis);
    snprintf(command, sizeof command, "rm -rf %s", redis->path);
    check(system(command) == 0);
}

/* Points a configuration at the server. */
static inline void redis_configure(const struct redis_world *redis, struct config *config)
{
    config->storage_engine = CONFIG_ENGINE_REDIS;
    config->redis_address = redis->tls_path == NULL ? redis->address : redis->tls_address;
    config->redis_tls_enabled = redis->tls_path != NULL;
    config->redis_prefix = "test";
    config->redis_partitions = 64;
    config->redis_user = redis->user == NULL ? "" : redis->user;
    config->redis_password = redis->user != NULL       ? redis->user_password
                             : redis->password == NULL ? ""
                                                       : redis->password;
    config->redis_mode = redis->mode;
    config->redis_addresses = (struct config_texts){redis->seeds, redis->seeds_count};
    config->redis_sentinel_user = config->redis_sentinel_password = "";
    config->redis_sentinel_master = "test";
    config->redis_db = 0;
    config->redis_connect_timeout_ms = 1000;
    config->redis_io_timeout_ms = 4000;
    config->redis_wait_replicas = redis->wait_replicas;
    config->redis_wait_timeout_ms = redis->wait_timeout_ms;
}
