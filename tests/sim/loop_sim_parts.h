/*
 * loop_sim_parts: what the files of the simulated loop share.
 *
 * Thread:  one.
 */
#pragma once

#include "core/bytes.h"
#include "core/list.h"
#include "loop_sim.h"

#define LOOPS_MAX   64
#define BACKLOG_MAX 4096

enum sock_state { SOCK_FREE, SOCK_CONNECTING, SOCK_OPEN, SOCK_CLOSING };
enum send_state { SEND_IDLE, SEND_QUEUED, SEND_REPORTING, SEND_WAITING };

struct sock_sim {
    enum sock_state state;
    enum send_state send;
    enum sock_kind kind;
    bool is_armed, is_end_told, is_shutdown, is_abort;
    bool is_close_asked; /* loop_close was called; it takes effect at the enter */
    bool may_leak;       /* disarmed with bytes on their way: one more on_recv may come */
    struct link *link;   /* NULL for our own connections, which nobody answers */
    struct list ready;   /* linked while there may be something to receive */
    struct bytes data;   /* of the waiting send */
    uint32_t sent;
    uint64_t hash;
};

enum op_kind { OP_SEND, OP_WAIT, OP_CLOSE, OP_SHUTDOWN, OP_WRITE };

struct op_sim {
    enum op_kind kind;
    uint32_t sock;
    struct bytes data;
    uint64_t hash;
    struct write_op *write;
};

enum done_kind { DONE_SEND, DONE_CLOSED, DONE_CONNECT, DONE_WRITE };

struct done_sim {
    enum done_kind kind;
    bool is_wait; /* DONE_SEND: of a loop_send_wait */
    uint32_t sock;
    uint32_t sent;
    int error;
    struct write_op *write;
};

struct loop {
    uint32_t number;
    struct loop_options options;
    struct fiber *fiber; /* of the owner, once it has entered */
    struct {
        struct sock_handlers handlers;
        void *owner;
    } kinds[SOCK_KIND_COUNT];
    struct sock_sim *socks;
    uint32_t socks_used;
    uint32_t socks_full; /* none below it is free */
    uint8_t *buffer;     /* one receive buffer */
    struct op_sim *ops;
    uint32_t ops_count, ops_room;
    struct done_sim *dones;
    uint32_t dones_count, dones_room;
    struct list ready;
    struct link *backlog[BACKLOG_MAX];
    uint32_t backlog_first, backlog_count;
    uint32_t accepts_left; /* once it listens no more */
    bool is_listening, is_woken, is_in_run;
    struct loop_counters counters;
};

struct loops_sim {
    struct loop *loops[LOOPS_MAX];
    uint32_t count;
    struct loop_sim_options options;
    uint64_t life;
    uint32_t sync_errors; /* of this life */
};

extern struct loops_sim loops_sim;

struct sock_sim *sock_sim_at(struct loop *loop, uint32_t index);
/* Makes the owner's fiber ready. */
void loop_sim_rouse(struct loop *loop);
/* A completion, told by the next loop_run. */
void loop_sim_done(struct loop *loop, struct done_sim done);
/* Prepared by the owner, takes effect at the next enter. */
void loop_sim_op(struct loop *loop, struct op_sim op);
/* loop_sim_send.c: what an enter does with one of them. */
void loop_sim_enter_op(struct loop *loop, const struct op_sim *op);
