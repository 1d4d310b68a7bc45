/*
 * index_private: what index.c, index_apply.c and index_sweep.c share.
 *
 * Thread:  as index.h.
 */
#pragma once

#include "storage/embed/chunk.h"
#include "storage/embed/index.h"
#include "storage/embed/sql.h"

/* Channels that were forgotten are counted in this many buckets. */
#define FORGETS_BUCKETS 4096

#define INDEX_PAGE_SIZE 8192u

/* Raised when a table changes; an older gateway then refuses the directory. */
#define INDEX_FORMAT        8
#define INDEX_FORMAT_SEALED 9 /* from the first start that seals on */

enum statement {
#define STATEMENT(id, text) STATEMENT_##id,
#include "storage/embed/statement.def"
#undef STATEMENT
    STATEMENT_COUNT,
};

struct index {
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENT_COUNT];
    uint32_t wal_pages;
    bool is_shrinkable;          /* made by a release that gives room back */
    uint64_t sweep_at;           /* channel id */
    const struct floors *floors; /* NULL but for a start */
    struct index_group *groups;  /* scratch of index_apply */
    struct index_item *items;
    size_t items_max;
    struct chunk publications, keys, live_keys; /* of the channel that is applied */
    uint8_t *scratch;                           /* bytes of one chunk */
    size_t scratch_size;
    bool is_large; /* what is applied */
};

/* index_members.c: what a record changes of who belongs to a channel. */
struct entry;
struct index_people {
    uint64_t channel;
    uint64_t head;  /* of the channel behind the batch */
    uint32_t count; /* of the members, STORE_MOVES_MEMBERS_MAX + 1 for all above */
    bool is_counted;
};
must_use enum err index_members_apply(struct index *index, struct index_people *people,
                                      const struct entry *entry);
/* A publication or a cursor. */
must_use enum err index_move_apply(struct index *index, struct index_people *people,
                                   const struct entry *entry);
/* index_delete.c: of the publication at `offset` only its place stays; nothing, when it is
 * over.  Behind the rows of everything before it. */
must_use enum err index_bury(struct index *index, uint64_t channel, uint64_t offset);
must_use enum err index_format_put(struct index *index, uint64_t format);
uint64_t index_bucket(struct bytes name);
/* Runs a statement that cuts rows of `channel` with first < offset <= last, and what
 * they have in `bodies` or `key_bodies`. */
must_use enum err index_cut(struct index *index, enum statement statement, uint64_t channel,
                            uint64_t first, uint64_t last);
