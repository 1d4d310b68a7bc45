/*
 * mem, simulated: one libc allocation each (so that ASan sees all), linked
 * per life.
 */
#include "core/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/check.h"
#include "mem_sim.h"

#define MAGIC      0x51ab1e5eu
#define RANGES_MAX 4096

struct piece {
    struct piece *next, *prev;
    size_t size;
    uint64_t magic;
};
static_assert(sizeof(struct piece) % 16 == 0, "what follows the header stays aligned");

static struct piece *pieces;
static uint64_t used, count;
static struct {
    void *at;
    size_t size;
} ranges[RANGES_MAX];
static uint32_t ranges_count;

static struct piece *piece_of(void *at)
{
    struct piece *piece = (struct piece *)at - 1;
    check(piece->magic == MAGIC);
    return piece;
}

static void piece_link(struct piece *piece, size_t size)
{
    *piece = (struct piece){.next = pieces, .prev = NULL, .size = size, .magic = MAGIC};
    if (pieces != NULL) pieces->prev = piece;
    pieces = piece;
    used += size;
    count++;
}

static void piece_unlink(struct piece *piece)
{
    if (piece->prev != NULL)
        piece->prev->next = piece->next;
    else
        pieces = piece->next;
    if (piece->next != NULL) piece->next->prev = piece->prev;
    used -= piece->size;
    count--;
}

void *mem_alloc(size_t size)
{
    struct piece *piece = calloc(1, sizeof(*piece) + size);
    check(piece != NULL);
    piece_link(piece, size);
    return piece + 1;
}

void *mem_resize(void *at, size_t size)
{
    if (at == NULL) return mem_alloc(size);
    struct piece *piece = piece_of(at);
    piece_unlink(piece);
    piece = realloc(piece, sizeof(*piece) + size);
    check(piece != NULL);
    piece_link(piece, size);
    return piece + 1;
}

void mem_free(void *at)
{
    if (at == NULL) return;
    struct piece *piece = piece_of(at);
    piece_unlink(piece);
    piece->magic = 0;
    free(piece);
}

char *mem_text(const void *text, size_t size)
{
    char *copy = mem_alloc(size + 1);
    if (size > 0) memcpy(copy, text, size);
    return copy;
}

void *mem_reserve(size_t size)
{
    check(ranges_count < RANGES_MAX);
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                    -1, 0);
    check(at != MAP_FAILED);
    ranges[ranges_count].at = at;
    ranges[ranges_count++].size = size;
    return at;
}

void mem_unreserve(void *at, size_t size)
{
    if (at == NULL) return;
    for (uint32_t i = 0; i < ranges_count; i++) {
        if (ranges[i].at != at) continue;
        check(ranges[i].size == size);
        check(munmap(at, size) == 0);
        ranges[i] = ranges[--ranges_count];
        return;
    }
    impossible("a range that was not reserved");
}

uint64_t mem_used(void)
{
    return used;
}
uint64_t mem_sim_count(void)
{
    return count;
}

void mem_sim_forget(void)
{
    while (pieces != NULL) mem_free(pieces + 1);
    while (ranges_count > 0)
        mem_unreserve(ranges[ranges_count - 1].at, ranges[ranges_count - 1].size);
}
