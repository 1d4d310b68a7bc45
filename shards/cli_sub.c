/*
 * cli_sub: print what is published to channels.
 *
 * One connection for all channels.  A channel's position is kept over lost
 * connections, so what recovers comes without a gap; what was missed is said.
 * With --history the kept publications come first: they are asked for once the
 * subscription is live, because a namespace may show them to subscribers only, and
 * what comes live meanwhile is held until they are printed.
 */
#include "shards/cli_sub.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/entropy.h"
#include "core/mem.h"
#include "proto/jwt.h"
#include "shards/json_out.h"

/* ---- asking ---- */

static enum err send_out(struct sub_run *run, struct json_out *out)
{
    enum err err = wire_send(&run->wire, json_out_bytes(out));
    json_out_fini(out);
    return err;
}

static void command_begin(struct json_out *out, uint32_t id, const char *name)
{
    json_out_object(out);
    json_out_member_u64(out, "id", id);
    json_out_key(out, name);
    json_out_object(out);
}

static void command_end(struct json_out *out)
{
    json_out_object_end(out);
    json_out_object_end(out);
}

static enum err ask_connect(struct sub_run *run)
{
    char *signed_token = NULL;
    if (run->token == NULL && run->user != NULL)
        TRY(jwt_sign(bytes_of_text(run->key), run->user, NULL, clock_wall_ms() / 1000,
                     SUB_TOKEN_TTL_S, &signed_token));
    const char *token = run->token != NULL ? run->token : signed_token;
    struct json_out out = {0};
    command_begin(&out, SUB_ID_CONNECT, "connect");
    if (token != NULL) json_out_member_text(&out, "token", bytes_of_text(token));
    json_out_member_text(&out, "name", BYTES_LITERAL("sluice sub"));
    command_end(&out);
    mem_free(signed_token);
    return send_out(run, &out);
}

enum err sub_ask_subscribe(struct sub_run *run, uint32_t index)
{
    const struct sub_channel *channel = &run->channels[index];
    struct json_out out = {0};
    command_begin(&out, SUB_ID_SUBSCRIBE + 2 * index, "subscribe");
    json_out_member_text(&out, "channel", bytes_of_text(channel->name));
    if (channel->epoch[0] != 0) {
        json_out_key(&out, "recover");
        json_out_bool(&out, true);
        json_out_member_u64(&out, "offset", channel->offset);
        json_out_member_text(&out, "epoch", bytes_of_text(channel->epoch));
    }
    command_end(&out);
    return send_out(run, &out);
}

enum err sub_ask_history(struct sub_run *run, uint32_t index)
{
    struct json_out out = {0};
    command_begin(&out, SUB_ID_HISTORY + 2 * index, "history");
    json_out_member_text(&out, "channel", bytes_of_text(run->channels[index].name));
    json_out_member_u64(&out, "limit", run->history);
    json_out_key(&out, "reverse");
    json_out_bool(&out, true);
    command_end(&out);
    return send_out(run, &out);
}

/* ---- running ---- */

/* One connection, until it ends. */
static enum err run_once(struct sub_run *run)
{
    TRY(wire_open(&run->wire, &run->url, SUB_PATIENCE_S));
    TRY(wire_upgrade(&run->wire, run->path));
    TRY(ask_connect(run));
    enum err err = ERR_OK;
    while (err == ERR_OK && run->exit == CLI_DONE) {
        struct bytes text;
        err = wire_receive(&run->wire, &text);
        if (err == ERR_OK) err = sub_hear(run, text);
    }
    return err;
}

/* Says why the connection ended; false when coming back would be of no use. */
static bool may_return(struct sub_run *run, enum err err)
{
    uint16_t code = run->wire.close_code;
    bool is_final = (code >= 3500 && code < 4000) || (code >= 4500 && code < 5000);
    if (err == ERR_END)
        fprintf(stderr, "sluice: the gateway ended the connection: %s (code %u)%s\n",
                run->wire.close_text, code,
                code == 3500 ? "; the token must be signed with a key of client.token"
                : code == 3501 && run->connects == 0
                    ? "; it wants a token: give --config and --user, or --token"
                    : "");
    else if (run->wire.why[0] != 0)
        fprintf(stderr, "sluice: %s\n", run->wire.why);
    else
        fprintf(stderr, "sluice: what came cannot be read: %s\n", err_text(err));
    return !is_final && run->connects > 0;
}

