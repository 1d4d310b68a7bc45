/* What is written is read; what was cut or changed in kind is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/record.h"

/* 0: by the server API; 1: by a client; 2: whose subscription has an info too. */
static struct publication sample(int who)
{
    bool has_info = who > 0;
    struct publication publication = {.offset = 7,
                                      .time_ms = 1700000000123,
                                      .data = BYTES_LITERAL("{\"text\":\"hello\"}"),
                                      .tags = BYTES_LITERAL("{\"a\":\"b\"}"),
                                      .has_info = has_info};
    if (has_info) {
        publication.version = UINT64_MAX;
        publication.version_epoch = BYTES_LITERAL("game 7");
        memset(publication.client, 0xab, sizeof publication.client);
        publication.user = BYTES_LITERAL("ann");
        publication.conn_info = BYTES_LITERAL("{\"name\":\"Ann\"}");
    }
    if (who == 2) publication.chan_info = BYTES_LITERAL("{\"role\":1}");
    return publication;
}

static void publication_comes_back_as_written(void **state)
{
    (void)state;
    for (int who = 0; who < 3; who++) {
        struct publication before = sample(who), after;
        uint8_t buffer[256];
        struct writer writer = writer_of(buffer, sizeof buffer);
        publication_write(&writer, &before);
        assert_false(writer.failed);
        assert_int_equal(writer.used, publication_size(&before));
        struct reader reader = reader_of(writer_bytes(&writer));
        assert_int_equal(publication_read(&reader, &after), ERR_OK);
        assert_int_equal(reader.left, 0);
        assert_int_equal(after.offset, before.offset);
        assert_int_equal(after.time_ms, before.time_ms);
        assert_int_equal(after.has_info, before.has_info);
        assert_true(bytes_equal(after.data, before.data));
        assert_true(bytes_equal(after.tags, before.tags));
        assert_true(bytes_equal(after.user, before.user));
        assert_true(bytes_equal(after.conn_info, before.conn_info));
        assert_int_equal(after.version, before.version);
        assert_true(bytes_equal(after.version_epoch, before.version_epoch));
        assert_true(bytes_equal(after.chan_info, before.chan_info));
        assert_memory_equal(after.client, before.client, sizeof after.client);
    }
}

static void opaque_data_is_told_by_a_bit_of_the_flags(void **state)
{
    (void)state;
    for (int is_opaque = 0; is_opaque < 2; is_opaque++) {
        struct publication before = sample(1), after;
        uint8_t buffer[256];
        before.is_opaque = is_opaque;
        struct writer writer = writer_of(buffer, sizeof buffer);
        publication_write(&writer, &before);
        assert_int_equal(buffer[1] & 2, is_opaque ? 2 : 0);
        struct reader reader = reader_of(writer_bytes(&writer));
        assert_int_equal(publication_read(&reader, &after), ERR_OK);
        assert_int_equal(after.is_opaque, is_opaque);
        assert_true(after.has_info && bytes_equal(after.user, before.user));
    }
}

static void the_deleted_comes_back_as_nothing_else(void **state)
{
    (void)state;
    for (int who = 0; who < 3; who++) {
        struct publication before = sample(who), after;
        uint8_t buffer[256];
        size_t size = publication_size(&before);
        before.taken_ms = 5;
        publication_bury(&before);
        assert_int_equal(before.taken_ms, 5);
        assert_true(publication_size(&before) < size);
        struct writer writer = writer_of(buffer, sizeof buffer);
        publication_write(&writer, &before);
        assert_int_equal(writer.used, publication_size(&before));
        /* The least that anything else takes. */
        assert_int_equal(writer.used, publication_size(&(struct publication){.offset = 1}));
        struct reader reader = reader_of(writer_bytes(&writer));
        assert_int_equal(publication_read(&reader, &after), ERR_OK);
        assert_int_equal(reader.left, 0);
        assert_true(after.is_deleted && !after.has_info && after.version == 0);
        assert_int_equal(after.offset, 7);
        assert_int_equal(after.time_ms, sample(0).time_ms);
        assert_true(bytes_equal_text(after.data, DELETED_DATA));
        assert_true(bytes_equal_text(after.tags, DELETED_TAGS));
        /* It says nothing, and nothing else beside. */
        for (int flag = 1; flag < 32; flag *= 2) {
            buffer[1] = (uint8_t)(32 | flag);
            reader = reader_of(bytes_of(buffer, sizeof buffer));
            assert_int_equal(publication_read(&reader, &after), ERR_STORE_CORRUPT);
        }
        buffer[1] = 32;
        buffer[18] = 1;
        reader = reader_of(bytes_of(buffer, writer.used + 1));
        assert_int_equal(publication_read(&reader, &after), ERR_STORE_CORRUPT);
    }
}

