/* Entries: what is written is read; what is cut or unknown is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/embed/entry.h"

static const struct entry sample = {.type = RECORD_CURSOR,
                                    .name = BYTES_LITERAL("room:1"),
                                    .epoch = BYTES_LITERAL("abcdefgh"),
                                    .scope = BYTES_LITERAL("api"),
                                    .key = BYTES_LITERAL("k1"),
                                    .time_ms = 1700000000123,
                                    .history_size = 100,
                                    .history_ttl_ms = 5000,
                                    .meta_ttl_ms = 6000,
                                    .offset = 77};

static size_t write_sample(uint8_t *buffer, size_t size)
{
    struct writer writer = writer_of(buffer, size);
    entry_write(&writer, &sample, 3);
    write_text(&writer, "ann");
    assert_false(writer.failed);
    assert_int_equal(writer.used, entry_size(&sample, 3));
    return writer.used;
}

static void an_entry_comes_back_as_written(void **state)
{
    (void)state;
    uint8_t buffer[256];
    struct entry entry;
    size_t size = write_sample(buffer, sizeof buffer);
    struct reader reader = reader_of(bytes_of(buffer, size));
    assert_int_equal(entry_read(&reader, &entry), ERR_OK);
    assert_int_equal(reader.left, 0);
    assert_int_equal(entry.type, sample.type);
    assert_true(bytes_equal(entry.name, sample.name));
    assert_true(bytes_equal(entry.epoch, sample.epoch));
    assert_true(bytes_equal(entry.scope, sample.scope));
    assert_true(bytes_equal(entry.key, sample.key));
    assert_int_equal(entry.time_ms, sample.time_ms);
    assert_int_equal(entry.history_size, sample.history_size);
    assert_int_equal(entry.history_ttl_ms, sample.history_ttl_ms);
    assert_int_equal(entry.meta_ttl_ms, sample.meta_ttl_ms);
    assert_int_equal(entry.offset, sample.offset);
    assert_true(bytes_equal_text(entry.body, "ann"));
}

static void a_publication_says_what_it_deletes(void **state)
{
    (void)state;
    uint8_t buffer[256];
    for (uint64_t deletes = 0; deletes < 79; deletes++) {
        struct entry before = sample, after;
        before.type = RECORD_PUBLICATION;
        before.deletes = deletes;
        struct writer writer = writer_of(buffer, sizeof buffer);
        entry_write(&writer, &before, 4);
        write_text(&writer, "body");
        assert_int_equal(writer.used, entry_size(&before, 4));
        struct reader reader = reader_of(writer_bytes(&writer));
        /* Only what stands before it. */
        bool is_good = deletes < sample.offset;
        assert_int_equal(entry_read(&reader, &after), is_good ? ERR_OK : ERR_STORE_CORRUPT);
        if (!is_good) continue;
        assert_int_equal(after.deletes, deletes);
        assert_int_equal(after.variant, 0);
        assert_true(bytes_equal_text(after.body, "body"));
    }
}

static void an_entry_cut_at_any_byte_is_refused(void **state)
{
    (void)state;
    uint8_t buffer[256];
    struct entry entry;
    size_t size = write_sample(buffer, sizeof buffer);
    for (size_t cut = 0; cut < size; cut++) {
        struct reader reader = reader_of(bytes_of(buffer, cut));
        assert_int_equal(entry_read(&reader, &entry), ERR_STORE_CORRUPT);
    }
}

static void an_entry_of_another_type_is_refused(void **state)
{
    (void)state;
    uint8_t buffer[256];
    struct entry entry;
    size_t size = write_sample(buffer, sizeof buffer);
    for (int type = 0; type < 256; type++) {
        buffer[4] = (uint8_t)type;
        struct reader reader = reader_of(bytes_of(buffer, size));
        bool is_known = type >= RECORD_PUBLICATION && type <= RECORD_KEY;
        assert_int_equal(entry_read(&reader, &entry), is_known ? ERR_OK : ERR_STORE_CORRUPT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_comes_back_as_written),
        cmocka_unit_test(a_publication_says_what_it_deletes),
        cmocka_unit_test(an_entry_cut_at_any_byte_is_refused),
        cmocka_unit_test(an_entry_of_another_type_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
