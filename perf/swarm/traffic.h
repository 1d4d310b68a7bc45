/*
 * traffic: what the clients say to each other, and whether all of it came.
 *
 * Every channel has one publisher, which numbers its messages; so a listener knows
 * from the stamp whether it got each one exactly once and in order.  Open loop: each
 * message is due at its moment and its latency counts from there, however late it
 * left.  Closed loop: the next one leaves when enough have arrived.
 *
 * Thread:  its process's only one.
 */
#pragma once

#include "crowd.h"

/* Lays out subscriptions and publishers. */
void traffic_create(struct crowd *crowd);
/* How many clients must get every message of each channel; before the processes begin. */
void traffic_count_listeners(const struct scenario *scenario, struct tally *tally);
/* Where a subscription begins; NULL: now, without recovery. */
const struct position *traffic_position(const struct crowd *crowd, uint32_t channel);
void traffic_ready(struct crowd *crowd, struct client *client);
/* A message came: without a protocol, or a frame of it. */
void traffic_plain(struct crowd *crowd, struct client *client, struct span message);
void traffic_hear(struct crowd *crowd, struct client *client, struct span frame);
/* What is due now; tells the tally when this process has ended the phase. */
void traffic_turn(struct crowd *crowd);
/* True while it must not sleep: something may be due before the next event. */
bool traffic_is_paced(const struct crowd *crowd);
