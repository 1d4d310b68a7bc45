/*
 * plan: what one seed's run consists of.
 */
#include "plan.h"

#include <stdio.h>
#include <string.h>

#include "core/check.h"
#include "world.h"

#define HISTORY_ALL 100000u

static const char *const kind_names[KIND_COUNT] = {"keep", "tail", "live", "shut", "mute", "team"};

/* Who is listed, who is told, and both: a kind has the same in every seed. */
static const char *const kind_presence[KIND_COUNT] = {
    [KIND_KEEP] = ",\"presence\":true",
    [KIND_TAIL] = ",\"join_leave\":true,\"force_push_join_leave\":true",
    [KIND_LIVE] = ",\"presence\":true,\"join_leave\":true,\"force_push_join_leave\":true",
    [KIND_SHUT] = "",
    [KIND_MUTE] = ",\"presence\":true,\"join_leave\":true",
    [KIND_TEAM] = "",
};

bool plan_has_history(enum channel_kind kind)
{
    return kind != KIND_LIVE;
}

uint32_t plan_history(const struct plan *plan, enum channel_kind kind)
{
    return kind == KIND_LIVE ? 0 : kind == KIND_TAIL ? plan->tail_size : HISTORY_ALL;
}

/* One of the values: `count` of them, uniformly. */
#define ONE_OF(...)                                                                                \
    pick((const uint64_t[]){__VA_ARGS__},                                                          \
         sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))
static uint64_t pick(const uint64_t *values, size_t count)
{
    return values[chance_below(count)];
}

static void draw_channels(struct plan *plan)
{
    plan->channels_count = (uint32_t)chance_between(KIND_COUNT, CHANNELS_SIM_MAX);
    for (uint32_t i = 0; i < plan->channels_count; i++) {
        struct plan_channel *channel = &plan->channels[i];
        channel->kind = (enum channel_kind)(i < KIND_COUNT ? i : chance_below(KIND_COUNT));
        snprintf(channel->name, sizeof(channel->name), "%s:%u", kind_names[channel->kind],
                 (uint32_t)chance_below(1000) * 100 + i);
    }
    plan->tail_size = (uint32_t)chance_between(1, 30);
    plan->window_size = (uint32_t)ONE_OF(1, 5, 50, 1000);
}

static void draw_clients(struct plan *plan)
{
    plan->clients_count = (uint32_t)ONE_OF(5, 40, 100, 160, CLIENTS_SIM_MAX);
    plan->users_count = (uint32_t)min_u64(chance_between(1, USERS_SIM_MAX), plan->clients_count);
    plan->apis_count = (uint32_t)chance_between(1, APIS_SIM_MAX);
    plan->channels_per_client = (uint32_t)chance_between(1, 4);
    plan->has_tokens = chance(50);
    plan->has_key_sets = plan->has_tokens && chance(60);
    plan->is_insecure = !plan->has_tokens && chance(50);
    /* Busy seeds with few clients, calm ones with many: about the same work. */
    plan->act_ns = plan->clients_count * ONE_OF(1000000, 4000000, 20000000);
    plan->api_act_ns = ONE_OF(5000000, 20000000, 100000000);
    plan->weight_publish = (uint32_t)ONE_OF(10, 50, 200);
    plan->weight_subscribe = (uint32_t)ONE_OF(0, 5, 50);
    plan->weight_history = (uint32_t)ONE_OF(0, 5, 20);
    plan->weight_read = (uint32_t)ONE_OF(0, 5, 50);
    plan->weight_forbidden = (uint32_t)ONE_OF(0, 2, 10);
    plan->weight_reset = (uint32_t)ONE_OF(0, 2, 20);
    plan->weight_leave = (uint32_t)ONE_OF(0, 2, 20);
    plan->weight_slow = (uint32_t)ONE_OF(0, 2, 20);
    plan->weight_ping = (uint32_t)ONE_OF(0, 1);
    plan->keyed_percent = (uint32_t)ONE_OF(0, 20, 80);
    plan->large_percent = (uint32_t)ONE_OF(0, 0, 2, 20);
    plan->large_max = (uint32_t)ONE_OF(600, 5000, 20000);
    plan->fragment_percent = (uint32_t)ONE_OF(0, 10, 50);
    plan->named_percent = (uint32_t)ONE_OF(0, 50, 100);
    plan->slow_ns_max = ONE_OF(10000000, 1000000000, 10000000000);
    plan->queue_max_bytes = (uint32_t)ONE_OF(4096, 16384, 1048576);
    plan->message_max_bytes = plan->large_max + (uint32_t)ONE_OF(1024, 65536);
    plan->ping_ms = (uint32_t)ONE_OF(1000, 5000, 25000);
    plan->pong_ms = min_u32((uint32_t)ONE_OF(900, 8000), plan->ping_ms - 100);
}

