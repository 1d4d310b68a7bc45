/*
 * WebSocket frames by tables of bytes.  Each case is fed whole, split in two at
 * every boundary and byte by byte: events and faults must be the same, and a
 * fault must come at the byte that earns it.  Buffers are tight.
 */
#include "unit/proto/wire.h"

#include "core/mem.h"
#include "proto/ws.h"

#define MESSAGE_MAX 70000

static struct ws_pool *pool;

static int set_up(void **state)
{
    (void)state;
    pool = ws_pool_create(4);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    int left = (int)ws_pool_used(pool);
    ws_pool_destroy(pool);
    return left;
}

/* What a stream of bytes gave, as text: "T5:hello C1000: F1002@7 …". */
struct story {
    char text[4096];
    size_t used;
    bool is_over;
};

static void tell(struct story *story, enum ws_event event, const struct ws_message *message,
                 size_t taken)
{
    static const char letters[] = {
        [WS_TEXT] = 'T', [WS_BINARY] = 'B', [WS_PING] = 'P', [WS_PONG] = 'O'};
    size_t room = sizeof(story->text) - story->used;
    char *out = story->text + story->used;
    int size;
    if (event == WS_FAULT) {
        size = snprintf(out, room, "F%u@%zu ", close_row(message->fault)->code, taken);
        story->is_over = true;
    } else if (event == WS_CLOSE) {
        size = snprintf(out, room, "C%u ", message->close_code);
        story->is_over = true;
    } else {
        size_t shown = min_u64(message->data.size, 8);
        size = snprintf(out, room, "%c%zu:%.*s ", letters[event], message->data.size, (int)shown,
                        shown > 0 ? (const char *)message->data.at : "");
    }
    story->used += (size_t)size;
}

/* Feeds one piece; `before` bytes were fed earlier. */
static void feed(struct story *story, struct ws *ws, const uint8_t *bytes, size_t size,
                 size_t before, size_t message_max)
{
    uint8_t *copy = tight_copy(bytes, size), *at = copy;
    size_t left = size;
    while (!story->is_over) {
        struct ws_message message;
        enum ws_event event = ws_next(ws, pool, &at, &left, message_max, &message);
        assert_ptr_equal(at, copy + (size - left));
        if (event == WS_MORE) {
            assert_int_equal(left, 0);
            break;
        }
        tell(story, event, &message, before + size - left);
    }
    free(copy);
}

/* Pieces of `step` bytes, the first one `first` bytes. */
static void run(struct story *story, const uint8_t *bytes, size_t size, size_t first, size_t step,
                size_t message_max)
{
    struct ws ws = {0};
    *story = (struct story){0};
    for (size_t at = 0; at < size && !story->is_over;) {
        size_t piece = min_u64(size - at, at == 0 && first > 0 ? first : step);
        feed(story, &ws, bytes + at, piece, at, message_max);
        at += piece;
    }
    if (!story->is_over && ws.context != 0)
        story->used += (size_t)snprintf(story->text + story->used, 8, "more ");
    ws_end(&ws, pool);
}

static void expect_max(const uint8_t *bytes, size_t size, const char *expected, size_t message_max)
{
    struct story story;
    for (size_t first = 0; first<size; first += size> 300 ? 97 : 1) {
        run(&story, bytes, size, first, size, message_max);
        const char *fault = strstr(expected, "F1007@");
        /* A text frame that is whole is judged as a whole. */
        if (fault != NULL && strstr(story.text, "F1007@") != NULL) {
            *strchr(strstr(story.text, "F1007@"), '@') = '\0';
            assert_memory_equal(story.text, expected, strlen(story.text));
            continue;
        }
        if (strcmp(story.text, expected) != 0)
            fail_msg("split at %zu: %s, expected %s", first, story.text, expected);
    }
    run(&story, bytes, size, 0, 1, message_max);
    assert_string_equal(story.text, expected);
}

#define CASE(expected, ...)                                                                        \
    do {                                                                                           \
        static const uint8_t bytes_[] = {__VA_ARGS__};                                             \
        expect_max(bytes_, sizeof(bytes_), expected, MESSAGE_MAX);                                 \
    } while (0)

/* Mask 0: the payload stands as it is. */
#define Z 0, 0, 0, 0

