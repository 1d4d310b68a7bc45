/*
 * fuzz_gateway: the whole gateway against peers that the input scripts.
 *
 * Real shards on the simulated world, started anew for each input.  The input
 * is a script: up to eight sockets send what it says, cut where it says, close,
 * reset, stop reading and read again while virtual time goes by.  Pieces that
 * are hard to guess (an upgrade, a token, an API call with its key) have a word
 * of their own; everything else is the input's bytes.
 *
 * What must hold whatever they do: nothing crashes; a client that keeps the rules
 * publishes into its own channel, and gets its messages, all of them once and in
 * order, on one connection; when the peers are gone nothing of theirs is left on
 * any shard; and after a drain not one allocation is held.
 *
 * Script: three bytes of settings, then words.  A word is a byte: three bits of
 * socket, five of kind (enum word); some take a size and so many bytes.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/log.h"
#include "fiber.h"
#include "fuzz_parts.h"
#include "host.h"
#include "wire_sim.h"
#include "world.h"

#define API_KEY     "key that no input knows: 7f3d9a"
#define PEERS       8
#define WORDS_MAX   400
#define STEPS_MAX   2000000 /* of one input: then it hangs */
#define PASS_NS_MAX (200 * SECOND_NS)
#define SECOND_NS   UINT64_C(1000000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The gateway's own memory is counted by mem_sim.c; LSan does not see the stacks of
 * fibers. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

/* tests/fuzz/corpus_main.c: a gateway for each prefix would take minutes. */
size_t corpus_prefix_max(void);
size_t corpus_prefix_max(void)
{
    return 0;
}

/* What a byte of script means. */
enum word {
    WORD_RAW,     /* size, bytes: as they are */
    WORD_TEXT,    /* size, bytes: a text frame */
    WORD_FRAME,   /* first header byte, size, bytes: any frame */
    WORD_BIG,     /* size / 256, byte: a text frame of that byte */
    WORD_UPGRADE, /* which: a handshake */
    WORD_CONNECT, /* which: a connect command */
    WORD_COMMAND, /* which: one of commands[] */
    WORD_REQUEST, /* which: one of requests[] */
    WORD_API,     /* which, size, bytes: a call with the key and that body */
    WORD_STEP,    /* count: so many steps of the world */
    WORD_TIME,    /* so many tenths of a second go by */
    WORD_LONG,    /* so many times two seconds */
    WORD_CLOSE,   /* the peer ends its side */
    WORD_RESET,   /* it vanishes */
    WORD_STOP,    /* it stops reading */
    WORD_READ,    /* it reads again */
    WORD_CUT,     /* size: the next bytes go in pieces of that size */
    WORD_COUNT,
};

static const char *const upgrades[] = {"/connection/websocket",
                                       "/connection/websocket?cf_ws_frame_ping_pong=true",
                                       "/connection/websocket?format=protobuf", "/debug/echo"};

static const char *const connects[] = {
    "{\"id\":1,\"connect\":{}}",
    "{\"id\":1,\"connect\":{\"token\":\"" TOKEN_FUZZ "\",\"name\":\"js\",\"version\":\"1\"}}",
    "{\"id\":1,\"connect\":{\"token\":\"" TOKEN_ENDS "\"}}",
    "{\"id\":1,\"connect\":{\"token\":\"" TOKEN_FUZZ
    "\",\"subs\":{\"all:a\":{\"recover\":true,\"epoch\":\"x\",\"offset\":1}}}}\n"
    "{\"id\":2,\"subscribe\":{\"channel\":\"all:b\"}}",
};

