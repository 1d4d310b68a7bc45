/* The record of log files; the story stands in made.h. */
#include "storage/embed/made.h"

#include <errno.h>
#include <inttypes.h>

#include "core/disk.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/mem.h"

#define MADE_MAGIC   "SLUICEMD"
#define MADE_VERSION 2
#define MADE_SECTOR  512u
#define MADE_SIZE    (SHARDS_MAX * MADE_SECTOR)

#define MADE_WAY_OUT                                                                               \
    "restore the whole data directory from a backup, or make an empty file " MADE_ACCEPT_NAME      \
    " in it: the start then goes on without what is gone and gives every channel a new epoch"

static void sector_write(uint8_t sector[MADE_SECTOR], uint32_t shard, const struct made *made)
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
    write_u32(&writer, 0);
    write_u32(&writer, hash_crc32c(0, sector, writer.used));
    check(!writer.failed);
}

/* False: not what sector_write makes. */
static bool sector_read(const uint8_t sector[MADE_SECTOR], uint32_t shard, struct made *made)
{
    uint8_t wanted[MADE_SECTOR];
    struct reader reader = reader_of(bytes_of(sector, MADE_SECTOR));
    (void)read_bytes(&reader, strlen(MADE_MAGIC) + 8);
    made->generation = read_u64(&reader);
    made->first = read_u64(&reader);
    made->last = read_u64(&reader);
    made->acked = read_u64(&reader);
    sector_write(wanted, shard, made);
    return memcmp(sector, wanted, MADE_SECTOR) == 0;
}

static enum err made_fail(const char *path, const char *step, int64_t result)
{
    log_error("record of the log files cannot be written file=%s step=%s errno=%d", path, step,
              (int)-result);
    return ERR_IO;
}

enum err made_begin(const char *path, const char *directory, uint64_t generation)
{
    struct made none = {.generation = generation, .first = 1};
    int file = disk_open(path, DISK_READ | DISK_WRITE | DISK_CREATE);
    if (file < 0) return made_fail(path, "open", file);
    uint8_t *sectors = mem_alloc(MADE_SIZE);
    for (uint32_t i = 0; i < SHARDS_MAX; i++) sector_write(sectors + i * MADE_SECTOR, i, &none);
    int64_t result = disk_size(file) < MADE_SIZE ? disk_allocate(file, MADE_SIZE) : 0;
    if (result >= 0) result = disk_write(file, sectors, MADE_SIZE, 0);
    if (result >= 0) result = disk_sync(file);
    mem_free(sectors);
    disk_close(file);
    if (result >= 0) result = disk_sync_dir(directory);
    return result < 0 ? made_fail(path, "write", result) : ERR_OK;
}

enum err made_put(const char *path, uint32_t shard, const struct made *made)
{
    uint8_t sector[MADE_SECTOR];
    check(shard < SHARDS_MAX && made->generation > 0);
    sector_write(sector, shard, made);
    /* A handle of our own: on a shared one only the first sync hears of an error, and
     * sectors of other shards are in the same page. */
    int file = disk_open(path, DISK_WRITE);
    if (file < 0) return made_fail(path, "open", file);
    int64_t result = disk_write(file, sector, sizeof sector, (uint64_t)shard * MADE_SECTOR);
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

bool made_check(const char *path, const char *log_directory, uint64_t generation, bool is_clean,
                struct made_acked *acked)
{
    uint8_t sector[MADE_SECTOR];
    struct made made;
    *acked = (struct made_acked){.generation = generation};
    int file = disk_open(path, DISK_READ);
    bool is_there = file >= 0 && disk_size(file) >= MADE_SIZE, is_fine = is_there || is_clean;
    if (!is_fine) log_error("record of the log files is missing; " MADE_WAY_OUT " file=%s", path);
    for (uint32_t i = 0; is_there && is_fine && i < SHARDS_MAX; i++) {
        int64_t got = disk_read(file, sector, sizeof sector, (uint64_t)i * MADE_SECTOR);
        is_fine = got == sizeof sector && sector_read(sector, i, &made);
        if (!is_fine) {
            log_error("record of the log files is damaged; " MADE_WAY_OUT " file=%s offset=%u",
                      path, i * MADE_SECTOR);
            break;
        }
        is_fine = made_check_log(path, log_directory, i, &made, generation, is_clean);
        if (made.generation == generation && !is_clean) acked->logs[i] = made.acked;
    }
    if (file >= 0) disk_close(file);
    return is_fine;
}
