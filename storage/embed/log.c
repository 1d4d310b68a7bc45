/* Group commit of one shard; the story stands in log.h. */
#include "storage/embed/log.h"

#include "core/check.h"
#include "core/disk.h"
#include "core/log.h"
#include "core/mem.h"

void shardlog_init(struct shardlog *log, const struct store_env *env, const struct log_hooks *hooks,
                   const char *directory, const uint8_t *incarnation, uint64_t generation)
{
    *log = (struct shardlog){.env = env,
                             .hooks = *hooks,
                             .directory = directory,
                             .incarnation = incarnation,
                             .generation = generation,
                             .first = 1};
    log->is_durable = env->config->storage_durability == CONFIG_DURABLE;
    list_init(&log->waiting);
    list_init(&log->kept);
    list_init(&log->full);
    list_init(&log->spare);
}

static void segment_free(struct segment *segment)
{
    if (segment == NULL) return;
    if (segment->file >= 0) disk_close(segment->file);
    mem_free(segment);
}

static void chunk_free(struct log_chunk *chunk)
{
    if (chunk == NULL) return;
    mem_free(chunk->memory);
    mem_free(chunk);
}

/* So many of the idle ones. */
static void chunks_free(struct shardlog *log, uint32_t count)
{
    check(count <= log->idle_count);
    for (; count > 0; count--) {
        struct log_chunk *chunk = log->idle;
        log->idle = chunk->next_idle;
        log->idle_count--;
        chunk_free(chunk);
    }
    log->idle_least = log->idle_count;
}

void shardlog_fini(struct shardlog *log)
{
    check(shardlog_pending(log) == 0);
    check(list_is_empty(&log->waiting) && list_is_empty(&log->kept));
    segment_free(log->current);
    segment_free(log->next);
    for (struct list *node; (node = list_take(&log->full)) != NULL;) {
        segment_free(container_of(node, struct segment, link));
    }
    for (struct list *node; (node = list_take(&log->spare)) != NULL;) {
        segment_free(container_of(node, struct segment, link));
    }
    chunk_free(log->chunk);
    chunks_free(log, log->idle_count);
}

void shardlog_leave(struct shardlog *log, struct shardlog *left)
{
    check(list_is_empty(&log->kept));
    *left = (struct shardlog){.generation = log->generation, .number = log->number};
    left->chunk = log->chunk;
    log->chunk = NULL;
}

void shardlog_left_fini(struct shardlog *left)
{
    chunk_free(left->chunk);
    left->chunk = NULL;
    chunks_free(left, left->idle_count);
}

uint32_t shardlog_pending(const struct shardlog *log)
{
    return (log->writing != NULL) + log->files.is_under_way;
}

static struct log_chunk *chunk_create(struct shardlog *log, size_t size)
{
    struct log_chunk *chunk = log->idle;
    if (chunk != NULL && size <= LOG_CHUNK) {
        log->idle = chunk->next_idle;
        log->idle_count--;
        log->idle_least = min_u32(log->idle_least, log->idle_count);
        return chunk;
    }
    chunk = mem_alloc(sizeof *chunk);
    chunk->size = max_u64(LOG_CHUNK, size);
    /* What is read was written before. */
    chunk->memory = mem_resize(NULL, chunk->size + SEGMENT_STEP);
    chunk->bytes = chunk->memory;
    chunk->bytes += round_up((uintptr_t)chunk->memory, SEGMENT_STEP) - (uintptr_t)chunk->memory;
    return chunk;
}

/* A chunk that nobody needs: the newest begins anew, another is kept or freed. */
static void chunk_release(struct shardlog *log, struct log_chunk *chunk)
{
    if (chunk->batches > 0) return;
    chunk->used = 0;
    if (chunk == log->chunk) return;
    if (chunk->size > LOG_CHUNK || log->idle_count == LOG_IDLE_MAX) {
        chunk_free(chunk);
        return;
    }
    chunk->next_idle = log->idle;
    log->idle = chunk;
    log->idle_count++;
}

void log_batch_free(struct shardlog *log, struct log_batch *batch)
{
    check(list_is_empty(&batch->items) && !list_is_linked(&batch->link));
    struct log_chunk *chunk = batch->chunk;
    check(chunk->batches > 0);
    chunk->batches--;
    chunk_release(log, chunk);
    mem_free(batch);
}