static const char *const commands[] = {
    "{\"id\":3,\"subscribe\":{\"channel\":\"all:a\"}}",
    "{\"id\":4,\"subscribe\":{\"channel\":\"all:a\",\"recover\":true,\"offset\":1,\"epoch\":\"\"}}",
    "{\"id\":5,\"unsubscribe\":{\"channel\":\"all:a\"}}",
    "{\"id\":6,\"publish\":{\"channel\":\"all:a\",\"data\":{\"x\":1}}}",
    "{\"id\":7,\"publish\":{\"channel\":\"own:w\",\"data\":\"noise\"}}",
    "{\"id\":8,\"subscribe\":{\"channel\":\"own:w\",\"join_leave\":true,\"positioned\":true}}",
    "{\"id\":9,\"history\":{\"channel\":\"all:a\",\"limit\":100}}",
    "{\"id\":10,\"history\":{\"channel\":\"own:w\",\"limit\":9,\"reverse\":true}}",
    "{\"id\":11,\"presence\":{\"channel\":\"all:a\"}}",
    "{\"id\":12,\"presence_stats\":{\"channel\":\"own:w\"}}",
    "{\"id\":13,\"rpc\":{\"method\":\"receipt.read\",\"data\":{\"channel\":\"all:a\",\"offset\":1}}"
    "}",
    "{\"id\":14,\"rpc\":{\"method\":\"message.send\",\"data\":{\"channel\":\"all:a\",\"data\":1,"
    "\"key\":\"k\"}}}",
    "{\"id\":15,\"refresh\":{\"token\":\"" TOKEN_FUZZ "\"}}",
    "{\"id\":16,\"sub_refresh\":{\"channel\":\"all:a\",\"token\":\"x\"}}",
    "{\"id\":17,\"ping\":{}}",
    "{}",
    "{\"id\":18,\"subscribe\":{\"channel\":\"all:#fuzz\"}}\n{\"id\":19,\"subscribe\":{\"channel\":"
    "\"live:x\"}}\n{\"id\":20,\"publish\":{\"channel\":\"live:x\",\"data\":[]}}",
    "{\"send\":{\"data\":1}}",
};

static const char *const requests[] = {
    "GET /health HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /health/simple HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "POST /api/info HTTP/1.1\r\nHost: a\r\nX-API-Key: " API_KEY
    "\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "POST /api/publish HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nX-API-Key: " API_KEY
    "\r\nContent-Length: 30\r\n\r\n",
    "{\"channel\":\"all:a\",\"data\":1234}",
    "OPTIONS /connection/websocket HTTP/1.1\r\nHost: a\r\nOrigin: http://a\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
};

/* Calls that cannot be meant for the witness, whatever their body says. */
static const char *const methods[] = {"publish",        "broadcast", "history",        "presence",
                                      "presence_stats", "channels",  "history_remove", "info"};

struct script {
    const uint8_t *at, *end;
};

static struct peer {
    struct link *link; /* NULL: gone, or never there */
    bool is_open, is_closing;
    size_t cut;     /* 0: whole */
    uint8_t *early; /* written before it was open */
    size_t early_size;
} peers[PEERS];

static uint64_t passed_ns;

/* --- the world --------------------------------------------------------------- */

static void step_world(void)
{
    if (++world.steps > STEPS_MAX) world_fail("an input ends", "steps limit");
    world_run_due();
    if (fibers_step()) {
        world.now_ns += 500 + chance_below(20000);
        return;
    }
    uint64_t next = min_u64(world_next_ns(), fibers_next_ns());
    if (next == UINT64_MAX) world_fail("something is always to come", "stuck");
    world.now_ns = max_u64(world.now_ns, next);
}

/* The script may let so much time go by in all: an hour of pings is no finding. */
static void pass(uint64_t span_ns)
{
    span_ns = min_u64(span_ns, passed_ns < PASS_NS_MAX ? PASS_NS_MAX - passed_ns : 0);
    passed_ns += span_ns;
    uint64_t end_ns = world.now_ns + span_ns;
    while (world.now_ns < end_ns) step_world();
}

static void wait_until(bool (*is_so)(void), uint64_t span_ns, const char *what)
{
    uint64_t end_ns = world.now_ns + span_ns;
    while (!is_so()) {
        if (world.now_ns >= end_ns)
            world_fail(what, "said %u acked %u heard %u", witness.said, witness.acked,
                       witness.heard);
        step_world();
    }
}

