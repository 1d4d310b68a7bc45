/*
 * frame: owned in three sizes, borrowed from letters, counted.
 */
#include "death.h"

#include <cmocka.h>

#include "core/frame.h"

struct shard {
    struct post *post;
    struct frames frames;
    struct frame *first, *second; /* borrowed in on_frame */
    uint32_t home;
};

static struct shard shards[2];
static struct mesh *mesh;

static void on_frame(void *context, struct letter *letter)
{
    struct shard *shard = context;
    struct bytes all = bytes_of(letter->payload, letter->size);
    shard->first = frame_borrow(&shard->frames, letter, all);
    shard->second = frame_borrow(&shard->frames, letter, bytes_of(all.at + 1, 2));
}
static void on_home(void *context, struct letter *letter)
{
    (void)letter;
    ((struct shard *)context)->home++;
}
static const struct letter_handlers kinds[] = {{"frame", on_frame, on_home}};

static int setup(void **state)
{
    (void)state;
    memset(shards, 0, sizeof shards);
    mesh = mesh_create(2, kinds, 1, 1);
    for (uint32_t i = 0; i < 2; i++) {
        shards[i].post = mesh_open(mesh, i, &shards[i], NULL);
        frames_init(&shards[i].frames, shards[i].post, 16);
    }
    return 0;
}
static int teardown(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 2; i++) frames_fini(&shards[i].frames);
    mesh_destroy(mesh);
    return 0;
}

static void frame_holds_header_and_payload_side_by_side(void **state)
{
    (void)state;
    struct frames *frames = &shards[0].frames;
    static const uint32_t sizes[] = {0, 1, 502, 503, 4086, 4087, 100000};
    for (size_t i = 0; i < array_count(sizes); i++) {
        for (uint32_t header = 0; header <= FRAME_HEADROOM; header++) {
            struct frame *frame = frame_new(frames, sizes[i]);
            assert_true(frame->room >= sizes[i]);
            assert_true(frames->bytes >= sizes[i]);
            memset(frame_payload(frame), 'p', sizes[i]);
            frame_seal(frame, bytes_of("0123456789", header), sizes[i]);
            assert_int_equal(frame->size, header + sizes[i]);
            assert_memory_equal(frame->bytes, "0123456789", header);
            for (uint32_t at = 0; at < sizes[i]; at++)
                assert_int_equal(frame->bytes[header + at], 'p');
            frame_unref(frames, frame);
            assert_int_equal(frames->bytes, 0);
        }
    }
}

static void frame_lives_until_its_last_count(void **state)
{
    (void)state;
    struct frames *frames = &shards[0].frames;
    struct frame *frame = frame_new(frames, 3);
    memcpy(frame_payload(frame), "abc", 3);
    frame_seal(frame, BYTES_NONE, 3);
    frame_ref(frame);
    frame_ref(frame);
    frame_unref(frames, frame);
    frame_unref(frames, frame);
    assert_memory_equal(frame->bytes, "abc", 3);
    frame_unref(frames, frame);
    assert_int_equal(frames->frames.count, 0);
}

static void limit_gives_null_and_changes_nothing(void **state)
{
    (void)state;
    struct frames *frames = &shards[0].frames;
    struct frame *taken[16];
    for (int i = 0; i < 16; i++) {
        taken[i] = frame_new(frames, 4000); /* the slab of large ones has one */
        assert_non_null(taken[i]);
    }
    uint64_t bytes = frames->bytes;
    assert_null(frame_new(frames, 1));
    assert_int_equal(frames->bytes, bytes);
    for (int i = 0; i < 16; i++) frame_unref(frames, taken[i]);
    assert_int_equal(frames->bytes, 0);
}

static void borrowed_frames_hold_their_letter(void **state)
{
    (void)state;
    struct shard *a = &shards[0], *b = &shards[1];
    struct letter *letter = letter_new(a->post, 1, 0, 4);
    memcpy(letter->payload, "wire", 4);
    letter_post(a->post, letter);
    mesh_flush(a->post);
    mesh_read(b->post, 1);
    assert_int_equal(b->first->size, 4);
    assert_memory_equal(b->first->bytes, "wire", 4);
    assert_int_equal(b->second->size, 2);
    assert_memory_equal(b->second->bytes, "ir", 2);
    assert_int_equal(b->frames.bytes, 0); /* the bytes are a's */
    frame_ref(b->first);
    frame_unref(&b->frames, b->first);
    frame_unref(&b->frames, b->second);
    mesh_flush(b->post);
    mesh_read(a->post, 1);
    assert_int_equal(a->home, 0);
    frame_unref(&b->frames, b->first);
    mesh_flush(b->post);
    mesh_read(a->post, 1);
    assert_int_equal(a->home, 1);
}

