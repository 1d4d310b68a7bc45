/*
 * Slots of keys, and what a Cluster and a Sentinel say, parsed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/mem.h"
#include "storage/redis/refusal.h"
#include "storage/redis/slots.h"

static struct redis_place asked;

/* Vectors of the Cluster specification and of CLUSTER KEYSLOT. */
static void slots_are_those_of_redis(void **state)
{
    (void)state;
    assert_int_equal(slots_of(BYTES_LITERAL("123456789")), 0x31c3);
    assert_int_equal(slots_of(BYTES_LITERAL("")), 0);
    assert_int_equal(slots_of(BYTES_LITERAL("foo")), 12182);
    assert_int_equal(slots_of(BYTES_LITERAL("{foo}bar")), 12182);
    assert_int_equal(slots_of(BYTES_LITERAL("a{foo}{bar}")), 12182);
    assert_int_equal(slots_of(BYTES_LITERAL("a{}{foo}")), slots_of(BYTES_LITERAL("a{}{foo}")));
    assert_int_not_equal(slots_of(BYTES_LITERAL("a{}{foo}")), 12182);
    assert_int_not_equal(slots_of(BYTES_LITERAL("a{foo")), 12182);
}

static enum err view_read(const char *text, struct slots_view *view)
{
    return slots_view_read(bytes_of_text(text), &asked, view);
}

static void nodes_are_read(void **state)
{
    (void)state;
    static const char text[] =
        "a 127.0.0.1:7001@17001,host-1 myself,master - 0 0 5 connected 0-99 200 [100->-b] "
        "[101-<-b]\n"
        "b 10.0.0.2:7002@17002 master - 0 1 6 connected 100-199 150\r\n"
        "c 10.0.0.3:7003@17003 slave b 0 1 6 connected\n"
        "d :0@0 master,noaddr - 0 1 7 disconnected 300\n"
        "e 10.0.0.5:7005@17005 master - 0 1 8 connected\n"
        "f ::1:7006@17006 master,fail? - 0 1 9 disconnected 16383\n"
        "g :7007@17007 myself,master - 0 0 4 connected 99-100 16000\n";
    struct slots_view *view = mem_alloc(sizeof *view);
    assert_int_equal(view_read(text, view), ERR_OK);
    assert_int_equal(view->primaries_count, 4);
    assert_string_equal(slots_view_owner(view, 0)->place.text, "127.0.0.1:7001");
    assert_string_equal(slots_view_owner(view, 99)->place.text, "127.0.0.1:7001");
    assert_string_equal(slots_view_owner(view, 100)->place.text, "10.0.0.2:7002");
    assert_string_equal(slots_view_owner(view, 200)->place.text, "127.0.0.1:7001");
    assert_int_equal(slots_view_owner(view, 150)->epoch, 6);
    assert_string_equal(slots_view_owner(view, 16383)->place.text, "[::1]:7006");
    assert_string_equal(slots_view_owner(view, 16000)->place.text, "192.0.2.1:7007");
    assert_null(slots_view_owner(view, 300));
    assert_null(slots_view_owner(view, 201));
    assert_int_equal(view_read("", view), ERR_OK);
    assert_int_equal(view->primaries_count, 0);
    mem_free(view);
}

static void malformed_nodes_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "a 127.0.0.1 master - 0 0 5 connected 0",
        "a 127.0.0.1:x@1 master - 0 0 5 connected 0",
        "a 127.0.0.1:70000@1 master - 0 0 5 connected 0",
        "a server-1:7000@1 master - 0 0 5 connected 0",
        "a 127.0.0.1:7000@1 master - 0 0 x connected 0",
        "a 127.0.0.1:7000@1 master - 0 0 5 connected 16384",
        "a 127.0.0.1:7000@1 master - 0 0 5 connected 5-4",
        "a 127.0.0.1:7000@1 master - 0 0 5 connected 5-",
        "a 127.0.0.1:7000@1 master - 0 0 5 connected five",
    };
    struct slots_view *view = mem_alloc(sizeof *view);
    for (uint32_t i = 0; i < array_count(texts); i++)
        assert_int_equal(view_read(texts[i], view), ERR_STORE_CORRUPT);
    mem_free(view);
}

static void the_limit_of_primaries_is_kept(void **state)
{
    (void)state;
    struct slots_view *view = mem_alloc(sizeof *view);
    char text[(SLOTS_PRIMARIES_MAX + 1) * 64];
    size_t used = 0;
    for (int i = 1; i <= SLOTS_PRIMARIES_MAX + 1; i++) {
        int more = snprintf(text + used, sizeof text - used,
                            "a 10.0.0.1:%d@1 master - 0 0 5 connected %d\n", i, i);
        used += (size_t)more;
        enum err err = slots_view_read(bytes_of(text, used), &asked, view);
        assert_int_equal(err, i <= SLOTS_PRIMARIES_MAX ? ERR_OK : ERR_LIMIT_MEMORY);
    }
    mem_free(view);
}

