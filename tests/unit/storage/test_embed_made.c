/*
 * Log files that are gone after a crash, or end before what was acknowledged: never
 * without a word.  The crash is a copy of the data directory of a store that runs,
 * without what SQLite has not synced.
 */
#include <fcntl.h>

#include "storage/embed/embed.h"
#include "unit/storage/shell.h"
#include "unit/storage/store_world.h"

#define FILES_MAX 16

static char base[64], live[80], image[80], data[80];
static char epoch[EPOCH_MAX + 1], text[100001];
static char names[FILES_MAX][64]; /* of the image's log files, ascending */
static uint32_t names_count;
static uint64_t head;

static void names_read(void)
{
    char command[128], line[64];
    snprintf(command, sizeof command, "ls %s/log", image);
    FILE *list = popen(command, "r");
    assert_non_null(list);
    names_count = 0;
    while (fgets(line, sizeof line, list) != NULL && names_count < FILES_MAX) {
        line[strcspn(line, "\n")] = 0;
        snprintf(names[names_count++], sizeof names[0], "%.63s", line);
    }
    pclose(list);
}

static void live_start(struct world *world, struct thing *thing)
{
    world_config(world, CONFIG_ENGINE_EMBEDDED, live);
    assert_int_equal(world_start(world, 1), ERR_OK);
    thing_init(thing, "room:1", 1000, 86400000);
    thing_open(world, thing, 10);
}

static void live_crash(struct world *world, struct thing *thing)
{
    thing_close(thing);
    world_settle(world);
    head = thing->channel.head;
    memcpy(epoch, thing->channel.epoch, sizeof epoch);
    shell("cp -a %s %s && rm -f %s/index.db-wal %s/index.db-shm", live, image, image, image);
    thing_fini(thing);
    world_stop(world);
    names_read();
}

/* An image with some files, all of them needed but perhaps the last one. */
static int setup(void **state)
{
    (void)state;
    struct world world;
    struct thing thing;
    snprintf(base, sizeof base, "/tmp/test_embed_made.%d", (int)getpid());
    snprintf(live, sizeof live, "%s/live", base);
    snprintf(image, sizeof image, "%s/image", base);
    snprintf(data, sizeof data, "%s/data", base);
    shell("rm -rf %s && mkdir %s", base, base);
    memset(text, 'x', VERIFY ? 3000 : sizeof text - 1);
    live_start(&world, &thing);
    for (uint64_t i = 1; i <= 12; i++) assert_int_equal(thing_publish(&thing, NULL, text), i);
    live_crash(&world, &thing);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    shell("rm -rf %s", base);
    return 0;
}

static void data_renew(void)
{
    shell("rm -rf %s && cp -a %s %s", data, image, data);
}

static void assert_refused(void)
{
    struct world world;
    world_config(&world, CONFIG_ENGINE_EMBEDDED, data);
    assert_int_equal(world_start(&world, 1), ERR_STORE_CORRUPT);
}

/* Starts on `data`; the epoch is the one before, or another.  The head. */
static uint64_t assert_started(bool is_same_epoch)
{
    struct world world;
    struct thing thing;
    world_config(&world, CONFIG_ENGINE_EMBEDDED, data);
    assert_int_equal(world_start(&world, 2), ERR_OK);
    thing_init(&thing, "room:1", 1000, 86400000);
    thing_open(&world, &thing, 10);
    uint64_t found = thing.channel.head;
    if (is_same_epoch)
        assert_string_equal(thing.channel.epoch, epoch);
    else
        assert_string_not_equal(thing.channel.epoch, epoch);
    memcpy(epoch, thing.channel.epoch, sizeof epoch);
    thing_close(&thing);
    thing_fini(&thing);
    world_stop(&world);
    return found;
}

static void nothing_is_missing_after_a_crash(void **state)
{
    (void)state;
    data_renew();
    assert_int_equal(assert_started(true), head);
    assert_int_equal(assert_started(true), head);
}

