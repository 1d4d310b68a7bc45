/*
 * office: a backend's calls of the server API on the simulated network, one at a time.
 *
 * A call is sent again until it is answered without a temporary error; any other error
 * fails the run.
 *
 * Thread:  one.
 */
#pragma once

#include "core/bytes.h"

/* Begins a call with a body of JSON, both copied; the one before is forgotten. */
void office_begin(const char *method, struct bytes body);
bool office_is_done(void);
/* The result, once it is done; valid until the next call. */
struct bytes office_result(void);
/* Forgets the last call. */
void office_fini(void);
