/*
 * Links to a redis-server that speaks TLS, and the users of its access list: with the
 * right trust and rights everything is as without, with the wrong ones a node says so
 * and does not start.
 */
#include "unit/storage/redis_nodes.h"

static char path[64], cert[80], key[80], other[80];

static void run(const char *format, ...) printf_like(1, 2);
static void run(const char *format, ...)
{
    char command[512];
    va_list values;
    va_start(values, format);
    vsnprintf(command, sizeof command, format, values);
    va_end(values);
    assert_int_equal(system(command), 0);
}

/* Two certificates, each its own authority, for 127.0.0.1 and redis.test. */
static int setup(void **state)
{
    (void)state;
    static const char *const names[] = {"", "other-"};
    snprintf(path, sizeof path, "/tmp/test_redis_tls.%d", (int)getpid());
    run("rm -rf %s && mkdir %s", path, path);
    for (size_t i = 0; i < array_count(names); i++)
        run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
            "-keyout %s/%skey.pem -out %s/%scert.pem -subj /CN=%sredis "
            "-addext subjectAltName=DNS:redis.test,IP:127.0.0.1 2>/dev/null",
            path, names[i], path, names[i], names[i]);
    snprintf(cert, sizeof cert, "%s/cert.pem", path);
    snprintf(key, sizeof key, "%s/key.pem", path);
    snprintf(other, sizeof other, "%s/other-cert.pem", path);
    return 0;
}
static int teardown(void **state)
{
    (void)state;
    run("rm -rf %s", path);
    return 0;
}

static void trust(struct config *config)
{
    config->redis_tls_server_ca_pem = cert;
    config->redis_tls_cert_pem = "";
    config->redis_tls_key_pem = "";
    config->redis_tls_server_name = "";
}

/* --- TLS -------------------------------------------------------------------------------------- */

static void kill_links(struct world *world)
{
    redis_say(&world->redis, "CLIENT KILL TYPE normal SKIPME yes");
    redis_say(&world->redis, "CLIENT KILL TYPE pubsub");
}

static bool is_appended;
static enum err append_err;
static void on_appended(struct store_append *op, enum err err, uint64_t offset, bool is_repeat)
{
    (void)op, (void)offset, (void)is_repeat;
    append_err = err;
    is_appended = true;
}

/* A replica on a busy machine may need longer than redis.wait_timeout: that is answered
 * "unknown", and asked again. */
static void append_until_known(struct world *world, struct room *room, struct store_append op)
{
    op.channel = &room->channel;
    op.on_appended = on_appended;
    do {
        struct store_append again = op;
        is_appended = false;
        store_append(room->node->store, &again);
        turn_until(world, is_appended);
    } while (append_err == ERR_STORE_UNKNOWN);
    assert_int_equal(append_err, ERR_OK);
}

/* Larger than a record of TLS, and than what the kernel takes at once. */
static void append_large(struct world *world)
{
    enum { SIZE = 3 << 20 };
    char *digits = mem_alloc(SIZE);
    memset(digits, '0', SIZE);
    digits[SIZE - 1] = '1';
    append_until_known(world, &world->rooms[0][0],
                       (struct store_append){.type = RECORD_PUBLICATION,
                                             .scope = BYTES_LITERAL("t"),
                                             .key = BYTES_LITERAL("large"),
                                             .publication = {.data = bytes_of(digits, SIZE)}});
    mem_free(digits);
}

static void over_tls_everything_is_as_without(void **state)
{
    (void)state;
    struct world *world = world_begin_as(
        &(struct redis_world){.tls_path = path, .wait_replicas = 1, .wait_timeout_ms = 900}, trust);
    load(world, 600, NULL);
    load(world, 600, kill_links);
    load(world, 100, NULL);
    check_exactly_once(world);
    uint64_t head = world->rooms[0][0].channel.head;
    append_large(world);
    turn_until(world, world->rooms[1][0].channel.head == head + 1);
    assert_int_equal(world->rooms[1][0].numbers[head + 1], 1);
    world_end(world);
}

static enum err start(const struct redis_world *redis, void (*change)(struct config *))
{
    struct node node = {0};
    trust(&node.config);
    redis_configure(redis, &node.config);
    node.config.redis_connect_timeout_ms = 300;
    if (change != NULL) change(&node.config);
    node.workers = workers_create();
    enum err err = store_node_open(&node.config, node.workers, 1, &node.node);
    if (err == ERR_OK) store_node_close(node.node);
    workers_destroy(node.workers);
    return err;
}