static void wait_ms(uint64_t ms)
{
    nanosleep(
        &(struct timespec){.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000L},
        NULL);
}

static int run_all(struct sub_run *run)
{
    uint64_t delay_ms = SUB_DELAY_MS;
    for (;;) {
        uint32_t connects = run->connects;
        enum err err = run_once(run);
        if (run->connects > connects) delay_ms = SUB_DELAY_MS;
        if (run->exit != CLI_DONE) break;
        bool returns = may_return(run, err);
        wire_close(&run->wire);
        if (!returns) return CLI_FAILED;
        wait_ms(delay_ms / 2 + rng_below(&run->rng, delay_ms / 2 + 1));
        delay_ms = min_u64(2 * delay_ms, SUB_DELAY_MAX_MS);
    }
    wire_close(&run->wire);
    return run->exit;
}

/* OFFSET/EPOCH, for one channel; false, and said. */
static bool take_position(struct sub_run *run, const char *text)
{
    char *end;
    struct sub_channel *channel = &run->channels[0];
    channel->offset = strtoull(text, &end, 10);
    bool is_fine = end != text && *end == '/' && end[1] != 0 && strlen(end) <= SUB_EPOCH_MAX;
    if (!is_fine || run->channels_count != 1) {
        fprintf(stderr,
                "sluice: --recover wants one channel and a position such as 120/xyz: offset "
                "and epoch as they were printed or answered\n");
        return false;
    }
    snprintf(channel->epoch, sizeof(channel->epoch), "%s", end + 1);
    return true;
}

static bool take_history(struct sub_run *run, const char *text)
{
    char *end;
    unsigned long count = strtoul(text, &end, 10);
    if (*end != 0 || end == text || count < 1 || count > SUB_HISTORY_MAX) {
        fprintf(stderr, "sluice: --history wants a number from 1 to %u\n", SUB_HISTORY_MAX);
        return false;
    }
    run->history = (uint32_t)count;
    return true;
}

/* False, and said. */
static bool prepare(struct sub_run *run, const struct cli_call *call, const struct config *config)
{
    const char *const *values = call->values;
    char url[64], why[WIRE_WHY_MAX];
    for (uint32_t i = 0; i < call->words_count; i++) run->channels[i].name = call->words[i];
    run->channels_count = call->words_count;
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", config->http_server_port);
    if (wire_url_parse(values[OPTION_URL] != NULL ? values[OPTION_URL] : url, &run->url, why) !=
        ERR_OK) {
        fprintf(stderr, "sluice: %s\n", why);
        return false;
    }
    run->path = run->url.path[0] != 0 ? run->url.path : config->websocket_handler_prefix;
    run->token = values[OPTION_TOKEN];
    run->user = values[OPTION_USER];
    run->key =
        values[OPTION_KEY] != NULL ? values[OPTION_KEY] : config->client_token_hmac_secret_key;
    if (run->user != NULL && run->key[0] == 0) {
        fprintf(stderr, "sluice: --user wants a key to sign with: give --config with "
                        "client.token.hmac_secret_key, or --key\n");
        return false;
    }
    if (values[OPTION_RECOVER] != NULL && !take_position(run, values[OPTION_RECOVER])) return false;
    return values[OPTION_HISTORY] == NULL || take_history(run, values[OPTION_HISTORY]);
}

int cli_sub(const struct cli_call *call)
{
    check(call->words_count > 0);
    struct config *config;
    enum cli_exit wrong = cli_load(call, true, &config);
    if (wrong != CLI_DONE) return wrong;
    struct sub_run *run = mem_alloc(sizeof(*run));
    run->wire.fd = -1;
    uint64_t seed;
    entropy_fill(&seed, sizeof(seed));
    rng_seed(&run->rng, seed);
    arena_init(&run->arena, 0);
    int exit = prepare(run, call, config) ? run_all(run) : CLI_WRONG;
    for (uint32_t i = 0; i < run->channels_count; i++) json_out_fini(&run->channels[i].held);
    arena_fini(&run->arena);
    mem_free(run);
    config_destroy(config);
    return exit;
}
