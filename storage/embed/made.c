/* The record of log files; the story stands in made.h. */
#include "storage/embed/made.h"

#include <errno.h>
#include <inttypes.h>

#include "core/disk.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/mem.h"

#define MADE_MAGIC   "SLUICEMD"
#define MADE_VERSION 3
#define MADE_SECTOR  512u
#define MADE_HALF    (SHARDS_MAX * MADE_SECTOR)

#define MADE_WAY_OUT                                                                               \
    "restore the whole data directory from a backup, or make an empty file " MADE_ACCEPT_NAME      \
    " in it: the start then goes on without what is gone and gives every channel a new epoch"

static void sector_write(uint8_t sector[MADE_SECTOR], uint32_t shard, const struct made *made,
                         uint32_t turn)
{
    memset(sector, 0, MADE_SECTOR);
    struct writer writer = writer_of(sector, MADE_SECTOR);
    write_text(&writer, MADE_MAGIC);
    write_u32(&writer, MADE_VERSION);
    write_u32(&writer, shard);
    write_u64(&writer, made->generation);
    write_u64(&writer, made->first);
    write_u64(&writer, made->last);
    write_u64(&writer, made->acked);
    write_u32(&writer, turn);
    write_u32(&writer, hash_crc32c(0, sector, writer.used));
    check(!writer.failed);
}

/* False: not what sector_write makes. */
static bool sector_read(const uint8_t sector[MADE_SECTOR], uint32_t shard, struct made *made,
                        uint32_t *turn)
{
    uint8_t wanted[MADE_SECTOR];
    struct reader reader = reader_of(bytes_of(sector, MADE_SECTOR));
    (void)read_bytes(&reader, strlen(MADE_MAGIC) + 8);
    made->generation = read_u64(&reader);
    made->first = read_u64(&reader);
    made->last = read_u64(&reader);
    made->acked = read_u64(&reader);
    *turn = read_u32(&reader);
    sector_write(wanted, shard, made, *turn);
    return memcmp(sector, wanted, MADE_SECTOR) == 0;
}

static uint64_t sector_at(uint32_t shard, uint32_t half)
{
    return (uint64_t)half * MADE_HALF + (uint64_t)shard * MADE_SECTOR;
}

/* What counts of `shard`. */
struct newest {
    struct made made;
    uint32_t turn, half; /* where it stands; the other half is the next one's */
    uint32_t spoilt;     /* of its two sectors */
};

/* With both sectors spoilt there is nothing that counts. */
static struct newest newest_read(int file, uint32_t shard)
{
    struct newest newest = {0};
    uint8_t sector[MADE_SECTOR];
    for (uint32_t half = 0; half < 2; half++) {
        struct made made;
        uint32_t turn;
        int64_t got = disk_read(file, sector, sizeof sector, sector_at(shard, half));
        if (got != sizeof sector || !sector_read(sector, shard, &made, &turn)) {
            newest.spoilt++;
            continue;
        }
        bool is_newer = made.generation > newest.made.generation ||
                        (made.generation == newest.made.generation && turn > newest.turn);
        if (is_newer) newest = (struct newest){made, turn, half, newest.spoilt};
    }
    return newest;
}

static enum err made_fail(const char *path, const char *step, int64_t result)
{
    log_error("record of the log files cannot be written file=%s step=%s error=\"%s\"", path, step,
              strerrordesc_np((int)-result));
    return disk_is_full(result) ? ERR_DISK_FULL : ERR_IO;
}

/* The second half follows when the first is on disk, so that one of them always counts. */
static int64_t begin_write(int file, uint64_t generation)
{
    struct made none = {.generation = generation, .first = 1};
    uint8_t *sectors = mem_alloc(MADE_HALF);
    for (uint32_t i = 0; i < SHARDS_MAX; i++) sector_write(sectors + i * MADE_SECTOR, i, &none, 1);
    int64_t result = disk_size(file) < 2 * MADE_HALF ? disk_allocate(file, 2 * MADE_HALF) : 0;
    for (uint32_t half = 0; half < 2 && result >= 0; half++) {
        result = disk_write(file, sectors, MADE_HALF, sector_at(0, half));
        if (result >= 0) result = disk_sync(file);
    }
    mem_free(sectors);
    return result;
}