static struct frame *frame_of(struct frames *frames, const char *text, uint32_t room)
{
    struct frame *frame = frame_new(frames, room);
    memcpy(frame_payload(frame), text, strlen(text));
    frame_seal(frame, BYTES_NONE, (uint32_t)strlen(text));
    return frame;
}

static void frame_takes_more_while_it_is_alone_and_has_room(void **state)
{
    (void)state;
    struct frames *frames = &shards[0].frames;
    struct frame *frame = frame_of(frames, "ab", 100), *more = frame_of(frames, "cde", 3);
    uint32_t size = 2;
    for (; size + 3 <= frame->room; size += 3) assert_true(frame_append(frame, more));
    assert_int_equal(frame->size, size);
    assert_memory_equal(frame->bytes, "abcdecde", 8);
    assert_memory_equal(frame->bytes + size - 3, "cde", 3);
    assert_false(frame_append(frame, more));
    assert_int_equal(frame->size, size);

    /* Somebody else counts on these bytes and on nothing behind them. */
    struct frame *shared = frame_of(frames, "x", 100);
    frame_ref(shared);
    assert_false(frame_append(shared, more));
    frame_unref(frames, shared);
    assert_true(frame_append(shared, more));
    assert_memory_equal(shared->bytes, "xcde", 4);

    /* Written where it stays; what is not told does not count. */
    uint8_t *at = frame_behind(shared, 10);
    assert_non_null(at);
    memcpy(at, "fghij", 5);
    frame_extend(shared, 2);
    assert_int_equal(shared->size, 6);
    assert_memory_equal(shared->bytes, "xcdefg", 6);
    assert_null(frame_behind(shared, shared->room - 5));
    assert_non_null(frame_behind(shared, shared->room - 6));
    frame_unref(frames, shared);
    frame_unref(frames, more);
    frame_unref(frames, frame);
    assert_int_equal(frames->bytes, 0);
}

static void owned_copy_lets_the_letter_go_home(void **state)
{
    (void)state;
    struct shard *a = &shards[0], *b = &shards[1];
    struct letter *letter = letter_new(a->post, 1, 0, 4);
    memcpy(letter->payload, "wire", 4);
    letter_post(a->post, letter);
    mesh_flush(a->post);
    mesh_read(b->post, 1);
    struct frame *more = frame_of(&b->frames, "?", 1);
    assert_false(frame_append(b->first, more)); /* the bytes are a's */
    frame_own(&b->frames, b->first);
    frame_own(&b->frames, b->first); /* as before */
    assert_memory_equal(b->first->bytes, "wire", 4);
    assert_true(frame_append(b->first, more));
    mesh_flush(b->post);
    mesh_read(a->post, 1);
    assert_int_equal(a->home, 0); /* the second frame shows it still */
    frame_own(&b->frames, b->second);
    mesh_flush(b->post);
    mesh_read(a->post, 1);
    assert_int_equal(a->home, 1);
    assert_memory_equal(b->first->bytes, "wire?", 5);
    assert_memory_equal(b->second->bytes, "ir", 2);
    frame_unref(&b->frames, more);
    frame_unref(&b->frames, b->first);
    frame_unref(&b->frames, b->second);
    assert_int_equal(b->frames.bytes, 0);
}

static void seal_beyond_the_room(void)
{
    struct frame *frame = frame_new(&shards[0].frames, 10);
    frame_seal(frame, BYTES_NONE, 100000);
}
static void seal_twice(void)
{
    struct frame *frame = frame_new(&shards[0].frames, 10);
    frame_seal(frame, BYTES_NONE, 1);
    frame_seal(frame, BYTES_NONE, 1);
}
static void misuse_stops_the_process(void **state)
{
    (void)state;
    assert_true(dies(seal_beyond_the_room));
    assert_true(dies(seal_twice));
}

#define with_shards(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_shards(frame_holds_header_and_payload_side_by_side),
        with_shards(frame_lives_until_its_last_count),
        with_shards(limit_gives_null_and_changes_nothing),
        with_shards(borrowed_frames_hold_their_letter),
        with_shards(frame_takes_more_while_it_is_alone_and_has_room),
        with_shards(owned_copy_lets_the_letter_go_home),
        with_shards(misuse_stops_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
