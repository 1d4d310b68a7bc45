/*
 * bitmap: CRoaring behind our own names, and a reader of 64 slots at a time.
 *
 * CRoaring's iterator yields slot after slot, 1 ns each and more; a list that
 * leaves out late joiners wants 64 at once, beside the 64 cursors that it compares.
 * So the reader looks into the two kinds of container that adding and removing
 * make: a sorted array, or above 4,096 slots a bitset.
 */
#include "storage/bitmap.h"

#include <roaring/roaring.h>

#include "core/check.h"

#define CONTAINER_SLOTS 65536u
#define CONTAINER_WORDS (CONTAINER_SLOTS / SCAN_WORD)

/* A bitmap is a roaring_bitmap_t; the name without a body keeps the two apart. */
static roaring_bitmap_t *inside(struct bitmap *bitmap)
{
    check(bitmap != NULL);
    return (roaring_bitmap_t *)(void *)bitmap;
}

static const roaring_bitmap_t *view(const struct bitmap *bitmap)
{
    check(bitmap != NULL);
    return (const roaring_bitmap_t *)(const void *)bitmap;
}

struct bitmap *bitmap_create(void)
{
    roaring_bitmap_t *roaring = roaring_bitmap_create();
    check(roaring != NULL);
    return (struct bitmap *)(void *)roaring;
}

void bitmap_destroy(struct bitmap *bitmap)
{
    if (bitmap != NULL) roaring_bitmap_free(view(bitmap));
}

void bitmap_add(struct bitmap *bitmap, uint32_t slot)
{
    roaring_bitmap_add(inside(bitmap), slot);
}

void bitmap_add_word(struct bitmap *bitmap, uint32_t word, uint64_t bits)
{
    uint32_t slots[SCAN_WORD];
    size_t count = 0;
    for (; bits != 0; bits &= bits - 1)
        slots[count++] = word * SCAN_WORD + (uint32_t)__builtin_ctzll(bits);
    roaring_bitmap_add_many(inside(bitmap), count, slots);
}

void bitmap_remove(struct bitmap *bitmap, uint32_t slot)
{
    roaring_bitmap_remove(inside(bitmap), slot);
}

bool bitmap_has(const struct bitmap *bitmap, uint32_t slot)
{
    return roaring_bitmap_contains(view(bitmap), slot);
}

uint32_t bitmap_count(const struct bitmap *bitmap)
{
    return (uint32_t)roaring_bitmap_get_cardinality(view(bitmap));
}

uint32_t bitmap_rank(const struct bitmap *bitmap, uint32_t slot)
{
    return slot == 0 ? 0 : (uint32_t)roaring_bitmap_rank(view(bitmap), slot - 1);
}

void bitmap_list(const struct bitmap *bitmap, uint32_t *slots)
{
    roaring_bitmap_to_uint32_array(view(bitmap), slots);
}

size_t bitmap_bytes(const struct bitmap *bitmap)
{
    return sizeof(roaring_bitmap_t) + roaring_bitmap_size_in_bytes(view(bitmap));
}

/* ── the portable form ── */

void bitmap_pack(struct bitmap *bitmap)
{
    roaring_bitmap_run_optimize(inside(bitmap));
}

size_t bitmap_portable_bytes(const struct bitmap *bitmap)
{
    return roaring_bitmap_portable_size_in_bytes(view(bitmap));
}

void bitmap_portable_write(const struct bitmap *bitmap, uint8_t *bytes)
{
    size_t size = roaring_bitmap_portable_serialize(view(bitmap), (char *)bytes);
    check(size == bitmap_portable_bytes(bitmap));
}

/* ── the reader ── */

struct bitmap_reader bitmap_reader_of(const struct bitmap *bitmap, const struct scan *scan)
{
    return (struct bitmap_reader){.bitmap = bitmap, .scan = scan};
}

/* Bits of the array's slots in the word that begins at `low` within the container;
 * reader->at is the first entry that no word before had. */
static uint64_t word_of_array(struct bitmap_reader *reader, const array_container_t *array,
                              uint32_t low)
{
    uint32_t count = (uint32_t)array->cardinality;
    while (reader->at < count && array->array[reader->at] < low) reader->at++;
    reader->rank = reader->base + reader->at;
    uint64_t bits = 0;
    for (; reader->at < count && array->array[reader->at] < low + SCAN_WORD; reader->at++)
        bits |= UINT64_C(1) << (array->array[reader->at] - low);
    return bits;
}

/* The same; reader->at counts the members of the words before `next`. */
static uint64_t word_of_bitset(struct bitmap_reader *reader, const bitset_container_t *bitset,
                               uint32_t first, uint32_t word)
{
    for (uint32_t w = first; w < word; w++) reader->at += reader->scan->ones(bitset->array[w]);
    reader->rank = reader->base + reader->at;
    reader->at += reader->scan->ones(bitset->array[word]);
    return bitset->array[word];
}

uint64_t bitmap_reader_word(struct bitmap_reader *reader, uint32_t word)
{
    const roaring_array_t *array = &view(reader->bitmap)->high_low_container;
    check(word >= reader->word);
    uint32_t key = word / CONTAINER_WORDS, first = reader->word % CONTAINER_WORDS;
    for (; reader->container < (uint32_t)array->size; reader->container++) {
        if (array->keys[reader->container] >= key) break;
        const void *passed = array->containers[reader->container];
        bool is_bitset = array->typecodes[reader->container] == BITSET_CONTAINER_TYPE_CODE;
        reader->base += (uint32_t)(is_bitset ? ((const bitset_container_t *)passed)->cardinality
                                             : ((const array_container_t *)passed)->cardinality);
        reader->at = 0;
    }
    if (reader->word / CONTAINER_WORDS != key) first = 0;
    reader->word = word + 1;
    reader->rank = reader->base;
    if (reader->container == (uint32_t)array->size || array->keys[reader->container] != key)
        return 0;
    const void *container = array->containers[reader->container];
    uint8_t type = array->typecodes[reader->container];
    if (type == BITSET_CONTAINER_TYPE_CODE)
        return word_of_bitset(reader, container, first, word % CONTAINER_WORDS);
    check(type == ARRAY_CONTAINER_TYPE_CODE); /* runs come of bitmap_pack alone */
    return word_of_array(reader, container, word % CONTAINER_WORDS * SCAN_WORD);
}
