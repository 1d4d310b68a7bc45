/*
 * disk_state: files and names of the simulated disk, each as programs see it
 * and as it stands on the medium.
 */
#pragma once

#include <stdio.h>

#include "core/base.h"

#define SECTOR       512u
#define PAGE         4096u
#define PAGE_SECTORS (PAGE / SECTOR)
#define PATH_SIM_MAX 256

struct page {
    uint8_t now[PAGE];
    uint8_t medium[PAGE];
    uint8_t dirty;                  /* a bit per sector that a sync would write */
    uint64_t written[PAGE_SECTORS]; /* ticket of the newest write, for dirty sectors */
};

struct file {
    struct file *next;   /* all files */
    struct page **pages; /* a NULL page is zeroes on both sides */
    uint64_t pages_count;
    uint64_t size, size_medium;
    uint64_t size_written; /* ticket of the newest change of size */
    uint32_t number;
    uint32_t handles;
    /* The content before the first cut that no sync has made durable: file
     * systems log a cut as one change, so a crash undoes it whole, with all that
     * was written after it, or not at all. */
    uint8_t *before_cut;
    uint64_t before_size, before_ticket;
};

void state_init(void);
void state_fini(void);
/* Orders writes and syncs: a sync covers what has a ticket up to its own. */
uint64_t state_ticket(void);
/* What the death of the machine leaves. */
void state_crash(void);
uint32_t state_dirty(void);
uint32_t state_files(void);

struct file *state_find(const char *path);
struct file *state_create(const char *path);
int state_unlink(const char *path);
int state_rename(const char *from, const char *to);
void state_mkdir(const char *path);
bool state_is_directory(const char *path);
bool state_has_parent(const char *path);
void state_sync_dir(const char *path);
int state_list(const char *path, void (*each)(void *context, const char *name), void *context);

size_t file_read(const struct file *file, void *at, size_t size, uint64_t offset);
void file_write(struct file *file, const void *at, size_t size, uint64_t offset);
void file_resize(struct file *file, uint64_t size);
void file_sync(struct file *file, uint64_t ticket);
void file_sync_fail(struct file *file);
/* Some dirty sectors, by seed, reach the medium by themselves. */
void file_writeback(struct file *file);
/* What the death of the machine leaves of this file. */
void file_crash(struct file *file);
struct file *file_new(uint32_t number);
void file_free(struct file *file);
/* A handle is gone; the file too when no name leads to it. */
void file_drop(struct file *file);
