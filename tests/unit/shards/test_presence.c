/*
 * Presence: what an entry costs, and who is told what in which order.
 *
 * The second half runs on two real homes (small_node.h) whose listening shards
 * the test plays: it hears joins and leaves as the letters that they are.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/hash.h"
#include "tests/unit/shards/channel_asks.h"

static const char crowded[] = "channel: {presence_max_clients: 3, without_namespace: {presence: "
                              "true, join_leave: true}}\n";

static struct letter_subscribe comes(uint8_t client, const char *user)
{
    return (struct letter_subscribe){
        .hub = hub_of(1),
        .channel = CHANNEL,
        .has_presence = true,
        .tells_joins = true,
        .hears_joins = true,
        .client = {client},
        .user = bytes_of_text(user),
        .conn_info = BYTES_LITERAL("{\"c\":1}"),
    };
}

static void leaves(struct small *small, uint32_t from, const struct letter_subscribe *in)
{
    struct shard *shard = small->shards[from];
    struct letter_leave leave = {
        .hub = in->hub,
        .channel = in->channel,
        .has_presence = in->has_presence,
        .tells_joins = in->tells_joins,
        .hears_joins = in->hears_joins,
    };
    memcpy(leave.client, in->client, sizeof leave.client);
    letter_post(shard->post, letter_pack_leave(shard->post, small_home(in->channel), &leave));
}

static void subscribe(struct small *small, uint32_t from, struct letter_subscribe in)
{
    struct told told;
    ask_subscribe(small, from, in, &told);
    small_run(small);
    assert_true(told.is_here);
    assert_int_equal(told.err, ERR_OK);
}

static struct told asked(struct small *small, enum letter_kind kind)
{
    struct told told;
    struct letter_ask in = {.channel = CHANNEL};
    in.call = small_call(small, 0, in.channel, &told);
    struct post *post = small->shards[0]->post;
    call_post(small->shards[0], letter_pack_ask(post, small_home(in.channel), kind, &in));
    small_run(small);
    assert_true(told.is_here);
    return told;
}

static uint32_t count_of(const struct ear *ear, const char *text)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < ear->count; i++) count += strstr(ear->heard[i].text, text) != NULL;
    return count;
}

/* Told once in README and in the commit; the goal is 64. */
static void an_entry_of_a_new_user_takes_at_most_64_bytes(void **state)
{
    (void)state;
    enum { ENTRIES = 100000 };
    struct presences all;
    struct presence presence = {0};
    uint64_t before = mem_used();
    presences_init(&all, 11);
    uint64_t worst = 0;
    for (uint32_t i = 0; i < ENTRIES; i++) {
        struct wire_info who = {.user = BYTES_NONE};
        char user[16];
        uint64_t id = hash_u64(i, 3);
        memcpy(who.client, &id, sizeof id);
        snprintf(user, sizeof user, "user%08u", i);
        who.user = bytes_of(user, 12);
        presence_add(&all, &presence, &who, PRESENCE_LISTED);
        if (i < 20000) continue;
        uint64_t each = (mem_used() - before + i) / (i + 1);
        if (each > worst) worst = each;
    }
    print_message("bytes of an entry with a 12-byte user of its own: %llu, at worst %llu\n",
                  (unsigned long long)((mem_used() - before) / ENTRIES), (unsigned long long)worst);
    assert_in_range(worst, 40, 64);
    assert_int_equal(presence_users(&presence), ENTRIES);
    for (uint32_t i = 0; i < ENTRIES; i++) {
        uint8_t client[16] = {0};
        uint64_t id = hash_u64(i, 3);
        memcpy(client, &id, sizeof id);
        presence_remove(&all, &presence, client, true);
    }
    assert_int_equal(presence_users(&presence), 0);
    presences_fini(&all);
}

static void the_join_follows_the_reply_and_goes_to_who_hears(void **state)
{
    (void)state;
    struct ear ear;
    struct small *small = small_with_ear(&ear, crowded);
    struct letter_subscribe deaf = comes(1, "ann");
    deaf.hears_joins = false;
    subscribe(small, 0, deaf);
    assert_int_equal(ear.count, 0); /* nobody on that shard hears joins */

    struct told told;
    ask_subscribe(small, 1, comes(2, "bob"), &told);
    while (!told.is_here) {
        small_turn(small);
        if (!told.is_here) assert_int_equal(ear.count, 0);
    }
    small_run(small);
    assert_int_equal(ear.count, 1);
    assert_int_equal(ear.heard[0].shard, 1);
    assert_string_equal(ear.heard[0].text,
                        "{\"push\":{\"channel\":\"room\",\"join\":{\"info\":{\"user\":\"bob\","
                        "\"client\":\"02000000-0000-0000-0000-000000000000\","
                        "\"conn_info\":{\"c\":1}}}}}");
    leaves(small, 0, &deaf);
    small_run(small);
    assert_int_equal(ear.count, 2);
    assert_non_null(strstr(ear.heard[1].text, "\"leave\":{\"info\":{\"user\":\"ann\""));
    struct letter_subscribe bob = comes(2, "bob");
    leaves(small, 1, &bob);
    small_run(small);
    assert_int_equal(ear.count, 2); /* nobody is left to hear it */
    small_fini(small);
    free(small);
}

