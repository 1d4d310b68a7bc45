/*
 * Start and end of the embedded engine.
 *
 *   start  lock · open SQLite · apply what the logs hold beyond it · new
 *          generation, on disk · remove the old logs
 *   end    apply what shards left · checkpoint · say that the end was clean ·
 *          remove the logs: the next start has nothing to do
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "core/disk.h"
#include "core/entropy.h"
#include "core/log.h"
#include "core/mem.h"
#include "storage/embed/embed.h"

static enum err node_paths(struct embed_node *node, const char *path)
{
    int size = snprintf(node->path, sizeof node->path, "%s", path);
    if (size <= 0 || (size_t)size >= sizeof node->path) {
        log_error("storage.path is empty or too long bytes_max=%zu", sizeof node->path - 1);
        return ERR_BAD_REQUEST;
    }
    snprintf(node->log_path, sizeof node->log_path, "%s/log", node->path);
    snprintf(node->lock_path, sizeof node->lock_path, "%s/lock", node->path);
    snprintf(node->made_path, sizeof node->made_path, "%s/" MADE_NAME, node->path);
    snprintf(node->index_path, sizeof node->index_path, "%s/index.db", node->path);
    snprintf(node->wal_path, sizeof node->wal_path, "%s/index.db-wal", node->path);
    return ERR_OK;
}

static enum err node_directories(struct embed_node *node)
{
    int result = disk_mkdir(node->path);
    if (result >= 0) result = disk_mkdir(node->log_path);
    if (disk_is_full(result)) return ERR_DISK_FULL;
    if (result < 0) {
        log_error(
            "data directory cannot be made; give another with --data, or this one to the user "
            "that runs the gateway path=%s error=\"%s\"",
            node->path, strerrordesc_np(-result));
        return ERR_IO;
    }
    node->lock = disk_lock(node->lock_path);
    if (node->lock == -EWOULDBLOCK) {
        log_error("data directory is in use by another process; stop it, or give another "
                  "storage.path path=%s",
                  node->path);
        return ERR_CONFLICT;
    }
    if (disk_is_full(node->lock)) return ERR_DISK_FULL;
    if (node->lock < 0) {
        log_error("data directory cannot be written; give it to the user that runs the gateway, or "
                  "another with --data path=%s error=\"%s\"",
                  node->path, strerrordesc_np(-node->lock));
        return ERR_IO;
    }
    return ERR_OK;
}

/* What the life before left about itself. */
struct node_past {
    uint8_t boot[16];
    uint64_t is_clean, durability, generation;
    uint64_t is_backup; /* started for the first time */
    uint64_t has_made;  /* it told which log files it made */
    bool is_new;        /* there is none */
    bool is_loss_accepted;
};

/* True when the machine ended while the kernel still held what we had called
 * written: acknowledged publications may be gone, and offsets may repeat. */
static bool past_lost_data(const struct node_past *past, const uint8_t boot[16])
{
    return past->is_clean == 0 && past->durability == CONFIG_WRITTEN &&
           memcmp(past->boot, boot, 16) != 0;
}

static bool loss_is_accepted(const struct embed_node *node)
{
    char path[SEGMENT_PATH_SIZE];
    snprintf(path, sizeof path, "%s/" MADE_ACCEPT_NAME, node->path);
    return disk_size_at(path) >= 0;
}

/* Once, and for no later loss. */
static void loss_accepted(const struct embed_node *node)
{
    char path[SEGMENT_PATH_SIZE];
    snprintf(path, sizeof path, "%s/" MADE_ACCEPT_NAME, node->path);
    int result = disk_unlink(path);
    if (result >= 0) result = disk_sync_dir(node->path);
    if (result >= 0) return;
    log_warn("file cannot be removed, remove it; each start gives new epochs until then file=%s "
             "errno=%d",
             path, -result);
}

static enum err node_past(struct embed_node *node, struct node_past *past)
{
    static const uint8_t none[16];
    *past = (struct node_past){.is_clean = 1};
    TRY(index_meta_get(node->index, "incarnation", node->incarnation, 16));
    TRY(index_meta_get(node->index, "generation", &past->generation, sizeof past->generation));
    TRY(index_meta_get(node->index, "clean", &past->is_clean, sizeof past->is_clean));
    TRY(index_meta_get(node->index, "durability", &past->durability, sizeof past->durability));
    TRY(index_meta_get(node->index, "boot", past->boot, sizeof past->boot));
    TRY(index_meta_get(node->index, "backup", &past->is_backup, sizeof past->is_backup));
    TRY(index_meta_get(node->index, "made", &past->has_made, sizeof past->has_made));
    past->is_loss_accepted = loss_is_accepted(node);
    if (memcmp(node->incarnation, none, 16) != 0) return ERR_OK;
    past->is_new = true;
    entropy_fill(node->incarnation, 16);
    return ERR_OK;
}

