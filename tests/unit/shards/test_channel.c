/*
 * Channels at their home, asked by letters from two shards (small_node.h).
 *
 * The recovery table is walked whole: every position, epoch, flag, history
 * size, window size, age and limit up to small bounds, against a model of ten
 * lines written from the protocol's table and not from the code.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/shards/channel_asks.h"

/* --- recovery ---------------------------------------------------------------------- */

struct asked {
    uint64_t offset;
    const char *epoch;
    uint64_t head, kept_from; /* of the stream: newest offset, oldest that is kept */
    uint64_t limit;
};

/* The protocol's table, read literally: what a read of the stream would return
 * decides.  Returns recovered. */
static bool model_recovers(const struct asked *asked, const char *epoch_now)
{
    if (asked->epoch[0] != '\0' && strcmp(asked->epoch, epoch_now) != 0) return false;
    uint64_t first = asked->offset + 1 > asked->kept_from ? asked->offset + 1 : asked->kept_from;
    uint64_t count = first > asked->head ? 0 : asked->head - first + 1;
    if (count > asked->limit) count = asked->limit;
    if (count == 0) return asked->head == asked->offset;
    return first == asked->offset + 1 && first + count - 1 == asked->head;
}

static void check_recovery(struct small *small, const struct asked *asked, bool reject,
                           const char *epoch_now)
{
    struct letter_subscribe in = subscribe_from(asked->offset, asked->epoch);
    in.reject_unrecovered = reject;
    struct told told;
    ask_subscribe(small, 1, in, &told);
    small_run(small);
    bool is_recovered = model_recovers(asked, epoch_now);
    assert_true(told.is_here);
    if (!is_recovered && reject) {
        assert_int_equal(told.err, ERR_UNRECOVERABLE);
        return;
    }
    assert_int_equal(told.err, ERR_OK);
    assert_true(told.was_recovering && told.is_recoverable);
    assert_int_equal(told.recovered, is_recovered);
    assert_string_equal(told.epoch, epoch_now);
    assert_int_equal(told.offset, is_recovered ? asked->offset : asked->head);
    assert_int_equal(told.count, is_recovered ? asked->head - asked->offset : 0);
    for (uint32_t i = 0; i < told.count; i++) {
        assert_int_equal(told.offsets[i], asked->offset + 1 + i);
        assert_int_equal(told.numbers[i], told.offsets[i] * 10);
    }
    tell_leave(small, 1, CHANNEL, in.hub);
    small_run(small);
}

/* The newest publication, unless the asker has it: what the protocol's table of cache
 * recovery says. */
static void check_cache(struct small *small, const struct asked *asked, bool reject,
                        const char *epoch_now)
{
    struct letter_subscribe in = subscribe_from(asked->offset, asked->epoch);
    in.reject_unrecovered = reject;
    in.is_cache = true;
    struct told told;
    ask_subscribe(small, 1, in, &told);
    small_run(small);
    bool has_it =
        asked->offset > 0 && asked->offset == asked->head && strcmp(asked->epoch, epoch_now) == 0;
    bool is_kept = asked->head > 0 && asked->kept_from <= asked->head;
    bool is_recovered = has_it || is_kept;
    if (!is_recovered && reject) {
        assert_int_equal(told.err, ERR_UNRECOVERABLE);
        return;
    }
    assert_int_equal(told.err, ERR_OK);
    assert_int_equal(told.recovered, is_recovered);
    assert_int_equal(told.offset, is_recovered ? asked->offset : asked->head);
    assert_int_equal(told.count, is_kept && !has_it);
    if (told.count == 1) assert_int_equal(told.offsets[0], asked->head);
    if (told.count == 1) assert_int_equal(told.numbers[0], asked->head * 10);
    tell_leave(small, 1, CHANNEL, in.hub);
    small_run(small);
}

/* One stream: `old` publications that are past their time, then `fresh` ones. */
static void walk_stream(uint32_t history, uint32_t window, uint32_t limit, uint64_t old,
                        uint64_t fresh)
{
    char options[256];
    snprintf(options, sizeof options,
             "storage: {window_size: %u}\nclient: {recovery_max_publication_limit: %u}\n"
             "channel: {without_namespace: {history_size: %u, history_ttl: 10s}}\n",
             window, limit, history);
    struct small *small = malloc(sizeof *small);
    small_init(small, options);
    for (uint64_t i = 1; i <= old; i++) small_publish(small, 0, CHANNEL, i * 10);
    small_wait(small, 6000);
    for (uint64_t i = old + 1; i <= old + fresh; i++) small_publish(small, 0, CHANNEL, i * 10);
    small_wait(small, 5000);

    struct told told;
    ask_history(small, 0, (struct letter_history){.channel = CHANNEL}, &told);
    small_run(small);
    assert_int_equal(told.offset, old + fresh);
    const char *epochs[] = {"", told.epoch, "elsewhr1"};
    struct asked asked = {.head = old + fresh, .limit = limit, .kept_from = old + 1};
    if (fresh > history) asked.kept_from = asked.head - history + 1;
    for (asked.offset = 0; asked.offset <= asked.head + 2; asked.offset++)
        for (uint32_t i = 0; i < 6; i++) {
            asked.epoch = epochs[i / 2];
            check_recovery(small, &asked, i % 2, told.epoch);
            check_cache(small, &asked, i % 2, told.epoch);
        }
    small_fini(small);
    free(small);
}

