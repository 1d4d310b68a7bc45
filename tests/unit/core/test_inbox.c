/*
 * inbox: order, notes that come again, and many threads that post at once.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "core/clock.h"
#include "core/inbox.h"
#include "core/loop.h"

struct item {
    struct note note;
    struct inbox *again; /* posts itself there once more */
    char name;
};

static char seen[64];

static void on_note(struct note *note, void *shard)
{
    struct item *item = container_of(note, struct item, note);
    assert_ptr_equal(shard, seen);
    seen[strlen(seen)] = item->name;
    if (item->again != NULL) {
        struct inbox *inbox = item->again;
        item->again = NULL;
        inbox_post(inbox, note);
    }
}

static void notes_come_in_order_and_new_ones_wait(void **state)
{
    (void)state;
    struct inbox inbox;
    inbox_init(&inbox, NULL);
    assert_true(inbox_is_empty(&inbox));
    struct item items[3];
    for (int i = 0; i < 3; i++) {
        items[i] = (struct item){.note.on_note = on_note, .name = (char)('a' + i)};
        if (i == 1) items[i].again = &inbox;
        inbox_post(&inbox, &items[i].note);
    }
    assert_false(inbox_is_empty(&inbox));
    assert_int_equal(inbox_read(&inbox, seen), 3);
    assert_string_equal(seen, "abc");
    assert_int_equal(inbox_read(&inbox, seen), 1);
    assert_string_equal(seen, "abcb");
    assert_int_equal(inbox_read(&inbox, seen), 0);
    inbox_fini(&inbox);
}

#define THREADS 3
#define NOTES   2000

struct poster {
    struct inbox *inbox;
    struct counted {
        struct note note;
        struct poster *poster;
        uint32_t number;
    } notes[NOTES];
    uint32_t next; /* what must come next of this poster */
    pthread_t thread;
};

static void on_counted(struct note *note, void *shard)
{
    struct counted *counted = container_of(note, struct counted, note);
    assert_int_equal(counted->number, counted->poster->next);
    counted->poster->next++;
    ++*(uint32_t *)shard;
}

static void *poster_main(void *argument)
{
    struct poster *poster = argument;
    for (uint32_t i = 0; i < NOTES; i++) {
        poster->notes[i].note.on_note = on_counted;
        poster->notes[i].poster = poster;
        poster->notes[i].number = i;
        inbox_post(poster->inbox, &poster->notes[i].note);
    }
    return NULL;
}

/* The reader sleeps between, so that a lost wake would be seen. */
static void threads_post_and_the_loop_wakes(void **state)
{
    (void)state;
    static struct poster posters[THREADS];
    struct loop_options options = {.socks_max = 16,
                                   .recv_buffers = 4,
                                   .recv_buffer_size = 64,
                                   .sq_entries = 16,
                                   .cq_entries = 64};
    struct loop *loop;
    assert_int_equal(loop_create(&options, &loop), ERR_OK);
    loop_start(loop);
    struct inbox inbox;
    inbox_init(&inbox, loop);
    for (int i = 0; i < THREADS; i++) {
        posters[i].inbox = &inbox;
        pthread_create(&posters[i].thread, NULL, poster_main, &posters[i]);
    }
    uint32_t count = 0;
    while (count < THREADS * NOTES) {
        uint64_t before = clock_mono_ns();
        loop_enter(loop, before / 1000000u + 5000);
        assert_true(clock_mono_ns() - before < 4000000000u);
        loop_run(loop);
        inbox_read(&inbox, &count);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(posters[i].thread, NULL);
    assert_true(inbox_is_empty(&inbox));
    inbox_fini(&inbox);
    loop_destroy(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(notes_come_in_order_and_new_ones_wait),
        cmocka_unit_test(threads_post_and_the_loop_wakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
