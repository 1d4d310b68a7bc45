/*
 * cli_wire: the command line's own side of HTTP and WebSocket.
 *
 * One blocking socket, one thing at a time: a tool for a terminal, not for load.
 * Plain TCP only.  Whatever goes wrong is one sentence in `why`, which says where
 * and what to do.
 *
 * Thread:  the main thread.
 * Bound:   WIRE_MESSAGE_MAX for one answer or message.
 * Tests:   tests/conformance/cli.test.mjs
 */
#pragma once

#include "core/bytes.h"
#include "core/err.h"

#define WIRE_MESSAGE_MAX (128u << 20)
#define WIRE_HOST_MAX    256
#define WIRE_PATH_MAX    512
#define WIRE_WHY_MAX     512

/* http://host:port/path and ws://host:port/path are the same here. */
struct wire_url {
    char host[WIRE_HOST_MAX];
    char port[8];
    char path[WIRE_PATH_MAX]; /* "" or begins with '/' */
};

struct wire {
    int fd; /* -1: none */
    struct wire_url url;
    uint8_t *input; /* received, not taken */
    size_t input_size, input_room;
    uint8_t *message; /* a message in fragments */
    size_t message_size;
    uint16_t close_code; /* of the peer's close frame; 0: none came */
    char close_text[128];
    char why[WIRE_WHY_MAX];
};

#define WIRE_NO_TLS                                                                                \
    "this command does not speak TLS; give it a plain http:// address, on the gateway's machine "  \
    "or through a tunnel"

/* ERR_BAD_REQUEST with the reason in why[WIRE_WHY_MAX]. */
must_use enum err wire_url_parse(const char *text, struct wire_url *url, char *why);
/* Connects; waits for an answer at most `patience_s` from then on, each time. */
must_use enum err wire_open(struct wire *wire, const struct wire_url *url, uint32_t patience_s);
void wire_patience(struct wire *wire, uint32_t seconds);
/* Accepts a wire that is not open; keeps `why`, close_code and close_text. */
void wire_close(struct wire *wire);

/* POSTs `body` to `path` with the API key; *answer is valid until the next call. */
must_use enum err wire_post(struct wire *wire, const char *path, const char *key, struct bytes body,
                            uint16_t *status, struct bytes *answer);

/* Whether an answer to a plain request is that of a port that speaks TLS. */
bool wire_wants_tls(uint16_t status, struct bytes answer);

/* Upgrades to a WebSocket at `path`. */
must_use enum err wire_upgrade(struct wire *wire, const char *path);
must_use enum err wire_send(struct wire *wire, struct bytes text);
/* The next whole text message; control frames are answered.  ERR_END: the peer
 * closed (close_code), ERR_IO: the connection broke or was silent too long. */
must_use enum err wire_receive(struct wire *wire, struct bytes *text);
