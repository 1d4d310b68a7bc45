/*
 * fiber: the simulated threads, on ucontext.
 */
/* Jumps between stacks are what its check of longjmp would refuse. */
#undef _FORTIFY_SOURCE
#include "fiber.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "core/check.h"
#include "world.h"

#if defined(__SANITIZE_ADDRESS__)
#define FIBER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBER_ASAN 1
#endif
#endif
#ifndef FIBER_ASAN
#define FIBER_ASAN 0
#endif
#if FIBER_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#define FIBERS_MAX 128
/* SQLite's deepest path wants about 60 KiB; ASan frames are several times that. */
#define STACK_SIZE ((FIBER_ASAN ? 768u : 384u) << 10)

struct fiber {
    ucontext_t context;
    jmp_buf jump; /* where it gave way, but not with ASan */
    const char *name;
    fiber_fn run;
    void *argument;
    void *stack;
    uint64_t wake_ns; /* while waiting */
    uint32_t shard;   /* what check_context said when it gave way */
    bool is_used, is_begun, is_done, is_ready;
    void *fake_stack; /* ASan's */
};

static struct {
    struct fiber fibers[FIBERS_MAX];
    uint32_t count; /* fibers of this life are 0 .. count-1 */
    struct fiber *running;
    ucontext_t driver;
    jmp_buf driver_jump;
    void *driver_fake_stack;
    const void *driver_bottom;
    size_t driver_size;
} all;

/* swapcontext asks the kernel for the signal mask each time, a fifth of a run: it only
 * begins a stack, and ASan, which must see every switch, has it always. */
static void stack_enter(struct fiber *fiber)
{
    if (FIBER_ASAN) {
        check(swapcontext(&all.driver, &fiber->context) == 0);
        return;
    }
    if (_setjmp(all.driver_jump) != 0) return;
    if (fiber->is_begun) _longjmp(fiber->jump, 1);
    fiber->is_begun = true;
    setcontext(&fiber->context);
}

static void stack_leave(struct fiber *fiber)
{
    if (FIBER_ASAN) {
        check(swapcontext(&fiber->context, &all.driver) == 0);
        return;
    }
    if (_setjmp(fiber->jump) == 0) _longjmp(all.driver_jump, 1);
}

static void switch_to(struct fiber *fiber)
{
#if FIBER_ASAN
    __sanitizer_start_switch_fiber(&all.driver_fake_stack, fiber->stack, STACK_SIZE);
#endif
    all.running = fiber;
    check_context(fiber->shard, world.steps);
    stack_enter(fiber);
    all.running = NULL;
    check_context(UINT32_MAX, 0);
#if FIBER_ASAN
    __sanitizer_finish_switch_fiber(all.driver_fake_stack, NULL, NULL);
#endif
}

static void switch_back(struct fiber *fiber)
{
    fiber->shard = check_context_shard();
#if FIBER_ASAN
    __sanitizer_start_switch_fiber(fiber->is_done ? NULL : &fiber->fake_stack, all.driver_bottom,
                                   all.driver_size);
#endif
    stack_leave(fiber);
#if FIBER_ASAN
    __sanitizer_finish_switch_fiber(fiber->fake_stack, &all.driver_bottom, &all.driver_size);
#endif
}

static void fiber_main(void)
{
    struct fiber *fiber = all.running;
#if FIBER_ASAN
    __sanitizer_finish_switch_fiber(NULL, &all.driver_bottom, &all.driver_size);
#endif
    fiber->run(fiber->argument);
    fiber->is_done = true;
    switch_back(fiber);
    impossible("a finished fiber was resumed");
}

struct fiber *fiber_spawn(const char *name, fiber_fn run, void *argument)
{
    check(all.count < FIBERS_MAX);
    struct fiber *fiber = &all.fibers[all.count++];
    void *stack = fiber->stack;
    if (stack == NULL) {
        stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        check(stack != MAP_FAILED);
        check(mprotect(stack, 4096, PROT_NONE) == 0);
    }
#if FIBER_ASAN
    /* Frames abandoned by a kill left their red zones behind. */
    __asan_unpoison_memory_region(stack, STACK_SIZE);
#endif
    memset(fiber, 0, sizeof(*fiber));
    *fiber = (struct fiber){.name = name,
                            .run = run,
                            .argument = argument,
                            .stack = stack,
                            .shard = UINT32_MAX,
                            .is_used = true,
                            .is_ready = true};
    check(getcontext(&fiber->context) == 0);
    fiber->context.uc_stack.ss_sp = stack;
    fiber->context.uc_stack.ss_size = STACK_SIZE;
    fiber->context.uc_link = NULL;
    makecontext(&fiber->context, fiber_main, 0);
    return fiber;
}

struct fiber *fiber_self(void)
{
    return all.running;
}

void fiber_wait(uint64_t wake_ns)
{
    struct fiber *fiber = all.running;
    if (fiber == NULL) return;
    fiber->wake_ns = wake_ns;
    fiber->is_ready = wake_ns <= world.now_ns;
    switch_back(fiber);
}

void fiber_wake(struct fiber *fiber)
{
    fiber->is_ready = true;
}
bool fiber_is_done(const struct fiber *fiber)
{
    return fiber->is_done;
}
uint32_t fiber_number(const struct fiber *fiber)
{
    return (uint32_t)(fiber - all.fibers);
}

bool fibers_step(void)
{
    check(all.running == NULL);
    struct fiber *ready[FIBERS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < all.count; i++) {
        struct fiber *fiber = &all.fibers[i];
        if (fiber->is_done) continue;
        if (fiber->is_ready || fiber->wake_ns <= world.now_ns) ready[count++] = fiber;
    }
    if (count == 0) return false;
    struct fiber *fiber = ready[count == 1 ? 0 : chance_below(count)];
    fiber->is_ready = false;
    world_note(TRACE_FIBER, fiber_number(fiber), 0, 0);
    switch_to(fiber);
    return true;
}

uint64_t fibers_next_ns(void)
{
    uint64_t next = UINT64_MAX;
    for (uint32_t i = 0; i < all.count; i++) {
        const struct fiber *fiber = &all.fibers[i];
        if (!fiber->is_done) next = min_u64(next, fiber->is_ready ? world.now_ns : fiber->wake_ns);
    }
    return next;
}

void fibers_drop(void)
{
    check(all.running == NULL);
    all.count = 0;
}

void fibers_fini(void)
{
    fibers_drop();
    for (uint32_t i = 0; i < FIBERS_MAX; i++) {
        if (all.fibers[i].stack != NULL) munmap(all.fibers[i].stack, STACK_SIZE);
        all.fibers[i].stack = NULL;
    }
}
