/*
 * label: a name of up to 255 bytes in 16.
 *
 * For names that exist by the hundred thousand, one of its own to each object: up
 * to LABEL_NEAR bytes stand in place, longer ones in a block of the heap.  Where
 * many objects share a name, core/intern.h is smaller.
 *
 *    near   15 bytes of name                      size
 *    far     8 bytes of address, 7 unused         size
 *
 * Zeroed memory is the empty label.
 *
 * Thread:  owner.
 * Tests:   tests/unit/core/test_label.c
 */
#pragma once

#include "core/bytes.h"

#define LABEL_NEAR 15
#define LABEL_MAX  255

struct label {
    union {
        uint8_t near[LABEL_NEAR + 1]; /* the last byte is the size, near or far */
        uint8_t *far;
    };
};
static_assert(sizeof(struct label) == 16, "said so above");

/* Copies `text`, at most LABEL_MAX bytes, into an empty label. */
void label_set(struct label *label, struct bytes text);
/* Empties it. */
void label_clear(struct label *label);
static inline struct bytes label_text(const struct label *label)
{
    size_t size = label->near[LABEL_NEAR];
    return bytes_of(size > LABEL_NEAR ? label->far : label->near, size);
}