static struct log_batch *batch_last(const struct shardlog *log)
{
    return list_is_empty(&log->waiting) ? NULL
                                        : container_of(log->waiting.prev, struct log_batch, link);
}

static struct log_batch *batch_begin(struct shardlog *log, size_t size)
{
    size_t room = BATCH_HEAD + size + SEGMENT_STEP;
    if (log->chunk == NULL || log->chunk->size - log->chunk->used < room) {
        struct log_chunk *before = log->chunk;
        log->chunk = chunk_create(log, room);
        if (before != NULL) chunk_release(log, before);
    }
    struct log_batch *batch = mem_alloc(sizeof *batch);
    batch->chunk = log->chunk;
    batch->at = log->chunk->used;
    check(batch->at % SEGMENT_STEP == 0);
    batch->size = BATCH_HEAD;
    list_init(&batch->items);
    log->chunk->used += BATCH_HEAD;
    log->chunk->batches++;
    list_append(&log->waiting, &batch->link);
    return batch;
}

/* The collecting batch outgrew its chunk: it moves to the start of another. */
static void batch_move(struct shardlog *log, struct log_batch *batch, size_t size)
{
    struct log_chunk *before = batch->chunk;
    check(before == log->chunk);
    struct log_chunk *chunk = chunk_create(log, round_up(batch->size + size, SEGMENT_STEP));
    memcpy(chunk->bytes, before->bytes + batch->at, batch->size);
    before->used = batch->at;
    before->batches--;
    chunk->used = batch->size;
    chunk->batches = 1;
    log->chunk = chunk;
    batch->chunk = chunk;
    batch->at = 0;
    chunk_release(log, before);
}

struct log_batch *shardlog_reserve(struct shardlog *log, size_t size, size_t *at)
{
    check(size > 0 && size < UINT32_MAX / 2);
    struct log_batch *batch = batch_last(log);
    if (batch != NULL && batch->size + size > LOG_BATCH_MAX) {
        /* Closed.  The next one begins behind its padding. */
        log->chunk->used = batch->at + round_up(batch->size, SEGMENT_STEP);
        batch = NULL;
    }
    if (batch == NULL) batch = batch_begin(log, size);
    /* And room for its padding. */
    if (batch->at + batch->size + size + SEGMENT_STEP > batch->chunk->size)
        batch_move(log, batch, size + SEGMENT_STEP);
    *at = batch->size;
    batch->size += size;
    batch->chunk->used = batch->at + batch->size;
    log->waiting_bytes += size;
    return batch;
}

/* True while the next file could not be made and it is too soon to try again. */
static bool shardlog_waits(const struct shardlog *log)
{
    return log->is_retrying && clock_turn_ms(log->env->clock) < log->retry_ms;
}

/* The next file is made long before this one is full; what fits here needs it not. */
static bool shardlog_fits(const struct shardlog *log)
{
    const struct segment *current = log->current;
    uint64_t waiting = log->waiting_bytes + BATCH_HEAD + SEGMENT_STEP;
    return current != NULL && current->used + waiting <= current->size;
}

bool shardlog_is_short(const struct shardlog *log)
{
    const struct segment *current = log->current;
    if (!log->is_retrying) return false;
    return current == NULL || current->size - current->used < LOG_SHORT;
}

bool shardlog_refuses(const struct shardlog *log, enum err *err)
{
    *err = ERR_STORE_READONLY;
    return log->is_failed || (shardlog_waits(log) && !shardlog_fits(log));
}

/* Refuses everything that waits; nothing of it has reached a file. */
static void shardlog_refuse_waiting(struct shardlog *log)
{
    struct list refused;
    list_init(&refused);
    for (struct list *node; (node = list_take(&log->waiting)) != NULL;) list_append(&refused, node);
    log->waiting_bytes = 0;
    if (log->chunk != NULL) log->chunk->used = round_up(log->chunk->used, SEGMENT_STEP);
    for (struct list *node; (node = list_take(&refused)) != NULL;) {
        struct log_batch *batch = container_of(node, struct log_batch, link);
        log->hooks.on_failed(log->hooks.context, batch, false);
        log_batch_free(log, batch);
    }
}