/* --- peers -------------------------------------------------------------------- */

static void peer_put(struct peer *peer, const void *data, size_t size)
{
    const uint8_t *at = data;
    size_t piece = peer->cut == 0 ? size : peer->cut;
    for (size_t done = 0; done < size && peer->link != NULL; done += piece) {
        net_write(peer->link, at + done, min_u64(piece, size - done));
        /* Pieces that arrive one by one; a long text is not worth a world each. */
        if (peer->cut != 0 && done < 64 * peer->cut) step_world();
    }
    peer->cut = 0;
}

static void on_peer_open(void *owner)
{
    struct peer *peer = owner;
    peer->is_open = true;
    if (peer->early_size > 0) net_write(peer->link, peer->early, peer->early_size);
    free(peer->early);
    peer->early = NULL;
    peer->early_size = 0;
    if (!peer->is_closing) return;
    net_close(peer->link, false);
    peer->link = NULL;
}

static void on_peer_data(void *owner, const uint8_t *data, size_t size)
{
    (void)owner;
    (void)data;
    (void)size;
}

static void on_peer_end(void *owner, bool is_orderly)
{
    struct peer *peer = owner;
    (void)is_orderly;
    peer->link = NULL;
}

static const struct net_peer peer_calls = {on_peer_open, on_peer_data, on_peer_end};

static void peer_say(struct peer *peer, const void *data, size_t size)
{
    if (peer->is_closing) return;
    if (peer->link == NULL) {
        free(peer->early);
        *peer = (struct peer){.cut = peer->cut};
        peer->link = net_connect(&peer_calls, peer);
    }
    if (peer->is_open) {
        peer_put(peer, data, size);
        return;
    }
    uint8_t *early = realloc(peer->early, peer->early_size + size + 1);
    check(early != NULL);
    memcpy(early + peer->early_size, data, size);
    peer->early = early;
    peer->early_size += size;
}

static void peer_go(struct peer *peer, bool is_abort)
{
    if (peer->link == NULL) return;
    if (!peer->is_open) {
        peer->is_closing = true; /* as soon as it can */
        return;
    }
    net_close(peer->link, is_abort);
    peer->link = NULL;
}

static void peer_frame(struct peer *peer, uint8_t first, struct bytes payload)
{
    uint8_t *out = malloc(payload.size + 16);
    check(out != NULL);
    size_t size = ws_put(out, WS_TEXT, true, payload, 0x01020304);
    out[0] = first;
    peer_say(peer, out, size);
    free(out);
}

/* --- the script ----------------------------------------------------------------- */

static uint8_t take(struct script *script)
{
    return script->at < script->end ? *script->at++ : 0;
}

static struct bytes take_sized(struct script *script)
{
    size_t size = min_u64(take(script), (size_t)(script->end - script->at));
    struct bytes bytes = bytes_of(script->at, size);
    script->at += size;
    return bytes;
}

static void say_text(struct peer *peer, const char *text)
{
    peer_say(peer, text, strlen(text));
}

static void say_upgrade(struct peer *peer, const char *path)
{
    char text[512];
    int size =
        snprintf(text, sizeof text,
                 "GET %s HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                 "Sec-WebSocket-Version: 13\r\n\r\n",
                 path);
    check(size > 0 && (size_t)size < sizeof text);
    peer_say(peer, text, (size_t)size);
}

static void say_call(struct peer *peer, const char *method, struct bytes body)
{
    char text[512];
    int size = snprintf(text, sizeof text,
                        "POST /api/%s HTTP/1.1\r\nHost: a\r\nX-API-Key: " API_KEY
                        "\r\nContent-Length: %zu\r\n\r\n",
                        method, body.size);
    check(size > 0 && (size_t)size + body.size < sizeof text);
    if (body.size > 0) memcpy(text + size, body.at, body.size);
    peer_say(peer, text, (size_t)size + body.size);
}

#define ONE_OF_THEM(list, n) (list)[(n) % array_count(list)]

