/*
 * receipts:X at the home of X (small_node.h): who may listen, what is told at which rung
 * of the ladder, and what a user's own connections hear.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/shards/small_node.h"

#define CHANNEL BYTES_LITERAL("room")
#define LIVE    BYTES_LITERAL("receipts:room")
#define ANN     BYTES_LITERAL("ann")
#define BOB     BYTES_LITERAL("bob")

#define PLAIN "channel: {without_namespace: {history_size: 50, history_ttl: 60s%s}}\n%s\n"

static struct small small;
static uint32_t heard_count, tells_count, removed_count;
static char heard_text[512];
static char tell_data[512], tell_channel[64], tell_user[64];
static uint8_t tell_verb;
static bool tell_is_here;

static void on_heard(struct small *node, const struct heard *heard)
{
    (void)node;
    assert_false(heard->is_lost);
    if (strstr(heard->text, "\"channel\":\"receipts:room\"") == NULL) return;
    heard_count++;
    snprintf(heard_text, sizeof heard_text, "%s", heard->text);
}

static void put(char *out, size_t room, struct bytes in)
{
    snprintf(out, room, "%.*s", (int)in.size, (const char *)in.at);
}

static void on_tell(const struct letter_user_tell *tell)
{
    if (memmem(tell->act.data.bytes.at, tell->act.data.bytes.size, "\"removed\":true", 14) !=
        NULL) {
        removed_count++; /* on the user's own devices */
        return;
    }
    tells_count++;
    tell_verb = tell->act.verb;
    tell_is_here = tell->is_of_this_node;
    put(tell_data, sizeof tell_data, tell->act.data.bytes);
    put(tell_channel, sizeof tell_channel, tell->act.channel);
    put(tell_user, sizeof tell_user, tell->act.user);
}

static void open_with(const char *namespace_options, const char *options)
{
    char text[400];
    snprintf(text, sizeof text, PLAIN, namespace_options, options);
    heard_count = tells_count = removed_count = 0;
    small_on_tell = on_tell;
    small_init(&small, text);
    small.on_heard = on_heard;
}

/* `count` members: ann, bob, u2, u3, … */
static void members(uint32_t count)
{
    static char names[3000][16];
    static struct bytes users[3000];
    assert_true(count <= 3000);
    for (uint32_t i = 0; i < count; i++) {
        snprintf(names[i], sizeof names[i], "u%u", i);
        users[i] = i == 0 ? ANN : i == 1 ? BOB : bytes_of_text(names[i]);
    }
    struct told told;
    ask_members(&small, CHANNEL, users, count, &told);
    small_run(&small);
    assert_int_equal(told.err, ERR_OK);
}

static enum err listen(struct bytes user)
{
    struct told told;
    struct letter_subscribe in = {
        .hub = {.index = 1, .generation = 1}, .channel = LIVE, .is_as_member = true, .user = user};
    ask_subscribe(&small, 1, in, &told);
    small_run(&small);
    assert_true(told.is_here);
    return told.err;
}

static void leave(void)
{
    tell_leave(&small, 1, LIVE, (struct handle){.index = 1, .generation = 1});
    small_run(&small);
}

static void say(struct bytes user)
{
    struct told told;
    ask_publish(&small, 0,
                (struct letter_publish){
                    .channel = CHANNEL,
                    .publication = {.data = BYTES_LITERAL("1"), .has_info = true, .user = user}},
                &told);
    small_run(&small);
    assert_int_equal(told.err, ERR_OK);
}

static struct told ask(enum receipt_verb verb, struct bytes user, uint64_t offset)
{
    struct told told;
    struct letter_receipt in = {
        .verb = (uint8_t)verb, .channel = CHANNEL, .user = user, .offset = offset};
    ask_receipt(&small, 0, in, &told);
    small_run(&small);
    assert_true(told.is_here);
    return told;
}

static void end(void)
{
    leave();
    small_on_tell = NULL;
    small_fini(&small);
}

static void has(const char *part)
{
    if (strstr(heard_text, part) == NULL) fail_msg("'%s' is not in %s", part, heard_text);
}

