/* A trusted certificate, our own and its key are given as files or as PEM texts. */
#include "storage/redis/wrap.h"

#include <errno.h>
#include <stdio.h>

#include "core/check.h"
#include "core/crypt.h"
#include "core/disk.h"
#include "core/log.h"
#include "core/mem.h"

/* The most that one record of TLS carries. */
#define PLAIN_MAX    16384
/* All certificates that a machine trusts have a quarter of it. */
#define PEM_SIZE_MAX (1u << 20)

/* --- the context ------------------------------------------------------------------------------ */

struct pem {
    const char *option;
    const char *value; /* of the option */
    char *text;        /* owned, or NULL */
    size_t size;
};

static enum err pem_load(struct pem *pem)
{
    if (pem->value[0] == 0) return ERR_OK;
    if (strstr(pem->value, "-----BEGIN ") != NULL) {
        pem->size = strlen(pem->value);
        pem->text = mem_text(pem->value, pem->size);
        return ERR_OK;
    }
    int file = disk_open(pem->value, DISK_READ);
    int64_t size = file;
    if (file >= 0) {
        pem->text = mem_alloc(PEM_SIZE_MAX + 1);
        size = disk_read(file, pem->text, PEM_SIZE_MAX + 1, 0);
        disk_close(file);
    }
    if (size < 0) {
        /* Not the value: it may be a secret that lost its first line. */
        log_error("%s cannot be read: %s; give a file that the gateway may read, or PEM text",
                  pem->option, strerror((int)-size));
        return ERR_BAD_REQUEST;
    }
    if (size > PEM_SIZE_MAX) {
        log_error("%s is larger than 1 MiB, so it is no certificate or key", pem->option);
        return ERR_BAD_REQUEST;
    }
    pem->size = (size_t)size;
    return ERR_OK;
}

static void pem_free(struct pem *pem)
{
    if (pem->text == NULL) return;
    crypt_wipe(pem->text, pem->size);
    mem_free(pem->text);
}

enum err wrap_context(const struct config *config, struct secure_context **context)
{
    struct pem ca = {"redis.tls.server_ca_pem", config->redis_tls_server_ca_pem, NULL, 0};
    struct pem cert = {"redis.tls.cert_pem", config->redis_tls_cert_pem, NULL, 0};
    struct pem key = {"redis.tls.key_pem", config->redis_tls_key_pem, NULL, 0};
    char why[SECURE_WHY_MAX];
    *context = NULL;
    if (!config->redis_tls_enabled) return ERR_OK;
    enum err err = pem_load(&ca);
    if (err == ERR_OK) err = pem_load(&cert);
    if (err == ERR_OK) err = pem_load(&key);
    if (err == ERR_OK) {
        struct secure_options options = {bytes_of(ca.text, ca.size), bytes_of(cert.text, cert.size),
                                         bytes_of(key.text, key.size),
                                         config->redis_tls_insecure_skip_verify};
        err = secure_context_create(&options, context, why);
        if (err != ERR_OK) log_error("redis.tls cannot be used: %s", why);
    }
    if (err == ERR_OK && config->redis_tls_insecure_skip_verify)
        log_warn("redis.tls.insecure_skip_verify is set: whoever can redirect the connection to "
                 "Redis reads and changes everything");
    pem_free(&ca);
    pem_free(&cert);
    pem_free(&key);
    return err;
}

/* --- the bytes -------------------------------------------------------------------------------- */

/* "host:port", "host", "[::1]:port" or "::1" without brackets and port. */
static void host_of(const struct redis_place *place, char *host, size_t size)
{
    const char *text = place->text;
    const char *bracket = strchr(text, ']');
    const char *first = strchr(text, ':'), *last = strrchr(text, ':');
    size_t length = strlen(text);
    if (text[0] == '[' && bracket != NULL) {
        length = (size_t)(bracket - ++text);
    } else if (first != NULL && first == last) {
        length = (size_t)(first - text);
    }
    snprintf(host, size, "%.*s", (int)length, text);
}

bool wrap_begin(struct wrap *wrap, const struct redis_options *options,
                const struct redis_place *place)
{
    char host[sizeof place->text];
    check(wrap->secure == NULL && wrap->sealed.used == 0);
    wrap->is_begun = true;
    if (options->secure == NULL) return true;
    host_of(place, host, sizeof host);
    bool has_name = options->server_name[0] != 0;
    wrap->secure = secure_create(options->secure, has_name ? options->server_name : host);
    return wrap->secure != NULL;
}

