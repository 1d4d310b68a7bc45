/*
 * refusal: an error that Redis gives before a command does anything.
 *
 * In a script Redis gives these only before its first write, but for missing
 * permissions, where the error names the script.  REFUSED is our scripts' own word
 * for an error that came before they changed anything (lua/records.lua).
 *
 * Thread:  any; pure.
 * Tests:   tests/unit/storage/test_link.c
 */
#pragma once

#include "storage/redis/resp.h"

enum refusal {
    REFUSAL_NONE,      /* an answer, or an error that the command ran into */
    REFUSAL_STALE,     /* scripts or lineage are not what the link knows: hello again */
    REFUSAL_ELSEWHERE, /* a Cluster: its keys are elsewhere, on the move, or nowhere just now */
    REFUSAL_CALL,      /* this call cannot run */
    REFUSAL_LINK,      /* nothing can run here; another connection may be luckier */
};

enum refusal refusal_of(const struct reply *reply);
/* Whether a script broke off with this error. */
bool refusal_is_of_script(const struct reply *reply);
/* A sentence for people: the server at `place`, and its words without those that only our
 * scripts and nodes understand. */
void refusal_write(const char *place, struct bytes text, char *to, size_t size);
