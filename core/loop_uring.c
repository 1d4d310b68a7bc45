/*
 * loop_uring: the one file that knows liburing.
 *
 * The rules behind it, each learned by measurement:
 *   - SINGLE_ISSUER | DEFER_TASKRUN: completions appear only inside an enter
 *     with GETEVENTS; TASKRUN_FLAG tells when such an enter has work, so a turn
 *     that neither submits nor waits can skip it.
 *   - An enter runs max(20, events waited for) pieces of deferred work: a busy
 *     ring waits for as many events as recent turns brought, with a minimum
 *     wait so that few events do not wait for many (kernel 6.12).  Without that
 *     feature it waits for one.
 *   - NO_SQARRAY and 32-byte completions break liburing 2.3, and its helper for
 *     accepting into any free slot accepts into none: the index is set by hand.
 *   - The system call is made here rather than by liburing: 2.3 cannot pass a
 *     minimum wait.
 */
#include <liburing.h>

#include "core/uring_compat.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/check.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/ring.h"

#define SETUP_FLAGS                                                                                \
    (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |         \
     IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE | IORING_SETUP_R_DISABLED)

#define BUFFER_GROUP    0
/* From this many events a turn on, waiting for several at once pays. */
#define BUSY_EVENTS     16
#define BUSY_EVENTS_MAX 512
/* How long a busy ring gathers events.  Well below what a person or a TCP stack
 * notices; at 50 us the saved work is already most of what there is. */
#define BUSY_WAIT_US    50

struct events {
    struct ring_event *at;
    uint32_t count, room;
};

struct ring {
    struct io_uring uring;
    bool has_min_wait;
    bool is_started;
    uint32_t recent;     /* events of recent turns, smoothed */
    struct events ready; /* copied out of the completion queue */
    struct events taken; /* what ring_take handed out */
    struct io_uring_buf_ring *buffers;
    uint8_t *buffers_memory;
    uint32_t buffers_count, buffer_size;
    int buffers_given; /* not yet published */
    struct ring_counters counters;
};

static size_t buffers_ring_size(uint32_t count)
{
    return count * sizeof(struct io_uring_buf);
}

int ring_probe(void)
{
    struct io_uring uring;
    struct io_uring_params params = {.flags = SETUP_FLAGS, .cq_entries = 8};
    int result = io_uring_queue_init_params(4, &uring, &params);
    if (result < 0) return -result;
    io_uring_queue_exit(&uring);
    return 0;
}

/* ── life ──────────────────────────────────────────────────────────────── */

/* By system call: liburing 2.3 drops the flags argument and has no more to add. */
static int ring_create_buffers(struct ring *ring, uint32_t count, uint32_t size)
{
    check(count > 0 && (count & (count - 1)) == 0);
    check(count <= 32768);

    ring->buffers_count = count;
    ring->buffer_size = size;
    ring->buffers = mem_reserve(buffers_ring_size(count));
    ring->buffers_memory = mem_reserve((size_t)count * size);
    struct io_uring_buf_reg reg = {
        .ring_addr = (uintptr_t)ring->buffers, .ring_entries = count, .bgid = BUFFER_GROUP};
    if (syscall(__NR_io_uring_register, ring->uring.ring_fd, IORING_REGISTER_PBUF_RING, &reg, 1) <
        0)
        return -errno;
    io_uring_buf_ring_init(ring->buffers);
    for (uint32_t i = 0; i < count; i++) ring_buffer_give(ring, (uint16_t)i);
    ring_buffers_publish(ring);
    return 0;
}

/* Linux 6.18 counts a ring's own memory (364 KiB with 1,024 and 16,384 entries)
 * as locked memory of an unprivileged user; older kernels do not. */
static void ring_create_failed(const char *step, int result)
{
    const char *advice =
        result == -ENOMEM ? "raise LimitMEMLOCK (systemd) or 'ulimit -l' to 512 KiB a shard or more"
                          : "none";
    log_error("io_uring failed step=\"%s\" error=\"%s\" advice=\"%s\"", step, strerror(-result),
              advice);
}