static void what_is_deleted_comes_before_it(void **state)
{
    (void)state;
    for (uint64_t deletes = 1; deletes < 9; deletes++) {
        struct publication before = sample(2), after;
        uint8_t buffer[256];
        before.deletes = deletes;
        struct writer writer = writer_of(buffer, sizeof buffer);
        publication_write(&writer, &before);
        assert_int_equal(writer.used, publication_size(&before));
        struct reader reader = reader_of(writer_bytes(&writer));
        /* Its own offset: that is not known yet. */
        assert_int_equal(publication_read(&reader, &after),
                         deletes <= 7 ? ERR_OK : ERR_STORE_CORRUPT);
        if (deletes <= 7) assert_int_equal(after.deletes, deletes);
        assert_true(!after.is_deleted && bytes_equal(after.data, before.data));
    }
}

static void publication_cut_at_any_byte_is_refused(void **state)
{
    (void)state;
    for (int who = 0; who < 3; who++) {
        struct publication publication = sample(who);
        uint8_t buffer[256];
        struct writer writer = writer_of(buffer, sizeof buffer);
        publication_write(&writer, &publication);
        for (size_t size = 0; size < writer.used; size++) {
            struct reader reader = reader_of(bytes_of(buffer, size));
            assert_int_equal(publication_read(&reader, &publication), ERR_STORE_CORRUPT);
        }
    }
}

static void publication_of_unknown_version_or_flag_is_refused(void **state)
{
    (void)state;
    struct publication publication = sample(1);
    uint8_t buffer[256];
    struct writer writer = writer_of(buffer, sizeof buffer);
    publication_write(&writer, &publication);
    for (int value = 0; value < 256; value++) {
        uint8_t changed[256];
        memcpy(changed, buffer, writer.used);
        changed[0] = (uint8_t)value;
        struct reader reader = reader_of(bytes_of(changed, writer.used));
        assert_int_equal(publication_read(&reader, &publication),
                         value == 1 ? ERR_OK : ERR_STORE_CORRUPT);
        memcpy(changed, buffer, writer.used);
        changed[1] = (uint8_t)value;
        reader = reader_of(bytes_of(changed, writer.used));
        enum err err = publication_read(&reader, &publication);
        /* 8 says that a chan_info follows, and none does. */
        if (value & ~(1 | 2 | 4)) assert_int_equal(err, ERR_STORE_CORRUPT);
        if ((value & ~2) == (1 | 4)) assert_int_equal(err, ERR_OK);
    }
}

static void a_flag_without_its_field_is_refused(void **state)
{
    (void)state;
    static const uint8_t flags[] = {1 | 8, 1 | 4, 4, 8};
    for (size_t i = 0; i < sizeof flags; i++) {
        struct publication publication = sample(0);
        publication.has_info = flags[i] & 1;
        uint8_t buffer[256];
        struct writer writer = writer_of(buffer, sizeof buffer);
        publication_write(&writer, &publication);
        buffer[1] = flags[i];
        /* An empty chan_info, and a version of none with an empty epoch. */
        write_bytes(&writer, bytes_of((const uint8_t[12]){0}, flags[i] & 8 ? 4 : 12));
        struct reader reader = reader_of(writer_bytes(&writer));
        assert_int_equal(publication_read(&reader, &publication), ERR_STORE_CORRUPT);
    }
}

static void publication_without_room_latches(void **state)
{
    (void)state;
    struct publication publication = sample(1);
    uint8_t buffer[256];
    for (size_t size = 0; size < publication_size(&publication); size++) {
        struct writer writer = writer_of(buffer, size);
        publication_write(&writer, &publication);
        assert_true(writer.failed);
        assert_true(writer.used <= size);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(publication_comes_back_as_written),
        cmocka_unit_test(opaque_data_is_told_by_a_bit_of_the_flags),
        cmocka_unit_test(the_deleted_comes_back_as_nothing_else),
        cmocka_unit_test(what_is_deleted_comes_before_it),
        cmocka_unit_test(publication_cut_at_any_byte_is_refused),
        cmocka_unit_test(publication_of_unknown_version_or_flag_is_refused),
        cmocka_unit_test(a_flag_without_its_field_is_refused),
        cmocka_unit_test(publication_without_room_latches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
