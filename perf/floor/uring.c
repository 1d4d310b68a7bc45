/*
 * floor over io_uring, used as the gateway uses it, written out bare: direct
 * descriptors, multishot accept and receive, one enter a turn, sends that say
 * nothing when they go whole, and a busy ring that waits for several events.
 */
#include <liburing.h>

#include "core/uring_compat.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "floor.h"

#define BUFFERS         1024
#define SQ_ENTRIES      1024
#define CQ_ENTRIES      32768
#define BUSY_EVENTS     16 /* a turn: from here on several are waited for */
#define BUSY_EVENTS_MAX 512
#define BUSY_WAIT_US    50

enum op { OP_NONE, OP_ACCEPT, OP_RECV, OP_SEND };

struct kernel {
    struct io_uring ring;
    struct io_uring_buf_ring *buffers;
    uint8_t *memory;
    uint32_t recent; /* events of recent turns, smoothed */
};

/* Submits everything and waits for `least` events, `wait_ns` long at most. */
static void enter(struct kernel *kernel, unsigned least, uint64_t wait_ns, unsigned least_us)
{
    struct io_uring_sq *sq = &kernel->ring.sq;
    unsigned tail = *sq->ktail;
    for (; sq->sqe_head != sq->sqe_tail; sq->sqe_head++, tail++)
        sq->array[tail & sq->ring_mask] = sq->sqe_head & sq->ring_mask;
    io_uring_smp_store_release(sq->ktail, tail);
    struct __kernel_timespec time = {(long long)(wait_ns / 1000000000u),
                                     (long long)(wait_ns % 1000000000u)};
    struct io_uring_getevents_arg arg = {.pad = least_us};
    if (least > 0 && wait_ns != UINT64_MAX) arg.ts = (uintptr_t)&time;
    unsigned flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
    if (kernel->ring.enter_ring_fd != kernel->ring.ring_fd) flags |= IORING_ENTER_REGISTERED_RING;
    syscall(__NR_io_uring_enter, kernel->ring.enter_ring_fd,
            tail - io_uring_smp_load_acquire(sq->khead), least, flags, &arg, sizeof arg);
}

static struct io_uring_sqe *entry(struct kernel *kernel)
{
    struct io_uring_sqe *sqe;
    while ((sqe = io_uring_get_sqe(&kernel->ring)) == NULL) enter(kernel, 0, 0, 0);
    return sqe;
}

static void tag(struct io_uring_sqe *sqe, enum op op, uint32_t socket)
{
    sqe->user_data = (uint64_t)op << 32 | socket;
}

static void arm_accept(struct kernel *kernel, int listener)
{
    struct io_uring_sqe *sqe = entry(kernel);
    io_uring_prep_multishot_accept_direct(sqe, listener, NULL, NULL, 0);
    tag(sqe, OP_ACCEPT, 0);
}

static void arm_recv(struct kernel *kernel, uint32_t socket)
{
    struct io_uring_sqe *sqe = entry(kernel);
    io_uring_prep_recv_multishot(sqe, (int)socket, NULL, 0, 0);
    sqe->flags |= IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
    tag(sqe, OP_RECV, socket);
}

void floor_send(struct floor *floor, uint32_t socket, const void *data, uint32_t size)
{
    struct io_uring_sqe *sqe = entry(floor->kernel);
    io_uring_prep_send(sqe, (int)socket, data, size, MSG_NOSIGNAL | MSG_WAITALL | MSG_DONTWAIT);
    sqe->flags |= IOSQE_FIXED_FILE | IOSQE_CQE_SKIP_SUCCESS;
    tag(sqe, OP_SEND, socket);
}

void floor_submit(struct floor *floor)
{
    enter(floor->kernel, 0, 0, 0);
}

