/*
 * tls_context: a certificate, what is offered with it, and the tickets.
 *
 * Tickets (RFC 5077 section 4): AES-256-CBC under HMAC-SHA256, three keys: the one
 * that seals, and those before it, which still open.  A ticket names its
 * certificate: after a reload with another one it opens nothing, and clients
 * shake hands in full and see the new one.
 */
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/crypt.h"
#include "core/entropy.h"
#include "core/mem.h"
#include "proto/tls_parts.h"

/* AEAD with ephemeral keys (RFC 9325 section 4.2).  The order is ours, but a client
 * that puts ChaCha20 first has no AES instructions and gets it. */
#define SUITES_12                                                                                  \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                                   \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"                                   \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define SUITES_13 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS    "X25519:P-256:P-384"

/* A key seals for this long and opens for twice as long again, so a ticket opens
 * for as long as it says. */
#define TICKET_KEY_S (4 * 3600u)
#define TICKET_S     (8 * 3600L)

/* --- tickets ------------------------------------------------------------------ */

static uint64_t now_s(void)
{
    return clock_mono_ns() / 1000000000u + 1;
}

static void ticket_key_draw(struct ticket_key *key)
{
    entropy_fill(key->name, sizeof key->name);
    entropy_fill(key->aes, sizeof key->aes);
    entropy_fill(key->mac, sizeof key->mac);
    key->from_s = now_s();
}

struct tls_shared *tls_shared_create(void)
{
    struct tls_shared *shared = mem_alloc(sizeof *shared);
    shared->bio_method = tls_bio_method();
    ticket_key_draw(&shared->keys[0]);
    return shared;
}

void tls_shared_destroy(struct tls_shared *shared)
{
    if (shared == NULL) return;
    BIO_meth_free(shared->bio_method);
    crypt_wipe(shared, sizeof *shared);
    mem_free(shared);
}

/* Moves the keys on when the newest has sealed for long enough. */
static void tickets_rotate(struct tls_shared *shared)
{
    if (now_s() < shared->keys[0].from_s + TICKET_KEY_S) return;
    memmove(&shared->keys[1], &shared->keys[0], sizeof shared->keys - sizeof shared->keys[0]);
    ticket_key_draw(&shared->keys[0]);
}

static bool ticket_mac(EVP_MAC_CTX *mac, struct ticket_key *key)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac, sizeof key->mac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* Answers as SSL_CTX_set_tlsext_ticket_key_evp_cb(3) asks: 1 fine, 2 fine and wants
 * a new ticket, 0 no such key, -1 failed. */
int tls_on_ticket(SSL *ssl, uint8_t *name, uint8_t *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                  int is_sealing)
{
    struct tls_shared *shared = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    tickets_rotate(shared);
    if (is_sealing) {
        struct ticket_key *key = &shared->keys[0];
        entropy_fill(iv, 16);
        memcpy(name, key->name, sizeof key->name);
        bool is_set = EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->aes, iv) == 1;
        return is_set && ticket_mac(mac, key) ? 1 : -1;
    }
    for (uint32_t i = 0; i < TICKET_KEYS; i++) {
        struct ticket_key *key = &shared->keys[i];
        if (key->from_s == 0 || memcmp(name, key->name, sizeof key->name) != 0) continue;
        if (now_s() >= key->from_s + 3 * TICKET_KEY_S) return 0; /* a quiet night passed */
        bool is_set = EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->aes, iv) == 1;
        if (!is_set || !ticket_mac(mac, key)) return -1;
        /* RFC 8446 section C.4: a ticket is used once. */
        return i > 0 || SSL_version(ssl) == TLS1_3_VERSION ? 2 : 1;
    }
    return 0;
}

/* --- what is offered ---------------------------------------------------------- */

/* RFC 7301: of what the client offers we speak "http/1.1" alone. */
static int on_alpn(SSL *ssl, const unsigned char **chosen, unsigned char *chosen_size,
                   const unsigned char *offered, unsigned offered_size, void *context)
{
    (void)ssl;
    (void)context;
    struct reader reader = reader_of(bytes_of(offered, offered_size));
    while (reader.left > 0) {
        struct bytes name = read_bytes(&reader, read_u8(&reader));
        if (reader.failed) break;
        if (!bytes_equal_text(name, "http/1.1")) continue;
        *chosen = name.at;
        *chosen_size = (unsigned char)name.size;
        return SSL_TLSEXT_ERR_OK;
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static bool ctx_offer(SSL_CTX *ctx, struct tls_shared *shared)
{
    SSL_CTX_set_app_data(ctx, shared);
    char groups[] = GROUPS; /* OpenSSL's macro takes the const away */
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_timeout(ctx, TICKET_S);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
    return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) == 1 &&
           SSL_CTX_set_cipher_list(ctx, SUITES_12) == 1 &&
           SSL_CTX_set_ciphersuites(ctx, SUITES_13) == 1 &&
           SSL_CTX_set1_groups_list(ctx, groups) == 1 && SSL_CTX_set_num_tickets(ctx, 1) == 1 &&
           SSL_CTX_set_max_early_data(ctx, 0) == 1 &&
           SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, tls_on_ticket) == 1;
}

