/*
 * reload: read, compare, tell, free.
 */
#include "shards/ops/reload.h"

#include "core/check.h"
#include "core/config.h"
#include "core/log.h"
#include "core/mem.h"
#include "shards/node.h"
#include "shards/ops/certificate.h"
#include "shards/shard.h"
#include "shards/token/token.h"

/* ---- snapshots ---- */

static void say_plain(void *context, enum config_voice voice, const char *sentence)
{
    (void)context;
    if (voice == CONFIG_SAYS_WARNING)
        log_warn("%s", sentence);
    else
        log_error("%s", sentence);
}

enum err snapshot_create(struct config *config, struct tls_shared *tls_shared,
                         struct snapshot **out)
{
    check(config != NULL && out != NULL);
    struct snapshot *made = mem_alloc(sizeof *made);
    made->config = config;
    enum err err = ERR_OK;
    for (uint32_t use = 0; err == ERR_OK && use < JWT_USE_COUNT; use++)
        err = jwt_rules_create(config, (enum jwt_use)use, &made->token_rules[use]);
    if (err != ERR_OK) {
        log_error("client.token: the key cannot be used error=\"%s\"", err_text(err));
        snapshot_destroy(made);
        return err;
    }
    err = certificate_load(config, tls_shared, say_plain, NULL, &made->tls);
    if (err != ERR_OK) {
        snapshot_destroy(made);
        return err;
    }
    *out = made;
    return ERR_OK;
}

void snapshot_destroy(struct snapshot *snapshot)
{
    if (snapshot == NULL) return;
    for (uint32_t use = 0; use < JWT_USE_COUNT; use++)
        jwt_rules_destroy(snapshot->token_rules[use]);
    tls_context_unref(snapshot->tls);
    config_destroy(snapshot->config);
    mem_free(snapshot);
}

void reload_init(struct reload *reload, struct snapshot *first)
{
    check(first != NULL);
    *reload = (struct reload){.first = first, .now = first};
    int failed = pthread_mutex_init(&reload->mutex, NULL);
    check(failed == 0);
    failed = pthread_cond_init(&reload->done, NULL);
    check(failed == 0);
}

void reload_fini(struct reload *reload)
{
    if (reload->first == NULL) return;
    if (reload->before != NULL && reload->before != reload->first) snapshot_destroy(reload->before);
    if (reload->now != reload->first) snapshot_destroy(reload->now);
    snapshot_destroy(reload->first);
    pthread_cond_destroy(&reload->done);
    pthread_mutex_destroy(&reload->mutex);
    *reload = (struct reload){0};
}

/* ---- one reload ---- */

/* The last shard frees the old snapshot, keys and secrets with it. */
static void let_go(struct reload *reload)
{
    pthread_mutex_lock(&reload->mutex);
    check(reload->left > 0 && reload->before != NULL);
    if (--reload->left == 0) {
        if (reload->before != reload->first) snapshot_destroy(reload->before);
        reload->before = NULL;
        pthread_cond_signal(&reload->done);
    }
    pthread_mutex_unlock(&reload->mutex);
}

static void on_note(struct note *note, void *context)
{
    struct shard *shard = context;
    check(note == &shard->reload_note);
    struct reload *reload = &shard->node->reload;
    const struct snapshot *now = reload->now;
    const struct config *before = shard->config;
    shard->config = now->config;
    for (uint32_t use = 0; use < JWT_USE_COUNT; use++)
        shard->token_rules[use] = now->token_rules[use];
    tokens_reload(shard, before);
    if (now->tls != NULL) conn_tls_use(&shard->tls, now->tls);
    store_configure(shard->store, now->config);
    log_take_level();
    let_go(reload);
}

static void say(void *context, enum config_voice voice, const char *sentence)
{
    (void)context;
    if (voice == CONFIG_SAYS_WARNING)
        log_warn("reload: %s", sentence);
    else
        log_error("reload: %s", sentence);
}

enum err reload_begin(struct node *node)
{
    struct reload *reload = &node->reload;
    check(reload->before == NULL);
    struct config *config;
    struct snapshot *made;
    enum err err = config_reload(reload->now->config, say, NULL, &config);
    if (err == ERR_OK) {
        config_keep_started(reload->now->config, config, say, NULL);
        err = snapshot_create(config, node->tls_shared, &made);
    }
    if (err != ERR_OK) {
        log_error("reload: nothing was changed; the configuration before stays in force");
        return err;
    }
    log_set_level((enum log_level)config->log_level);
    reload->before = reload->now;
    reload->now = made;
    reload->left = node->shards_count;
    for (uint32_t i = 0; i < node->shards_count; i++) {
        struct shard *shard = node->shards[i];
        shard->reload_note.on_note = on_note;
        inbox_post(&shard->inbox, &shard->reload_note);
    }
    return ERR_OK;
}

void reload_wait(struct node *node)
{
    struct reload *reload = &node->reload;
    pthread_mutex_lock(&reload->mutex);
    while (reload->before != NULL) pthread_cond_wait(&reload->done, &reload->mutex);
    pthread_mutex_unlock(&reload->mutex);
    const struct config *config = reload->now->config;
    log_info("reloaded config=%s namespaces=%u", config->path != NULL ? config->path : "(none)",
             config->namespaces_count);
}