static void recovery_follows_the_table(void **state)
{
    (void)state;
    static const uint32_t histories[] = {1, 3, 100}, windows[] = {1, 2, 100},
                          limits[] = {1, 3, 300};
    static const uint64_t olds[] = {0, 1, 4}, freshes[] = {0, 1, 5};
    for (size_t i = 0; i < 3 * 3 * 3 * 3 * 3; i++)
        walk_stream(histories[i % 3], windows[i / 3 % 3], limits[i / 9 % 3], olds[i / 27 % 3],
                    freshes[i / 81]);
}

static void a_channel_without_history_is_not_recoverable(void **state)
{
    (void)state;
    struct small *small = malloc(sizeof *small);
    small_init(small, "");
    struct told told;
    ask_subscribe(small, 0, subscribe_from(7, "whatever"), &told);
    small_run(small);
    assert_int_equal(told.err, ERR_OK);
    assert_false(told.is_recoverable || told.was_recovering || told.recovered);
    assert_string_equal(told.epoch, "");
    assert_int_equal(told.offset, 0);
    assert_int_equal(small_publish(small, 0, CHANNEL, 1), 0);
    tell_leave(small, 0, CHANNEL, hub_of(1));
    small_fini(small);
    free(small);
}

/* --- delivery ----------------------------------------------------------------------- */

static void frames_go_to_each_listening_shard_once(void **state)
{
    (void)state;
    struct ear ear;
    struct small *small = small_with_ear(&ear, plain);
    struct told told;
    struct letter_subscribe in = subscribe_from(0, "");
    for (uint32_t i = 0; i < 3; i++) { /* shard 0 once, shard 1 twice */
        in.hub = hub_of(10 + (i > 0));
        ask_subscribe(small, i > 0, in, &told);
        small_run(small);
        assert_int_equal(told.err, ERR_OK);
    }
    small_publish(small, 0, CHANNEL, 5);
    assert_int_equal(ear.count, 2);
    assert_int_not_equal(ear.heard[0].shard, ear.heard[1].shard);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(ear.heard[i].hub.index, 10 + ear.heard[i].shard);
        assert_int_equal(ear.heard[i].offset, 1);
        assert_non_null(strstr(ear.heard[i].text, "\"data\":5"));
        assert_non_null(strstr(ear.heard[i].text, "\"epoch\"")); /* with the first offset only */
    }
    small_publish(small, 1, CHANNEL, 6);
    assert_int_equal(ear.count, 4);
    assert_null(strstr(ear.heard[2].text, "\"epoch\""));

    tell_leave(small, 1, CHANNEL, hub_of(11));
    small_run(small);
    small_publish(small, 0, CHANNEL, 7);
    assert_int_equal(ear.count, 6); /* one of the two of shard 1 is still there */
    tell_leave(small, 1, CHANNEL, hub_of(11));
    tell_leave(small, 0, CHANNEL, hub_of(10));
    small_run(small);
    small_publish(small, 0, CHANNEL, 8);
    assert_int_equal(ear.count, 6);
    small_fini(small);
    free(small);
}

static void skip_history_delivers_and_keeps_nothing(void **state)
{
    (void)state;
    struct ear ear;
    struct small *small = small_with_ear(&ear, plain);
    struct told told;
    ask_subscribe(small, 1, subscribe_from(0, ""), &told);
    small_run(small);
    struct letter_publish live = {
        .channel = CHANNEL, .publication.data = BYTES_LITERAL("9"), .is_live_only = true};
    ask_publish(small, 0, live, &told);
    small_run(small);
    assert_int_equal(told.err, ERR_OK);
    assert_int_equal(told.offset, 0);
    assert_int_equal(ear.count, 1);
    assert_int_equal(ear.heard[0].offset, 0);
    assert_int_equal(small_publish(small, 0, CHANNEL, 10), 1);
    tell_leave(small, 1, CHANNEL, hub_of(1));
    small_fini(small);
    free(small);
}

static void the_same_key_publishes_once(void **state)
{
    (void)state;
    struct ear ear;
    struct small *small = small_with_ear(&ear, plain);
    struct told first, second, other;
    ask_subscribe(small, 1, subscribe_from(0, ""), &first);
    small_run(small);
    struct letter_publish in = {.channel = CHANNEL,
                                .scope = BYTES_LITERAL("api"),
                                .key = BYTES_LITERAL("k"),
                                .publication.data = BYTES_LITERAL("1")};
    ask_publish(small, 0, in, &first); /* both in one turn: the second joins the first */
    ask_publish(small, 1, in, &second);
    small_run(small);
    in.scope = BYTES_LITERAL("user:a");
    ask_publish(small, 1, in, &other);
    small_run(small);
    assert_int_equal(first.offset, 1);
    assert_int_equal(second.offset, 1);
    assert_int_equal(first.is_repeat + second.is_repeat, 1);
    assert_int_equal(other.offset, 2);
    assert_int_equal(ear.count, 2);
    tell_leave(small, 1, CHANNEL, hub_of(1));
    small_fini(small);
    free(small);
}

