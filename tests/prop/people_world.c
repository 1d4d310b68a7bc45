/*
 * people_world: the gateway, its machine and the rooms.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "people_parts.h"
#include "sim/fiber.h"
#include "sim/host.h"
#include "sim/office.h"

#define STEPS_MAX   20000000u
#define CALM_NS_MAX (UINT64_C(120000) * MS)
#define TEXT_ROOM   32768

static struct {
    struct plan plan;
    char names[ROOMS_MAX][32];
    uint64_t heads[ROOMS_MAX];
    char epochs[ROOMS_MAX][32];
    uint64_t turn_ns_max;
    char why[256];
} stage;

/* --- rooms ------------------------------------------------------------------------- */

const char *room_name(uint32_t room)
{
    return stage.names[room];
}

uint64_t room_head(uint32_t room)
{
    return stage.heads[room];
}

void people_told(uint32_t room, uint64_t offset)
{
    stage.heads[room] = max_u64(stage.heads[room], offset);
}

uint32_t text_of(uint32_t room, struct bytes data)
{
    uint64_t number = peek_number(data, "m", UINT64_MAX);
    struct bytes pad;
    if (number >= people.texts_count)
        world_fail("what is delivered was said by somebody", "%.*s", (int)min_u64(data.size, 80),
                   (const char *)data.at);
    if (people.texts[number].room != room)
        world_fail("what is said stays in its room", "text %" PRIu64 " in %s", number,
                   room_name(room));
    if (!peek_get(data, "p", &pad) || pad.size != number % 40 + 2)
        world_fail("what is said arrives whole", "text %" PRIu64, number);
    return (uint32_t)number;
}

/* --- the gateway ------------------------------------------------------------------- */

/* host.c asks for it. */
uint32_t plan_config(const struct plan *plan, uint32_t shards, char *text, uint32_t size)
{
    static const char room[] = "{\"name\":\"%s\",\"history_size\":%u,\"history_ttl\":\"24h\","
                               "\"force_recovery\":true,\"presence\":true,"
                               "\"allow_subscribe_for_client\":true,"
                               "\"allow_publish_for_client\":true}%s";
    const struct scene *scene = &people.scene;
    int used = snprintf(
        text, size,
        "{\"client\":{\"token\":{\"hmac_secret_key\":\"" PEOPLE_SECRET "\"},"
        "\"ping_interval\":\"5s\",\"pong_timeout\":\"4s\",\"queue_max_size\":%u,"
        "\"recovery_max_publication_limit\":%u,\"user_connection_limit\":%u,"
        "\"subscribe_to_user_personal_channel\":{\"enabled\":%s,\"single_connection\":%s}},"
        "\"http_api\":{\"key\":\"simulated key\"},\"log\":{\"level\":\"none\"},"
        "\"storage\":{\"engine\":\"embedded\",\"path\":\"/data\",\"window_size\":%u,"
        "\"index_lag_max\":%u,\"key\":\"%s\"},\"shards\":{\"count\":%u,\"connections_max\":256},"
        "\"shutdown\":{\"timeout\":\"5s\"},\"node\":{\"name\":\"sim\"},"
        "\"channel\":{\"namespaces\":[",
        plan->queue_max_bytes, scene->recovery_max, scene->user_limit,
        scene->is_single ? "true" : "false", scene->is_single ? "true" : "false", plan->window_size,
        plan->index_lag_max, plan->is_sealed ? PLAN_KEY : "", shards);
    check(used > 0 && (uint32_t)used < size);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    used += snprintf(text + used, size - (uint32_t)used, room, "whole", 100000u, ",");
    used += snprintf(text + used, size - (uint32_t)used, room, "tail", scene->tail_size, "]}}");
#pragma GCC diagnostic pop
    check((uint32_t)used < size);
    return (uint32_t)used;
}

#define ONE_OF(...)                                                                                \
    ((const uint64_t[]){                                                                           \
        __VA_ARGS__})[chance_below(sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))]

