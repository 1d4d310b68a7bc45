/*
 * intern: strings kept once, counted, named by 32 bits.
 *
 * Texts that many objects share (user ids, infos of connections): each content
 * stands once, in a cell of its size class behind four bytes of count and size;
 * a set of bare numbers finds it by its content.  A 12-byte id takes 16 bytes
 * and about 5 of the set.  What is longer than a cell's largest size is a heap
 * block that its cell points to.
 *
 *   name:   bit 31 zero · bits 30..4 index in the class · bits 3..0 size class + 1
 *
 * Name 0 is the empty string; it is in no table and needs no count.  A name's
 * top bit is 0: its owner may keep a flag there.  A count that would pass its
 * 24 bits makes a second string of the same content, so equal names mean equal
 * strings always, and different names different strings below 16 million uses.
 *
 * Thread:  owner.
 * Bound:   O(size) each.
 * Tests:   tests/unit/core/test_intern.c, tests/prop/prop_intern.c
 */
#pragma once

#include "core/bytes.h"
#include "core/cells.h"
#include "core/compact.h"

#define INTERN_CLASSES 10

struct intern {
    struct cells classes[INTERN_CLASSES];
    struct compact names; /* by content */
    uint64_t seed;
};

void intern_init(struct intern *intern, uint64_t seed);
/* Everything must be given back. */
void intern_fini(struct intern *intern);
/* The name of `text`; takes a count on it. */
must_use uint32_t intern_take(struct intern *intern, struct bytes text);
/* Gives a count back; the last one frees the string. */
void intern_give(struct intern *intern, uint32_t name);
/* Valid while a count is held. */
struct bytes intern_text(const struct intern *intern, uint32_t name);
/* Strings now held. */
static inline uint32_t intern_count(const struct intern *intern)
{
    return intern->names.count;
}
void intern_verify(const struct intern *intern);
