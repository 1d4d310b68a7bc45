/*
 * loop_sim_write: durable appends of simulated loops.
 *
 * The bytes reach the page cache in up to two pieces, then the sync begins,
 * then it ends, each at a later time; a kill between leaves what was done.
 * A disk in trouble takes a part of it and fails, or fails to sync.
 * The planted fault early-ack answers before the first piece is written, and
 * unheard-error answers as if nothing had failed.
 */
#include "loop_sim_write.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/hash.h"
#include "disk_sim.h"
#include "world.h"

#define EARLY_NS_MAX 200000000u

struct write_sim {
    struct loop *loop;
    struct write_op *op;
    uint32_t number;
    uint64_t life, hash, ticket;
    uint32_t done; /* bytes in the page cache */
    bool is_failing, is_early;
    int error; /* the write itself fails, after a part of it */
    int file;
    uint64_t offset;
    uint32_t size;
    uint8_t *early; /* is_early: a copy, as the op is gone */
};

static void write_end(struct write_sim *write, int error)
{
    if (error != 0 && world.fault == FAULT_UNHEARD) {
        world.fault_strikes++;
        world_note(TRACE_FAULT, world.fault_strikes, 0, 0);
        error = 0;
    }
    if (!write->is_early) loop_sim_written(write->loop, write->op, error);
    free(write->early);
    free(write);
}

/* The process is gone; or the file is, which whoever was answered early need not keep. */
static bool write_is_void(struct write_sim *write)
{
    bool is_alive = loop_sim_is_alive(write->loop, write->life);
    if (is_alive && (!write->is_early || disk_sim_is_open(write->file))) return false;
    free(write->early);
    free(write);
    return true;
}

static void write_synced(void *context, uint64_t number)
{
    (void)number;
    struct write_sim *write = context;
    if (write_is_void(write)) return;
    if (write->is_failing) {
        disk_sim_sync_fail(write->file);
        write_end(write, EIO);
        return;
    }
    disk_sim_sync_end(write->file, write->ticket);
    write_end(write, 0);
}

static void write_piece(void *context, uint64_t number)
{
    struct write_sim *write = context;
    if (write_is_void(write)) return;
    const uint8_t *data = write->is_early ? write->early : write->op->data;
    if (!write->is_early && hash_bytes(bytes_of(data, write->size), 1) != write->hash)
        world_fail("bytes of a write stay valid until on_done", "loop %u", write->number);
    uint32_t size = write->size - write->done;
    if (write->error != 0) {
        size = (uint32_t)rng_below(&world.rng_disk, size + 1u);
        disk_sim_put(write->file, data + write->done, size, write->offset + write->done);
        write_end(write, write->error);
        return;
    }
    bool is_split = number == 0 && size > 1 && rng_chance(&world.rng_disk, 25);
    if (is_split) size = 1 + (uint32_t)rng_below(&world.rng_disk, size - 1);
    disk_sim_put(write->file, data + write->done, size, write->offset + write->done);
    write->done += size;
    uint64_t delay = rng_below(&world.rng_disk, 50000);
    if (is_split) {
        world_at(world.now_ns + delay, write_piece, write, 1);
    } else if (!write->is_early && !write->op->is_synced) {
        write_end(write, 0);
    } else {
        write->ticket = disk_sim_sync_begin(write->file);
        world_at(world.now_ns + delay + disk_sim_sync_ns(), write_synced, write, 0);
    }
}

void write_sim_start(struct loop *loop, uint32_t number, struct write_op *op,
                     uint32_t error_permille)
{
    world_note(TRACE_WRITE, number, op->offset, op->size);
    struct write_sim *write = calloc(1, sizeof(*write));
    check(write != NULL);
    *write = (struct write_sim){.loop = loop,
                                .op = op,
                                .number = number,
                                .life = loop_sim_life(),
                                .file = op->file,
                                .offset = op->offset,
                                .size = op->size};
    write->hash = hash_bytes(bytes_of(op->data, op->size), 1);
    write->is_failing = error_permille > 0 && rng_below(&world.rng_disk, 1000) < error_permille;
    write->error = disk_sim_write_error();
    uint64_t delay = rng_below(&world.rng_disk, 50000);
    if (world.fault == FAULT_EARLY_ACK && op->is_synced && rng_chance(&world.rng_disk, 20)) {
        write->is_early = true;
        write->early = malloc(op->size);
        check(write->early != NULL);
        memcpy(write->early, op->data, op->size);
        world.fault_strikes++;
        world_note(TRACE_FAULT, world.fault_strikes, 0, 0);
        loop_sim_written(loop, op, 0);
        delay += rng_below(&world.rng_disk, EARLY_NS_MAX);
    }
    world_at(world.now_ns + delay, write_piece, write, 0);
}
