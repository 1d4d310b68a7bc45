/*
 * backend: what a chat server says to the gateway before its clients come.
 *
 * Thread:  the parent's only one, before the processes.
 */
#pragma once

#include "scenario.h"

/* Names the members of every room, a call of the server API each.  False with a sentence. */
bool backend_name_members(const struct scenario *scenario, char *why, size_t why_size);
