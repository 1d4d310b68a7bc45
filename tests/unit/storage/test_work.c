/*
 * A consumer of the worker streams over a real redis-server: what it hands over,
 * what becomes of it when it is done, fails, or its consumer dies.
 */
#include "storage/work.h"
#include "unit/storage/redis_ask.h"
#include "unit/storage/redis_nodes.h"

#define BATCH_MAX 1000

static struct redis_asked asked;
static const struct work_entry *entries[BATCH_MAX];

static void configure(struct config *config)
{
    config->redis_streams_enabled = true;
    config->redis_streams_group_msg_ms = 3600000;
    config->redis_streams_offline_msg_ms = 7 * DAY_MS;
    config->redis_streams_membership_change_ms = 7 * DAY_MS;
    config->redis_streams_read_receipt_ms = 7 * DAY_MS;
}

static struct work *open_as(struct world *world, const char *consumer, uint32_t batch,
                            uint64_t idle_ms)
{
    struct work_options options = {.topic = "group_msg",
                                   .group = "search",
                                   .consumer = consumer,
                                   .batch = batch,
                                   .deliveries_max = 5,
                                   .idle_ms = idle_ms,
                                   .is_once = true};
    struct work *work;
    assert_int_equal(work_open(&world->nodes[0].config, &options, &work), ERR_OK);
    return work;
}

/* What is to be done; 0: nothing is left. */
static uint32_t next(struct work *work)
{
    uint32_t count;
    bool is_empty;
    uint64_t until_ns = clock_mono_ns() + 60000000000u;
    for (;;) {
        enum err err = work_next(work, entries, &count, &is_empty);
        if (err == ERR_OK) break;
        assert_true(clock_mono_ns() < until_ns);
        work_wait(work, 20);
    }
    assert_true(count > 0 || is_empty);
    return count;
}

static void done(struct work *work)
{
    uint64_t until_ns = clock_mono_ns() + 60000000000u;
    while (work_done(work) != ERR_OK) {
        assert_true(clock_mono_ns() < until_ns);
        work_wait(work, 20);
    }
}

static struct bytes field(const struct work_entry *entry, const char *name)
{
    for (uint32_t i = 0; i < entry->fields_count; i++)
        if (bytes_equal_text(entry->fields[i].name, name)) return entry->fields[i].value;
    return BYTES_NONE;
}

static uint32_t number_of(const struct work_entry *entry)
{
    uint64_t number = 0;
    assert_true(bytes_to_u64(field(entry, "payload"), &number));
    return (uint32_t)number;
}

/* Entries handed out and not acknowledged, in all partitions. */
static int64_t pending(struct world *world)
{
    int64_t count = 0;
    for (uint32_t p = 0; p < 64; p++) {
        const struct reply *all =
            redis_ask(&world->redis, &asked, "XPENDING test:{p%u}:group_msg search", p);
        const struct reply *first = reply_item(all, 0);
        if (first != NULL) count += first->integer;
    }
    return count;
}

/* How often each number was handed over. */
static uint8_t times[NUMBERS_MAX];

static uint32_t take_all(struct work *work, uint32_t batch)
{
    uint32_t total = 0, count;
    while ((count = next(work)) > 0) {
        assert_true(count <= batch);
        for (uint32_t i = 0; i < count; i++) times[number_of(entries[i])]++;
        total += count;
        done(work);
    }
    return total;
}

static void every_entry_once_in_the_order_of_its_conversation(void **state)
{
    (void)state;
    struct world *world = world_begin_with(configure);
    uint64_t heads[ROOMS] = {0};
    load(world, 700, NULL);
    struct work *work = open_as(world, "one", 100, 60000);
    uint32_t total = 0, count;
    while ((count = next(work)) > 0) {
        assert_true(count <= 100);
        for (uint32_t i = 0; i < count; i++) {
            uint32_t number = number_of(entries[i]), room = world->room_of[number];
            uint64_t offset = 0;
            assert_true(bytes_to_u64(field(entries[i], "sequence_number"), &offset));
            assert_int_equal(offset, ++heads[room]);
            assert_int_equal(world->offsets[number], offset);
            assert_int_equal(entries[i]->deliveries, 1);
        }
        total += count;
        assert_true(pending(world) >= count);
        done(work);
    }
    assert_int_equal(total, 700);
    assert_int_equal(pending(world), 0);
    load(world, 10, NULL);
    assert_int_equal(take_all(work, 100), 10);
    work_close(work);
    redis_ask_end(&asked);
    world_end(world);
}

/* One partition that has much, and a batch of one. */
static void batches_of_every_size(void **state)
{
    (void)state;
    struct world *world = world_begin_with(configure);
    static const uint32_t sizes[] = {1, 2, 64, 65, BATCH_MAX};
    uint32_t total = 0;
    for (uint32_t i = 0; i < array_count(sizes); i++) {
        memset(times, 0, sizeof times);
        load(world, 150, NULL);
        struct work *work = open_as(world, "one", sizes[i], 60000);
        assert_int_equal(take_all(work, sizes[i]), 150);
        total += 150;
        for (uint32_t n = total - 149; n <= total; n++) assert_int_equal(times[n], 1);
        work_close(work);
    }
    redis_ask_end(&asked);
    world_end(world);
}

