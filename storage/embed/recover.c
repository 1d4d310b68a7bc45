/*
 * What a start does with the logs of the life before.
 *
 * Logs are read in the order (generation, shard, number).  Within one, batches
 * must follow each other without a hole.  Where a batch is bad:
 *
 *   behind it              then
 *   nothing whole          the end of the log; half a batch there is a torn tail:
 *                          nobody was told of it, it is cut and reported
 *   the wanted number      either the file simply ended, or what is bad has been
 *                          applied before: go on there
 *   a later number that    data that was acknowledged is damaged: refuse to start,
 *     knew it durable      naming the file, the place and the way out
 *   a later number that    "written" durability after an end of the machine: the
 *     did not              log ends here
 *
 * And a log that ends before what DIR/made knows to be acknowledged is damaged, too.
 *
 * The logs are read twice: the first time to know what of them will be over in
 * the end (floors.h), and to refuse before anything was changed; the second time
 * they are applied, in transactions that are large and checkpoints that keep
 * SQLite's own log short.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/disk.h"
#include "core/log.h"
#include "core/mem.h"
#include "storage/embed/embed.h"
#include "storage/embed/floors.h"

/* SQLite looks for a page in its log by tables of 4,096 pages, newest first. */
#define RECOVER_WAL_BYTES (64u << 20)
#define RECOVER_SAY_NS    3000000000ull

struct recover_file {
    struct segment segment; /* generation, shard, number, size, path */
};

struct recover {
    struct embed_node *node;
    struct recover_file *files;
    uint32_t files_count, files_room;
    uint64_t bytes_total, bytes_done, batches_done, said_ns;
    uint8_t *bytes; /* of the file under way, one block for all */
    uint64_t bytes_room;
    struct floors floors;
    bool is_first; /* the first reading */
    /* The log under way. */
    uint64_t log, wanted; /* the next batch that is not in the index */
    bool is_ended;        /* nothing later of this log counts */
    bool is_bad;          /* at bad_path, bad_at a batch is not whole */
    bool is_torn;         /* and it looks like the wanted one */
    char bad_path[SEGMENT_PATH_SIZE];
    uint64_t bad_at;
    const struct segment *end;   /* the file with the last whole batch, or the first file */
    uint64_t end_at;             /* behind that batch */
    struct index_batch *batches; /* of the file under way */
    uint32_t batches_count, batches_room;
    uint64_t batches_bytes;
};

static void on_name(void *context, const char *name)
{
    struct recover *recover = context;
    struct segment segment = {.file = -1};
    if (!segment_parse(name, &segment.generation, &segment.shard, &segment.number)) return;
    segment_path(segment.path, recover->node->log_path, segment.generation, segment.shard,
                 segment.number);
    int64_t size = disk_size_at(segment.path);
    segment.size = size < 0 ? 0 : (uint64_t)size;
    if (recover->files_count == recover->files_room) {
        recover->files_room = max_u32(16, recover->files_room * 2);
        recover->files = mem_resize(recover->files, recover->files_room * sizeof *recover->files);
    }
    recover->files[recover->files_count++].segment = segment;
    recover->bytes_total += segment.size;
}

