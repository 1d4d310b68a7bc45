/*
 * mesh: several shards on this one thread, each step said out loud.  The order
 * of letters against a model is prop_mesh.c, threads are test_mesh_race.c.
 */
#include "death.h"

#include <cmocka.h>
#include <string.h>

#include "core/limits.h"
#include "core/mesh.h"

enum { KIND_TEXT, KIND_ASK, KIND_TELL, KIND_KEEP, KIND_COUNT };

struct shard {
    struct post *post;
    char seen[4096]; /* payload texts, in order */
    uint32_t home;   /* letters that came back */
    struct letter *kept;
};

struct world {
    struct mesh *mesh;
    struct shard shards[4];
    uint32_t count;
};

static void on_text(void *context, struct letter *letter)
{
    struct shard *shard = context;
    strncat(shard->seen, (const char *)letter->payload, letter->size);
}
static void on_ask(void *context, struct letter *letter)
{
    struct shard *shard = context;
    assert_int_equal(letter->is_request, 1);
    struct letter *answer = letter_new(shard->post, letter->from, KIND_TELL, letter->size);
    memcpy(answer->payload, letter->payload, letter->size);
    letter_post_answer(shard->post, answer);
}
static void on_keep(void *context, struct letter *letter)
{
    struct shard *shard = context;
    letter_keep(shard->post, letter);
    shard->kept = letter;
}
static void on_home(void *context, struct letter *letter)
{
    struct shard *shard = context;
    assert_true(letter->size > 0);
    shard->home++;
}

static const struct letter_handlers kinds[KIND_COUNT] = {
    [KIND_TEXT] = {"text", on_text, on_home},
    [KIND_ASK] = {"ask", on_ask, NULL},
    [KIND_TELL] = {"tell", on_text, on_home},
    [KIND_KEEP] = {"keep", on_keep, on_home},
};

static struct world *world_new(uint32_t count, uint32_t credits)
{
    static struct world world;
    memset(&world, 0, sizeof world);
    world.count = count;
    world.mesh = mesh_create(count, kinds, KIND_COUNT, credits);
    for (uint32_t i = 0; i < count; i++)
        world.shards[i].post = mesh_open(world.mesh, i, &world.shards[i], NULL);
    return &world;
}

/* Turns of every shard until no letter is out. */
static void settle(struct world *w)
{
    uint32_t out;
    do {
        out = 0;
        for (uint32_t i = 0; i < w->count; i++) {
            mesh_read(w->shards[i].post, 100);
            mesh_flush(w->shards[i].post);
            out += mesh_letters_out(w->shards[i].post);
        }
    } while (out > 0);
}

static void world_free(struct world *w)
{
    settle(w);
    mesh_destroy(w->mesh);
}

static struct letter *text_letter(struct shard *from, uint32_t to, uint32_t kind, const char *text)
{
    struct letter *letter = letter_new(from->post, to, kind, (uint32_t)strlen(text));
    memcpy(letter->payload, text, letter->size);
    return letter;
}

static void letters_arrive_in_order_and_come_home(void **state)
{
    (void)state;
    struct world *w = world_new(2, 4);
    struct shard *a = &w->shards[0], *b = &w->shards[1];
    letter_post(a->post, text_letter(a, 1, KIND_TEXT, "one "));
    letter_post(a->post, text_letter(a, 1, KIND_TEXT, "two "));
    assert_int_equal(mesh_read(b->post, 10), 0); /* not flushed */
    mesh_flush(a->post);
    letter_post(a->post, text_letter(a, 1, KIND_TEXT, "three"));
    mesh_flush(a->post);
    assert_int_equal(mesh_letters_out(a->post), 3);
    assert_int_equal(mesh_read(b->post, 10), 3);
    assert_string_equal(b->seen, "one two three");
    assert_int_equal(a->home, 0);
    mesh_flush(b->post);
    assert_int_equal(mesh_read(a->post, 10), 3);
    assert_int_equal(a->home, 3);
    assert_int_equal(mesh_letters_out(a->post), 0);

    struct mesh_counters counters;
    mesh_count(a->post, &counters);
    assert_int_equal(counters.letters_sent, 3);
    assert_int_equal(counters.letters_read, 0);
    mesh_count(b->post, &counters);
    assert_int_equal(counters.letters_read, 3);
    world_free(w);
}

