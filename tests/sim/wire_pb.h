/*
 * wire_pb: a client's Protobuf, by way of its JSON.
 *
 * The simulated clients say and hear JSON.  One that speaks Protobuf has its commands
 * turned into messages here, and the gateway's messages into the JSON that the other
 * wire would have shown, so that both wires are held to the same rules.  The numbers
 * and kinds of the fields stand in one table, written from the public schema.
 *
 * Source:  Centrifuge client protocol, client.proto; protobuf.dev, encoding.
 */
#pragma once

#include "wire_sim.h"

/* Puts the command behind its length. */
void pb_put_command(struct intake *out, struct bytes json);
/* Puts the reply or push at the front of `frame` as JSON and moves on; what a server
 * may not send fails the run. */
void pb_take_reply(struct bytes *frame, struct intake *out);
