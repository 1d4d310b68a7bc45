/*
 * tls: OpenSSL behind one BIO of our own.
 *
 * The BIO reads from the view of the call under way and writes to the caller's
 * buffer while one is given, else to the session's own, so a record is copied
 * once.  OpenSSL takes a record's header and then its body, so bytes behind the
 * last record of a handshake stay with the caller; within a record it keeps what
 * came, so the rest of the input is always taken.
 *
 * A context is OpenSSL's SSL_CTX under another name: it is counted, and the
 * counts are made for threads.
 *
 * Source:  tls.c (sessions), tls_context.c (certificates, what is offered, tickets)
 */
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "core/check.h"
#include "core/mem.h"
#include "proto/tls_parts.h"

/* What may wait to be sent: a flight with a long chain; beyond it the peer plays. */
#define OUTPUT_MAX    (128u << 10)
/* What a handshake may bring: an honest ClientHello has 2 KB at most. */
#define HANDSHAKE_MAX (64u << 10)

struct tls_session {
    SSL *ssl;
    struct bytes *input;   /* of the call under way, or NULL */
    struct writer *target; /* of the call under way, or NULL */
    uint8_t *output;       /* what waits to be sent */
    uint32_t output_size, output_room;
    uint32_t handshake_size; /* bytes that the handshake took */
    bool has_failed, has_parted;
    const char *failure;
};

/* --- the BIO -------------------------------------------------------------- */

static int bio_read(BIO *bio, char *at, size_t size, size_t *got)
{
    struct tls_session *session = BIO_get_data(bio);
    struct bytes *input = session->input;
    BIO_clear_retry_flags(bio);
    *got = 0;
    if (input == NULL || input->size == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    size_t take = size < input->size ? size : input->size;
    memcpy(at, input->at, take);
    input->at += take;
    input->size -= take;
    *got = take;
    return 1;
}

static bool output_keep(struct tls_session *session, const char *at, size_t size)
{
    if (size > OUTPUT_MAX - session->output_size) return false;
    uint32_t need = session->output_size + (uint32_t)size;
    if (need > session->output_room) {
        session->output_room = max_u32(need, 256);
        session->output = mem_resize(session->output, session->output_room);
    }
    memcpy(session->output + session->output_size, at, size);
    session->output_size = need;
    return true;
}

static int bio_write(BIO *bio, const char *at, size_t size, size_t *put)
{
    struct tls_session *session = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    *put = 0;
    if (session->target != NULL) {
        write_bytes(session->target, bytes_of(at, size));
        check(!session->target->failed); /* the bound was asked for */
    } else if (!output_keep(session, at, size)) {
        return 0;
    }
    *put = size;
    return 1;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

BIO_METHOD *tls_bio_method(void)
{
    /* Of a number of its own: BIO_get_new_index has 128 for the life of a process. */
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | 0xff, "sluice");
    check(method != NULL);
    BIO_meth_set_read_ex(method, bio_read);
    BIO_meth_set_write_ex(method, bio_write);
    BIO_meth_set_ctrl(method, bio_control);
    return method;
}

/* --- life ------------------------------------------------------------------ */

struct tls_session *tls_session_create(struct tls_context *context)
{
    check(context != NULL);
    SSL_CTX *ctx = tls_ctx(context);
    const struct tls_shared *shared = SSL_CTX_get_app_data(ctx);
    ERR_clear_error();
    BIO *bio = BIO_new(shared->bio_method);
    SSL *ssl = SSL_new(ctx);
    if (bio == NULL || ssl == NULL) {
        BIO_free(bio);
        SSL_free(ssl);
        return NULL;
    }
    struct tls_session *session = mem_alloc(sizeof *session);
    session->ssl = ssl;
    BIO_set_data(bio, session);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio); /* takes it, once for both ways */
    SSL_set_accept_state(ssl);
    return session;
}

void tls_session_destroy(struct tls_session *session)
{
    if (session == NULL) return;
    SSL_free(session->ssl);
    mem_free(session->output);
    mem_free(session);
}

/* --- in ----------------------------------------------------------------------- */

static enum tls_result fail(struct tls_session *session, const char *failure)
{
    session->has_failed = true;
    session->failure = failure;
    return TLS_FAILED;
}