enum err made_begin(const char *path, const char *directory, uint64_t generation)
{
    check(generation > 0);
    int file = disk_open(path, DISK_READ | DISK_WRITE | DISK_CREATE);
    if (file < 0) return made_fail(path, "open", file);
    int64_t result = begin_write(file, generation);
    disk_close(file);
    if (result >= 0) result = disk_sync_dir(directory);
    return result < 0 ? made_fail(path, "write", result) : ERR_OK;
}

enum err made_put(const char *path, uint32_t shard, const struct made *made)
{
    uint8_t sector[MADE_SECTOR];
    check(shard < SHARDS_MAX && made->generation > 0);
    /* A handle of our own: on a shared one only the first sync hears of an error, and
     * sectors of other shards are in the same page. */
    int file = disk_open(path, DISK_READ | DISK_WRITE);
    if (file < 0) return made_fail(path, "open", file);
    struct newest newest = newest_read(file, shard);
    sector_write(sector, shard, made, newest.turn + 1);
    int64_t result = disk_write(file, sector, sizeof sector, sector_at(shard, 1 - newest.half));
    if (result >= 0) result = disk_sync(file);
    disk_close(file);
    return result < 0 ? made_fail(path, "write", result) : ERR_OK;
}

static bool made_check_files(const struct made *made, uint32_t shard, const char *log_directory)
{
    char path[SEGMENT_PATH_SIZE];
    for (uint64_t number = made->first; number <= made->last; number++) {
        segment_path(path, log_directory, made->generation, shard, number);
        if (disk_size_at(path) >= SEGMENT_HEAD) continue;
        log_error("log file is missing, and with it what was acknowledged; " MADE_WAY_OUT
                  " file=%s",
                  path);
        return false;
    }
    return true;
}

/* What one sector says is so. */
static bool made_check_log(const char *path, const char *log_directory, uint32_t shard,
                           const struct made *made, uint64_t generation, bool is_clean)
{
    /* A life that made no file, after a clean end, had nothing that an older index lacks. */
    bool is_empty = made->last < made->first && is_clean;
    if (made->generation > generation && !is_empty) {
        log_error("index is older than the logs were; " MADE_WAY_OUT " file=%s generation=%" PRIu64
                  " of_the_index=%" PRIu64,
                  path, made->generation, generation);
        return false;
    }
    if (made->generation != generation || is_clean) return true;
    return made_check_files(made, shard, log_directory);
}

/* The newer sector of `shard`; false, told in the log, when there is none. */
static bool made_read(const char *path, int file, uint32_t shard, struct made *made)
{
    struct newest newest = newest_read(file, shard);
    *made = newest.made;
    if (newest.spoilt == 1)
        log_warn("one of two records of a log's files is damaged, the other counts file=%s "
                 "offset=%" PRIu64,
                 path, sector_at(shard, 1 - newest.half));
    if (newest.spoilt == 2)
        log_error("record of the log files is damaged; " MADE_WAY_OUT " file=%s offset=%" PRIu64,
                  path, sector_at(shard, 0));
    return newest.spoilt < 2;
}

bool made_check(const char *path, const char *log_directory, uint64_t generation, bool is_clean,
                struct made_acked *acked)
{
    struct made made;
    *acked = (struct made_acked){.generation = generation};
    int file = disk_open(path, DISK_READ);
    bool is_there = file >= 0 && disk_size(file) >= 2 * MADE_HALF, is_fine = is_there || is_clean;
    if (!is_fine) log_error("record of the log files is missing; " MADE_WAY_OUT " file=%s", path);
    for (uint32_t i = 0; is_there && is_fine && i < SHARDS_MAX; i++) {
        is_fine = made_read(path, file, i, &made) &&
                  made_check_log(path, log_directory, i, &made, generation, is_clean);
        if (made.generation == generation && !is_clean) acked->logs[i] = made.acked;
    }
    if (file >= 0) disk_close(file);
    return is_fine;
}