/* On disk: which files there must be, and how far they reach. */
static enum err files_tell(struct log_files *files, uint64_t first, uint64_t last)
{
    const struct shardlog *log = files->log;
    struct made made = {log->generation, first, last, files->acked};
    const struct made *told = &files->told;
    if (first == told->first && last == told->last && made.acked == told->acked) return ERR_OK;
    TRY(made_put(log->made_path, log->env->shard, &made));
    files->told = made;
    return ERR_OK;
}

static enum err files_make(struct log_files *files)
{
    const struct shardlog *log = files->log;
    struct segment *made = files->made;
    /* The recycled one is needed no more before its name is void. */
    if (files->recycled != NULL) TRY(files_tell(files, files->first, files->told.last));
    TRY(segment_prepare(made, log->directory, log->incarnation, files->recycled));
    /* Needed before a batch is in it.  If that fails it stays: it may have been told. */
    return files_tell(files, files->first, files->named = made->number);
}

static void files_run(struct job *job, uint32_t thread)
{
    (void)thread;
    struct log_files *files = container_of(job, struct log_files, job);
    held_look(files);
    files->err = files->is_gone ? ERR_IO : ERR_OK;
    if (files->is_gone) return;
    if (files->removed != NULL && files_tell(files, files->first, files->told.last) == ERR_OK)
        segment_discard(files->removed);
    if (files->made != NULL) files->err = files_make(files);
    if (files->removed == NULL && files->made == NULL)
        files->err = files_tell(files, files->first, files->told.last);
}

/* Where they are nothing is sure; nothing more is written. */
static void files_gone(struct shardlog *log)
{
    if (log->is_failed) return;
    log->is_failed = log->is_gone = true;
    held_tell(log->files.gone);
    metric_add(log->env->metrics, METRIC_STORE_ERRORS, 1);
    if (log->writing == NULL) shardlog_refuse_waiting(log);
}

static void files_done(struct job *job, void *shard)
{
    (void)shard;
    struct log_files *files = container_of(job, struct log_files, job);
    struct shardlog *log = files->log;
    check(files->is_under_way);
    files->is_under_way = false;
    log->marked = files->told.acked;
    segment_free(files->recycled);
    segment_free(files->removed);
    files->recycled = files->removed = NULL;
    struct segment *made = files->made;
    files->made = NULL;
    if (files->is_gone) files_gone(log);
    if (made == NULL) return;
    if (files->err == ERR_OK) {
        check(log->next == NULL);
        log->next = made;
        log->growth++;
        log->is_retrying = false;
        return;
    }
    segment_free(made);
    log->is_retrying = true;
    log->retry_ms = clock_turn_ms(log->env->clock) + LOG_RETRY_MS;
    metric_add(log->env->metrics, METRIC_STORE_ERRORS, 1);
    if (log->writing == NULL && !shardlog_fits(log)) shardlog_refuse_waiting(log);
}

static bool files_submit(struct shardlog *log, uint64_t acked)
{
    struct log_files *files = &log->files;
    check(!files->is_under_way);
    files->log = log;
    files->first = log->first;
    files->acked = acked;
    files->open = log->current;
    files->job.kind = WORKER_INDEX_READER;
    files->job.run = files_run;
    files->job.done = files_done;
    files->job.home = log->env->inbox;
    files->is_under_way = workers_submit(log->env->workers, &files->job) == ERR_OK;
    return files->is_under_way;
}

/* When the worker's queue is full somebody asks again. */
void shardlog_look(struct shardlog *log, uint64_t acked)
{
    if (!log->files.is_under_way) (void)files_submit(log, acked);
}

