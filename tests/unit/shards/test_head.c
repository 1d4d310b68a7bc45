/*
 * Sequence numbers of a server that keeps its messages (channel/head.c), held against a
 * plain array.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/shards/small_node.h"

#define CHANNEL BYTES_LITERAL("room")
#define A       BYTES_LITERAL("ann")
#define B       BYTES_LITERAL("bob")

static struct small *begin(const char *window)
{
    char options[200];
    snprintf(options, sizeof options,
             "storage: {window_size: %s}\n"
             "channel: {without_namespace: {history_size: 500, history_ttl: 60s}}\n",
             window);
    return small_new_with(options, CHANNEL, (struct bytes[]){A, B}, 2);
}

static void ask_head(struct small *small, uint64_t seq, const char *id, struct bytes sender,
                     struct told *told)
{
    char text[80];
    snprintf(text, sizeof text, id == NULL ? "{\"seq\":%llu}" : "{\"seq\":%llu,\"id\":\"%s\"}",
             (unsigned long long)seq, id);
    struct letter_publish in = {
        .channel = CHANNEL,
        .scope = id == NULL ? BYTES_NONE : BYTES_LITERAL("read index"),
        .key = bytes_of_text(id),
        .publication = {.data = bytes_of_text(text), .has_info = sender.size > 0, .user = sender},
        .is_head = true,
    };
    ask_publish(small, 0, in, told);
}

static struct told put(struct small *small, uint64_t seq, const char *id, struct bytes sender)
{
    struct told told;
    ask_head(small, seq, id, sender, &told);
    small_run(small);
    assert_true(told.is_here);
    return told;
}

static struct told head_of(struct small *small, bool has_seq, uint64_t seq)
{
    struct told told;
    struct letter_head in = {.channel = CHANNEL, .has_seq = has_seq, .seq = seq};
    in.call = small_call(small, 0, CHANNEL, &told);
    struct shard *shard = small->shards[0];
    call_post(shard, letter_pack_head(shard->post, small_home(CHANNEL), &in));
    small_run(small);
    assert_true(told.is_here);
    return told;
}

static struct told read_to(struct small *small, uint64_t seq)
{
    struct told told;
    ask_receipt(
        small, 0,
        (struct letter_receipt){
            .channel = CHANNEL, .user = B, .verb = RECEIPT_READ, .is_seq = true, .offset = seq},
        &told);
    small_run(small);
    assert_true(told.is_here);
    return told;
}

static void numbers_are_offsets(void **state)
{
    (void)state;
    struct small *small = begin("64");
    assert_int_equal(head_of(small, false, 0).offset, 0);
    assert_int_equal(read_to(small, 5).offset, 0);
    uint64_t seqs[200], seq = 0;
    uint32_t count = 0;
    struct rng rng;
    rng_seed(&rng, 11);
    for (; count < 60; count++) {
        seq += rng_below(&rng, 3); /* a third of them are ties */
        struct told told = put(small, seq, NULL, A);
        assert_int_equal(told.err, ERR_OK);
        assert_int_equal(told.offset, count + 1);
        seqs[count] = seq;
    }
    for (uint64_t asked = 0; asked <= seq + 2; asked++) {
        uint32_t expected = 0;
        for (uint32_t i = 0; i < count; i++)
            if (seqs[i] <= asked) expected = i + 1;
        struct told told = head_of(small, true, asked);
        assert_int_equal(told.err, ERR_OK);
        assert_int_equal(told.offset, expected);
    }
    assert_int_equal(read_to(small, seqs[20]).offset, head_of(small, true, seqs[20]).offset);
    assert_int_equal(read_to(small, UINT64_MAX).offset, count);
    small_end(small);
}

static void what_left_the_window_is_too_old(void **state)
{
    (void)state;
    struct small *small = begin("8");
    for (uint64_t seq = 1; seq <= 20; seq++) put(small, 10 * seq, NULL, A);
    assert_int_equal(head_of(small, true, 130).offset, 13);
    assert_int_equal(head_of(small, true, 129).err, ERR_RECEIPT_TOO_OLD);
    assert_int_equal(read_to(small, 5).err, ERR_RECEIPT_TOO_OLD);
    assert_int_equal(read_to(small, 140).offset, 14);
    small_end(small);
}

