/*
 * cli_pub: publish to a channel from a terminal.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/check.h"
#include "core/doc.h"
#include "proto/json.h"
#include "shards/cli_parts.h"
#include "shards/cli_wire.h"
#include "shards/json_out.h"

/* A backend's calls answer within a turn and a disk's write. */
#define PUB_PATIENCE_S 30

struct pub {
    struct wire wire;
    const char *channel, *key;
    char path[WIRE_PATH_MAX + 16];
};

/* What the gateway said no with, as a sentence. */
static int pub_refused(const struct pub *pub, uint16_t status, struct bytes answer)
{
    if (status == 401) {
        fprintf(stderr, "sluice: %s; it must be http_api.key of the gateway\n",
                pub->key[0] != 0 ? "the API key is refused"
                                 : "the server API wants a key: give --key or --config");
        return CLI_FAILED;
    }
    if (status == 404) {
        fprintf(stderr,
                "sluice: %s port %s has no server API at %s: is it a gateway, and what is "
                "http_api.handler_prefix?\n",
                pub->wire.url.host, pub->wire.url.port, pub->path);
        return CLI_FAILED;
    }
    if (wire_wants_tls(status, answer)) {
        fprintf(stderr, "sluice: %s port %s speaks TLS, and %s\n", pub->wire.url.host,
                pub->wire.url.port, WIRE_NO_TLS);
        return CLI_FAILED;
    }
    fprintf(stderr, "sluice: publish: HTTP status %u: %.*s\n", status,
            (int)min_u64(answer.size, 300), (const char *)answer.at);
    return CLI_FAILED;
}

static int pub_print(const struct pub *pub, struct bytes answer)
{
    struct doc *doc;
    if (doc_parse(answer, &doc, NULL) != ERR_OK) return pub_refused(pub, 200, answer);
    const struct doc *error = doc_get(doc, "error");
    uint64_t code = 0, offset = 0;
    struct bytes text = BYTES_NONE;
    int exit = CLI_DONE;
    if (error != NULL) {
        if (!doc_u64(doc_get(error, "code"), &code) || !doc_text(doc_get(error, "message"), &text))
            code = 0;
        fprintf(stderr, "sluice: publish to %s: %.*s (code %llu)%s\n", pub->channel, (int)text.size,
                (const char *)text.at, (unsigned long long)code,
                code == 102 ? "; the namespace it names must be in channel.namespaces" : "");
        exit = CLI_FAILED;
    } else {
        const struct doc *result = doc_get(doc, "result");
        const struct doc *value = result != NULL ? doc_get(result, "offset") : NULL;
        if (value == NULL || !doc_u64(value, &offset)) offset = 0; /* no history, no offset */
        printf("%llu\n", (unsigned long long)offset);
    }
    doc_free(doc);
    return exit;
}

static int pub_one(struct pub *pub, struct bytes data)
{
    if (!json_is_valid(data)) {
        fprintf(stderr,
                "sluice: this is not JSON: %.*s; a text wants quotes of its own: '\"hello\"'\n",
                (int)min_u64(data.size, 60), (const char *)data.at);
        return CLI_WRONG;
    }
    struct json_out out = {0};
    json_out_object(&out);
    json_out_member_text(&out, "channel", bytes_of_text(pub->channel));
    json_out_key(&out, "data");
    json_out_raw(&out, data);
    json_out_object_end(&out);
    uint16_t status;
    struct bytes answer;
    enum err err =
        wire_post(&pub->wire, pub->path, pub->key, json_out_bytes(&out), &status, &answer);
    json_out_fini(&out);
    if (err != ERR_OK) {
        fprintf(stderr, "sluice: %s\n", pub->wire.why);
        return CLI_FAILED;
    }
    return status == 200 ? pub_print(pub, answer) : pub_refused(pub, status, answer);
}

/* One publication a line, empty lines passed over; ends with the first that fails.  That one
 * is named, as those before it are published. */
static int pub_lines(struct pub *pub)
{
    char *line = NULL;
    size_t room = 0, number = 0;
    int exit = CLI_DONE;
    for (ssize_t size; exit == CLI_DONE && (size = getline(&line, &room, stdin)) > 0;) {
        while (size > 0 && (line[size - 1] == '\n' || line[size - 1] == '\r')) size--;
        if (size > 0) exit = pub_one(pub, bytes_of(line, (size_t)size));
        fflush(stdout);
        number++;
    }
    if (exit != CLI_DONE) {
        fprintf(stderr, "sluice: stopped at line %zu of standard input\n", number);
        exit = CLI_FAILED;
    }
    free(line); /* getline's */
    return exit;
}

int cli_pub(const struct cli_call *call)
{
    check(call->words_count == 2);
    struct config *config;
    enum cli_exit wrong = cli_load(call, true, &config);
    if (wrong != CLI_DONE) return wrong;
    struct pub pub = {.channel = call->words[0], .wire.fd = -1};
    char url[64];
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", config->http_server_port);
    struct wire_url at;
    char why[WIRE_WHY_MAX];
    pub.key = call->values[OPTION_KEY] != NULL ? call->values[OPTION_KEY] : config->http_api_key;
    const char *wanted = call->values[OPTION_URL] != NULL ? call->values[OPTION_URL] : url;
    int exit = CLI_DONE;
    if (wire_url_parse(wanted, &at, why) != ERR_OK) {
        fprintf(stderr, "sluice: %s\n", why);
        exit = CLI_WRONG;
    } else if (wire_open(&pub.wire, &at, PUB_PATIENCE_S) != ERR_OK) {
        fprintf(stderr, "sluice: %s\n", pub.wire.why);
        exit = CLI_FAILED;
    }
    if (exit == CLI_DONE) {
        snprintf(pub.path, sizeof(pub.path), "%s/publish",
                 at.path[0] != 0 ? at.path : config->http_api_handler_prefix);
        bool is_stdin = strcmp(call->words[1], "-") == 0;
        exit = is_stdin ? pub_lines(&pub) : pub_one(&pub, bytes_of_text(call->words[1]));
    }
    wire_close(&pub.wire);
    config_destroy(config);
    return exit;
}
