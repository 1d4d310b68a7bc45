/*
 * entropy, simulated: from the seed.
 */
#include "core/entropy.h"

#include <string.h>

#include "world.h"

void entropy_fill(void *at, size_t size)
{
    uint8_t *out = at;
    while (size > 0) {
        uint64_t value = rng_next(&world.rng_entropy);
        size_t part = size < sizeof(value) ? size : sizeof(value);
        memcpy(out, &value, part);
        out += part;
        size -= part;
    }
}
