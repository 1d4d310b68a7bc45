/*
 * Parameters of the RPC methods: what is taken, what is refused, and every one
 * cut at every byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/arena.h"
#include "shards/rpc/rpc_message_send.c"
#include "shards/rpc/rpc_receipt_counts.c"
#include "shards/rpc/rpc_receipt_list.c"
#include "shards/rpc/rpc_receipt_move.c"
#include "shards/rpc/rpc_receipt_unread.c"
#include "shards/rpc/rpc_sync.c"

static struct arena arena;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static void message_send_takes_any_json_as_data(void **state)
{
    (void)state;
    struct message out;
    struct bytes good =
        BYTES_LITERAL("{\"channel\":\"c\",\"data\": [1, 2] ,\"key\":\"k\",\"x\":0}");
    assert_int_equal(message_parse(good, &arena, &out), ERR_OK);
    assert_true(bytes_equal_text(out.channel, "c"));
    assert_true(bytes_equal_text(out.data, "[1, 2]"));
    assert_true(bytes_equal_text(out.key, "k"));
    assert_int_equal(message_parse(BYTES_LITERAL("{\"channel\":\"c\"}"), &arena, &out),
                     ERR_BAD_REQUEST);
    assert_int_equal(message_parse(BYTES_NONE, &arena, &out), ERR_BAD_JSON);
    assert_int_equal(message_parse(BYTES_LITERAL("null"), &arena, &out), ERR_BAD_JSON);
}

static void receipt_read_wants_an_offset(void **state)
{
    (void)state;
    struct rpc_receipt out;
    assert_int_equal(
        rpc_receipt_parse(BYTES_LITERAL("{\"channel\":\"c\",\"offset\":7}"), &arena, &out), ERR_OK);
    assert_int_equal(out.question.offset, 7);
    assert_true(out.has_offset);
    assert_int_equal(rpc_receipt_parse(BYTES_LITERAL("{\"channel\":\"c\"}"), &arena, &out), ERR_OK);
    assert_false(out.has_offset); /* refused by all but receipt.view */
    assert_int_equal(rpc_receipt_parse(BYTES_LITERAL("{\"offset\":-1}"), &arena, &out),
                     ERR_BAD_JSON);
    assert_int_equal(rpc_receipt_parse(BYTES_LITERAL("{\"offset\":1.5}"), &arena, &out),
                     ERR_BAD_JSON);
}

static void receipt_counts_takes_up_to_its_limit(void **state)
{
    (void)state;
    struct letter_receipt out;
    struct bytes good = BYTES_LITERAL("{\"channel\":\"c\",\"offsets\":[3,1]}");
    assert_int_equal(counts_parse(good, &arena, &out), ERR_OK);
    assert_int_equal(out.offsets_count, 2);
    assert_int_equal(out.offsets[0], 3);
    assert_int_equal(counts_parse(BYTES_LITERAL("{\"offsets\":[]}"), &arena, &out),
                     ERR_BAD_REQUEST);
    assert_int_equal(counts_parse(BYTES_LITERAL("{\"offsets\":1}"), &arena, &out), ERR_BAD_JSON);
    for (int count = RECEIPT_OFFSETS_MAX; count <= RECEIPT_OFFSETS_MAX + 1; count++) {
        char text[1024] = "{\"offsets\":[1";
        size_t used = strlen(text);
        for (int i = 1; i < count; i++)
            used += (size_t)snprintf(text + used, sizeof text - used, ",2");
        used += (size_t)snprintf(text + used, sizeof text - used, "]}");
        enum err err = counts_parse(bytes_of(text, used), &arena, &out);
        assert_int_equal(err, count == RECEIPT_OFFSETS_MAX ? ERR_OK : ERR_LIMIT_SIZE);
    }
}

static void receipt_lists_want_an_offset(void **state)
{
    (void)state;
    struct letter_receipt out;
    assert_int_equal(list_parse(BYTES_LITERAL("{\"channel\":\"c\",\"offset\":7,\"limit\":3,"
                                              "\"after\":9007199254740991}"),
                                &arena, &out),
                     ERR_OK);
    assert_true(bytes_equal_text(out.channel, "c"));
    assert_int_equal(out.offset, 7);
    assert_int_equal(out.limit, 3);
    assert_int_equal(out.after, 9007199254740991u);
    assert_int_equal(list_parse(BYTES_LITERAL("{\"channel\":\"c\"}"), &arena, &out),
                     ERR_BAD_REQUEST);
    assert_int_equal(list_parse(BYTES_LITERAL("{\"offset\":1,\"limit\":-1}"), &arena, &out),
                     ERR_BAD_JSON);
}

