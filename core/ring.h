/*
 * ring: io_uring as the loop sees it: prepared operations in, events out.
 *
 * A thin layer with no policy about sockets: each function prepares one or two
 * submission entries, ring_enter makes the one system call of a turn, and
 * ring_take hands out what completed.  An entry that finds the submission
 * queue full submits what is there; completions that such early submissions
 * leave behind are copied out, so the completion queue cannot fill in a turn.
 *
 * An event carries the tag of its operation.  A tag is the operation's sort in
 * the top byte and either {generation, slot} or a pointer below it.
 *
 * Thread:  created anywhere; all else on the thread that called ring_start.
 * Source:  loop_uring.c; only loop_os.c uses it
 * Tests:   tests/unit/core/test_loop.c
 */
#pragma once

#include "core/loop.h"

enum ring_op {
    RING_NOTHING, /* an event that nobody waits for */
    RING_ACCEPT,
    RING_BELL,
    RING_CONNECT,
    RING_RECV,
    RING_SEND_NOW,
    RING_SEND_WAIT,
    RING_SHUTDOWN,
    RING_PEER,
    RING_CLOSE,
    RING_WRITE,
    RING_SYNC,
};

#define RING_GENERATION_MASK 0xffffffu

static inline uint64_t ring_tag(enum ring_op op, uint32_t generation, uint32_t slot)
{
    return (uint64_t)op << 56 | (uint64_t)(generation & RING_GENERATION_MASK) << 32 | slot;
}
/* User space lies below 2^56 on every 64-bit Linux, five-level paging included. */
static inline uint64_t ring_tag_pointer(enum ring_op op, void *pointer)
{
    return (uint64_t)op << 56 | (uint64_t)(uintptr_t)pointer;
}
static inline enum ring_op ring_tag_op(uint64_t tag)
{
    return (enum ring_op)(tag >> 56);
}
static inline uint32_t ring_tag_slot(uint64_t tag)
{
    return (uint32_t)tag;
}
static inline uint32_t ring_tag_generation(uint64_t tag)
{
    return (uint32_t)(tag >> 32) & RING_GENERATION_MASK;
}
static inline void *ring_tag_to_pointer(uint64_t tag)
{
    return (void *)(uintptr_t)(tag & ((UINT64_C(1) << 56) - 1));
}

struct ring_event {
    uint64_t tag;
    int32_t result; /* >= 0, or -errno */
    uint16_t buffer;
    bool has_buffer; /* `buffer` holds the bytes; give it back with ring_buffer_give */
    bool has_more;   /* the multishot behind it is still armed */
};

struct ring;

/* 0 or a positive errno: can this process set up a ring as ours? */
must_use int ring_probe(void);
/* `accepts_first`: slots from here on are handed out by accepts; below, by
 * ring_place.  The reason of a failure is logged. */
must_use enum err ring_create(const struct loop_options *options, uint32_t accepts_first,
                              struct ring **ring);
void ring_destroy(struct ring *ring);
void ring_start(struct ring *ring);

void ring_accept(struct ring *ring, int listener, bool is_multishot, uint64_t tag);
void ring_recv(struct ring *ring, uint32_t slot, uint64_t tag);
/* `is_now`: try once, an event only when it does not go whole; otherwise wait
 * until it has gone. */
void ring_send(struct ring *ring, uint32_t slot, const void *data, uint32_t size, bool is_now,
               uint64_t tag);
/* `address` is read until the next ring_enter. */
void ring_connect(struct ring *ring, uint32_t slot, const struct sockaddr *address,
                  uint32_t address_size, uint64_t tag);
/* Cancels the operation with that tag; its own event tells. */
void ring_cancel(struct ring *ring, uint64_t tag);
/* Ends our direction. */
void ring_shutdown(struct ring *ring, uint32_t slot, uint64_t tag);
void ring_close(struct ring *ring, uint32_t slot, bool is_abort, uint64_t tag);
/* Writes the first `size` bytes of the peer's sockaddr to `at`; more than there are
 * is an error.  `at` is the kernel's until the event. */
void ring_peer(struct ring *ring, uint32_t slot, void *at, uint32_t size, uint64_t tag);
void ring_poll(struct ring *ring, int fd, uint64_t tag);
/* Writes what is left of it.  With `is_synced` an fdatasync follows, and there is one
 * event in any case: of the sync, when the write went whole, else of the write alone. */
void ring_write(struct ring *ring, const struct write_op *op, uint64_t tag, uint64_t tag_sync);
/* Moves the descriptor `fd` into the free slot: 0 or -errno. */
must_use int ring_place(struct ring *ring, uint32_t slot, int fd);

/* Submits everything and waits up to `wait_ns` (0: not at all; UINT64_MAX: for
 * ever) for an event. */
void ring_enter(struct ring *ring, uint64_t wait_ns);
/* What completed since the last call, borrowed until the next. */
uint32_t ring_take(struct ring *ring, const struct ring_event **events);
/* Adds an event of our own making, for the next ring_take. */
void ring_post(struct ring *ring, uint64_t tag, int32_t result);
/* True when ring_take would give something without a system call. */
bool ring_has_events(const struct ring *ring);

uint8_t *ring_buffer(struct ring *ring, uint16_t buffer);
void ring_buffer_give(struct ring *ring, uint16_t buffer);
/* Hands the given buffers to the kernel. */
void ring_buffers_publish(struct ring *ring);

struct ring_counters {
    uint64_t enters, overflows;
};
struct ring_counters ring_count(const struct ring *ring);
