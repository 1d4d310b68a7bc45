/*
 * loop, simulated.
 *
 * Like the kernel's: what a turn prepares takes effect at the next enter, in
 * order; what completes meanwhile becomes a completion, and callbacks run in
 * loop_run only.  loop_enter gives way to the other fibers.
 *
 * The contract is checked from below: one send at a time, bytes unchanged
 * until the enter that takes them (or until a waiting send is done), nothing
 * on a socket after its close.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/mem.h"
#include "fiber.h"
#include "loop_sim_parts.h"
#include "loop_sim_write.h"
#include "net_sim.h"
#include "world.h"

struct loops_sim loops_sim;

void loop_sim_init(const struct loop_sim_options *options)
{
    loops_sim.options = *options;
    loops_sim.count = 0;
    loops_sim.life++;
}

uint32_t loop_sim_sync_errors(bool no_more)
{
    if (no_more) loops_sim.options.sync_error_permille = 0;
    return loops_sim.sync_errors;
}

void loop_sim_kill(void)
{
    loops_sim.sync_errors = 0;
    loops_sim.count = 0;
    loops_sim.life++;
}

const char *loop_probe(void)
{
    return NULL;
}

enum err loop_create(const struct loop_options *options, struct loop **out)
{
    check(loops_sim.count < LOOPS_MAX);
    check((options->recv_buffers & (options->recv_buffers - 1)) == 0);
    struct loop *loop = mem_alloc(sizeof(*loop));
    loop->number = loops_sim.count;
    loop->options = *options;
    loop->socks = mem_reserve(options->socks_max * sizeof(*loop->socks));
    list_init(&loop->ready);
    loops_sim.loops[loops_sim.count++] = loop;
    *out = loop;
    return ERR_OK;
}

void loop_destroy(struct loop *loop)
{
    if (loop == NULL) return;
    for (uint32_t i = 0; i < loop->options.socks_max && loop->socks_used > 0; i++) {
        if (loop->socks[i].state == SOCK_FREE) continue;
        if (loop->socks[i].link != NULL && loop->socks[i].state != SOCK_CLOSING)
            net_drop(loop->socks[i].link, true);
        loop->socks_used--;
    }
    while (loop->backlog_count > 0) {
        net_drop(loop->backlog[loop->backlog_first++ % BACKLOG_MAX], true);
        loop->backlog_count--;
    }
    loops_sim.loops[loop->number] = NULL;
    mem_unreserve(loop->socks, loop->options.socks_max * sizeof(*loop->socks));
    mem_free(loop->ops);
    mem_free(loop->dones);
    mem_free(loop);
}

void loop_start(struct loop *loop)
{
    loop->fiber = fiber_self();
}

void loop_handle(struct loop *loop, enum sock_kind kind, const struct sock_handlers *handlers,
                 void *owner)
{
    loop->kinds[kind].handlers = *handlers;
    loop->kinds[kind].owner = owner;
}

struct sock_sim *sock_sim_at(struct loop *loop, uint32_t index)
{
    check(index < loop->options.socks_max);
    check(loop->socks[index].state != SOCK_FREE);
    return &loop->socks[index];
}

void loop_sim_rouse(struct loop *loop)
{
    if (loop->fiber != NULL) fiber_wake(loop->fiber);
}

void loop_sim_done(struct loop *loop, struct done_sim done)
{
    if (loop->dones_count == loop->dones_room) {
        loop->dones_room = loop->dones_room == 0 ? 64 : 2 * loop->dones_room;
        loop->dones = mem_resize(loop->dones, loop->dones_room * sizeof(*loop->dones));
    }
    loop->dones[loop->dones_count++] = done;
    loop_sim_rouse(loop);
}

void loop_sim_op(struct loop *loop, struct op_sim op)
{
    if (loop->ops_count == loop->ops_room) {
        loop->ops_room = loop->ops_room == 0 ? 64 : 2 * loop->ops_room;
        loop->ops = mem_resize(loop->ops, loop->ops_room * sizeof(*loop->ops));
    }
    loop->ops[loop->ops_count++] = op;
}

/* Accepting. */

void loop_listen_as(struct loop *loop, enum sock_kind kind, int listener)
{
    check(kind == SOCK_CONN);
    (void)listener;
    loop->is_listening = true;
}

void loop_listen_stop(struct loop *loop)
{
    loop->is_listening = false;
    /* What the kernel accepted before is still handed over. */
    loop->accepts_left = (uint32_t)chance_below(loop->backlog_count + 1);
}

void loop_listen_end(struct loop *loop)
{
    check(loop->is_listening);
    loop_listen_stop(loop);
}

uint32_t loop_sim_listening(void)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < loops_sim.count; i++)
        count += loops_sim.loops[i] != NULL && loops_sim.loops[i]->is_listening;
    return count;
}

