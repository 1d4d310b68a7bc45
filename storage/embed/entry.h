/*
 * entry: one record as it stands in a batch of the log.
 *
 *   u32 size of what follows
 *   u8 type · u8 0 · u8 size, name · u8 size, epoch · u16 size, scope · u16 size, key
 *   u64 time_ms · u32 history size · u64 history ttl_ms · u64 meta ttl_ms · u64 offset
 *   body, to the end:  PUBLICATION  the bytes of storage/record.h
 *                      MEMBERS      u32 count · sized user …
 *                      CURSOR       user
 *                      REMOVE, KEY  nothing
 *
 * An entry says everything about its channel that the index needs, so a log is
 * read without any state and in any process.
 *
 * Thread:  any; pure.
 * Tests:   tests/unit/storage/test_entry.c, tests/fuzz/fuzz_entry.c
 */
#pragma once

#include "storage/record.h"

struct entry {
    enum record_type type;
    struct bytes name, epoch, scope, key;
    uint64_t time_ms;
    uint32_t history_size;
    uint64_t history_ttl_ms;
    uint64_t meta_ttl_ms;
    uint64_t offset; /* of the publication; MEMBERS, REMOVE: the head; CURSOR: read up to; KEY: 0 */
    struct bytes body;
};

/* Bytes of an entry whose body has `body_size` bytes, the size field included. */
size_t entry_size(const struct entry *entry, size_t body_size);
/* Writes everything before the body; the caller writes exactly `body_size` more. */
void entry_write(struct writer *writer, const struct entry *entry, size_t body_size);
/* The next entry of a batch.  Views point into what was read. */
must_use enum err entry_read(struct reader *reader, struct entry *entry);
/* The next user of a MEMBERS body; begin after read_u32 of the count. */
must_use bool entry_user(struct reader *body, struct bytes *user);