static void letter_to_oneself_needs_no_flush(void **state)
{
    (void)state;
    struct world *w = world_new(1, 4);
    struct shard *a = &w->shards[0];
    letter_post(a->post, text_letter(a, 0, KIND_TEXT, "x"));
    assert_false(mesh_sleep(a->post)); /* something is there */
    assert_string_equal(a->seen, "");  /* but never inside letter_post */
    letter_post(a->post, text_letter(a, 0, KIND_TEXT, "y"));
    assert_int_equal(mesh_read(a->post, 1), 1);
    letter_post(a->post, text_letter(a, 0, KIND_TEXT, "z"));
    assert_false(mesh_sleep(a->post));
    assert_int_equal(mesh_read(a->post, 10), 2);
    assert_string_equal(a->seen, "xyz");
    assert_int_equal(a->home, 3); /* no trip for what nobody kept */
    assert_true(mesh_sleep(a->post));
    mesh_awake(a->post);
    world_free(w);
}

static void credits_bound_requests_until_answers_come(void **state)
{
    (void)state;
    struct world *w = world_new(2, 2);
    struct shard *a = &w->shards[0], *b = &w->shards[1];
    assert_true(letter_credit(a->post, 1));
    letter_post_request(a->post, text_letter(a, 1, KIND_ASK, "q"));
    assert_true(letter_credit(a->post, 1));
    assert_false(letter_credit(a->post, 1));
    letter_credit_return(a->post, 1);
    assert_true(letter_credit(a->post, 1));
    letter_post_request(a->post, text_letter(a, 1, KIND_ASK, "r"));
    assert_true(letter_credit(a->post, 0)); /* a credit is of a pair */
    letter_credit_return(a->post, 0);
    mesh_flush(a->post);
    mesh_read(b->post, 10);
    assert_false(letter_credit(a->post, 1));
    mesh_flush(b->post);
    mesh_read(a->post, 10);
    assert_string_equal(a->seen, "qr");
    assert_true(letter_credit(a->post, 1));
    letter_credit_return(a->post, 1);
    struct mesh_counters counters;
    mesh_count(a->post, &counters);
    assert_int_equal(counters.credits_spent, 2);
    world_free(w);
}

static void request_to_oneself_holds_a_credit_too(void **state)
{
    (void)state;
    struct world *w = world_new(1, 1);
    struct shard *a = &w->shards[0];
    assert_true(letter_credit(a->post, 0));
    letter_post_request(a->post, text_letter(a, 0, KIND_ASK, "q"));
    assert_int_equal(mesh_read(a->post, 1), 1); /* the answer is there, unread */
    assert_false(letter_credit(a->post, 0));
    assert_string_equal(a->seen, "");
    assert_int_equal(mesh_read(a->post, 10), 1);
    assert_string_equal(a->seen, "q");
    assert_true(letter_credit(a->post, 0));
    letter_credit_return(a->post, 0);
    /* Both in one call, when it may. */
    assert_true(letter_credit(a->post, 0));
    letter_post_request(a->post, text_letter(a, 0, KIND_ASK, "r"));
    assert_int_equal(mesh_read(a->post, 10), 2);
    assert_string_equal(a->seen, "qr");
    world_free(w);
}

static void request_heard_at_once_needs_its_credit_alone(void **state)
{
    (void)state;
    struct world *w = world_new(1, 1);
    struct shard *a = &w->shards[0];
    assert_false(letter_waits_here(a->post));
    assert_true(letter_credit(a->post, 0));
    letter_request_here(a->post);
    assert_false(letter_credit(a->post, 0));
    letter_answer_here(a->post);

    /* Heard by a letter, answered at once: the answer counts, not how it came. */
    assert_true(letter_credit(a->post, 0));
    letter_post_request(a->post, text_letter(a, 0, KIND_TEXT, "q"));
    assert_true(letter_waits_here(a->post)); /* staged */
    assert_int_equal(mesh_read(a->post, 10), 1);
    assert_false(letter_waits_here(a->post));
    assert_false(letter_credit(a->post, 0));
    letter_answer_here(a->post);
    assert_true(letter_credit(a->post, 0));
    letter_credit_return(a->post, 0);

    letter_post(a->post, text_letter(a, 0, KIND_TEXT, "1"));
    letter_post(a->post, text_letter(a, 0, KIND_TEXT, "2"));
    assert_int_equal(mesh_read(a->post, 1), 1);
    assert_true(letter_waits_here(a->post)); /* unread */
    mesh_read(a->post, 10);
    world_free(w);
}

