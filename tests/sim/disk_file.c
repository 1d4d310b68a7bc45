/*
 * disk_file: the bytes of simulated files.
 */
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "disk_state.h"
#include "world.h"

struct file *file_new(uint32_t number)
{
    struct file *file = calloc(1, sizeof(*file));
    check(file != NULL);
    file->number = number;
    return file;
}

void file_free(struct file *file)
{
    for (uint64_t i = 0; i < file->pages_count; i++) free(file->pages[i]);
    free(file->before_cut);
    free(file->pages);
    free(file);
}

static struct page *page_at(struct file *file, uint64_t index)
{
    if (index >= file->pages_count) {
        uint64_t count = max_u64(index + 1, 2 * file->pages_count);
        file->pages = realloc(file->pages, count * sizeof(*file->pages));
        check(file->pages != NULL);
        memset(file->pages + file->pages_count, 0,
               (count - file->pages_count) * sizeof(*file->pages));
        file->pages_count = count;
    }
    if (file->pages[index] == NULL) {
        file->pages[index] = calloc(1, sizeof(struct page));
        check(file->pages[index] != NULL);
    }
    return file->pages[index];
}

static const struct page *page_find(const struct file *file, uint64_t index)
{
    return index < file->pages_count ? file->pages[index] : NULL;
}

size_t file_read(const struct file *file, void *at, size_t size, uint64_t offset)
{
    if (offset >= file->size) return 0;
    size = min_u64(size, file->size - offset);
    for (size_t done = 0; done < size;) {
        uint64_t from = (offset + done) % PAGE;
        size_t part = min_u64(size - done, PAGE - from);
        const struct page *page = page_find(file, (offset + done) / PAGE);
        if (page == NULL)
            memset((uint8_t *)at + done, 0, part);
        else
            memcpy((uint8_t *)at + done, page->now + from, part);
        done += part;
    }
    return size;
}

static void page_mark(struct page *page, uint64_t from, size_t size, uint64_t ticket)
{
    for (uint64_t sector = from / SECTOR; sector <= (from + size - 1) / SECTOR; sector++) {
        page->dirty |= (uint8_t)(1u << sector);
        page->written[sector] = ticket;
    }
}

void file_write(struct file *file, const void *at, size_t size, uint64_t offset)
{
    uint64_t ticket = state_ticket();
    for (size_t done = 0; done < size;) {
        uint64_t from = (offset + done) % PAGE;
        size_t part = min_u64(size - done, PAGE - from);
        struct page *page = page_at(file, (offset + done) / PAGE);
        memcpy(page->now + from, (const uint8_t *)at + done, part);
        page_mark(page, from, part, ticket);
        done += part;
    }
    if (size > 0 && offset + size > file->size) {
        file->size = offset + size;
        file->size_written = ticket;
    }
}

/* Bytes past the end read as zeroes when the file grows again, on both sides:
 * they would come from other blocks. */
static void cut(struct file *file, uint64_t size)
{
    for (uint64_t index = size / PAGE; index < file->pages_count; index++) {
        struct page *page = file->pages[index];
        if (page == NULL) continue;
        uint64_t from = index == size / PAGE ? size % PAGE : 0;
        memset(page->now + from, 0, PAGE - from);
        memset(page->medium + from, 0, PAGE - from);
        for (uint64_t sector = (from + SECTOR - 1) / SECTOR; sector < PAGE_SECTORS; sector++)
            page->dirty &= (uint8_t) ~(1u << sector);
    }
}

static void cut_forget(struct file *file)
{
    free(file->before_cut);
    file->before_cut = NULL;
}

static void cut_remember(struct file *file, uint64_t ticket)
{
    if (file->before_cut != NULL) return;
    file->before_cut = malloc(file->size);
    check(file->before_cut != NULL);
    file->before_size = file_read(file, file->before_cut, file->size, 0);
    file->before_ticket = ticket;
}