/* Drawn last, so that a seed's other choices stay what they were. */
static void draw_users(struct plan *plan)
{
    plan->ban_percent = plan->has_tokens ? (uint32_t)ONE_OF(0, 5, 30, 80) : 0;
    uint32_t most = (plan->clients_count + plan->users_count - 1) / plan->users_count;
    plan->user_limit = chance(40) ? most : 0;
    plan->binary_percent = (uint32_t)ONE_OF(0, 30, 50, 100);
    plan->is_single = plan->has_tokens && most == 1 && chance(60);
    if (plan->is_single) plan->user_limit = 1;
}

static void draw_world(struct plan *plan)
{
    plan->turn_ns_max = ONE_OF(2000, 20000, 200000);
    plan->stall_permille = (uint32_t)ONE_OF(0, 1, 10);
    plan->stall_ns_max = ONE_OF(1000000, 30000000);
    plan->disk = (struct disk_sim_options){
        .pause_percent = (uint32_t)ONE_OF(0, 2, 20),
        .pause_ns_max = ONE_OF(100000, 5000000),
        .sync_ns_min = ONE_OF(20000, 1000000),
        .sync_ns_max = ONE_OF(2000000, 50000000),
        .writeback_percent = (uint32_t)ONE_OF(0, 5, 50),
    };
    plan->net = (struct net_sim_options){
        .delay_ns_min = ONE_OF(10000, 1000000),
        .delay_ns_max = ONE_OF(2000000, 100000000),
        .window_min = (uint32_t)ONE_OF(512, 4096, 65536),
        .window_max = (uint32_t)ONE_OF(65536, 262144),
        .short_percent = (uint32_t)ONE_OF(0, 1, 10),
        .split_percent = (uint32_t)ONE_OF(0, 5, 40),
    };
    plan->loop = (struct loop_sim_options){
        .sync_error_permille = chance(5) ? 2 : 0,
        .closed_ns_max = ONE_OF(1000, 5000000),
    };
    plan->shards = (uint32_t)chance_between(1, 4);
}

static void draw_kills(struct plan *plan)
{
    plan->active_ns = ONE_OF(2000000000, 4000000000, 6000000000);
    plan->jump_ns = ONE_OF(0, 0, 200000000, 1000000000);
    plan->kills_count = (uint32_t)chance_below(KILLS_SIM_MAX + 1);
    for (uint32_t i = 0; i < plan->kills_count; i++) {
        plan->kills[i] = (struct plan_kill){
            /* Some kills come while the start-up still recovers. */
            .at_ns = chance(20) ? chance_below(20000000) : chance_below(plan->active_ns),
            .down_ns = ONE_OF(1000000, 100000000, 1000000000),
            .kind = (enum kill_kind)ONE_OF(KILL_PROCESS, KILL_MACHINE, KILL_MACHINE, KILL_DRAIN),
            .shards = (uint32_t)chance_between(1, 4),
        };
    }
}

/* Drawn last, too. */
static void draw_trouble(struct plan *plan)
{
    plan->troubles_count = chance(60) ? (uint32_t)chance_between(1, TROUBLES_SIM_MAX) : 0;
    for (uint32_t i = 0; i < plan->troubles_count; i++) {
        plan->troubles[i] = (struct plan_trouble){
            .at_ns = chance_below(plan->active_ns),
            .span_ns = chance_between(1000000, ONE_OF(100000000, 4000000000)),
            .kind = (enum disk_trouble)ONE_OF(TROUBLE_FULL, TROUBLE_ERRORS, TROUBLE_SYNCS),
            .permille = (uint32_t)ONE_OF(2, 20, 200, 1000),
        };
    }
}

