/*
 * mem: the heap, for what is not in a slab.
 *
 * Used at start-up and for things whose size only their bytes know (letters
 * and frames above the size classes, saved input).  Never per delivered
 * message.  Memory comes zeroed.  Exhaustion stops the process with its
 * story: every peer-driven size is bounded by a limit before it gets here.
 * The simulator links a twin that can forget a whole life at a crash, and
 * SQLite and jansson are pointed here too.
 *
 * Thread:  any; memory may be freed on another thread than it came from.
 * Source:  mem_os.c; tests/sim/mem_sim.c
 */
#pragma once

#include "core/base.h"

/* Once, before the first thread: of freed memory each arena of the heap keeps 8 MiB.  A turn
 * that answers a returning crowd takes and gives back megabytes, and the kernel's zeroed
 * pages with their faults were 30 % of it. */
void mem_setup(void);
must_use void *mem_alloc(size_t size);
/* Like realloc; a grown tail is not zeroed. */
must_use void *mem_resize(void *at, size_t size);
/* Accepts NULL. */
void mem_free(void *at);
/* A copy of `text`, NUL-terminated. */
must_use char *mem_text(const void *text, size_t size);

/* Address space of `size` bytes, zero pages that cost nothing until touched. */
must_use void *mem_reserve(size_t size);
void mem_unreserve(void *at, size_t size);

/* Bytes now held through mem_alloc, for metrics and leak checks. */
uint64_t mem_used(void);
