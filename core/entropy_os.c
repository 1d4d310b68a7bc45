/*
 * entropy: getrandom, which blocks until the kernel's pool is seeded once.
 */
#include "core/entropy.h"

#include <errno.h>
#include <sys/random.h>

#include "core/check.h"

void entropy_fill(void *at, size_t size)
{
    check(at != NULL || size == 0);
    uint8_t *next = at;
    while (size > 0) {
        ssize_t got = getrandom(next, size, 0);
        if (got < 0 && errno == EINTR) continue; /* a signal came while it waited */
        if (got <= 0) impossible("the kernel gives no random bytes (getrandom failed)");
        next += got;
        size -= (size_t)got;
    }
}