static void trust_other(struct config *config)
{
    config->redis_tls_server_ca_pem = other;
}
static void trust_any(struct config *config)
{
    config->redis_tls_server_ca_pem = other;
    config->redis_tls_insecure_skip_verify = true;
}
static void expect_name(struct config *config)
{
    config->redis_tls_server_name = "redis.test";
}
static void expect_wrong_name(struct config *config)
{
    config->redis_tls_server_name = "redis.example";
}
static void show_certificate(struct config *config)
{
    config->redis_tls_cert_pem = cert;
    config->redis_tls_key_pem = key;
}
static void show_half(struct config *config)
{
    config->redis_tls_cert_pem = cert;
}
static void trust_nothing(struct config *config)
{
    config->redis_tls_server_ca_pem = "/nowhere/ca.pem";
}
static void trust_inline(struct config *config)
{
    static char text[4096];
    FILE *file = fopen(cert, "r");
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    config->redis_tls_server_ca_pem = text;
}
static void speak_plainly(struct config *config)
{
    config->redis_tls_enabled = false;
}
static void a_node_starts_with_the_right_trust_alone(void **state)
{
    (void)state;
    struct redis_world redis;
    redis_begin_with(&redis, &(struct redis_world){.tls_path = path});
    assert_int_equal(start(&redis, NULL), ERR_OK);
    assert_int_equal(start(&redis, trust_inline), ERR_OK);
    assert_int_equal(start(&redis, trust_any), ERR_OK);
    assert_int_equal(start(&redis, expect_name), ERR_OK);
    assert_int_equal(start(&redis, show_certificate), ERR_OK);
    assert_int_equal(start(&redis, trust_other), ERR_STORE_DOWN);
    assert_int_equal(start(&redis, expect_wrong_name), ERR_STORE_DOWN);
    assert_int_equal(start(&redis, speak_plainly), ERR_STORE_DOWN);
    assert_int_equal(start(&redis, show_half), ERR_BAD_REQUEST);
    assert_int_equal(start(&redis, trust_nothing), ERR_BAD_REQUEST);
    /* TLS to the port that speaks none. */
    snprintf(redis.tls_address, sizeof redis.tls_address, "127.0.0.1:%u", redis.port);
    assert_int_equal(start(&redis, NULL), ERR_STORE_DOWN);
    redis_end(&redis);
}

static void a_server_may_ask_for_a_certificate(void **state)
{
    (void)state;
    struct redis_world redis;
    redis_begin_with(&redis, &(struct redis_world){.tls_path = path, .asks_certificate = true});
    assert_int_equal(start(&redis, NULL), ERR_STORE_DOWN);
    assert_int_equal(start(&redis, show_certificate), ERR_OK);
    redis_end(&redis);
}

/* --- the access list --------------------------------------------------------------------- */

static void a_user_with_the_rights_that_are_told_can_do_all(void **state)
{
    (void)state;
    for (uint32_t wait = 0; wait < 2; wait++) {
        struct world *world = world_begin_as(&(struct redis_world){.acl = REDIS_RIGHTS,
                                                                   .user = "sluice",
                                                                   .user_password = "secret",
                                                                   .wait_replicas = wait,
                                                                   .wait_timeout_ms = 900},
                                             NULL);
        struct room *here = &world->rooms[0][0], *there = &world->rooms[1][0];
        struct bytes users[] = {BYTES_LITERAL("ann"), BYTES_LITERAL("bob")};
        struct store_append members = {.type = RECORD_MEMBERS,
                                       .members = {.users = users, .count = 2}};
        append_until_known(world, here, members);
        members.members.count = 1;
        append_until_known(world, here, members);
        load(world, 300, kill_links);
        append_until_known(world, there,
                           (struct store_append){
                               .type = RECORD_CURSOR, .user = BYTES_LITERAL("ann"), .offset = 3});
        turn_until(world, here->cursor == 3 && there->members_count == 1);
        check_exactly_once(world);
        append_until_known(world, here, (struct store_append){.type = RECORD_REMOVE});
        turn_until(world, there->removed == here->channel.head);
        load(world, 60, NULL);
        check_exactly_once(world);
        world_end(world);
    }
}

/* Rights that go while a node runs: refused, told, and well again by itself. */
static void a_right_that_is_missing_is_told(void **state)
{
    (void)state;
    struct world *world = world_begin_as(
        &(struct redis_world){.acl = REDIS_RIGHTS, .user = "sluice", .user_password = "secret"},
        NULL);
    struct store_health health;
    load(world, 60, NULL);
    assert_string_equal(redis_say(&world->redis, "ACL SETUSER sluice -evalsha"), "+OK");
    uint64_t until_ns = clock_mono_ns() + 20000000000u;
    world->numbers_max = world->next_number + 8;
    do {
        load_turn(world, 8);
        store_health(world->nodes[0].store, &health);
    } while (health.is_ok && clock_mono_ns() < until_ns);
    assert_false(health.is_ok);
    assert_non_null(strstr(health.detail, "NOPERM"));
    assert_true(world->down > 0);
    assert_string_equal(redis_say(&world->redis, "ACL SETUSER sluice +evalsha"), "+OK");
    turn_until(world, (store_health(world->nodes[0].store, &health), health.is_ok));
    while (world->answered < world->next_number) load_turn(world, 8);
    load(world, 60, NULL);
    check_exactly_once(world);
    world_end(world);
}

static void a_user_that_may_not_is_refused_at_the_start(void **state)
{
    (void)state;
    struct redis_world redis;
    redis_begin_with(&redis, &(struct redis_world){
                                 .acl = REDIS_RIGHTS, .user = "sluice", .user_password = "secret"});
    assert_int_equal(start(&redis, NULL), ERR_OK);
    redis.user_password = "wrong";
    assert_int_equal(start(&redis, NULL), ERR_UNAUTHORIZED);
    redis.user_password = "secret";
    assert_string_equal(redis_say(&redis, "ACL SETUSER sluice -script|load"), "+OK");
    assert_int_equal(start(&redis, NULL), ERR_STORE_DOWN);
    assert_string_equal(redis_say(&redis, "ACL SETUSER sluice off"), "+OK");
    assert_int_equal(start(&redis, NULL), ERR_UNAUTHORIZED);
    redis_end(&redis);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(over_tls_everything_is_as_without),
        cmocka_unit_test(a_node_starts_with_the_right_trust_alone),
        cmocka_unit_test(a_server_may_ask_for_a_certificate),
        cmocka_unit_test(a_user_with_the_rights_that_are_told_can_do_all),
        cmocka_unit_test(a_right_that_is_missing_is_told),
        cmocka_unit_test(a_user_that_may_not_is_refused_at_the_start),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
