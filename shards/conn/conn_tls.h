/*
 * conn_tls: TLS between a connection's socket and its bytes.
 *
 *   state     while here                                        becomes
 *   NAMELESS  the peer's address is asked for (a limit needs it) SHAKING
 *   SHAKING   a handshake waits for bytes of the peer           HELD
 *   HELD      the handshake worker has the session              SHAKING, OPEN, OVER
 *   OPEN      bytes both ways                                   OVER
 *   OVER      an alert or close_notify said the last word
 *
 * A connection of the TLS port has one of these beside its struct conn, under the
 * same index, and CONN_TLS in its flags; a plain one pays a test of that flag.  What
 * comes in is opened and given to conn_input; what a turn pushed is gathered as for
 * a plain connection, sealed into as few records as hold it and sent from one
 * frame.  Frames pushed count as unread until the records they are in have gone,
 * so queue limits and 3008 mean the same with and without TLS.
 *
 * Every step of a handshake runs on the worker: the private key costs 0.03 to 0.4 ms
 * and the rest half as much again.  Bounded three ways: http_server.tls.handshake_queue,
 * handshake_timeout (waiting included) and handshakes_per_address.
 *
 * Thread:  owner shard, but for the job's run.  While HELD the shard does not touch
 *          the session.
 * Tests:   tests/conformance/tls.test.mjs, perf/handshakes
 */
#pragma once

#include "core/bytes.h"
#include "core/map.h"
#include "core/slab.h"
#include "proto/tls.h"

struct conn;
struct shard;

/* A shard's part. */
struct conn_tls_pool {
    struct tls_context *context; /* NULL: the port speaks no TLS */
    struct slab sides;           /* struct conn_tls, index = socket */
    uint8_t *plain;              /* one opened record */
    struct map addresses;        /* of handshakes under way, while they are limited */
    bool is_nameless_told;       /* the kernel cannot tell addresses, and the log says so */
};

/* Takes a count on `context`, which may be NULL. */
void conn_tls_pool_init(struct conn_tls_pool *pool, struct tls_context *context, uint64_t seed,
                        uint32_t socks_max);
void conn_tls_pool_fini(struct conn_tls_pool *pool);
/* New connections get `context` from now on; those that are there keep theirs. */
void conn_tls_use(struct conn_tls_pool *pool, struct tls_context *context);

/* Begins TLS on an accepted connection and arms what it needs. */
void conn_tls_accept(struct shard *shard, struct conn *conn);
/* The loop's handler: the peer's address. */
void conn_tls_on_peer(void *shard, uint32_t sock, const uint8_t address[16], int error);
/* Bytes of the wire. */
void conn_tls_recv(struct shard *shard, struct conn *conn, const uint8_t *data, uint32_t size);
/* The socket ended, with close_notify before or without. */
void conn_tls_on_end(struct shard *shard, struct conn *conn, int error);

/* True when something of TLS itself waits to be sent. */
bool conn_tls_speaks(struct shard *shard, struct conn *conn);
/* Seals `plain`, a part of what is pending, behind what waits and sends it; false when
 * there was nothing to send or no room, and then the connection is dying. */
bool conn_tls_send(struct shard *shard, struct conn *conn, struct bytes plain);
/* True while records are on their way that on_send has not spoken of. */
bool conn_tls_is_sending(struct shard *shard, struct conn *conn);
/* They went whole. */
void conn_tls_sent(struct shard *shard, struct conn *conn);
/* `sent` bytes of them went; returns how many pending bytes that ends, 0 or all of
 * them.  `is_over`: no more can. */
uint32_t conn_tls_on_send(struct shard *shard, struct conn *conn, uint32_t sent, bool is_over);
/* Sends the rest, waiting. */
void conn_tls_send_rest(struct shard *shard, struct conn *conn);
/* The pending bytes that records on their way hold are as good as gone: their count,
 * once. */
uint32_t conn_tls_commit(struct shard *shard, struct conn *conn);

/* Says close_notify before our direction ends: true when it must be sent first. */
bool conn_tls_part(struct shard *shard, struct conn *conn);
/* Of a dying connection: true while it cannot be closed yet (HELD, last words). */
bool conn_tls_delays_end(struct shard *shard, struct conn *conn);
/* The connection is being freed. */
void conn_tls_free(struct shard *shard, struct conn *conn);
