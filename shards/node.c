/*
 * node: set up in order, run, tear down in reverse.
 */
#include "shards/node.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/check.h"
#include "core/entropy.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/net.h"
#include "proto/tls.h"
#include "shards/letter.h"
#include "shards/ops/drain.h"
#include "shards/shard.h"
#include "storage/events.h"

/* A drain that has not ended this long after its own limit is given up. */
#define DRAIN_GRACE_MS 5000
/* How often a port in use is asked for again, and how far apart. */
#define LISTEN_TRIES   40
#define LISTEN_WAIT_MS 50
/* How long the end of a thread may go unnoticed. */
#define JOIN_SLICE_MS  5

static uint32_t cpus_available(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    return max_u32(1, (uint32_t)CPU_COUNT(&set));
}

/* "0-3,8" → the `at`-th CPU of the list, cyclic; -1 without a list. */
static int cpu_of(const char *list, uint32_t at)
{
    int cpus[CPU_SETSIZE];
    uint32_t count = 0;
    for (const char *p = list; *p != '\0';) {
        char *end;
        long first = strtol(p, &end, 10), last = first;
        if (end == p) break;
        if (*end == '-') last = strtol(end + 1, &end, 10);
        for (long cpu = first; cpu <= last && count < CPU_SETSIZE; cpu++) cpus[count++] = (int)cpu;
        p = *end == ',' ? end + 1 : end;
    }
    return count == 0 ? -1 : cpus[at % count];
}

static void name_node(struct node *node)
{
    entropy_fill(node->id, sizeof node->id);
    if (node->config->node_name[0] != '\0') {
        snprintf(node->name, sizeof node->name, "%s", node->config->node_name);
        return;
    }
    char host[40] = "localhost";
    if (gethostname(host, sizeof host - 1) != 0) snprintf(host, sizeof host, "localhost");
    snprintf(node->name, sizeof node->name, "%s_%u", host,
             (unsigned)node->config->http_server_port);
}

enum err node_create(struct config *config, struct node **out)
{
    struct snapshot *first;
    struct tls_shared *tls_shared = tls_shared_create();
    enum err err = snapshot_create(config, tls_shared, &first);
    if (err != ERR_OK) {
        tls_shared_destroy(tls_shared);
        return err;
    }
    struct node *node = mem_alloc(sizeof *node);
    node->tls_shared = tls_shared;
    reload_init(&node->reload, first);
    node->config = config;
    node->started_ms = clock_wall_ms();
    node->shards_count = config->shards_count != 0 ? config->shards_count : cpus_available();
    node->shards_count = min_u32(node->shards_count, SHARDS_MAX);
    name_node(node);
    node->mesh = mesh_create(node->shards_count, letter_table, LETTER_KIND_COUNT, MESH_CREDITS);
    node->workers = workers_create();
    err = events_check(config);
    if (err == ERR_OK)
        err = store_node_open(config, node->workers, node->shards_count, &node->store);
    node->shards = mem_alloc(node->shards_count * sizeof *node->shards);
    for (uint32_t i = 0; err == ERR_OK && i < node->shards_count; i++)
        err = shard_create(node, i, &node->shards[i]);
    if (err != ERR_OK) {
        node_destroy(node);
        return err;
    }
    *out = node;
    return ERR_OK;
}

void node_destroy(struct node *node)
{
    if (node == NULL) return;
    for (uint32_t i = 0; node->shards != NULL && i < node->shards_count; i++) {
        if (node->shards[i] == NULL) continue;
        if (node->shards[i]->listener >= 0) close(node->shards[i]->listener);
        if (node->shards[i]->index_listener >= 0) close(node->shards[i]->index_listener);
        shard_destroy(node->shards[i]);
    }
    mem_free(node->shards);
    store_node_close(node->store);
    workers_destroy(node->workers);
    mesh_destroy(node->mesh);
    reload_fini(&node->reload);
    tls_shared_destroy(node->tls_shared);
    mem_free(node);
}

/* The first shard's listener.  The kernel keeps the sockets of a killed process
 * until it has taken its rings apart, some ten milliseconds after the process is
 * gone, so a port in use is asked for again.  Sharing alone would not tell:
 * SO_REUSEPORT lets a second gateway of the same user in, and half of the clients
 * would come to the wrong one.  So the port is first asked for unshared. */
