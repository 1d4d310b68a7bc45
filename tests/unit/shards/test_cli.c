/*
 * test_cli: command lines in; exit codes, answers and sentences out.
 *
 * Standard output and error are caught in files, so what is compared is what a
 * person or a script sees.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/config.h"
#include "core/crypt.h"
#include "core/doc.h"
#include "core/mem.h"
#include "shards/cli.h"

static char out[40000], err[8000];
static char file[] = "/tmp/test_cli_XXXXXX.yaml";

static struct {
    uint32_t calls, port, shards;
    char data[64], cpus[64];
} served;

static int on_serve(struct config *config)
{
    served.calls++;
    served.port = config->http_server_port;
    served.shards = config->shards_count;
    snprintf(served.data, sizeof(served.data), "%s", config->storage_path);
    snprintf(served.cpus, sizeof(served.cpus), "%s", config->shards_cpus);
    config_destroy(config);
    return 7;
}

static void catch (FILE *stream, int kept, char *text, size_t text_size, FILE *caught)
{
    fflush(stream);
    dup2(kept, fileno(stream));
    close(kept);
    rewind(caught);
    text[fread(text, 1, text_size - 1, caught)] = 0;
    fclose(caught);
}

/* Runs "sluice" with the words of `line`; `@` stands for the test's file. */
static int run(const char *line)
{
    static char program[] = "sluice";
    char words[1024], *argv[16] = {program};
    char empty[] = "";
    int argc = 1;
    snprintf(words, sizeof(words), "%s", line);
    for (char *at = strtok(words, " "); at != NULL; at = strtok(NULL, " "))
        argv[argc++] = strcmp(at, "@") == 0 ? file : strcmp(at, "''") == 0 ? empty : at;
    memset(&served, 0, sizeof(served));
    fflush(NULL);
    int kept_out = dup(1), kept_err = dup(2);
    FILE *caught_out = tmpfile(), *caught_err = tmpfile();
    dup2(fileno(caught_out), 1);
    dup2(fileno(caught_err), 2);
    int code = cli_run(argc, argv, on_serve);
    catch (stdout, kept_out, out, sizeof(out), caught_out);
    catch (stderr, kept_err, err, sizeof(err), caught_err);
    return code;
}

static void no_command_and_unknown_ones_are_told(void **state)
{
    (void)state;
    assert_int_equal(run(""), CLI_WRONG);
    assert_non_null(strstr(err, "usage: sluice COMMAND"));
    assert_string_equal(out, "");
    assert_int_equal(run("sevre"), CLI_WRONG);
    assert_string_equal(err, "sluice: 'sevre' is not a command; did you mean serve?\n"
                             "sluice: see sluice --help\n");
    assert_int_equal(run("xyzzyxyzzy"), CLI_WRONG);
    assert_string_equal(err, "sluice: 'xyzzyxyzzy' is not a command\nsluice: see sluice --help\n");
}

static void help_teaches_each_command(void **state)
{
    (void)state;
    assert_int_equal(run("--help"), CLI_DONE);
    assert_non_null(strstr(out, "exit codes: 0 done"));
    static const char *const names[] = {"serve",     "sub",          "pub",     "gen-config",
                                        "gen-token", "check-config", "options", "version"};
    for (size_t i = 0; i < array_count(names); i++) {
        char line[64], kept[sizeof(out)];
        assert_int_equal(run("-h"), CLI_DONE);
        assert_non_null(strstr(out, names[i]));
        snprintf(line, sizeof(line), "%s --help", names[i]);
        assert_int_equal(run(line), CLI_DONE);
        snprintf(kept, sizeof(kept), "%s", out);
        snprintf(line, sizeof(line), "help %s", names[i]);
        assert_int_equal(run(line), CLI_DONE);
        assert_string_equal(out, kept);
        assert_string_equal(err, "");
    }
    assert_int_equal(run("serve --help"), CLI_DONE);
    assert_non_null(strstr(out, "sluice serve --config config.yaml --port 9000"));
    assert_int_equal(run("help serev"), CLI_WRONG);
}