bool loop_sim_knock(struct link *link)
{
    uint32_t listening = loop_sim_listening();
    if (listening == 0) return false;
    uint32_t pick = (uint32_t)chance_below(listening);
    for (uint32_t i = 0; i < loops_sim.count; i++) {
        struct loop *loop = loops_sim.loops[i];
        if (loop == NULL || !loop->is_listening || pick-- > 0) continue;
        if (loop->backlog_count == BACKLOG_MAX) return false;
        loop->backlog[(loop->backlog_first + loop->backlog_count++) % BACKLOG_MAX] = link;
        net_accepted(link, loop->number, SOCK_NONE);
        loop_sim_rouse(loop);
        return true;
    }
    return false;
}

static uint32_t sock_take(struct loop *loop)
{
    if (loop->socks_used == loop->options.socks_max) return SOCK_NONE;
    for (uint32_t i = loop->socks_full;; i++) {
        if (loop->socks[i].state != SOCK_FREE) continue;
        loop->socks_used++;
        loop->socks_full = i + 1;
        memset(&loop->socks[i], 0, sizeof(loop->socks[i]));
        return i;
    }
}

static bool loop_may_accept(const struct loop *loop)
{
    return (loop->is_listening || loop->accepts_left > 0) && loop->backlog_count > 0 &&
           loop->socks_used < loop->options.socks_max;
}

static uint32_t run_accepts(struct loop *loop)
{
    uint32_t count = 0;
    while (loop_may_accept(loop) && (count == 0 || chance(80))) {
        uint32_t index = sock_take(loop);
        if (loop->accepts_left > 0) loop->accepts_left--;
        struct sock_sim *sock = &loop->socks[index];
        sock->state = SOCK_OPEN;
        sock->kind = SOCK_CONN;
        sock->link = loop->backlog[loop->backlog_first++ % BACKLOG_MAX];
        loop->backlog_count--;
        net_accepted(sock->link, loop->number, index);
        loop->counters.accepts++;
        world_note(TRACE_ACCEPT, loop->number, index, net_number(sock->link));
        loop->kinds[SOCK_CONN].handlers.on_accept(loop->kinds[SOCK_CONN].owner, index);
        count++;
    }
    return count;
}

uint32_t loop_connect(struct loop *loop, enum sock_kind kind, const struct sockaddr *address,
                      uint32_t address_size)
{
    (void)address;
    (void)address_size;
    uint32_t index = sock_take(loop);
    if (index == SOCK_NONE) return SOCK_NONE;
    loop->socks[index].state = SOCK_CONNECTING;
    loop->socks[index].kind = kind;
    loop_sim_done(loop,
                  (struct done_sim){.kind = DONE_CONNECT, .sock = index, .error = ECONNREFUSED});
    return index;
}

/* Receiving. */

static void sock_ready(struct loop *loop, struct sock_sim *sock)
{
    if (sock->state != SOCK_OPEN || !(sock->is_armed || sock->may_leak)) return;
    if (!list_is_linked(&sock->ready)) list_append(&loop->ready, &sock->ready);
    loop_sim_rouse(loop);
}

void loop_sim_arrived(uint32_t number, uint32_t index)
{
    struct loop *loop = loops_sim.loops[number];
    struct sock_sim *sock = sock_sim_at(loop, index);
    sock_ready(loop, sock);
}

void loop_ask_peer(struct loop *loop, uint32_t index)
{
    (void)loop;
    (void)index;
    impossible("only TLS asks, and it is not simulated");
}

void loop_recv_arm(struct loop *loop, uint32_t index)
{
    struct sock_sim *sock = sock_sim_at(loop, index);
    check(sock->state == SOCK_OPEN && !sock->is_close_asked);
    sock->is_armed = true;
    sock->may_leak = false;
    if (sock->link != NULL) sock_ready(loop, sock);
}

void loop_recv_disarm(struct loop *loop, uint32_t index)
{
    struct sock_sim *sock = sock_sim_at(loop, index);
    if (!sock->is_armed) return;
    sock->is_armed = false;
    sock->may_leak = sock->link != NULL && net_end_of(sock->link).bytes > 0 && chance(30);
}

static bool run_recv(struct loop *loop, uint32_t index)
{
    struct sock_sim *sock = &loop->socks[index];
    struct net_end end = net_end_of(sock->link);
    const struct sock_handlers *handlers = &loop->kinds[sock->kind].handlers;
    void *owner = loop->kinds[sock->kind].owner;
    if (end.bytes > 0) {
        uint32_t size = min_u32(end.bytes, loop->options.recv_buffer_size);
        if (chance(net_options()->split_percent)) size = 1 + (uint32_t)chance_below(size);
        /* A block of exactly this size, so that ASan sees a step past it. */
        uint8_t *data = malloc(size);
        check(data != NULL);
        net_take(sock->link, data, size);
        sock->may_leak = false;
        loop->counters.recvs++;
        world_note(TRACE_RECV, loop->number, index, size);
        handlers->on_recv(owner, index, data, size);
        free(data);
        return true;
    }
    if (!sock->is_armed || sock->is_end_told || !(end.is_fin || end.is_reset)) return false;
    sock->is_end_told = true;
    sock->is_armed = false;
    world_note(TRACE_END, loop->number, index, end.is_reset ? ECONNRESET : 0);
    handlers->on_end(owner, index, end.is_reset ? ECONNRESET : 0);
    return true;
}

