/* A session is an SSL between two memory buffers.  Links are few and their bytes
 * are batches, so the copy through a buffer is not what they cost. */
#include "core/secure.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "core/check.h"
#include "core/mem.h"

struct secure_context {
    SSL_CTX *ctx;
};

struct secure {
    SSL *ssl;
    BIO *in, *out; /* owned by ssl */
    bool is_failed;
    char failure[SECURE_WHY_MAX];
};

static const char *last_reason(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    return reason != NULL ? reason : "no reason given";
}

/* --- the context ------------------------------------------------------------------------------ */

/* Nobody is asked on the terminal. */
static int no_passphrase(char *buffer, int size, int is_writing, void *context)
{
    (void)buffer, (void)size, (void)is_writing, (void)context;
    return -1;
}

static BIO *bio_over(struct bytes text)
{
    check(text.size <= INT32_MAX);
    BIO *bio = BIO_new_mem_buf(text.at, (int)text.size);
    check(bio != NULL);
    return bio;
}

static bool take_ca(SSL_CTX *ctx, struct bytes text, char why[SECURE_WHY_MAX])
{
    if (text.size == 0) return SSL_CTX_set_default_verify_paths(ctx) == 1;
    BIO *bio = bio_over(text);
    uint32_t count = 0;
    X509 *cert;
    while ((cert = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL)) != NULL) {
        count += X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), cert) == 1;
        X509_free(cert);
    }
    BIO_free(bio);
    ERR_clear_error(); /* the end of the text is told as an error */
    if (count > 0) return true;
    snprintf(why, SECURE_WHY_MAX,
             "the trusted certificates hold none in PEM form (-----BEGIN CERTIFICATE-----)");
    return false;
}

static bool take_cert(SSL_CTX *ctx, struct bytes text, char why[SECURE_WHY_MAX])
{
    BIO *bio = bio_over(text);
    X509 *cert = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL), *link;
    bool is_fine = cert != NULL && SSL_CTX_use_certificate(ctx, cert) == 1;
    X509_free(cert);
    while (is_fine && (link = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL)) != NULL) {
        is_fine = SSL_CTX_add0_chain_cert(ctx, link) == 1;
        if (!is_fine) X509_free(link);
    }
    if (!is_fine)
        snprintf(why, SECURE_WHY_MAX, "our certificate does not serve (%s); give it in PEM form",
                 last_reason());
    BIO_free(bio);
    ERR_clear_error();
    return is_fine;
}

static bool take_key(SSL_CTX *ctx, struct bytes text, char why[SECURE_WHY_MAX])
{
    BIO *bio = bio_over(text);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    bool is_key = key != NULL;
    bool is_fine =
        is_key && SSL_CTX_use_PrivateKey(ctx, key) == 1 && SSL_CTX_check_private_key(ctx) == 1;
    if (!is_fine)
        snprintf(why, SECURE_WHY_MAX, "%s",
                 is_key ? "our private key is not the one of our certificate"
                        : "our private key is none in PEM form without a passphrase");
    EVP_PKEY_free(key);
    BIO_free(bio);
    ERR_clear_error();
    return is_fine;
}

static bool ctx_set(SSL_CTX *ctx, const struct secure_options *options, char why[SECURE_WHY_MAX])
{
    bool has_cert = options->cert.size > 0, has_key = options->key.size > 0;
    bool is_set = SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1;
    /* Each link is one connection for hours: nothing is gained by resuming, and
     * nothing of another moment's trust is carried over. */
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_verify(ctx, options->takes_any ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    snprintf(why, SECURE_WHY_MAX, "OpenSSL cannot speak TLS here (%s)", last_reason());
    if (!is_set) return false;
    if (has_cert != has_key) {
        snprintf(why, SECURE_WHY_MAX, "our certificate and its private key go together: %s is set",
                 has_cert ? "only the certificate" : "only the key");
        return false;
    }
    if (!options->takes_any && !take_ca(ctx, options->ca, why)) return false;
    return !has_cert || (take_cert(ctx, options->cert, why) && take_key(ctx, options->key, why));
}

enum err secure_context_create(const struct secure_options *options,
                               struct secure_context **context, char why[SECURE_WHY_MAX])
{
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    check(ctx != NULL);
    if (!ctx_set(ctx, options, why)) {
        SSL_CTX_free(ctx);
        return ERR_BAD_REQUEST;
    }
    *context = mem_alloc(sizeof **context);
    (*context)->ctx = ctx;
    return ERR_OK;
}

void secure_context_destroy(struct secure_context *context)
{
    if (context == NULL) return;
    SSL_CTX_free(context->ctx);
    mem_free(context);
}

/* --- the session ------------------------------------------------------------------------------ */

static bool is_address(const char *name)
{
    uint8_t address[16];
    return inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
}

/* An address is looked for among the certificate's addresses and is not sent. */
static bool expect_name(SSL *ssl, const char *name)
{
    if (is_address(name)) return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    /* The macro SSL_set_tlsext_host_name casts `const` away; OpenSSL copies the name. */
    return SSL_set1_host(ssl, name) == 1 &&
           SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                    (void *)(uintptr_t)name) == 1;
}