void plan_draw(struct plan *plan)
{
    memset(plan, 0, sizeof(*plan));
    draw_channels(plan);
    draw_clients(plan);
    draw_world(plan);
    draw_kills(plan);
    draw_users(plan);
    plan->index_lag_max = 1u << 20;
    plan->presence_max = (uint32_t)ONE_OF(2, 20, 10000);
    plan->is_memory = world.is_memory;
    draw_trouble(plan);
    if (plan->is_memory) plan->kills_count = plan->troubles_count = 0;
    plan->is_sealed = chance(30) && !plan->is_memory;
}

uint32_t plan_config(const struct plan *plan, uint32_t shards, char *text, uint32_t size)
{
    int used = snprintf(
        text, size,
        "{\"client\":{\"insecure\":%s,\"allow_anonymous_connect_without_token\":%s,\"token\":{"
        "%s},"
        "\"ping_interval\":\"%ums\",\"pong_timeout\":\"%ums\",\"queue_max_size\":%u,"
        "\"recovery_max_publication_limit\":%u,\"user_connection_limit\":%u,"
        "\"subscribe_to_user_personal_channel\":{\"enabled\":%s,\"single_connection\":%s}},"
        "\"http_api\":{\"key\":\"simulated key\"},\"log\":{\"level\":\"none\"},"
        "\"websocket\":{\"message_size_limit\":%u},"
        "\"storage\":{\"engine\":\"%s\",\"path\":\"/"
        "data\",\"window_size\":%u,\"index_lag_max\":%u,\"key\":\"%s\"},"
        "\"shards\":{\"count\":%u,\"connections_max\":1024},\"shutdown\":{\"timeout\":\"5s\"},"
        "\"health\":{\"enabled\":true},\"node\":{\"name\":\"sim\"},\"channel\":{"
        "\"presence_max_clients\":%u,\"namespaces\":[",
        plan->is_insecure ? "true" : "false", plan->has_tokens ? "false" : "true",
        plan->has_key_sets ? "\"jwks_public_endpoint\":\"https://keys.sim/set\""
                           : "\"hmac_secret_key\":\"a simulated secret of 32 bytes..\"",
        plan->ping_ms, plan->pong_ms, plan->queue_max_bytes, RECOVERY_MAX, plan->user_limit,
        plan->is_single ? "true" : "false", plan->is_single ? "true" : "false",
        plan->message_max_bytes, plan->is_memory ? "memory" : "embedded", plan->window_size,
        plan->index_lag_max, plan->is_sealed ? PLAN_KEY : "", shards, plan->presence_max);
    check(used > 0 && (uint32_t)used < size);
    for (uint32_t kind = 0; kind < KIND_COUNT; kind++) {
        bool has_history = plan_has_history((enum channel_kind)kind);
        used += snprintf(text + used, size - (uint32_t)used, "%s{\"name\":\"%s\"",
                         kind == 0 ? "" : ",", kind_names[kind]);
        if (has_history)
            used += snprintf(
                text + used, size - (uint32_t)used,
                ",\"history_size\":%u,\"history_ttl\":\"168h\",\"force_recovery\":true,"
                "\"allow_history_for_subscriber\":true,\"allow_history_for_anonymous\":true",
                plan_history(plan, (enum channel_kind)kind));
        used += snprintf(text + used, size - (uint32_t)used, "%s", kind_presence[kind]);
        used +=
            snprintf(text + used, size - (uint32_t)used,
                     ",\"allow_subscribe_for_client\":%s,\"allow_subscribe_for_anonymous\":%s,"
                     "\"allow_publish_for_subscriber\":%s,\"allow_publish_for_anonymous\":%s}",
                     kind == KIND_SHUT ? "false" : "true", kind == KIND_SHUT ? "false" : "true",
                     kind == KIND_MUTE ? "false" : "true", kind == KIND_MUTE ? "false" : "true");
        check((uint32_t)used < size);
    }
    used += snprintf(text + used, size - (uint32_t)used, "]}}");
    check((uint32_t)used < size);
    return (uint32_t)used;
}