static void a_number_does_not_fall(void **state)
{
    (void)state;
    struct small *small = begin("64");
    assert_int_equal(put(small, 100, NULL, A).offset, 1);
    assert_int_equal(put(small, 99, NULL, A).err, ERR_SEQ_BELOW_HEAD);
    assert_int_equal(put(small, 100, NULL, A).offset, 2);
    /* Also while the newer one is under way. */
    struct told newer, older;
    ask_head(small, 200, NULL, A, &newer);
    ask_head(small, 150, NULL, A, &older);
    small_run(small);
    assert_int_equal(newer.offset, 3);
    assert_int_equal(older.err, ERR_SEQ_BELOW_HEAD);
    assert_int_equal(head_of(small, false, 0).offset, 3);
    small_end(small);
}

/* What was told of is gone with the data, so the server tells of it again. */
static void numbers_begin_anew_when_the_data_is_lost(void **state)
{
    (void)state;
    struct small *small = begin("64");
    struct told told;
    assert_int_equal(put(small, 100, NULL, A).offset, 1);
    ask_clear(small, CHANNEL, &told);
    small_run(small);
    struct channel *channel = channel_find(small->shards[small_home(CHANNEL)], CHANNEL);
    channel_on_lost(channel->shard, &channel->stored->store);
    small_run(small);
    assert_int_equal(put(small, 60, NULL, A).err, ERR_OK);
    assert_int_equal(put(small, 59, NULL, A).err, ERR_SEQ_BELOW_HEAD);
    small_end(small);
}

static void the_same_id_is_the_same_message(void **state)
{
    (void)state;
    struct small *small = begin("64");
    assert_int_equal(put(small, 7, "p1", A).offset, 1);
    assert_int_equal(put(small, 7, "p2", A).offset, 2);
    assert_int_equal(put(small, 7, "p1", A).offset, 1);
    assert_int_equal(put(small, 9, NULL, A).offset, 3);
    struct told again = put(small, 7, "p2", A); /* below the head by now */
    assert_int_equal(again.offset, 2);
    assert_true(again.is_repeat);
    assert_int_equal(put(small, 7, "p3", A).err, ERR_SEQ_BELOW_HEAD);
    assert_int_equal(head_of(small, false, 0).offset, 3);
    small_end(small);
}

static void what_clients_publish_is_no_number(void **state)
{
    (void)state;
    struct small *small = begin("64");
    put(small, 10, NULL, A);
    static const char *const texts[] = {
        "{\"seq\":99}", "{\"seq\":99,\"x\":1}", "{\"seq\":}", "{\"seq\":9",
        "{\"seq\":-1}", "{\"seq\": 5}",         "1"};
    for (uint32_t i = 0; i < array_count(texts); i++) {
        struct told told;
        struct letter_publish in = {
            .channel = CHANNEL,
            .publication = {.data = bytes_of_text(texts[i]), .has_info = true, .user = B}};
        memset(in.publication.client, 7, sizeof in.publication.client);
        ask_publish(small, 0, in, &told);
        small_run(small);
        assert_int_equal(told.err, ERR_OK);
    }
    assert_int_equal(head_of(small, true, UINT64_MAX).offset, 1);
    assert_int_equal(put(small, 11, NULL, A).offset, 2 + array_count(texts));
    small_end(small);
}

static void members_come_in_pages(void **state)
{
    (void)state;
    struct small *small = begin("64");
    char names[10][4];
    struct bytes users[10];
    struct told told;
    for (uint32_t i = 0; i < 10; i++) {
        snprintf(names[i], sizeof names[i], "u%u", i);
        users[i] = bytes_of_text(names[i]);
    }
    ask_members(small, CHANNEL, users, 10, &told);
    small_run(small);
    struct shard *shard = small->shards[0];
    uint64_t after = 0, total = 0;
    uint32_t seen = 0, pages = 0;
    do {
        struct letter_members_list in = {.channel = CHANNEL, .limit = 4, .after = after};
        in.call = small_call(small, 0, CHANNEL, &told);
        call_post(shard, letter_pack_members_list(shard->post, small_home(CHANNEL), &in));
        small_run(small);
        assert_int_equal(told.err, ERR_OK);
        total = told.offset;
        seen += told.members_count;
        after = told.next_slot;
        pages++;
    } while (after > 0);
    assert_int_equal(total, 10);
    assert_int_equal(seen, 10);
    assert_int_equal(pages, 3);
    small_end(small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_offsets),
        cmocka_unit_test(what_left_the_window_is_too_old),
        cmocka_unit_test(a_number_does_not_fall),
        cmocka_unit_test(numbers_begin_anew_when_the_data_is_lost),
        cmocka_unit_test(the_same_id_is_the_same_message),
        cmocka_unit_test(what_clients_publish_is_no_number),
        cmocka_unit_test(members_come_in_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
