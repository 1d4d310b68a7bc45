/* Chunks: what is written is read; what is cut, changed or out of order is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "storage/embed/chunk.h"

#define OFFSET 1000000000000ull
#define TIME   1700000000000ull

static struct chunk chunk, found;
static uint8_t buffer[1 << 16];

static struct chunk_item item(uint64_t offset, uint64_t time_ms, const char *scope,
                              const char *text)
{
    return (struct chunk_item){offset, time_ms, bytes_of_text(scope), bytes_of_text(text)};
}

static void add(uint64_t offset, uint64_t time_ms, const char *text)
{
    struct chunk_item one = item(offset, time_ms, "scope", text);
    assert_true(chunk_takes(&chunk, &one, SIZE_MAX));
    chunk_add(&chunk, &one);
}

static struct bytes write_all(void)
{
    struct writer writer = writer_of(buffer, sizeof buffer);
    chunk_write(&chunk, &writer);
    assert_false(writer.failed);
    assert_int_equal(writer.used, chunk.size);
    return writer_bytes(&writer);
}

static int setup(void **state)
{
    (void)state;
    chunk_clear(&chunk);
    return 0;
}

static void items_come_back_as_written(void **state)
{
    (void)state;
    add(OFFSET, TIME, "");
    for (uint32_t i = 1; i < CHUNK_ITEMS_MAX; i++) add(OFFSET + i * 3, TIME + i / 2, "text");
    struct bytes bytes = write_all();
    const struct chunk_item *last = chunk_last(&chunk);
    assert_true(chunk_is_on(bytes));
    assert_int_equal(chunk_read(bytes, last->offset, last->time_ms, &found), ERR_OK);
    assert_int_equal(found.count, CHUNK_ITEMS_MAX);
    assert_int_equal(found.size, chunk.size);
    for (uint32_t i = 0; i < found.count; i++) {
        assert_int_equal(found.items[i].offset, chunk.items[i].offset);
        assert_int_equal(found.items[i].time_ms, chunk.items[i].time_ms);
        assert_true(bytes_equal(found.items[i].scope, chunk.items[i].scope));
        assert_true(bytes_equal(found.items[i].bytes, chunk.items[i].bytes));
    }
}

static void a_chunk_takes_what_lies_behind_it_and_fits(void **state)
{
    (void)state;
    struct chunk_item one = item(OFFSET, TIME, "s", "0123456789");
    assert_true(chunk_takes(&chunk, &one, 0));
    chunk_add(&chunk, &one);
    size_t each = chunk.size - 2;
    assert_true(chunk_takes(&chunk, &one, chunk.size + each));
    assert_false(chunk_takes(&chunk, &one, chunk.size + each - 1));
    one.offset = OFFSET - 1;
    assert_false(chunk_takes(&chunk, &one, SIZE_MAX));
    one.offset = OFFSET + UINT32_MAX;
    assert_true(chunk_takes(&chunk, &one, SIZE_MAX));
    one.offset++;
    assert_false(chunk_takes(&chunk, &one, SIZE_MAX));
    one = item(OFFSET + 1, TIME - 1, "", "");
    assert_false(chunk_takes(&chunk, &one, SIZE_MAX));
    one.time_ms = TIME + UINT32_MAX;
    assert_true(chunk_takes(&chunk, &one, SIZE_MAX));
    one.time_ms++;
    assert_false(chunk_takes(&chunk, &one, SIZE_MAX));
    while (chunk.count < CHUNK_ITEMS_MAX) add(OFFSET, TIME, "");
    one.time_ms = TIME;
    assert_false(chunk_takes(&chunk, &one, SIZE_MAX));
}

static void a_chunk_that_is_cut_or_of_another_row_is_refused(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 5; i++) add(OFFSET + i, TIME + i, "text");
    struct bytes bytes = write_all();
    for (size_t cut = 0; cut < bytes.size; cut++) {
        enum err err = chunk_read(bytes_of(bytes.at, cut), OFFSET + 4, TIME + 4, &found);
        assert_int_equal(err, ERR_STORE_CORRUPT);
    }
    bytes.size++;
    assert_int_equal(chunk_read(bytes, OFFSET + 4, TIME + 4, &found), ERR_STORE_CORRUPT);
    bytes.size--;
    assert_int_equal(chunk_read(bytes, 3, TIME + 4, &found), ERR_STORE_CORRUPT);
    assert_int_equal(chunk_read(bytes, OFFSET + 4, 3, &found), ERR_STORE_CORRUPT);
    assert_int_equal(chunk_read(bytes, OFFSET + 4, TIME + 4, &found), ERR_OK);
}

static void items_out_of_order_are_refused(void **state)
{
    (void)state;
    add(OFFSET, TIME, "a");
    add(OFFSET + 1, TIME + 1, "b");
    struct bytes bytes = write_all();
    size_t second = 2 + (bytes.size - 2) / 2;
    static const size_t places[] = {0, 4}; /* of its offset, of its time */
    for (int i = 0; i < 2; i++) {
        buffer[second + places[i]] = 2;
        assert_int_equal(chunk_read(bytes, OFFSET + 1, TIME + 1, &found), ERR_STORE_CORRUPT);
        buffer[second + places[i]] = 1; /* the last is not that of the row */
        assert_int_equal(chunk_read(bytes, OFFSET + 1, TIME + 1, &found), ERR_STORE_CORRUPT);
        buffer[second + places[i]] = 0;
    }
    static const uint8_t counts[] = {0, 1, 3, CHUNK_ITEMS_MAX + 1, 255};
    for (size_t i = 0; i < sizeof counts; i++) {
        buffer[1] = counts[i];
        assert_int_equal(chunk_read(bytes, OFFSET + 1, TIME + 1, &found), ERR_STORE_CORRUPT);
    }
    buffer[1] = 2;
    buffer[0] = 4;
    assert_int_equal(chunk_read(bytes, OFFSET + 1, TIME + 1, &found), ERR_STORE_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(items_come_back_as_written, setup),
        cmocka_unit_test_setup(a_chunk_takes_what_lies_behind_it_and_fits, setup),
        cmocka_unit_test_setup(a_chunk_that_is_cut_or_of_another_row_is_refused, setup),
        cmocka_unit_test_setup(items_out_of_order_are_refused, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