static void data_frames_give_messages(void **state)
{
    (void)state;
    CASE("T5:Hello ", 0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51,
         0x58); /* RFC 6455 section 5.7 */
    CASE("B3:abc ", 0x82, 0x83, Z, 'a', 'b', 'c');
    CASE("T0: ", 0x81, 0x80, Z);
    CASE("B0: ", 0x82, 0x80, 1, 2, 3, 4);
    CASE("T1:a T1:b ", 0x81, 0x81, Z, 'a', 0x81, 0x81, Z, 'b');
    CASE("more ", 0x81);
    CASE("more ", 0x81, 0x81, Z);
    CASE("T2:\xC3\xA9 ", 0x81, 0x82, Z, 0xC3, 0xA9);
    CASE("B1:\xFF ", 0x82, 0x81, Z, 0xFF);
}

static void fragments_are_joined(void **state)
{
    (void)state;
    CASE("T3:abc ", 0x01, 0x81, Z, 'a', 0x00, 0x81, Z, 'b', 0x80, 0x81, Z, 'c');
    CASE("B2:ab T1:x ", 0x02, 0x82, Z, 'a', 'b', 0x80, 0x80, Z, 0x81, 0x81, Z, 'x');
    CASE("T0: ", 0x01, 0x80, Z, 0x80, 0x80, Z);
    CASE("P1:p T2:ab ", 0x01, 0x81, Z, 'a', 0x89, 0x81, Z, 'p', 0x80, 0x81, Z, 'b');
    CASE("P0: O1:q more ", 0x01, 0x81, Z, 'a', 0x89, 0x80, Z, 0x8A, 0x81, Z, 'q');
    CASE("C1000 ", 0x01, 0x81, Z, 'a', 0x88, 0x82, Z, 0x03, 0xE8);
    /* A character across fragments, with a ping inside it. */
    CASE("P0: T4:\xF0\x9F\x98\x80 ", 0x01, 0x82, Z, 0xF0, 0x9F, 0x89, 0x80, Z, 0x00, 0x81, Z, 0x98,
         0x80, 0x81, Z, 0x80);
}

static void control_frames_are_given(void **state)
{
    (void)state;
    CASE("P5:hello T1:x ", 0x89, 0x85, Z, 'h', 'e', 'l', 'l', 'o', 0x81, 0x81, Z, 'x');
    CASE("O0: ", 0x8A, 0x80, Z);
    CASE("C1005 ", 0x88, 0x80, Z);
    CASE("C1000 ", 0x88, 0x82, Z, 0x03, 0xE8);
    CASE("C1001 ", 0x88, 0x85, 1, 2, 3, 4, 0x03 ^ 1, 0xE9 ^ 2, 'b' ^ 3, 'y' ^ 4, 'e' ^ 1);
    CASE("C1000 ", 0x88, 0x84, Z, 0x03, 0xE8, 0xC3, 0xA9, 0xFF, 0xFF);
    uint8_t ping[6 + 125] = {0x89, 0xFD};
    memset(ping + 6, 'x', 125);
    expect_max(ping, sizeof(ping), "P125:xxxxxxxx ", MESSAGE_MAX);
}

static void broken_frames_are_told_at_their_byte(void **state)
{
    (void)state;
    /* RSV and reserved opcodes. */
    CASE("F1002@1 ", 0xC1, 0x80, Z);
    CASE("F1002@1 ", 0xA1, 0x80, Z);
    CASE("F1002@1 ", 0x91, 0x80, Z);
    CASE("F1002@1 ", 0x83, 0x80, Z);
    CASE("F1002@1 ", 0x87, 0x80, Z);
    CASE("F1002@1 ", 0x8B, 0x80, Z);
    CASE("F1002@1 ", 0x8F, 0x80, Z);
    /* No mask. */
    CASE("F1002@2 ", 0x81, 0x01, 'a');
    CASE("F1002@2 ", 0x89, 0x00);
    CASE("T1:a F1002@9 ", 0x81, 0x81, Z, 'a', 0x81, 0x01, 'a');
    /* Order of continuation. */
    CASE("F1002@1 ", 0x80, 0x80, Z);
    CASE("F1002@1 ", 0x00, 0x80, Z);
    CASE("F1002@8 ", 0x01, 0x81, Z, 'a', 0x81, 0x81, Z, 'b');
    CASE("F1002@8 ", 0x01, 0x81, Z, 'a', 0x02, 0x81, Z, 'b');
    CASE("T2:ab F1002@15 ", 0x01, 0x81, Z, 'a', 0x80, 0x81, Z, 'b', 0x80, 0x80, Z);
    /* Control frames. */
    CASE("F1002@1 ", 0x09, 0x80, Z);
    CASE("F1002@1 ", 0x08, 0x80, Z);
    CASE("F1002@2 ", 0x89, 0xFE, 0, 126);
    CASE("F1002@2 ", 0x88, 0xFF, 0, 0);
    /* Length forms. */
    CASE("F1002@4 ", 0x81, 0xFE, 0, 125, Z);
    CASE("F1002@4 ", 0x82, 0xFE, 0, 0, Z);
    CASE("F1002@10 ", 0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, Z);
    CASE("F1002@3 ", 0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, Z);
    /* Close payloads. */
    CASE("F1002@2 ", 0x88, 0x81, Z, 0x03);
    CASE("F1007@9 ", 0x88, 0x83, Z, 0x03, 0xE8, 0xFF);
}