enum err ring_create(const struct loop_options *options, uint32_t accepts_first, struct ring **out)
{
    check(options->cq_entries >= options->sq_entries);
    check(accepts_first < options->socks_max);

    struct ring *ring = mem_alloc(sizeof *ring);
    struct io_uring_params params = {.flags = SETUP_FLAGS, .cq_entries = options->cq_entries};
    const char *step = "setup";
    int result = io_uring_queue_init_params(options->sq_entries, &ring->uring, &params);
    if (result < 0) {
        ring_create_failed(step, result);
        mem_free(ring);
        return result == -ENOMEM ? ERR_LIMIT_MEMORY : ERR_UNSUPPORTED;
    }
    ring->has_min_wait = (params.features & URING_FEAT_MIN_TIMEOUT) != 0;

    step = "file table";
    result = io_uring_register_files_sparse(&ring->uring, options->socks_max);
    if (result == 0) {
        step = "range of accepted slots";
        result = io_uring_register_file_alloc_range(&ring->uring, accepts_first,
                                                    options->socks_max - accepts_first);
    }
    if (result == 0) {
        step = "receive buffers";
        result = ring_create_buffers(ring, options->recv_buffers, options->recv_buffer_size);
    }
    if (result < 0) {
        ring_create_failed(step, result);
        ring_destroy(ring);
        return result == -ENOMEM || result == -EMFILE ? ERR_LIMIT_MEMORY : ERR_UNSUPPORTED;
    }
    *out = ring;
    return ERR_OK;
}

void ring_destroy(struct ring *ring)
{
    io_uring_queue_exit(&ring->uring);
    if (ring->buffers != NULL) {
        mem_unreserve(ring->buffers_memory, (size_t)ring->buffers_count * ring->buffer_size);
        mem_unreserve(ring->buffers, buffers_ring_size(ring->buffers_count));
    }
    mem_free(ring->ready.at);
    mem_free(ring->taken.at);
    mem_free(ring);
}