static void plan_weather(struct plan *plan)
{
    *plan = (struct plan){
        .queue_max_bytes = (uint32_t)ONE_OF(65536, 1048576),
        .window_size = (uint32_t)ONE_OF(1, 5, 50, 1000),
        .index_lag_max = 1u << 20,
        .is_sealed = chance(30),
        .users_count = people.scene.users,
        .user_limit = people.scene.user_limit,
        .disk = {.pause_percent = (uint32_t)ONE_OF(0, 2, 20),
                 .pause_ns_max = ONE_OF(100000, 5000000),
                 .sync_ns_min = ONE_OF(50000, 1000000),
                 .sync_ns_max = ONE_OF(2000000, 50000000),
                 .writeback_percent = (uint32_t)ONE_OF(0, 10, 50)},
        .net = {.delay_ns_min = ONE_OF(10000, 1000000),
                .delay_ns_max = ONE_OF(2000000, 60000000),
                .window_min = (uint32_t)ONE_OF(512, 4096, 65536),
                .window_max = (uint32_t)ONE_OF(65536, 262144),
                .short_percent = (uint32_t)ONE_OF(0, 1, 10),
                .split_percent = (uint32_t)ONE_OF(0, 5, 40)},
        .loop = {.closed_ns_max = ONE_OF(1000, 5000000)},
    };
    stage.turn_ns_max = ONE_OF(2000, 20000, 200000);
}

/* One step: what is due, then one thread of the gateway. */
static void people_step(void)
{
    if (++world.steps > STEPS_MAX) world_fail("a round ends", "steps limit");
    world_run_due();
    if (fibers_step()) {
        world.now_ns += 500 + chance_below(stage.turn_ns_max);
        return;
    }
    uint64_t next = min_u64(world_next_ns(), fibers_next_ns());
    if (next == UINT64_MAX) world_fail("something is always to come", "stuck");
    world.now_ns = max_u64(world.now_ns, next);
}

void people_pass(uint64_t span_ns)
{
    uint64_t end_ns = world.now_ns + span_ns;
    while (world.now_ns < end_ns) {
        /* What nobody waits for comes no earlier than the end. */
        if (world_next_ns() > end_ns && fibers_next_ns() > end_ns) {
            if (fibers_step()) continue;
            world.now_ns = end_ns;
            return;
        }
        people_step();
    }
}

void people_until(bool (*is_so)(void), const char *what)
{
    uint64_t end_ns = world.now_ns + CALM_NS_MAX, look_ns = 0;
    stage.why[0] = '\0';
    for (;;) {
        if (world.now_ns >= look_ns) {
            if (is_so()) return;
            look_ns = world.now_ns + 2 * MS;
        }
        if (world.now_ns >= end_ns) world_fail(what, "%s", stage.why);
        people_step();
    }
}

static bool host_is_up(void)
{
    return host_state() == HOST_UP;
}
static bool host_is_down(void)
{
    return host_state() == HOST_DOWN;
}

void people_kill(enum end end, uint64_t down_ns)
{
    people.kills++;
    if (end == END_DRAIN && host_state() == HOST_UP) {
        host_drain();
        people_until(host_is_down, "a drain ends");
    } else {
        host_kill(end == END_POWER);
    }
    people_pass(down_ns);
    host_boot((uint32_t)chance_between(1, 4));
}

void people_kill_maybe(uint32_t percent)
{
    if (!chance(percent)) return;
    /* Now and then a recovery is cut short, too. */
    do people_kill((enum end)chance_below(3), chance_between(1, 300) * MS);
    while (chance(20));
}