static void close_codes_are_judged(void **state)
{
    (void)state;
    for (uint32_t code = 0; code <= 5100; code++) {
        uint8_t frame[] = {0x88, 0x82, Z, (uint8_t)(code >> 8), (uint8_t)code};
        bool is_good = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
                       (code >= 3000 && code <= 4999);
        struct story story;
        char expected[32];
        run(&story, frame, sizeof(frame), 0, sizeof(frame), MESSAGE_MAX);
        if (is_good)
            snprintf(expected, sizeof(expected), "C%u ", code);
        else
            snprintf(expected, sizeof(expected), "F1002@8 ");
        if (strcmp(story.text, expected) != 0) fail_msg("%u: %s", code, story.text);
    }
}

static void text_fails_at_its_first_bad_byte(void **state)
{
    (void)state;
    CASE("F1007@8 ", 0x81, 0x84, Z, 'a', 0x80, 'b', 'c');
    CASE("F1007@8 ", 0x81, 0x84, Z, 0xED, 0xA0, 0x80, 'c');
    CASE("F1007@7 ", 0x81, 0x82, Z, 0xC0, 0xAF);
    CASE("F1007@8 ", 0x81, 0x84, Z, 0xF4, 0x90, 0x80, 0x80);
    CASE("F1007@8 ", 0x81, 0x82, Z, 'a', 0xC3); /* cut */
    /* Across fragments: at the byte, not at the end of the message. */
    CASE("F1007@14 ", 0x01, 0x81, Z, 0xC3, 0x00, 0x82, Z, 'x', 'y', 0x80, 0x80, Z);
    CASE("F1007@13 ", 0x01, 0x81, Z, 0xC3, 0x80, 0x80, Z);
    /* A huge frame under way. */
    CASE("F1007@10 ", 0x81, 0xFE, 0xFF, 0xFF, Z, 'a', 0xFF);
}

/* A data frame of `size` bytes of 'x' under a mask. */
static uint8_t *frame_of(size_t size, uint8_t first, size_t *frame_size)
{
    uint8_t head[10];
    uint32_t used = ws_header(head, WS_OP_BINARY, size);
    uint8_t *frame = malloc(used + 4 + size), mask[4] = {0xA5, 0x5A, 0x00, 0xFF};
    memcpy(frame, head, used);
    frame[0] = first;
    frame[1] |= 0x80;
    memcpy(frame + used, mask, 4);
    for (size_t i = 0; i < size; i++) frame[used + 4 + i] = (uint8_t)('x' ^ mask[i % 4]);
    *frame_size = used + 4 + size;
    return frame;
}

static void sizes_around_each_form_and_limit_hold(void **state)
{
    (void)state;
    static const size_t sizes[] = {0,   1,   7,   8,   9,   31,   32,   33,   63,    64,    65,
                                   124, 125, 126, 127, 128, 4095, 4096, 4097, 65535, 65536, 65537};
    for (size_t i = 0; i < array_count(sizes); i++) {
        size_t size = sizes[i], frame_size;
        uint8_t *frame = frame_of(size, 0x81, &frame_size);
        char expected[64];
        snprintf(expected, sizeof(expected), "T%zu:%.*s ", size, (int)min_u64(size, 8), "xxxxxxxx");
        expect_max(frame, frame_size, expected, size);
        expect_max(frame, frame_size, expected, size + 1);
        /* One less: told when the length is, before mask and payload. */
        if (size > 0) {
            snprintf(expected, sizeof(expected), "F1009@%d ",
                     size < 126     ? 2
                     : size < 65536 ? 4
                                    : 10);
            expect_max(frame, frame_size, expected, size - 1);
        }
        free(frame);
    }
}