static void receipt_unread_takes_up_to_its_limit(void **state)
{
    (void)state;
    struct wanted out;
    assert_int_equal(unread_parse(BYTES_LITERAL("{\"channels\":[\"a\",\"b\"]}"), &arena, &out),
                     ERR_OK);
    assert_int_equal(out.count, 2);
    assert_true(bytes_equal_text(out.channels[1], "b"));
    assert_int_equal(unread_parse(BYTES_LITERAL("{\"channels\":[]}"), &arena, &out),
                     ERR_BAD_REQUEST);
    assert_int_equal(unread_parse(BYTES_LITERAL("{\"channels\":[1]}"), &arena, &out), ERR_BAD_JSON);
    for (int count = RECEIPT_STATES_MAX; count <= RECEIPT_STATES_MAX + 1; count++) {
        char text[2048] = "{\"channels\":[\"a\"";
        size_t used = strlen(text);
        for (int i = 1; i < count; i++)
            used += (size_t)snprintf(text + used, sizeof text - used, ",\"a\"");
        used += (size_t)snprintf(text + used, sizeof text - used, "]}");
        enum err err = unread_parse(bytes_of(text, used), &arena, &out);
        assert_int_equal(err, count == RECEIPT_STATES_MAX ? ERR_OK : ERR_LIMIT_SIZE);
    }
}

/* Its answer is an object, whose names are there once. */
static void receipt_unread_asks_each_channel_once(void **state)
{
    (void)state;
    static struct shard shard;
    struct config *config;
    assert_int_equal(config_parse(BYTES_LITERAL("channel: {without_namespace: {history_size: 10, "
                                                "history_ttl: 1m}}\n"),
                                  "t.yaml", NULL, 0, NULL, NULL, &config),
                     ERR_OK);
    shard.config = config;
    shard.shards_count = 3;
    arena_init(&shard.arena, 0);
    struct wanted wanted;
    struct bytes text = BYTES_LITERAL("{\"channels\":[\"a\",\"none:x\",\"b\",\"a\",\"none:x\","
                                      "\"\\u0062\",\"c\",\"b\"]}");
    assert_int_equal(unread_parse(text, &arena, &wanted), ERR_OK);
    struct unread unread = {.left = 0};
    struct homes homes;
    homes_sort(&shard, &wanted, &homes, &unread);
    char asked[64] = "";
    for (uint32_t home = 0; home < 3; home++)
        for (uint32_t i = 0; i < homes.counts[home]; i++)
            strncat(asked, (const char *)homes.channels[home][i].at, homes.channels[home][i].size);
    assert_int_equal(strlen(asked), 3);
    assert_true(strchr(asked, 'a') && strchr(asked, 'b') && strchr(asked, 'c'));
    assert_true(bytes_equal_text(json_out_bytes(&unread.out), "\"none:x\":{\"error\":{\"code\":102,"
                                                              "\"message\":\"unknown channel\"}}"));
    json_out_fini(&unread.out);
    arena_fini(&shard.arena);
    config_destroy(config);
}

/* However often a member stands there: what is taken is bounded by its limit. */
static void a_member_again_and_again_costs_no_memory(void **state)
{
    (void)state;
    struct rpc_receipt out;
    char text[4096] = "{\"offsets\":[1]";
    size_t used = strlen(text);
    for (int i = 0; i < 200; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, ",\"offsets\":[%d]", i);
    used += (size_t)snprintf(text + used, sizeof text - used, "}");
    arena_reset(&arena);
    assert_int_equal(rpc_receipt_parse(bytes_of(text, used), &arena, &out), ERR_OK);
    assert_int_equal(out.offsets_count, 1);
    assert_int_equal(out.offsets[0], 199);
    assert_int_equal(out.question.offsets_count, 0);
    assert_true(arena.used <= 2 * RECEIPT_OFFSETS_MAX * sizeof(uint64_t));
}

