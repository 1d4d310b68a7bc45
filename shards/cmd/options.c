/*
 * options: namespace, then override, then wishes.
 */
#include "shards/cmd/options.h"

#include "core/check.h"
#include "shards/cmd/rules.h"
#include "shards/shard.h"

enum recovery_mode { MODE_STREAM, MODE_CACHE };

void options_of_namespace(const struct config_namespace *space, struct sub_options *options)
{
    *options = (struct sub_options){
        .is_positioned = space->force_positioning,
        .is_recoverable = space->force_recovery,
        .is_cache = space->force_recovery_mode == MODE_CACHE,
        .is_unasked = space->auto_cache_recover,
        .has_presence = space->presence,
        .tells_joins = space->join_leave,
        .hears_joins = space->force_push_join_leave,
    };
}

static void choose(uint8_t choice, bool *option)
{
    check(choice == JWT_UNSET || choice == JWT_OFF || choice == JWT_ON);
    if (choice != JWT_UNSET) *option = choice == JWT_ON;
}

void options_override(struct sub_options *options, const struct jwt_override *override)
{
    choose(override->presence, &options->has_presence);
    choose(override->join_leave, &options->tells_joins);
    choose(override->force_push_join_leave, &options->hears_joins);
    choose(override->force_positioning, &options->is_positioned);
    choose(override->force_recovery, &options->is_recoverable);
}

void options_say(struct sub_options *options, const struct conn *conn,
                 const struct jwt_payload *info, const struct jwt_payload *data)
{
    options->chan_info = info->is_opaque ? BYTES_NONE : info->bytes;
    options->data = data->is_opaque && conn->wire == WIRE_JSON ? BYTES_NONE : data->bytes;
}

void options_add_wishes(const struct shard *shard, const struct conn *conn,
                        const struct config_namespace *space, const struct cmd_subscribe *request,
                        struct sub_options *options)
{
    /* It will be a subscriber, so rights of subscribers count. */
    bool reads_history = rules_subscriber_reads_history(shard, conn, space);
    if (request->positioned && (space->allow_positioning || reads_history))
        options->is_positioned = true;
    if (request->recoverable && (space->allow_recovery || reads_history))
        options->is_recoverable = true;
    if (request->join_leave && space->join_leave &&
        rules_subscriber_sees_presence(shard, conn, space))
        options->hears_joins = true;
}