static void the_limit_counts_all_fragments(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0x02, 0x83, Z,   'a',  'b',  'c', 0x00, 0x82,
                                    Z,    'd',  'e', 0x80, 0x81, Z,   'f'};
    expect_max(bytes, sizeof(bytes), "B6:abcdef ", 6);
    expect_max(bytes, sizeof(bytes), "F1009@19 ", 5);
    expect_max(bytes, sizeof(bytes), "F1009@11 ", 4);
    expect_max(bytes, sizeof(bytes), "F1009@2 ", 2);
    /* A control frame is no part of it. */
    static const uint8_t ping[] = {0x02, 0x81, Z, 'a', 0x89, 0x83, Z, 'p', 'p', 'p', 0x80, 0x80, Z};
    expect_max(ping, sizeof(ping), "P3:ppp B1:a ", 1);
}

/* Whatever a flipped bit makes of a stream, whole and byte by byte tell the same
 * (but for where a bad character is noticed). */
static void flipped_bits_are_told_alike(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {
        0x81, 0x83, 1,   2,    3,    4, 'a' ^ 1, 'b' ^ 2, 'c' ^ 3, 0x01, 0x81, Z, 'd', 0x89,
        0x81, Z,    'p', 0x80, 0x81, Z, 'e',     0x82,    0xFE,    0,    126,  Z, 'x', 'y'};
    for (size_t bit = 0; bit < 8 * sizeof(bytes); bit++) {
        struct story whole, single;
        uint8_t copy[sizeof(bytes)];
        memcpy(copy, bytes, sizeof(bytes));
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        run(&whole, copy, sizeof(copy), 0, sizeof(copy), MESSAGE_MAX);
        run(&single, copy, sizeof(copy), 0, 1, MESSAGE_MAX);
        char *bad = strstr(whole.text, "F1007@"), *bad_single = strstr(single.text, "F1007@");
        if (bad != NULL && bad_single != NULL) bad[5] = bad_single[5] = '\0';
        if (strcmp(whole.text, single.text) != 0)
            fail_msg("bit %zu: %s, %s", bit, whole.text, single.text);
    }
}

static void memory_follows_what_arrived(void **state)
{
    (void)state;
    static const uint8_t head[] = {0x82, 0xFF, 0, 0, 0, 0, 0x40, 0, 0, 0, Z, 'a'};
    struct ws ws = {0};
    struct story story = {0};
    uint64_t before = mem_used();
    feed(&story, &ws, head, sizeof(head), 0, 1u << 30);
    assert_true(mem_used() - before < 4096);
    assert_int_equal(ws_pool_used(pool), 1);
    ws_end(&ws, pool);
    assert_int_equal(ws_pool_used(pool), 0);
}

/* The mask turns with each piece, wherever the frame was cut. */
static void cut_frames_give_every_byte(void **state)
{
    (void)state;
    static const uint8_t key[4] = {0xa5, 0x1c, 0x77, 0xe2};
    uint8_t frame[8 + 150] = {0x82, 0xfe, 0, 150, key[0], key[1], key[2], key[3]}, plain[150];
    for (size_t i = 0; i < sizeof plain; i++) {
        plain[i] = (uint8_t)(i * 7);
        frame[8 + i] = plain[i] ^ key[i % 4];
    }
    for (size_t first = 1; first < sizeof frame; first++)
        for (size_t step = 1; step < 70; step += 3) {
            uint8_t copy[sizeof frame];
            struct ws ws = {0};
            struct ws_message message;
            enum ws_event event = WS_MORE;
            memcpy(copy, frame, sizeof frame);
            for (size_t at = 0; at < sizeof copy;) {
                size_t left = min_u64(sizeof copy - at, at == 0 ? first : step);
                uint8_t *piece = copy + at;
                at += left;
                event = ws_next(&ws, pool, &piece, &left, MESSAGE_MAX, &message);
            }
            assert_int_equal(event, WS_BINARY);
            assert_int_equal(message.data.size, sizeof plain);
            assert_memory_equal(message.data.at, plain, sizeof plain);
        }
}

