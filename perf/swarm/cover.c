/* cover: an SSL between two memory buffers. */
#include "cover.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

struct cover_context {
    SSL_CTX *ctx;
    SSL_SESSION *ticket;
    bool resumes;
};

struct cover {
    SSL *ssl;
    BIO *in, *out;
};

static int on_ticket(SSL *ssl, SSL_SESSION *ticket)
{
    struct cover_context *context = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    SSL_SESSION_free(context->ticket);
    context->ticket = ticket;
    return 1; /* it is ours now */
}

struct cover_context *cover_context_create(bool resumes)
{
    struct cover_context *context = calloc(1, sizeof *context);
    context->resumes = resumes;
    context->ctx = SSL_CTX_new(TLS_client_method());
    if (context->ctx == NULL) abort();
    SSL_CTX_set_verify(context->ctx, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_mode(context->ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_app_data(context->ctx, context);
    if (resumes) {
        SSL_CTX_set_session_cache_mode(context->ctx,
                                       SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(context->ctx, on_ticket);
    }
    return context;
}

bool cover_context_is_warm(const struct cover_context *context)
{
    return !context->resumes || context->ticket != NULL;
}

struct cover *cover_create(struct cover_context *context)
{
    struct cover *cover = calloc(1, sizeof *cover);
    cover->ssl = SSL_new(context->ctx);
    cover->in = BIO_new(BIO_s_mem());
    cover->out = BIO_new(BIO_s_mem());
    if (cover->ssl == NULL || cover->in == NULL || cover->out == NULL) abort();
    SSL_set_bio(cover->ssl, cover->in, cover->out);
    SSL_set_connect_state(cover->ssl);
    if (context->ticket != NULL) SSL_set_session(cover->ssl, context->ticket);
    return cover;
}

void cover_free(struct cover *cover)
{
    if (cover == NULL) return;
    SSL_free(cover->ssl);
    free(cover);
}

static void take_out(struct cover *cover, struct text *out)
{
    for (size_t waiting; (waiting = BIO_ctrl_pending(cover->out)) > 0;) {
        int got = BIO_read(cover->out, text_room(out, (uint32_t)waiting), (int)waiting);
        if (got <= 0) return;
        out->used += (uint32_t)got;
    }
}

void cover_begin(struct cover *cover, struct text *out)
{
    (void)SSL_do_handshake(cover->ssl);
    take_out(cover, out);
}

bool cover_take(struct cover *cover, const char *data, uint32_t size, struct text *plain,
                struct text *out)
{
    ERR_clear_error();
    if (BIO_write(cover->in, data, (int)size) != (int)size) abort();
    int got;
    do {
        got = SSL_read(cover->ssl, text_room(plain, 16384), 16384);
        if (got > 0) plain->used += (uint32_t)got;
    } while (got > 0);
    int error = SSL_get_error(cover->ssl, got);
    take_out(cover, out);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

bool cover_is_open(const struct cover *cover)
{
    return SSL_is_init_finished(cover->ssl) == 1;
}

bool cover_is_resumed(const struct cover *cover)
{
    return SSL_session_reused(cover->ssl) == 1;
}

void cover_seal(struct cover *cover, const char *plain, uint32_t size, struct text *out)
{
    if (size > 0 && SSL_write(cover->ssl, plain, (int)size) != (int)size) abort();
    take_out(cover, out);
}

const char *cover_failure(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    return reason != NULL ? reason : "the server ended it";
}