/* A first life and a backup begin with new epochs, as does who accepts a loss: what the
 * record says of log files is of other lives, or not to be believed. */
static bool past_is_apart(const struct node_past *past)
{
    return past->is_new || past->is_backup != 0 || past->is_loss_accepted;
}

/* `has_made` is 0 when the first start was not completed. */
static enum err past_check(struct embed_node *node, const struct node_past *past,
                           const uint8_t boot[16])
{
    if (past->is_new && !past->is_loss_accepted && disk_size_at(node->made_path) >= 0) {
        log_error(
            "index is missing, or empty, in a data directory that was in use; put it back, or "
            "restore the whole directory from a backup; to begin anew without what it held, move "
            "the files in log/ away and make an empty file " MADE_ACCEPT_NAME " beside it file=%s",
            node->index_path);
        return ERR_STORE_CORRUPT;
    }
    if (past_is_apart(past) || past->has_made == 0) return ERR_OK;
    bool is_whole = made_check(node->made_path, node->log_path, past->generation,
                               past->is_clean != 0, &node->acked);
    if (!is_whole) return ERR_STORE_CORRUPT;
    /* What the kernel had is gone with the machine, and that will be told. */
    if (past_lost_data(past, boot)) node->acked = (struct made_acked){0};
    return ERR_OK;
}

/* Ages go on where the life before wrote them down, with the time between as the machine
 * counts it since its start; so neither a clock that jumps nor one that was set ends what is
 * kept before its time.  Over a start of the machine only its clock tells how long it was
 * off, and is believed within reason. */
struct node_age {
    uint64_t age_ms, wall_ms;
    uint64_t born_ms; /* what the age was when the machine was started, were it as old; wraps */
};

enum err embed_age_keep(struct embed_node *node)
{
    uint64_t age_ms = embed_now_ms(node);
    struct node_age age = {age_ms, clock_wall_ms(), age_ms - clock_boot_ms()};
    return index_meta_put(node->index, "age", &age, sizeof age);
}

/* How long the machine was off, by its clock. */
static uint64_t away_ms(const struct node_age *last, uint64_t wall_ms)
{
    uint64_t told_ms = wall_ms > last->wall_ms ? wall_ms - last->wall_ms : 0;
    if (told_ms > EMBED_AWAY_MAX_MS || wall_ms + 1000 < last->wall_ms) {
        log_warn("clock is far from where the last life left it; ages of what is kept go on, "
                 "at most a day later hours_ahead=%" PRId64,
                 ((int64_t)wall_ms - (int64_t)last->wall_ms) / 3600000);
    }
    return min_u64(told_ms, EMBED_AWAY_MAX_MS);
}

static enum err node_age(struct embed_node *node, bool is_same_boot)
{
    struct node_age last = {0};
    uint64_t age_ms = clock_wall_ms();
    TRY(index_meta_get(node->index, "age", &last, sizeof last));
    /* Data directories of release 0.1 have the first two. */
    TRY(index_meta_get(node->index, "age", &last, offsetof(struct node_age, born_ms)));
    if (is_same_boot && last.born_ms != 0) {
        age_ms = max_u64(last.age_ms, last.born_ms + clock_boot_ms());
    } else if (last.age_ms > 0) {
        age_ms = last.age_ms + away_ms(&last, age_ms);
    }
    node->age_base_ms = age_ms - clock_mono_ns() / 1000000u;
    return ERR_OK;
}

static enum err node_renew(struct embed_node *node, const struct node_past *past)
{
    if (past->is_loss_accepted)
        log_warn("loss is accepted by %s, publications may be gone, every channel gets a new epoch "
                 "path=%s",
                 MADE_ACCEPT_NAME, node->path);
    else if (past->is_backup != 0)
        log_info("backup is started for the first time, every channel gets a new epoch path=%s",
                 node->path);
    else
        log_warn("machine ended while storage.durability was written; publications may be lost, "
                 "every channel gets a new epoch path=%s",
                 node->path);
    entropy_fill(node->incarnation, 16);
    TRY(index_epochs_clear(node->index));
    return index_meta_put(node->index, "incarnation", node->incarnation, 16);
}