static void in_a_small_channel_each_move_is_told_at_once(void **state)
{
    (void)state;
    open_with("", "");
    members(3);
    assert_int_equal(listen(BOB), ERR_OK);
    for (int i = 0; i < 3; i++) say(ANN);
    assert_int_equal(heard_count, 0); /* that a sender reads is no news */
    assert_int_equal(ask(RECEIPT_READ, BOB, 2).offset, 2);
    assert_int_equal(heard_count, 1);
    has("{\"moves\":[{\"user\":\"bob\",\"from\":0,\"to\":2}]}");
    assert_int_equal(ask(RECEIPT_VIEW, BOB, 0).offset, 3);
    assert_int_equal(heard_count, 2);
    has("{\"user\":\"bob\",\"from\":2,\"to\":3}");
    assert_int_equal(ask(RECEIPT_READ, BOB, 1).offset, 3);
    assert_int_equal(heard_count, 2);
    say(BYTES_LITERAL("u2")); /* has read what came before */
    assert_int_equal(heard_count, 3);
    has("{\"user\":\"u2\",\"from\":0,\"to\":4}");
    end();
}

static void only_members_listen_and_only_until_they_leave(void **state)
{
    (void)state;
    open_with("", "");
    assert_int_equal(listen(ANN), ERR_NOT_MEMBER);
    members(2);
    assert_int_equal(listen(BYTES_LITERAL("eve")), ERR_NOT_MEMBER);
    assert_int_equal(listen(BYTES_NONE), ERR_NOT_MEMBER);
    assert_int_equal(listen(ANN), ERR_OK);
    members(1);
    assert_int_equal(removed_count, 1);
    assert_int_equal(tells_count, 1);
    assert_int_equal(tell_verb, ACT_UNSUBSCRIBE);
    assert_string_equal(tell_user, "bob");
    assert_string_equal(tell_channel, "receipts:room");
    assert_true(tell_is_here);
    has("{\"members\":1}");
    end();
    open_with(", receipts: off", "");
    members(2);
    assert_int_equal(listen(ANN), ERR_RECEIPT_DISABLED);
    assert_int_equal(ask(RECEIPT_VIEW, ANN, 0).err, ERR_OK); /* one's own unread goes on */
    small_on_tell = NULL;
    small_fini(&small);
}

static void moves_of_a_large_channel_are_put_together(void **state)
{
    (void)state;
    open_with("", "");
    members(9);
    assert_int_equal(listen(ANN), ERR_OK);
    small_wait(&small, 1000);
    for (int i = 0; i < 5; i++) say(ANN);
    heard_count = 0;
    ask(RECEIPT_READ, BOB, 1);
    assert_int_equal(heard_count, 1); /* the first after a pause */
    ask(RECEIPT_READ, BOB, 2);
    ask(RECEIPT_READ, BYTES_LITERAL("u2"), 3);
    ask(RECEIPT_READ, BOB, 4);
    assert_int_equal(heard_count, 1);
    small_wait(&small, 200);
    assert_int_equal(heard_count, 2);
    has("{\"moves\":[{\"user\":\"bob\",\"from\":1,\"to\":4},{\"user\":\"u2\",\"from\":0,\"to\":3}]"
        "}");
    small_wait(&small, 2000);
    assert_int_equal(heard_count, 2);
    end();
}

static void without_names_counts_are_told(void **state)
{
    (void)state;
    open_with(", receipts: count", "");
    members(3);
    assert_int_equal(listen(ANN), ERR_OK);
    say(ANN);
    say(BOB);
    has("{\"counts\":[{\"offset\":1,\"readers\":1,\"eligible\":2},"
        "{\"offset\":2,\"readers\":0,\"eligible\":2}]}");
    ask(RECEIPT_READ, BYTES_LITERAL("u2"), 1);
    has("{\"counts\":[{\"offset\":1,\"readers\":2,\"eligible\":2}]}");
    assert_null(strstr(heard_text, "u2"));
    ask(RECEIPT_READ, ANN, 2);
    has("{\"counts\":[{\"offset\":2,\"readers\":1,\"eligible\":2}]}"); /* what changed */
    end();
}

static uint64_t policy(bool is_set, uint32_t own)
{
    struct told told;
    ask_policy(&small, CHANNEL, is_set, own, &told);
    small_run(&small);
    assert_true(told.is_here);
    assert_int_equal(told.err, ERR_OK);
    return told.offset;
}

