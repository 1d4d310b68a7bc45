/*
 * wire: the client's side of a WebSocket, as much as a load client needs.
 *
 * Frames from the server are unmasked; split ones are put together.  Frames of
 * ours carry a fixed mask.
 *
 * Thread:  one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wire {
    int fd;
    bool is_upgraded;
    uint8_t *rest; /* the beginning of a message that is not whole */
    size_t rest_size;
};

/* Connects to 127.0.0.1, from 127.0.0.`source` when that is not 0, without waiting;
 * -errno when that cannot be. */
int wire_connect(struct wire *wire, uint32_t source, uint16_t port);
/* Sends the upgrade request. */
bool wire_upgrade(struct wire *wire, const char *path);
bool wire_send_text(struct wire *wire, const char *text, size_t size);
void wire_close(struct wire *wire);

/* Called for each text frame of the server, whole. */
typedef void (*wire_text_fn)(void *context, const char *text, size_t size);

enum wire_result { WIRE_MORE, WIRE_DONE, WIRE_CLOSED };
/* Reads once; WIRE_DONE when the socket was emptied. */
enum wire_result wire_read(struct wire *wire, wire_text_fn on_text, void *context);