static void each_file_is_missed(void **state)
{
    (void)state;
    assert_true(names_count >= 1);
    for (uint32_t i = 0; i < names_count; i++) {
        data_renew();
        shell("mv %s/log/%s %s/gone", data, names[i], base);
        assert_refused();
        assert_refused();
        shell("mv %s/gone %s/log/%s", base, data, names[i]);
        assert_int_equal(assert_started(true), head);
    }
}

static void all_files_are_missed_and_an_empty_one(void **state)
{
    (void)state;
    data_renew();
    shell("rm %s/log/*", data);
    assert_refused();
    data_renew();
    shell(": > %s/log/%s", data, names[0]);
    assert_refused();
}

static void an_accepted_loss_gives_new_epochs_once(void **state)
{
    (void)state;
    data_renew();
    shell("rm %s/log/* && touch %s/accept-loss", data, data);
    uint64_t left = assert_started(false); /* what a checkpoint had saved */
    assert_true(left < head);
    shell("test ! -e %s/accept-loss", data);
    assert_int_equal(assert_started(true), left);
}

static void what_is_left_of_an_accepted_loss_is_there(void **state)
{
    (void)state;
    data_renew();
    for (uint32_t i = 1; i < names_count; i++) shell("rm %s/log/%s", data, names[i]);
    shell("touch %s/accept-loss", data);
    uint64_t left = assert_started(false);
    assert_true(left > 0 && left <= head);
}

static void the_record_itself_is_missed(void **state)
{
    (void)state;
    data_renew();
    shell("rm %s/made", data);
    assert_refused();
    shell(": > %s/made", data);
    assert_refused();
    shell("touch %s/accept-loss", data);
    assert_int_equal(assert_started(false), head);
    assert_int_equal(assert_started(true), head);
}

#define HALF (SHARDS_MAX * 512) /* of DIR/made: each shard has a sector in either */

static void record_flip(long at)
{
    char path[128];
    uint8_t byte;
    snprintf(path, sizeof path, "%s/made", data);
    int file = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(file, &byte, 1, at), 1);
    byte ^= 4;
    assert_int_equal(pwrite(file, &byte, 1, at), 1);
    close(file);
}

static void a_changed_bit_of_the_record_is_refused(void **state)
{
    (void)state;
    for (int at = 0; at < 512; at += 37) {
        data_renew();
        record_flip(at);
        record_flip(HALF + at);
        assert_refused();
    }
    shell("touch %s/accept-loss", data);
    assert_int_equal(assert_started(false), head);
    assert_int_equal(assert_started(true), head);
}

/* As a write that failed half way, or a bad sector, leaves it. */
static void one_half_of_the_record_is_enough(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 4; i++) {
        data_renew();
        if (i < 2)
            record_flip(i * HALF + 100);
        else
            shell("dd if=/dev/urandom of=%s/made bs=%d seek=%u count=1 conv=notrunc status=none",
                  data, HALF, i - 2);
        assert_int_equal(assert_started(true), head);
    }
}

static void a_clean_end_leaves_nothing_to_miss(void **state)
{
    (void)state;
    data_renew();
    assert_int_equal(assert_started(true), head);
    shell("test -z \"$(ls %s/log)\" && rm %s/made", data, data);
    assert_int_equal(assert_started(true), head);
}

static void an_older_index_is_noticed(void **state)
{
    (void)state;
    data_renew();
    assert_int_equal(assert_started(true), head);
    /* Another life, with a record of files of its own. */
    struct world world;
    struct thing thing;
    shell("rm -rf %s %s && mv %s %s", live, image, data, live);
    shell("cp %s/index.db %s/index.old", live, base);
    live_start(&world, &thing);
    assert_int_equal(thing_publish(&thing, NULL, "more"), head + 1);
    live_crash(&world, &thing);
    data_renew();
    shell("cp %s/index.old %s/index.db", base, data);
    assert_refused();
    shell("touch %s/accept-loss", data);
    assert_started(false);
    assert_started(true);
}