/* All that the index was told is on disk. */
static enum err node_checkpoint(struct embed_node *node)
{
    bool is_whole = false;
    TRY(index_checkpoint(node->index, true, &is_whole));
    if (is_whole) return ERR_OK;
    log_error("index cannot be checkpointed path=%s", node->index_path);
    return ERR_IO;
}

/* The index is on disk before DIR/made, by which a later start knows that there was one. */
static enum err node_begin_new(struct embed_node *node)
{
    TRY(index_meta_put(node->index, "incarnation", node->incarnation, 16));
    return node_checkpoint(node);
}

/* A generation of our own, on disk before any of its logs. */
static enum err node_begin(struct embed_node *node, const struct node_past *past,
                           const uint8_t boot[16])
{
    uint64_t durability = node->config->storage_durability, is_clean = 0, is_backup = 0;
    uint64_t has_made = 1;
    bool is_made_anew = past_is_apart(past) || past->has_made == 0;
    node->generation = past->generation + 1;
    if (past->is_new) TRY(node_begin_new(node));
    if (past->is_backup != 0 || past->is_loss_accepted || past_lost_data(past, boot))
        TRY(node_renew(node, past));
    if (past->is_backup != 0)
        TRY(index_meta_put(node->index, "backup", &is_backup, sizeof is_backup));
    TRY(index_meta_put(node->index, "generation", &node->generation, sizeof node->generation));
    if (is_made_anew) TRY(made_begin(node->made_path, node->path, node->generation));
    TRY(index_meta_put(node->index, "made", &has_made, sizeof has_made));
    TRY(index_meta_put(node->index, "durability", &durability, sizeof durability));
    TRY(index_meta_put(node->index, "clean", &is_clean, sizeof is_clean));
    TRY(index_meta_put(node->index, "boot", boot, 16));
    TRY(embed_age_keep(node));
    TRY(seals_begin(&node->seals, node->index, node->generation));
    TRY(node_checkpoint(node));
    /* What it tells of the life before was needed until here. */
    if (!is_made_anew) TRY(made_begin(node->made_path, node->path, node->generation));
    if (past->is_loss_accepted) loss_accepted(node);
    TRY(held_open(&node->held, node->lock_path));
    TRY(held_open(&node->held, node->made_path));
    TRY(held_open(&node->held, node->index_path));
    /* Only now: until here everything in them might be needed again. */
    TRY(embed_remove_logs(node));
    TRY(index_applied_clear(node->index));
    return reseal_init(&node->reseal, &node->seals, node->index);
}

/* SQLite said what failed; this is what to do. */
static enum err node_advise(const struct embed_node *node, enum err err)
{
    if (err == ERR_STORE_CORRUPT)
        log_error("index is damaged; restore the data directory from a backup file=%s",
                  node->index_path);
    return err;
}

/* Where a start needs much room there may be some that was too little; and a disk runs out
 * of files, a user of a quota. */
static void node_tell_full(const struct embed_node *node, enum err err)
{
    int64_t free_bytes = disk_free(node->path);
    bool is_scarce = free_bytes >= 0 && free_bytes < EMBED_FREE_MIN;
    if (err != ERR_DISK_FULL && (err != ERR_IO || !is_scarce)) return;
    log_error("disk of the data directory is full%s; make room and start again path=%s "
              "free_kib=%" PRId64,
              is_scarce ? "" : ", of bytes, of files or of what this user may have", node->path,
              free_bytes < 0 ? 0 : free_bytes >> 10);
}

static const char *past_text(const struct node_past *past)
{
    if (past->is_new) return "nothing, it is new";
    if (past->is_backup != 0) return "a backup";
    return past->is_clean != 0 ? "a clean end" : "a crash";
}

static enum err node_steps(struct embed_node *node)
{
    struct node_past past;
    uint8_t boot[16];
    if (disk_boot_id(boot) < 0) memset(boot, 0, sizeof boot);
    TRY(embed_backup_check(node)); /* before the lock: a later backup may go there */
    TRY(node_directories(node));
    embed_backup_forget(node);
    TRY(node_advise(node, index_open(node->index_path, &node->index)));
    TRY(node_past(node, &past));
    TRY(node_age(node, memcmp(past.boot, boot, sizeof boot) == 0));
    TRY(seals_open(&node->seals, node->config, node->index));
    TRY(past_check(node, &past, boot));
    TRY(embed_recover(node));
    TRY(node_advise(node, node_begin(node, &past, boot)));
    log_info("store is open path=%s generation=%" PRIu64 " after=%s", node->path, node->generation,
             past_text(&past));
    return ERR_OK;
}

