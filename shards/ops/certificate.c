/*
 * certificate: files and texts → PEM → a context.
 *
 * What an option holds is decided by looking: PEM names itself, base64 of PEM
 * decodes to it, the rest is a path.  A key that is none of them is not shown in a
 * sentence: it may be a secret that lost its first line.
 */
#include "shards/ops/certificate.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "core/check.h"
#include "core/crypt.h"
#include "core/disk.h"
#include "core/mem.h"

#define CERT_OPTION  "http_server.tls.cert_pem"
#define KEY_OPTION   "http_server.tls.key_pem"
/* A chain of ten certificates has 30 KB. */
#define PEM_SIZE_MAX (1u << 20)
#define SENTENCE_MAX 1024

struct pem {
    const char *option;
    bool is_secret;
    char source[300]; /* " /etc/tls/chat.pem" for sentences; empty: the option itself */
    char *text;       /* owned */
    size_t size;
};

struct loader {
    config_say_fn say;
    void *context;
};

static void say_error(const struct loader *loader, const struct pem *pem, const char *why)
{
    char sentence[SENTENCE_MAX];
    snprintf(sentence, sizeof sentence, "%s:%s %s", pem->option, pem->source, why);
    loader->say(loader->context, CONFIG_SAYS_ERROR, sentence);
}

static bool is_pem(struct bytes text)
{
    return text.size > 0 && memmem(text.at, text.size, "-----BEGIN ", 11) != NULL;
}

/* PEM from its base64; NULL when `value` is something else. */
static char *pem_decoded(const char *value, size_t *size)
{
    size_t length = strlen(value), used = 0;
    char *letters = mem_alloc(length + 1);
    for (size_t i = 0; i < length; i++)
        if (!isspace((unsigned char)value[i])) letters[used++] = value[i];
    char *text = mem_alloc(used + 1);
    enum err err =
        crypt_base64_decode(bytes_of(letters, used), false, (uint8_t *)text, used + 1, size);
    bool is_fine = err == ERR_OK && is_pem(bytes_of(text, *size));
    crypt_wipe(letters, length);
    mem_free(letters);
    if (is_fine) return text;
    crypt_wipe(text, used);
    mem_free(text);
    return NULL;
}

static bool looks_like_path(const char *value)
{
    size_t length = strlen(value);
    if (length == 0 || length > 250 || strpbrk(value, "\n\r") != NULL) return false;
    return value[0] == '/' || value[0] == '.' || strstr(value, ".pem") != NULL ||
           strstr(value, ".key") != NULL || strstr(value, ".crt") != NULL;
}

static bool pem_read_file(const struct loader *loader, struct pem *pem, const char *path)
{
    if (!pem->is_secret || looks_like_path(path))
        snprintf(pem->source, sizeof pem->source, " %.250s:", path);
    int file = disk_open(path, DISK_READ);
    int64_t size = file < 0 ? file : -1;
    if (file >= 0) {
        pem->text = mem_alloc(PEM_SIZE_MAX + 1);
        size = disk_read(file, pem->text, PEM_SIZE_MAX + 1, 0);
        disk_close(file);
    }
    char why[TLS_WHY_MAX];
    if (size < 0) {
        snprintf(
            why, sizeof why,
            "cannot be read: %s; give a file that the gateway may read, PEM text or its base64",
            strerror((int)-size));
        say_error(loader, pem, why);
        return false;
    }
    if (size > PEM_SIZE_MAX) {
        say_error(loader, pem, "is larger than 1 MiB, so it is no certificate or key");
        return false;
    }
    pem->size = (size_t)size;
    return true;
}

static bool pem_load(const struct loader *loader, struct pem *pem, const char *value)
{
    if (value[0] == '\0') {
        say_error(loader, pem,
                  "is not set; http_server.tls.enabled needs a certificate and its key");
        return false;
    }
    if (is_pem(bytes_of_text(value))) {
        pem->size = strlen(value);
        pem->text = mem_text(value, pem->size);
        return true;
    }
    pem->text = pem_decoded(value, &pem->size);
    return pem->text != NULL || pem_read_file(loader, pem, value);
}

static void pem_forget(struct pem *pem)
{
    if (pem->text != NULL) crypt_wipe(pem->text, pem->size);
    mem_free(pem->text);
}

static enum err load_pair(const struct loader *loader, const struct pem *cert,
                          const struct pem *key, struct tls_shared *shared,
                          struct tls_context **out)
{
    enum tls_fault fault;
    char why[TLS_WHY_MAX], date[32];
    enum err err = tls_context_create(bytes_of(cert->text, cert->size),
                                      bytes_of(key->text, key->size), shared, out, &fault, why);
    if (err != ERR_OK) {
        say_error(loader, fault == TLS_FAULT_CERT ? cert : key, why);
        return err;
    }
    if (tls_context_is_expired(*out, date)) {
        char sentence[SENTENCE_MAX];
        snprintf(sentence, sizeof sentence,
                 "%s:%s the certificate's time was over at %s; clients will refuse it",
                 cert->option, cert->source, date);
        loader->say(loader->context, CONFIG_SAYS_WARNING, sentence);
    }
    return ERR_OK;
}

enum err certificate_load(const struct config *config, struct tls_shared *shared, config_say_fn say,
                          void *context, struct tls_context **out)
{
    check(say != NULL);
    *out = NULL;
    if (!config->http_server_tls_enabled) return ERR_OK;
    struct loader loader = {say, context};
    struct pem cert = {.option = CERT_OPTION}, key = {.option = KEY_OPTION, .is_secret = true};
    bool has_cert = pem_load(&loader, &cert, config->http_server_tls_cert_pem);
    bool has_key = pem_load(&loader, &key, config->http_server_tls_key_pem);
    enum err err = ERR_BAD_REQUEST;
    if (has_cert && has_key) err = load_pair(&loader, &cert, &key, shared, out);
    pem_forget(&cert);
    pem_forget(&key);
    return err;
}

enum err certificate_check(const struct config *config, config_say_fn say, void *context)
{
    struct tls_context *made;
    struct tls_shared *shared = tls_shared_create();
    enum err err = certificate_load(config, shared, say, context, &made);
    tls_context_unref(made);
    tls_shared_destroy(shared);
    return err;
}