static void kept_letter_stays_until_its_last_release(void **state)
{
    (void)state;
    struct world *w = world_new(2, 4);
    struct shard *a = &w->shards[0], *b = &w->shards[1];
    letter_post(a->post, text_letter(a, 1, KIND_KEEP, "kept"));
    uint64_t backlog = mesh_backlog_bytes(a->post, 1);
    assert_true(backlog >= 4);
    mesh_flush(a->post);
    mesh_read(b->post, 10);
    assert_int_equal(mesh_letters_kept(b->post), 1);
    letter_keep(b->post, b->kept);
    for (int i = 0; i < 3; i++) {
        mesh_flush(b->post);
        mesh_read(a->post, 10);
    }
    assert_int_equal(a->home, 0);
    assert_int_equal(mesh_backlog_bytes(a->post, 1), backlog);
    letter_release(b->post, b->kept);
    mesh_flush(b->post);
    mesh_read(a->post, 10);
    assert_int_equal(a->home, 0);
    assert_memory_equal(b->kept->payload, "kept", 4);
    letter_release(b->post, b->kept);
    assert_int_equal(mesh_letters_kept(b->post), 0);
    mesh_flush(b->post);
    mesh_read(a->post, 10);
    assert_int_equal(a->home, 1);
    assert_int_equal(mesh_backlog_bytes(a->post, 1), 0);
    world_free(w);
}

static void kept_letter_to_oneself_comes_home(void **state)
{
    (void)state;
    struct world *w = world_new(1, 4);
    struct shard *a = &w->shards[0];
    letter_post(a->post, text_letter(a, 0, KIND_KEEP, "kept"));
    mesh_flush(a->post);
    mesh_read(a->post, 10);
    letter_release(a->post, a->kept);
    assert_int_equal(a->home, 0); /* never inside the call */
    assert_int_equal(mesh_read(a->post, 10), 1);
    assert_int_equal(a->home, 1);
    world_free(w);
}

/* One chain a turn: more turns than slots leave chains staged, in order. */
static void full_ring_leaves_the_chain_staged(void **state)
{
    (void)state;
    struct world *w = world_new(2, 4);
    struct shard *a = &w->shards[0], *b = &w->shards[1];
    char expected[4096] = "";
    for (uint32_t i = 0; i < MESH_RING_SLOTS + 20; i++) {
        char text[8];
        snprintf(text, sizeof text, "%u,", i);
        strcat(expected, text);
        letter_post(a->post, text_letter(a, 1, KIND_TEXT, text));
        mesh_flush(a->post);
    }
    struct mesh_counters counters;
    mesh_count(a->post, &counters);
    assert_int_equal(counters.ring_full, 21);
    /* It may sleep: who makes room rings. */
    assert_true(mesh_sleep(a->post));
    assert_int_equal(mesh_read(b->post, 1000), MESH_RING_SLOTS - 1);
    mesh_count(b->post, &counters);
    assert_int_equal(counters.bells, 1);
    assert_false(mesh_sleep(a->post)); /* there is room now */
    mesh_flush(a->post);
    assert_int_equal(mesh_read(b->post, 1000), 21);
    assert_string_equal(b->seen, expected);
    world_free(w);
}

static void bell_rings_once_and_only_for_who_sleeps(void **state)
{
    (void)state;
    struct world *w = world_new(3, 4);
    struct shard *a = &w->shards[0], *b = &w->shards[1], *c = &w->shards[2];
    struct mesh_counters counters;
    letter_post(a->post, text_letter(a, 1, KIND_TEXT, "1"));
    mesh_flush(a->post);
    mesh_count(a->post, &counters);
    assert_int_equal(counters.bells, 0); /* b is awake */
    assert_false(mesh_sleep(b->post));   /* and may not sleep */
    mesh_read(b->post, 10);
    assert_false(mesh_sleep(b->post)); /* the letter is not on its way home yet */
    mesh_flush(b->post);
    assert_true(mesh_sleep(b->post));
    letter_post(a->post, text_letter(a, 1, KIND_TEXT, "2"));
    letter_post(a->post, text_letter(a, 1, KIND_TEXT, "3"));
    letter_post(a->post, text_letter(a, 2, KIND_TEXT, "4"));
    mesh_flush(a->post);
    letter_post(c->post, text_letter(c, 1, KIND_TEXT, "5"));
    mesh_flush(c->post);
    mesh_count(a->post, &counters);
    assert_int_equal(counters.bells, 1);
    mesh_count(c->post, &counters);
    assert_int_equal(counters.bells, 0); /* a's bell woke it already */
    mesh_awake(b->post);
    mesh_read(b->post, 10);
    assert_int_equal(strlen(b->seen), 4);
    world_free(w);
}

