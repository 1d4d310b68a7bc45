/*
 * sm: one function moves every machine.
 */
#include "core/sm.h"

#include <stdio.h>

#include "core/check.h"

cold _Noreturn static void sm_refuse(const struct sm *sm, uint8_t from, uint8_t to)
{
    char fact[160];
    snprintf(fact, sizeof fact, "a %s in %s may become %s", sm->name, sm->states[from].name,
             sm->states[to].name);
    check_failed(__FILE__, __LINE__, __func__, fact);
}

void sm_move(const struct sm *sm, uint8_t *state, uint8_t next, const void *object)
{
    check(sm->states_count <= 32); /* a bit each */
    check(*state < sm->states_count);
    check(next < sm->states_count);
    if (unlikely((sm->states[*state].may_become & SM_TO(next)) == 0)) sm_refuse(sm, *state, next);
    *state = next;
    if (sm->invariant != NULL) sm->invariant(object);
}
