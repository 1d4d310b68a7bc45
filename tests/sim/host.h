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
/* check_home.c: a stopped shard holds nothing. */
void check_home(const struct shard *shard);
