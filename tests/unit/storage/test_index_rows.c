/* Rows of several: what came together is read, and is over, one by one. */
#include "unit/storage/index_world.h"

/* Asks from `since` on, or back, and expects offsets first, first±1 … */
static void expect(const char *name, bool is_reverse, uint64_t since, uint32_t limit,
                   uint64_t time_min_ms, uint64_t first, uint32_t count)
{
    struct query query = {.name = bytes_of_text(name),
                          .log = LOG,
                          .is_reverse = is_reverse,
                          .since = since,
                          .limit = limit,
                          .time_min_ms = time_min_ms,
                          .bytes_max = 4 << 20};
    assert_int_equal(index_query(reader, &query), ERR_OK);
    assert_int_equal(query.publications_count, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct publication *publication = &query.publications[i];
        assert_int_equal(publication->offset, is_reverse ? first - i : first + i);
        assert_int_equal(publication->taken_ms, publication->offset);
        assert_true(bytes_equal(publication->data, data));
    }
    query_clear(&query);
}

static uint32_t least(uint64_t a, uint64_t b)
{
    return (uint32_t)(a < b ? a : b);
}

static void what_came_together_shares_rows_and_is_read_one_by_one(void **state)
{
    (void)state;
    static const uint32_t limits[] = {1, 2, 63, 64, 65, 130, 1000};
    const uint64_t head = 212;
    put_many("a", 1, 150, 1000);
    assert_int_equal(rows("publications"), 3); /* 64, 64 and 22 */
    assert_true(rows("keys") < 10);
    assert_int_equal(put("a", 151, 151, 1000, 1000), ERR_OK);
    put_many("a", 152, 61, 1000);
    assert_int_equal(rows("publications"), 5);
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        for (uint64_t since = 0; since <= head + 1; since++) {
            uint32_t after = since > head ? 0 : (uint32_t)(head - since);
            expect("a", false, since, limits[i], 0, since + 1, least(after, limits[i]));
            uint64_t below = since == 0 || since > head ? head + 1 : since;
            expect("a", true, since, limits[i], 0, below - 1, least(below - 1, limits[i]));
        }
    }
    /* Age and size end in the middle of a row. */
    expect("a", false, 0, 1000, 100, 100, 113);
    expect("a", true, 140, 1000, 100, 139, 40);
    put_many("a", 213, 2, 70);
    expect("a", false, 0, 1000, 0, 145, 70);
    expect("a", true, 146, 5, 0, 145, 1);
    sweep(1, 1000, 100);                       /* with the tiny limits what is over goes later */
    assert_int_equal(rows("publications"), 4); /* 129-150, 151, 152-212, 213-214 */
}

static void keys_that_came_together_have_their_own_ages(void **state)
{
    (void)state;
    put_many("a", 1, 150, 1000);
    put_live("a", 1, 160);
    struct query query = ask("a");
    assert_int_equal(query.keys_count, 151);
    for (uint32_t i = 1; i < 151; i++) {
        assert_int_equal(query.keys[i].offset, 151 - i);
        assert_memory_equal(query.keys[i].key.at, &query.keys[i].offset, 8);
        assert_true(bytes_equal_text(query.keys[i].scope, "api"));
    }
    query_clear(&query);
    query.keys_max = 100;
    query.key_time_ms = 75;
    assert_int_equal(index_query(reader, &query), ERR_OK);
    assert_int_equal(query.keys_count, 77);
    assert_int_equal(query.keys[76].offset, 75);
    query_clear(&query);
    query.keys_max = 50;
    assert_int_equal(index_query(reader, &query), ERR_OK);
    assert_int_equal(query.keys_count, 50);
    query_clear(&query);
    sweep(1140, 1000, 100); /* keys below 140 are over */
    query = ask("a");
    assert_true(query.keys_count >= 12 && query.keys_count < 151);
    query_clear(&query);
    assert_true(rows("keys") >= 1 && rows("keys") < 3);
}

static void assert_bodies_are_those_of_rows(void)
{
    assert_int_equal(rows("bodies"), rows("publications WHERE typeof(body)='integer'"));
}

static void a_large_transaction_puts_its_publications_behind_one_another(void **state)
{
    (void)state;
    static uint8_t filler[9000];
    memset(filler, 'f', sizeof filler);
    data = bytes_of(filler, sizeof filler);
    put_many("a", 1, 130, 1000);
    put_many("b", 1, 130, 1000);
    assert_true(rows("bodies") >= 130);
    assert_int_equal(rows("bodies"), rows("publications"));
    expect("a", false, 0, 1000, 0, 1, 130);
    expect("b", true, 0, 7, 0, 130, 7);
    expect("b", false, 64, 2, 0, 65, 2);
    put_many("a", 131, 1, 20); /* pushes most of them out */
    expect("a", false, 0, 1000, 0, 112, 20);
    expect("b", false, 0, 1000, 0, 1, 130);
    sweep(1, 5000, 100); /* with the tiny limits they go later */
    assert_true(rows("bodies") < 130 + 30);
    assert_bodies_are_those_of_rows();
    sweep(1000 + 60, 5000, 100); /* b's first 59 are older than their time */
    expect("b", false, 0, 1000, 61, 61, 70);
    assert_bodies_are_those_of_rows();
    sweep(5000, 5000, 100);
    assert_int_equal(rows("publications"), 0);
    assert_int_equal(rows("bodies"), 0);
}

static void a_large_transaction_puts_its_keys_behind_one_another(void **state)
{
    (void)state;
    static uint8_t filler[9000];
    memset(filler, 'f', sizeof filler);
    data = bytes_of(filler, sizeof filler);
    put_many("a", 1, 130, 1000);
    put_many("b", 1, 1, 1000);
    assert_true(rows("key_bodies") >= 1);
    assert_int_equal(rows("key_bodies"), rows("keys WHERE typeof(key)='integer'"));
    data = BYTES_LITERAL("small");
    put_many("a", 131, 20, 1000);
    struct query query = ask("a");
    assert_int_equal(query.keys_count, 150);
    for (uint32_t i = 0; i < 150; i++) {
        assert_int_equal(query.keys[i].offset, 150 - i);
        assert_memory_equal(query.keys[i].key.at, &query.keys[i].offset, 8);
        assert_true(bytes_equal_text(query.keys[i].scope, "api"));
    }
    query_clear(&query);
    sweep(1131, 1000, 100); /* keys below 131 are over */
    assert_int_equal(rows("key_bodies"), rows("keys WHERE typeof(key)='integer'"));
    assert_true(rows("key_bodies") <= 1); /* of those above, with the tiny limits */
    query = ask("a");
    assert_int_equal(query.keys_count, 20);
    query_clear(&query);
    assert_true(rows("keys") >= 1);
}

static void a_replay_in_other_portions_doubles_nothing(void **state)
{
    (void)state;
    put_many("a", 1, 100, 1000);
    put_many("a", 51, 100, 1000);
    expect("a", false, 0, 1000, 0, 1, 150);
    expect("a", true, 0, 1000, 0, 150, 150);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_came_together_shares_rows_and_is_read_one_by_one),
        CASE(keys_that_came_together_have_their_own_ages),
        CASE(a_large_transaction_puts_its_publications_behind_one_another),
        CASE(a_large_transaction_puts_its_keys_behind_one_another),
        CASE(a_replay_in_other_portions_doubles_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