void ring_start(struct ring *ring)
{
    check(!ring->is_started);
    /* By system call: Debian's liburing 2.3 declares the function but does not
     * export it. */
    long enabled =
        syscall(__NR_io_uring_register, ring->uring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    check(enabled == 0);
    /* A registered ring saves the kernel a descriptor lookup per enter, 10 %
     * of an empty one; where the table is full the plain descriptor serves. */
    int result = io_uring_register_ring_fd(&ring->uring);
    if (result != 1) log_debug("ring descriptor not registered result=%d", result);
    ring->is_started = true;
}

/* ── entering ──────────────────────────────────────────────────────────── */

/* Makes prepared entries visible to the kernel; returns how many it has not
 * taken yet. */
static unsigned ring_flush(struct ring *ring)
{
    struct io_uring_sq *sq = &ring->uring.sq;
    unsigned tail = *sq->ktail;
    for (; sq->sqe_head != sq->sqe_tail; sq->sqe_head++, tail++)
        sq->array[tail & sq->ring_mask] = sq->sqe_head & sq->ring_mask;
    io_uring_smp_store_release(sq->ktail, tail);
    return tail - io_uring_smp_load_acquire(sq->khead);
}

/* Copies out all that completed, so that the kernel has the whole completion
 * queue for what comes. */
static void ring_harvest(struct ring *ring)
{
    struct events *ready = &ring->ready;
    unsigned head, count = 0;
    struct io_uring_cqe *cqe;
    uint32_t more = io_uring_cq_ready(&ring->uring);
    if (more == 0) return;
    if (ready->count + more > ready->room) {
        ready->room = max_u32(2 * ready->room, ready->count + more);
        ready->at = mem_resize(ready->at, ready->room * sizeof *ready->at);
    }
    io_uring_for_each_cqe(&ring->uring, head, cqe)
    {
        ready->at[ready->count++] = (struct ring_event){
            .tag = cqe->user_data,
            .result = cqe->res,
            .buffer = (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT),
            .has_buffer = (cqe->flags & IORING_CQE_F_BUFFER) != 0,
            .has_more = (cqe->flags & IORING_CQE_F_MORE) != 0,
        };
        if (++count == more) break;
    }
    io_uring_cq_advance(&ring->uring, count);
}

static int ring_syscall(struct ring *ring, unsigned flags, unsigned events_min, uint64_t wait_ns,
                        unsigned wait_min_us)
{
    struct __kernel_timespec time = {(long long)(wait_ns / 1000000000u),
                                     (long long)(wait_ns % 1000000000u)};
    struct io_uring_getevents_arg arg = {.pad = wait_min_us};
    if (events_min > 0 && wait_ns != UINT64_MAX) arg.ts = (uintptr_t)&time;
    if (ring->uring.enter_ring_fd != ring->uring.ring_fd) flags |= IORING_ENTER_REGISTERED_RING;
    bool has_arg = (flags & IORING_ENTER_GETEVENTS) != 0;
    if (has_arg) flags |= IORING_ENTER_EXT_ARG;

    ring->counters.enters++;
    long result = syscall(__NR_io_uring_enter, ring->uring.enter_ring_fd, ring_flush(ring),
                          events_min, flags, has_arg ? &arg : NULL, has_arg ? sizeof arg : 0);
    return result < 0 ? -errno : (int)result;
}

/* Submits until the kernel has taken everything.  What it refuses for want of
 * room or memory is tried again after the completion queue was emptied: an
 * entry is never dropped. */
static void ring_submit(struct ring *ring, unsigned flags, unsigned events_min, uint64_t wait_ns,
                        unsigned wait_min_us)
{
    for (;;) {
        int result = ring_syscall(ring, flags, events_min, wait_ns, wait_min_us);
        switch (result < 0 ? -result : 0) {
        case 0:
        case ETIME:
        case EINTR: break;
        case EBUSY:
        case EAGAIN:
            flags |= IORING_ENTER_GETEVENTS; /* lets it post what it holds back */
            sched_yield();
            break;
        default:
            log_error("io_uring_enter failed error=\"%s\"", strerror(-result));
            impossible("enter knows no other error for a ring of our own");
        }
        if (io_uring_sq_ready(&ring->uring) == 0 && ring_flush(ring) == 0) return;
        ring_harvest(ring);
        events_min = 0;
    }
}

static bool ring_flag(const struct ring *ring, unsigned flag)
{
    return (IO_URING_READ_ONCE(*ring->uring.sq.kflags) & flag) != 0;
}

void ring_enter(struct ring *ring, uint64_t wait_ns)
{
    check(ring->is_started);
    unsigned events_min = wait_ns == 0 ? 0 : 1;
    unsigned wait_min_us = 0;
    if (events_min == 0 && ring_flush(ring) == 0 &&
        !ring_flag(ring, IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW))
        return;
    if (ring->has_min_wait && ring->recent >= BUSY_EVENTS && wait_ns > BUSY_WAIT_US * 1000u) {
        events_min = min_u32(ring->recent, BUSY_EVENTS_MAX);
        wait_min_us = BUSY_WAIT_US;
    }
    ring_submit(ring, IORING_ENTER_GETEVENTS, events_min, wait_ns, wait_min_us);

    /* The kernel keeps what found no room, but it ended the multishots that
     * wanted to post it; their last events say so and the loop arms them again. */
    while (ring_flag(ring, IORING_SQ_CQ_OVERFLOW)) {
        ring->counters.overflows++;
        ring_harvest(ring);
        ring_submit(ring, IORING_ENTER_GETEVENTS, 0, 0, 0);
    }
}

uint32_t ring_take(struct ring *ring, const struct ring_event **events)
{
    ring_harvest(ring);
    struct events taken = ring->ready;
    ring->ready = ring->taken;
    ring->ready.count = 0;
    ring->taken = taken;
    ring->recent = (3 * ring->recent + taken.count + 2) / 4;
    *events = taken.at;
    return taken.count;
}

void ring_post(struct ring *ring, uint64_t tag, int32_t result)
{
    struct events *ready = &ring->ready;
    if (ready->count == ready->room) {
        ready->room = max_u32(2 * ready->room, 16);
        ready->at = mem_resize(ready->at, ready->room * sizeof *ready->at);
    }
    ready->at[ready->count++] = (struct ring_event){.tag = tag, .result = result};
}

bool ring_has_events(const struct ring *ring)
{
    return ring->ready.count > 0 || io_uring_cq_ready(&ring->uring) > 0;
}

struct ring_counters ring_count(const struct ring *ring)
{
    return ring->counters;
}

/* ── buffers ───────────────────────────────────────────────────────────── */

uint8_t *ring_buffer(struct ring *ring, uint16_t buffer)
{
    check(buffer < ring->buffers_count);
    return ring->buffers_memory + (size_t)buffer * ring->buffer_size;
}

void ring_buffer_give(struct ring *ring, uint16_t buffer)
{
    io_uring_buf_ring_add(ring->buffers, ring_buffer(ring, buffer), ring->buffer_size, buffer,
                          io_uring_buf_ring_mask(ring->buffers_count), ring->buffers_given++);
}

void ring_buffers_publish(struct ring *ring)
{
    io_uring_buf_ring_advance(ring->buffers, ring->buffers_given);
    ring->buffers_given = 0;
}

/* ── operations ────────────────────────────────────────────────────────── */

/* Room for `count` entries that leave together, as links must. */
static struct io_uring_sqe *ring_entry(struct ring *ring, unsigned count)
{
    if (unlikely(io_uring_sq_space_left(&ring->uring) < count)) {
        ring_submit(ring, 0, 0, 0, 0);
        if (io_uring_cq_ready(&ring->uring) > ring->uring.cq.ring_entries / 2) ring_harvest(ring);
    }
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
    check(sqe != NULL);
    return sqe;
}

void ring_accept(struct ring *ring, int listener, bool is_multishot, uint64_t tag)
{
    struct io_uring_sqe *sqe = ring_entry(ring, 1);
    if (is_multishot)
        io_uring_prep_multishot_accept_direct(sqe, listener, NULL, NULL, 0);
    else
        io_uring_prep_accept_direct(sqe, listener, NULL, NULL, 0, IORING_FILE_INDEX_ALLOC);
    sqe->file_index = IORING_FILE_INDEX_ALLOC;
    sqe->user_data = tag;
}

void ring_recv(struct ring *ring, uint32_t slot, uint64_t tag)
{
    struct io_uring_sqe *sqe = ring_entry(ring, 1);
    io_uring_prep_recv_multishot(sqe, (int)slot, NULL, 0, 0);
    sqe->flags |= IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
    sqe->buf_group = BUFFER_GROUP;
    sqe->user_data = tag;
}

void ring_send(struct ring *ring, uint32_t slot, const void *data, uint32_t size, bool is_now,
               uint64_t tag)
{
    struct io_uring_sqe *sqe = ring_entry(ring, 1);
    /* WAITALL also when trying once: without it a short send counts as a
     * success and is silent. */
    int flags = MSG_NOSIGNAL | MSG_WAITALL | (is_now ? MSG_DONTWAIT : 0);
    io_uring_prep_send(sqe, (int)slot, data, size, flags);
    sqe->flags |= IOSQE_FIXED_FILE;
    if (is_now)
        sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    else
        sqe->ioprio |= IORING_RECVSEND_POLL_FIRST; /* it was full a moment ago */
    sqe->user_data = tag;
}

void ring_connect(struct ring *ring, uint32_t slot, const struct sockaddr *address,
                  uint32_t address_size, uint64_t tag)
{
    struct io_uring_sqe *sqe = ring_entry(ring, 1);
    io_uring_prep_connect(sqe, (int)slot, address, address_size);
    sqe->flags |= IOSQE_FIXED_FILE;
    sqe->user_data = tag;
}

void ring_cancel(struct ring *ring, uint64_t tag)
{
    struct io_uring_sqe *sqe = ring_entry(ring, 1);
    io_uring_prep_cancel64(sqe, tag, 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = ring_tag(RING_NOTHING, 0, 0);
}

void ring_shutdown(struct ring *ring, uint32_t slot, uint64_t tag)
{
    struct io_uring_sqe *sqe = ring_entry(ring, 1);
    io_uring_prep_shutdown(sqe, (int)slot, SHUT_WR);
    sqe->flags |= IOSQE_FIXED_FILE;
    sqe->user_data = tag;
}

/* An abort lingers for no time, which makes the close send a reset.  The option
 * is hard-linked: a kernel that cannot set it (before 6.7) closes in order. */
void ring_close(struct ring *ring, uint32_t slot, bool is_abort, uint64_t tag)
{
    static const struct linger no_linger = {.l_onoff = 1, .l_linger = 0};
    struct io_uring_sqe *sqe = ring_entry(ring, is_abort ? 2 : 1);
    if (is_abort) {
        io_uring_prep_rw(IORING_OP_URING_CMD, sqe, (int)slot, NULL, 0, URING_SOCKET_SETSOCKOPT);
        /* level in the lower half of addr, optname in the upper; size and
         * pointer of the value in file_index and addr3. */
        sqe->addr = (uint64_t)SO_LINGER << 32 | SOL_SOCKET;
        sqe->file_index = sizeof no_linger;
        sqe->addr3 = (uintptr_t)&no_linger;
        sqe->flags |= IOSQE_FIXED_FILE | IOSQE_IO_HARDLINK | IOSQE_CQE_SKIP_SUCCESS;
        sqe->user_data = ring_tag(RING_NOTHING, 0, 0);
        sqe = io_uring_get_sqe(&ring->uring);
        check(sqe != NULL);
    }
    io_uring_prep_close_direct(sqe, slot);
    sqe->user_data = tag;
}

void ring_peer(struct ring *ring, uint32_t slot, void *at, uint32_t size, uint64_t tag)
{
    struct io_uring_sqe *sqe = ring_entry(ring, 1);
    io_uring_prep_rw(IORING_OP_URING_CMD, sqe, (int)slot, NULL, 0, URING_SOCKET_GETSOCKOPT);
    /* As in ring_close. */
    sqe->addr = (uint64_t)SO_PEERNAME << 32 | SOL_SOCKET;
    sqe->file_index = size;
    sqe->addr3 = (uintptr_t)at;
    sqe->flags |= IOSQE_FIXED_FILE;
    sqe->user_data = tag;
}

void ring_poll(struct ring *ring, int fd, uint64_t tag)
{
    struct io_uring_sqe *sqe = ring_entry(ring, 1);
    io_uring_prep_poll_multishot(sqe, fd, POLLIN);
    sqe->user_data = tag;
}

/* A write that goes whole is silent, so that a shard is woken once for a commit; one
 * that does not says so itself, and its link is silent.  (One write with RWF_DSYNC
 * takes 5 us less, but what does not know that flag ignores it, and a file that cannot
 * be synced must be told.) */
void ring_write(struct ring *ring, const struct write_op *op, uint64_t tag, uint64_t tag_sync)
{
    check(op->written < op->size);
    struct io_uring_sqe *sqe = ring_entry(ring, op->is_synced ? 2 : 1);
    io_uring_prep_write(sqe, op->file, op->data + op->written, op->size - op->written,
                        op->offset + op->written);
    sqe->user_data = tag;
    if (!op->is_synced) return;
    sqe->flags |= IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
    sqe = io_uring_get_sqe(&ring->uring);
    check(sqe != NULL);
    io_uring_prep_fsync(sqe, op->file, IORING_FSYNC_DATASYNC);
    sqe->user_data = tag_sync;
}

int ring_place(struct ring *ring, uint32_t slot, int fd)
{
    int result = io_uring_register_files_update(&ring->uring, slot, &fd, 1);
    return result < 0 ? result : 0;
}
