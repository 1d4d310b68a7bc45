/*
 * refusal: an error that Redis gives before a command does anything.
 *
 * In a script Redis gives these only before its first write, but for missing
 * permissions, where the error names the script.
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
