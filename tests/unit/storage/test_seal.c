/*
 * test_seal: what is sealed comes back as it was, and nothing else does; keys of a
 * configuration.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/config.h"
#include "core/disk.h"
#include "core/mem.h"
#include "core/rng.h"
#include "storage/seal.h"

#define KEY_A "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"
#define KEY_B "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0"

#define ROOM BYTES_LITERAL("room:1")

/* Seals "s<n>" are known, each with a secret of its own. */
static bool find(void *context, struct bytes name, uint8_t secret[SEAL_SECRET])
{
    uint32_t *asked = context;
    if (asked != NULL) (*asked)++;
    if (name.size == 0 || name.at[0] != 's') return false;
    memset(secret, 0, SEAL_SECRET);
    memcpy(secret, name.at, min_u64(name.size, SEAL_SECRET));
    return true;
}

static void sealer_of(struct sealer *sealer, const char *name)
{
    uint8_t secret[SEAL_SECRET];
    assert_true(find(NULL, bytes_of_text(name), secret));
    sealer_init(sealer, secret, bytes_of_text(name));
}

static struct publication full(void)
{
    return (struct publication){.offset = 17,
                                .time_ms = 1700000000123,
                                .data = BYTES_LITERAL("{\"text\":\"open sesame\"}"),
                                .tags = BYTES_LITERAL("{\"tag\":\"under lock\"}"),
                                .has_info = true,
                                .client = {1, 2, 3},
                                .user = BYTES_LITERAL("ann"),
                                .conn_info = BYTES_LITERAL("{\"name\":\"Ann of the house\"}"),
                                .chan_info = BYTES_LITERAL("{\"role\":\"door keeper\"}"),
                                .version = 9,
                                .version_epoch = BYTES_LITERAL("state of things")};
}

static void assert_same(const struct publication *a, const struct publication *b)
{
    assert_int_equal(a->offset, b->offset);
    assert_int_equal(a->time_ms, b->time_ms);
    assert_true(bytes_equal(a->data, b->data) && bytes_equal(a->tags, b->tags));
    assert_int_equal(a->is_opaque, b->is_opaque);
    assert_int_equal(a->has_info, b->has_info);
    assert_memory_equal(a->client, b->client, sizeof a->client);
    assert_true(bytes_equal(a->user, b->user) && bytes_equal(a->conn_info, b->conn_info));
    assert_true(bytes_equal(a->chan_info, b->chan_info));
    assert_int_equal(a->version, b->version);
    assert_true(bytes_equal(a->version_epoch, b->version_epoch));
}

/* The sealed bytes; the caller frees them. */
static struct bytes sealed(struct sealer *sealer, const struct publication *publication,
                           struct bytes key)
{
    size_t size = sealed_size(sealer, publication, key);
    uint8_t *at = mem_alloc(size);
    struct writer writer = writer_of(at, size);
    sealed_write(sealer, &writer, publication, ROOM, key);
    assert_false(writer.failed);
    assert_int_equal(writer.used, size);
    return bytes_of(at, size);
}

static bool has(struct bytes bytes, struct bytes text)
{
    return memmem(bytes.at, bytes.size, text.at, text.size) != NULL;
}

static void what_is_sealed_comes_back_and_shows_nothing(void **state)
{
    (void)state;
    struct sealer sealer;
    struct opener opener;
    struct seal_head head;
    sealer_of(&sealer, "s1");
    opener_init(&opener, find, NULL);
    struct publication bare = {.offset = 1, .data = BYTES_LITERAL("x")}, empty = {0};
    struct publication opaque = {.offset = 2, .data = BYTES_LITERAL("\1\2"), .is_opaque = true};
    struct publication whole = full();
    const struct publication *all[] = {&bare, &empty, &opaque, &whole};
    for (uint32_t i = 0; i < array_count(all); i++) {
        struct publication again;
        struct bytes body = sealed(&sealer, all[i], BYTES_LITERAL("key-7"));
        uint8_t *room = mem_alloc(body.size);
        assert_true(seal_is_on(body));
        assert_int_equal(publication_open(&opener, ROOM, body, room, &again), ERR_OK);
        assert_same(all[i], &again);
        assert_int_equal(seal_head_read(body, &head), ERR_OK);
        assert_int_equal(head.count, i + 1); /* a nonce of its own */
        assert_int_equal(head.offset, all[i]->offset);
        assert_true(bytes_equal_text(head.key, "key-7") && bytes_equal_text(head.name, "s1"));
        assert_true(bytes_equal(head.user, all[i]->user));
        assert_false(has(body, BYTES_LITERAL("sesame")) || has(body, BYTES_LITERAL("lock")));
        assert_false(has(body, BYTES_LITERAL("house")) || has(body, BYTES_LITERAL("keeper")));
        assert_false(has(body, BYTES_LITERAL("things")));
        mem_free(room);
        mem_free((void *)(uintptr_t)body.at);
    }
    sealer_fini(&sealer);
    opener_fini(&opener);
}