static void a_connection_between_messages_owns_nothing(void **state)
{
    (void)state;
    static const uint8_t first[] = {0x81, 0x83, Z, 'a'}, second[] = {'b', 'c'};
    struct ws ws = {0};
    struct story story = {0};
    feed(&story, &ws, first, sizeof(first), 0, MESSAGE_MAX);
    assert_int_not_equal(ws.context, 0);
    feed(&story, &ws, second, sizeof(second), 0, MESSAGE_MAX);
    assert_int_equal(ws.context, 0);
    assert_int_equal(ws_pool_used(pool), 0);
    assert_string_equal(story.text, "T3:abc ");
}

static void a_spent_pool_ends_only_who_needs_it(void **state)
{
    (void)state;
    static const uint8_t half[] = {0x81, 0x83, Z, 'a'}, rest[] = {'b', 'c'},
                         whole[] = {0x81, 0x81, Z, 'x'};
    struct ws open[5] = {0};
    struct story stories[5] = {0};
    for (size_t i = 0; i < 4; i++) feed(&stories[i], &open[i], half, sizeof(half), 0, MESSAGE_MAX);
    assert_int_equal(ws_pool_used(pool), 4);
    feed(&stories[4], &open[4], whole, sizeof(whole), 0, MESSAGE_MAX);
    assert_string_equal(stories[4].text, "T1:x ");
    feed(&stories[4], &open[4], half, sizeof(half), 0, MESSAGE_MAX);
    assert_string_equal(stories[4].text, "T1:x F3004@0 ");
    for (size_t i = 0; i < 4; i++) {
        feed(&stories[i], &open[i], rest, sizeof(rest), 0, MESSAGE_MAX);
        assert_string_equal(stories[i].text, "T3:abc ");
    }
}

static void headers_take_their_shortest_form(void **state)
{
    (void)state;
    uint8_t head[10];
    assert_int_equal(ws_header(head, WS_OP_TEXT, 125), 2);
    assert_memory_equal(head, "\x81\x7D", 2);
    assert_int_equal(ws_header(head, WS_OP_TEXT, 126), 4);
    assert_memory_equal(head, "\x81\x7E\x00\x7E", 4);
    assert_int_equal(ws_header(head, WS_OP_BINARY, 65535), 4);
    assert_memory_equal(head, "\x82\x7E\xFF\xFF", 4);
    assert_int_equal(ws_header(head, WS_OP_BINARY, 65536), 10);
    assert_memory_equal(head, "\x82\x7F\0\0\0\0\0\x01\0\0", 10);
    assert_int_equal(ws_header(head, WS_OP_PONG, 0), 2);
    assert_memory_equal(head, "\x8A\x00", 2);
}

static void close_frames_carry_code_and_reason(void **state)
{
    (void)state;
    uint8_t frame[127];
    assert_int_equal(ws_close_frame(frame, 3001, "shutdown"), 12);
    assert_memory_equal(frame, "\x88\x0A\x0B\xB9shutdown", 12);
    assert_int_equal(ws_close_frame(frame, 1000, ""), 4);
    assert_memory_equal(frame, "\x88\x02\x03\xE8", 4);
    for (enum close close = CLOSE_NONE + 1; close < CLOSE_COUNT; close++)
        assert_int_equal(ws_close_frame(frame, close_row(close)->code, close_row(close)->text),
                         4 + strlen(close_row(close)->text));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(data_frames_give_messages),
        TEST(fragments_are_joined),
        TEST(control_frames_are_given),
        TEST(broken_frames_are_told_at_their_byte),
        TEST(close_codes_are_judged),
        TEST(text_fails_at_its_first_bad_byte),
        TEST(sizes_around_each_form_and_limit_hold),
        TEST(the_limit_counts_all_fragments),
        TEST(flipped_bits_are_told_alike),
        TEST(memory_follows_what_arrived),
        TEST(cut_frames_give_every_byte),
        TEST(a_connection_between_messages_owns_nothing),
        TEST(a_spent_pool_ends_only_who_needs_it),
        TEST(headers_take_their_shortest_form),
        TEST(close_frames_carry_code_and_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