void wrap_end(struct wrap *wrap)
{
    secure_destroy(wrap->secure);
    resp_fini(&wrap->sealed);
    *wrap = (struct wrap){0};
}

struct bytes wrap_seal(struct wrap *wrap, struct resp_out *out)
{
    if (!wrap_is_on(wrap)) return bytes_of(out->at, out->used);
    check(wrap->sealed.used == 0);
    bool is_open = secure_is_open(wrap->secure);
    /* A session that cannot seal any more is found broken by the next read. */
    bool is_sealed = is_open && secure_write(wrap->secure, bytes_of(out->at, out->used));
    if (is_sealed) resp_clear(out);
    size_t size = secure_output_size(wrap->secure);
    if (size > 0) secure_output_take(wrap->secure, resp_extend(&wrap->sealed, size));
    return bytes_of(wrap->sealed.at, wrap->sealed.used);
}

enum secure_result wrap_open(struct wrap *wrap, struct bytes input,
                             bool (*hear)(void *context, struct bytes plain), void *context,
                             const struct redis_place *place, char problem[HELLO_PROBLEM_MAX])
{
    uint8_t plain[PLAIN_MAX];
    enum secure_result result;
    size_t size;
    if (!wrap->has_heard && input.size > 0) wrap->first = input.at[0];
    wrap->has_heard = wrap->has_heard || input.size > 0;
    if (!wrap_is_on(wrap)) {
        hear(context, input);
        return SECURE_MORE;
    }
    secure_take(wrap->secure, input);
    do {
        result = secure_read(wrap->secure, plain, sizeof plain, &size);
        if (result == SECURE_READ && !hear(context, bytes_of(plain, size))) return SECURE_MORE;
    } while (result == SECURE_READ);
    if (result == SECURE_FAILED && strchr("+-:$*", wrap->first) != NULL)
        snprintf(problem, HELLO_PROBLEM_MAX,
                 "the server at %s speaks no TLS; set redis.tls.enabled to false, or give its port "
                 "for TLS",
                 place->text);
    else if (result == SECURE_FAILED)
        snprintf(problem, HELLO_PROBLEM_MAX, "TLS with Redis at %s failed: %s; see redis.tls",
                 place->text, secure_failure(wrap->secure));
    return result;
}

void wrap_clear(struct wrap *wrap)
{
    resp_clear(&wrap->sealed);
}

/* RFC 8446 5.1: the types of the records that begin an answer, alert and handshake. */
static bool is_tls(uint8_t first)
{
    return first == 21 || first == 22;
}

/* What it is, by what came or did not; NULL: only the error tells. */
static const char *reason_of(const struct wrap *wrap, int error)
{
    bool is_late = error == ETIMEDOUT;
    if (wrap_is_on(wrap) && !wrap->has_heard)
        return is_late ? "takes the connection and answers no TLS: it hangs, or that is a port "
                         "without TLS; see redis.tls.enabled"
                       : "closes the connection at the first word of TLS; if that is a port "
                         "without TLS, set redis.tls.enabled to false";
    if (!wrap_is_on(wrap) && wrap->has_heard && is_tls(wrap->first))
        return "speaks TLS; set redis.tls.enabled to true, or give its port without TLS";
    if (is_late)
        return "answers nothing, though the connection stands: it hangs, is stopped or "
               "overloaded, or the network loses what is sent";
    if (!wrap->has_heard)
        return "closes the connection at the first word; if that is a port for TLS, set "
               "redis.tls.enabled to true";
    return error == EPROTO ? "does not speak the Redis protocol" : NULL;
}

void wrap_tell(const struct wrap *wrap, const struct redis_place *place, const char *what,
               int error, char problem[HELLO_PROBLEM_MAX])
{
    const char *reason = wrap->is_begun ? reason_of(wrap, error) : NULL;
    if (reason != NULL)
        snprintf(problem, HELLO_PROBLEM_MAX, "the server at %s %s", place->text, reason);
    else
        snprintf(problem, HELLO_PROBLEM_MAX, "%s at %s: %s", what, place->text,
                 error == 0 ? "it closed the connection" : strerror(error));
}