static void the_list_and_the_counts_agree(void **state)
{
    (void)state;
    struct ear ear;
    struct small *small = small_with_ear(&ear, crowded);
    struct told none = asked(small, LETTER_PRESENCE_STATS);
    assert_int_equal(none.clients, 0);
    assert_int_equal(asked(small, LETTER_PRESENCE).infos_count, 0);
    assert_int_equal(small->shards[small_home(CHANNEL)]->channels.channels.count, 0);

    subscribe(small, 0, comes(1, "ann"));
    subscribe(small, 1, comes(2, "ann"));
    subscribe(small, 1, comes(3, "bob"));
    struct told stats = asked(small, LETTER_PRESENCE_STATS);
    assert_int_equal(stats.clients, 3);
    assert_int_equal(stats.users, 2);
    assert_int_equal(asked(small, LETTER_PRESENCE).infos_count, 3);
    uint8_t clients[] = {1, 2, 3};
    for (uint32_t i = 0; i < 3; i++) {
        struct letter_subscribe in = comes(clients[i], "");
        leaves(small, i == 0 ? 0 : 1, &in);
    }
    small_run(small);
    assert_int_equal(asked(small, LETTER_PRESENCE_STATS).clients, 0);
    small_fini(small);
    free(small);
}

/* Three may be listed: below, at and above. */
static void above_the_limit_only_counts_are_told(void **state)
{
    (void)state;
    struct ear ear;
    struct small *small = small_with_ear(&ear, crowded);
    for (uint8_t client = 1; client <= 3; client++) {
        subscribe(small, 0, comes(client, "ann"));
        assert_int_equal(asked(small, LETTER_PRESENCE).infos_count, client);
    }
    assert_int_equal(count_of(&ear, "\"join\""), 3);
    subscribe(small, 0, comes(4, "bob"));
    assert_int_equal(asked(small, LETTER_PRESENCE).err, ERR_PRESENCE_TOO_BIG);
    assert_int_equal(asked(small, LETTER_PRESENCE_STATS).clients, 4);
    assert_int_equal(asked(small, LETTER_PRESENCE_STATS).users, 2);
    assert_int_equal(count_of(&ear, "\"join\""), 3); /* switched off */

    struct letter_subscribe first = comes(1, "ann"), fourth = comes(4, "bob");
    leaves(small, 0, &first);
    small_run(small);
    assert_int_equal(count_of(&ear, "\"leave\""), 0); /* above when it left */
    assert_int_equal(asked(small, LETTER_PRESENCE).infos_count, 3);
    leaves(small, 0, &fourth);
    small_run(small);
    assert_int_equal(count_of(&ear, "\"leave\""), 0); /* its join was not told either */
    struct letter_subscribe second = comes(2, "ann"), third = comes(3, "ann");
    leaves(small, 0, &second);
    small_run(small);
    assert_int_equal(count_of(&ear, "\"leave\""), 1); /* back on */
    leaves(small, 0, &third);
    small_run(small);
    small_fini(small);
    free(small);
}

static void who_is_only_told_is_not_listed(void **state)
{
    (void)state;
    struct ear ear;
    struct small *small = small_with_ear(&ear, crowded);
    struct letter_subscribe told = comes(1, "ann");
    told.has_presence = false;
    subscribe(small, 0, told);
    assert_int_equal(count_of(&ear, "\"join\""), 1);
    assert_int_equal(asked(small, LETTER_PRESENCE).infos_count, 0);
    assert_int_equal(asked(small, LETTER_PRESENCE_STATS).users, 0);
    subscribe(small, 1, comes(2, "bob"));
    assert_int_equal(asked(small, LETTER_PRESENCE).infos_count, 1);
    leaves(small, 0, &told);
    small_run(small);
    assert_int_equal(count_of(&ear, "\"leave\""), 1);
    assert_non_null(strstr(ear.heard[ear.count - 1].text, "\"user\":\"ann\""));
    struct letter_subscribe bob = comes(2, "bob");
    leaves(small, 1, &bob);
    small_fini(small);
    free(small);
}

/* Left and come back before the first answer: for a moment the home has both. */
static void a_client_that_is_there_twice_counts_once(void **state)
{
    (void)state;
    struct ear ear;
    struct small *small = small_with_ear(&ear, crowded);
    struct letter_subscribe ann = comes(1, "ann");
    subscribe(small, 0, ann);
    subscribe(small, 0, ann);
    assert_int_equal(asked(small, LETTER_PRESENCE_STATS).clients, 1);
    assert_int_equal(asked(small, LETTER_PRESENCE).infos_count, 1);
    leaves(small, 0, &ann);
    small_run(small);
    assert_int_equal(asked(small, LETTER_PRESENCE).infos_count, 1);
    leaves(small, 0, &ann);
    small_run(small);
    assert_int_equal(asked(small, LETTER_PRESENCE).infos_count, 0);
    assert_int_equal(count_of(&ear, "\"join\""), 2);
    assert_int_equal(count_of(&ear, "\"leave\""), 1); /* nobody heard the last one */
    small_fini(small);
    free(small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_of_a_new_user_takes_at_most_64_bytes),
        cmocka_unit_test(the_join_follows_the_reply_and_goes_to_who_hears),
        cmocka_unit_test(the_list_and_the_counts_agree),
        cmocka_unit_test(above_the_limit_only_counts_are_told),
        cmocka_unit_test(who_is_only_told_is_not_listed),
        cmocka_unit_test(a_client_that_is_there_twice_counts_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
