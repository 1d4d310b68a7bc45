/*
 * wire: stored publications as the protocol shows them.
 *
 * storage/ and proto/ do not know each other; this is where one becomes the other.
 *
 * Thread:  any; pure.  Views are shared, nothing is copied.
 */
#pragma once

#include "proto/cmd.h"
#include "storage/record.h"

/* `epoch` is shown with the first offset only, so that a client that subscribed
 * to an empty stream learns it. */
static inline void wire_of_publication(const struct publication *in, struct bytes epoch,
                                       struct wire_publication *out)
{
    *out = (struct wire_publication){
        .offset = in->offset,
        .data = in->data,
        .is_opaque = in->is_opaque,
        .tags = in->tags,
        .version = in->version,
        .epoch = in->offset == 1 ? epoch : BYTES_NONE,
        .has_info = in->has_info,
    };
    if (!in->has_info) return;
    out->info.user = in->user;
    out->info.conn_info = in->conn_info;
    out->info.chan_info = in->chan_info;
    for (int i = 0; i < 16; i++) out->info.client[i] = in->client[i];
}
