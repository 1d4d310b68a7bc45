/*
 * letter: what is packed is what is read, for every kind, with random fields.
 * The letters are drafts of a mesh of one shard, posted and brought home so
 * that the mesh's own census is clean at the end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/arena.h"
#include "core/loop.h"
#include "core/rng.h"
#include "shards/letter_members.h"
#include "shards/letter_receipt.h"

static void take(void *shard, struct letter *letter)
{
    (void)shard;
    (void)letter;
}

static struct letter_handlers quiet_table[LETTER_KIND_COUNT];
static struct mesh *mesh;
static struct post *office;
static struct loop *loop;
static struct arena arena;
static struct rng rng;
static uint8_t noise[4096];

static int set_up(void **state)
{
    (void)state;
    for (int i = 0; i < LETTER_KIND_COUNT; i++)
        quiet_table[i] = (struct letter_handlers){"quiet", take, NULL};
    mesh = mesh_create(1, quiet_table, LETTER_KIND_COUNT, 64);
    struct loop_options options = {.socks_max = 16,
                                   .recv_buffers = 16,
                                   .recv_buffer_size = 512,
                                   .sq_entries = 16,
                                   .cq_entries = 64};
    assert_int_equal(loop_create(&options, &loop), ERR_OK);
    office = mesh_open(mesh, 0, NULL, loop);
    arena_init(&arena, 1 << 16);
    rng_seed(&rng, 7);
    for (size_t i = 0; i < sizeof noise; i++) noise[i] = (uint8_t)rng_next(&rng);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    while (mesh_letters_out(office) > 0) {
        mesh_flush(office);
        mesh_read(office, 64);
    }
    arena_fini(&arena);
    mesh_destroy(mesh);
    loop_destroy(loop);
    return 0;
}

static struct bytes some(size_t most)
{
    size_t size = rng_below(&rng, most + 1);
    return bytes_of(noise + rng_below(&rng, sizeof noise - most), size);
}

static struct handle some_handle(void)
{
    return (struct handle){(uint32_t)rng_next(&rng), (uint32_t)rng_next(&rng)};
}

static void assert_same(struct bytes a, struct bytes b)
{
    assert_true(bytes_equal(a, b));
}

static struct publication some_publication(void)
{
    struct publication p = {
        .offset = rng_next(&rng), .time_ms = rng_next(&rng), .data = some(600), .tags = some(20)};
    p.has_info = rng_chance(&rng, 50);
    if (p.has_info) {
        memcpy(p.client, noise, 16);
        p.user = some(255);
        p.conn_info = some(50);
        p.chan_info = some(50);
    }
    return p;
}

static void assert_same_publication(const struct publication *a, const struct publication *b)
{
    assert_true(a->offset == b->offset && a->time_ms == b->time_ms && a->has_info == b->has_info);
    assert_same(a->data, b->data);
    assert_same(a->tags, b->tags);
    if (!a->has_info) return;
    assert_memory_equal(a->client, b->client, 16);
    assert_same(a->user, b->user);
    assert_same(a->conn_info, b->conn_info);
    assert_same(a->chan_info, b->chan_info);
}

static struct letter_subscribe some_subscribe(void)
{
    struct letter_subscribe out = {
        .call = some_handle(),
        .hub = some_handle(),
        .channel = some(255),
        .epoch = some(23),
        .offset = rng_next(&rng),
        .recover = rng_chance(&rng, 50),
        .reject_unrecovered = rng_chance(&rng, 50),
        .is_cache = rng_chance(&rng, 50),
        .has_presence = rng_chance(&rng, 50),
        .tells_joins = rng_chance(&rng, 50),
        .hears_joins = rng_chance(&rng, 50),
    };
    if (!out.has_presence && !out.tells_joins) return out; /* nobody is told who it is */
    out.client[15] = (uint8_t)rng_next(&rng);
    out.user = some(255);
    out.conn_info = some(400);
    out.chan_info = some(400);
    return out;
}

static void assert_same_subscribe(const struct letter_subscribe *a,
                                  const struct letter_subscribe *b)
{
    assert_memory_equal(&a->call, &b->call, sizeof a->call);
    assert_memory_equal(&a->hub, &b->hub, sizeof a->hub);
    assert_same(a->channel, b->channel);
    assert_same(a->epoch, b->epoch);
    assert_true(a->offset == b->offset && a->recover == b->recover);
    assert_true(a->reject_unrecovered == b->reject_unrecovered && a->is_cache == b->is_cache);
    assert_true(a->has_presence == b->has_presence && a->tells_joins == b->tells_joins);
    assert_true(a->hears_joins == b->hears_joins);
    assert_memory_equal(a->client, b->client, 16);
    assert_same(a->user, b->user);
    assert_same(a->conn_info, b->conn_info);
    assert_same(a->chan_info, b->chan_info);
}