static void unknown_options_are_answered_with_the_nearest(void **state)
{
    (void)state;
    assert_int_equal(run("serve --prot 9"), CLI_WRONG);
    assert_string_equal(err, "sluice: serve does not take '--prot'; did you mean --port?\n"
                             "sluice: see sluice serve --help\n");
    assert_int_equal(run("version --port 9"), CLI_WRONG);
    assert_int_equal(run("serve port"), CLI_WRONG);
    assert_int_equal(run("serve --port"), CLI_WRONG);
    assert_string_equal(err, "sluice: --port wants a value: --port N\n");
    assert_int_equal(run("serve --port 1 --port=2"), CLI_WRONG);
    assert_string_equal(err, "sluice: --port stands twice\n");
    assert_int_equal(served.calls, 0);
}

static void serve_gets_the_file_and_what_wins_over_it(void **state)
{
    (void)state;
    assert_int_equal(run("serve --config @ --port 9001 --data=/d --shards 3 --cpus 0-2"), 7);
    assert_int_equal(served.calls, 1);
    assert_int_equal(served.port, 9001);
    assert_int_equal(served.shards, 3);
    assert_string_equal(served.data, "/d");
    assert_string_equal(served.cpus, "0-2");
    assert_int_equal(run("serve --config @"), 7);
    assert_int_equal(served.port, 9000);
    assert_int_equal(run("serve --config @ --port x"), CLI_WRONG);
    assert_string_equal(err, "sluice: --port: 'x' is not a whole number\n");
    assert_int_equal(run("serve --config /nowhere"), CLI_WRONG);
    assert_string_equal(err, "sluice: /nowhere: cannot be opened: No such file or directory\n");
    assert_int_equal(served.calls, 0);
}

static void check_config_says_fine_or_what_is_wrong(void **state)
{
    (void)state;
    assert_int_equal(run("check-config --config @"), CLI_DONE);
    assert_non_null(strstr(out, ": fine\n"));
    assert_string_equal(err, "");
    assert_int_equal(run("check-config"), CLI_WRONG);
    assert_int_equal(run("check-config --config @ --port 99999"), CLI_WRONG);
    assert_int_equal(served.calls, 0);
}

/* The claims of a token whose signature is right. */
static struct doc *claims_of(const char *token)
{
    const char *dot = strrchr(token, '.');
    uint8_t mac[32], given[32], text[1024];
    size_t used;
    crypt_hmac_sha256(bytes_of_text("0123456789abcdef"), bytes_of(token, (size_t)(dot - token)),
                      mac);
    struct bytes signature = bytes_of(dot + 1, strcspn(dot + 1, "\n"));
    assert_int_equal(crypt_base64_decode(signature, true, given, 32, &used), ERR_OK);
    assert_memory_equal(mac, given, 32);
    const char *first = strchr(token, '.');
    struct bytes head = bytes_of(token, (size_t)(first - token));
    assert_int_equal(crypt_base64_decode(head, true, text, sizeof(text), &used), ERR_OK);
    assert_true(bytes_equal_text(bytes_of(text, used), "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"));
    struct bytes body = bytes_of(first + 1, (size_t)(dot - first - 1));
    assert_int_equal(crypt_base64_decode(body, true, text, sizeof(text), &used), ERR_OK);
    struct doc *doc;
    assert_int_equal(doc_parse(bytes_of(text, used), &doc, NULL), ERR_OK);
    return doc;
}

static void gen_token_signs_what_was_asked(void **state)
{
    (void)state;
    struct bytes text;
    uint64_t iat = 0, exp = 0;
    assert_int_equal(run("gen-token --config @ --user alice"), CLI_DONE);
    assert_string_equal(err, "");
    struct doc *doc = claims_of(out);
    assert_true(doc_text(doc_get(doc, "sub"), &text) && bytes_equal_text(text, "alice"));
    assert_null(doc_get(doc, "channel"));
    assert_true(doc_u64(doc_get(doc, "iat"), &iat) && doc_u64(doc_get(doc, "exp"), &exp));
    assert_in_range(exp - iat, 3600, 3601);
    doc_free(doc);

    assert_int_equal(run("gen-token --config @ --user '' --ttl 0 --channel $a:\"b"), CLI_DONE);
    doc = claims_of(out);
    assert_true(doc_text(doc_get(doc, "sub"), &text) && text.size == 0);
    assert_true(doc_text(doc_get(doc, "channel"), &text) && bytes_equal_text(text, "$a:\"b"));
    assert_null(doc_get(doc, "exp"));
    doc_free(doc);
}