static void two_consumers_share_and_two_groups_each_get_all(void **state)
{
    (void)state;
    struct world *world = world_begin_with(configure);
    memset(times, 0, sizeof times);
    load(world, 300, NULL);
    struct work *one = open_as(world, "one", 10, 60000), *two = open_as(world, "two", 10, 60000);
    uint32_t total = 0;
    for (struct work *work = one; total < 300; work = work == one ? two : one) {
        uint32_t count = next(work);
        if (count == 0) continue; /* the other has read ahead what is left */
        for (uint32_t i = 0; i < count; i++) times[number_of(entries[i])]++;
        total += count;
        done(work);
    }
    for (uint32_t n = 1; n <= 300; n++) assert_int_equal(times[n], 1);
    work_close(one);
    work_close(two);
    struct work_options options = {.topic = "group_msg",
                                   .group = "push",
                                   .consumer = "one",
                                   .batch = 100,
                                   .deliveries_max = 5,
                                   .idle_ms = 60000,
                                   .is_once = true};
    assert_int_equal(work_open(&world->nodes[0].config, &options, &one), ERR_OK);
    assert_int_equal(take_all(one, 100), 300);
    work_close(one);
    redis_ask_end(&asked);
    world_end(world);
}

/* What a consumer read and did not acknowledge before it died. */
static void anothers_entries_are_taken_over_one_by_one(void **state)
{
    (void)state;
    struct world *world = world_begin_with(configure);
    memset(times, 0, sizeof times);
    load(world, 100, NULL);
    struct work *dead = open_as(world, "dead", 100, 60000);
    uint32_t held = next(dead);
    assert_true(held > 1);
    work_close(dead); /* its entries stay */
    int64_t left = pending(world);
    assert_true(left >= held);
    struct work *work = open_as(world, "alive", 100, 300);
    uint32_t total = 0, again = 0;
    uint64_t until_ns = clock_mono_ns() + 60000000000u;
    while (total < 100) {
        uint32_t count = next(work);
        assert_true(clock_mono_ns() < until_ns);
        for (uint32_t i = 0; i < count; i++) {
            times[number_of(entries[i])]++;
            if (entries[i]->deliveries == 1) continue;
            assert_int_equal(entries[i]->deliveries, 2);
            assert_int_equal(count, 1);
            again++;
        }
        total += count;
        if (count > 0)
            done(work);
        else
            work_wait(work, 50);
    }
    for (uint32_t n = 1; n <= 100; n++) assert_int_equal(times[n], 1);
    assert_int_equal(again, left);
    assert_int_equal(pending(world), 0);
    work_close(work);
    /* The one that left with nothing in hand is a consumer no more. */
    for (uint32_t p = 0; p < 64; p++) {
        const struct reply *all =
            redis_ask(&world->redis, &asked, "XINFO CONSUMERS test:{p%u}:group_msg search", p);
        for (uint32_t i = 0; all->type == REPLY_ARRAY && i < all->count; i++)
            assert_false(bytes_equal_text(reply_text(reply_item(all->items[i], 1)), "alive"));
    }
    redis_ask_end(&asked);
    world_end(world);
}

/* How long ago the one entry that is pending was handed out, and how often. */
static uint64_t idle_ms(struct world *world, int64_t *deliveries)
{
    for (uint32_t p = 0; p < 64; p++) {
        const struct reply *all =
            redis_ask(&world->redis, &asked, "XPENDING test:{p%u}:group_msg search - + 1", p);
        const struct reply *first = reply_item(all, 0);
        if (first == NULL || first->type != REPLY_ARRAY) continue;
        *deliveries = first->items[3]->integer;
        return (uint64_t)first->items[2]->integer;
    }
    fail_msg("nothing is pending");
    return 0;
}

static void what_is_held_is_not_counted_as_idle(void **state)
{
    (void)state;
    struct world *world = world_begin_with(configure);
    int64_t deliveries = 0;
    load(world, 1, NULL);
    struct work *work = open_as(world, "one", 10, 60000);
    assert_int_equal(next(work), 1);
    while (idle_ms(world, &deliveries) < 1000) work_wait(work, 50);
    uint64_t until_ns = clock_mono_ns() + 60000000000u;
    do {
        assert_int_equal(work_hold(work), ERR_OK);
        assert_true(clock_mono_ns() < until_ns);
    } while (idle_ms(world, &deliveries) >= 1000);
    assert_int_equal(deliveries, 1);
    done(work);
    assert_int_equal(pending(world), 0);
    work_close(work);
    redis_ask_end(&asked);
    world_end(world);
}

