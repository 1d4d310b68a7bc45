/*
 * record: what is stored, as plain structs and as bytes.
 *
 * The same encoding serves the log's payload, SQLite's blob, the Redis stream
 * entry, the memory window and the letters between shards, so a publication is
 * encoded once on its way.  Numbers are little-endian.
 *
 *   publication   u8 version (1) · u8 flags (1: info, 2: opaque, 4: version, 8: chan_info,
 *                 16: deletes, 32: was deleted)
 *                 · u64 offset · u64 time_ms
 *                 · sized data · sized tags
 *                 · [info: 16 client · sized user · sized conn_info [· sized chan_info]]
 *                 · [version: u64 number · sized epoch] · [deletes: u64 offset]
 *
 * A message that was deleted keeps its offset: a record without anything else stands in
 * its place, never longer than what stood there, and is read as DELETED_DATA, DELETED_TAGS.
 *
 * Reading checks every length; an unknown version is ERR_STORE_CORRUPT.  Views
 * that come out point into the bytes that went in; `taken_ms` is `time_ms` until
 * an engine that knows better sets it.
 *
 * Thread:  any; pure.
 * Tests:   tests/unit/storage/test_record.c, tests/fuzz/fuzz_record.c
 */
#pragma once

#include "core/bytes.h"
#include "core/err.h"

struct publication {
    uint64_t offset;   /* 0: live only, not stored */
    uint64_t time_ms;  /* Unix milliseconds of acceptance, for people */
    uint64_t taken_ms; /* the same by the store's own time, for ages; not in the bytes */
    struct bytes data; /* raw, as given */
    bool is_opaque;    /* `data` is not JSON: only listeners of the Protobuf wire may see it */
    struct bytes tags; /* raw JSON object, may be empty */
    bool has_info;     /* published by a client; false: by the server API */
    uint8_t client[16];
    struct bytes user;
    struct bytes conn_info; /* raw JSON, may be empty */
    struct bytes chan_info; /* of the publisher's subscription; the same */
    uint64_t version;       /* of the state that it shows; 0: none */
    struct bytes version_epoch;
    uint64_t deletes; /* the offset of an earlier one, which it takes away; 0: none.  Where its
                         own is not known yet, that stands there, too */
    bool is_deleted;  /* it stands where one was that was deleted */
};

#define DELETED_DATA "{\"deleted\":true}"
#define DELETED_TAGS "{\"deleted\":\"true\"}"

/* What was published goes; offset and times stay. */
void publication_bury(struct publication *publication);

size_t publication_size(const struct publication *publication);
void publication_write(struct writer *writer, const struct publication *publication);
must_use enum err publication_read(struct reader *reader, struct publication *publication);

enum record_type {
    RECORD_PUBLICATION = 1,
    RECORD_MEMBERS = 2, /* the whole member list of a channel, from now on */
    RECORD_CURSOR = 3,  /* a mark of a member, or of the channel itself */
    RECORD_REMOVE = 4,  /* what was published up to an offset is kept no longer */
    RECORD_KEY = 5,     /* embedded: the key of a publication that is kept nowhere */
};
