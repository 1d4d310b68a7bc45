/*
 * loop_os: a loop's life, its turns, and durable writes.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/loop_os.h"
#include "core/mem.h"

#define LINKS_DEFAULT 64

static size_t socks_size(uint32_t n)
{
    return n * sizeof(struct sock);
}
static size_t waits_size(uint32_t n)
{
    return n * sizeof(struct send_wait);
}
static size_t peers_size(uint32_t n)
{
    return n * sizeof(struct peer_name);
}
static size_t starved_size(uint32_t n)
{
    return (n + 63) / 64 * sizeof(uint64_t);
}

/* ── life ──────────────────────────────────────────────────────────────── */

/* Rings may count as locked memory; what the hard limit gives is ours to take. */
static void loop_unlock_memory(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_MEMLOCK, &limit);
}

/* A ring's table may have as many slots as the process may have descriptors. */
static uint32_t loop_bound(uint32_t socks_max, bool is_quiet)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return socks_max;
    if (limit.rlim_cur < socks_max && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0 && getrlimit(RLIMIT_NOFILE, &limit) != 0)
            return socks_max;
    }
    if (limit.rlim_cur >= socks_max) return socks_max;
    if (!is_quiet)
        log_warn("sockets per shard bounded by the descriptor limit wanted=%u limit=%llu "
                 "advice=\"raise LimitNOFILE, run more shards, or lower shards.connections_max\"",
                 socks_max, (unsigned long long)limit.rlim_cur);
    return (uint32_t)limit.rlim_cur;
}

enum err loop_create(const struct loop_options *options, struct loop **out)
{
    check(options->socks_max >= 2);
    struct loop_options bounded = *options;
    bounded.socks_max = loop_bound(options->socks_max, options->is_quiet);
    uint32_t links = options->links_max != 0 ? options->links_max : LINKS_DEFAULT;
    uint32_t links_most = options->is_client ? bounded.socks_max - 1 : bounded.socks_max / 2;
    links = min_u32(links, links_most);

    struct ring *ring;
    loop_unlock_memory();
    TRY(ring_create(&bounded, links, &ring));
    int bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (bell < 0) {
        log_error("eventfd failed error=\"%s\"", strerror(errno));
        ring_destroy(ring);
        return ERR_LIMIT_MEMORY;
    }
    struct loop *loop = mem_alloc(sizeof *loop);
    loop->ring = ring;
    loop->bell = bell;
    for (uint32_t i = 0; i < SOCK_ACCEPTED_COUNT; i++) loop->acceptors[i].listener = -1;
    loop->socks_max = bounded.socks_max;
    loop->links_max = links;
    loop->starved_batch = max_u32(options->recv_buffers / 2, 1);
    loop->socks = mem_reserve(socks_size(loop->socks_max));
    loop->waits = mem_reserve(waits_size(loop->socks_max));
    loop->peers = mem_reserve(peers_size(loop->socks_max));
    loop->starved = mem_reserve(starved_size(loop->socks_max));
    loop->addresses = mem_alloc(links * sizeof *loop->addresses);
    *out = loop;
    return ERR_OK;
}

void loop_destroy(struct loop *loop)
{
    if (loop == NULL) return;
    check(loop->writes == 0);
    ring_destroy(loop->ring);
    close(loop->bell);
    mem_unreserve(loop->socks, socks_size(loop->socks_max));
    mem_unreserve(loop->waits, waits_size(loop->socks_max));
    mem_unreserve(loop->peers, peers_size(loop->socks_max));
    mem_unreserve(loop->starved, starved_size(loop->socks_max));
    mem_free(loop->addresses);
    mem_free(loop);
}

void loop_start(struct loop *loop)
{
    ring_start(loop->ring);
    ring_poll(loop->ring, loop->bell, ring_tag(RING_BELL, 0, 0));
}

void loop_handle(struct loop *loop, enum sock_kind kind, const struct sock_handlers *handlers,
                 void *owner)
{
    check(kind < SOCK_KIND_COUNT);
    check(handlers->on_recv != NULL && handlers->on_end != NULL);
    check(handlers->on_send != NULL && handlers->on_closed != NULL);
    loop->handlers[kind] = *handlers;
    loop->owners[kind] = owner;
}

/* ── durable writes ────────────────────────────────────────────────────── */

static void write_submit(struct loop *loop, struct write_op *op)
{
    ring_write(loop->ring, op, ring_tag_pointer(RING_WRITE, op), ring_tag_pointer(RING_SYNC, op));
}

