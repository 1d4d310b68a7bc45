/*
 * hub: random joins and leaves against a plain table of who listens where; the
 * verifier runs after each step.  An entry exists exactly while it is held.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/rng.h"
#include "shards/fanout/hub.h"

#define CHANNELS 5
#define SUBS     64

/* The model: what each subscription is doing. */
struct model_sub {
    enum { FREE, PENDING, LIVE } state;
    uint32_t channel, at;
    struct handle hub;
};

static struct bytes channel_name(uint32_t channel)
{
    static const char *const names[CHANNELS] = {"a", "b:1", "b:2", "c", "a:name-of-more-than-15"};
    return bytes_of_text(names[channel]);
}

static void step(struct hub *hub, struct rng *rng, struct model_sub subs[SUBS])
{
    uint32_t index = (uint32_t)rng_below(rng, SUBS);
    struct model_sub *sub = &subs[index];
    struct hub_entry *entry = hub_at(hub, sub->hub);
    switch (sub->state) {
    case FREE:
        sub->channel = (uint32_t)rng_below(rng, CHANNELS);
        entry = hub_expect(hub, channel_name(sub->channel));
        assert_non_null(entry);
        sub->hub = hub_handle(hub, entry);
        sub->state = PENDING;
        break;
    case PENDING:
        assert_non_null(entry);
        if (rng_chance(rng, 70)) {
            sub->at = hub_enter(hub, entry, 1000 + index, index);
            sub->state = LIVE;
        } else {
            hub_forget(hub, entry);
            sub->state = FREE;
        }
        break;
    case LIVE: {
        assert_non_null(entry);
        assert_int_equal(hub_listeners(entry)[sub->at].sub, index);
        assert_int_equal(hub_listeners(entry)[sub->at].conn, 1000 + index);
        uint32_t at = sub->at, moved = hub_leave(hub, entry, at);
        if (moved != UINT32_MAX) subs[moved].at = at;
        sub->state = FREE;
        break;
    }
    }
}

static void entries_live_exactly_while_they_are_held(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct rng rng;
        rng_seed(&rng, seed);
        struct hub hub;
        hub_init(&hub, seed, 16, 4);
        struct model_sub subs[SUBS] = {0};
        for (int steps = 0; steps < 2000; steps++) {
            step(&hub, &rng, subs);
            hub_verify(&hub);
            for (uint32_t c = 0; c < CHANNELS; c++) {
                bool is_held = false;
                for (int i = 0; i < SUBS; i++)
                    is_held |= subs[i].state != FREE && subs[i].channel == c;
                if ((hub_find(&hub, channel_name(c)) != NULL) != is_held)
                    fail_msg("seed %llu", (unsigned long long)seed);
            }
        }
        for (uint32_t i = 0; i < SUBS; i++) {
            while (subs[i].state != FREE) {
                struct hub_entry *entry = hub_at(&hub, subs[i].hub);
                if (subs[i].state == PENDING) {
                    hub_forget(&hub, entry);
                } else {
                    uint32_t at = subs[i].at, moved = hub_leave(&hub, entry, at);
                    if (moved != UINT32_MAX) subs[moved].at = at;
                }
                subs[i].state = FREE;
            }
        }
        hub_fini(&hub);
    }
}

static void a_stale_handle_finds_nothing(void **state)
{
    (void)state;
    struct hub hub;
    hub_init(&hub, 1, 4, 1);
    struct hub_entry *entry = hub_expect(&hub, bytes_of_text("x"));
    struct handle first = hub_handle(&hub, entry);
    hub_forget(&hub, entry);
    assert_null(hub_at(&hub, first));
    entry = hub_expect(&hub, bytes_of_text("x"));
    struct handle second = hub_handle(&hub, entry);
    assert_null(hub_at(&hub, first));
    assert_ptr_equal(hub_at(&hub, second), entry);
    hub_forget(&hub, entry);
    hub_fini(&hub);
}

/* Frames that arrive while only an answer is awaited are not for anybody, and
 * the home may skip some before the answer: order is judged anew. */
static void order_begins_anew_when_the_last_listener_leaves(void **state)
{
    (void)state;
    struct hub hub;
    hub_init(&hub, 1, 4, 1);
    struct hub_entry *entry = hub_expect(&hub, bytes_of_text("x"));
    uint32_t at = hub_enter(&hub, entry, 1, 1);
    entry->entered = 5;
    assert_ptr_equal(hub_expect(&hub, bytes_of_text("x")), entry);
    hub_leave(&hub, entry, at);
    assert_int_equal(entry->entered, 0);
    hub_forget(&hub, entry);
    hub_fini(&hub);
}

static void the_limit_is_told_at_the_entry_above_it(void **state)
{
    (void)state;
    struct hub hub;
    hub_init(&hub, 1, 3, 1);
    struct hub_entry *entries[3];
    for (uint32_t i = 0; i < 3; i++) {
        entries[i] = hub_expect(&hub, channel_name(i));
        assert_non_null(entries[i]);
    }
    assert_null(hub_expect(&hub, channel_name(3)));
    hub_forget(&hub, entries[1]);
    entries[1] = hub_expect(&hub, channel_name(3));
    assert_non_null(entries[1]);
    for (int i = 0; i < 3; i++) hub_forget(&hub, entries[i]);
    hub_fini(&hub);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_live_exactly_while_they_are_held),
        cmocka_unit_test(a_stale_handle_finds_nothing),
        cmocka_unit_test(order_begins_anew_when_the_last_listener_leaves),
        cmocka_unit_test(the_limit_is_told_at_the_entry_above_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
