/*
 * loop: one shard's window on the kernel; ops in, callbacks out.
 *
 * Sockets are slots of the ring's direct-descriptor table: small integers
 * 0 .. socks_max-1 that never occupy the process's descriptor table.  Each
 * slot has a kind, given at accept or connect; the kind's handlers are its
 * callbacks, so an idle connection costs the loop a few bytes and no object.
 * Every callback runs inside loop_run, never inside a call made by the owner.
 *
 *   listen ─▶ on_accept ─▶ recv_arm ─▶ on_recv … ─▶ on_end ─▶ close ─▶ on_closed
 *
 * Sending.  loop_send_now queues an attempt that leaves with the next enter;
 * the bytes stay valid until that enter returns.  A complete send reports
 * nothing.  Otherwise on_send tells how many bytes went (possibly 0) and the
 * caller keeps the rest, and uses loop_send_wait, which completes once, when
 * all of it went or the socket failed.  At most one send of either sort is
 * under way per socket: two would interleave.
 * After loop_enter returns every failed loop_send_now of the turn before is
 * reported by the following loop_run before that socket may send again.
 *
 * Receiving is multishot into the ring's own buffers: `data` is borrowed for
 * the callback.  A starved buffer ring re-arms by itself.
 *
 * Thread:  the owner shard only, except loop_wake.  Created on any thread,
 *          used from the thread that first calls loop_start.
 * Source:  loop_os.c over ring.h and loop_uring.c; loop_probe_os.c; tests/sim/loop_sim.c
 * Tests:   tests/unit/core/test_loop.c
 */
#pragma once

#include "core/bytes.h"
#include "core/err.h"

struct sockaddr;
struct loop;

enum sock_kind {
    SOCK_CONN,   /* accepted clients */
    SOCK_INDEX,  /* accepted at the read-index service's port */
    SOCK_LINK,   /* our own connections to Redis */
    SOCK_EVENTS, /* the same, to the Redis with read_cursor_events */
    SOCK_KIND_COUNT,
};
#define SOCK_ACCEPTED_COUNT SOCK_LINK /* kinds that a listener may bring */

#define SOCK_NONE UINT32_MAX

/* `owner` is what loop_handle was given.  `error` is 0 or a positive errno. */
struct sock_handlers {
    /* An accepted socket; nothing is armed yet.  Of kinds that are accepted. */
    void (*on_accept)(void *owner, uint32_t sock);
    /* The end of loop_connect.  After an error only loop_close is allowed. */
    void (*on_connect)(void *owner, uint32_t sock, int error);
    /* Bytes arrived; `data` may be written to (unmasking) and is borrowed for
     * the call.  `size` > 0. */
    void (*on_recv)(void *owner, uint32_t sock, uint8_t *data, uint32_t size);
    /* The peer is gone (error 0: it closed its side); receiving is disarmed.
     * Comes at most once, and not after loop_close. */
    void (*on_end)(void *owner, uint32_t sock, int error);
    /* A loop_send_now that did not go whole (error EAGAIN: the socket is full;
     * other errors: it is dead), or the one answer of a loop_send_wait
     * (error 0: all of it went). */
    void (*on_send)(void *owner, uint32_t sock, uint32_t sent, int error);
    /* The slot is free again; last callback of this socket. */
    void (*on_closed)(void *owner, uint32_t sock);
    /* The answer to loop_ask_peer: an IPv6 address in network order, an IPv4 one
     * mapped into it (RFC 4291 section 2.5.5.2).  After an error (EOPNOTSUPP before
     * kernel 6.7) it is not known.  May be NULL when nobody asks. */
    void (*on_peer)(void *owner, uint32_t sock, const uint8_t address[16], int error);
};

struct loop_options {
    uint32_t socks_max;    /* slots of the direct-descriptor table; RLIMIT_NOFILE bounds it */
    uint32_t links_max;    /* of them, for loop_connect only; 0: 64, at most half */
    uint32_t recv_buffers; /* count, power of two */
    uint32_t recv_buffer_size;
    uint32_t sq_entries;
    uint32_t cq_entries;
    bool is_client; /* nobody is listened to: links may be all but one */
    bool is_quiet;  /* another loop of the process has said what bounds the table */
};

/* A durable append: writes data[size] at `offset` of `file` (a disk handle),
 * continues short writes, then fdatasyncs, then calls on_done once, with 0 or a
 * positive errno.  After an error some of the bytes may be on the disk. */
