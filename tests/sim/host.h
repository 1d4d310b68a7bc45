/*
 * host: the simulated machine and the gateway process on it.
 *
 *   DOWN ─boot─▶ STARTING (recovery) ─▶ UP ─drain─▶ DRAINING ─▶ DOWN
 *     ▲               │ kill, at any moment │             │
 *     └───────────────┴─────────────────────┴─────────────┘
 */
#pragma once

#include "plan.h"

enum host_state { HOST_DOWN, HOST_STARTING, HOST_UP, HOST_DRAINING };

void host_init(const struct plan *plan);
void host_fini(void);
/* Starts a process with that many shards; it is UP some time later. */
void host_boot(uint32_t shards);
/* Ends the process between two steps of its threads; with `is_machine` the
 * machine's unsynced writes too. */
void host_kill(bool is_machine);
/* What SIGTERM does. */
void host_drain(void);
enum host_state host_state(void);
uint32_t host_lives(void);
struct shard;
/* Of the process that runs. */
uint32_t host_shards(void);
struct shard *host_shard(uint32_t index);
/* check_home.c: whether all shards together hold that many connections, each of a user
 * of its own, and subscriptions, each of them listed, and nothing else that connections
 * leave. */
bool check_only(uint32_t conns, uint32_t subs);

/* check_presence.c: every subscription is listed at its home and nobody else; else `why`
 * tells.  While the host is UP and nobody comes or goes. */
bool check_presence(char *why, size_t size);

/* check_home.c: a stopped shard holds nothing. */
void check_home(const struct shard *shard);

struct node;
/* NULL while there is no process. */
struct node *host_node(void);
/* check_users.c: after each turn of a shard. */
void check_users_turn(const struct plan *plan, struct shard *shard);
/* A call that ends the connections of user `number` was sent at `asked_ns` and is answered. */
void check_banned(struct node *node, uint32_t number, uint64_t asked_ns);
/* A new process begins. */
void check_users_forget(void);