/* After a clean end nothing but the record tells that there was one. */
static void a_missing_index_is_noticed(void **state)
{
    (void)state;
    for (uint32_t is_clean = 0; is_clean < 2; is_clean++) {
        data_renew();
        if (is_clean != 0) assert_int_equal(assert_started(true), head);
        shell("rm -f %s/log/* %s/index.db*", data, data);
        assert_refused();
        assert_refused();
        shell("touch %s/accept-loss", data);
        assert_int_equal(assert_started(false), 0);
        assert_int_equal(assert_started(true), 0);
        /* An empty directory is a first life. */
        shell("rm -r %s/*", data);
        assert_int_equal(assert_started(false), 0);
        assert_int_equal(assert_started(true), 0);
        data_renew();
        assert_int_equal(assert_started(false), head);
    }
    /* Logs without their index are nothing, and nobody but the operator takes them away. */
    data_renew();
    shell("rm -f %s/index.db*", data);
    assert_refused();
    shell("touch %s/accept-loss", data);
    assert_refused();
    names_read();
    assert_true(names_count > 0);
    shell("rm %s/log/*", data);
    assert_int_equal(assert_started(false), 0);
    assert_int_equal(assert_started(true), 0);
}

static void the_record_of_a_life_before_means_nothing(void **state)
{
    (void)state;
    struct world world;
    struct thing thing;
    data_renew();
    /* A second life that makes no file, and crashes. */
    shell("rm -rf %s %s && mv %s %s", live, image, data, live);
    live_start(&world, &thing);
    live_crash(&world, &thing);
    assert_int_equal(names_count, 0);
    data_renew();
    assert_int_equal(assert_started(true), head);
}

static void files_that_were_removed_are_not_missed(void **state)
{
    (void)state;
    struct world world;
    struct thing thing;
    shell("rm -rf %s %s", live, image);
    live_start(&world, &thing);
    thing.channel.history.size = 10;
    /* The first file goes once it is full and a checkpoint is on disk. */
    char first[128];
    snprintf(first, sizeof first, "%s/log/00000001-00-00000001.log", live);
    uint64_t end_ns = clock_mono_ns() + WORLD_WAIT_MS * 1000000ull;
    uint64_t count = 0;
    do {
        thing_publish(&thing, NULL, text);
        count++;
    } while (count < 400 && clock_mono_ns() < end_ns && access(first, F_OK) == 0);
    while (clock_mono_ns() < end_ns && access(first, F_OK) == 0) world_turn(&world);
    assert_int_not_equal(access(first, F_OK), 0);
    thing_publish(&thing, NULL, text);
    live_crash(&world, &thing);
    data_renew();
    assert_int_equal(assert_started(true), head);
}

/* A log of four batches in one file, all of which the record knows; then a crash. */
static void image_marked(uint32_t durability)
{
    struct world world;
    struct thing thing;
    shell("rm -rf %s %s", live, image);
    world_config(&world, CONFIG_ENGINE_EMBEDDED, live);
    world.config.storage_durability = durability;
    assert_int_equal(world_start(&world, 1), ERR_OK);
    thing_init(&thing, "room:1", 1000, 86400000);
    thing_open(&world, &thing, 10);
    for (uint64_t i = 1; i <= 4; i++) assert_int_equal(thing_publish(&thing, NULL, "text"), i);
    const struct shardlog *log = &embed_of(world.shards[0].store)->log;
    uint64_t end_ns = clock_mono_ns() + WORLD_WAIT_MS * 1000000ull;
    while (shardlog_is_unmarked(log) && clock_mono_ns() < end_ns) world_turn(&world);
    assert_false(shardlog_is_unmarked(log));
    assert_int_equal(log->marked, 4);
    live_crash(&world, &thing);
    assert_int_equal(names_count, 1);
}

/* The file of the image, and where its last batch begins and ends. */
static uint8_t file_bytes[SEGMENT_SIZE_MIN];
static size_t last_at, last_end;

static void file_read(void)
{
    char path[256];
    struct batch_head batch;
    snprintf(path, sizeof path, "%s/log/%s", image, names[0]);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(file, file_bytes, sizeof file_bytes), sizeof file_bytes);
    close(file);
    for (size_t at = SEGMENT_STEP;; at = round_up(last_end, SEGMENT_STEP)) {
        struct bytes rest = bytes_of(file_bytes + at, sizeof file_bytes - at);
        if (!batch_open(rest, log_id(1, 0), &batch)) break;
        last_at = at;
        last_end = at + batch_size(batch.payload_size);
    }
    assert_int_equal(batch.number, 0); /* zeroes */
    assert_true(last_at > SEGMENT_HEAD);
}

