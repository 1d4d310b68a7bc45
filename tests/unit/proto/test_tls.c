/*
 * tls: an OpenSSL client in memory against a session: what is offered and what is
 * refused, tickets over contexts, records cut at every byte, bytes that are no TLS.
 */
#include "core/rng.h"
#include "proto/tls_parts.h"
#include "tls_peer.h"

static struct pair ecdsa, rsa;
static struct tls_shared *shared;

static int setup(void **state)
{
    (void)state;
    ecdsa = pair_ecdsa();
    rsa = pair_rsa(2048);
    shared = tls_shared_create();
    return 0;
}
static int teardown(void **state)
{
    (void)state;
    pair_free(&ecdsa);
    pair_free(&rsa);
    tls_shared_destroy(shared);
    return 0;
}

/* The session opens everything the peer sent; expects exactly `text`. */
static void expect_opened(struct tls_session *session, struct peer *peer, struct bytes text,
                          size_t step)
{
    uint8_t *plain = malloc(TLS_RECORD_MAX), *all = malloc(text.size + 1), room[4096];
    size_t used = 0, size;
    for (struct bytes input; (input = peer_take(peer, room, step)).size > 0;)
        for (enum tls_result result;
             (result = tls_open(session, &input, plain, TLS_RECORD_MAX, &size)) != TLS_MORE;) {
            assert_int_equal(result, TLS_DONE);
            assert_true(used + size <= text.size);
            memcpy(all + used, plain, size);
            used += size;
        }
    assert_int_equal(used, text.size);
    assert_memory_equal(all, text.at, text.size);
    free(plain);
    free(all);
}

static void expect_heard(struct peer *peer, struct bytes text)
{
    uint8_t *all = malloc(text.size + 1);
    size_t used = 0, size;
    while (used < text.size && SSL_read_ex(peer->ssl, all + used, text.size - used, &size) == 1)
        used += size;
    assert_int_equal(used, text.size);
    assert_memory_equal(all, text.at, text.size);
    free(all);
}

static void exchange(struct tls_session *session, struct peer *peer, size_t step)
{
    struct bytes hello = BYTES_LITERAL("GET / HTTP/1.1\r\n\r\n"), answer = BYTES_LITERAL("200");
    size_t written;
    assert_int_equal(SSL_write_ex(peer->ssl, hello.at, hello.size, &written), 1);
    expect_opened(session, peer, hello, step);
    (void)session_speak(session, peer, answer);
    expect_heard(peer, answer);
}

static void serves_both_versions_with_both_keys(void **state)
{
    (void)state;
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    const struct pair *pairs[] = {&ecdsa, &rsa};
    for (uint32_t i = 0; i < 4; i++) {
        struct tls_context *context = context_of(pairs[i / 2], shared);
        struct tls_session *session = tls_session_create(context);
        struct peer *peer = peer_new(versions[i % 2]);
        peer_connect(peer);
        assert_int_equal(shake(peer, session, 4096), TLS_DONE);
        assert_false(tls_is_resumed(session));
        assert_string_equal(tls_version(session), i % 2 == 0 ? "TLSv1.2" : "TLSv1.3");
        assert_non_null(strstr(tls_suite(session), "GCM"));
        exchange(session, peer, 4096);
        peer_free(peer);
        tls_session_destroy(session);
        tls_context_unref(context);
    }
}

/* Records of every kind may come in pieces of any size. */
static void bytes_may_come_in_any_pieces(void **state)
{
    (void)state;
    struct tls_context *context = context_of(&ecdsa, shared);
    for (size_t step = 1; step <= 64; step = step < 8 ? step + 1 : step * 2)
        for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
            struct tls_session *session = tls_session_create(context);
            struct peer *peer = peer_new(version);
            peer_connect(peer);
            assert_int_equal(shake(peer, session, step), TLS_DONE);
            exchange(session, peer, step);
            peer_free(peer);
            tls_session_destroy(session);
        }
    tls_context_unref(context);
}

