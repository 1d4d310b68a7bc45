/*
 * fetch, simulated: another server answers by seed.
 *
 * The worker's fiber sleeps for as long as the network and the server take; then
 * the set of the plan comes, or one of the ways to fail.
 */
#include "core/fetch.h"

#include <stdio.h>

#include "core/check.h"
#include "core/mem.h"
#include "fiber.h"
#include "world.h"

/* A key that nobody signs with: what is simulated is asking, waiting and failing. */
static const char set_text[] = "{\"keys\":[{\"kid\":\"sim\",\"kty\":\"OKP\",\"crv\":\"Ed25519\","
                               "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}";

static enum err fail(struct fetch *fetch, uint32_t status, const char *why)
{
    fetch->status = status;
    snprintf(fetch->why, sizeof(fetch->why), "%s", why);
    return ERR_IO;
}

enum err fetch_once(struct fetch *fetch)
{
    uint64_t took_ns = chance_skewed(&world.rng, 100000, 1000000u * fetch->timeout_ms * 2u);
    uint64_t limit_ns = 1000000u * (uint64_t)fetch->timeout_ms;
    fiber_wait(world.now_ns + min_u64(took_ns, limit_ns));
    if (took_ns > limit_ns) return fail(fetch, 0, "Timeout was reached");
    if (rng_below(&world.rng, 4) == 0) return fail(fetch, 503, "the server answered 503");
    bool is_garbage = rng_below(&world.rng, 8) == 0;
    const char *text = is_garbage ? "<html>" : set_text;
    fetch->size = strlen(text);
    fetch->body = (uint8_t *)mem_text(text, fetch->size);
    fetch->status = 200;
    return ERR_OK;
}