static void sync_takes_positions_up_to_their_limit(void **state)
{
    (void)state;
    static struct sync_ask out;
    struct bytes good = BYTES_LITERAL(
        "{\"client\":\"c\",\"channels\":{\"a\":{\"offset\":3,\"epoch\":\"e\",\"x\":[]},\"b\":{}}}");
    assert_int_equal(sync_parse(good, &arena, &out), ERR_OK);
    assert_int_equal(out.count, 2);
    assert_true(bytes_equal_text(out.client, "c"));
    assert_true(bytes_equal_text(out.positions[0].channel, "a"));
    assert_true(bytes_equal_text(out.positions[0].epoch, "e"));
    assert_int_equal(out.positions[0].offset, 3);
    assert_int_equal(out.positions[1].epoch.size, 0);
    assert_int_equal(sync_parse(BYTES_LITERAL("{\"client\":\"c\"}"), &arena, &out), ERR_OK);
    assert_int_equal(sync_parse(BYTES_LITERAL("{\"client\":\"\"}"), &arena, &out), ERR_BAD_REQUEST);
    assert_int_equal(sync_parse(BYTES_LITERAL("{\"client\":\"a b\"}"), &arena, &out),
                     ERR_BAD_REQUEST);
    assert_int_equal(sync_parse(BYTES_LITERAL("{\"client\":\"c\",\"channels\":[]}"), &arena, &out),
                     ERR_BAD_JSON);
    for (int count = SYNC_SAVED_MAX; count <= SYNC_SAVED_MAX + 1; count++) {
        char text[4096] = "{\"client\":\"c\",\"channels\":{\"0\":{}";
        size_t used = strlen(text);
        for (int i = 1; i < count; i++)
            used += (size_t)snprintf(text + used, sizeof text - used, ",\"%d\":{}", i);
        used += (size_t)snprintf(text + used, sizeof text - used, "}}");
        enum err err = sync_parse(bytes_of(text, used), &arena, &out);
        assert_int_equal(err, count == SYNC_SAVED_MAX ? ERR_OK : ERR_LIMIT_SIZE);
    }
    char client[SYNC_CLIENT_MAX + 1];
    memset(client, '~', sizeof client);
    assert_true(sync_client_is_fine(bytes_of(client, SYNC_CLIENT_MAX)));
    assert_false(sync_client_is_fine(bytes_of(client, SYNC_CLIENT_MAX + 1)));
    assert_false(sync_client_is_fine(BYTES_LITERAL("\x7f")));
}

static void parameters_cut_anywhere_are_malformed(void **state)
{
    (void)state;
    static const char text[] = "{\"channel\":\"c\",\"data\":{\"a\":[]},\"key\":\"\\u0041\","
                               "\"offset\":12,\"offsets\":[1,22]}";
    for (size_t size = 1; size < sizeof text - 1; size++) {
        char *cut = malloc(size);
        memcpy(cut, text, size);
        struct message message;
        struct rpc_receipt mark;
        struct letter_receipt counts;
        struct wanted wanted;
        assert_int_equal(list_parse(bytes_of(cut, size), &arena, &counts), ERR_BAD_JSON);
        assert_int_equal(unread_parse(bytes_of(cut, size), &arena, &wanted), ERR_BAD_JSON);
        static struct sync_ask ask;
        assert_int_equal(sync_parse(bytes_of(cut, size), &arena, &ask), ERR_BAD_JSON);
        assert_int_equal(message_parse(bytes_of(cut, size), &arena, &message), ERR_BAD_JSON);
        assert_int_equal(rpc_receipt_parse(bytes_of(cut, size), &arena, &mark), ERR_BAD_JSON);
        assert_int_equal(counts_parse(bytes_of(cut, size), &arena, &counts), ERR_BAD_JSON);
        free(cut);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_send_takes_any_json_as_data),
        cmocka_unit_test(receipt_read_wants_an_offset),
        cmocka_unit_test(receipt_counts_takes_up_to_its_limit),
        cmocka_unit_test(receipt_lists_want_an_offset),
        cmocka_unit_test(receipt_unread_takes_up_to_its_limit),
        cmocka_unit_test(receipt_unread_asks_each_channel_once),
        cmocka_unit_test(a_member_again_and_again_costs_no_memory),
        cmocka_unit_test(sync_takes_positions_up_to_their_limit),
        cmocka_unit_test(parameters_cut_anywhere_are_malformed),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
