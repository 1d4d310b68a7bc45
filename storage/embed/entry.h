/*
 * entry: one record as it stands in a batch of the log.
 *
 *   u32 size of what follows
 *   u8 type · u8 variant · u8 size, name · u8 size, epoch · u16 size, scope · u16 size, key
 *   u64 time_ms · u32 history size · u64 history ttl_ms · u64 meta ttl_ms · u64 offset
 *   body, to the end:  PUBLICATION  the bytes of storage/record.h; variant 1: before them u64
 *                                   the offset of the publication that it deletes
 *                      MEMBERS      the bytes of storage/member.h; variant: the kind, plus 1
 *                                   (0, of older releases: u32 count · those of a SET)
 *                      CURSOR       user, or none; variant: the mark
 *                      REMOVE, KEY  nothing
 *   The variant of all others is 0.
 *
 * An entry says everything about its channel that the index needs, so a log is
 * read without any state and in any process.
 *
 * Thread:  any; pure.
 * Tests:   tests/unit/storage/test_entry.c, tests/fuzz/fuzz_entry.c
 */
#pragma once

#include "storage/member.h"

struct entry {
    enum record_type type;
    uint8_t variant;
    struct bytes name, epoch, scope, key;
    uint64_t time_ms;
    uint32_t history_size;
    uint64_t history_ttl_ms;
    uint64_t meta_ttl_ms;
    uint64_t offset; /* of the publication; MEMBERS, REMOVE: the head; CURSOR: the mark's; KEY: 0 */
    uint64_t deletes; /* PUBLICATION: the offset of an earlier one that it takes away; 0: none */
    struct bytes body;
};

/* Bytes of an entry whose body has `body_size` bytes, the size field included. */
size_t entry_size(const struct entry *entry, size_t body_size);
/* Writes everything before the body; the caller writes exactly `body_size` more. */
void entry_write(struct writer *writer, const struct entry *entry, size_t body_size);
/* The next entry of a batch.  Views point into what was read. */
must_use enum err entry_read(struct reader *reader, struct entry *entry);
/* What a MEMBERS entry changes; to be freed by members_change_fini. */
must_use enum err entry_members(const struct entry *entry, struct members_change *change);
/* Whom a PUBLICATION or CURSOR entry moves, and how; user BYTES_NONE: nobody, or the channel
 * itself. */
struct entry_move {
    struct bytes user;
    enum cursor_mark mark;
    uint64_t offset;
};
struct entry_move entry_move(const struct entry *entry);
static inline bool entry_is_of_channel(const struct entry *entry)
{
    return entry->type == RECORD_CURSOR && mark_is_of_channel((enum cursor_mark)entry->variant);
}