static int listen_first(const struct net_address *address, bool is_shared)
{
    int listener = net_listen(address, false);
    for (uint32_t i = 0; listener == -EADDRINUSE && i < LISTEN_TRIES; i++) {
        nanosleep(&(struct timespec){.tv_nsec = LISTEN_WAIT_MS * 1000000L}, NULL);
        listener = net_listen(address, false);
    }
    if (!is_shared || listener < 0) return listener;
    close(listener);
    return net_listen(address, true);
}

/* A port that every shard listens on, by the names of its options. */
struct port_ask {
    const char *host, *host_option, *port_option;
    const char *way_out; /* when another program has the port */
    uint16_t port;
};

/* Listens once for each shard: listeners[shards_count]; *port is the one in use. */
static enum err listen_all(const struct port_ask *ask, uint32_t shards_count, int *listeners,
                           uint16_t *port)
{
    const char *host = ask->host[0] == '\0' ? "*" : ask->host;
    *port = ask->port;
    for (uint32_t i = 0; i < shards_count; i++) {
        struct net_address address;
        if (net_address_local(host, *port, &address) != ERR_OK) {
            log_error("%s is no address; write a number such as 127.0.0.1 address=%s",
                      ask->host_option, host);
            return ERR_BAD_REQUEST;
        }
        bool is_shared = shards_count > 1;
        int listener = i == 0 ? listen_first(&address, is_shared) : net_listen(&address, is_shared);
        if (listener < 0) {
            log_error("cannot listen address=%s port=%u error=\"%s\"; %s%s%s%s", host, *port,
                      strerror(-listener), listener == -EADDRINUSE ? ask->way_out : "check ",
                      listener == -EADDRINUSE ? "" : ask->host_option,
                      listener == -EADDRINUSE ? "" : " and ",
                      listener == -EADDRINUSE ? "" : ask->port_option);
            return ERR_IO;
        }
        listeners[i] = listener;
        *port = net_port(listener); /* the shards share the port that the kernel chose for 0 */
    }
    return ERR_OK;
}

/* Every shard listens for clients and, where it is enabled, for the read-index service. */
enum err node_listen(struct node *node)
{
    const struct config *config = node->config;
    int listeners[SHARDS_MAX];
    for (uint32_t i = 0; i < SHARDS_MAX; i++) listeners[i] = -1;
    struct port_ask clients = {
        .host = config->http_server_address,
        .host_option = "http_server.address",
        .port_option = "http_server.port",
        .way_out = "another program has the port: stop it or choose another with --port",
        .port = (uint16_t)config->http_server_port,
    };
    enum err err = listen_all(&clients, node->shards_count, listeners, &node->port);
    for (uint32_t i = 0; i < node->shards_count; i++) node->shards[i]->listener = listeners[i];
    TRY(err);
    log_info("listening address=%s port=%u shards=%u", clients.host[0] == '\0' ? "*" : clients.host,
             node->port, node->shards_count);
    if (!config->read_index_enabled) return ERR_OK;

    for (uint32_t i = 0; i < SHARDS_MAX; i++) listeners[i] = -1;
    struct port_ask index = {
        .host = config->read_index_address,
        .host_option = "read_index.address",
        .port_option = "read_index.port",
        .way_out = "another program has the port: stop it or choose another in read_index.port",
        .port = (uint16_t)config->read_index_port,
    };
    uint16_t port;
    err = listen_all(&index, node->shards_count, listeners, &port);
    for (uint32_t i = 0; i < node->shards_count; i++)
        node->shards[i]->index_listener = listeners[i];
    TRY(err);
    log_info("read index listening address=%s port=%u", index.host[0] == '\0' ? "*" : index.host,
             port);
    return ERR_OK;
}

/* --- running --------------------------------------------------------------------- */

struct runner {
    struct shard *shard;
    pthread_t thread;
    int cpu;
    enum err started;
    struct run *run;
};

/* Threads start their shards, meet, hear whether all did, and go. */
struct run {
    struct node *node;
    pthread_barrier_t met, told;
    bool is_go;
    struct runner runners[SHARDS_MAX];
};