/* `data` is the image with `size` bytes of its log. */
static void data_renew_with(size_t size)
{
    char path[256];
    data_renew();
    snprintf(path, sizeof path, "%s/log/%s", data, names[0]);
    int file = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_int_equal(write(file, file_bytes, size), size);
    close(file);
}

static void a_changed_bit_of_the_last_acknowledged_batch_is_refused(void **state)
{
    (void)state;
    static const uint32_t levels[] = {CONFIG_DURABLE, CONFIG_WRITTEN};
    for (uint32_t i = 0; i < array_count(levels); i++) {
        image_marked(levels[i]);
        file_read();
        for (size_t at = last_at; at < last_end; at += 29) {
            file_bytes[at] ^= 4;
            data_renew_with(sizeof file_bytes);
            assert_refused();
            file_bytes[at] ^= 4;
        }
        data_renew_with(sizeof file_bytes);
        assert_int_equal(assert_started(true), head);
    }
}

static void a_log_cut_inside_what_was_acknowledged_is_refused(void **state)
{
    (void)state;
    image_marked(CONFIG_DURABLE);
    file_read();
    const size_t sizes[] = {SEGMENT_HEAD, last_at, last_at + 20, last_end - 8};
    for (uint32_t i = 0; i < array_count(sizes); i++) {
        data_renew_with(sizes[i]);
        assert_refused();
        assert_refused();
    }
    memset(file_bytes + last_at, 0, last_end - last_at);
    data_renew_with(sizeof file_bytes);
    assert_refused();
    shell("touch %s/accept-loss", data);
    assert_int_equal(assert_started(false), head - 1);
    assert_int_equal(assert_started(true), head - 1);
}

static void half_a_batch_behind_what_was_acknowledged_is_cut(void **state)
{
    (void)state;
    image_marked(CONFIG_DURABLE);
    file_read();
    size_t next = round_up(last_end, SEGMENT_STEP);
    memcpy(file_bytes + next, file_bytes + last_at, last_end - last_at - 8);
    file_bytes[next + 16]++; /* the next number */
    data_renew_with(sizeof file_bytes);
    assert_int_equal(assert_started(true), head);
}

static void zeroes_in_the_record_are_refused(void **state)
{
    (void)state;
    static const int sectors[] = {1, SHARDS_MAX};
    for (uint32_t i = 0; i < array_count(sectors); i++) {
        data_renew();
        for (int half = 0; half < 2; half++)
            shell("dd if=/dev/zero of=%s/made bs=512 seek=%d count=%d conv=notrunc status=none",
                  data, half * SHARDS_MAX, sectors[i]);
        assert_refused();
    }
    shell("touch %s/accept-loss", data);
    assert_int_equal(assert_started(false), head);
    assert_int_equal(assert_started(true), head);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(nothing_is_missing_after_a_crash),
        CASE(each_file_is_missed),
        CASE(all_files_are_missed_and_an_empty_one),
        CASE(an_accepted_loss_gives_new_epochs_once),
        CASE(what_is_left_of_an_accepted_loss_is_there),
        CASE(the_record_itself_is_missed),
        CASE(a_changed_bit_of_the_record_is_refused),
        CASE(one_half_of_the_record_is_enough),
        CASE(a_clean_end_leaves_nothing_to_miss),
        CASE(an_older_index_is_noticed),
        CASE(a_missing_index_is_noticed),
        CASE(the_record_of_a_life_before_means_nothing),
        CASE(files_that_were_removed_are_not_missed),
        CASE(a_changed_bit_of_the_last_acknowledged_batch_is_refused),
        CASE(a_log_cut_inside_what_was_acknowledged_is_refused),
        CASE(half_a_batch_behind_what_was_acknowledged_is_cut),
        CASE(zeroes_in_the_record_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
