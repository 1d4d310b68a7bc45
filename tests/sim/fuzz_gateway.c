/*
 * fuzz_gateway: the whole gateway against peers that the input scripts.
 *
 * Real shards on the simulated world, started anew for each input.  The input
 * is a script: up to eight sockets send what it says, cut where it says, close,
 * reset, stop reading and read again while virtual time goes by (fuzz_peers.c).
 * Pieces that are hard to guess (an upgrade, a token, a command in either wire, an API
 * call with its key) have a word of their own (fuzz_words.c); everything else is the
 * input's bytes.
 *
 * What must hold whatever they do: nothing crashes; a client that keeps the rules
 * publishes into its own channel, and gets its messages, all of them once and in
 * order, on one connection; when the peers are gone nothing of theirs is left on
 * any shard; and after a drain not one allocation is held.
 *
 * Script: three bytes of settings, then words.
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

#define WORDS_MAX   400
#define STEPS_MAX   2000000 /* of one input: then it hangs */
#define PASS_NS_MAX (200 * SECOND_NS)

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

static uint64_t passed_ns;

/* --- the world --------------------------------------------------------------- */

void fuzz_step(void)
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

/* An hour of pings is no finding. */
void fuzz_pass(uint64_t span_ns)
{
    span_ns = min_u64(span_ns, passed_ns < PASS_NS_MAX ? PASS_NS_MAX - passed_ns : 0);
    passed_ns += span_ns;
    uint64_t end_ns = world.now_ns + span_ns;
    while (world.now_ns < end_ns) fuzz_step();
}

static void wait_until(bool (*is_so)(void), uint64_t span_ns, const char *what)
{
    uint64_t end_ns = world.now_ns + span_ns;
    while (!is_so()) {
        if (world.now_ns >= end_ns)
            world_fail(what, "said %u acked %u heard %u", witness.said, witness.acked,
                       witness.heard);
        fuzz_step();
    }
}

/* --- one input ---------------------------------------------------------------------- */

static uint8_t settings[3];

static bool has_personal_channels(void)
{
    return settings[0] & 64;
}

/* The sections of users: whose tokens count, and how often one may be there. */
static uint32_t users_config(char *text, uint32_t size)
{
    static const char key_sets[] = ",\"subscription_token\":{\"enabled\":true,\"jwks_public_"
                                   "endpoint\":\"https://keys.sim/set\"}";
    static const char personal[] =
        ",\"subscribe_to_user_personal_channel\":{\"enabled\":true,\"single_connection\":true,"
        "\"personal_channel_namespace\":\"me\"}";
    int used = snprintf(text, size,
                        "\"token\":{\"hmac_secret_key\":\"" HMAC_KEY
                        "\"},\"user_connection_limit\":%u%s%s",
                        settings[0] & 32 ? 2u : 0u, settings[0] & 128 ? key_sets : "",
                        has_personal_channels() ? personal : "");
    check(used > 0 && (uint32_t)used < size);
    return (uint32_t)used;
}

/* host.c asks for it: the settings of this input.  The channels of the witness are for
 * JSON alone: what is none would end it. */

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
    char options[1024], users[512];
    int used = snprintf(options, sizeof options, all, 3 + settings[2] % 8);
    check(used > 0 && (size_t)used < sizeof options);
    users_config(users, sizeof users);
    used = snprintf(
        text, size,
        "{\"client\":{\"allow_anonymous_connect_without_token\":true,%s,\"ping_interval\":\"%us\","
        "\"pong_timeout\":\"2s\","
        "\"queue_max_size\":%u,\"queue_max_age\":\"%us\",\"connection_limit\":%u,"
        "\"connection_rate_limit\":%u,\"command_rate_limit\":%u,\"channel_limit\":%u,"
        "\"allowed_origins\":[\"http://*\"]},"
        "\"http_api\":{\"key\":\"" API_KEY "\"},\"log\":{\"level\":\"none\"},"
        "\"websocket\":{\"message_size_limit\":%u},\"http_server\":{\"body_size_limit\":4096},"
        "\"storage\":{\"engine\":\"memory\",\"window_size\":8},\"debug\":{\"echo\":true},"
        "\"shards\":{\"count\":%u,\"connections_max\":64},\"shutdown\":{\"timeout\":\"5s\"},"
        "\"health\":{\"enabled\":true},\"prometheus\":{\"enabled\":true},\"node\":{\"name\":\"f\"},"
        "\"channel\":{\"namespaces\":[{\"name\":\"all\",%s},{\"name\":\"own\",%s,"
        "\"publication_data_format\":\"json\"},{\"name\":\"me\",%s,"
        "\"publication_data_format\":\"json\"},{\"name\":\"shut\",\"history_size\":4,"
        "\"history_ttl\":\"5s\",\"presence\":true,\"join_leave\":true,\"allow_recovery\":true,"
        "\"allow_presence_for_subscriber\":true,\"allow_publish_for_subscriber\":true},"
        "{\"name\":\"live\",\"allow_subscribe_for_client\":true,"
        "\"allow_subscribe_for_anonymous\":true,\"allow_publish_for_subscriber\":true}]}}",
        users, 3 + settings[0] % 8, 4096u << (settings[0] & 3), 1 + settings[2] % 4,
        settings[1] & 1 ? 4u : 0u, settings[1] & 2 ? 20u : 0u, settings[1] & 4 ? 50u : 0u,
        2 + settings[1] % 4, settings[2] & 16 ? 65536u : 1024u << (settings[2] & 3), shards,
        options, options, options);
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
    return check_only(1, 1 + has_personal_channels());
}

static void perform(struct script *script)
{
    for (uint32_t words = 0; script->at < script->end && words < WORDS_MAX; words++) {
        if (words % 4 == 0 && witness.said < 50 && witness.said == witness.acked) witness_say();
        peers_play(script);
        fuzz_step();
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
    peers_go();
    wait_until(witness_has_all, 60 * SECOND_NS, "the witness gets everything");
    wait_until(only_the_witness_is_left, 100 * SECOND_NS, "of peers that are gone nothing is left");
    witness_end();
    host_drain();
    wait_until(host_is_down, 60 * SECOND_NS, "a drain ends");
    peers_fini();
    host_fini();
    witness_fini();
    fibers_drop();
    world_fini();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < sizeof settings || size > 4096) return 0;
    memcpy(settings, data, sizeof settings);
    peers_init();
    passed_ns = 0;
    log_set_level(LOG_NONE);
    struct script script = {data + sizeof settings, data + size};
    start();
    perform(&script);
    finish();
    return 0;
}