static int compare_u64(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

static int file_compare(const void *a, const void *b)
{
    const struct segment *left = &((const struct recover_file *)a)->segment;
    const struct segment *right = &((const struct recover_file *)b)->segment;
    int by = compare_u64(left->generation, right->generation);
    if (by == 0) by = compare_u64(left->shard, right->shard);
    return by != 0 ? by : compare_u64(left->number, right->number);
}

static enum err recover_list(struct recover *recover)
{
    int result = disk_list(recover->node->log_path, on_name, recover);
    if (result < 0) {
        log_error("log directory cannot be read path=%s errno=%d", recover->node->log_path,
                  -result);
        return ERR_IO;
    }
    if (recover->files_count > 0) {
        qsort(recover->files, recover->files_count, sizeof *recover->files, file_compare);
    }
    return ERR_OK;
}

static void recover_say(struct recover *recover, uint64_t at)
{
    uint64_t now_ns = clock_mono_ns();
    if (now_ns - recover->said_ns < RECOVER_SAY_NS) return;
    recover->said_ns = now_ns;
    uint64_t done = recover->bytes_done + at;
    log_info("recovery goes on step=\"%s\" read_mib=%" PRIu64 " of_mib=%" PRIu64 " percent=%" PRIu64
             " batches=%" PRIu64,
             recover->is_first ? "logs are read" : "logs are applied", done >> 20,
             recover->bytes_total >> 20, done * 100 / max_u64(1, recover->bytes_total),
             recover->batches_done);
}

static enum err recover_flush(struct recover *recover)
{
    bool is_whole;
    if (recover->batches_count == 0) return ERR_OK;
    struct index *index = recover->node->index;
    TRY(index_apply(index, recover->log, recover->batches, recover->batches_count));
    if (index_wal_bytes(index) >= RECOVER_WAL_BYTES) TRY(index_checkpoint(index, false, &is_whole));
    recover->batches_done += recover->batches_count;
    recover->batches_count = 0;
    recover->batches_bytes = 0;
    return ERR_OK;
}

static enum err recover_take(struct recover *recover, const struct batch_head *head,
                             struct bytes payload)
{
    check(head->number == recover->wanted);
    recover->wanted++;
    recover->is_bad = recover->is_torn = false;
    if (recover->is_first) return floors_note(&recover->floors, payload);
    if (recover->batches_count == recover->batches_room) {
        recover->batches_room = max_u32(256, recover->batches_room * 2);
        recover->batches =
            mem_resize(recover->batches, recover->batches_room * sizeof *recover->batches);
    }
    recover->batches[recover->batches_count++] = (struct index_batch){head->number, payload};
    recover->batches_bytes += payload.size;
    return recover->batches_bytes >= EMBED_APPLY_BYTES_MAX ? recover_flush(recover) : ERR_OK;
}

/* A whole batch with a number beyond the wanted one, or in a file whose head,
 * synced before its first batch, is not what it was. */
static enum err recover_gap(struct recover *recover, const struct segment *segment, size_t at,
                            const struct batch_head *head, bool is_whole)
{
    const char *path = recover->is_bad ? recover->bad_path : segment->path;
    uint64_t bad_at = recover->is_bad ? recover->bad_at : at;
    if (is_whole && head->durable < recover->wanted) {
        recover->is_ended = true;
        recover->is_bad = false;
        if (recover->is_first) return ERR_OK;
        log_warn("log ends at a batch that never reached the disk file=%s offset=%" PRIu64
                 " batch=%" PRIu64,
                 path, bad_at, recover->wanted);
        return ERR_OK;
    }
    log_error("log is damaged where acknowledged data stood; restore the data directory from a "
              "backup, or move the files of log %" PRIx64 " from this one on out of the directory, "
              "make an empty file " MADE_ACCEPT_NAME
              " beside index.db, and lose what they hold file=%s offset=%" PRIu64 " batch=%" PRIu64
              " later_batch=%" PRIu64,
              recover->log, path, bad_at, recover->wanted, head->number);
    return ERR_STORE_CORRUPT;
}

static void recover_mark(struct recover *recover, const struct segment *segment, size_t at,
                         struct bytes rest)
{
    static const uint8_t zeroes[BATCH_HEAD];
    size_t size = min_u64(rest.size, sizeof zeroes);
    struct reader reader = reader_of(rest);
    (void)read_u64(&reader); /* magic, size */
    uint64_t log = read_u64(&reader);
    uint64_t number = read_u64(&reader);
    /* Zeroes, or what a recycled file held before: nothing was torn there. */
    bool is_stale = !reader.failed && log == recover->log && number < recover->wanted;
    bool is_torn = size > 0 && memcmp(rest.at, zeroes, size) != 0 && !is_stale;
    /* The first place is the one to tell; but where a file was only not filled to its end
     * it is at the begin of the next that something is not whole. */
    bool is_later = is_torn && !recover->is_torn && strcmp(recover->bad_path, segment->path) != 0;
    if (recover->is_bad && !is_later) return;
    recover->is_bad = true;
    recover->is_torn = is_torn;
    recover->bad_at = at;
    memcpy(recover->bad_path, segment->path, sizeof recover->bad_path);
}

/* Whole batches, and yet they cannot be: written by something else, or behind an
 * index that is not theirs. */
static enum err recover_nonsense(struct recover *recover, const struct segment *segment, size_t at)
{
    log_error("log does not follow what the index has; restore the whole data directory from one "
              "backup, or move the files of log %" PRIx64 " out of the directory, make an empty "
              "file " MADE_ACCEPT_NAME
              " beside index.db, and lose what they hold file=%s offset=%zu batch=%" PRIu64,
              recover->log, segment->path, at, recover->wanted - 1);
    return ERR_STORE_CORRUPT;
}

static enum err recover_file(struct recover *recover, const struct segment *segment,
                             struct bytes bytes)
{
    struct batch_head head;
    bool is_whole = segment_check(bytes, segment, recover->node->incarnation);
    size_t at = is_whole ? segment_first(segment) : 0;
    while (!recover->is_ended && at < bytes.size) {
        struct bytes rest = bytes_of(bytes.at + at, bytes.size - at);
        if (!batch_open(rest, recover->log, &head) ||
            (recover->is_bad && head.number < recover->wanted)) {
            if (is_whole) recover_mark(recover, segment, at, rest);
            at = batch_search(bytes, at + 8, recover->log, recover->wanted, &head);
            if (at == SIZE_MAX) break;
        }
        if (!is_whole) recover_mark(recover, segment, 0, bytes);
        if (head.number > recover->wanted || !is_whole) {
            TRY(recover_gap(recover, segment, at, &head, is_whole));
            break;
        }
        if (head.number == recover->wanted) {
            bool is_here = recover->is_bad && strcmp(recover->bad_path, segment->path) == 0;
            if (is_here && !recover->is_first) {
                log_warn("log is damaged where the index has everything file=%s offset=%" PRIu64,
                         segment->path, recover->bad_at);
            }
            struct bytes payload = bytes_of(bytes.at + at + BATCH_HEAD, head.payload_size);
            enum err err = recover_take(recover, &head, payload);
            if (err == ERR_STORE_CORRUPT) return recover_nonsense(recover, segment, at);
            TRY(err);
        }
        at = segment_place(segment, at + batch_size(head.payload_size));
        recover->end_at = at;
        recover_say(recover, at);
    }
    enum err err = recover_flush(recover);
    return err == ERR_STORE_CORRUPT ? recover_nonsense(recover, segment, at) : err;
}

static enum err recover_segment(struct recover *recover, const struct segment *segment)
{
    int file = disk_open(segment->path, DISK_READ);
    if (recover->bytes_room < segment->size) {
        mem_free(recover->bytes);
        recover->bytes_room = segment->size;
        recover->bytes = mem_alloc(segment->size);
    }
    uint8_t *bytes = recover->bytes;
    int64_t got = file < 0 ? file : disk_read(file, bytes, segment->size, 0);
    enum err err = ERR_OK;
    if (got < 0) {
        log_error("log cannot be read file=%s errno=%d", segment->path, (int)-got);
        err = ERR_IO;
    } else {
        /* The head says how big the file was made: a file that was cut short
         * later is damage like any other, found by what is missing. */
        struct segment made = *segment;
        made.salt = seals_salt(&recover->node->seals, made.generation);
        segment_read_version(&made, bytes_of(bytes, (size_t)got));
        struct reader reader = reader_of(bytes_of(bytes, (size_t)got));
        (void)read_bytes(&reader, 32);
        made.size = read_u64(&reader);
        uint64_t end_at = recover->end_at;
        recover->end_at = 0;
        err = recover_file(recover, &made, bytes_of(bytes, (size_t)got));
        if (recover->end_at > 0)
            recover->end = segment;
        else
            recover->end_at = end_at;
    }
    recover->bytes_done += segment->size;
    if (file >= 0) disk_close(file);
    return err;
}

/* The log under way ends here, before something that was acknowledged? */
static enum err recover_end(const struct recover *recover)
{
    const struct made_acked *acked = &recover->node->acked;
    const struct segment *end = recover->end;
    if (end->generation != acked->generation) return ERR_OK;
    if (recover->wanted > acked->logs[end->shard]) return ERR_OK;
    /* Zeroes in a later file are no damage, they only follow it. */
    bool is_there = recover->is_torn || strcmp(recover->bad_path, end->path) == 0;
    bool is_at_bad = recover->is_bad && is_there;
    log_error("log ends before what was acknowledged; restore the data directory from a backup, "
              "or make an empty file " MADE_ACCEPT_NAME
              " in it: the start then goes on without what is gone and gives every channel a new "
              "epoch file=%s offset=%" PRIu64 " batch=%" PRIu64 " acknowledged=%" PRIu64,
              is_at_bad ? recover->bad_path : end->path,
              is_at_bad ? recover->bad_at : recover->end_at, recover->wanted,
              acked->logs[end->shard]);
    return ERR_STORE_CORRUPT;
}

static enum err recover_log(struct recover *recover, uint32_t first, uint32_t after)
{
    const struct segment *segment = &recover->files[first].segment;
    uint64_t applied;
    recover->log = log_id(segment->generation, segment->shard);
    TRY(index_applied(recover->node->index, recover->log, &applied));
    recover->wanted = applied + 1;
    recover->is_bad = recover->is_torn = recover->is_ended = false;
    recover->end = segment;
    recover->end_at = 0;
    for (uint32_t i = first; i < after && !recover->is_ended; i++) {
        TRY(recover_segment(recover, &recover->files[i].segment));
    }
    TRY(recover_end(recover));
    if (recover->is_bad && recover->is_torn && !recover->is_first) {
        log_warn("log ends in a batch that was not written whole, it is cut file=%s offset=%" PRIu64
                 " batch=%" PRIu64,
                 recover->bad_path, recover->bad_at, recover->wanted);
    }
    return ERR_OK;
}

static enum err recover_read(struct recover *recover, bool is_first)
{
    recover->is_first = is_first;
    recover->bytes_done = 0;
    for (uint32_t first = 0, after; first < recover->files_count; first = after) {
        const struct segment *segment = &recover->files[first].segment;
        after = first;
        while (after < recover->files_count &&
               recover->files[after].segment.generation == segment->generation &&
               recover->files[after].segment.shard == segment->shard) {
            after++;
        }
        TRY(recover_log(recover, first, after));
    }
    return ERR_OK;
}

static enum err recover_logs(struct recover *recover)
{
    TRY(recover_list(recover));
    uint64_t began_ns = recover->said_ns = clock_mono_ns();
    TRY(recover_read(recover, true));
    index_expect(recover->node->index, &recover->floors);
    enum err err = recover_read(recover, false);
    index_expect(recover->node->index, NULL);
    TRY(err);
    if (recover->files_count > 0) {
        log_info("recovery is done files=%u batches=%" PRIu64 " ms=%" PRIu64, recover->files_count,
                 recover->batches_done, (clock_mono_ns() - began_ns) / 1000000);
    }
    return ERR_OK;
}

enum err embed_recover(struct embed_node *node)
{
    struct recover recover = {.node = node};
    floors_init(&recover.floors);
    enum err err = recover_logs(&recover);
    floors_fini(&recover.floors);
    mem_free(recover.bytes);
    mem_free(recover.files);
    mem_free(recover.batches);
    return err;
}

enum err embed_remove_logs(struct embed_node *node)
{
    struct recover recover = {.node = node};
    enum err err = recover_list(&recover);
    for (uint32_t i = 0; i < recover.files_count && err == ERR_OK; i++) {
        int result = disk_unlink(recover.files[i].segment.path);
        if (result >= 0) continue;
        log_error("log cannot be removed file=%s errno=%d", recover.files[i].segment.path, -result);
        err = ERR_IO;
    }
    mem_free(recover.files);
    if (err == ERR_OK && disk_sync_dir(node->log_path) < 0) err = ERR_IO;
    return err;
}
