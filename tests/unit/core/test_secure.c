/*
 * secure: a client session against a session of proto/tls.h in memory: whom it
 * trusts and whom not, records cut at every byte, bytes that are no TLS.
 */
#include "core/secure.h"

#include "unit/proto/tls_peer.h"

static struct pair ecdsa, other;
static struct tls_shared *shared;

static int setup(void **state)
{
    (void)state;
    ecdsa = pair_ecdsa();
    other = pair_rsa(2048);
    shared = tls_shared_create();
    return 0;
}
static int teardown(void **state)
{
    (void)state;
    pair_free(&ecdsa);
    pair_free(&other);
    tls_shared_destroy(shared);
    return 0;
}

/* Both ends and what they said. */
struct talk {
    struct tls_context *context;
    struct tls_session *server;
    struct secure_context *trust;
    struct secure *client;
    uint8_t plain[TLS_RECORD_MAX];
    enum secure_result result; /* of the client's last read */
    size_t heard;              /* bytes that the client opened */
    bool is_done;              /* the server's handshake */
};

static struct talk *talk_new(const struct secure_options *options, const char *name)
{
    struct talk *talk = calloc(1, sizeof *talk);
    char why[SECURE_WHY_MAX];
    talk->context = context_of(&ecdsa, shared);
    talk->server = tls_session_create(talk->context);
    assert_int_equal(secure_context_create(options, &talk->trust, why), ERR_OK);
    talk->client = secure_create(talk->trust, name);
    assert_non_null(talk->client);
    assert_false(secure_is_open(talk->client));
    return talk;
}

static void talk_free(struct talk *talk)
{
    secure_destroy(talk->client);
    secure_context_destroy(talk->trust);
    tls_session_destroy(talk->server);
    tls_context_unref(talk->context);
    free(talk);
}

/* The server takes what the client sends. */
static bool server_hears(struct talk *talk)
{
    size_t size = secure_output_size(talk->client);
    if (size == 0) return false;
    uint8_t *bytes = malloc(size);
    secure_output_take(talk->client, bytes);
    struct bytes input = bytes_of(bytes, size);
    if (!talk->is_done) talk->is_done = tls_handshake(talk->server, &input) == TLS_DONE;
    free(bytes);
    return true;
}

/* The client takes what the server sends, and `plain` behind it, `step` bytes at a time. */
static bool client_hears(struct talk *talk, struct bytes plain, size_t step)
{
    size_t most = tls_seal_bound(talk->server, plain.size), size;
    uint8_t *bytes = malloc(most + 1);
    struct writer out = writer_of(bytes, most);
    assert_true(tls_seal(talk->server, plain, &out));
    for (size_t at = 0; at < out.used; at += step) {
        size_t count = min_u64(step, out.used - at);
        secure_take(talk->client, bytes_of(bytes + at, count));
        do {
            talk->result = secure_read(talk->client, talk->plain, sizeof talk->plain, &size);
            for (size_t i = 0; i < size; i++) assert_int_equal(talk->plain[i], 'x');
            talk->heard += size;
        } while (talk->result == SECURE_READ);
    }
    free(bytes);
    return out.used > 0;
}

static void talk_shake(struct talk *talk, size_t step)
{
    bool goes_on = true;
    while (goes_on && talk->result != SECURE_FAILED) {
        goes_on = server_hears(talk);
        goes_on = client_hears(talk, BYTES_NONE, step) || goes_on;
    }
}

/* --- cases ----------------------------------------------------------------------------------- */

static void words_pass_however_they_are_cut(void **state)
{
    (void)state;
    static uint8_t text[40000];
    memset(text, 'x', sizeof text);
    for (size_t step = 1; step < 5000; step = step * 3 + 1) {
        struct talk *talk = talk_new(&(struct secure_options){.ca = ecdsa.cert_pem}, "localhost");
        talk_shake(talk, step);
        assert_true(talk->is_done && secure_is_open(talk->client));
        client_hears(talk, bytes_of(text, sizeof text), step);
        assert_int_equal(talk->heard, sizeof text);
        assert_true(secure_write(talk->client, bytes_of(text, 20000)));
        size_t size = secure_output_size(talk->client), used = 0, opened;
        uint8_t *bytes = malloc(size);
        secure_output_take(talk->client, bytes);
        struct bytes input = bytes_of(bytes, size);
        while (tls_open(talk->server, &input, talk->plain, sizeof talk->plain, &opened) == TLS_DONE)
            used += opened;
        assert_int_equal(used, 20000);
        assert_int_equal(secure_output_size(talk->client), 0);
        free(bytes);
        tls_goodbye(talk->server);
        client_hears(talk, BYTES_NONE, step);
        assert_int_equal(talk->result, SECURE_ENDED);
        talk_free(talk);
    }
}