static void frames_behind_a_full_shard_refuse_publications(void **state)
{
    (void)state;
    struct small *small = malloc(sizeof *small);
    small_init(small, plain);
    struct told told;
    ask_subscribe(small, 1, subscribe_from(0, ""), &told);
    small_run(small);
    struct shard *home = small->shards[small_home(CHANNEL)];
    home->channels.frame_bytes_out[1] += MESH_BACKLOG_BYTES_MAX + 1;
    struct letter_publish in = {.channel = CHANNEL, .publication.data = BYTES_LITERAL("1")};
    ask_publish(small, 0, in, &told);
    small_run(small);
    assert_int_equal(told.err, ERR_BACKLOG);
    home->channels.frame_bytes_out[1] -= MESH_BACKLOG_BYTES_MAX + 1;
    assert_int_equal(small_publish(small, 0, CHANNEL, 1), 1);
    assert_int_equal(fanout_backlog_bytes(home, 1), 0);
    tell_leave(small, 1, CHANNEL, hub_of(1));
    small_fini(small);
    free(small);
}

/* --- history ------------------------------------------------------------------------ */

static void history_follows_the_model(void **state)
{
    (void)state;
    struct small *small = malloc(sizeof *small);
    small_init(small, plain); /* a window of 4, a history of 10 */
    struct told told;
    for (uint64_t i = 1; i <= 13; i++) small_publish(small, 0, CHANNEL, i * 10);
    static const uint32_t limits[] = {0, 1, 3, 4, 5, 9, 10, 11, UINT32_MAX};
    for (uint64_t since = 0; since <= 15; since++)
        for (size_t i = 0; i < array_count(limits) * 2; i++) {
            struct letter_history in = {
                .channel = CHANNEL, .since = since, .limit = limits[i / 2], .is_reverse = i % 2};
            ask_history(small, 1, in, &told);
            small_run(small);
            assert_int_equal(told.err, ERR_OK);
            assert_int_equal(told.offset, 13);
            uint32_t count = 0;
            for (uint64_t step = 0; step < 10; step++) { /* 4 to 13 are kept */
                uint64_t offset = in.is_reverse ? 13 - step : 4 + step;
                bool is_asked = in.is_reverse ? since == 0 || offset < since : offset > since;
                if (!is_asked || count == in.limit) continue;
                assert_true(count < told.count);
                assert_int_equal(told.offsets[count], offset);
                assert_int_equal(told.numbers[count], offset * 10);
                count++;
            }
            assert_int_equal(told.count, count);
        }
    struct letter_history wrong = {
        .channel = CHANNEL, .since_epoch = BYTES_LITERAL("other"), .limit = 1};
    ask_history(small, 0, wrong, &told);
    small_run(small);
    assert_int_equal(told.err, ERR_UNRECOVERABLE);
    small_fini(small);
    free(small);
}

static void history_is_a_picture_of_the_moment_it_was_asked(void **state)
{
    (void)state;
    struct small *small = malloc(sizeof *small);
    small_init(small, plain);
    for (uint64_t i = 1; i <= 8; i++) small_publish(small, 0, CHANNEL, i);
    struct gate *gate = &small->gates[small_home(CHANNEL)];
    struct told forward, reverse, published;
    struct letter_history in = {.channel = CHANNEL, .limit = UINT32_MAX};
    struct letter_publish one = {.channel = CHANNEL, .publication.data = BYTES_LITERAL("9")};
    for (int i = 0; i < 2; i++) {
        gate->is_shut = true;
        in.is_reverse = i;
        in.limit = i ? 6 : UINT32_MAX; /* six reach below the window */
        ask_publish(small, 0, one, &published);
        small_run(small); /* held at the gate, before the read */
        ask_history(small, 0, in, i ? &reverse : &forward);
        small_run(small);
        gate->is_shut = false;
        small_run(small);
        assert_int_equal(published.err, ERR_OK);
    }
    assert_int_equal(forward.offset, 8);
    assert_int_equal(forward.count, 8);
    assert_int_equal(reverse.offset, 9);
    assert_int_equal(reverse.count, 6);
    assert_int_equal(reverse.offsets[0], 9);
    small_fini(small);
    free(small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recovery_follows_the_table),
        cmocka_unit_test(a_channel_without_history_is_not_recoverable),
        cmocka_unit_test(frames_go_to_each_listening_shard_once),
        cmocka_unit_test(skip_history_delivers_and_keeps_nothing),
        cmocka_unit_test(the_same_key_publishes_once),
        cmocka_unit_test(frames_behind_a_full_shard_refuse_publications),
        cmocka_unit_test(history_follows_the_model),
        cmocka_unit_test(history_is_a_picture_of_the_moment_it_was_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