/* Asks for the file after the current one, big enough for `needed` bytes. */
static void shardlog_prepare(struct shardlog *log, uint64_t needed)
{
    if (log->files.is_under_way || log->next != NULL) return;
    if (log->is_failed || shardlog_waits(log)) return;
    struct segment *made = mem_alloc(sizeof *made);
    uint64_t before = log->current == NULL ? 0 : log->current->number;
    uint32_t growth = log->growth;
    made->file = -1;
    made->generation = log->generation;
    made->shard = log->env->shard;
    made->salt = log->salt;
    made->is_stepped = true;
    /* "written": the kernel is to have it, not the device. */
    made->is_direct = log->is_durable;
    made->number = before + 1;
    made->is_told = made->number == log->files.named;
    made->size = SEGMENT_SIZE_MAX;
    if (growth < 8)
        made->size = min_u64(SEGMENT_SIZE_MAX, (uint64_t)SEGMENT_SIZE_MIN << 2 * growth);
    made->size = max_u64(made->size, round_up(needed + SEGMENT_STEP, 4096));
    log->files.made = made;
    bool has_spare = !made->is_told && !list_is_empty(&log->spare);
    struct list *spare = has_spare ? log->spare.next : NULL;
    if (spare != NULL && container_of(spare, struct segment, link)->size == made->size) {
        list_remove(spare);
        log->spares--;
        log->spares_least = min_u32(log->spares_least, log->spares);
        log->files.recycled = container_of(spare, struct segment, link);
    }
    if (files_submit(log, log->acked)) return;
    /* The worker's queue is full: the next submit asks again. */
    if (log->files.recycled != NULL) {
        list_append(&log->spare, &log->files.recycled->link);
        log->spares++;
    }
    log->files.made = log->files.recycled = NULL;
    mem_free(made);
}

static void shardlog_on_written(struct write_op *op, int error)
{
    struct shardlog *log = container_of(op, struct shardlog, write);
    struct log_batch *batch = log->writing;
    check(batch != NULL);
    log->writing = NULL;
    log->latency_us = (clock_mono_ns() - log->commit_ns) / 1000;
    if (error == 0 && !log->is_failed) { /* its file is where it was */
        if (log->is_durable) log->durable = batch->number;
        log->acked = batch->number;
        log->quiet_ms = clock_turn_ms(log->env->clock);
        log->current->last = batch->number;
        log->kept_bytes += batch->size;
        list_append(&log->kept, &batch->link);
        metric_add(log->env->metrics, METRIC_STORE_COMMITS, 1);
        log->hooks.on_durable(log->hooks.context, batch);
        return;
    }
    /* Never tried again: after a failed sync the kernel may have dropped the
     * pages, and a second sync would lie. */
    if (error != 0)
        log_error(
            "log write failed, this shard refuses publications until a restart file=%s errno=%d",
            log->current->path, error);
    log->is_failed = true;
    metric_add(log->env->metrics, METRIC_STORE_ERRORS, 1);
    log->hooks.on_failed(log->hooks.context, batch, true);
    log_batch_free(log, batch);
    shardlog_refuse_waiting(log);
}

/* The next file becomes the current one. */
static void shardlog_turn(struct shardlog *log)
{
    check(log->next != NULL);
    if (log->current != NULL) list_append(&log->full, &log->current->link);
    log->current = log->next;
    log->next = NULL;
}

/* Moves to the next file when the batch does not fit; false: it is not there yet. */
static bool shardlog_room(struct shardlog *log, uint64_t size)
{
    if (log->current != NULL && log->current->used + size <= log->current->size) return true;
    bool is_ready = false;
    if (log->next != NULL) {
        /* Made before such a big batch came, it may be too small: then it is
         * passed over, empty. */
        is_ready = log->next->size - log->next->used >= size;
        shardlog_turn(log);
    }
    if (!is_ready) shardlog_prepare(log, size);
    return is_ready;
}