static void redirections_are_read(void **state)
{
    (void)state;
    struct redis_place place;
    uint32_t slot = 0;
    assert_int_equal(
        slots_moved_read(BYTES_LITERAL("MOVED 42 10.0.0.9:7009"), &asked, &slot, &place), ERR_OK);
    assert_int_equal(slot, 42);
    assert_string_equal(place.text, "10.0.0.9:7009");
    assert_int_equal(slots_moved_read(BYTES_LITERAL("MOVED 42 :7009"), &asked, &slot, &place),
                     ERR_OK);
    assert_string_equal(place.text, "192.0.2.1:7009");
    static const char *const texts[] = {"ASK 42 10.0.0.9:7009",
                                        "MOVED 16384 10.0.0.9:7009",
                                        "MOVED x 10.0.0.9:7009",
                                        "MOVED 42 name:7009",
                                        "MOVED 42",
                                        "MOVED"};
    for (uint32_t i = 0; i < array_count(texts); i++)
        assert_int_equal(slots_moved_read(bytes_of_text(texts[i]), &asked, &slot, &place),
                         ERR_STORE_CORRUPT);
}

static void places_are_read_and_compared(void **state)
{
    (void)state;
    struct redis_place one, other;
    assert_int_equal(place_parse("redis://127.0.0.1:7000", 1, &one), ERR_OK);
    assert_int_equal(place_of(BYTES_LITERAL("127.0.0.1"), 7000, &asked, &other), ERR_OK);
    assert_true(place_is_same(&one, &other));
    assert_int_equal(place_parse("127.0.0.1", 7000, &one), ERR_OK);
    assert_true(place_is_same(&one, &other));
    assert_int_equal(place_parse("[::1]:7000", 1, &one), ERR_OK);
    assert_false(place_is_same(&one, &other));
    assert_int_equal(place_of(BYTES_LITERAL("::1"), 7000, &asked, &other), ERR_OK);
    assert_true(place_is_same(&one, &other));
    assert_int_equal(place_of(BYTES_LITERAL("::1"), 0, &asked, &other), ERR_BAD_REQUEST);
    assert_int_equal(place_parse("", 1, &one), ERR_BAD_REQUEST);
    assert_int_equal(place_parse("127.0.0.1:0", 1, &one), ERR_BAD_REQUEST);
    assert_int_equal(place_parse("redis://127.0.0.1:1/2", 1, &one), ERR_BAD_REQUEST);
}

static enum refusal refusal_read(const char *text)
{
    struct reply reply = {.type = REPLY_ERROR, .text = bytes_of_text(text)};
    return refusal_of(&reply);
}

static void refusals_are_told_apart(void **state)
{
    (void)state;
    struct reply fine = {.type = REPLY_TEXT, .text = BYTES_LITERAL("MOVED")};
    assert_int_equal(refusal_of(&fine), REFUSAL_NONE);
    assert_int_equal(refusal_read("ERR no"), REFUSAL_NONE);
    assert_int_equal(refusal_read("MOVED 1 x:1"), REFUSAL_ELSEWHERE);
    assert_int_equal(refusal_read("ASK 1 x:1"), REFUSAL_ELSEWHERE);
    assert_int_equal(refusal_read("ASKED"), REFUSAL_NONE);
    assert_int_equal(refusal_read("TRYAGAIN later"), REFUSAL_ELSEWHERE);
    assert_int_equal(refusal_read("CLUSTERDOWN the cluster"), REFUSAL_ELSEWHERE);
    assert_int_equal(refusal_read("LINEAGE"), REFUSAL_STALE);
    assert_int_equal(refusal_read("READONLY You"), REFUSAL_LINK);
    assert_int_equal(refusal_read("OOM command"), REFUSAL_CALL);
    assert_int_equal(refusal_read("NOPERM this user"), REFUSAL_CALL);
    assert_int_equal(refusal_read("NOPERM x script: f, on"), REFUSAL_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_are_those_of_redis),
        cmocka_unit_test(nodes_are_read),
        cmocka_unit_test(malformed_nodes_are_refused),
        cmocka_unit_test(the_limit_of_primaries_is_kept),
        cmocka_unit_test(redirections_are_read),
        cmocka_unit_test(places_are_read_and_compared),
        cmocka_unit_test(refusals_are_told_apart),
    };
    if (place_parse("192.0.2.1:6379", 1, &asked) != ERR_OK) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
