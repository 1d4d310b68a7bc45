/*
 * people_parts: what the files of people share.
 *
 * Thread:  one.
 */
#pragma once

#include "people.h"

#define PEOPLE_SECRET "a simulated secret of 32 bytes.."

enum ask_kind { ASK_CONNECT, ASK_SIT, ASK_RISE, ASK_SAY, ASK_READ };

/* A command that waits for its reply. */
struct ask {
    uint32_t id;
    enum ask_kind kind;
    uint32_t room, text;
    uint64_t offset; /* the position, UINT64_MAX without one; read up to */
    uint64_t head;   /* what anybody knew when it was asked */
};

extern const struct people_calls *people_calls;

/* people.c: commands, and the one that a reply answers. */
void device_put(struct device *device, enum ws_opcode opcode, struct bytes payload);
void device_sit(struct device *device, uint32_t room);
void text_send(struct device *device, uint32_t number);
struct ask ask_take(struct device *device, uint32_t id);
/* people_hear.c: a message of the gateway. */
void device_hear(struct device *device, const struct ws_message *message);

void people_devices_init(const struct people_calls *calls);
void people_devices_fini(void);

/* people_world.c: somebody was told of that offset. */
void people_told(uint32_t room, uint64_t offset);