static uint32_t run_recvs(struct loop *loop)
{
    struct list now;
    uint32_t count = 0;
    list_init(&now);
    struct list *node;
    while ((node = list_take(&loop->ready)) != NULL) list_append(&now, node);
    while ((node = list_take(&now)) != NULL) {
        struct sock_sim *sock = container_of(node, struct sock_sim, ready);
        uint32_t index = (uint32_t)(sock - loop->socks);
        /* Some wait for another turn: the order of arrivals is no promise. */
        bool later = chance(10);
        while (!later && sock->state == SOCK_OPEN && (sock->is_armed || sock->may_leak) &&
               run_recv(loop, index)) {
            count++;
            later = chance(30);
        }
        if (later) sock_ready(loop, sock);
    }
    return count;
}
/* Files. */

void loop_write_sync(struct loop *loop, struct write_op *op)
{
    check(op->size > 0);
    loop_sim_op(loop, (struct op_sim){.kind = OP_WRITE, .write = op});
}

uint64_t loop_sim_life(void)
{
    return loops_sim.life;
}

void loop_sim_written(struct loop *loop, struct write_op *op, int error)
{
    loops_sim.sync_errors += error != 0;
    loop_sim_done(loop, (struct done_sim){.kind = DONE_WRITE, .error = error, .write = op});
}

/* Waiting and running. */

void loop_wake(struct loop *loop)
{
    loop->is_woken = true;
    loop_sim_rouse(loop);
}

void loop_enter(struct loop *loop, uint64_t wake_ms)
{
    check(!loop->is_in_run);
    if (loop->fiber == NULL) loop->fiber = fiber_self();
    check(loop->fiber == fiber_self());
    loop->counters.enters++;
    world_note(TRACE_TURN, fiber_number(loop->fiber), loop->number, wake_ms);
    for (uint32_t i = 0; i < loop->ops_count; i++) loop_sim_enter_op(loop, &loop->ops[i]);
    loop->ops_count = 0;
    bool is_busy = loop->is_woken || loop->dones_count > 0 || !list_is_empty(&loop->ready) ||
                   loop_may_accept(loop);
    uint64_t wake_ns = is_busy                           ? 0
                       : wake_ms > UINT64_MAX / 1000000u ? UINT64_MAX
                                                         : wake_ms * 1000000u;
    fiber_wait(wake_ns);
    loop->is_woken = false;
}

static void run_done(struct loop *loop, const struct done_sim *done)
{
    struct sock_sim *sock = done->kind == DONE_WRITE ? NULL : &loop->socks[done->sock];
    const struct sock_handlers *handlers = sock == NULL ? NULL : &loop->kinds[sock->kind].handlers;
    void *owner = sock == NULL ? NULL : loop->kinds[sock->kind].owner;
    switch (done->kind) {
    case DONE_SEND:
        sock->send = SEND_IDLE;
        /* Of a socket that is closing only a waiting send is answered. */
        if (sock->is_close_asked && !done->is_wait) break;
        handlers->on_send(owner, done->sock, done->sent,
                          sock->is_close_asked ? ECANCELED : done->error);
        break;
    case DONE_CLOSED:
        world_note(TRACE_CLOSED, loop->number, done->sock, sock->is_abort);
        sock->state = SOCK_FREE;
        loop->socks_used--;
        loop->socks_full = min_u32(loop->socks_full, done->sock);
        handlers->on_closed(owner, done->sock);
        break;
    case DONE_CONNECT:
        if (sock->state == SOCK_CONNECTING) handlers->on_connect(owner, done->sock, done->error);
        break;
    case DONE_WRITE:
        world_note(TRACE_WRITTEN, loop->number, (uint64_t)done->error, 0);
        done->write->on_done(done->write, done->error);
        break;
    default: impossible("a completion of no kind");
    }
}

uint32_t loop_run(struct loop *loop)
{
    check(!loop->is_in_run);
    loop->is_in_run = true;
    /* Callbacks may add completions of their own: those run next time. */
    struct done_sim *dones = loop->dones;
    uint32_t count = loop->dones_count;
    loop->dones = NULL;
    loop->dones_count = loop->dones_room = 0;
    for (uint32_t i = 0; i < count; i++) run_done(loop, &dones[i]);
    mem_free(dones);
    count += run_accepts(loop);
    count += run_recvs(loop);
    loop->counters.completions += count;
    loop->is_in_run = false;
    return count;
}

uint32_t loop_socks_max(const struct loop *loop)
{
    return loop->options.socks_max;
}
uint32_t loop_socks(const struct loop *loop)
{
    return loop->socks_used;
}
void loop_count(const struct loop *loop, struct loop_counters *counters)
{
    *counters = loop->counters;
}
