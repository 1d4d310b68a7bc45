/*
 * fetch: asks another server by HTTP, and waits.
 *
 * GET only, http and https only, redirects within that and never from https to
 * http; a bounded answer; a time limit for each try.  Blocks, so it belongs to a
 * FETCHER worker (core/worker.def).
 *
 * Memory:  the answer's body is the caller's: mem_free.
 * Thread:  a worker.
 * Source:  fetch.c (rules, tries), fetch_os.c (one try, on libcurl);
 *          tests/sim/fetch_sim.c
 * Tests:   tests/unit/core/test_fetch.c, tests/conformance/jwks.test.mjs
 */
#pragma once

#include "core/bytes.h"
#include "core/err.h"

#define FETCH_URL_MAX       2048
#define FETCH_WHY_MAX       160
#define FETCH_REDIRECTS_MAX 3

struct fetch {
    const char *url;     /* fetch_url_is_fine */
    uint32_t timeout_ms; /* of one try */
    uint32_t tries;      /* >= 1 */
    size_t body_max;
    /* The answer. */
    uint8_t *body; /* with ERR_OK: mem_free it; else NULL */
    size_t size;
    uint32_t status;         /* of HTTP; 0: none came */
    char why[FETCH_WHY_MAX]; /* with an error: a clause for people, without the address */
};

/* ERR_OK with the body of a 200; ERR_LIMIT_SIZE above body_max; ERR_IO for all
 * else.  What may go better is tried again: no answer, 429 and 5xx. */
must_use enum err fetch_get(struct fetch *fetch);

/* An absolute http or https address without spaces and control characters. */
bool fetch_url_is_fine(const char *url);
/* It names this machine. */
bool fetch_url_is_local(const char *url);

/* fetch_os.c: one try. */
must_use enum err fetch_once(struct fetch *fetch);
