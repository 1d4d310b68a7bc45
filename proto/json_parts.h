/*
 * json_parts: what the files of the JSON reader share.
 *
 * Private to proto/json*.c.
 *
 * Thread:  any; pure.
 */
#pragma once

#include "proto/json.h"

/* `raw`: what stands between the quotes of a string that was scanned.  The result
 * lives in `arena`.  Half a surrogate pair becomes U+FFFD. */
struct bytes json_unescape(struct bytes raw, struct arena *arena);