/* Words that send. */
static void speak(struct peer *peer, enum word word, struct script *script)
{
    static uint8_t filler[16 << 10];
    switch (word) {
    case WORD_RAW: {
        struct bytes bytes = take_sized(script);
        peer_say(peer, bytes.at, bytes.size);
        break;
    }
    case WORD_TEXT: peer_frame(peer, 0x81, take_sized(script)); break;
    case WORD_FRAME: {
        uint8_t first = take(script);
        peer_frame(peer, first, take_sized(script));
        break;
    }
    case WORD_BIG: {
        size_t size = (size_t)take(script) * 256 % sizeof filler;
        memset(filler, take(script), size);
        peer_frame(peer, 0x81, bytes_of(filler, size));
        break;
    }
    case WORD_UPGRADE: say_upgrade(peer, ONE_OF_THEM(upgrades, take(script))); break;
    case WORD_CONNECT:
        peer_frame(peer, 0x81, bytes_of_text(ONE_OF_THEM(connects, take(script))));
        break;
    case WORD_COMMAND:
        peer_frame(peer, 0x81, bytes_of_text(ONE_OF_THEM(commands, take(script))));
        break;
    case WORD_REQUEST: say_text(peer, ONE_OF_THEM(requests, take(script))); break;
    case WORD_API: {
        const char *method = ONE_OF_THEM(methods, take(script));
        say_call(peer, method, take_sized(script));
        break;
    }
    default: impossible("words that send nothing are play's");
    }
}

static void play(struct script *script)
{
    uint8_t byte = take(script);
    struct peer *peer = &peers[byte & 7];
    enum word word = (enum word)((byte >> 3) % WORD_COUNT);
    switch (word) {
    case WORD_STEP:
        for (uint32_t i = take(script); i > 0; i--) step_world();
        break;
    case WORD_TIME: pass(take(script) * (SECOND_NS / 10)); break;
    case WORD_LONG: pass(take(script) % 32 * 2 * SECOND_NS); break;
    case WORD_CLOSE: peer_go(peer, false); break;
    case WORD_RESET: peer_go(peer, true); break;
    case WORD_STOP:
        if (peer->link != NULL) net_pause(peer->link, true);
        break;
    case WORD_READ:
        if (peer->link != NULL) net_pause(peer->link, false);
        break;
    case WORD_CUT: peer->cut = 1 + take(script) % 64; break;
    default: speak(peer, word, script); break;
    }
}

/* --- one input ---------------------------------------------------------------------- */

/* host.c asks for it: the settings of this input. */
static uint8_t settings[3];