static void plain_records_are_read_where_they_stand(void **state)
{
    (void)state;
    struct opener opener = {0};
    struct publication whole = full(), again;
    uint8_t bytes[512];
    struct writer writer = writer_of(bytes, sizeof bytes);
    publication_write(&writer, &whole);
    struct bytes body = writer_bytes(&writer);
    assert_false(seal_is_on(body));
    assert_int_equal(publication_open(&opener, ROOM, body, NULL, &again), ERR_OK);
    assert_same(&whole, &again);
    assert_true(again.data.at > bytes && again.data.at < bytes + sizeof bytes);
    opener_fini(&opener);
}

/* Everything is bound: head, box, tag, and the channel that it was written for. */
static void nothing_opens_that_was_changed(void **state)
{
    (void)state;
    struct sealer sealer;
    struct opener opener, stranger;
    struct publication whole = full(), again;
    sealer_of(&sealer, "s1");
    opener_init(&opener, find, NULL);
    opener_init(&stranger, NULL, NULL);
    struct bytes body = sealed(&sealer, &whole, BYTES_LITERAL("key-7"));
    uint8_t *room = mem_alloc(body.size), *bytes = (uint8_t *)(uintptr_t)body.at;
    for (size_t i = 0; i < body.size; i++) {
        for (int bit = 0; bit < 8; bit++) {
            bytes[i] ^= (uint8_t)(1u << bit);
            assert_int_equal(publication_open(&opener, ROOM, body, room, &again),
                             ERR_STORE_CORRUPT);
            bytes[i] ^= (uint8_t)(1u << bit);
        }
        struct bytes part = bytes_of(mem_alloc(i + 1), i);
        memcpy((void *)(uintptr_t)part.at, body.at, i);
        assert_int_equal(publication_open(&opener, ROOM, part, room, &again), ERR_STORE_CORRUPT);
        mem_free((void *)(uintptr_t)part.at);
    }
    assert_int_equal(publication_open(&opener, BYTES_LITERAL("room:2"), body, room, &again),
                     ERR_STORE_CORRUPT);
    assert_int_equal(publication_open(&stranger, ROOM, body, room, &again), ERR_STORE_CORRUPT);
    assert_int_equal(publication_open(&opener, ROOM, body, room, &again), ERR_OK);
    mem_free(room);
    mem_free(bytes);
    sealer_fini(&sealer);
    opener_fini(&opener);
}

static void an_opener_keeps_the_seals_it_met_last(void **state)
{
    (void)state;
    struct sealer sealers[OPENER_SEALS + 8];
    struct opener opener;
    struct rng rng;
    uint32_t asked = 0;
    struct publication whole = full(), again;
    rng_seed(&rng, 11);
    opener_init(&opener, find, &asked);
    for (uint32_t i = 0; i < array_count(sealers); i++) {
        char name[8];
        snprintf(name, sizeof name, "s%u", i);
        sealer_of(&sealers[i], name);
    }
    for (uint32_t i = 0; i < 2000; i++) {
        /* The first half of the rounds stays with few seals. */
        uint32_t count = i < 1000 ? 4 : array_count(sealers);
        struct bytes body = sealed(&sealers[rng_below(&rng, count)], &whole, BYTES_NONE);
        uint8_t *room = mem_alloc(body.size);
        assert_int_equal(publication_open(&opener, ROOM, body, room, &again), ERR_OK);
        assert_same(&whole, &again);
        mem_free(room);
        mem_free((void *)(uintptr_t)body.at);
        if (i < 1000) assert_true(asked <= 4);
    }
    assert_true(asked > 4);
    for (uint32_t i = 0; i < array_count(sealers); i++) sealer_fini(&sealers[i]);
    opener_fini(&opener);
}

