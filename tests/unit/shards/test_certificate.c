/*
 * certificate: the three ways to name a certificate, and the sentence that each
 * mistake earns.  A key never stands in one.
 */
#include "../proto/tls_peer.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/crypt.h"
#include "core/mem.h"
#include "shards/ops/certificate.h"

static struct pair ecdsa, rsa, late;
static char folder[] = "/tmp/test_certificate_XXXXXX";
static char said[4][1200];
static uint32_t said_count, errors_count;

static void on_say(void *context, enum config_voice voice, const char *sentence)
{
    assert_ptr_equal(context, folder);
    assert_true(said_count < array_count(said));
    snprintf(said[said_count++], sizeof said[0], "%s", sentence);
    errors_count += voice == CONFIG_SAYS_ERROR;
}

static char *path_of(const char *name)
{
    static char paths[4][128];
    static uint32_t at;
    char *path = paths[at++ % 4];
    snprintf(path, 128, "%s/%s", folder, name);
    return path;
}

static void write_file(const char *name, struct bytes text)
{
    FILE *file = fopen(path_of(name), "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text.at, 1, text.size, file), text.size);
    fclose(file);
}

static int setup(void **state)
{
    (void)state;
    ecdsa = pair_ecdsa();
    rsa = pair_rsa(2048);
    late = pair_make(EVP_EC_gen("P-256"), -1);
    assert_non_null(mkdtemp(folder));
    write_file("cert.pem", ecdsa.cert_pem);
    write_file("key.pem", ecdsa.key_pem);
    write_file("rsa.pem", rsa.key_pem);
    return 0;
}
static int teardown(void **state)
{
    (void)state;
    static const char *const names[] = {"cert.pem", "key.pem", "rsa.pem", "big.pem"};
    for (size_t i = 0; i < array_count(names); i++) unlink(path_of(names[i]));
    rmdir(folder);
    pair_free(&ecdsa);
    pair_free(&rsa);
    pair_free(&late);
    return 0;
}

static enum err load(const char *cert, const char *key)
{
    struct config config = {0};
    config.http_server_tls_enabled = true;
    config.http_server_tls_cert_pem = cert;
    config.http_server_tls_key_pem = key;
    said_count = errors_count = 0;
    enum err err = certificate_check(&config, on_say, folder);
    assert_int_equal(errors_count > 0, err != ERR_OK);
    return err;
}

/* One error that has all of these texts. */
static void expect_fault(const char *cert, const char *key, const char *option, const char *why)
{
    assert_int_equal(load(cert, key), ERR_BAD_REQUEST);
    assert_int_equal(said_count, 1);
    assert_ptr_equal(strstr(said[0], option), said[0]);
    if (strstr(said[0], why) == NULL) fail_msg("said: %s", said[0]);
}

static void names_are_files_texts_or_base64(void **state)
{
    (void)state;
    const char *cert = (const char *)ecdsa.cert_pem.at, *key = (const char *)ecdsa.key_pem.at;
    char cert64[4096], key64[4096];
    cert64[crypt_base64(ecdsa.cert_pem, cert64, sizeof cert64)] = 0;
    key64[crypt_base64(ecdsa.key_pem, key64, sizeof key64)] = 0;
    assert_int_equal(load(path_of("cert.pem"), path_of("key.pem")), ERR_OK);
    assert_int_equal(load(cert, key), ERR_OK);
    assert_int_equal(load(cert64, key64), ERR_OK);
    assert_int_equal(load(path_of("cert.pem"), key64), ERR_OK);
    memmove(cert64 + 77, cert64 + 76, strlen(cert64 + 76) + 1);
    cert64[76] = '\n'; /* base64(1) breaks lines */
    assert_int_equal(load(cert64, key), ERR_OK);
    assert_int_equal(said_count, 0);
}

static void off_is_nothing(void **state)
{
    (void)state;
    struct config config = {.http_server_tls_cert_pem = "/nowhere", .http_server_tls_key_pem = ""};
    struct tls_context *context;
    struct tls_shared *shared = tls_shared_create();
    assert_int_equal(certificate_load(&config, shared, on_say, folder, &context), ERR_OK);
    assert_null(context);
    tls_shared_destroy(shared);
}

static void each_mistake_has_its_sentence(void **state)
{
    (void)state;
    const char *cert = path_of("cert.pem"), *key = path_of("key.pem");
    const char *cert_option = "http_server.tls.cert_pem: ";
    const char *key_option = "http_server.tls.key_pem: ";
    expect_fault("", key, cert_option, "is not set");
    expect_fault(cert, "", key_option, "is not set");
    expect_fault("/nowhere/c.pem", key, cert_option,
                 "/nowhere/c.pem: cannot be read: No such file or directory; give a file");
    expect_fault(cert, "/nowhere/k.pem", key_option, "/nowhere/k.pem: cannot be read: No such");
    expect_fault(folder, key, cert_option, "cannot be read: Is a directory");
    expect_fault(key, key, cert_option, "key.pem: holds no certificate");
    expect_fault(cert, cert, key_option, "cert.pem: holds no private key");
    expect_fault(cert, path_of("rsa.pem"), key_option,
                 "rsa.pem: is not the key of the certificate");

    uint8_t *big = mem_alloc((1u << 20) + 1);
    write_file("big.pem", bytes_of(big, (1u << 20) + 1));
    mem_free(big);
    expect_fault(path_of("big.pem"), key, cert_option, "larger than 1 MiB");
}

/* A key without its first line looks like nothing, least of all like a path. */
static void a_secret_is_not_shown(void **state)
{
    (void)state;
    const char *cert = path_of("cert.pem");
    const char *broken = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg";
    expect_fault(cert, broken, "http_server.tls.key_pem: ", "cannot be read");
    assert_null(strstr(said[0], "MIGHAgEA"));
}

static void a_late_certificate_is_a_warning(void **state)
{
    (void)state;
    assert_int_equal(load((const char *)late.cert_pem.at, (const char *)late.key_pem.at), ERR_OK);
    assert_int_equal(said_count, 1);
    assert_non_null(strstr(said[0], "time was over at "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_files_texts_or_base64), cmocka_unit_test(off_is_nothing),
        cmocka_unit_test(each_mistake_has_its_sentence),   cmocka_unit_test(a_secret_is_not_shown),
        cmocka_unit_test(a_late_certificate_is_a_warning),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
