/* Which engine serves the configuration, and the checks at its door. */
#include "storage/store.h"

#include "core/check.h"
#include "core/log.h"
#include "storage/engines.h"

/* By enum config_engine. */
static const struct store_engine *const engines[] = {
    [CONFIG_ENGINE_EMBEDDED] = &store_engine_embed,
    [CONFIG_ENGINE_REDIS] = &store_engine_redis,
    [CONFIG_ENGINE_MEMORY] = &store_engine_memory,
};

uint64_t store_meta_ttl_ms(const struct config *config, struct bytes channel)
{
    const struct config_namespace *space = config_namespace_of(config, channel);
    return space == NULL ? config->channel_history_meta_ttl_ms : space->history_meta_ttl_ms;
}

enum err store_node_open(const struct config *config, struct workers *workers,
                         uint32_t shards_count, struct store_node **node)
{
    check(config != NULL && node != NULL);
    check(shards_count >= 1 && shards_count <= SHARDS_MAX);
    check(config->storage_engine < array_count(engines));
    const struct store_engine *engine = engines[config->storage_engine];
    *node = NULL;
    if (engine == NULL) {
        log_error("this build lacks the configured store; set storage.engine to memory");
        return ERR_UNSUPPORTED;
    }
    TRY(engine->node_open(config, workers, shards_count, node));
    check(*node != NULL && (*node)->engine == engine);
    return ERR_OK;
}

void store_node_close(struct store_node *node)
{
    if (node != NULL) node->engine->node_close(node);
}

struct store *store_attach(struct store_node *node, const struct store_env *env)
{
    check(node != NULL && env->shard < env->shards_count);
    check(env->wheel != NULL && env->clock != NULL && env->metrics != NULL);
    check(env->sink.on_publication != NULL && env->sink.on_members != NULL);
    check(env->sink.on_cursor != NULL && env->sink.on_lost != NULL);
    check(env->sink.on_removed != NULL);
    struct store *store = node->engine->attach(node, env);
    if (store != NULL) check(store->engine == node->engine);
    return store;
}

void store_configure(struct store *store, const struct config *config)
{
    check(store != NULL && config != NULL);
    check(config->storage_engine == store->env.config->storage_engine);
    store->env.config = config;
}

void store_detach(struct store *store)
{
    check(store_pending(store) == 0);
    store->engine->detach(store);
}
