/*
 * frame: three ways to hold bytes, one way to count them.
 *
 *   small   a slab object of 512 bytes: most chat messages
 *   large   a slab object of 4 KiB
 *   heap    the rest, and what a spent slab cannot give
 *
 * A spent slab of buffers is no error: only `frames_max` bounds frames, and it is
 * far above what memory bears, so that nobody's queues are another one's limit.
 */
#include "core/frame.h"

#include "core/mem.h"

enum { FRAME_BORROWED, FRAME_SMALL, FRAME_LARGE, FRAME_HEAP };

#define SMALL_SIZE  512
#define LARGE_SIZE  4096
/* Address space is what buffers are spared: one for so many frames. */
#define SMALL_SHARE 16
#define LARGE_SHARE 128

void frames_init(struct frames *frames, struct post *post, uint32_t frames_max)
{
    check(frames_max > 0);
    frames->post = post;
    frames->bytes = 0;
    slab_init(&frames->frames, "frames", sizeof(struct frame), frames_max);
    slab_init(&frames->small, "frame buffers 512", SMALL_SIZE,
              max_u32(frames_max / SMALL_SHARE, 1));
    slab_init(&frames->large, "frame buffers 4096", LARGE_SIZE,
              max_u32(frames_max / LARGE_SHARE, 1));
}

void frames_fini(struct frames *frames)
{
    check(frames->bytes == 0);
    slab_fini(&frames->large);
    slab_fini(&frames->small);
    slab_fini(&frames->frames);
}

/* Gives `frame` a buffer of at least `size` bytes. */
static void frame_equip(struct frames *frames, struct frame *frame, uint32_t size)
{
    struct handle handle;
    uint32_t room = size;
    if (size <= SMALL_SIZE && (frame->buffer = slab_get_unset(&frames->small, &handle)) != NULL) {
        frame->size_class = FRAME_SMALL;
        room = SMALL_SIZE;
    } else if (size <= LARGE_SIZE &&
               (frame->buffer = slab_get_unset(&frames->large, &handle)) != NULL) {
        frame->size_class = FRAME_LARGE;
        room = LARGE_SIZE;
    } else {
        frame->size_class = FRAME_HEAP;
        frame->buffer = mem_resize(NULL, size); /* what is sent is written first */
    }
    frame->room = room - FRAME_HEADROOM;
    frames->bytes += room;
}

struct frame *frame_new(struct frames *frames, uint32_t payload_max)
{
    check(payload_max <= UINT32_MAX - FRAME_HEADROOM);
    struct handle handle;
    struct frame *frame = slab_get(&frames->frames, &handle);
    if (frame == NULL) return NULL;

    frame->refs = 1;
    frame_equip(frames, frame, payload_max + FRAME_HEADROOM);
    check(frame->room >= payload_max);
    return frame;
}

void frame_seal(struct frame *frame, struct bytes header, uint32_t payload_size)
{
    check(frame->buffer != NULL);
    check(frame->bytes == NULL); /* sealed once */
    check(header.size <= FRAME_HEADROOM);
    check(payload_size <= frame->room);

    uint8_t *start = frame_payload(frame) - header.size;
    if (header.size > 0) memcpy(start, header.at, header.size);
    frame->bytes = start;
    frame->size = (uint32_t)header.size + payload_size;
}

struct frame *frame_borrow(struct frames *frames, struct letter *letter, struct bytes bytes)
{
    check(bytes.at != NULL);
    check(bytes.size <= UINT32_MAX);
    struct handle handle;
    struct frame *frame = slab_get(&frames->frames, &handle);
    if (frame == NULL) return NULL;

    frame->refs = 1;
    frame->size_class = FRAME_BORROWED;
    frame->bytes = bytes.at;
    frame->size = (uint32_t)bytes.size;
    frame->letter = letter;
    letter_keep(frames->post, letter);
    return frame;
}

void frame_own(struct frames *frames, struct frame *frame)
{
    struct letter *letter = frame->letter;
    if (letter == NULL) return;
    check(frame->size_class == FRAME_BORROWED && frame->buffer == NULL);
    struct bytes bytes = bytes_of(frame->bytes, frame->size);
    frame_equip(frames, frame, frame->size + FRAME_HEADROOM);
    memcpy(frame_payload(frame), bytes.at, bytes.size);
    frame->bytes = frame_payload(frame);
    frame->letter = NULL;
    letter_release(frames->post, letter);
}

uint8_t *frame_behind(struct frame *frame, uint32_t size)
{
    check(frame->bytes != NULL);
    if (frame->refs != 1 || frame->buffer == NULL) return NULL;
    uint32_t used = (uint32_t)(frame->bytes - frame->buffer) + frame->size;
    return FRAME_HEADROOM + frame->room - used < size ? NULL : frame->buffer + used;
}

void frame_extend(struct frame *frame, uint32_t size)
{
    check(frame->refs == 1 && frame->buffer != NULL);
    frame->size += size;
    check(frame->bytes + frame->size <= frame->buffer + FRAME_HEADROOM + frame->room);
}

bool frame_append(struct frame *frame, const struct frame *more)
{
    check(more->bytes != NULL);
    uint8_t *at = frame_behind(frame, more->size);
    if (at == NULL) return false;
    memcpy(at, more->bytes, more->size);
    frame_extend(frame, more->size);
    return true;
}

void frame_free(struct frames *frames, struct frame *frame)
{
    struct letter *letter = frame->letter;
    uint8_t *buffer = frame->buffer;
    if (buffer != NULL) frames->bytes -= frame->room + FRAME_HEADROOM;

    switch (frame->size_class) {
    case FRAME_BORROWED: check(buffer == NULL && letter != NULL); break;
    case FRAME_SMALL: slab_put(&frames->small, buffer); break;
    case FRAME_LARGE: slab_put(&frames->large, buffer); break;
    case FRAME_HEAP: mem_free(buffer); break;
    default: impossible("a frame has one of four classes");
    }
    slab_put(&frames->frames, frame);
    if (letter != NULL) letter_release(frames->post, letter);
}
