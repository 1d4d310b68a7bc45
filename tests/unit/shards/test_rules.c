/*
 * rules: every permission as one row: who asks, where, what the answer is.  The
 * shard is only its configuration, its hub and its subscriptions.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/config.h"
#include "core/mem.h"
#include "shards/cmd/rules.h"
#include "shards/shard.h"

static const char yaml[] =
    "channel:\n"
    "  max_length: 20\n"
    "  without_namespace: {allow_subscribe_for_client: true}\n"
    "  namespaces:\n"
    "    - {name: open, history_size: 5, history_ttl: 60s, allow_subscribe_for_client: true,\n"
    "       allow_publish_for_client: true, allow_history_for_client: true}\n"
    "    - {name: anon, allow_subscribe_for_client: true, allow_subscribe_for_anonymous: true,\n"
    "       allow_publish_for_client: true, allow_publish_for_anonymous: true}\n"
    "    - {name: subs, history_size: 5, history_ttl: 60s, allow_publish_for_subscriber: true,\n"
    "       allow_history_for_subscriber: true}\n"
    "    - {name: none, history_size: 5, history_ttl: 60s}\n"
    "    - {name: list, allow_user_limited_channels: true, allow_subscribe_for_client: true}\n"
    "    - {name: shut, allow_user_limited_channels: true}\n"
    "    - {name: expr, channel_regex: '^[a-z]+_[0-9]{1,3}$', allow_subscribe_for_client: true,\n"
    "       allow_publish_for_client: true}\n"
    "    - {name: word, channel_regex: caf, allow_subscribe_for_client: true}\n";

static void on_say(void *context, enum config_voice voice, const char *sentence)
{
    (void)context;
    if (voice == CONFIG_SAYS_ERROR) fail_msg("%s", sentence);
}

struct world {
    struct shard shard;
    struct conn conn;
};

static struct world *world_make(bool is_insecure, const char *user)
{
    struct world *world = mem_alloc(sizeof *world);
    struct config_override insecure = {"client.insecure", is_insecure ? "true" : "false", "test"};
    struct config *config;
    assert_int_equal(
        config_parse(BYTES_LITERAL(yaml), "t.yaml", &insecure, 1, on_say, NULL, &config), ERR_OK);
    world->shard.config = config;
    world->shard.shards_count = 1;
    hub_init(&world->shard.hub, 1, 16, 1);
    slab_init(&world->shard.subs, "sub", sizeof(struct sub), 16);
    world->conn.subs_first = UINT32_MAX;
    conn_set_user(&world->shard, &world->conn, bytes_of_text(user), BYTES_NONE);
    return world;
}

/* The client is a subscriber of `channel`, or has just asked to be. */
static void world_subscribe(struct world *world, const char *channel, enum sub_state state)
{
    struct hub_entry *entry = hub_expect(&world->shard.hub, bytes_of_text(channel));
    struct handle handle;
    struct sub *sub = slab_get(&world->shard.subs, &handle);
    sub->hub = hub_handle(&world->shard.hub, entry);
    sub->state = (uint8_t)state;
    sub->next = world->conn.subs_first;
    world->conn.subs_first = handle.index;
    world->conn.subs_count++;
}

static void world_free(struct world *world)
{
    for (uint32_t at = world->conn.subs_first; at != UINT32_MAX;) {
        struct sub *sub = slab_at(&world->shard.subs, at);
        at = sub->next;
        hub_forget(&world->shard.hub, hub_at(&world->shard.hub, sub->hub));
        slab_put(&world->shard.subs, sub);
    }
    hub_fini(&world->shard.hub);
    slab_fini(&world->shard.subs);
    patterns_fini(&world->shard.patterns);
    config_destroy((struct config *)(uintptr_t)world->shard.config);
    conn_forget_user(&world->shard, &world->conn);
    mem_free(world);
}

enum action { SUBSCRIBE, PUBLISH, HISTORY };

static enum err ask(struct world *world, enum action action, const char *name)
{
    const struct config_namespace *options;
    struct bytes channel = bytes_of_text(name);
    TRY(rules_channel(&world->shard, channel, &options));
    switch (action) {
    case SUBSCRIBE: return rules_may_subscribe(&world->shard, &world->conn, channel, options);
    case PUBLISH: return rules_may_publish(&world->shard, &world->conn, channel, options);
    case HISTORY: return rules_may_read_history(&world->shard, &world->conn, channel, options);
    }
    return ERR_OK;
}

struct row {
    const char *channel;
    enum err known, anonymous, insecure; /* a user with an id, without one, insecure mode */
};