struct secure *secure_create(struct secure_context *context, const char *name)
{
    SSL *ssl = SSL_new(context->ctx);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    if (ssl == NULL || in == NULL || out == NULL || !expect_name(ssl, name)) {
        SSL_free(ssl);
        BIO_free(in);
        BIO_free(out);
        return NULL;
    }
    BIO_set_mem_eof_return(in, -1); /* empty means: not yet */
    SSL_set_bio(ssl, in, out);
    SSL_set_connect_state(ssl);
    struct secure *secure = mem_alloc(sizeof *secure);
    *secure = (struct secure){.ssl = ssl, .in = in, .out = out, .failure = "it has not failed"};
    size_t size;
    enum secure_result result = secure_read(secure, NULL, 0, &size); /* our hello */
    check(result == SECURE_MORE);
    return secure;
}

void secure_destroy(struct secure *secure)
{
    if (secure == NULL) return;
    SSL_free(secure->ssl);
    mem_free(secure);
}

static enum secure_result secure_fail(struct secure *secure)
{
    long verdict = SSL_get_verify_result(secure->ssl);
    secure->is_failed = true;
    if (verdict != X509_V_OK) {
        snprintf(secure->failure, sizeof secure->failure,
                 "the server's certificate is not trusted: %s",
                 X509_verify_cert_error_string(verdict));
    } else {
        snprintf(secure->failure, sizeof secure->failure, "%s", last_reason());
    }
    ERR_clear_error();
    return SECURE_FAILED;
}

/* What OpenSSL made of a call that did not succeed. */
static enum secure_result secure_judge(struct secure *secure, int result)
{
    switch (SSL_get_error(secure->ssl, result)) {
    case SSL_ERROR_WANT_READ: return SECURE_MORE;
    case SSL_ERROR_ZERO_RETURN: return SECURE_ENDED;
    default: return secure_fail(secure);
    }
}

void secure_take(struct secure *secure, struct bytes input)
{
    check(input.size <= INT32_MAX);
    if (input.size == 0 || secure->is_failed) return;
    int taken = BIO_write(secure->in, input.at, (int)input.size);
    check(taken == (int)input.size);
}

enum secure_result secure_read(struct secure *secure, uint8_t *plain, size_t room, size_t *size)
{
    *size = 0;
    if (secure->is_failed) return SECURE_FAILED;
    ERR_clear_error();
    if (!SSL_is_init_finished(secure->ssl)) {
        int result = SSL_do_handshake(secure->ssl);
        if (result != 1) return secure_judge(secure, result);
    }
    int result = SSL_read_ex(secure->ssl, plain, room, size);
    return result == 1 ? SECURE_READ : secure_judge(secure, result);
}

bool secure_is_open(const struct secure *secure)
{
    return !secure->is_failed && SSL_is_init_finished(secure->ssl) == 1;
}

bool secure_write(struct secure *secure, struct bytes plain)
{
    size_t written;
    check(secure_is_open(secure));
    if (plain.size == 0) return true;
    ERR_clear_error();
    if (SSL_write_ex(secure->ssl, plain.at, plain.size, &written) == 1) return true;
    secure_fail(secure);
    return false;
}

size_t secure_output_size(const struct secure *secure)
{
    return BIO_ctrl_pending(secure->out);
}

void secure_output_take(struct secure *secure, uint8_t *out)
{
    size_t size = secure_output_size(secure);
    check(size <= INT32_MAX);
    if (size == 0) return;
    int taken = BIO_read(secure->out, out, (int)size);
    check(taken == (int)size);
}

const char *secure_failure(const struct secure *secure)
{
    return secure->failure;
}