void floor_close(struct floor *floor, uint32_t socket)
{
    if (!floor->peers[socket].is_open) return;
    floor_closed(floor, socket);
    struct io_uring_sqe *sqe = entry(floor->kernel);
    io_uring_prep_cancel64(sqe, (uint64_t)OP_RECV << 32 | socket, 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS | IOSQE_IO_HARDLINK;
    tag(sqe, OP_NONE, 0);
    sqe = entry(floor->kernel);
    io_uring_prep_close_direct(sqe, socket);
    tag(sqe, OP_NONE, 0);
}

static void give_buffer(struct kernel *kernel, uint32_t buffer)
{
    io_uring_buf_ring_add(kernel->buffers, kernel->memory + (size_t)buffer * READ_MAX, READ_MAX,
                          (unsigned short)buffer, BUFFERS - 1, 0);
    io_uring_buf_ring_advance(kernel->buffers, 1);
}

static void on_recv(struct floor *floor, uint32_t socket, const struct io_uring_cqe *cqe)
{
    struct kernel *kernel = floor->kernel;
    if (cqe->flags & IORING_CQE_F_BUFFER) {
        uint32_t buffer = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
        if (cqe->res > 0)
            floor_received(floor, socket, kernel->memory + (size_t)buffer * READ_MAX,
                           (uint32_t)cqe->res);
        give_buffer(kernel, buffer);
    }
    if (cqe->flags & IORING_CQE_F_MORE) return;
    if (floor->peers[socket].is_open && (cqe->res > 0 || cqe->res == -ENOBUFS))
        arm_recv(kernel, socket);
    else
        floor_close(floor, socket);
}

static void on_cqe(struct floor *floor, const struct io_uring_cqe *cqe)
{
    uint32_t socket = (uint32_t)cqe->user_data;
    switch ((enum op)(cqe->user_data >> 32)) {
    case OP_ACCEPT:
        if (!(cqe->flags & IORING_CQE_F_MORE)) arm_accept(floor->kernel, floor->listener);
        if (cqe->res < 0) break;
        floor_opened(floor, (uint32_t)cqe->res);
        arm_recv(floor->kernel, (uint32_t)cqe->res);
        break;
    case OP_RECV: on_recv(floor, socket, cqe); break;
    case OP_SEND: floor_close(floor, socket); break; /* it did not go whole */
    default: break;
    }
}

static void set_up(struct kernel *kernel)
{
    struct io_uring_params params = {.cq_entries = CQ_ENTRIES};
    params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                   IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE;
    int result = io_uring_queue_init_params(SQ_ENTRIES, &kernel->ring, &params);
    if (result < 0) floor_stop("io_uring", -result);
    io_uring_register_ring_fd(&kernel->ring);
    result = io_uring_register_files_sparse(&kernel->ring, SOCKETS_MAX);
    if (result < 0) floor_stop("file table", -result);
    size_t size = (size_t)BUFFERS * (READ_MAX + sizeof(struct io_uring_buf));
    kernel->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (kernel->memory == MAP_FAILED) floor_stop("mmap", errno);
    kernel->buffers =
        (struct io_uring_buf_ring *)(void *)(kernel->memory + (size_t)BUFFERS * READ_MAX);
    struct io_uring_buf_reg reg = {.ring_addr = (uintptr_t)kernel->buffers,
                                   .ring_entries = BUFFERS};
    if (syscall(__NR_io_uring_register, kernel->ring.ring_fd, IORING_REGISTER_PBUF_RING, &reg, 1) <
        0)
        floor_stop("buffers", errno);
    io_uring_buf_ring_init(kernel->buffers);
    for (uint32_t i = 0; i < BUFFERS; i++) give_buffer(kernel, i);
}

void floor_run(struct floor *floor)
{
    struct kernel *kernel = floor->kernel = calloc(1, sizeof *kernel);
    set_up(kernel);
    arm_accept(kernel, floor->listener);
    for (;;) {
        uint64_t wait_ns = floor_wait_ns(floor);
        bool is_busy = kernel->recent >= BUSY_EVENTS && wait_ns > BUSY_WAIT_US * 1000u;
        unsigned least = kernel->recent < BUSY_EVENTS_MAX ? kernel->recent : BUSY_EVENTS_MAX;
        enter(kernel, is_busy ? least : wait_ns > 0, wait_ns, is_busy ? BUSY_WAIT_US : 0);
        floor->room_used = 0;
        struct io_uring_cqe *cqe;
        unsigned head, count = 0;
        io_uring_for_each_cqe(&kernel->ring, head, cqe)
        {
            on_cqe(floor, cqe);
            count++;
        }
        io_uring_cq_advance(&kernel->ring, count);
        kernel->recent = (3 * kernel->recent + count + 2) / 4;
        floor_turn(floor);
    }
}
