/*
 * The arena: what was handed out since the last reset keeps its bytes, whatever
 * sizes come between, and what is kept over resets stays within its bound.
 */
#include <string.h>

#include "core/arena.h"
#include "core/mem.h"
#include "prop.h"

#define PIECES_MAX 300
#define KEEP       (96u << 10)

static struct {
    uint8_t *at;
    size_t size;
} pieces[PIECES_MAX];

static void piece_check(uint32_t i)
{
    for (size_t byte = 0; byte < pieces[i].size; byte++)
        expect(pieces[i].at[byte] == (uint8_t)(i * 7 + byte));
}

static size_t draw_size(struct rng *rng)
{
    static const size_t bounds[] = {1, 17, 100, 3000, 20000, 40000, 200000};
    return rng_below(rng, bounds[rng_below(rng, rng_chance(rng, 90) ? 4 : array_count(bounds))]);
}

static void round_arena(struct rng *rng)
{
    uint64_t before = mem_used();
    struct arena arena;
    arena_init(&arena, KEEP);
    for (uint32_t turn = 0; turn < 20; turn++) {
        uint32_t count = (uint32_t)rng_below(rng, PIECES_MAX);
        size_t sum = 0;
        for (uint32_t i = 0; i < count; i++) {
            size_t size = draw_size(rng);
            uint8_t *at = arena_get(&arena, size);
            expect((uintptr_t)at % 16 == 0);
            for (size_t byte = 0; byte < size; byte++) at[byte] = (uint8_t)(i * 7 + byte);
            pieces[i].at = at;
            pieces[i].size = size;
            sum += size;
        }
        expect(arena.used == sum);
        for (uint32_t i = 0; i < count; i++) piece_check(i);
        arena_reset(&arena);
        expect(mem_used() - before <= KEEP + 4096);
    }
    arena_fini(&arena);
    expect(mem_used() == before);
}

int main(int argc, char **argv)
{
    return prop_main(argc, argv, 40, round_arena);
}