static void gen_token_says_what_it_lacks(void **state)
{
    (void)state;
    assert_int_equal(run("gen-token --user alice"), CLI_WRONG);
    assert_string_equal(err, "sluice: gen-token wants --config FILE and --user U\n");
    assert_int_equal(run("gen-token --config @ --user a --ttl 5"), CLI_WRONG);
    assert_string_equal(err, "sluice: --ttl: '5' has no unit; write for example 5s or 5ms\n");
    assert_int_equal(run("gen-token --config /dev/null --user a"), CLI_WRONG);
    assert_non_null(strstr(err, "client.token.hmac_secret_key is not set"));
    assert_string_equal(out, "");
}

static void words_are_counted_and_flags_take_no_value(void **state)
{
    (void)state;
    assert_int_equal(run("pub a"), CLI_WRONG);
    assert_string_equal(err, "sluice: pub wants CHANNEL JSON; see sluice pub --help\n");
    assert_int_equal(run("pub a 1 2"), CLI_WRONG);
    assert_string_equal(err, "sluice: pub takes CHANNEL JSON, and not also '2'\n");
    assert_int_equal(run("gen-config --full=1"), CLI_WRONG);
    assert_string_equal(err, "sluice: --full takes no value\n");
    assert_int_equal(run("gen-config full"), CLI_WRONG);
    assert_int_equal(run("gen-config --full --full"), CLI_WRONG);
}

static void gen_config_prints_what_is_taken(void **state)
{
    (void)state;
    static const char *const lines[] = {"gen-config", "gen-config --full"};
    for (size_t i = 0; i < array_count(lines); i++) {
        assert_int_equal(run(lines[i]), CLI_DONE);
        struct config *config = NULL;
        enum err err_found =
            config_parse(bytes_of_text(out), "c.yaml", NULL, 0, NULL, NULL, &config);
        assert_int_equal(err_found, ERR_OK);
        assert_int_equal(strlen(config->client_token_hmac_secret_key), 64);
        assert_int_equal(strlen(config->http_api_key), 64);
        assert_string_not_equal(config->http_api_key, config->client_token_hmac_secret_key);
        config_destroy(config);
    }
}

static void version_and_options_print_themselves(void **state)
{
    (void)state;
    assert_int_equal(run("version"), CLI_DONE);
    assert_string_equal(out, "sluice " SLUICE_VERSION "\n");
    assert_int_equal(run("--version"), CLI_DONE);
    assert_int_equal(run("options"), CLI_DONE);
    assert_non_null(strstr(out, "| `client.ping_interval` | duration 1s to 1h | `25s` |"));
}

int main(void)
{
    doc_setup();
    int descriptor = mkstemps(file, 5);
    FILE *stream = fdopen(descriptor, "w");
    fputs("client: {token: {hmac_secret_key: 0123456789abcdef}}\nhttp_server: {port: 9000}\n",
          stream);
    fclose(stream);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_command_and_unknown_ones_are_told),
        cmocka_unit_test(help_teaches_each_command),
        cmocka_unit_test(unknown_options_are_answered_with_the_nearest),
        cmocka_unit_test(serve_gets_the_file_and_what_wins_over_it),
        cmocka_unit_test(check_config_says_fine_or_what_is_wrong),
        cmocka_unit_test(gen_token_signs_what_was_asked),
        cmocka_unit_test(gen_token_says_what_it_lacks),
        cmocka_unit_test(words_are_counted_and_flags_take_no_value),
        cmocka_unit_test(gen_config_prints_what_is_taken),
        cmocka_unit_test(version_and_options_print_themselves),
    };
    int failed = cmocka_run_group_tests_name("cli", tests, NULL, NULL);
    remove(file);
    return failed;
}
