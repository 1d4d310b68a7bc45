/*
 * mesh: four threads with real loops; letters carry data both ways, the kept
 * ones wait, and everybody sleeps when there is nothing to do.
 *
 * Under TSan this must be silent, and tests/tsan shows that it would not be if
 * the mesh forgot to say what orders its letters.  A lost bell shows as a
 * sleep of a whole second.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/clock.h"
#include "core/loop.h"
#include "core/mesh.h"
#include "core/rng.h"

#define SHARDS 4
#define ASKS   6000
#define KEPT   32

enum { KIND_ASK, KIND_TELL, KIND_STOP, KIND_COUNT };

struct shard {
    struct loop *loop;
    struct post *post;
    struct rng rng;
    uint32_t index;
    uint32_t asked, told, stops;
    uint32_t seen[SHARDS]; /* the last number from each: order */
    struct letter *kept[KEPT];
    uint32_t kept_count;
    uint64_t sum_asked, sum_told; /* must be equal in the end */
    uint32_t long_sleeps;
    pthread_t thread;
};

static struct shard shards[SHARDS];

struct ask {
    uint32_t number;
    uint32_t value;
    uint8_t filling[100];
};

static void tell(struct shard *shard, const struct letter *letter)
{
    const struct ask *ask = (const void *)letter->payload;
    struct letter *answer = letter_new(shard->post, letter->from, KIND_TELL, sizeof(uint64_t));
    uint64_t *value = (void *)answer->payload;
    *value = ask->value;
    for (uint32_t i = 0; i < sizeof ask->filling; i++) *value += ask->filling[i];
    letter_post_answer(shard->post, answer);
}

static void on_ask(void *context, struct letter *letter)
{
    struct shard *shard = context;
    const struct ask *ask = (const void *)letter->payload;
    if (ask->number != shard->seen[letter->from] + 1) abort();
    shard->seen[letter->from] = ask->number;
    if (rng_chance(&shard->rng, 10) && shard->kept_count < KEPT) {
        letter_keep(shard->post, letter);
        shard->kept[shard->kept_count++] = letter;
    } else {
        tell(shard, letter);
    }
}
static void on_tell(void *context, struct letter *letter)
{
    struct shard *shard = context;
    shard->sum_told += *(const uint64_t *)(const void *)letter->payload;
    shard->told++;
}
static void on_stop(void *context, struct letter *letter)
{
    (void)letter;
    ((struct shard *)context)->stops++;
}

static const struct letter_handlers kinds[KIND_COUNT] = {
    {"ask", on_ask, NULL}, {"tell", on_tell, NULL}, {"stop", on_stop, NULL}};

static void ask_some(struct shard *shard, uint32_t numbers[SHARDS])
{
    for (uint64_t n = rng_below(&shard->rng, 8); n > 0 && shard->asked < ASKS; n--) {
        uint32_t to = (uint32_t)rng_below(&shard->rng, SHARDS);
        if (!letter_credit(shard->post, to)) continue;
        struct letter *letter = letter_new(shard->post, to, KIND_ASK, sizeof(struct ask));
        struct ask *ask = (void *)letter->payload;
        ask->number = ++numbers[to];
        ask->value = (uint32_t)rng_next(&shard->rng);
        shard->sum_asked += ask->value;
        for (uint32_t i = 0; i < sizeof ask->filling; i++) {
            ask->filling[i] = (uint8_t)rng_next(&shard->rng);
            shard->sum_asked += ask->filling[i];
        }
        letter_post_request(shard->post, letter);
        shard->asked++;
    }
}

static void answer_kept(struct shard *shard)
{
    while (shard->kept_count > 0) {
        struct letter *letter = shard->kept[--shard->kept_count];
        tell(shard, letter);
        letter_release(shard->post, letter);
    }
}

static bool is_done(const struct shard *shard)
{
    return shard->stops == SHARDS && mesh_letters_out(shard->post) == 0 &&
           mesh_letters_kept(shard->post) == 0;
}

/* Sleeps only when somebody else will wake it: an answer is due, or a stop. */
static void *shard_main(void *context)
{
    struct shard *shard = context;
    uint32_t numbers[SHARDS] = {0};
    bool has_said_stop = false;
    loop_start(shard->loop);
    while (!is_done(shard)) {
        uint64_t wake_ms = 0;
        bool is_waiting = shard->asked > shard->told;
        bool is_idle = shard->kept_count == 0 && (is_waiting || shard->told == ASKS);
        if (is_idle && mesh_sleep(shard->post)) wake_ms = clock_mono_ns() / 1000000u + 1000;
        uint64_t before = clock_mono_ns();
        loop_enter(shard->loop, wake_ms);
        mesh_awake(shard->post);
        bool is_long = clock_mono_ns() - before > 900000000u;
        if (is_waiting && is_long) shard->long_sleeps++;
        loop_run(shard->loop);
        mesh_read(shard->post, 50);
        ask_some(shard, numbers);
        if (rng_chance(&shard->rng, 30)) answer_kept(shard);
        if (shard->told == ASKS && !has_said_stop) {
            has_said_stop = true;
            for (uint32_t to = 0; to < SHARDS; to++)
                letter_post(shard->post, letter_new(shard->post, to, KIND_STOP, 1));
        }
        mesh_flush(shard->post);
    }
    return NULL;
}

static void letters_carry_data_between_threads(void **state)
{
    (void)state;
    struct mesh *mesh = mesh_create(SHARDS, kinds, KIND_COUNT, 16);
    struct loop_options options = {.socks_max = 16,
                                   .recv_buffers = 4,
                                   .recv_buffer_size = 64,
                                   .sq_entries = 16,
                                   .cq_entries = 64};
    for (uint32_t i = 0; i < SHARDS; i++) {
        assert_int_equal(loop_create(&options, &shards[i].loop), ERR_OK);
        shards[i].index = i;
        rng_seed(&shards[i].rng, i + 1);
        shards[i].post = mesh_open(mesh, i, &shards[i], shards[i].loop);
    }
    for (uint32_t i = 0; i < SHARDS; i++)
        pthread_create(&shards[i].thread, NULL, shard_main, &shards[i]);
    uint64_t bells = 0;
    for (uint32_t i = 0; i < SHARDS; i++) pthread_join(shards[i].thread, NULL);
    uint32_t long_sleeps = 0;
    for (uint32_t i = 0; i < SHARDS; i++) {
        struct mesh_counters counters;
        mesh_count(shards[i].post, &counters);
        bells += counters.bells;
        long_sleeps += shards[i].long_sleeps;
        assert_int_equal(shards[i].told, ASKS);
        assert_true(shards[i].sum_asked == shards[i].sum_told);
    }
    print_message("bells: %llu, sleeps of a second: %u\n", (unsigned long long)bells, long_sleeps);
    assert_true(bells > 0);
    assert_int_equal(long_sleeps, 0);
    mesh_destroy(mesh);
    for (uint32_t i = 0; i < SHARDS; i++) loop_destroy(shards[i].loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_carry_data_between_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
