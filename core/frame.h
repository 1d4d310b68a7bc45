/*
 * frame: encoded output, counted on one shard.  Once sealed its bytes never change
 * (more may be added behind them).
 *
 * A frame made here owns its bytes (a size class of a slab, the heap above).
 * A frame borrowed from a letter shows bytes that live on another shard; when
 * its last local reader is done the letter goes home and the maker drops its
 * count.  Counts are plain integers because a frame never leaves its shard:
 * what travels is the letter.
 *
 * Thread:  owner shard only.
 * Bound:   O(1) each.
 * Tests:   tests/unit/core/test_frame.c
 */
#pragma once

#include "core/check.h"
#include "core/mesh.h"
#include "core/slab.h"

#define FRAME_HEADROOM 10 /* the longest WebSocket header of a server frame */

struct frame {
    uint32_t refs;
    uint32_t size;         /* bytes to send, from `bytes` */
    const uint8_t *bytes;  /* header and payload */
    uint8_t *buffer;       /* owned: FRAME_HEADROOM then payload room; NULL when borrowed */
    uint32_t room;         /* payload room of `buffer` */
    uint32_t size_class;   /* private */
    struct letter *letter; /* the letter it is borrowed from, or NULL */
};

struct frames {
    struct slab frames;
    struct slab small, large; /* buffers of two size classes; bigger ones are heap */
    struct post *post;
    uint64_t bytes; /* owned buffer bytes now held */
};

void frames_init(struct frames *frames, struct post *post, uint32_t frames_max);
void frames_fini(struct frames *frames);

/* A frame with room for `payload_max` bytes, count 1, not sealed; NULL at the limit. */
must_use struct frame *frame_new(struct frames *frames, uint32_t payload_max);
/* Where the payload is written before sealing. */
static inline uint8_t *frame_payload(struct frame *frame)
{
    return frame->buffer + FRAME_HEADROOM;
}
/* Seals: `header` (0 to FRAME_HEADROOM bytes) goes right before the payload. */
void frame_seal(struct frame *frame, struct bytes header, uint32_t payload_size);
/* A frame over bytes inside a letter from another shard (or oneself), count 1;
 * keeps the letter.  Further frames over the same letter share it. NULL at the limit. */
must_use struct frame *frame_borrow(struct frames *frames, struct letter *letter,
                                    struct bytes bytes);
/* Copies the bytes of a borrowed frame and lets its letter go home, so that whoever keeps
 * the frame keeps nothing of another shard's; nothing for an owned one.  No send of the
 * frame may be under way. */
void frame_own(struct frames *frames, struct frame *frame);
/* Adds the bytes of `more` behind those of `frame`, when nobody else counts on `frame` and
 * its buffer has the room; false: nothing was done. */
must_use bool frame_append(struct frame *frame, const struct frame *more);
/* Where `size` bytes may be written behind those of `frame`, on the same terms; NULL: nowhere.
 * So many of them as frame_extend says then belong to it. */
must_use uint8_t *frame_behind(struct frame *frame, uint32_t size);
void frame_extend(struct frame *frame, uint32_t size);
static inline void frame_ref(struct frame *frame)
{
    frame->refs++;
}
/* Private: what frame_unref does with the last count. */
void frame_free(struct frames *frames, struct frame *frame);
static inline void frame_unref(struct frames *frames, struct frame *frame)
{
    check(frame->refs > 0);
    if (--frame->refs == 0) frame_free(frames, frame);
}