static void a_batch_is_split_and_what_fails_alone_becomes_a_dead_letter(void **state)
{
    (void)state;
    struct world *world = world_begin_with(configure);
    load(world, 20, NULL);
    struct work *work = open_as(world, "one", 100, 100);
    uint32_t bad = 7, tries = 0, good = 0;
    uint64_t until_ns = clock_mono_ns() + 60000000000u;
    assert_int_equal(next(work), 20);
    work_split(work);
    while (work_dead(work) == 0) {
        uint32_t count = next(work);
        assert_true(clock_mono_ns() < until_ns);
        assert_true(count <= 1);
        if (count == 0) {
            work_wait(work, 50);
        } else if (number_of(entries[0]) == bad) {
            assert_int_equal(entries[0]->deliveries, ++tries);
            work_leave(work);
        } else {
            good++;
            done(work);
        }
    }
    assert_int_equal(tries, 5);
    assert_int_equal(good, 19);
    assert_int_equal(pending(world), 0);
    char room[8];
    snprintf(room, sizeof room, "room:%u", world->room_of[bad]);
    const struct reply *letters =
        redis_ask(&world->redis, &asked, "XRANGE test:{p%u}:group_msg:dead - +",
                  (uint32_t)(hash_bytes(bytes_of_text(room), 0) % 64));
    assert_int_equal(letters->count, 1);
    const struct reply *letter = letters->items[0];
    assert_true(bytes_equal_text(redis_field(letter, "payload"), "7"));
    assert_true(bytes_equal_text(redis_field(letter, "conversation_id"), room));
    assert_true(bytes_equal_text(redis_field(letter, "dead_group"), "search"));
    assert_true(bytes_equal_text(redis_field(letter, "dead_deliveries"), "5"));
    assert_true(redis_field(letter, "dead_entry_id").size > 0);
    work_close(work);
    redis_ask_end(&asked);
    world_end(world);
}

static void a_stream_that_vanished_begins_anew(void **state)
{
    (void)state;
    struct world *world = world_begin_with(configure);
    load(world, 30, NULL);
    struct work *work = open_as(world, "one", 100, 60000);
    assert_int_equal(take_all(work, 100), 30);
    for (uint32_t p = 0; p < 64; p++)
        redis_ask(&world->redis, &asked, "DEL test:{p%u}:group_msg", p);
    load(world, 30, NULL);
    assert_int_equal(take_all(work, 100), 30);
    work_close(work);
    redis_ask_end(&asked);
    world_end(world);
}

static void redis_may_die_meanwhile(void **state)
{
    (void)state;
    struct world *world = world_begin_with(configure);
    memset(times, 0, sizeof times);
    load(world, 200, NULL);
    struct work *work = open_as(world, "one", 50, 300);
    uint32_t count = next(work);
    for (uint32_t i = 0; i < count; i++) times[number_of(entries[i])]++;
    redis_kill(&world->redis);
    assert_int_equal(work_done(work), ERR_STORE_DOWN);
    assert_non_null(strstr(work_problem(work), "Redis"));
    redis_start(&world->redis);
    done(work);
    uint64_t until_ns = clock_mono_ns() + 60000000000u;
    do {
        take_all(work, 50);
        work_wait(work, 50);
        assert_true(clock_mono_ns() < until_ns);
    } while (pending(world) > 0);
    for (uint32_t n = 1; n <= 200; n++) assert_int_equal(times[n], 1);
    work_close(work);
    redis_ask_end(&asked);
    world_end(world);
}

static void names_are_checked(void **state)
{
    (void)state;
    static const char *const topics[] = {"group_msg", "offline_msg", "membership_change",
                                         "read_receipt"};
    char name[WORK_NAME_MAX + 2];
    for (uint32_t i = 0; i < array_count(topics); i++) assert_true(work_topic_is_known(topics[i]));
    assert_false(work_topic_is_known("group_msgs"));
    memset(name, 'a', sizeof name);
    name[WORK_NAME_MAX] = 0;
    assert_true(work_name_is_fine(name));
    name[WORK_NAME_MAX] = 'a';
    name[WORK_NAME_MAX + 1] = 0;
    assert_false(work_name_is_fine(name));
    assert_true(work_name_is_fine("a"));
    static const char *const wrong[] = {"", "a b", "a\"", "a\\", "a\n", "\xc3\xa4"};
    for (uint32_t i = 0; i < array_count(wrong); i++) assert_false(work_name_is_fine(wrong[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_entry_once_in_the_order_of_its_conversation),
        cmocka_unit_test(batches_of_every_size),
        cmocka_unit_test(two_consumers_share_and_two_groups_each_get_all),
        cmocka_unit_test(anothers_entries_are_taken_over_one_by_one),
        cmocka_unit_test(what_is_held_is_not_counted_as_idle),
        cmocka_unit_test(a_batch_is_split_and_what_fails_alone_becomes_a_dead_letter),
        cmocka_unit_test(a_stream_that_vanished_begins_anew),
        cmocka_unit_test(redis_may_die_meanwhile),
        cmocka_unit_test(names_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
