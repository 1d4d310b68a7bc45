/* Objects of a slab: taken and given back, and found by their handles. */
#include "bench.h"
#include "core/base.h"
#include "core/rng.h"
#include "core/slab.h"

#define OBJECTS 10000

struct thing {
    uint8_t bytes[112]; /* as a connection */
};

static struct slab slab;
static struct handle handles[OBJECTS];
static struct thing *things[OBJECTS];
static uint64_t sum; /* keeps the work from being optimised away */

static void take_all(void)
{
    for (uint32_t i = 0; i < OBJECTS; i++) things[i] = slab_get(&slab, &handles[i]);
}

static void give_all(void)
{
    for (uint32_t i = 0; i < OBJECTS; i++) slab_put(&slab, things[i]);
}

static void take_and_give(void *context)
{
    (void)context;
    take_all();
    give_all();
}

static void find(void *context)
{
    (void)context;
    for (uint32_t i = 0; i < OBJECTS; i++) sum += slab_find(&slab, handles[i]) != NULL;
}

static void name(void *context)
{
    (void)context;
    for (uint32_t i = 0; i < OBJECTS; i++) sum += slab_handle(&slab, things[i]).index;
}

static void shuffle(void)
{
    struct rng rng;
    rng_seed(&rng, 1);
    for (uint32_t i = OBJECTS - 1; i > 0; i--) {
        uint32_t k = (uint32_t)rng_below(&rng, i + 1);
        struct handle handle = handles[i];
        struct thing *thing = things[i];
        handles[i] = handles[k];
        things[i] = things[k];
        handles[k] = handle;
        things[k] = thing;
    }
}

int main(void)
{
    slab_init(&slab, "bench", sizeof(struct thing), OBJECTS);
    bench("slab: get and put, 112 bytes", OBJECTS, take_and_give, NULL);
    take_all();
    bench("slab: find by handle, in order", OBJECTS, find, NULL);
    bench("slab: handle of an object, in order", OBJECTS, name, NULL);
    shuffle();
    bench("slab: find by handle, shuffled", OBJECTS, find, NULL);
    bench("slab: handle of an object, shuffled", OBJECTS, name, NULL);
    give_all();
    slab_fini(&slab);
    return sum == 0;
}