struct write_op {
    int file;
    uint64_t offset;
    const uint8_t *data; /* kept by the caller until on_done */
    uint32_t size;
    bool is_synced;   /* false: skip the fdatasync ("written" durability) */
    uint32_t written; /* private */
    void (*on_done)(struct write_op *op, int error);
};

/* What the kernel lacks, as a sentence that says what to do, or NULL when this
 * machine can run a loop.  Call once, before anything else. */
const char *loop_probe(void);
/* The sentence for one refusal, into text[text_size]; NULL when there is none.
 *   error     errno of setting up a ring, 0 when it worked
 *   release   uname's, such as "6.1.0-18-amd64"
 *   disabled  kernel.io_uring_disabled, or -1 where the kernel has no such switch */
const char *loop_refusal(int error, const char *release, int disabled, char *text,
                         size_t text_size);

/* ERR_UNSUPPORTED or ERR_LIMIT_MEMORY, with the reason logged. */
must_use enum err loop_create(const struct loop_options *options, struct loop **loop);
/* Accepts NULL.  All sockets are closed; no loop_write_sync may be under way. */
void loop_destroy(struct loop *loop);
/* Makes the calling thread the loop's owner. */
void loop_start(struct loop *loop);

void loop_handle(struct loop *loop, enum sock_kind kind, const struct sock_handlers *handlers,
                 void *owner);

/* Accepts from a listening descriptor (core/net.h) as `kind`, one listener a kind.
 * Stops by itself near a full table and goes on when slots free up. */
void loop_listen_as(struct loop *loop, enum sock_kind kind, int listener);
static inline void loop_listen(struct loop *loop, int listener)
{
    loop_listen_as(loop, SOCK_CONN, listener);
}
/* No more accepts, from any listener; what the kernel accepted before is still handed over. */
void loop_listen_stop(struct loop *loop);
/* The same for good: the kernel refuses who comes from now on, and resets who came and
 * was not accepted.  The descriptors stay the caller's to close. */
void loop_listen_end(struct loop *loop);
/* Starts a connection; on_connect follows.  SOCK_NONE when no slot is free. */
must_use uint32_t loop_connect(struct loop *loop, enum sock_kind kind,
                               const struct sockaddr *address, uint32_t address_size);

/* Asks for the address of an accepted socket's peer, once; on_peer follows.  It comes
 * before the bytes of a receive that is armed later. */
void loop_ask_peer(struct loop *loop, uint32_t sock);

void loop_recv_arm(struct loop *loop, uint32_t sock);
/* Stops receiving.  Bytes that the kernel already gave to the ring may still
 * arrive; the owner keeps them.  Arm again at will. */
void loop_recv_disarm(struct loop *loop, uint32_t sock);

void loop_send_now(struct loop *loop, uint32_t sock, const void *data, uint32_t size);
void loop_send_wait(struct loop *loop, uint32_t sock, const void *data, uint32_t size);
/* Ends the socket both ways; a waiting send ends with an error callback first.
 * Then on_closed, in a later turn.  `is_abort`: reset instead of an orderly end. */
void loop_close(struct loop *loop, uint32_t sock, bool is_abort);
/* Ends our direction only, once what was queued has gone: the peer reads it to
 * the end.  on_end still follows. */
void loop_shutdown(struct loop *loop, uint32_t sock);

void loop_write_sync(struct loop *loop, struct write_op *op);

/* Wakes the loop if it sleeps in loop_enter.  Any thread. */
void loop_wake(struct loop *loop);

/* One system call: submits everything prepared and waits for a completion or
 * until `wake_ms` (absolute, clock_turn_ms; 0: do not wait). */
void loop_enter(struct loop *loop, uint64_t wake_ms);
/* Runs the callbacks of everything that completed; returns their count. */
uint32_t loop_run(struct loop *loop);

/* Slots that this loop has, after RLIMIT_NOFILE had its say. */
uint32_t loop_socks_max(const struct loop *loop);
/* Slots in use by any kind. */
uint32_t loop_socks(const struct loop *loop);

struct loop_counters {
    uint64_t enters, completions, sends, sends_blocked, recvs, recv_starved, accepts, accept_errors,
        overflows;
};
void loop_count(const struct loop *loop, struct loop_counters *counters);
