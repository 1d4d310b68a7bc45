/*
 * sm: one function moves every machine.
 */
#include "core/sm.h"

#include "core/check.h"

static_assert(sizeof((struct sm_state *)0)->may_become * 8 == 32, "states are bits of a u32");

void sm_move(const struct sm *sm, uint8_t *state, uint8_t next, const void *object)
{
    check(sm->states_count <= 32);
    check(*state < sm->states_count);
    check(next < sm->states_count);
    if (unlikely((sm->states[*state].may_become & SM_TO(next)) == 0))
        check_failed(sm->states[*state].name, next, sm->name, "the table allows this move");
    *state = next;
    if (sm->invariant != NULL) sm->invariant(object);
}