void shardlog_submit(struct shardlog *log)
{
    /* Also when nobody asks: a health that stays red keeps those away who would. */
    if (log->is_retrying) shardlog_prepare(log, 0);
    if (log->writing != NULL || log->is_failed || list_is_empty(&log->waiting)) return;
    struct log_batch *batch = container_of(log->waiting.next, struct log_batch, link);
    uint32_t payload_size = (uint32_t)(batch->size - BATCH_HEAD);
    uint32_t size = (uint32_t)round_up(batch_size(payload_size), SEGMENT_STEP);
    if (!shardlog_room(log, size)) {
        if (!log->files.is_under_way && shardlog_waits(log)) shardlog_refuse_waiting(log);
        return;
    }
    bool is_last = batch == batch_last(log);
    list_remove(&batch->link);
    uint8_t *bytes = log_batch_at(batch, 0);
    memset(bytes + batch->size, 0, size - batch->size);
    if (is_last) log->chunk->used = batch->at + size;
    batch->number = ++log->number;
    struct batch_head head = {.payload_size = payload_size,
                              .log = shardlog_id(log),
                              .number = batch->number,
                              .durable = log->durable};
    batch_seal(bytes, &head);
    check(log->waiting_bytes >= payload_size);
    log->waiting_bytes -= payload_size;
    log->writing = batch;
    log->commit_ns = clock_mono_ns();
    log->write = (struct write_op){.file = log->current->file,
                                   .offset = log->current->used,
                                   .data = bytes,
                                   .size = size,
                                   .is_synced = log->is_durable,
                                   .on_done = shardlog_on_written};
    log->current->used += size;
    log->rest_bytes += size;
    loop_write_sync(log->env->loop, &log->write);
    /* The next file is asked for while most of this one is left: making it takes time. */
    if (log->current->used * 4 >= log->current->size) shardlog_prepare(log, 0);
}

void shardlog_applied(struct shardlog *log, struct log_batch *batch)
{
    check(log->kept.next == &batch->link && log->kept_bytes >= batch->size);
    list_remove(&batch->link);
    log->kept_bytes -= batch->size;
    log_batch_free(log, batch);
}

/* Nearly nothing is written, in the period before and in this one. */
static bool is_quiet(const struct shardlog *log)
{
    return log->is_quiet && log->rest_bytes < SEGMENT_SIZE_MIN;
}

/* The oldest spare file goes. */
static void spare_remove(struct shardlog *log)
{
    struct list *node = log->spare.next;
    list_remove(node);
    log->spares--;
    log->files.removed = container_of(node, struct segment, link);
    if (files_submit(log, log->acked)) return;
    log->files.removed = NULL;
    list_append(&log->spare, node);
    log->spares++;
}

/* One step from the files of a burst to one small file: the large current one is left for
 * the large next one, that for a small one, as if they were full. */
static void files_shrink(struct shardlog *log)
{
    bool is_large = log->current != NULL && log->current->size > SEGMENT_SIZE_MIN;
    if (!is_large || log->writing != NULL || !list_is_empty(&log->waiting)) return;
    log->growth = 0;
    if (log->next == NULL)
        shardlog_prepare(log, 0); /* the next step follows in the next period */
    else
        shardlog_turn(log);
}

void shardlog_rest(struct shardlog *log)
{
    chunks_free(log, log->idle_least);
    if (++log->rest_calls >= LOG_REST_CALLS) {
        log->rest_files = log->spares_least;
        log->is_quiet = log->rest_bytes < SEGMENT_SIZE_MIN;
        log->spares_least = log->spares;
        log->rest_bytes = log->rest_calls = 0;
    }
    if (log->files.is_under_way || log->is_failed) return;
    if (log->rest_files > 0 && log->spares > 0) {
        log->rest_files--;
        spare_remove(log);
    } else if (is_quiet(log)) {
        files_shrink(log);
    }
}

void shardlog_recycle(struct shardlog *log, uint64_t number)
{
    if (!log->is_durable) log->durable = max_u64(log->durable, number);
    if (log->files.is_under_way || list_is_empty(&log->full)) return;
    struct segment *segment = container_of(log->full.next, struct segment, link);
    if (segment->last > number) return;
    uint64_t first = log->first;
    list_remove(&segment->link);
    log->first = segment->number + 1;
    if (segment->size == SEGMENT_SIZE_MAX && log->spares < LOG_SPARES_MAX && !is_quiet(log)) {
        list_append(&log->spare, &segment->link);
        log->spares++;
        return;
    }
    log->files.removed = segment;
    if (files_submit(log, log->acked)) return;
    log->files.removed = NULL;
    log->first = first;
    /* Back to the front. */
    segment->link.next = log->full.next;
    segment->link.prev = &log->full;
    log->full.next->prev = &segment->link;
    log->full.next = &segment->link;
}