void file_resize(struct file *file, uint64_t size)
{
    if (size == file->size) return;
    uint64_t ticket = state_ticket();
    if (size < file->size) {
        cut_remember(file, ticket);
        cut(file, size);
        file->size_medium = size;
    }
    file->size = size;
    file->size_written = ticket;
}

/* A sector reaches the medium, together with a size that shows it: a file may
 * have grown again since the sync began. */
static void sector_settle(struct file *file, struct page *page, uint64_t index, uint32_t sector)
{
    memcpy(page->medium + sector * SECTOR, page->now + sector * SECTOR, SECTOR);
    page->dirty &= (uint8_t) ~(1u << sector);
    uint64_t end = min_u64(file->size, index * PAGE + (sector + 1) * SECTOR);
    file->size_medium = max_u64(file->size_medium, end);
}

void file_sync(struct file *file, uint64_t ticket)
{
    for (uint64_t index = 0; index < file->pages_count; index++) {
        struct page *page = file->pages[index];
        if (page == NULL || page->dirty == 0) continue;
        for (uint32_t sector = 0; sector < PAGE_SECTORS; sector++) {
            if (!(page->dirty & 1u << sector) || page->written[sector] > ticket) continue;
            sector_settle(file, page, index, sector);
        }
    }
    if (file->size_written <= ticket) file->size_medium = file->size;
    if (file->before_cut != NULL && file->before_ticket <= ticket) cut_forget(file);
}

void file_sync_fail(struct file *file)
{
    for (uint64_t index = 0; index < file->pages_count; index++)
        if (file->pages[index] != NULL) file->pages[index]->dirty = 0;
}

void file_writeback(struct file *file)
{
    for (uint64_t index = 0; index < file->pages_count; index++) {
        struct page *page = file->pages[index];
        if (page == NULL || page->dirty == 0 || rng_chance(&world.rng_disk, 50)) continue;
        for (uint32_t sector = 0; sector < PAGE_SECTORS; sector++) {
            if (!(page->dirty & 1u << sector) || rng_chance(&world.rng_disk, 50)) continue;
            sector_settle(file, page, index, sector);
        }
    }
}

/* What programs saw is now what is there. */
static void settle_all(struct file *file)
{
    for (uint64_t index = 0; index < file->pages_count; index++) {
        struct page *page = file->pages[index];
        if (page == NULL) continue;
        memcpy(page->medium, page->now, PAGE);
        page->dirty = 0;
    }
    file->size_medium = file->size;
    cut_forget(file);
}

static void crash_undo_cut(struct file *file)
{
    uint8_t *before = file->before_cut;
    file->before_cut = NULL;
    file->size = 0;
    cut(file, 0);
    file_write(file, before, file->before_size, 0);
    free(before);
    settle_all(file);
}

void file_crash(struct file *file)
{
    /* One fate for most crashes, so that "all lost" and "all kept" are seen too. */
    uint32_t keep_percent = (uint32_t[]){0, 100, 50, 90}[rng_below(&world.rng_disk, 4)];
    if (file->before_cut != NULL && !rng_chance(&world.rng_disk, keep_percent)) {
        crash_undo_cut(file);
        return;
    }
    uint64_t size = rng_chance(&world.rng_disk, keep_percent) ? file->size : file->size_medium;
    for (uint64_t index = 0; index < file->pages_count; index++) {
        struct page *page = file->pages[index];
        if (page == NULL) continue;
        for (uint32_t sector = 0; sector < PAGE_SECTORS; sector++) {
            bool is_kept = rng_chance(&world.rng_disk, keep_percent);
            if (!(page->dirty & 1u << sector) || !is_kept) continue;
            memcpy(page->medium + sector * SECTOR, page->now + sector * SECTOR, SECTOR);
        }
        memcpy(page->now, page->medium, PAGE);
    }
    file->size = size;
    cut(file, size);
    settle_all(file);
}