static void expect(enum action action, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct world *known = world_make(false, "u");
        struct world *anonymous = world_make(false, "");
        struct world *insecure = world_make(true, "");
        if (ask(known, action, rows[i].channel) != rows[i].known)
            fail_msg("known %s", rows[i].channel);
        if (ask(anonymous, action, rows[i].channel) != rows[i].anonymous)
            fail_msg("anonymous %s", rows[i].channel);
        if (ask(insecure, action, rows[i].channel) != rows[i].insecure)
            fail_msg("insecure %s", rows[i].channel);
        world_free(known);
        world_free(anonymous);
        world_free(insecure);
    }
}

static void subscribing(void **state)
{
    (void)state;
    const struct row rows[] = {
        {"plain", ERR_OK, ERR_DENIED, ERR_OK},
        {"open:x", ERR_OK, ERR_DENIED, ERR_OK},
        {"anon:x", ERR_OK, ERR_OK, ERR_OK},
        {"none:x", ERR_DENIED, ERR_DENIED, ERR_OK},
        {"$open:x", ERR_DENIED, ERR_DENIED, ERR_DENIED}, /* by token only, always */
        {"open:x#7", ERR_DENIED, ERR_DENIED, ERR_OK},
        {"gone:x", ERR_UNKNOWN_CHANNEL, ERR_UNKNOWN_CHANNEL, ERR_UNKNOWN_CHANNEL},
        /* The known user is "u", the others have no id. */
        {"list:x", ERR_OK, ERR_DENIED, ERR_OK},
        {"list:x#u", ERR_OK, ERR_DENIED, ERR_OK},
        {"list:x#u,v", ERR_OK, ERR_DENIED, ERR_OK},
        {"list:x#v,u", ERR_OK, ERR_DENIED, ERR_OK},
        {"list:x#v,u,w", ERR_OK, ERR_DENIED, ERR_OK},
        {"list:x#v", ERR_DENIED, ERR_DENIED, ERR_OK},
        {"list:x#uu", ERR_DENIED, ERR_DENIED, ERR_OK},
        {"list:x#v, u", ERR_DENIED, ERR_DENIED, ERR_OK},
        {"list:x#u#v", ERR_DENIED, ERR_DENIED, ERR_OK}, /* the last list counts */
        {"list:x#v#u", ERR_OK, ERR_DENIED, ERR_OK},
        {"list:x#", ERR_DENIED, ERR_DENIED, ERR_OK}, /* the empty id is nobody */
        {"list:x#,", ERR_DENIED, ERR_DENIED, ERR_OK},
        {"list:#u", ERR_OK, ERR_DENIED, ERR_OK},
        {"shut:x#u", ERR_OK, ERR_DENIED, ERR_OK}, /* it is the list that allows */
        {"$list:x#u", ERR_DENIED, ERR_DENIED, ERR_DENIED},
        {"expr:ab_12", ERR_OK, ERR_DENIED, ERR_OK},
        {"expr:ab_1234", ERR_BAD_CHANNEL, ERR_BAD_CHANNEL, ERR_BAD_CHANNEL},
    };
    expect(SUBSCRIBE, rows, array_count(rows));
}

static void publishing(void **state)
{
    (void)state;
    const struct row rows[] = {
        {"plain", ERR_DENIED, ERR_DENIED, ERR_OK},
        {"open:x", ERR_OK, ERR_DENIED, ERR_OK},
        {"anon:x", ERR_OK, ERR_OK, ERR_OK},
        {"subs:x", ERR_DENIED, ERR_DENIED, ERR_OK},
        /* Neither '$' nor a list of users says anything about publishing. */
        {"$open:x", ERR_OK, ERR_DENIED, ERR_OK},
        {"open:x#7", ERR_OK, ERR_DENIED, ERR_OK},
        {"list:x#u", ERR_DENIED, ERR_DENIED, ERR_OK},
        {"expr:ab_1", ERR_OK, ERR_DENIED, ERR_OK},
        {"expr:ab", ERR_BAD_CHANNEL, ERR_BAD_CHANNEL, ERR_BAD_CHANNEL},
        {"gone:x", ERR_UNKNOWN_CHANNEL, ERR_UNKNOWN_CHANNEL, ERR_UNKNOWN_CHANNEL},
    };
    expect(PUBLISH, rows, array_count(rows));
}

static void reading_history(void **state)
{
    (void)state;
    const struct row rows[] = {
        /* 108 comes before 103: nothing is kept, whoever asks. */
        {"plain", ERR_NOT_AVAILABLE, ERR_NOT_AVAILABLE, ERR_NOT_AVAILABLE},
        {"open:x", ERR_OK, ERR_DENIED, ERR_OK},
        {"none:x", ERR_DENIED, ERR_DENIED, ERR_OK},
        {"$open:x", ERR_OK, ERR_DENIED, ERR_OK},
        {"open:x#7", ERR_OK, ERR_DENIED, ERR_OK},
        {"list:x#u", ERR_NOT_AVAILABLE, ERR_NOT_AVAILABLE, ERR_NOT_AVAILABLE},
    };
    expect(HISTORY, rows, array_count(rows));
}