static void a_seal_is_of_one_key_one_salt_and_one_log(void **state)
{
    (void)state;
    struct config config = {.storage_key = KEY_A, .storage_previous_keys = KEY_B};
    struct keyring keyring;
    uint8_t salt[SEAL_SALT] = {0}, first[SEAL_SECRET], other[SEAL_SECRET];
    assert_int_equal(keyring_load(&config, &keyring), ERR_OK);
    struct bytes log = BYTES_LITERAL("00000001-00"), another = BYTES_LITERAL("00000001-01");
    seal_derive(&keyring.keys[0], salt, log, first);
    seal_derive(&keyring.keys[0], salt, log, other);
    assert_memory_equal(first, other, sizeof first);
    seal_derive(&keyring.keys[0], salt, another, other);
    assert_memory_not_equal(first, other, sizeof first);
    seal_derive(&keyring.keys[1], salt, log, other);
    assert_memory_not_equal(first, other, sizeof first);
    salt[31] = 1;
    seal_derive(&keyring.keys[0], salt, log, other);
    assert_memory_not_equal(first, other, sizeof first);
    keyring_fini(&keyring);
}

static void keys_come_from_options_or_a_file(void **state)
{
    (void)state;
    struct keyring keyring, again;
    struct config config = {0};
    assert_int_equal(keyring_load(&config, &keyring), ERR_OK);
    assert_true(keyring.count == 0 && !keyring.seals);

    config = (struct config){.storage_key = KEY_A, .storage_previous_keys = KEY_B ", " KEY_A};
    assert_int_equal(keyring_load(&config, &keyring), ERR_OK);
    assert_true(keyring.count == 2 && keyring.seals);
    assert_ptr_equal(keyring_find(&keyring, bytes_of_text(keyring.keys[1].id)), &keyring.keys[1]);
    assert_null(keyring_find(&keyring, BYTES_LITERAL("0123456789abcdef")));
    assert_int_equal(strlen(keyring.keys[0].id), SEAL_ID);
    assert_null(strstr(KEY_A, keyring.keys[0].id)); /* the id is no part of the key */

    config = (struct config){.storage_previous_keys = KEY_B};
    assert_int_equal(keyring_load(&config, &again), ERR_OK);
    assert_true(again.count == 1 && !again.seals);
    assert_string_equal(again.keys[0].id, keyring.keys[1].id);

    char path[64];
    snprintf(path, sizeof path, "/tmp/test_seal.%d", (int)getpid());
    config = (struct config){.storage_key_file = path};
    assert_int_equal(keyring_load(&config, &again), ERR_BAD_REQUEST); /* no such file */
    int file = disk_open(path, DISK_WRITE | DISK_CREATE);
    assert_true(file >= 0);
    assert_int_equal(keyring_load(&config, &again), ERR_BAD_REQUEST); /* nothing in it */
    const char text[] = KEY_A "\n" KEY_B "\r\n";
    assert_int_equal(disk_write(file, text, strlen(text), 0), strlen(text));
    disk_close(file);
    assert_int_equal(keyring_load(&config, &again), ERR_OK);
    assert_int_equal(again.count, 2);
    assert_true(again.seals);
    assert_string_equal(again.keys[0].id, keyring.keys[0].id);
    assert_string_equal(again.keys[1].id, keyring.keys[1].id);
    unlink(path);
}

static void keys_of_another_form_are_refused(void **state)
{
    (void)state;
    struct keyring keyring;
    char many[SEAL_KEYS_MAX * 66 + 80] = "";
    for (int i = 0; i <= SEAL_KEYS_MAX; i++) {
        char one[80];
        snprintf(one, sizeof one, "%064d,", i);
        strcat(many, one);
    }
    const char *wrong[] = {"1234", KEY_A "0", "g" KEY_A, many};
    for (uint32_t i = 0; i < array_count(wrong); i++) {
        struct config config = {.storage_previous_keys = wrong[i]};
        assert_int_equal(keyring_load(&config, &keyring), ERR_BAD_REQUEST);
    }
    many[SEAL_KEYS_MAX * 65] = 0; /* as many as there is room for */
    struct config config = {.storage_previous_keys = many};
    assert_int_equal(keyring_load(&config, &keyring), ERR_OK);
    assert_int_equal(keyring.count, SEAL_KEYS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_sealed_comes_back_and_shows_nothing),
        cmocka_unit_test(plain_records_are_read_where_they_stand),
        cmocka_unit_test(nothing_opens_that_was_changed),
        cmocka_unit_test(an_opener_keeps_the_seals_it_met_last),
        cmocka_unit_test(a_seal_is_of_one_key_one_salt_and_one_log),
        cmocka_unit_test(keys_come_from_options_or_a_file),
        cmocka_unit_test(keys_of_another_form_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