/* Set over the namespace's, back to it, and what is told in between. */
static void a_policy_of_its_own_is_in_force_at_once(void **state)
{
    (void)state;
    open_with(", receipts: off", "");
    members(3);
    assert_int_equal(policy(false, 0), 0x21);
    assert_int_equal(listen(ANN), ERR_RECEIPT_DISABLED);
    policy(true, policy_with_receipts(0, CONFIG_RECEIPTS_ALL));
    assert_int_equal(policy(false, 0), 4ull << 32 | 0x24);
    assert_int_equal(listen(ANN), ERR_OK);
    say(ANN);
    say(ANN);
    ask(RECEIPT_READ, BOB, 1);
    has("{\"moves\":[{\"user\":\"bob\",\"from\":0,\"to\":1}]}");
    assert_int_equal(ask(RECEIPT_READERS, ANN, 1).err, ERR_OK);
    policy(true, policy_with_receipts(0, CONFIG_RECEIPTS_COUNT));
    has("\"counts\":[{\"offset\":1,\"readers\":1,\"eligible\":2}");
    has("\"policy\":\"count\"}");
    assert_int_equal(ask(RECEIPT_READERS, ANN, 1).err, ERR_RECEIPT_DISABLED);
    small_wait(&small, 1000);
    ask(RECEIPT_READ, BOB, 2);
    has("{\"counts\":[{\"offset\":2,\"readers\":1,\"eligible\":2}]}");
    uint32_t before = heard_count;
    policy(true, policy_with_receipts(0, CONFIG_RECEIPTS_COUNT)); /* the same again */
    assert_int_equal(heard_count, before);
    policy(true, 0);
    has("{\"policy\":\"off\"}");
    before = heard_count;
    ask(RECEIPT_READ, BYTES_LITERAL("u2"), 2);
    small_wait(&small, 2000);
    assert_int_equal(heard_count, before);
    assert_int_equal(ask(RECEIPT_READERS, ANN, 1).err, ERR_RECEIPT_DISABLED);
    end();
}

static void a_huge_channel_tells_nothing_and_one_below_it_counts(void **state)
{
    (void)state;
    open_with("", "receipts: {large_channel_threshold: 10, huge_channel_threshold: 20}");
    members(20);
    assert_int_equal(listen(ANN), ERR_OK);
    small_wait(&small, 2000);
    for (int i = 0; i < 30; i++) say(ANN);
    heard_count = 0;
    small_wait(&small, 2000);
    ask(RECEIPT_READ, BOB, 30);
    assert_int_equal(heard_count, 1);
    assert_null(strstr(heard_text, "\"offset\":10,")); /* the newest twenty */
    has("\"counts\":[{\"offset\":11,\"readers\":1,\"eligible\":19}");
    ask(RECEIPT_READ, BYTES_LITERAL("u5"), 30);
    small_wait(&small, 999);
    assert_int_equal(heard_count, 1);
    small_wait(&small, 1);
    assert_int_equal(heard_count, 2);
    members(21);
    small_wait(&small, 2000);
    heard_count = 0;
    ask(RECEIPT_READ, BYTES_LITERAL("u6"), 30);
    small_wait(&small, 2000);
    assert_int_equal(heard_count, 0);
    end();
}

static void other_connections_of_the_user_hear_at_once(void **state)
{
    (void)state;
    open_with("", "");
    members(2);
    assert_int_equal(listen(ANN), ERR_OK);
    for (int i = 0; i < 3; i++) say(ANN);
    assert_int_equal(tells_count, 0);
    ask(RECEIPT_READ, BOB, 2);
    assert_int_equal(tells_count, 1);
    assert_int_equal(tell_verb, ACT_MESSAGE);
    assert_string_equal(tell_user, "bob");
    assert_false(tell_is_here);
    assert_non_null(strstr(tell_data, "{\"receipt\":{\"channel\":\"room\",\"epoch\":\""));
    assert_non_null(strstr(tell_data, "\"head\":3,\"read\":2"));
    assert_non_null(strstr(tell_data, "\"unread\":1,\"first_unread\":3}}"));
    say(BOB); /* which reads what was unread */
    assert_int_equal(tells_count, 2);
    assert_non_null(strstr(tell_data, "\"head\":4,\"read\":4"));
    assert_non_null(strstr(tell_data, "\"unread\":0}}"));
    end();
}