void loop_write_sync(struct loop *loop, struct write_op *op)
{
    check(op->size > 0);
    check(op->on_done != NULL);
    op->written = 0;
    loop->writes++;
    write_submit(loop, op);
}

/* The sync's event: all of it is on the disk, or the sync failed, which is final: the
 * pages that it could not write count as clean now. */
static int sync_note(struct write_op *op, int result)
{
    op->written = op->size;
    return result < 0 ? -result : 0;
}

/* The write's event: how far it went; a sync behind it did not run. */
static int write_note(struct write_op *op, int result)
{
    if (result > 0) {
        op->written += (uint32_t)result;
        check(op->written <= op->size);
        return 0;
    }
    if (result == -EINTR || result == -EAGAIN) return 0;
    return result == 0 || result == -ECANCELED ? EIO : -result;
}

/* What a short write left is written, and synced, next, and nothing is acknowledged
 * before. */
static void on_write_event(struct loop *loop, const struct ring_event *event)
{
    struct write_op *op = ring_tag_to_pointer(event->tag);
    bool is_sync = ring_tag_op(event->tag) == RING_SYNC;
    int error = is_sync ? sync_note(op, event->result) : write_note(op, event->result);
    if (error == 0 && op->written < op->size) {
        write_submit(loop, op);
        return;
    }
    /* Whole, and yet the sync did not run: it would not count as durable. */
    if (error == 0 && op->is_synced && !is_sync) error = EIO;
    check(loop->writes > 0);
    loop->writes--;
    op->on_done(op, error);
}

/* ── the turn ──────────────────────────────────────────────────────────── */

static void on_bell_event(struct loop *loop, const struct ring_event *event)
{
    uint64_t rings;
    ssize_t got = read(loop->bell, &rings, sizeof rings);
    check(got == (ssize_t)sizeof rings || errno == EAGAIN);
    if (!event->has_more) ring_poll(loop->ring, loop->bell, ring_tag(RING_BELL, 0, 0));
}

void loop_wake(struct loop *loop)
{
    uint64_t one = 1;
    ssize_t put = write(loop->bell, &one, sizeof one);
    check(put == (ssize_t)sizeof one || errno == EAGAIN); /* full: it rings already */
}

void loop_enter(struct loop *loop, uint64_t wake_ms)
{
    uint64_t wait_ns = 0;
    if (wake_ms != 0 || loop_accept_is_paused(loop)) {
        uint64_t now_ns = clock_mono_ns();
        wake_ms = loop_accept_pause(loop, wake_ms, now_ns / 1000000u);
        if (wake_ms > UINT64_MAX / 1000000u)
            wait_ns = UINT64_MAX;
        else if (wake_ms * 1000000u > now_ns)
            wait_ns = wake_ms * 1000000u - now_ns;
    }
    bool has_work = ring_has_events(loop->ring) || loop->starved_count > 0;
    ring_enter(loop->ring, has_work ? 0 : wait_ns);
}

uint32_t loop_run(struct loop *loop)
{
    const struct ring_event *events;
    uint32_t count = ring_take(loop->ring, &events);
    for (uint32_t i = 0; i < count; i++) {
        const struct ring_event *event = &events[i];
        switch (ring_tag_op(event->tag)) {
        case RING_NOTHING: break;
        case RING_ACCEPT: on_accept_event(loop, event); break;
        case RING_BELL: on_bell_event(loop, event); break;
        case RING_WRITE:
        case RING_SYNC: on_write_event(loop, event); break;
        default: on_sock_event(loop, event); break;
        }
        if (event->has_buffer) ring_buffer_give(loop->ring, event->buffer);
    }
    ring_buffers_publish(loop->ring);
    if (loop->starved_count > 0) loop_feed(loop);
    loop_accept(loop);
    loop->counters.completions += count;
    return count;
}

/* ── looking ───────────────────────────────────────────────────────────── */

uint32_t loop_socks_max(const struct loop *loop)
{
    return loop->socks_max;
}
uint32_t loop_socks(const struct loop *loop)
{
    return loop->socks_used;
}

void loop_count(const struct loop *loop, struct loop_counters *counters)
{
    *counters = loop->counters;
    struct ring_counters ring = ring_count(loop->ring);
    counters->enters = ring.enters;
    counters->overflows = ring.overflows;
}
