/*
 * act: what is packed reads back, in every letter.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/arena.h"
#include "shards/letter.h"
#include "shards/user/act.h"

static const uint8_t ids[32] = {1, 2, 3, [31] = 9};

static const struct act full = {
    .verb = ACT_SUBSCRIBE,
    .user = {(const uint8_t *)"ann", 3},
    .client = {ids, 16},
    .whitelist = {ids, 32},
    .code = 4999,
    .reason = {(const uint8_t *)"why", 3},
    .channel = {(const uint8_t *)"room", 4},
    .is_expired = true,
    .has_info = true,
    .expires_s = 4000000000u,
    .info = {{(const uint8_t *)"{}", 2}, false},
    .data = {{(const uint8_t *)"\1\2\3", 3}, true},
    .recovers = true,
    .offset = 1ull << 40,
    .epoch = {(const uint8_t *)"abcd", 4},
    .override = {JWT_ON, JWT_OFF, JWT_UNSET, JWT_ON, JWT_OFF},
};

static void same(const struct act *a, const struct act *b)
{
    assert_int_equal(a->verb, b->verb);
    assert_true(bytes_equal(a->user, b->user));
    assert_true(bytes_equal(a->client, b->client));
    assert_true(bytes_equal(a->whitelist, b->whitelist));
    assert_int_equal(a->code, b->code);
    assert_true(bytes_equal(a->reason, b->reason));
    assert_true(bytes_equal(a->channel, b->channel));
    assert_int_equal(a->is_expired, b->is_expired);
    assert_int_equal(a->has_info, b->has_info);
    assert_int_equal(a->expires_s, b->expires_s);
    assert_true(bytes_equal(a->info.bytes, b->info.bytes));
    assert_true(bytes_equal(a->data.bytes, b->data.bytes));
    assert_int_equal(a->info.is_opaque, b->info.is_opaque);
    assert_int_equal(a->data.is_opaque, b->data.is_opaque);
    assert_int_equal(a->recovers, b->recovers);
    assert_int_equal(a->offset, b->offset);
    assert_true(bytes_equal(a->epoch, b->epoch));
    assert_memory_equal(&a->override, &b->override, sizeof a->override);
}

static struct mesh *mesh;
static struct post *post;

static void begin(void)
{
    mesh = mesh_create(1, letter_table, LETTER_KIND_COUNT, 8);
    post = mesh_open(mesh, 0, NULL, NULL);
}
static void end(struct letter *letter)
{
    letter_discard(post, letter);
    mesh_destroy(mesh);
}

static void an_act_reads_back(void **state)
{
    (void)state;
    const struct act empty = {.verb = ACT_DISCONNECT, .user = {(const uint8_t *)"b", 1}};
    const struct act *acts[] = {&full, &empty};
    for (int i = 0; i < 2; i++) {
        begin();
        struct letter_user_act in = {.call = {7, 9}, .act = *acts[i]}, out;
        struct letter *letter = letter_pack_user_act(post, 0, &in);
        letter_read_user_act(letter, &out);
        assert_int_equal(out.call.index, 7);
        assert_int_equal(out.call.generation, 9);
        same(&out.act, acts[i]);
        end(letter);
    }
}

static void a_do_reads_back(void **state)
{
    (void)state;
    begin();
    struct arena arena;
    arena_init(&arena, 4096);
    uint8_t packed[512];
    struct writer writer = writer_of(packed, sizeof packed);
    act_write(&writer, &full);
    assert_int_equal(writer.used, act_size(&full));
    const struct handle conns[] = {{1, 2}, {3, 4}};
    struct letter_user_do in = {.packed = writer_bytes(&writer), .conns = conns, .conns_count = 2};
    struct letter_user_do out;
    struct letter *letter = letter_pack_user_do(post, 0, &in);
    letter_read_user_do(letter, &arena, &out);
    assert_int_equal(out.call.generation, 0);
    assert_int_equal(out.conns_count, 2);
    assert_memory_equal(out.conns, conns, sizeof conns);
    struct act act;
    struct reader reader = reader_of(out.packed);
    act_read(&reader, &act);
    same(&act, &full);
    end(letter);
    arena_fini(&arena);
}

static void entering_and_leaving_read_back(void **state)
{
    (void)state;
    begin();
    struct letter_user_enter enter = {
        .call = {1, 2}, .conn = {3, 4}, .began_ns = 1ull << 50, .user = BYTES_LITERAL("ann")};
    struct letter_user_enter entered;
    struct letter *letter = letter_pack_user_enter(post, 0, &enter);
    letter_read_user_enter(letter, &entered);
    assert_int_equal(entered.conn.index, 3);
    assert_int_equal(entered.conn.generation, 4);
    assert_true(entered.began_ns == enter.began_ns);
    assert_true(bytes_equal_text(entered.user, "ann"));
    letter_discard(post, letter);
    struct letter_user_leave leave = {.conn = {5, 6}, .session = 0x80000001u}, left;
    letter = letter_pack_user_leave(post, 0, &leave);
    letter_read_user_leave(letter, &left);
    assert_int_equal(left.conn.index, 5);
    assert_int_equal(left.conn.generation, 6);
    assert_int_equal(left.session, 0x80000001u);
    end(letter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_act_reads_back),
        cmocka_unit_test(a_do_reads_back),
        cmocka_unit_test(entering_and_leaving_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
