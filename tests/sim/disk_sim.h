/*
 * disk_sim: a file system in memory that knows what a crash may take.
 *
 * Each file has its content as programs see it and, sector by sector (512
 * bytes), what is durable.  A sync makes durable what was written before it
 * began.  Names change at once for programs and durably with disk_sync_dir.
 *
 *            written        synced          killed process     dead machine
 *   bytes    page cache ──▶ durable         all stay           unsynced: kept, lost or
 *                                                              torn, each sector by seed
 *   size     at once        with the bytes  stays              old or new
 *   a cut    at once        with the file   stays              whole, or undone whole
 *   names    at once        sync_dir        stay               a prefix of each
 *                                                              directory's changes
 *
 * A failed sync forgets that its sectors were dirty, as Linux does: they stay
 * visible, are not durable, and no later sync writes them.
 *
 * In trouble calls fail: for want of room, or with EIO.
 *
 * Calls made on a fiber take virtual time and so may be cut off in the
 * middle by a kill.
 */
#pragma once

#include "core/disk.h"

struct disk_sim_options {
    uint32_t pause_percent; /* calls that take time, of 100 */
    uint64_t pause_ns_max;
    uint64_t sync_ns_min, sync_ns_max;
    uint32_t writeback_percent; /* writes after which some sectors go to the disk by themselves */
};

/* What ails the disk.  FULL: nothing that needs new blocks succeeds; what has its blocks
 * does.  ERRORS: some calls fail with EIO, a write after a part of it.  SYNCS: only
 * syncs do, which is when a kernel tells of what it could not write. */
enum disk_trouble { TROUBLE_NONE, TROUBLE_FULL, TROUBLE_ERRORS, TROUBLE_SYNCS };

void disk_sim_init(const struct disk_sim_options *options);
void disk_sim_fini(void);
/* The process is gone: its handles and locks with it.  `is_machine`: the
 * machine too, and with it what the seed decides. */
void disk_sim_kill(bool is_machine);

/* From now on. */
void disk_sim_trouble(enum disk_trouble trouble, uint32_t permille);
/* Whether a call failed since the process began: it may refuse to start. */
bool disk_sim_has_struck(void);
/* A write of a loop: the errno to fail with, or 0. */
int disk_sim_write_error(void);

bool disk_sim_is_open(int file);
/* The pieces of loop_write_sync, at once and without giving way. */
void disk_sim_put(int file, const uint8_t *data, uint32_t size, uint64_t offset);
/* What a sync that begins now will cover. */
uint64_t disk_sim_sync_begin(int file);
void disk_sim_sync_end(int file, uint64_t ticket);
void disk_sim_sync_fail(int file);
uint64_t disk_sim_sync_ns(void);

/* For tests: unsynced sectors of all files; files that exist. */
uint32_t disk_sim_dirty(void);
uint32_t disk_sim_files(void);