/* What a call of OpenSSL that did not succeed means. */
static enum tls_result result_of(struct tls_session *session, int returned)
{
    switch (SSL_get_error(session->ssl, returned)) {
    case SSL_ERROR_WANT_READ: return TLS_MORE;
    case SSL_ERROR_ZERO_RETURN: return TLS_ENDED;
    default: break;
    }
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    ERR_clear_error();
    return fail(session, reason != NULL ? reason : "unknown");
}

enum tls_result tls_handshake(struct tls_session *session, struct bytes *input)
{
    check(!session->has_failed);
    check(session->input == NULL && session->target == NULL);
    size_t before = input->size;
    ERR_clear_error();
    session->input = input;
    int returned = SSL_do_handshake(session->ssl);
    session->input = NULL;
    session->handshake_size += (uint32_t)(before - input->size);
    if (returned == 1) return TLS_DONE;
    enum tls_result result = result_of(session, returned);
    if (result == TLS_ENDED) return fail(session, "closed by the peer");
    if (result == TLS_MORE && session->handshake_size > HANDSHAKE_MAX)
        return fail(session, "the handshake is too long");
    check(result != TLS_MORE || input->size == 0);
    return result;
}

enum tls_result tls_open(struct tls_session *session, struct bytes *input, uint8_t *plain,
                         size_t room, size_t *size)
{
    check(!session->has_failed);
    check(session->input == NULL && session->target == NULL);
    check(room >= TLS_RECORD_MAX);
    ERR_clear_error();
    session->input = input;
    int returned = SSL_read_ex(session->ssl, plain, room, size);
    session->input = NULL;
    return returned == 1 ? TLS_DONE : result_of(session, returned);
}

/* --- out ------------------------------------------------------------------------ */

/* Beside the records there may be the answer to a KeyUpdate (RFC 8446 section 4.6.3). */
size_t tls_seal_bound(const struct tls_session *session, size_t size)
{
    size_t records = size / TLS_RECORD_MAX + 2;
    return session->output_size + size + records * TLS_RECORD_OVERHEAD;
}

bool tls_seal(struct tls_session *session, struct bytes plain, struct writer *out)
{
    check(session->input == NULL && session->target == NULL);
    write_bytes(out, bytes_of(session->output, session->output_size));
    check(!out->failed);
    mem_free(session->output);
    session->output = NULL;
    session->output_size = session->output_room = 0;
    if (plain.size == 0) return true;
    if (session->has_failed) return false;
    size_t written = 0;
    ERR_clear_error();
    session->target = out;
    int returned = SSL_write_ex(session->ssl, plain.at, plain.size, &written);
    session->target = NULL;
    if (returned != 1) {
        (void)result_of(session, returned);
        session->has_failed = true;
        return false;
    }
    check(written == plain.size);
    return true;
}

bool tls_has_output(const struct tls_session *session)
{
    return session->output_size > 0;
}

void tls_goodbye(struct tls_session *session)
{
    if (session->has_parted || session->has_failed || !SSL_is_init_finished(session->ssl)) return;
    session->has_parted = true;
    ERR_clear_error();
    (void)SSL_shutdown(session->ssl);
    ERR_clear_error();
}

/* --- looking ---------------------------------------------------------------------- */

bool tls_is_resumed(const struct tls_session *session)
{
    return SSL_session_reused(session->ssl) == 1;
}

const char *tls_version(const struct tls_session *session)
{
    return SSL_get_version(session->ssl);
}

const char *tls_suite(const struct tls_session *session)
{
    return SSL_get_cipher_name(session->ssl);
}

const char *tls_failure(const struct tls_session *session)
{
    return session->failure != NULL ? session->failure : "none";
}

size_t tls_records_whole(struct bytes input)
{
    size_t whole = 0;
    while (input.size - whole >= 5) {
        const uint8_t *record = input.at + whole;
        size_t size = (size_t)record[3] << 8 | record[4];
        if (size > TLS_RECORD_MAX + 256) return input.size;
        if (input.size - whole < 5 + size) break;
        whole += 5 + size;
    }
    return whole;
}

enum tls_hello tls_hello_of(struct bytes input)
{
    if (input.size == 0) return TLS_HELLO_PART;
    uint8_t first = input.at[0];
    if (first >= 'A' && first <= 'Z') return TLS_HELLO_PLAIN;
    /* A record of handshake, of any version 3.x (RFC 8446 section 5.1). */
    if (first != 22 || (input.size > 1 && input.at[1] != 3)) return TLS_HELLO_NOISE;
    return tls_records_whole(input) > 0 ? TLS_HELLO_WHOLE : TLS_HELLO_PART;
}