static void questions_come_back_as_they_were(void **state)
{
    (void)state;
    for (int round = 0; round < 200; round++) {
        struct letter_subscribe s = some_subscribe(), s2;
        struct letter *letter = letter_pack_subscribe(office, 0, &s);
        letter_read_subscribe(letter, &s2);
        assert_same_subscribe(&s, &s2);
        letter_post(office, letter);

        struct letter_leave l = {.hub = s.hub,
                                 .channel = s.channel,
                                 .has_presence = s.has_presence,
                                 .tells_joins = s.tells_joins,
                                 .hears_joins = s.hears_joins},
                            l2;
        memcpy(l.client, s.client, sizeof l.client);
        letter = letter_pack_leave(office, 0, &l);
        letter_read_leave(letter, &l2);
        assert_memory_equal(&l.hub, &l2.hub, sizeof l.hub);
        assert_same(l.channel, l2.channel);
        assert_true(l.has_presence == l2.has_presence && l.tells_joins == l2.tells_joins);
        assert_true(l.hears_joins == l2.hears_joins);
        assert_memory_equal(l.client, l2.client, sizeof l.client);
        letter_post(office, letter);

        struct letter_ask k = {.call = s.call, .channel = s.channel}, k2;
        letter = letter_pack_ask(office, 0, LETTER_PRESENCE, &k);
        letter_read_ask(letter, &k2);
        assert_memory_equal(&k.call, &k2.call, sizeof k.call);
        assert_same(k.channel, k2.channel);
        letter_post(office, letter);

        struct letter_publish p = {some_handle(),       some(255),          some(10),
                                   some(255),           some_publication(), rng_chance(&rng, 50),
                                   rng_chance(&rng, 50)},
                              p2;
        letter = letter_pack_publish(office, 0, &p);
        letter_read_publish(letter, &p2);
        assert_same(p.channel, p2.channel);
        assert_same(p.scope, p2.scope);
        assert_same(p.key, p2.key);
        assert_int_equal(p.is_live_only, p2.is_live_only);
        assert_int_equal(p.is_head, p2.is_head);
        assert_same_publication(&p.publication, &p2.publication);
        letter_post(office, letter);

        struct letter_history h = {some_handle(),
                                   some(255),
                                   some(23),
                                   rng_next(&rng),
                                   (uint32_t)rng_next(&rng),
                                   rng_chance(&rng, 50),
                                   some(255)},
                              h2;
        letter = letter_pack_history(office, 0, &h);
        letter_read_history(letter, &h2);
        assert_same(h.channel, h2.channel);
        assert_same(h.since_epoch, h2.since_epoch);
        assert_same(h.user, h2.user);
        assert_true(h.since == h2.since && h.limit == h2.limit && h.is_reverse == h2.is_reverse);
        letter_post(office, letter);
    }
}

static void pages_and_heads_come_back_as_they_were(void **state)
{
    (void)state;
    for (int round = 0; round < 100; round++) {
        struct letter_members_list l = {.call = some_handle(),
                                        .channel = some(255),
                                        .after = rng_next(&rng),
                                        .limit = 1 + (uint32_t)rng_below(&rng, RECEIPT_LIST_MAX)},
                                   l2;
        struct letter *letter = letter_pack_members_list(office, 0, &l);
        letter_read_members_list(letter, &l2);
        assert_same(l.channel, l2.channel);
        assert_true(l.after == l2.after && l.limit == l2.limit);
        letter_post(office, letter);

        struct letter_head e = {.call = some_handle(),
                                .channel = some(255),
                                .seq = rng_next(&rng),
                                .has_seq = rng_below(&rng, 2) != 0},
                           e2;
        letter = letter_pack_head(office, 0, &e);
        letter_read_head(letter, &e2);
        assert_same(e.channel, e2.channel);
        assert_true(e.seq == e2.seq && e.has_seq == e2.has_seq);
        letter_post(office, letter);

        struct letter_message d = {.call = some_handle(),
                                   .channel = some(255),
                                   .offset = rng_next(&rng),
                                   .epoch = some(EPOCH_MAX)},
                              d2;
        letter = letter_pack_message_delete(office, 0, &d);
        letter_read_message_delete(letter, &d2);
        assert_same(d.channel, d2.channel);
        assert_same(d.epoch, d2.epoch);
        assert_true(d.offset == d2.offset);
        letter_post(office, letter);

        struct letter_policy p = {.call = some_handle(),
                                  .channel = some(255),
                                  .own = (uint32_t)rng_next(&rng),
                                  .is_set = true},
                             p2;
        letter = letter_pack_policy(office, 0, &p);
        letter_read_policy(letter, &p2);
        assert_same(p.channel, p2.channel);
        assert_true(p.own == p2.own && p.is_set == p2.is_set);
        letter_post(office, letter);
        arena_reset(&arena);
    }
}

