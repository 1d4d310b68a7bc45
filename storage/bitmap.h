/*
 * bitmap: sets of slots, as Roaring bitmaps.
 *
 * For sets that are sparse in a large universe: members who joined late, members
 * who opted out, and the readers of one message on their way to somebody else, in
 * the portable form that every Roaring library reads.
 *
 * Memory:  CRoaring 0.2.66 takes its memory from the C heap and can be told no
 *          other place; bitmap_bytes counts it.
 * Thread:  its owner.
 * Bound:   add, remove, has and rank O(log) within a container of 65,536 slots, or
 *          a walk over at most 1,024 words for the rank in a dense one; a reader
 *          O(1) a word.
 * Source:  Lemire et al., "Roaring Bitmaps: Implementation of an Optimized Software
 *          Library", 2018; the portable form: RoaringFormatSpec.
 * Tests:   tests/unit/storage/test_bitmap.c
 */
#pragma once

#include "core/bytes.h"
#include "storage/scan.h"

struct bitmap;

must_use struct bitmap *bitmap_create(void);
/* Accepts NULL. */
void bitmap_destroy(struct bitmap *bitmap);
void bitmap_add(struct bitmap *bitmap, uint32_t slot);
/* The slots 64 * word + i of each bit i in `bits`. */
void bitmap_add_word(struct bitmap *bitmap, uint32_t word, uint64_t bits);
void bitmap_remove(struct bitmap *bitmap, uint32_t slot);
bool bitmap_has(const struct bitmap *bitmap, uint32_t slot);
uint32_t bitmap_count(const struct bitmap *bitmap);
/* Members of the set that are smaller than `slot`. */
uint32_t bitmap_rank(const struct bitmap *bitmap, uint32_t slot);
/* Fills slots[bitmap_count], ascending. */
void bitmap_list(const struct bitmap *bitmap, uint32_t *slots);
/* Bytes in memory, about. */
size_t bitmap_bytes(const struct bitmap *bitmap);

/* The portable form: its size, and the bytes themselves, that many of them.
 * bitmap_pack before makes it as small as it gets; no reader may follow. */
void bitmap_pack(struct bitmap *bitmap);
size_t bitmap_portable_bytes(const struct bitmap *bitmap);
void bitmap_portable_write(const struct bitmap *bitmap, uint8_t *bytes);

/* A walk over the set in words of 64 slots, upwards; the set may not change. */
struct bitmap_reader {
    const struct bitmap *bitmap;
    const struct scan *scan;
    uint32_t rank; /* members before the word that was read last */
    /* private to bitmap.c */
    uint32_t container, at, base;
    uint32_t word; /* the next one */
};

struct bitmap_reader bitmap_reader_of(const struct bitmap *bitmap, const struct scan *scan);
/* The slots 64 * word .. 64 * word + 63 as bits; `word` is above the one before. */
uint64_t bitmap_reader_word(struct bitmap_reader *reader, uint32_t word);
