/*
 * A link on a real loop against a real redis-server: replies of every shape and
 * size, order, batching, deadlines and losses.  The parser alone, fed byte by
 * byte, stands at the end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/loop.h"
#include "core/mem.h"
#include "storage/redis/link.h"
#include "unit/storage/redis_world.h"

#define CALLS 2000

struct world {
    struct redis_world redis;
    struct redis_options options;
    struct redis_place place;
    struct loop *loop;
    struct wheel wheel;
    struct clock clock;
    struct rng rng;
    struct links links;
    struct link commands, feed;
    uint32_t ready, lost, pushes;
    char pushed[64];
};

struct call {
    struct link_call call; /* first */
    struct world *world;
    const char *words; /* NULL: ECHO of `number` */
    struct bytes body; /* appended as one word when there is one */
    uint32_t number;
    uint32_t written;
    bool is_done;
    enum err err;
    enum reply_type type;
    int64_t integer;
    size_t size;
    char text[64];
};

static void on_ready(struct link *link)
{
    ((struct world *)link->owner)->ready++;
}
static void on_lost(struct link *link)
{
    ((struct world *)link->owner)->lost++;
}
static void on_push(struct link *link, const struct reply *reply)
{
    struct world *world = link->owner;
    struct bytes kind = reply_text(reply_item(reply, 0)), text = reply_text(reply_item(reply, 2));
    world->pushes++;
    snprintf(world->pushed, sizeof world->pushed, "%.*s %.*s", (int)kind.size,
             (const char *)kind.at, (int)text.size, (const char *)text.at);
}
static const struct link_events events = {
    .on_ready = on_ready, .on_lost = on_lost, .on_push = on_push};

static void turn(struct world *world)
{
    loop_enter(world->loop, clock_turn_ms(&world->clock) + 1);
    clock_turn(&world->clock);
    loop_run(world->loop);
    wheel_run(&world->wheel, clock_turn_ms(&world->clock), 1024);
    link_flush(&world->commands);
    link_flush(&world->feed);
}