static void members_only_ties_all_to_membership(void **state)
{
    (void)state;
    open_with(", members_only: true", "");
    struct told told;
    struct letter_publish in = {
        .channel = CHANNEL,
        .publication = {.data = BYTES_LITERAL("1"), .has_info = true, .user = ANN}};
    struct letter_subscribe sub = {.hub = {.index = 2, .generation = 1},
                                   .channel = CHANNEL,
                                   .is_as_member = true,
                                   .user = ANN};
    struct letter_history history = {.channel = CHANNEL, .limit = 1, .user = ANN};
    for (int is_member = 0; is_member < 2; is_member++) {
        enum err err = is_member ? ERR_OK : ERR_NOT_MEMBER;
        ask_publish(&small, 0, in, &told);
        small_run(&small);
        assert_int_equal(told.err, err);
        ask_subscribe(&small, 1, sub, &told);
        small_run(&small);
        assert_int_equal(told.err, err);
        ask_history(&small, 1, history, &told);
        small_run(&small);
        assert_int_equal(told.err, err);
        members(2);
    }
    in.publication.has_info = false; /* the server may */
    ask_publish(&small, 0, in, &told);
    small_run(&small);
    assert_int_equal(told.err, ERR_OK);
    ask_members(&small, CHANNEL, (struct bytes[]){BOB}, 1, &told);
    small_run(&small);
    assert_int_equal(tells_count, 1); /* ann listens no more */
    assert_string_equal(tell_user, "ann");
    assert_string_equal(tell_channel, "room");
    assert_int_equal(tell_verb, ACT_UNSUBSCRIBE);
    tell_leave(&small, 1, CHANNEL, sub.hub);
    small_run(&small);
    small_on_tell = NULL;
    small_fini(&small);
}

static void a_companion_takes_nothing_but_listeners(void **state)
{
    (void)state;
    open_with("", "");
    members(2);
    struct told told;
    ask_publish(&small, 0,
                (struct letter_publish){.channel = LIVE, .publication.data = BYTES_LITERAL("1")},
                &told);
    small_run(&small);
    assert_int_equal(told.err, ERR_NOT_AVAILABLE);
    ask_history(&small, 0, (struct letter_history){.channel = LIVE, .limit = 1}, &told);
    small_run(&small);
    assert_int_equal(told.err, ERR_NOT_AVAILABLE);
    /* While somebody listens, the channel stays open however idle it is. */
    assert_int_equal(listen(ANN), ERR_OK);
    small_wait(&small, 3 * CHANNEL_IDLE_MS);
    const struct channels *channels = &small.shards[small_home(CHANNEL)]->channels;
    assert_int_equal(channels->channels.count, 2);
    leave();
    small_wait(&small, CHANNEL_IDLE_MS);
    assert_int_equal(channels->channels.count, 0);
    small_on_tell = NULL;
    small_fini(&small);
}

static void what_is_new_is_told_of_many_channels(void **state)
{
    (void)state;
    open_with("", "");
    members(2);
    say(ANN);
    say(ANN);
    ask(RECEIPT_READ, BOB, 1);
    small_wait(&small, CHANNEL_IDLE_MS); /* closed: the question opens it */
    struct bytes channels[3] = {CHANNEL, BYTES_LITERAL("empty"), LIVE};
    char names[2][16];
    for (uint32_t i = 0, found = 1; found < 2; i++) { /* of the same home */
        snprintf(names[0], sizeof names[0], "empty%u", i);
        channels[1] = bytes_of_text(names[0]);
        if (small_home(channels[1]) == small_home(CHANNEL)) found++;
    }
    struct told told;
    ask_states(&small, BOB, channels, 3, &told);
    small_run(&small);
    assert_true(told.is_here);
    assert_int_equal(told.states_count, 3);
    assert_int_equal(told.states[0].err, ERR_OK);
    assert_int_equal(told.states[0].head, 2);
    assert_int_equal(told.states[0].read, 1);
    assert_int_equal(told.states[0].unread, 1);
    assert_int_equal(told.states[0].first_unread, 2);
    assert_int_equal(told.states[1].err, ERR_NOT_MEMBER);
    assert_int_equal(told.states[2].err, ERR_NOT_AVAILABLE);
    small_on_tell = NULL;
    small_fini(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_a_small_channel_each_move_is_told_at_once),
        cmocka_unit_test(only_members_listen_and_only_until_they_leave),
        cmocka_unit_test(moves_of_a_large_channel_are_put_together),
        cmocka_unit_test(without_names_counts_are_told),
        cmocka_unit_test(a_huge_channel_tells_nothing_and_one_below_it_counts),
        cmocka_unit_test(other_connections_of_the_user_hear_at_once),
        cmocka_unit_test(a_policy_of_its_own_is_in_force_at_once),
        cmocka_unit_test(members_only_ties_all_to_membership),
        cmocka_unit_test(a_companion_takes_nothing_but_listeners),
        cmocka_unit_test(what_is_new_is_told_of_many_channels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
