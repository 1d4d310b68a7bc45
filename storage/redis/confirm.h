/*
 * confirm: nobody is told of a record before enough replicas have it.
 *
 * With redis.wait_replicas the batches of a server travel as a flight, on a link
 * of their own, for WAIT keeps everything behind it waiting:
 *
 *   boarding ─▶ scripts (held) and WAIT ─▶ confirm, one call for each script ─▶ answers
 *                      ▲                        ▲ together with the next flight's scripts
 *                      └ one at a time: what comes meanwhile boards the next one, so
 *                        the replicas set the pace
 *
 * When WAIT runs out, or the connection breaks, the answer is "unknown": the records
 * stay held until somebody confirms them, by a retry with the same key, by a later
 * record of the channel or because a sweep found them (append_touch).
 *
 * A call counts as confirmed only by a WAIT that was written behind it on the same
 * connection: on another one WAIT would speak of other writes.
 *
 * Bound:   FLIGHT_CALLS scripts a flight.
 * Thread:  owner shard.
 * Source:  design: wait for replicas before the announcement; redis.io, "WAIT"
 * Tests:   tests/unit/storage/test_redis_wait.c
 */
#pragma once

#include "core/err.h"

struct append_call;
struct link;
struct link_call;
struct redis_server;
struct reply;

/* 64 scripts of 64 records keep others of the server waiting for some 30 ms. */
#define FLIGHT_CALLS 64

/* Takes the call into the flight that leaves next; false: it must wait for a later one. */
bool confirm_board(struct redis_server *server, struct append_call *call);
/* Sends the flight that has boarded. */
void confirm_submit(struct redis_server *server);
/* The script of a call of a flight has ended. */
void confirm_on_appended(struct append_call *call, enum err err, const struct reply *reply);
/* The script of a call of a flight did not run, for its keys are elsewhere. */
void confirm_on_elsewhere(struct link *link, struct link_call *call, const struct reply *reply);
/* The publish link is gone: what it carried proves nothing on another connection. */
void confirm_on_lost(struct link *link);