static void members_and_receipts_come_back_as_they_were(void **state)
{
    (void)state;
    for (int round = 0; round < 100; round++) {
        struct bytes users[50];
        struct member_join joins[50];
        struct letter_members m = {.call = some_handle(),
                                   .channel = some(255),
                                   .kind = (uint8_t)rng_below(&rng, 3),
                                   .users = users,
                                   .joins = rng_below(&rng, 2) != 0 ? joins : NULL,
                                   .count = (uint32_t)rng_below(&rng, 51)},
                              m2;
        for (uint32_t i = 0; i < m.count; i++) {
            users[i] = some(255);
            joins[i] = (struct member_join){rng_next(&rng), rng_next(&rng)};
        }
        struct letter *letter = letter_pack_members(office, 0, &m);
        letter_read_members(letter, &arena, &m2);
        assert_same(m.channel, m2.channel);
        assert_true(m.kind == m2.kind && m.count == m2.count);
        assert_true((m.joins == NULL) == (m2.joins == NULL));
        for (uint32_t i = 0; i < m.count; i++) assert_same(m.users[i], m2.users[i]);
        if (m.joins != NULL) assert_memory_equal(m.joins, m2.joins, m.count * sizeof m.joins[0]);
        letter_post(office, letter);

        uint64_t offsets[RECEIPT_BATCH_MAX];
        struct letter_receipt c = {.call = some_handle(),
                                   .verb = (uint8_t)rng_below(&rng, RECEIPT_VERB_COUNT),
                                   .is_hidden = rng_below(&rng, 2) != 0,
                                   .is_seq = rng_below(&rng, 2) != 0,
                                   .offset = rng_next(&rng),
                                   .limit = (uint32_t)rng_next(&rng),
                                   .channel = some(255),
                                   .user = some(255),
                                   .after = rng_next(&rng),
                                   .offsets = offsets},
                              c2;
        memset(c.client, round, sizeof c.client);
        c.offsets_count = (uint32_t)rng_below(&rng, RECEIPT_BATCH_MAX + 1);
        for (uint32_t i = 0; i < c.offsets_count; i++) offsets[i] = rng_next(&rng);
        letter = letter_pack_receipt(office, 0, &c);
        letter_read_receipt(letter, &arena, &c2);
        assert_int_equal(c.verb, c2.verb);
        assert_int_equal(c.is_hidden, c2.is_hidden);
        assert_int_equal(c.is_seq, c2.is_seq);
        assert_int_equal(c.offset, c2.offset);
        assert_int_equal(c.limit, c2.limit);
        assert_same(c.channel, c2.channel);
        assert_same(c.user, c2.user);
        assert_int_equal(c.after, c2.after);
        assert_memory_equal(c.client, c2.client, sizeof c.client);
        assert_int_equal(c.offsets_count, c2.offsets_count);
        assert_memory_equal(c.offsets, c2.offsets, c.offsets_count * sizeof c.offsets[0]);
        letter_post(office, letter);

        struct letter_receipt_states s = {some_handle(), some(255), users, m.count}, s2;
        letter = letter_pack_receipt_states(office, 0, &s);
        letter_read_receipt_states(letter, &arena, &s2);
        assert_same(s.user, s2.user);
        assert_int_equal(s.channels_count, s2.channels_count);
        for (uint32_t i = 0; i < s.channels_count; i++) assert_same(s.channels[i], s2.channels[i]);
        letter_post(office, letter);
        arena_reset(&arena);
    }
}

