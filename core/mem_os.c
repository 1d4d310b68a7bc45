/*
 * mem: the C library's heap, counted.
 *
 * The count is striped by thread, so that two shards do not meet on a lock; a
 * block freed elsewhere makes one stripe fall below zero and another exceed,
 * and the wrapping sum is right.  Plain mutexes: only mesh.c has atomics.
 */
#include "core/mem.h"

#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/check.h"

#define STRIPES    64
#define MEM_KEPT   (8 << 20)
#define MEM_MAPPED (1 << 20)

static struct {
    _Alignas(CACHE_LINE) pthread_mutex_t mutex;
    uint64_t used; /* modulo 2^64 */
} stripes[STRIPES] = {[0 ... STRIPES - 1] = {PTHREAD_MUTEX_INITIALIZER, 0}};

static pthread_mutex_t next_mutex = PTHREAD_MUTEX_INITIALIZER;
static uint32_t next;
static _Thread_local uint32_t mine = UINT32_MAX;

static void account(uint64_t delta)
{
    if (unlikely(mine == UINT32_MAX)) {
        pthread_mutex_lock(&next_mutex);
        mine = next++ % STRIPES;
        pthread_mutex_unlock(&next_mutex);
    }
    pthread_mutex_lock(&stripes[mine].mutex);
    stripes[mine].used += delta;
    pthread_mutex_unlock(&stripes[mine].mutex);
}

_Noreturn cold static void mem_spent(size_t size)
{
    fprintf(stderr, "memory is spent: %zu bytes wanted, %llu in use\n", size,
            (unsigned long long)mem_used());
    impossible("every size is bounded before it gets here, so the machine is too small");
}

void mem_setup(void)
{
    (void)mallopt(M_TRIM_THRESHOLD, MEM_KEPT);
    (void)mallopt(M_MMAP_THRESHOLD, MEM_MAPPED);
}

void *mem_alloc(size_t size)
{
    void *at = calloc(1, size == 0 ? 1 : size);
    if (unlikely(at == NULL)) mem_spent(size);
    account(malloc_usable_size(at));
    return at;
}

void *mem_resize(void *at, size_t size)
{
    uint64_t before = at == NULL ? 0 : malloc_usable_size(at);
    void *grown = realloc(at, size == 0 ? 1 : size);
    if (unlikely(grown == NULL)) mem_spent(size);
    account(malloc_usable_size(grown) - before);
    return grown;
}

void mem_free(void *at)
{
    if (at == NULL) return;
    account(0 - (uint64_t)malloc_usable_size(at));
    free(at);
}

char *mem_text(const void *text, size_t size)
{
    check(text != NULL || size == 0);
    char *copy = mem_alloc(size + 1);
    if (size > 0) memcpy(copy, text, size);
    return copy;
}

void *mem_reserve(size_t size)
{
    check(size > 0);
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                    -1, 0);
    if (unlikely(at == MAP_FAILED)) mem_spent(size);
    return at;
}

void mem_unreserve(void *at, size_t size)
{
    if (at == NULL) return;
    int failed = munmap(at, size);
    check(failed == 0);
}

uint64_t mem_used(void)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < STRIPES; i++) {
        pthread_mutex_lock(&stripes[i].mutex);
        sum += stripes[i].used;
        pthread_mutex_unlock(&stripes[i].mutex);
    }
    return sum;
}