#define turn_until(world, fact)                                                                    \
    do {                                                                                           \
        uint64_t until_ns_ = clock_mono_ns() + 20000000000u;                                       \
        while (!(fact)) {                                                                          \
            turn(world);                                                                           \
            if (clock_mono_ns() > until_ns_) fail_msg("never came true: %s", #fact);               \
        }                                                                                          \
    } while (0)

static struct world *world_begin(void)
{
    struct world *world = mem_alloc(sizeof *world);
    struct loop_options loop = {.socks_max = 16,
                                .recv_buffers = 16,
                                .recv_buffer_size = 2048,
                                .sq_entries = 64,
                                .cq_entries = 256};
    redis_begin(&world->redis, NULL);
    world->options = (struct redis_options){.user = "",
                                            .password = "",
                                            .prefix = "link",
                                            .db = 2,
                                            .partitions = 16,
                                            .connect_timeout_ms = 500,
                                            .io_timeout_ms = 500};
    world->place = (struct redis_place){.text = "the test"};
    assert_int_equal(net_address_parse("127.0.0.1", world->redis.port, &world->place.address),
                     ERR_OK);
    assert_int_equal(loop_create(&loop, &world->loop), ERR_OK);
    loop_start(world->loop);
    clock_turn(&world->clock);
    wheel_init(&world->wheel, clock_turn_ms(&world->clock));
    rng_seed(&world->rng, 5);
    links_init(&world->links, SOCK_LINK, world->loop, &world->wheel, &world->clock, &world->rng);
    link_start(&world->commands, &world->links, &world->options, &world->place, LINK_COMMANDS,
               &events, world);
    link_start(&world->feed, &world->links, &world->options, &world->place, LINK_FEED, &events,
               world);
    turn_until(world, world->ready == 2);
    return world;
}

static void world_end(struct world *world)
{
    links_fini(&world->links);
    loop_destroy(world->loop);
    redis_end(&world->redis);
    mem_free(world);
}

static void call_write(struct link_call *base, struct link *link, struct resp_out *out)
{
    struct call *call = (struct call *)base;
    char words[256], *rest = NULL;
    (void)link;
    call->written++;
    if (call->words == NULL) {
        resp_begin(out, 2);
        resp_text(out, "ECHO");
        resp_number(out, call->number);
        return;
    }
    uint32_t count = 1 + (call->body.size > 0);
    for (const char *at = call->words; *at != 0; at++) count += *at == ' ';
    snprintf(words, sizeof words, "%s", call->words);
    resp_begin(out, count);
    for (char *word = strtok_r(words, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest))
        resp_text(out, word);
    if (call->body.size > 0) resp_bytes(out, call->body);
}

static void call_on_end(struct link_call *base, enum err err, const struct reply *reply)
{
    struct call *call = (struct call *)base;
    assert_false(call->is_done);
    call->is_done = true;
    call->err = err;
    assert_true((err == ERR_OK) == (reply != NULL));
    if (reply == NULL) return;
    call->type = reply->type;
    call->integer = reply->integer;
    call->size = reply->type == REPLY_ARRAY ? reply->count : reply->text.size;
    snprintf(call->text, sizeof call->text, "%.*s", (int)min_u64(reply->text.size, 60),
             (const char *)reply->text.at);
}

static void call_ask(struct world *world, struct call *call, const char *words, uint64_t wait_ms)
{
    struct bytes body = call->body;
    uint32_t number = call->number;
    *call = (struct call){.world = world,
                          .words = words,
                          .body = body,
                          .number = number,
                          .call = {.write = call_write, .on_end = call_on_end}};
    link_call(&world->commands, &call->call, clock_turn_ms(&world->clock) + wait_ms);
}

static void call_do(struct world *world, struct call *call, const char *words)
{
    call_ask(world, call, words, 1000);
    turn_until(world, call->is_done);
    assert_int_equal(call->err, ERR_OK);
}

static void replies_of_every_kind_arrive(void **state)
{
    (void)state;
    struct world *world = world_begin();
    struct call call = {0};
    call_do(world, &call, "PING");
    assert_int_equal(call.type, REPLY_STATUS);
    assert_string_equal(call.text, "PONG");
    call_do(world, &call, "INCRBY n -7");
    assert_int_equal(call.type, REPLY_INTEGER);
    assert_int_equal(call.integer, -7);
    call_do(world, &call, "GET nothing");
    assert_int_equal(call.type, REPLY_NIL);
    call_do(world, &call, "GET n");
    assert_int_equal(call.type, REPLY_TEXT);
    assert_string_equal(call.text, "-7");
    call_do(world, &call, "MGET n nothing n");
    assert_int_equal(call.type, REPLY_ARRAY);
    assert_int_equal(call.size, 3);
    call_do(world, &call, "KEYS zzz*");
    assert_int_equal(call.type, REPLY_ARRAY);
    assert_int_equal(call.size, 0);
    call_do(world, &call, "LPUSH n x");
    assert_int_equal(call.type, REPLY_ERROR);
    assert_memory_equal(call.text, "WRONGTYPE", 9);
    world_end(world);
}

static void sizes_around_every_buffer_arrive_whole(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {0, 1, 2047, 2048, 2049, 16384, 100000, 6u << 20};
    struct world *world = world_begin();
    for (uint32_t i = 0; i < array_count(sizes); i++) {
        struct call call = {0};
        uint8_t *body = mem_alloc(sizes[i] + 1);
        memset(body, 'a' + (int)i, sizes[i]);
        call.body = bytes_of(body, sizes[i]);
        call_do(world, &call, sizes[i] == 0 ? "ECHO x" : "ECHO");
        assert_int_equal(call.size, sizes[i] == 0 ? 1 : sizes[i]);
        if (sizes[i] > 0) assert_int_equal(call.text[0], 'a' + i);
        mem_free(body);
    }
    world_end(world);
}

static void a_turn_of_calls_leaves_as_one_send_and_answers_in_order(void **state)
{
    (void)state;
    struct world *world = world_begin();
    struct call *calls = mem_alloc(CALLS * sizeof *calls);
    struct loop_counters before, after;
    loop_count(world->loop, &before);
    for (uint32_t i = 0; i < CALLS; i++) {
        calls[i].number = i;
        call_ask(world, &calls[i], NULL, 1000);
    }
    turn_until(world, calls[CALLS - 1].is_done);
    loop_count(world->loop, &after);
    assert_true(after.sends - before.sends <= 2);
    for (uint32_t i = 0; i < CALLS; i++) {
        char text[16];
        snprintf(text, sizeof text, "%u", i);
        assert_true(calls[i].is_done && calls[i].err == ERR_OK);
        assert_string_equal(calls[i].text, text);
    }
    mem_free(calls);
    world_end(world);
}

static void calls_above_the_limit_are_refused(void **state)
{
    (void)state;
    struct world *world = world_begin();
    uint32_t count = LINK_CALLS_MAX + 3, refused = 0;
    struct call *calls = mem_alloc(count * sizeof *calls);
    for (uint32_t i = 0; i < count; i++) call_ask(world, &calls[i], NULL, 5000);
    turn_until(world, world->commands.calls_count == 0);
    for (uint32_t i = 0; i < count; i++) refused += calls[i].err == ERR_BACKLOG;
    assert_int_equal(refused, 3);
    assert_int_equal(calls[count - 1].err, ERR_BACKLOG);
    mem_free(calls);
    world_end(world);
}

static void a_loss_tells_written_calls_from_unwritten_ones(void **state)
{
    (void)state;
    struct world *world = world_begin();
    struct call written = {0}, unwritten = {0}, late = {0};
    kill(world->redis.pid, SIGSTOP);
    call_ask(world, &written, "PING", 1000);
    turn(world);
    turn(world);
    assert_int_equal(written.written, 1);
    redis_kill(&world->redis);
    turn_until(world, world->lost == 2);
    assert_true(written.is_done);
    assert_int_equal(written.err, ERR_STORE_UNKNOWN);
    call_ask(world, &unwritten, "PING", 100);
    call_ask(world, &late, "PING", 20000);
    turn_until(world, unwritten.is_done);
    assert_int_equal(unwritten.err, ERR_STORE_DOWN);
    assert_int_equal(unwritten.written, 0);
    assert_true(world->commands.problem[0] != 0);
    redis_start(&world->redis);
    turn_until(world, late.is_done);
    assert_int_equal(late.err, ERR_OK);
    turn_until(world, world->ready == 4);
    world_end(world);
}

static void a_silent_server_is_left(void **state)
{
    (void)state;
    struct world *world = world_begin();
    struct call call = {0};
    kill(world->redis.pid, SIGSTOP);
    uint64_t started_ns = clock_mono_ns();
    call_ask(world, &call, "PING", 1000);
    turn_until(world, call.is_done);
    assert_int_equal(call.err, ERR_STORE_UNKNOWN);
    assert_true(clock_mono_ns() - started_ns >= 400000000u);
    kill(world->redis.pid, SIGCONT);
    turn_until(world, world->ready == 3);
    call_do(world, &call, "PING");
    world_end(world);
}

/* Scripts flushed under a pipeline: all run, in the order asked, once. */
static void refused_scripts_run_in_order(void **state)
{
    (void)state;
    struct world *world = world_begin();
    char words[128];
    struct call call = {0}, many[20] = {0};
    snprintf(words, sizeof words,
             "EVALSHA %s 1 link:{p0}:meta l 16 abcdefgh 1 c - 0 fill 0-0 0 10 0 0 0",
             world->commands.hello.server.digests[SCRIPT_READ]);
    call_do(world, &call, words);
    assert_int_equal(call.type, REPLY_ARRAY);
    assert_string_equal(redis_say(&world->redis, "SCRIPT FLUSH"), "+OK");
    for (uint32_t i = 0; i < 20; i++)
        call_ask(world, &many[i], i % 2 == 0 ? words : "INCR order", 1000);
    turn(world);
    turn_until(world, world->commands.calls_count == 0);
    for (uint32_t i = 0; i < 20; i += 2) {
        assert_int_equal(many[i].type, REPLY_ARRAY);
        assert_int_equal(many[i].written, 2);
        assert_int_equal(many[i + 1].written, 1);
    }
    assert_int_equal(many[19].integer, 10);
    world_end(world);
}

static void a_feed_hears_what_is_published(void **state)
{
    (void)state;
    struct world *world = world_begin();
    struct call call = {0};
    struct resp_out *out = link_out(&world->feed);
    resp_begin(out, 2);
    resp_text(out, "SSUBSCRIBE");
    resp_text(out, "news");
    turn_until(world, world->pushes == 1);
    call_do(world, &call, "SPUBLISH news hello");
    assert_int_equal(call.integer, 1);
    turn_until(world, world->pushes == 2);
    assert_string_equal(world->pushed, "smessage hello");
    world_end(world);
}

static void links_end_with_calls_under_way(void **state)
{
    (void)state;
    struct world *world = world_begin();
    struct call written = {0}, unwritten = {0};
    kill(world->redis.pid, SIGSTOP);
    call_ask(world, &written, "PING", 1000);
    turn(world);
    turn(world);
    call_ask(world, &unwritten, "PING", 1000);
    links_fini(&world->links);
    assert_int_equal(written.err, ERR_STORE_UNKNOWN);
    assert_int_equal(unwritten.err, ERR_STORE_DOWN);
    links_init(&world->links, SOCK_LINK, world->loop, &world->wheel, &world->clock, &world->rng);
    world_end(world);
}

/* --- the parser alone ------------------------------------------------------------------------ */

static void a_reply_split_anywhere_is_one_reply(void **state)
{
    (void)state;
    static const char text[] = "*4\r\n$3\r\nabc\r\n:-12\r\n*2\r\n+OK\r\n$-1\r\n-ERR no\r\n";
    struct resp_in *in = resp_in_create();
    for (size_t split = 0; split < sizeof text - 1; split++) {
        const struct reply *reply;
        assert_int_equal(resp_feed(in, text, split), ERR_OK);
        assert_int_equal(resp_next(in, &reply), ERR_OK);
        assert_null(reply);
        assert_int_equal(resp_feed(in, text + split, sizeof text - 1 - split), ERR_OK);
        assert_int_equal(resp_next(in, &reply), ERR_OK);
        assert_non_null(reply);
        assert_int_equal(reply->count, 4);
        assert_true(bytes_equal_text(reply_text(reply_item(reply, 0)), "abc"));
        assert_int_equal(reply_item(reply, 1)->integer, -12);
        assert_int_equal(reply_item(reply_item(reply, 2), 1)->type, REPLY_NIL);
        assert_true(reply_is_error(reply_item(reply, 3), "ERR"));
        assert_false(reply_is_error(reply_item(reply, 3), "ER"));
        assert_null(reply_item(reply, 4));
        assert_int_equal(resp_next(in, &reply), ERR_OK);
        assert_null(reply);
    }
    resp_in_destroy(in);
}

static void bytes_that_are_no_protocol_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"%2\r\n", "HTTP/1.1 400\r\n", "*99999999\r\n", "$-7\r\nx",
                                        ":12a\r\n"};
    for (uint32_t i = 0; i < array_count(texts); i++) {
        struct resp_in *in = resp_in_create();
        const struct reply *reply;
        enum err err = resp_feed(in, texts[i], strlen(texts[i]));
        if (err == ERR_OK) err = resp_next(in, &reply);
        assert_int_equal(err, ERR_BAD_REQUEST);
        resp_in_reset(in);
        assert_int_equal(resp_feed(in, "+OK\r\n", 5), ERR_OK);
        assert_int_equal(resp_next(in, &reply), ERR_OK);
        assert_true(bytes_equal_text(reply_text(reply), "OK"));
        resp_in_destroy(in);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies_of_every_kind_arrive),
        cmocka_unit_test(sizes_around_every_buffer_arrive_whole),
        cmocka_unit_test(a_turn_of_calls_leaves_as_one_send_and_answers_in_order),
        cmocka_unit_test(calls_above_the_limit_are_refused),
        cmocka_unit_test(a_loss_tells_written_calls_from_unwritten_ones),
        cmocka_unit_test(a_silent_server_is_left),
        cmocka_unit_test(refused_scripts_run_in_order),
        cmocka_unit_test(a_feed_hears_what_is_published),
        cmocka_unit_test(links_end_with_calls_under_way),
        cmocka_unit_test(a_reply_split_anywhere_is_one_reply),
        cmocka_unit_test(bytes_that_are_no_protocol_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
