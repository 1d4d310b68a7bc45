/*
 * check_access: nobody outside receives, and who is inside receives once; joins and
 * leaves of a client alternate.
 */
#include <stdlib.h>

#include "client_sim.h"
#include "core/check.h"
#include "core/hash.h"
#include "world.h"

struct sub_sim *check_receiver(struct client_sim *client, struct bytes name)
{
    uint32_t channel = book_channel_of(name);
    if (channel == UINT32_MAX)
        world_fail("pushes are of channels that exist", "client %u: %.*s", client->number,
                   (int)name.size, (const char *)name.at);
    struct sub_sim *sub = client_sub(client, channel);
    if (sub == NULL || sub->state == SUB_SIM_OFF)
        world_fail("nobody outside receives", "client %u is not subscribed to %s", client->number,
                   book.plan->channels[channel].name);
    /* Centrifuge client protocol: the subscribe reply precedes every push. */
    if (sub->state == SUB_SIM_ASKED)
        world_fail("the subscribe reply comes before pushes", "client %u channel %s",
                   client->number, book.plan->channels[channel].name);
    return sub;
}

void check_live(struct client_sim *client, struct sub_sim *sub, uint32_t number)
{
    const struct book_message *message = &book.messages[number];
    if (sub->newest == NULL) {
        sub->newest = calloc(CLIENTS_SIM_MAX + APIS_SIM_MAX, sizeof(*sub->newest));
        check(sub->newest != NULL);
    }
    uint32_t newest = sub->newest[message->publisher];
    if (newest == number + 1)
        world_fail("nothing is delivered twice", "client %u message %u", client->number, number);
    if (newest > number + 1 && book.messages[newest - 1].session == message->session)
        world_fail("one publisher's messages keep their order", "client %u: message %u after %u",
                   client->number, number, newest - 1);
    sub->newest[message->publisher] = max_u32(newest, number + 1);
}

/* A hash for each client heard of; its lowest bit: it is there. */
void check_join(struct client_sim *client, struct sub_sim *sub, bool is_join, struct bytes id)
{
    uint64_t key = hash_bytes(id, 0) & ~1ull;
    if (book.plan->presence_max < CLIENTS_SIM_MAX) return; /* some are not told */
    for (uint32_t i = 0; i < sub->heard_count; i++) {
        if ((sub->heard[i] & ~1ull) != key) continue;
        if ((sub->heard[i] & 1) == is_join)
            world_fail("joins and leaves of a client alternate",
                       "client %u channel %s: %.*s %s twice", client->number,
                       book.plan->channels[sub->channel].name, (int)id.size, (const char *)id.at,
                       is_join ? "joins" : "leaves");
        sub->heard[i] = key | is_join;
        return;
    }
    if (sub->heard_count == sub->heard_room) {
        sub->heard_room = max_u32(16, 2 * sub->heard_room);
        sub->heard = realloc(sub->heard, sub->heard_room * sizeof(sub->heard[0]));
        check(sub->heard != NULL);
    }
    sub->heard[sub->heard_count++] = key | is_join;
}
