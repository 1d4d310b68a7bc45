/*
 * fault: planted faults, so that the checkers are known to see.
 *
 * drop-letter: now and then a frame's letter is swallowed on its way to the
 * mesh (linked in by --wrap=letter_post).  early-ack is in loop_sim_write.c.
 */
#include "core/mesh.h"
#include "shards/letter.h"
#include "world.h"

void __real_letter_post(struct post *post, struct letter *letter);
void __wrap_letter_post(struct post *post, struct letter *letter);

void __wrap_letter_post(struct post *post, struct letter *letter)
{
    if (world.fault == FAULT_DROP_LETTER && letter->kind == LETTER_FRAME &&
        letter->to != letter->from && chance_below(500) == 0) {
        world.fault_strikes++;
        world_note(TRACE_FAULT, world.fault_strikes, 0, 0);
        return;
    }
    __real_letter_post(post, letter);
}