static enum err node_start(struct embed_node *node)
{
    enum err err = node_steps(node);
    node_tell_full(node, err);
    return err;
}

static void node_free(struct embed_node *node)
{
    for (uint32_t i = 0; i < EMBED_READERS_MAX; i++) index_reader_close(node->readers[i]);
    index_close(node->index);
    reseal_fini(&node->reseal);
    seals_fini(&node->seals);
    held_close(&node->held);
    if (node->lock >= 0) disk_close(node->lock);
    mem_free(node);
}

enum err embed_node_open(const struct config *config, struct workers *workers,
                         uint32_t shards_count, struct store_node **opened)
{
    struct embed_node *node = mem_alloc(sizeof *node);
    node->node.engine = &store_engine_embed;
    node->config = config;
    node->workers = workers;
    node->shards_count = shards_count;
    node->horizon_ms = config->storage_dedup_horizon_ms;
    node->sweep_ns = clock_mono_ns(); /* the first one comes later, not into the start */
    node->lock = -1;
    enum err err = node_paths(node, config->storage_path);
    if (err == ERR_OK) err = node_start(node);
    if (err != ERR_OK) {
        node_free(node);
        return err;
    }
    *opened = &node->node;
    return ERR_OK;
}

/* Applies batches[count], which a shard left. */
static enum err left_apply(struct embed_node *node, uint32_t shard,
                           const struct index_batch *batches, uint32_t count)
{
    if (count == 0) return ERR_OK;
    return index_apply(node->index, log_id(node->generation, shard), batches, count);
}

/* Applies what one shard left, in large transactions; frees it in any case. */
static enum err node_apply_left(struct embed_node *node, uint32_t shard)
{
    struct embed_left *left = &node->left[shard];
    if (left->log == NULL) return ERR_OK;
    enum err err = ERR_OK;
    uint32_t count = 0;
    uint64_t bytes = 0;
    struct index_batch *batches = mem_alloc(EMBED_APPLY_BATCHES_MAX * sizeof *batches);
    list_each (item, &left->batches) {
        const struct log_batch *batch = container_of(item, struct log_batch, link);
        bool is_full = bytes + batch->size > EMBED_APPLY_BYTES_MAX;
        if (is_full || count == EMBED_APPLY_BATCHES_MAX) {
            if (err == ERR_OK) err = left_apply(node, shard, batches, count);
            bytes = count = 0;
        }
        batches[count++] = (struct index_batch){
            batch->number, bytes_of(log_batch_at(batch, BATCH_HEAD), batch->size - BATCH_HEAD)};
        bytes += batch->size;
    }
    if (err == ERR_OK) err = left_apply(node, shard, batches, count);
    for (struct list *item; (item = list_take(&left->batches)) != NULL;) {
        log_batch_free(left->log, container_of(item, struct log_batch, link));
    }
    mem_free(batches);
    shardlog_left_fini(left->log);
    mem_free(left->log);
    left->log = NULL;
    return err;
}

static enum err node_end(struct embed_node *node)
{
    uint64_t is_clean = 1;
    bool is_whole = false;
    TRY(embed_age_keep(node));
    if (!node->is_failed) {
        TRY(index_meta_put(node->index, "clean", &is_clean, sizeof is_clean));
    }
    TRY(index_checkpoint(node->index, true, &is_whole));
    if (!is_whole || node->is_failed) return ERR_IO;
    return embed_remove_logs(node);
}

/* The logs stay: how far they reach. */
static void node_tell_left(struct embed_node *node)
{
    for (uint32_t i = 0; i < node->shards_count; i++) {
        const struct made *told = &node->left[i].told;
        if (told->generation > 0) (void)!made_put(node->made_path, i, told);
    }
}

void embed_node_close(struct store_node *base)
{
    struct embed_node *node = (struct embed_node *)base;
    embed_backup_end(node); /* it holds the database */
    for (uint32_t i = 0; i < EMBED_READERS_MAX; i++) {
        index_reader_close(node->readers[i]);
        node->readers[i] = NULL;
    }
    for (uint32_t i = 0; i < node->shards_count; i++) {
        if (node_apply_left(node, i) != ERR_OK || node->left[i].is_failed) node->is_failed = true;
    }
    const char *missing = held_missing(&node->held);
    if (missing != NULL) node->is_failed = true;
    if (node_end(node) == ERR_OK) {
        log_info("store is closed path=%s", node->path);
    } else if (missing != NULL) {
        held_tell(missing);
    } else {
        node_tell_left(node);
        log_warn("store keeps its logs, the next start reads them path=%s", node->path);
    }
    node_free(node);
}
