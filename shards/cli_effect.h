/*
 * cli_effect: what `sluice work` does with a batch.
 *
 * The entries become JSON lines, which a command reads from its standard input or
 * an HTTP server gets by POST:
 *
 *   {"topic":"group_msg","id":"1795-0","deliveries":1,"conversation_id":"chat:a",
 *    "sequence_number":7,"timestamp":1795,"sender_id":"ann","payload":{…}}
 *
 * A payload that is not JSON stands in "payload_base64".
 *
 *                    done      later: the same again     failed
 *   command, exit    0         75 (EX_TEMPFAIL)          anything else
 *   POST, status     200-299   none, 408, 429, 500-599   anything else
 *
 * Thread:  the main thread.
 * Tests:   tests/unit/shards/test_effect.c, tests/conformance/work.test.mjs
 */
#pragma once

#include "shards/json_out.h"
#include "storage/work.h"

#define EFFECT_WHY_MAX    200
/* What an HTTP server may say to a batch: nobody reads it. */
#define EFFECT_ANSWER_MAX (1u << 20)

enum effect_outcome { EFFECT_DONE, EFFECT_LATER, EFFECT_FAILED };

struct effect {
    const char *command; /* for /bin/sh; or NULL: */
    const char *url;     /* POST */
    const char *topic;
    uint32_t post_timeout_ms;
    struct work *work;        /* is kept alive while a command runs */
    uint64_t hold_ms;         /* so often its entries are held on to */
    char why[EFFECT_WHY_MAX]; /* unless done: a clause for people */
};

/* Adds one line, newline included. */
void effect_line(struct json_out *lines, const char *topic, const struct work_entry *entry);
enum effect_outcome effect_run(struct effect *effect, struct bytes lines);