static void only_the_right_certificate_is_trusted(void **state)
{
    (void)state;
    static const struct {
        bool is_other, takes_any, is_open;
        const char *name, *says;
    } rows[] = {
        {false, false, true, "localhost", ""},
        {false, false, false, "redis.test", "hostname mismatch"},
        {false, false, false, "127.0.0.1", "IP address mismatch"},
        {true, false, false, "localhost", "self-signed"},
        {true, true, true, "localhost", ""},
        {false, true, true, "redis.test", ""},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct secure_options options = {.ca = rows[i].is_other ? other.cert_pem : ecdsa.cert_pem,
                                         .takes_any = rows[i].takes_any};
        struct talk *talk = talk_new(&options, rows[i].name);
        talk_shake(talk, 100000);
        assert_int_equal(secure_is_open(talk->client), rows[i].is_open);
        if (!rows[i].is_open) {
            size_t size;
            assert_int_equal(talk->result, SECURE_FAILED);
            assert_non_null(strstr(secure_failure(talk->client), rows[i].says));
            assert_int_equal(secure_read(talk->client, talk->plain, 1, &size), SECURE_FAILED);
            secure_take(talk->client, BYTES_LITERAL("more"));
        }
        talk_free(talk);
    }
}

static void what_is_no_tls_fails(void **state)
{
    (void)state;
    static const char *const texts[] = {"-NOAUTH Authentication required.\r\n",
                                        "\x17\x03\x03\x00\x01\x00", "HTTP/1.1 400 Bad Request\r\n"};
    for (size_t i = 0; i < array_count(texts); i++) {
        struct talk *talk = talk_new(&(struct secure_options){.ca = ecdsa.cert_pem}, "localhost");
        size_t size;
        secure_take(talk->client, bytes_of(texts[i], i == 1 ? 6 : strlen(texts[i])));
        assert_int_equal(secure_read(talk->client, talk->plain, sizeof talk->plain, &size),
                         SECURE_FAILED);
        assert_true(strlen(secure_failure(talk->client)) > 5);
        talk_free(talk);
    }
}

static void a_flipped_bit_ends_it(void **state)
{
    (void)state;
    struct talk *talk = talk_new(&(struct secure_options){.ca = ecdsa.cert_pem}, "localhost");
    talk_shake(talk, 100000);
    uint8_t bytes[256];
    size_t size;
    struct writer out = writer_of(bytes, sizeof bytes);
    assert_true(tls_seal(talk->server, BYTES_LITERAL("xxxx"), &out));
    bytes[out.used - 1] ^= 1;
    secure_take(talk->client, bytes_of(bytes, out.used));
    assert_int_equal(secure_read(talk->client, talk->plain, sizeof talk->plain, &size),
                     SECURE_FAILED);
    talk_free(talk);
}

static void texts_that_do_not_serve_are_refused(void **state)
{
    (void)state;
    struct bytes junk =
        BYTES_LITERAL("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n");
    const struct {
        struct secure_options options;
        const char *says;
    } rows[] = {
        {{.ca = junk}, "trusted certificates hold none"},
        {{.ca = ecdsa.cert_pem, .cert = ecdsa.cert_pem}, "only the certificate"},
        {{.ca = ecdsa.cert_pem, .key = ecdsa.key_pem}, "only the key"},
        {{.ca = ecdsa.cert_pem, .cert = junk, .key = ecdsa.key_pem}, "certificate does not serve"},
        {{.ca = ecdsa.cert_pem, .cert = ecdsa.cert_pem, .key = junk}, "none in PEM form"},
        {{.ca = ecdsa.cert_pem, .cert = ecdsa.cert_pem, .key = other.key_pem}, "is not the one"},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct secure_context *context;
        char why[SECURE_WHY_MAX];
        assert_int_equal(secure_context_create(&rows[i].options, &context, why), ERR_BAD_REQUEST);
        assert_non_null(strstr(why, rows[i].says));
    }
    struct secure_context *context;
    char why[SECURE_WHY_MAX];
    struct secure_options fine = {.cert = ecdsa.cert_pem, .key = ecdsa.key_pem};
    assert_int_equal(secure_context_create(&fine, &context, why), ERR_OK);
    secure_context_destroy(context);
    secure_context_destroy(NULL);
    secure_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_pass_however_they_are_cut),
        cmocka_unit_test(only_the_right_certificate_is_trusted),
        cmocka_unit_test(what_is_no_tls_fails),
        cmocka_unit_test(a_flipped_bit_ends_it),
        cmocka_unit_test(texts_that_do_not_serve_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
