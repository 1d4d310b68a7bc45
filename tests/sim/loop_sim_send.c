/*
 * loop_sim_send: sends and ends of simulated sockets.
 *
 * What a turn prepares takes effect at its enter, in order: a send before a
 * close leaves, one that finds no room is reported by the next loop_run.
 */
#include <errno.h>

#include "core/check.h"
#include "core/hash.h"
#include "loop_sim_parts.h"
#include "loop_sim_write.h"
#include "net_sim.h"
#include "world.h"

void loop_send_now(struct loop *loop, uint32_t index, const void *data, uint32_t size)
{
    struct sock_sim *sock = sock_sim_at(loop, index);
    check(sock->state == SOCK_OPEN && !sock->is_close_asked);
    check(sock->send == SEND_IDLE);
    check(size > 0);
    sock->send = SEND_QUEUED;
    struct bytes bytes = bytes_of(data, size);
    loop_sim_op(loop, (struct op_sim){OP_SEND, index, bytes, hash_bytes(bytes, 1), NULL});
}

void loop_send_wait(struct loop *loop, uint32_t index, const void *data, uint32_t size)
{
    struct sock_sim *sock = sock_sim_at(loop, index);
    check(sock->state == SOCK_OPEN && !sock->is_close_asked);
    check(sock->send == SEND_IDLE);
    check(size > 0);
    sock->send = SEND_QUEUED;
    struct bytes bytes = bytes_of(data, size);
    loop_sim_op(loop, (struct op_sim){OP_WAIT, index, bytes, hash_bytes(bytes, 1), NULL});
}

static void enter_send(struct loop *loop, const struct op_sim *op)
{
    struct sock_sim *sock = &loop->socks[op->sock];
    if (sock->state != SOCK_OPEN) return;
    if (hash_bytes(op->data, 1) != op->hash)
        world_fail("bytes of a send stay valid until the enter", "loop %u sock %u", loop->number,
                   op->sock);
    uint32_t size = (uint32_t)op->data.size;
    loop->counters.sends++;
    bool is_dead = sock->link == NULL || net_is_shut(sock->link) || net_end_of(sock->link).is_reset;
    uint32_t sent = is_dead ? 0 : net_give(sock->link, op->data.at, size, true);
    world_note(sent == size ? TRACE_SEND : TRACE_SEND_SHORT, loop->number, op->sock, sent);
    sock->send = SEND_IDLE;
    if (sent == size) return;
    sock->send = SEND_REPORTING;
    loop->counters.sends_blocked++;
    loop_sim_done(loop, (struct done_sim){.kind = DONE_SEND,
                                          .sock = op->sock,
                                          .sent = sent,
                                          .error = is_dead ? EPIPE : EAGAIN});
}

static void wait_go_on(struct loop *loop, uint32_t index)
{
    struct sock_sim *sock = &loop->socks[index];
    uint32_t size = (uint32_t)sock->data.size;
    if (hash_bytes(sock->data, 1) != sock->hash)
        world_fail("bytes of a waiting send stay valid until its answer", "loop %u sock %u",
                   loop->number, index);
    int error = 0;
    if (sock->link == NULL || net_end_of(sock->link).is_reset || net_is_shut(sock->link))
        error = EPIPE;
    else
        sock->sent += net_give(sock->link, sock->data.at + sock->sent, size - sock->sent, false);
    if (error == 0 && sock->sent < size) return;
    world_note(TRACE_SEND, loop->number, index, sock->sent);
    sock->send = SEND_REPORTING;
    if (sock->is_shutdown && error == 0) net_give_fin(sock->link);
    loop_sim_done(
        loop,
        (struct done_sim){
            .kind = DONE_SEND, .is_wait = true, .sock = index, .sent = sock->sent, .error = error});
}

void loop_sim_room(uint32_t number, uint32_t index)
{
    if (index == SOCK_NONE) return;
    struct loop *loop = loops_sim.loops[number];
    if (loop != NULL && loop->socks[index].state == SOCK_OPEN &&
        loop->socks[index].send == SEND_WAITING)
        wait_go_on(loop, index);
}

void loop_close(struct loop *loop, uint32_t index, bool is_abort)
{
    struct sock_sim *sock = sock_sim_at(loop, index);
    check(sock->state != SOCK_CLOSING && !sock->is_close_asked);
    sock->is_close_asked = true;
    sock->is_abort = is_abort;
    sock->is_armed = sock->may_leak = false;
    list_remove(&sock->ready);
    loop_sim_op(loop, (struct op_sim){.kind = OP_CLOSE, .sock = index});
    /* What is queued before it still leaves: the state changes at the enter. */
}

void loop_shutdown(struct loop *loop, uint32_t index)
{
    struct sock_sim *sock = sock_sim_at(loop, index);
    check(sock->state == SOCK_OPEN && !sock->is_close_asked);
    loop_sim_op(loop, (struct op_sim){.kind = OP_SHUTDOWN, .sock = index});
}

bool loop_sim_is_alive(const struct loop *loop, uint64_t life)
{
    if (life != loops_sim.life) return false;
    for (uint32_t i = 0; i < loops_sim.count; i++)
        if (loops_sim.loops[i] == loop) return true;
    return false;
}

static void close_done(void *context, uint64_t number)
{
    struct loop *loop = context;
    if (!loop_sim_is_alive(loop, number >> 32)) return;
    loop_sim_done(loop, (struct done_sim){.kind = DONE_CLOSED, .sock = (uint32_t)number});
}

static void enter_close(struct loop *loop, uint32_t index)
{
    struct sock_sim *sock = &loop->socks[index];
    check(sock->state == SOCK_OPEN || sock->state == SOCK_CONNECTING);
    if (sock->send == SEND_WAITING)
        loop_sim_done(loop, (struct done_sim){.kind = DONE_SEND,
                                              .is_wait = true,
                                              .sock = index,
                                              .sent = sock->sent,
                                              .error = ECANCELED});
    sock->send = SEND_IDLE;
    sock->state = SOCK_CLOSING;
    if (sock->link != NULL)
        net_drop(sock->link, sock->is_abort || net_end_of(sock->link).bytes > 0);
    sock->link = NULL;
    uint64_t delay = chance(50) ? 0 : chance_below(loops_sim.options.closed_ns_max + 1);
    world_at(world.now_ns + delay, close_done, loop, loops_sim.life << 32 | index);
}

void loop_sim_enter_op(struct loop *loop, const struct op_sim *op)
{
    struct sock_sim *sock = op->kind == OP_WRITE ? NULL : &loop->socks[op->sock];
    switch (op->kind) {
    case OP_SEND: enter_send(loop, op); break;
    case OP_WAIT:
        if (sock->state != SOCK_OPEN) break;
        sock->send = SEND_WAITING;
        sock->data = op->data;
        sock->hash = op->hash;
        sock->sent = 0;
        wait_go_on(loop, op->sock);
        break;
    case OP_CLOSE: enter_close(loop, op->sock); break;
    case OP_SHUTDOWN:
        sock->is_shutdown = true;
        if (sock->send != SEND_WAITING && sock->link != NULL) net_give_fin(sock->link);
        break;
    case OP_WRITE:
        write_sim_start(loop, loop->number, op->write, loops_sim.options.sync_error_permille);
        break;
    default: impossible("an op of no kind");
    }
}
