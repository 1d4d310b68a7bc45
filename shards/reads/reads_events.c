/*
 * reads_events: from an entry to a question, from its answer to the acknowledgement.
 */
#include "shards/reads/reads_events.h"

#include "core/check.h"
#include "core/log.h"
#include "core/utf8.h"
#include "shards/cmd/rules.h"
#include "shards/home.h"
#include "shards/letter_receipt.h"
#include "shards/node.h"
#include "shards/shard.h"
#include "storage/events.h"

static void event_end(struct shard *shard, uint32_t slot, enum err err)
{
    bool is_over = events_done(shard->events, slot, err);
    if (!is_over) return;
    metric_add(&shard->metrics, METRIC_READ_INDEX_EVENTS, 1);
    if (err == ERR_OK) return;
    metric_add(&shard->metrics, METRIC_READ_INDEX_REFUSED, 1);
    log_debug("a cursor move from the stream is refused error=%s", err_name(err));
}

static void on_moved(struct shard *shard, struct call *call, struct conn *conn,
                     const struct answer *answer)
{
    check(conn == NULL);
    event_end(shard, call->id, answer->err);
}

static enum err event_ask(struct shard *shard, const struct event *event, uint32_t slot)
{
    const struct config_namespace *options;
    bool is_fine = event->is_whole && event->user.size <= USER_ID_MAX &&
                   utf8_is_valid(event->channel) && utf8_is_valid(event->user);
    if (!is_fine) return ERR_BAD_REQUEST;
    if (shard->is_draining) return ERR_DRAINING;
    TRY(rules_space(shard, event->channel, &options));
    if (!config_has_history(options)) return ERR_NOT_AVAILABLE;
    struct letter_receipt question = {
        .channel = event->channel,
        .user = event->user,
        .verb = RECEIPT_READ,
        .offset = event->seq,
        .is_seq = true,
    };
    struct call *call;
    uint32_t home = home_of_channel(event->channel, shard->shards_count);
    TRY(call_begin(shard, NULL, home, on_moved, &call, &question.call));
    call->id = slot;
    call_post(shard, letter_pack_receipt(shard->post, home, &question));
    return ERR_OK;
}

static void on_event(void *context, const struct event *event, uint32_t slot)
{
    struct shard *shard = context;
    enum err err = event_ask(shard, event, slot);
    if (err != ERR_OK) event_end(shard, slot, err);
}

void reads_events_start(struct shard *shard)
{
    if (shard->index != 0 || !shard->config->read_index_events) return;
    struct events_env env = {
        .loop = shard->loop,
        .wheel = &shard->wheel,
        .clock = &shard->clock,
        .rng = &shard->rng,
        .config = shard->node->config,
        .consumer = shard->node->name,
        .on_event = on_event,
        .context = shard,
    };
    shard->events = events_create(&env);
}

void reads_events_drain(struct shard *shard)
{
    events_stop(shard->events);
}

void reads_events_stop(struct shard *shard)
{
    events_destroy(shard->events);
    shard->events = NULL;
}
