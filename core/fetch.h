/*
 * fetch: asks another server by HTTP, and waits.
 *
 * http and https only; a bounded answer; a time limit for each try.  A GET follows
 * redirects, but never from https to http.  Blocks, so it belongs to a FETCHER
 * worker (core/worker.def) or to a command of its own.
 *
 * Memory:  the answer's body is the caller's: mem_free.
 * Thread:  a worker, or the main thread of a command.
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
    struct bytes post;     /* fetch_post: what is sent, */
    const char *post_type; /* and its media type; NULL: fetch_get */
    /* The answer. */
    uint8_t *body; /* with ERR_OK: mem_free it; else NULL */
    size_t size;
    uint32_t status;         /* of HTTP; 0: none came */
    char why[FETCH_WHY_MAX]; /* with an error: a clause for people, without the address */
};

/* ERR_OK with the body of a 200; ERR_LIMIT_SIZE above body_max; ERR_IO for all
 * else.  What may go better is tried again: no answer, 429 and 5xx. */
must_use enum err fetch_get(struct fetch *fetch);

/* POSTs once; any status from 200 to 299 is ERR_OK, and a redirect is none of them. */
must_use enum err fetch_post(struct fetch *fetch);

/* An absolute http or https address without spaces and control characters. */
bool fetch_url_is_fine(const char *url);
/* It names this machine. */
bool fetch_url_is_local(const char *url);

/* fetch_os.c: one try. */
must_use enum err fetch_once(struct fetch *fetch);