/* A busy neighbour's hundred letters do not keep another's one waiting. */
static void reading_shares_its_limit(void **state)
{
    (void)state;
    struct world *w = world_new(3, 4);
    struct shard *a = &w->shards[0], *b = &w->shards[1], *c = &w->shards[2];
    for (int i = 0; i < 100; i++) letter_post(a->post, text_letter(a, 2, KIND_TEXT, "a"));
    letter_post(b->post, text_letter(b, 2, KIND_TEXT, "b"));
    mesh_flush(a->post);
    mesh_flush(b->post);
    assert_int_equal(mesh_read(c->post, 10), 10);
    assert_non_null(strchr(c->seen, 'b'));
    assert_int_equal(mesh_read(c->post, 10), 10);
    assert_false(mesh_sleep(c->post));
    assert_int_equal(mesh_read(c->post, 1000), 81);
    world_free(w);
}

static void letters_of_every_size_are_zeroed_each_time(void **state)
{
    (void)state;
    struct world *w = world_new(2, 4);
    struct shard *a = &w->shards[0];
    static const uint32_t sizes[] = {0, 1, 96, 97, 480, 481, 4064, 4065, 100000};
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < array_count(sizes); i++) {
            struct letter *letter = letter_new(a->post, 1, KIND_TEXT, sizes[i]);
            assert_int_equal(letter->size, sizes[i]);
            assert_int_equal((uintptr_t)letter->payload % 16, 0);
            for (uint32_t at = 0; at < sizes[i]; at++) assert_int_equal(letter->payload[at], 0);
            memset(letter->payload, 0xff, sizes[i]);
            letter_discard(a->post, letter);
        }
    }
    assert_int_equal(mesh_letters_out(a->post), 0);
    world_free(w);
}

static struct world *dying;

static void release_without_keep(void)
{
    struct shard *b = &dying->shards[1];
    letter_release(b->post, b->kept);
}
static void request_without_credit(void)
{
    struct shard *a = &dying->shards[0];
    letter_post_request(a->post, text_letter(a, 1, KIND_ASK, "q"));
}
static void destroy_with_letters_out(void)
{
    mesh_destroy(dying->mesh);
}

static void misuse_stops_the_process(void **state)
{
    (void)state;
    struct world *w = dying = world_new(2, 4);
    struct shard *a = &w->shards[0], *b = &w->shards[1];
    assert_true(dies(request_without_credit));
    letter_post(a->post, text_letter(a, 1, KIND_KEEP, "k"));
    assert_true(dies(destroy_with_letters_out));
    mesh_flush(a->post);
    mesh_read(b->post, 1);
    letter_release(b->post, b->kept);
    assert_true(dies(release_without_keep));
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_arrive_in_order_and_come_home),
        cmocka_unit_test(letter_to_oneself_needs_no_flush),
        cmocka_unit_test(credits_bound_requests_until_answers_come),
        cmocka_unit_test(request_to_oneself_holds_a_credit_too),
        cmocka_unit_test(request_heard_at_once_needs_its_credit_alone),
        cmocka_unit_test(kept_letter_stays_until_its_last_release),
        cmocka_unit_test(kept_letter_to_oneself_comes_home),
        cmocka_unit_test(full_ring_leaves_the_chain_staged),
        cmocka_unit_test(bell_rings_once_and_only_for_who_sleeps),
        cmocka_unit_test(reading_shares_its_limit),
        cmocka_unit_test(letters_of_every_size_are_zeroed_each_time),
        cmocka_unit_test(misuse_stops_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