static void answers_come_back_as_they_were(void **state)
{
    (void)state;
    for (int round = 0; round < 200; round++) {
        struct publication publications[20];
        uint32_t readers[5] = {1, 2, 3, 4, 5}, eligible[5] = {9, 8, 7, 6, 5};
        struct metrics metrics = {{0}};
        metrics.values[3] = 77;
        struct answer a =
                          {
                              .call = some_handle(),
                              .err = (enum err)rng_below(&rng, ERR_COUNT),
                              .epoch = some(23),
                              .offset = rng_next(&rng),
                              .is_repeat = rng_chance(&rng, 50),
                              .recovered = rng_chance(&rng, 50),
                              .was_recovering = rng_chance(&rng, 50),
                              .is_recoverable = rng_chance(&rng, 50),
                              .publications = publications,
                              .publications_count = (uint32_t)rng_below(&rng, 21),
                              .readers = readers,
                              .eligible = eligible,
                              .counts_count = (uint32_t)rng_below(&rng, 6),
                              .metrics = rng_chance(&rng, 50) ? &metrics : NULL,
                              .clients = 5,
                              .store_ok = true,
                              .store_detail = some(100),
                              .store_lag_bytes = 3,
                          },
                      b;
        for (uint32_t i = 0; i < a.publications_count; i++) publications[i] = some_publication();
        struct letter *letter = letter_pack_answer(office, 0, &a);
        letter_read_answer(letter, &arena, &b);
        assert_true(a.err == b.err && a.offset == b.offset && a.is_repeat == b.is_repeat);
        assert_true(a.recovered == b.recovered && a.was_recovering == b.was_recovering &&
                    a.is_recoverable == b.is_recoverable);
        assert_same(a.epoch, b.epoch);
        assert_int_equal(a.publications_count, b.publications_count);
        for (uint32_t i = 0; i < a.publications_count; i++)
            assert_same_publication(&a.publications[i], &b.publications[i]);
        assert_int_equal(a.counts_count, b.counts_count);
        assert_memory_equal(a.readers, b.readers, 4 * a.counts_count);
        assert_memory_equal(a.eligible, b.eligible, 4 * a.counts_count);
        assert_int_equal(a.metrics != NULL, b.metrics != NULL);
        if (a.metrics != NULL) {
            assert_int_equal(b.metrics->values[3], 77);
            assert_int_equal(b.clients, 5);
            assert_same(a.store_detail, b.store_detail);
        }
        letter_post(office, letter);
        arena_reset(&arena);
    }
}

/* A window's records travel as they stand and arrive behind what the store gave. */
static void records_come_back_as_publications(void **state)
{
    (void)state;
    for (int round = 0; round < 200; round++) {
        struct publication all[12];
        struct bytes records[12];
        uint32_t count = (uint32_t)rng_below(&rng, 13),
                 stored = (uint32_t)rng_below(&rng, count + 1);
        for (uint32_t i = 0; i < count; i++) {
            all[i] = some_publication();
            size_t size = publication_size(&all[i]);
            struct writer writer = writer_of(arena_get(&arena, size), size);
            publication_write(&writer, &all[i]);
            records[i] = writer_bytes(&writer);
        }
        struct answer a = {.call = some_handle(),
                           .publications = all,
                           .publications_count = stored,
                           .records = records + stored,
                           .records_count = count - stored},
                      b;
        struct letter *letter = letter_pack_answer(office, 0, &a);
        letter_read_answer(letter, &arena, &b);
        assert_int_equal(b.publications_count, count);
        assert_int_equal(b.records_count, 0);
        for (uint32_t i = 0; i < count; i++) assert_same_publication(&all[i], &b.publications[i]);
        letter_post(office, letter);
        arena_reset(&arena);
    }
}

static void lists_come_back_as_they_were(void **state)
{
    (void)state;
    for (int round = 0; round < 200; round++) {
        struct wire_info infos[8];
        struct channel_row rows[8];
        struct answer a = {.call = some_handle(),
                           .infos = infos,
                           .infos_count = (uint32_t)rng_below(&rng, 9),
                           .clients_count = (uint32_t)rng_next(&rng),
                           .users_count = (uint32_t)rng_next(&rng),
                           .rows = rows,
                           .rows_count = (uint32_t)rng_below(&rng, 9)},
                      b;
        for (uint32_t i = 0; i < 8; i++) {
            infos[i] = (struct wire_info){
                .user = some(255), .conn_info = some(400), .chan_info = some(400)};
            infos[i].client[i] = (uint8_t)rng_next(&rng);
            rows[i] = (struct channel_row){some(255), (uint32_t)rng_next(&rng)};
        }
        struct letter *letter = letter_pack_answer(office, 0, &a);
        letter_read_answer(letter, &arena, &b);
        assert_true(a.clients_count == b.clients_count && a.users_count == b.users_count);
        assert_int_equal(a.infos_count, b.infos_count);
        for (uint32_t i = 0; i < a.infos_count; i++) {
            assert_memory_equal(infos[i].client, b.infos[i].client, 16);
            assert_same(infos[i].user, b.infos[i].user);
            assert_same(infos[i].conn_info, b.infos[i].conn_info);
            assert_same(infos[i].chan_info, b.infos[i].chan_info);
        }
        assert_int_equal(a.rows_count, b.rows_count);
        for (uint32_t i = 0; i < a.rows_count; i++) {
            assert_same(rows[i].name, b.rows[i].name);
            assert_int_equal(rows[i].clients, b.rows[i].clients);
        }
        letter_post(office, letter);
        arena_reset(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(questions_come_back_as_they_were, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pages_and_heads_come_back_as_they_were, set_up, tear_down),
        cmocka_unit_test_setup_teardown(members_and_receipts_come_back_as_they_were, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(answers_come_back_as_they_were, set_up, tear_down),
        cmocka_unit_test_setup_teardown(records_come_back_as_publications, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lists_come_back_as_they_were, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
