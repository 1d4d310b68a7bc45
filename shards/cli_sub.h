/*
 * cli_sub: what the two files of `sluice sub` share.
 *
 * cli_sub.c asks and comes back after a lost connection, cli_hear.c takes what the
 * server says and prints publications.
 *
 * Thread:  the main thread.
 * Tests:   tests/conformance/cli.test.mjs
 */
#pragma once

#include "core/arena.h"
#include "core/rng.h"
#include "shards/cli_parts.h"
#include "shards/cli_wire.h"
#include "shards/json_out.h"

#define SUB_PATIENCE_S   10 /* for the connect reply; then the server's ping tells */
#define SUB_TOKEN_TTL_S  86400
#define SUB_DELAY_MS     200
#define SUB_DELAY_MAX_MS 10000
#define SUB_HISTORY_MAX  100000
#define SUB_EPOCH_MAX    63
#define SUB_ID_CONNECT   1
/* Ids of a channel's two commands: its index times two behind these. */
#define SUB_ID_HISTORY   2
#define SUB_ID_SUBSCRIBE 3

struct sub_channel {
    const char *name;
    uint64_t offset;
    char epoch[SUB_EPOCH_MAX + 1]; /* "": no position is known */
    bool is_history_told, is_over;
    bool is_history_asked; /* what comes meanwhile is held, an array of publications */
    uint64_t held_first;   /* offset of the first of them; 0: none */
    struct json_out held;
};

struct sub_run {
    struct wire wire;
    struct wire_url url;
    struct arena arena; /* of one message */
    struct rng rng;
    const char *path, *token, *user, *key;
    struct sub_channel channels[CLI_WORDS_MAX];
    uint32_t channels_count;
    uint32_t history;  /* 0: none asked for */
    uint32_t connects; /* connections that were answered */
    int exit;          /* CLI_DONE while it goes on */
};

/* Commands (cli_sub.c). */
must_use enum err sub_ask_subscribe(struct sub_run *run, uint32_t index);
must_use enum err sub_ask_history(struct sub_run *run, uint32_t index);

/* Takes a message of one or more lines (cli_hear.c).  ERR_IO: the connection is to be
 * made anew; run->exit is set when there is nothing more to do. */
must_use enum err sub_hear(struct sub_run *run, struct bytes text);