uint32_t plan_config(const struct plan *plan, uint32_t shards, char *text, uint32_t size)
{
    (void)plan;
    static const char all[] =
        "\"history_size\":%u,\"history_ttl\":\"1h\",\"force_recovery\":true,\"presence\":true,"
        "\"join_leave\":true,\"force_push_join_leave\":true,\"allow_subscribe_for_client\":true,"
        "\"allow_subscribe_for_anonymous\":true,\"allow_publish_for_client\":true,"
        "\"allow_publish_for_anonymous\":true,\"allow_history_for_client\":true,"
        "\"allow_history_for_anonymous\":true,\"allow_presence_for_client\":true,"
        "\"allow_presence_for_anonymous\":true,\"allow_user_limited_channels\":true";
    char options[1024];
    int used = snprintf(options, sizeof options, all, 3 + settings[2] % 8);
    check(used > 0 && (size_t)used < sizeof options);
    used = snprintf(
        text, size,
        "{\"client\":{\"allow_anonymous_connect_without_token\":true,\"token\":{"
        "\"hmac_secret_key\":\"" HMAC_KEY "\"},\"ping_interval\":\"%us\",\"pong_timeout\":\"2s\","
        "\"queue_max_size\":%u,\"queue_max_age\":\"%us\",\"connection_limit\":%u,"
        "\"connection_rate_limit\":%u,\"command_rate_limit\":%u,\"channel_limit\":%u,"
        "\"allowed_origins\":[\"http://*\"]},"
        "\"http_api\":{\"key\":\"" API_KEY "\"},\"log\":{\"level\":\"none\"},"
        "\"websocket\":{\"message_size_limit\":%u},\"http_server\":{\"body_size_limit\":4096},"
        "\"storage\":{\"engine\":\"memory\",\"window_size\":8},\"debug\":{\"echo\":true},"
        "\"shards\":{\"count\":%u,\"connections_max\":64},\"shutdown\":{\"timeout\":\"5s\"},"
        "\"health\":{\"enabled\":true},\"prometheus\":{\"enabled\":true},\"node\":{\"name\":\"f\"},"
        "\"channel\":{\"namespaces\":[{\"name\":\"all\",%s},{\"name\":\"own\",%s},"
        "{\"name\":\"live\",\"allow_subscribe_for_client\":true,"
        "\"allow_subscribe_for_anonymous\":true,\"allow_publish_for_subscriber\":true}]}}",
        3 + settings[0] % 8, 4096u << (settings[0] & 3), 1 + settings[2] % 4,
        settings[1] & 1 ? 4u : 0u, settings[1] & 2 ? 20u : 0u, settings[1] & 4 ? 50u : 0u,
        2 + settings[1] % 4, 1024u << (settings[2] & 3), shards, options, options);
    check(used > 0 && (uint32_t)used < size);
    return (uint32_t)used;
}

static bool host_is_up(void)
{
    return host_state() == HOST_UP && loop_sim_listening() == host_shards();
}
static bool host_is_down(void)
{
    return host_state() == HOST_DOWN;
}
static bool witness_is_in(void)
{
    return witness.is_in;
}
static bool witness_has_all(void)
{
    return witness.heard == witness.said && witness.acked == witness.said;
}

static bool only_the_witness_is_left(void)
{
    return check_only(1, 1);
}

static void perform(struct script *script)
{
    for (uint32_t words = 0; script->at < script->end && words < WORDS_MAX; words++) {
        if (words % 4 == 0 && witness.said < 50 && witness.said == witness.acked) witness_say();
        play(script);
        step_world();
    }
}

static void start(void)
{
    static struct plan plan; /* the host keeps it */
    plan = (struct plan){
        .is_memory = true,
        .net = {.delay_ns_min = 10000,
                .delay_ns_max = 1000000,
                .window_min = 4096,
                .window_max = 65536,
                .short_percent = settings[0] & 8 ? 20 : 0,
                .split_percent = settings[0] & 16 ? 30 : 0},
        .loop = {.closed_ns_max = 1000000},
    };
    world_init(settings[0]);
    world.is_fuzzing = true;
    host_init(&plan);
    host_boot(1 + settings[1] / 8 % 3);
    wait_until(host_is_up, 10 * SECOND_NS, "a start ends");
    witness_start();
    wait_until(witness_is_in, 10 * SECOND_NS, "the witness is let in");
}

static void finish(void)
{
    for (uint32_t i = 0; i < PEERS; i++) {
        peer_go(&peers[i], true);
        peers[i].is_closing = true;
    }
    wait_until(witness_has_all, 60 * SECOND_NS, "the witness gets everything");
    wait_until(only_the_witness_is_left, 100 * SECOND_NS, "of peers that are gone nothing is left");
    witness_end();
    host_drain();
    wait_until(host_is_down, 60 * SECOND_NS, "a drain ends");
    for (uint32_t i = 0; i < PEERS; i++) free(peers[i].early);
    host_fini();
    witness_fini();
    fibers_drop();
    world_fini();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < sizeof settings || size > 4096) return 0;
    memcpy(settings, data, sizeof settings);
    memset(peers, 0, sizeof peers);
    passed_ns = 0;
    log_set_level(LOG_NONE);
    struct script script = {data + sizeof settings, data + size};
    start();
    perform(&script);
    finish();
    return 0;
}
