/*
 * Versions of digests: what is one, what folding keeps, and that every version of ours
 * is read back as it was written.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "shards/cmd/digest.c"

#include "core/rng.h"

/* The text of the version that `parts` make for so many channels. */
static struct bytes written(struct json_out *out, const uint32_t parts[PARTS_MAX],
                            uint32_t channels)
{
    json_out_object(out);
    version_write(out, parts, channels, BYTES_NONE);
    json_out_object_end(out);
    static const char head[] = "{\"version\":\"";
    struct bytes all = json_out_bytes(out);
    assert_memory_equal(all.at, head, sizeof head - 1);
    return bytes_of(all.at + sizeof head - 1, all.size - (sizeof head - 1) - 2);
}

static void a_version_is_read_as_it_was_written(void **state)
{
    (void)state;
    static const struct {
        uint32_t channels, log;
    } rows[] = {{0, 0}, {1, 0}, {2, 1}, {3, 2}, {4, 2}, {5, 3}, {256, 8}, {257, 8}, {10000, 8}};
    struct rng rng;
    rng_seed(&rng, 3);
    uint32_t parts[PARTS_MAX], read[PARTS_MAX], folded[PARTS_MAX], log;
    uint8_t set[SET_MAX];
    size_t size;
    for (uint32_t i = 0; i < PARTS_MAX; i++) parts[i] = (uint32_t)rng_next(&rng);
    for (size_t i = 0; i < array_count(rows); i++) {
        struct json_out out = {0};
        struct bytes version = written(&out, parts, rows[i].channels);
        assert_true(digest_is_version(version));
        assert_true(version_parse(version, &log, read, set, &size));
        assert_int_equal(log, rows[i].log);
        fold(parts, log, folded);
        assert_memory_equal(read, folded, sizeof(uint32_t) << log);
        json_out_fini(&out);
    }
}

static void what_is_no_version_is_refused(void **state)
{
    (void)state;
    uint32_t parts[PARTS_MAX] = {7}, log;
    uint8_t set[SET_MAX];
    size_t set_size;
    struct json_out out = {0};
    struct bytes version = written(&out, parts, 4);
    for (size_t size = 1; size < version.size; size++)
        assert_false(digest_is_version(bytes_of(version.at, size)));
    char text[64];
    assert_true(version.size + 1 < sizeof text);
    memcpy(text, version.at, version.size);
    text[version.size] = 'A';
    assert_false(digest_is_version(bytes_of(text, version.size + 1)));
    for (size_t at = 0; at < version.size; at++) {
        memcpy(text, version.at, version.size);
        text[at] = '*';
        assert_false(digest_is_version(bytes_of(text, version.size)));
    }
    assert_false(digest_is_version(BYTES_LITERAL("9.AAAA")));
    assert_true(digest_is_version(BYTES_NONE));
    assert_true(version_parse(BYTES_NONE, &log, parts, set, &set_size));
    assert_int_equal(log, PARTS_LOG + 1); /* everything is new */
    json_out_fini(&out);
}

static void any_change_of_a_channel_shows_in_every_fold(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 5);
    for (int round = 0; round < 200; round++) {
        uint32_t parts[PARTS_MAX], before[PARTS_MAX], after[PARTS_MAX];
        uint32_t part = (uint32_t)rng_below(&rng, PARTS_MAX);
        for (uint32_t i = 0; i < PARTS_MAX; i++) parts[i] = (uint32_t)rng_next(&rng);
        for (uint32_t log = 0; log <= PARTS_LOG; log++) {
            fold(parts, log, before);
            parts[part] ^= (uint32_t)rng_next(&rng) | 1u;
            fold(parts, log, after);
            for (uint32_t i = 0; i < 1u << log; i++)
                assert_int_equal(before[i] != after[i], i == (part & ((1u << log) - 1)));
        }
    }
}

/* Sums, then what the user's channels were: well formed, or no version. */
static void a_version_may_name_channels(void **state)
{
    (void)state;
    static const struct {
        struct bytes set;
        bool is_good;
    } rows[] = {{BYTES_LITERAL("1234"), true},
                {BYTES_LITERAL("1234\001a\003b:c"), true},
                {BYTES_LITERAL("123"), false},
                {BYTES_LITERAL("1234\002a"), false},
                {BYTES_LITERAL("1234\001a\000"), false}};
    uint32_t parts[PARTS_MAX] = {7}, log;
    uint8_t set[SET_MAX];
    size_t size;
    for (size_t i = 0; i < array_count(rows); i++) {
        struct json_out out = {0};
        json_out_object(&out);
        version_write(&out, parts, 1, rows[i].set);
        json_out_object_end(&out);
        struct bytes version = bytes_of(out.at + 12, out.used - 14);
        assert_int_equal(digest_is_version(version), rows[i].is_good);
        if (rows[i].is_good) {
            assert_true(version_parse(version, &log, parts, set, &size));
            assert_int_equal(size, rows[i].set.size);
            assert_memory_equal(set, rows[i].set.at, size);
        }
        json_out_fini(&out);
    }
    assert_false(digest_is_version(BYTES_LITERAL("0.AAAABw.")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_version_is_read_as_it_was_written),
        cmocka_unit_test(what_is_no_version_is_refused),
        cmocka_unit_test(a_version_may_name_channels),
        cmocka_unit_test(any_change_of_a_channel_shows_in_every_fold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