static bool refused(int version, const char *suites, const char *alpn, size_t alpn_size)
{
    struct tls_context *context = context_of(&ecdsa, shared);
    struct tls_session *session = tls_session_create(context);
    struct peer *peer = peer_new(version);
    if (suites != NULL) assert_int_equal(SSL_CTX_set_cipher_list(peer->ctx, suites), 1);
    if (alpn != NULL)
        SSL_CTX_set_alpn_protos(peer->ctx, (const uint8_t *)alpn, (unsigned)alpn_size);
    peer_connect(peer);
    bool is_refused = false;
    if (shake(peer, session, 4096) == TLS_FAILED) {
        assert_true(strlen(tls_failure(session)) > 4);
        is_refused = true;
    } else {
        const unsigned char *chosen;
        unsigned size;
        SSL_get0_alpn_selected(peer->ssl, &chosen, &size);
        if (alpn != NULL) assert_true(bytes_equal_text(bytes_of(chosen, size), "http/1.1"));
    }
    peer_free(peer);
    tls_session_destroy(session);
    tls_context_unref(context);
    return is_refused;
}

static void refuses_old_versions_and_weak_suites(void **state)
{
    (void)state;
    assert_true(refused(TLS1_VERSION, "ALL:@SECLEVEL=0", NULL, 0));
    assert_true(refused(TLS1_1_VERSION, "ALL:@SECLEVEL=0", NULL, 0));
    assert_true(refused(TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA", NULL, 0));
    assert_true(refused(TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA256", NULL, 0));
    assert_true(refused(TLS1_2_VERSION, "AES128-GCM-SHA256", NULL, 0));
    assert_true(refused(TLS1_2_VERSION, "ECDHE-RSA-AES128-GCM-SHA256", NULL, 0)); /* no such key */
    assert_false(refused(TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305", NULL, 0));
    assert_false(refused(TLS1_2_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384", NULL, 0));
}

static void speaks_http_1_1_or_nothing(void **state)
{
    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        assert_false(refused(version, NULL, NULL, 0));
        assert_false(refused(version, NULL, "\x08http/1.1", 9));
        assert_false(refused(version, NULL, "\x02h2\x08http/1.1", 12));
        assert_true(refused(version, NULL, "\x02h2", 3));
        assert_true(refused(version, NULL, "\x02h2\x08http/1.0", 12));
    }
}

/* Shakes hands with the ticket that `peer` has; true when it was taken. */
static bool is_resumed(struct peer *peer, struct tls_context *context)
{
    struct tls_session *session = tls_session_create(context);
    peer_connect(peer);
    assert_int_equal(shake(peer, session, 4096), TLS_DONE);
    exchange(session, peer, 4096);                  /* 1.3: the ticket comes behind the handshake */
    if (SSL_version(peer->ssl) == TLS1_2_VERSION) { /* a renewed ticket is not announced */
        SSL_SESSION_free(peer->ticket);
        peer->ticket = SSL_get1_session(peer->ssl);
    }
    bool is = tls_is_resumed(session);
    assert_int_equal(SSL_session_reused(peer->ssl), is);
    tls_session_destroy(session);
    return is;
}

static void tickets_open_in_every_context_of_the_certificate(void **state)
{
    (void)state;
    struct tls_context *one = context_of(&ecdsa, shared), *other = context_of(&ecdsa, shared);
    struct tls_context *renewed = context_of(&rsa, shared);
    struct tls_shared *stranger = tls_shared_create();
    struct tls_context *elsewhere = context_of(&ecdsa, stranger);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct peer *peer = peer_new(version);
        assert_false(is_resumed(peer, one));
        assert_non_null(peer->ticket);
        assert_true(is_resumed(peer, other));
        assert_true(is_resumed(peer, one));
        assert_false(is_resumed(peer, renewed)); /* clients see the new certificate */
        assert_true(is_resumed(peer, renewed));
        assert_false(is_resumed(peer, elsewhere));
        peer_free(peer);
    }
    tls_context_unref(one);
    tls_context_unref(other);
    tls_context_unref(renewed);
    tls_context_unref(elsewhere);
    tls_shared_destroy(stranger);
}

/* Makes every key older by `seconds`; a key that would seal no more is replaced at
 * the next ticket. */
static void age(struct tls_shared *keys, uint64_t seconds)
{
    for (uint32_t i = 0; i < TICKET_KEYS; i++)
        if (keys->keys[i].from_s != 0) keys->keys[i].from_s -= seconds;
}

static void ticket_keys_are_replaced_and_open_a_while_longer(void **state)
{
    (void)state;
    const uint64_t hours = 3600;
    struct tls_shared *keys = tls_shared_create();
    struct tls_context *context = context_of(&ecdsa, keys);
    struct peer *peer = peer_new(TLS1_2_VERSION);
    struct ticket_key first = keys->keys[0];
    assert_false(is_resumed(peer, context));
    SSL_SESSION *old = peer->ticket;
    SSL_SESSION_up_ref(old);
    age(keys, 4 * hours);
    assert_true(is_resumed(peer, context)); /* and gets a ticket of the new key */
    assert_memory_not_equal(keys->keys[0].name, first.name, sizeof first.name);
    assert_memory_equal(keys->keys[1].name, first.name, sizeof first.name);
    age(keys, 4 * hours);
    assert_true(is_resumed(peer, context));
    age(keys, 4 * hours);
    assert_true(is_resumed(peer, context));
    SSL_SESSION_free(peer->ticket);
    peer->ticket = old;
    assert_false(is_resumed(peer, context)); /* twelve hours: its key is gone */
    age(keys, 13 * hours);
    assert_false(is_resumed(peer, context)); /* a quiet night: nobody replaced it */
    peer_free(peer);
    tls_context_unref(context);
    tls_shared_destroy(keys);
}

static void large_output_is_sealed_in_full_records(void **state)
{
    (void)state;
    enum { SIZE = 5 * TLS_RECORD_MAX - 7 };
    uint8_t *text = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++) text[i] = (uint8_t)(i * 7);
    struct tls_context *context = context_of(&ecdsa, shared);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct tls_session *session = tls_session_create(context);
        struct peer *peer = peer_new(version);
        peer_connect(peer);
        assert_int_equal(shake(peer, session, 4096), TLS_DONE);
        exchange(session, peer, 4096);
        size_t sealed = session_speak(session, peer, bytes_of(text, SIZE));
        assert_true(sealed <= SIZE + 5 * 29); /* five records */
        expect_heard(peer, bytes_of(text, SIZE));
        peer_free(peer);
        tls_session_destroy(session);
    }
    tls_context_unref(context);
    free(text);
}

static void close_notify_goes_both_ways(void **state)
{
    (void)state;
    struct tls_context *context = context_of(&ecdsa, shared);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct tls_session *session = tls_session_create(context);
        struct peer *peer = peer_new(version);
        uint8_t plain[TLS_RECORD_MAX], room[256];
        size_t size;
        tls_goodbye(session); /* before the handshake: nothing to say */
        assert_false(tls_has_output(session));
        peer_connect(peer);
        assert_int_equal(shake(peer, session, 4096), TLS_DONE);
        exchange(session, peer, 4096);
        SSL_shutdown(peer->ssl);
        struct bytes input = peer_take(peer, room, sizeof room);
        assert_int_equal(tls_open(session, &input, plain, sizeof plain, &size), TLS_ENDED);
        (void)session_speak(session, peer, BYTES_LITERAL("late")); /* our direction is open */
        expect_heard(peer, BYTES_LITERAL("late"));
        tls_goodbye(session);
        tls_goodbye(session);
        assert_true(session_speak(session, peer, BYTES_NONE) > 0);
        assert_int_equal(SSL_read_ex(peer->ssl, plain, sizeof plain, &size), 0);
        assert_int_equal(SSL_get_error(peer->ssl, 0), SSL_ERROR_ZERO_RETURN);
        peer_free(peer);
        tls_session_destroy(session);
    }
    tls_context_unref(context);
}

static void key_updates_are_answered_and_renegotiation_is_not(void **state)
{
    (void)state;
    struct tls_context *context = context_of(&ecdsa, shared);
    struct tls_session *session = tls_session_create(context);
    struct peer *peer = peer_new(TLS1_3_VERSION);
    peer_connect(peer);
    assert_int_equal(shake(peer, session, 4096), TLS_DONE);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(SSL_key_update(peer->ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        exchange(session, peer, 3);
    }
    tls_session_destroy(session);
    peer_free(peer);

    session = tls_session_create(context);
    peer = peer_new(TLS1_2_VERSION);
    peer_connect(peer);
    assert_int_equal(shake(peer, session, 4096), TLS_DONE);
    uint8_t plain[TLS_RECORD_MAX], room[4096];
    size_t size;
    assert_int_equal(SSL_renegotiate(peer->ssl), 1);
    (void)SSL_do_handshake(peer->ssl);
    struct bytes input = peer_take(peer, room, sizeof room);
    assert_true(input.size > 0);
    assert_int_equal(tls_open(session, &input, plain, sizeof plain, &size), TLS_MORE);
    assert_true(tls_has_output(session)); /* no_renegotiation */
    peer_free(peer);
    tls_session_destroy(session);
    tls_context_unref(context);
}

/* A ClientHello with any byte changed, and plain noise: an answer, never harm. */
static void damaged_bytes_do_no_harm(void **state)
{
    (void)state;
    struct tls_context *context = context_of(&ecdsa, shared);
    struct rng rng;
    rng_seed(&rng, 20261121);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct peer *peer = peer_new(version);
        uint8_t hello[4096], copy[4096];
        peer_connect(peer);
        (void)SSL_do_handshake(peer->ssl);
        struct bytes whole = peer_take(peer, hello, sizeof hello);
        for (size_t at = 0; at < whole.size; at++) {
            memcpy(copy, hello, whole.size);
            copy[at] ^= (uint8_t)(1 + rng_below(&rng, 255));
            struct tls_session *session = tls_session_create(context);
            struct bytes input = bytes_of(copy, whole.size);
            (void)tls_handshake(session, &input);
            tls_session_destroy(session);
        }
        peer_free(peer);
    }
    for (int i = 0; i < 200; i++) {
        uint8_t noise[600];
        for (size_t k = 0; k < sizeof noise; k++) noise[k] = (uint8_t)rng_next(&rng);
        if (i % 2) memcpy(noise, "\x16\x03\x01\x01\x00\x01\x00\x00\xfc", 9);
        struct tls_session *session = tls_session_create(context);
        struct bytes input = bytes_of(noise, sizeof noise);
        (void)tls_handshake(session, &input);
        tls_session_destroy(session);
    }
    tls_context_unref(context);
    ERR_clear_error();
}

/* Every record of data with any byte changed is refused with an alert. */
static void damaged_records_end_the_session(void **state)
{
    (void)state;
    struct tls_context *context = context_of(&ecdsa, shared);
    for (size_t at = 5; at < 40; at++) {
        struct tls_session *session = tls_session_create(context);
        struct peer *peer = peer_new(at % 2 ? TLS1_3_VERSION : TLS1_2_VERSION);
        uint8_t room[256], plain[TLS_RECORD_MAX];
        size_t size;
        peer_connect(peer);
        assert_int_equal(shake(peer, session, 4096), TLS_DONE);
        SSL_write_ex(peer->ssl, "sixteen bytes...", 16, &size);
        struct bytes input = peer_take(peer, room, sizeof room);
        if (at < input.size) {
            room[at] ^= 1;
            enum tls_result result = tls_open(session, &input, plain, sizeof plain, &size);
            assert_int_equal(result, TLS_FAILED);
            assert_true(tls_has_output(session));
            uint8_t out[512];
            struct writer writer = writer_of(out, sizeof out);
            assert_false(tls_seal(session, BYTES_LITERAL("more"), &writer));
            tls_goodbye(session);
            assert_false(tls_has_output(session));
        }
        peer_free(peer);
        tls_session_destroy(session);
    }
    tls_context_unref(context);
}

static void first_bytes_tell_what_it_is(void **state)
{
    (void)state;
    uint8_t record[9] = {22, 3, 1, 0, 4, 1, 2, 3, 4};
    for (size_t size = 0; size < sizeof record; size++)
        assert_int_equal(tls_hello_of(bytes_of(record, size)), TLS_HELLO_PART);
    assert_int_equal(tls_hello_of(bytes_of(record, sizeof record)), TLS_HELLO_WHOLE);
    uint8_t two[18];
    memcpy(two, record, 9);
    memcpy(two + 9, record, 9);
    for (size_t size = 0; size <= sizeof two; size++)
        assert_int_equal(tls_records_whole(bytes_of(two, size)), size / 9 * 9);
    two[12] = 0xff;
    assert_int_equal(tls_records_whole(bytes_of(two, 15)), 15);
    record[3] = 0x48; /* longer than any record: to be told so at once */
    assert_int_equal(tls_hello_of(bytes_of(record, sizeof record)), TLS_HELLO_WHOLE);
    assert_int_equal(tls_hello_of(BYTES_LITERAL("GET / HTTP/1.1\r\n")), TLS_HELLO_PLAIN);
    assert_int_equal(tls_hello_of(BYTES_LITERAL("P")), TLS_HELLO_PLAIN);
    assert_int_equal(tls_hello_of(BYTES_LITERAL("\x16\x02\x01")), TLS_HELLO_NOISE);
    assert_int_equal(tls_hello_of(BYTES_LITERAL("\x80\x2e\x01")), TLS_HELLO_NOISE); /* SSL 2 */
    assert_int_equal(tls_hello_of(BYTES_LITERAL("\x17\x03\x03")), TLS_HELLO_NOISE);
}

static void bad_certificates_are_told_apart(void **state)
{
    (void)state;
    struct tls_context *context;
    enum tls_fault fault;
    char why[TLS_WHY_MAX], date[32];
    struct pair weak = pair_rsa(1024), late = pair_make(EVP_EC_gen("P-256"), -1);
    struct {
        struct bytes cert, key;
        enum tls_fault fault;
        const char *why;
    } rows[] = {
        {BYTES_NONE, ecdsa.key_pem, TLS_FAULT_CERT, "holds no certificate"},
        {ecdsa.key_pem, ecdsa.key_pem, TLS_FAULT_CERT, "holds no certificate"},
        {BYTES_LITERAL("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
         ecdsa.key_pem, TLS_FAULT_CERT, "holds no certificate"},
        {weak.cert_pem, weak.key_pem, TLS_FAULT_CERT, "RSA of 2048"},
        {ecdsa.cert_pem, ecdsa.cert_pem, TLS_FAULT_KEY, "holds no private key"},
        {ecdsa.cert_pem, rsa.key_pem, TLS_FAULT_PAIR, "not the key of the certificate"},
        {late.cert_pem, ecdsa.key_pem, TLS_FAULT_PAIR, "not the key of the certificate"},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        assert_int_equal(
            tls_context_create(rows[i].cert, rows[i].key, shared, &context, &fault, why),
            ERR_BAD_REQUEST);
        assert_int_equal(fault, rows[i].fault);
        assert_non_null(strstr(why, rows[i].why));
    }
    context = context_of(&late, shared);
    assert_true(tls_context_is_expired(context, date));
    tls_context_unref(context);
    context = context_of(&ecdsa, shared);
    assert_false(tls_context_is_expired(context, date));
    tls_context_unref(context);
    pair_free(&weak);
    pair_free(&late);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(serves_both_versions_with_both_keys),
        cmocka_unit_test(bytes_may_come_in_any_pieces),
        cmocka_unit_test(refuses_old_versions_and_weak_suites),
        cmocka_unit_test(speaks_http_1_1_or_nothing),
        cmocka_unit_test(tickets_open_in_every_context_of_the_certificate),
        cmocka_unit_test(ticket_keys_are_replaced_and_open_a_while_longer),
        cmocka_unit_test(large_output_is_sealed_in_full_records),
        cmocka_unit_test(close_notify_goes_both_ways),
        cmocka_unit_test(key_updates_are_answered_and_renegotiation_is_not),
        cmocka_unit_test(damaged_bytes_do_no_harm),
        cmocka_unit_test(damaged_records_end_the_session),
        cmocka_unit_test(first_bytes_tell_what_it_is),
        cmocka_unit_test(bad_certificates_are_told_apart),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