void people_begin(const struct scene *scene, const struct people_calls *calls)
{
    memset(&people, 0, sizeof(people));
    memset(&stage, 0, sizeof(stage));
    people.scene = *scene;
    if (people.scene.tail_size == 0) people.scene.tail_size = 10;
    if (people.scene.recovery_max == 0) people.scene.recovery_max = 300;
    check(scene->devices <= DEVICES_MAX && scene->rooms <= ROOMS_MAX && scene->users > 0);
    for (uint32_t i = 0; i < scene->rooms; i++)
        snprintf(stage.names[i], sizeof(stage.names[i]), "%s:%u",
                 scene->kinds[i] == ROOM_WHOLE ? "whole" : "tail",
                 (uint32_t)chance_below(1000) * 10 + i);
    world_init(world.seed);
    plan_weather(&stage.plan);
    host_init(&stage.plan);
    people_devices_init(calls);
    host_boot((uint32_t)chance_between(1, 4));
    people_until(host_is_up, "a start ends");
    for (uint32_t i = 0; i < scene->devices; i++) device_come(&people.devices[i]);
}

void people_end(void)
{
    people_until(host_is_up, "a start ends");
    host_drain();
    people_until(host_is_down, "a drain ends");
    people.is_over = true;
    people_devices_fini();
    office_fini();
    host_fini();
    fibers_drop();
    world_fini();
}

/* --- calm -------------------------------------------------------------------------- */

static bool device_is_calm(const struct device *device)
{
    if (device->is_away) return true;
    if (device->state != DEVICE_ON || device->asks_count > 0) return false;
    for (uint32_t room = 0; room < people.scene.rooms; room++) {
        const struct seat *seat = &device->seats[room];
        if (seat->is_wanted && (seat->state != SEAT_LIVE || seat->offset < stage.heads[room]))
            return false;
    }
    return true;
}

static bool all_is_calm(void)
{
    if (host_state() != HOST_UP) return false;
    for (uint32_t i = 0; i < people.texts_count; i++) {
        if (people.texts[i].is_acked || people.devices[people.texts[i].device].is_away) continue;
        snprintf(stage.why, sizeof(stage.why), "text %u is not answered", i);
        return false;
    }
    for (uint32_t i = 0; i < people.scene.devices; i++) {
        const struct device *device = &people.devices[i];
        if (device_is_calm(device)) continue;
        snprintf(stage.why, sizeof(stage.why), "device %u: state %d, %u commands wait", i,
                 device->state, device->asks_count);
        return false;
    }
    return true;
}

void people_calm(void)
{
    for (uint32_t i = 0; i < people.scene.devices; i++) device_pause(&people.devices[i], false);
    people_until(all_is_calm, "in calm everyone gets everything");
}

/* --- the server API ---------------------------------------------------------------- */

struct bytes people_ask(const char *method, const char *format, ...)
{
    static char body[TEXT_ROOM];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(body, sizeof(body), format, arguments);
    va_end(arguments);
    check(size > 0 && (size_t)size < sizeof(body));
    office_begin(method, bytes_of(body, (size_t)size));
    people_until(office_is_done, "a call is answered");
    return office_result();
}

void room_members(uint32_t room)
{
    char list[DEVICES_MAX * 8];
    int used = 0;
    for (uint32_t i = 0; i < people.scene.users; i++)
        used +=
            snprintf(list + used, sizeof(list) - (size_t)used, "%s\"u%u\"", i == 0 ? "" : ",", i);
    (void)people_ask("members_set", "{\"channel\":\"%s\",\"members\":[%s]}", room_name(room), list);
}

uint64_t people_history(uint32_t room, void (*each)(uint32_t room, uint64_t offset, uint32_t text))
{
    struct bytes result =
        people_ask("history", "{\"channel\":\"%s\",\"limit\":-1}", room_name(room));
    struct bytes list, publication, data;
    if (!peek_get(result, "publications", &list)) world_fail("history has publications", "none");
    for (size_t at = 0; peek_each(list, &at, &publication);) {
        if (!peek_get(publication, "data", &data)) world_fail("a publication has data", "none");
        each(room, peek_number(publication, "offset", 0), text_of(room, data));
    }
    return peek_number(result, "offset", 0);
}
