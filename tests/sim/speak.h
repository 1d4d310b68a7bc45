/*
 * speak: how a simulated client comes in, and says one thing.
 */
#pragma once

#include "net_sim.h"
#include "wire_sim.h"

#define SPEAK_MAX 2000 /* bytes of a payload */

/* The upgrade request; `is_binary`: it wants Protobuf. */
void speak_upgrade(struct link *link, bool is_binary);
/* One frame.  Text is a command, which a client that wants Protobuf says so. */
void speak(struct link *link, bool is_binary, enum ws_opcode opcode, struct bytes payload);