static void *shard_thread(void *context)
{
    struct runner *runner = context;
    struct shard *shard = runner->shard;
    char name[16];
    snprintf(name, sizeof name, "shard-%u", shard->index);
    pthread_setname_np(pthread_self(), name);
    if (runner->cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((unsigned)runner->cpu, &set);
        if (pthread_setaffinity_np(pthread_self(), sizeof set, &set) != 0)
            log_warn("cannot run on the CPU asked for; --cpus lists one that this process may not "
                     "use cpu=%d",
                     runner->cpu);
    }
    runner->started = shard_start(shard);
    pthread_barrier_wait(&runner->run->met);
    pthread_barrier_wait(&runner->run->told);
    if (runner->run->is_go)
        while (!shard->is_stopped) shard_turn(shard);
    if (runner->started == ERR_OK) shard_stop(shard);
    return NULL;
}

void node_drain(struct node *node)
{
    for (uint32_t i = 0; i < node->shards_count; i++) {
        struct shard *shard = node->shards[i];
        shard->drain_note.on_note = drain_begin;
        inbox_post(&shard->inbox, &shard->drain_note);
    }
}

static const char *signal_name(int signal)
{
    return signal == SIGTERM ? "SIGTERM" : signal == SIGINT ? "SIGINT" : "SIGHUP";
}

/* Until SIGTERM or SIGINT. */
static void wait_for_end(struct node *node, const sigset_t *signals)
{
    for (;;) {
        int signal = 0;
        if (sigwait(signals, &signal) != 0) continue;
        if (signal == SIGHUP) {
            if (reload_begin(node) == ERR_OK) reload_wait(node);
            continue;
        }
        log_info("asked to end signal=%s", signal_name(signal));
        return;
    }
}

/* What ends before everything is at rest: no more lines, no more patience. */
static void leave_now(void)
{
    log_stop();
    _exit(1);
}

/* Waits for the shards' threads.  A second signal ends the process at once, as
 * whoever presses Ctrl-C twice wants; a reload has nothing to act on any more. */
static bool join_all(struct run *run, const sigset_t *signals, uint64_t timeout_ms)
{
    uint64_t end_ns = clock_mono_ns() + timeout_ms * 1000000u;
    for (uint32_t i = 0; i < run->node->shards_count;) {
        if (pthread_tryjoin_np(run->runners[i].thread, NULL) == 0) {
            i++;
            continue;
        }
        if (clock_mono_ns() >= end_ns) return false;
        struct timespec slice = {.tv_nsec = JOIN_SLICE_MS * 1000000L};
        int signal = sigtimedwait(signals, NULL, &slice);
        if (signal != SIGTERM && signal != SIGINT) continue;
        log_warn("asked to end again; leaving without the rest of the drain signal=%s",
                 signal_name(signal));
        leave_now();
    }
    return true;
}

int node_run(struct node *node)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file size limit is a failed write, not an end */

    struct run *run = mem_alloc(sizeof *run);
    run->node = node;
    pthread_barrier_init(&run->met, NULL, node->shards_count + 1);
    pthread_barrier_init(&run->told, NULL, node->shards_count + 1);
    for (uint32_t i = 0; i < node->shards_count; i++) {
        struct runner *runner = &run->runners[i];
        *runner = (struct runner){.shard = node->shards[i], .run = run};
        runner->cpu = cpu_of(node->config->shards_cpus, i);
        int error = pthread_create(&runner->thread, NULL, shard_thread, runner);
        check(error == 0);
    }
    pthread_barrier_wait(&run->met);
    run->is_go = true;
    for (uint32_t i = 0; i < node->shards_count; i++)
        if (run->runners[i].started != ERR_OK) run->is_go = false;
    bool is_go = run->is_go;
    pthread_barrier_wait(&run->told);
    if (is_go) {
        log_info("ready version=%s engine=%s name=%s", SLUICE_VERSION, node->store->engine->name,
                 node->name);
        wait_for_end(node, &signals);
        node_drain(node);
    } else {
        log_error("a shard did not start; see the lines above");
    }
    uint64_t drain_ms = node->reload.now->config->shutdown_timeout_ms;
    if (!join_all(run, &signals, drain_ms + DRAIN_GRACE_MS)) {
        log_error("the drain did not end in time; leaving without the rest timeout_ms=%llu",
                  (unsigned long long)drain_ms);
        leave_now();
    }
    pthread_barrier_destroy(&run->met);
    pthread_barrier_destroy(&run->told);
    mem_free(run);
    log_info("ended");
    return is_go ? 0 : 1;
}
