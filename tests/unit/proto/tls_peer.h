/*
 * tls_peer: certificates made on the spot, and a client of TLS in memory that
 * exchanges records with a session under test.
 *
 * Thread:  one; each test program has its own copy.
 */
#pragma once

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proto/tls.h"

/* --- certificates --- */

struct pair {
    EVP_PKEY *key;
    struct bytes cert_pem, key_pem; /* owned */
};

static struct bytes bio_taken(BIO *bio)
{
    char *at;
    long size = BIO_get_mem_data(bio, &at);
    uint8_t *copy = malloc((size_t)size + 1);
    memcpy(copy, at, (size_t)size);
    copy[size] = 0;
    BIO_free(bio);
    return bytes_of(copy, (size_t)size);
}

/* A self-signed certificate that ends `days` from now. */
static struct pair pair_make(EVP_PKEY *key, int days)
{
    struct pair pair = {.key = key};
    X509 *cert = X509_new();
    static long serial = 1;
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), serial++);
    X509_gmtime_adj(X509_getm_notBefore(cert), -86400L * 30);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400L * days);
    X509_set_pubkey(cert, key);
    X509_NAME *name = X509_get_subject_name(cert);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1,
                               0);
    X509_set_issuer_name(cert, name);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, cert);
    pair.cert_pem = bio_taken(bio);
    bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
    pair.key_pem = bio_taken(bio);
    X509_free(cert);
    return pair;
}

static inline struct pair pair_ecdsa(void)
{
    return pair_make(EVP_EC_gen("P-256"), 30);
}
static inline struct pair pair_rsa(unsigned bits)
{
    return pair_make(EVP_RSA_gen(bits), 30);
}
static inline void pair_free(struct pair *pair)
{
    EVP_PKEY_free(pair->key);
    free((void *)(uintptr_t)pair->cert_pem.at);
    free((void *)(uintptr_t)pair->key_pem.at);
}

static inline struct tls_context *context_of(const struct pair *pair, struct tls_shared *shared)
{
    struct tls_context *context;
    enum tls_fault fault;
    char why[TLS_WHY_MAX];
    assert_int_equal(
        tls_context_create(pair->cert_pem, pair->key_pem, shared, &context, &fault, why), ERR_OK);
    return context;
}

/* --- a client --- */

struct peer {
    SSL_CTX *ctx;
    SSL *ssl;
    BIO *in, *out; /* the SSL's */
    SSL_SESSION *ticket;
};

static int peer_on_ticket(SSL *ssl, SSL_SESSION *session)
{
    struct peer *peer = SSL_get_app_data(ssl);
    SSL_SESSION_free(peer->ticket);
    peer->ticket = session;
    return 1;
}

static inline struct peer *peer_new(int version)
{
    struct peer *peer = calloc(1, sizeof *peer);
    peer->ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_security_level(peer->ctx, 0);
    SSL_CTX_set_min_proto_version(peer->ctx, version);
    SSL_CTX_set_max_proto_version(peer->ctx, version);
    SSL_CTX_set_session_cache_mode(peer->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(peer->ctx, peer_on_ticket);
    return peer;
}

/* A new connection of the same client, with the ticket it has. */
static inline void peer_connect(struct peer *peer)
{
    /* OpenSSL spoils the ticket of a connection that is freed without a goodbye. */
    if (peer->ssl != NULL) SSL_set_shutdown(peer->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(peer->ssl);
    peer->ssl = SSL_new(peer->ctx);
    peer->in = BIO_new(BIO_s_mem());
    peer->out = BIO_new(BIO_s_mem());
    SSL_set_bio(peer->ssl, peer->in, peer->out);
    SSL_set_app_data(peer->ssl, peer);
    SSL_set_connect_state(peer->ssl);
    if (peer->ticket != NULL) SSL_set_session(peer->ssl, peer->ticket);
}

static inline void peer_free(struct peer *peer)
{
    SSL_SESSION_free(peer->ticket);
    SSL_free(peer->ssl);
    SSL_CTX_free(peer->ctx);
    free(peer);
    ERR_clear_error();
}

/* What the client wants to send, at most `max` bytes of it. */
static inline struct bytes peer_take(struct peer *peer, uint8_t *room, size_t max)
{
    int got = BIO_read(peer->out, room, (int)max);
    return bytes_of(room, got > 0 ? (size_t)got : 0);
}

/* Hands over what the session has to say; returns its size. */
static inline size_t session_speak(struct tls_session *session, struct peer *peer,
                                   struct bytes plain)
{
    size_t bound = tls_seal_bound(session, plain.size);
    uint8_t *room = malloc(bound + 1);
    struct writer writer = writer_of(room, bound);
    assert_true(tls_seal(session, plain, &writer));
    assert_false(tls_has_output(session));
    if (writer.used > 0) BIO_write(peer->in, room, (int)writer.used);
    free(room);
    return writer.used;
}

/* Shakes hands, `step` bytes of the client at a time; how the session's side ended.
 * TLS_MORE: the client gave up. */
static inline enum tls_result shake(struct peer *peer, struct tls_session *session, size_t step)
{
    uint8_t room[4096];
    bool is_done = false;
    for (int i = 0; i < 20000; i++) {
        int returned = is_done && SSL_is_init_finished(peer->ssl) ? 1 : SSL_do_handshake(peer->ssl);
        ERR_clear_error();
        struct bytes input = peer_take(peer, room, step < sizeof room ? step : sizeof room);
        if (input.size == 0) return is_done && returned == 1 ? TLS_DONE : TLS_MORE;
        if (is_done) continue; /* bytes behind the handshake are the test's */
        enum tls_result result = tls_handshake(session, &input);
        (void)session_speak(session, peer, BYTES_NONE);
        if (result == TLS_FAILED) {
            (void)SSL_do_handshake(peer->ssl); /* hears the alert */
            return result;
        }
        is_done = result == TLS_DONE;
    }
    return TLS_MORE;
}
