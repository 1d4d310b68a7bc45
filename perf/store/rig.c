/* rig: see rig.h. */
#include "perf/store/rig.h"

#include <stdio.h>
#include <stdlib.h>

static void on_publication(void *context, struct store_channel *channel,
                           const struct publication *publication)
{
    (void)context, (void)channel, (void)publication;
}
static void on_members(void *context, struct store_channel *channel,
                       const struct members_change *change)
{
    (void)context, (void)channel, (void)change;
}
static void on_cursor(void *context, struct store_channel *channel,
                      const struct store_cursor *cursor)
{
    (void)context, (void)channel, (void)cursor;
}
static void on_removed(void *context, struct store_channel *channel, uint64_t offset)
{
    (void)context, (void)channel, (void)offset;
}
static void on_lost(void *context, struct store_channel *channel)
{
    (void)context, (void)channel;
}

static struct store_sink whole(const struct store_sink *sink)
{
    struct store_sink all = *sink;
    if (all.on_publication == NULL) all.on_publication = on_publication;
    if (all.on_members == NULL) all.on_members = on_members;
    if (all.on_cursor == NULL) all.on_cursor = on_cursor;
    if (all.on_removed == NULL) all.on_removed = on_removed;
    if (all.on_lost == NULL) all.on_lost = on_lost;
    return all;
}

void rig_config_embedded(struct rig *rig, const char *path)
{
    rig->config = (struct config){.storage_engine = CONFIG_ENGINE_EMBEDDED,
                                  .storage_path = path,
                                  .storage_durability = CONFIG_DURABLE,
                                  .storage_index_lag_max_bytes = 256u << 20,
                                  .storage_dedup_horizon_ms = 7 * 86400000ull,
                                  .storage_dedup_keys_max = 1000000,
                                  .channel_history_meta_ttl_ms = 30 * 86400000ull};
    rig->config.without_namespace.history_meta_ttl_ms = 30 * 86400000ull;
}

void rig_begin(struct rig *rig, const struct store_sink *sink)
{
    rig->workers = workers_create();
    if (store_node_open(&rig->config, rig->workers, 1, &rig->node) != ERR_OK) abort();
    struct loop_options options = {.socks_max = 16,
                                   .recv_buffers = 256,
                                   .recv_buffer_size = 4096,
                                   .sq_entries = 256,
                                   .cq_entries = 4096};
    if (loop_create(&options, &rig->loop) != ERR_OK) abort();
    loop_start(rig->loop);
    inbox_init(&rig->inbox, rig->loop);
    clock_turn(&rig->clock);
    wheel_init(&rig->wheel, clock_turn_ms(&rig->clock));
    struct store_env env = {.shards_count = 1,
                            .loop = rig->loop,
                            .inbox = &rig->inbox,
                            .wheel = &rig->wheel,
                            .clock = &rig->clock,
                            .rng = &rig->rng,
                            .metrics = &rig->metrics,
                            .workers = rig->workers,
                            .config = &rig->config,
                            .sink = whole(sink)};
    rig->store = store_attach(rig->node, &env);
    if (rig->store == NULL) abort();
}

void rig_hear(struct rig *rig, uint64_t wake_ms)
{
    loop_enter(rig->loop, wake_ms);
    clock_turn(&rig->clock);
    loop_run(rig->loop);
    inbox_read(&rig->inbox, NULL);
}

void rig_submit(struct rig *rig)
{
    wheel_run(&rig->wheel, clock_turn_ms(&rig->clock), 1024);
    store_submit(rig->store);
}

void rig_turn(struct rig *rig)
{
    rig_hear(rig, clock_turn_ms(&rig->clock) + 1);
    rig_submit(rig);
}

void rig_settle(struct rig *rig)
{
    while (store_pending(rig->store) > 0 || rig->metrics.values[METRIC_STORE_LAG_BYTES] > 0)
        rig_turn(rig);
}

void rig_end(struct rig *rig)
{
    store_detach(rig->store);
    store_node_close(rig->node);
    workers_destroy(rig->workers);
    inbox_fini(&rig->inbox);
    loop_destroy(rig->loop);
}

void rig_empty(const char *path)
{
    char command[600];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    if (system(command) != 0) abort();
}
