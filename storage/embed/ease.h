/*
 * ease: what is written to a file goes to the disk in small portions.
 *
 * SQLite writes megabytes and then syncs them at once; a shard's commit that meets
 * such a crowd of pages at the device waits for all of them.  Sent on their way in
 * portions, the one before awaited with each, they are a short queue at any time,
 * and whoever writes goes on meanwhile.
 *
 * Thread:  whoever writes the file.
 * Tests:   through tests/unit/storage/test_index.c and perf/store
 */
#pragma once

#include "core/base.h"

/* Zeroed memory is valid. */
struct ease {
    uint64_t first, after;           /* what was written since the disk was sent some */
    uint64_t sent_first, sent_after; /* what it was sent last */
    uint32_t bytes;
};

/* After a write.  0, or -errno of what was sent before: no sync tells of it again. */
must_use int ease_note(struct ease *ease, int file, uint64_t offset, uint32_t size);
