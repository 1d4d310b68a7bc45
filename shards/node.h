/*
 * node: the process as an object: shards, mesh, workers, store.
 *
 * node_create makes everything but threads and listening sockets, so the
 * simulator drives the same object turn by turn; node_run is the program.
 *
 *   node_create ─▶ node_listen ─▶ node_run (SIGTERM, SIGINT: drain; SIGHUP: reload)
 *               └▶ simulator: shard_start each, shard_turn …, node_drain, shard_stop each
 *   node_destroy
 *
 * Thread:  the main thread.
 * Tests:   tests/conformance, the simulator
 */
#pragma once

#include "core/config.h"
#include "core/err.h"
#include "core/mesh.h"
#include "core/worker.h"
#include "shards/ops/reload.h"
#include "storage/store.h"

struct shard;
struct tls_shared;

struct node {
    const struct config *config;   /* of the start */
    struct tls_shared *tls_shared; /* outlives every context of TLS */
    struct reload reload;          /* holds it, and what has replaced it */
    struct mesh *mesh;
    struct workers *workers;
    struct store_node *store;
    struct shard **shards;
    uint32_t shards_count;
    uint16_t port; /* bound, from node_listen on */
    uint8_t id[16];
    char name[64];
    uint64_t started_ms; /* wall */
};

/* `config` becomes the node's; the store's recovery happens here. */
must_use enum err node_create(struct config *config, struct node **node);
/* Opens one listening socket per shard; the reason of a failure is logged. */
must_use enum err node_listen(struct node *node);
/* Runs the shards' threads until a drain has ended; 0, or 1 when it did not in time. */
int node_run(struct node *node);
/* Asks every shard to drain: stop accepting, close clients with 3001 spread over
 * a jittered window, finish what the store has under way. */
void node_drain(struct node *node);
/* Accepts NULL.  Shards must be stopped. */
void node_destroy(struct node *node);