static void subscribers_rights_begin_when_they_ask_and_end_when_they_leave(void **state)
{
    (void)state;
    const struct {
        enum sub_state state;
        enum err err;
    } rows[] = {{SUB_ASKED, ERR_OK}, {SUB_LIVE, ERR_OK}, {SUB_LEAVING, ERR_DENIED}};
    for (size_t i = 0; i < array_count(rows); i++) {
        struct world *world = world_make(false, "u");
        world_subscribe(world, "subs:x", rows[i].state);
        assert_int_equal(ask(world, PUBLISH, "subs:x"), rows[i].err);
        assert_int_equal(ask(world, HISTORY, "subs:x"), rows[i].err);
        assert_int_equal(ask(world, PUBLISH, "subs:y"), ERR_DENIED);
        world_free(world);
    }
}

static void names_keep_to_their_rule(void **state)
{
    (void)state;
    struct world *world = world_make(false, "u");
    assert_int_equal(ask(world, SUBSCRIBE, ""), ERR_BAD_CHANNEL);
    assert_int_equal(ask(world, SUBSCRIBE, "12345678901234567890"), ERR_OK);
    assert_int_equal(ask(world, SUBSCRIBE, "1234567890123456789"), ERR_OK);
    assert_int_equal(ask(world, SUBSCRIBE, "123456789012345678901"), ERR_BAD_CHANNEL);
    assert_int_equal(ask(world, SUBSCRIBE, "caf\xc3\xa9"), ERR_BAD_CHANNEL);
    assert_int_equal(ask(world, SUBSCRIBE, "a\x1f"), ERR_BAD_CHANNEL);
    assert_int_equal(ask(world, SUBSCRIBE, "a\x7f"), ERR_BAD_CHANNEL);
    assert_int_equal(ask(world, SUBSCRIBE, "a ~"), ERR_OK);
    world_free(world);
}

/* The expression looks at what follows the namespace, wherever in it. */
static void names_may_have_a_rule_of_their_namespace(void **state)
{
    (void)state;
    struct world *world = world_make(false, "u");
    assert_int_equal(ask(world, PUBLISH, "expr:a_1"), ERR_OK);
    assert_int_equal(ask(world, PUBLISH, "$expr:a_1"), ERR_OK);
    assert_int_equal(ask(world, SUBSCRIBE, "$expr:a_x"), ERR_BAD_CHANNEL); /* before '$' */
    assert_int_equal(ask(world, SUBSCRIBE, "expr:"), ERR_BAD_CHANNEL);
    assert_int_equal(ask(world, SUBSCRIBE, "expr:A_1"), ERR_BAD_CHANNEL);
    assert_int_equal(ask(world, SUBSCRIBE, "word:xcaf"), ERR_OK);
    assert_int_equal(ask(world, SUBSCRIBE, "word:caf\xc3\xa9"), ERR_OK);
    assert_int_equal(ask(world, SUBSCRIBE, "word:ca"), ERR_BAD_CHANNEL);
    assert_int_equal(ask(world, SUBSCRIBE, "caf:x"), ERR_UNKNOWN_CHANNEL);
    world_free(world);
}

/* '.' for ':': in the rule of the namespace, too. */
static void the_boundary_is_an_option(void **state)
{
    (void)state;
    struct world *world = world_make(false, "u");
    struct config *config;
    static const char text[] =
        "channel: {namespace_boundary: ., namespaces: [{name: expr, channel_regex: '^[a-z]$',\n"
        "  allow_publish_for_client: true}]}";
    assert_int_equal(config_parse(BYTES_LITERAL(text), "t.yaml", NULL, 0, on_say, NULL, &config),
                     ERR_OK);
    const struct config *before = world->shard.config;
    world->shard.config = config;
    assert_int_equal(ask(world, PUBLISH, "expr.a"), ERR_OK);
    assert_int_equal(ask(world, PUBLISH, "expr.aa"), ERR_BAD_CHANNEL);
    assert_int_equal(ask(world, PUBLISH, "gone.a"), ERR_UNKNOWN_CHANNEL);
    assert_int_equal(ask(world, PUBLISH, "expr:a"), ERR_DENIED); /* no namespace */
    world->shard.config = before;
    config_destroy(config);
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(subscribing),
        cmocka_unit_test(publishing),
        cmocka_unit_test(reading_history),
        cmocka_unit_test(subscribers_rights_begin_when_they_ask_and_end_when_they_leave),
        cmocka_unit_test(names_keep_to_their_rule),
        cmocka_unit_test(names_may_have_a_rule_of_their_namespace),
        cmocka_unit_test(the_boundary_is_an_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
