/* The hub: channels found by name, listeners that enter and leave. */
#include "bench.h"
#include "core/check.h"
#include "shards/fanout/hub.h"

#define CHANNELS  10000
#define LISTENERS 10 /* of each */

static struct hub hub;
static char names[CHANNELS][16];
static uint64_t sum; /* keeps the work from being optimised away */

static struct bytes name_of(uint32_t channel)
{
    return bytes_of(names[channel], strlen(names[channel]));
}

static void enter(void)
{
    for (uint32_t l = 0; l < LISTENERS; l++)
        for (uint32_t c = 0; c < CHANNELS; c++)
            hub_enter(&hub, hub_expect(&hub, name_of(c)), l * CHANNELS + c, l * CHANNELS + c);
}

static void leave(void)
{
    for (uint32_t c = 0; c < CHANNELS; c++)
        for (uint32_t l = 0; l < LISTENERS; l++)
            sum += hub_leave(&hub, hub_find(&hub, name_of(c)), 0);
}

static void enter_and_leave(void *context)
{
    (void)context;
    enter();
    leave();
}

static void find(void *context)
{
    (void)context;
    for (uint32_t c = 0; c < CHANNELS; c++) sum += hub_find(&hub, name_of(c))->count;
}

int main(void)
{
    for (uint32_t c = 0; c < CHANNELS; c++)
        snprintf(names[c], sizeof names[c], "room:%u", c * 7919);
    hub_init(&hub, 1, CHANNELS, 1);
    bench("hub: a listener enters and leaves, 10 each", CHANNELS * LISTENERS, enter_and_leave,
          NULL);
    enter();
    bench("hub: find by name among 10,000", CHANNELS, find, NULL);
    leave();
    hub_fini(&hub);
    return sum == 0;
}