/* --- certificate and key ------------------------------------------------------- */

static BIO *bio_over(struct bytes text)
{
    check(text.size <= INT32_MAX);
    return BIO_new_mem_buf(text.size > 0 ? (const void *)text.at : "", (int)text.size);
}

static int no_passphrase(char *buffer, int size, int is_writing, void *context)
{
    (void)buffer;
    (void)size;
    (void)is_writing;
    (void)context;
    return -1;
}

static const char *last_reason(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    return reason != NULL ? reason : "unknown";
}

/* The session id context is the certificate's digest: a ticket of another one is
 * not resumed. */
static bool ctx_bind(SSL_CTX *ctx, X509 *cert)
{
    uint8_t digest[32];
    unsigned size = 0;
    return X509_digest(cert, EVP_sha256(), digest, &size) == 1 &&
           SSL_CTX_set_session_id_context(ctx, digest, size) == 1;
}

/* The certificate and those that signed it; false with `why`. */
static bool ctx_take_cert(SSL_CTX *ctx, struct bytes text, char why[TLS_WHY_MAX])
{
    BIO *bio = bio_over(text);
    check(bio != NULL);
    X509 *cert = PEM_read_bio_X509_AUX(bio, NULL, no_passphrase, NULL);
    bool is_fine = false;
    if (cert == NULL)
        snprintf(why, TLS_WHY_MAX,
                 "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)");
    else if (SSL_CTX_use_certificate(ctx, cert) != 1 || !ctx_bind(ctx, cert))
        snprintf(
            why, TLS_WHY_MAX,
            "the certificate does not serve (%s); take ECDSA P-256 or RSA of 2048 bits or more",
            last_reason());
    else
        is_fine = true;
    X509_free(cert);
    for (X509 *link; is_fine && (link = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL)) != NULL;)
        if (SSL_CTX_add0_chain_cert(ctx, link) != 1) {
            snprintf(why, TLS_WHY_MAX, "a certificate of the chain does not serve (%s)",
                     last_reason());
            X509_free(link);
            is_fine = false;
        }
    BIO_free(bio);
    ERR_clear_error(); /* the chain's end is told as an error */
    return is_fine;
}

static enum tls_fault ctx_take_key(SSL_CTX *ctx, struct bytes text, char why[TLS_WHY_MAX])
{
    BIO *bio = bio_over(text);
    check(bio != NULL);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    enum tls_fault fault = TLS_FAULT_NONE;
    if (key == NULL) {
        fault = TLS_FAULT_KEY;
        snprintf(
            why, TLS_WHY_MAX,
            "holds no private key in PEM form without a passphrase (-----BEGIN PRIVATE KEY-----)");
    } else if (SSL_CTX_use_PrivateKey(ctx, key) != 1 || SSL_CTX_check_private_key(ctx) != 1) {
        fault = TLS_FAULT_PAIR;
        snprintf(why, TLS_WHY_MAX,
                 "is not the key of the certificate (%s); give the key that the certificate was "
                 "requested with",
                 last_reason());
    }
    EVP_PKEY_free(key);
    BIO_free(bio);
    ERR_clear_error();
    return fault;
}

enum err tls_context_create(struct bytes cert, struct bytes key, struct tls_shared *shared,
                            struct tls_context **context, enum tls_fault *fault,
                            char why[TLS_WHY_MAX])
{
    check(shared != NULL);
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    *fault = TLS_FAULT_NONE;
    if (ctx == NULL || !ctx_offer(ctx, shared)) {
        snprintf(why, TLS_WHY_MAX, "OpenSSL cannot serve TLS here (%s)", last_reason());
        *fault = TLS_FAULT_CERT;
        SSL_CTX_free(ctx);
        return ERR_UNSUPPORTED;
    }
    if (!ctx_take_cert(ctx, cert, why))
        *fault = TLS_FAULT_CERT;
    else
        *fault = ctx_take_key(ctx, key, why);
    if (*fault != TLS_FAULT_NONE) {
        SSL_CTX_free(ctx);
        return ERR_BAD_REQUEST;
    }
    *context = (struct tls_context *)ctx;
    return ERR_OK;
}

struct tls_context *tls_context_ref(struct tls_context *context)
{
    int counted = SSL_CTX_up_ref(tls_ctx(context));
    check(counted == 1);
    return context;
}

void tls_context_unref(struct tls_context *context)
{
    SSL_CTX_free(tls_ctx(context));
}

bool tls_context_is_expired(struct tls_context *context, char date[32])
{
    const ASN1_TIME *until = X509_get0_notAfter(SSL_CTX_get0_certificate(tls_ctx(context)));
    BIO *bio = BIO_new(BIO_s_mem());
    check(bio != NULL);
    ASN1_TIME_print(bio, until);
    int size = BIO_read(bio, date, 31);
    date[size > 0 ? size : 0] = '\0';
    BIO_free(bio);
    return X509_cmp_current_time(until) < 0;
}
