/* traffic: layout, pace, fan-out and echo. */
#include "traffic_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stamp.h"

#define LIST_MAX 65 /* channels of a client */

/* --- layout --------------------------------------------------------------------------------- */

static double weight_of(const struct scenario *s, uint32_t channel)
{
    return s->skew == 0 ? 1 : 1 / pow(channel + 1, s->skew);
}

/* Where a uniform number of [0, 1) falls among cumulative weights. */
static uint32_t pick(const double *sums, uint32_t count, double where)
{
    double wanted = where * sums[count - 1];
    uint32_t low = 0, high = count - 1;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (sums[middle] > wanted)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static double *weights_of(const struct scenario *s, uint32_t first, uint32_t step, uint32_t count)
{
    if (s->skew == 0 || count == 0) return NULL;
    double *sums = calloc(count, sizeof *sums), sum = 0;
    for (uint32_t i = 0; i < count; i++) sums[i] = sum += weight_of(s, first + i * step);
    return sums;
}

static double uniform(struct rng *rng)
{
    return (double)(rng_next(rng) >> 11) * 0x1p-53;
}

/* The channels of one client, the same in every process: the first is its own when it
 * publishes, so that a publisher listens too.  Beyond the channels of the scenario are
 * those that only one client knows. */
static uint32_t layout(const struct scenario *s, const double *sums, uint32_t number,
                       uint32_t *list)
{
    struct rng rng;
    if (s->channels == 0 || s->kind == KIND_SEND || s->wire == WIRE_PLAIN) return 0;
    rng_seed(&rng, number + 1);
    uint32_t count = 0;
    bool publishes = number < s->channels || sums == NULL;
    list[count++] = publishes ? number % s->channels : pick(sums, s->channels, uniform(&rng));
    while (count < s->joins) {
        uint32_t next = sums != NULL ? pick(sums, s->channels, uniform(&rng))
                                     : (uint32_t)rng_below(&rng, s->channels);
        bool is_known = false;
        for (uint32_t i = 0; i < count; i++) is_known |= list[i] == next;
        if (!is_known) list[count++] = next;
    }
    if (s->own) list[count++] = s->channels + s->first + number;
    return count;
}

static bool is_slow(const struct scenario *s, uint32_t number)
{
    struct rng rng;
    if (s->kind != KIND_SLOW || number < s->channels) return false;
    rng_seed(&rng, number + 7000000);
    return uniform(&rng) * 100 < s->slow_percent;
}

void traffic_count_listeners(const struct scenario *scenario, struct tally *tally)
{
    uint32_t list[LIST_MAX];
    double *sums = weights_of(scenario, 0, 1, scenario->channels);
    for (uint32_t i = 0; i < scenario->clients; i++) {
        uint32_t count = layout(scenario, sums, i, list);
        if (is_slow(scenario, i)) continue;
        for (uint32_t k = 0; k < count; k++)
            if (list[k] < scenario->channels) tally->at[list[k]].listeners++;
    }
    free(sums);
}

void traffic_create(struct crowd *crowd)
{
    const struct scenario *s = crowd->scenario;
    struct traffic *traffic = crowd->traffic = calloc(1, sizeof *traffic);
    rng_seed(&traffic->rng, crowd->process + 1);
    traffic->data = calloc(1, s->payload + 1);
    traffic->hearer.context = crowd;
    crowd->outlets_count = s->channels <= crowd->process
                               ? 0
                               : (s->channels - crowd->process + s->processes - 1) / s->processes;
    crowd->outlets = calloc(crowd->outlets_count + 1, sizeof *crowd->outlets);
    for (uint32_t i = 0; i < crowd->outlets_count && i < crowd->clients_count; i++)
        crowd->outlets[i].publisher = &crowd->clients[i];

    double *sums = weights_of(s, 0, 1, s->channels), share = 0, all = 0;
    crowd->subs =
        calloc((size_t)crowd->clients_count * (s->joins + s->own) + 1, sizeof *crowd->subs);
    for (uint32_t i = 0, at = 0; i < crowd->clients_count; i++) {
        uint32_t list[LIST_MAX];
        struct client *client = &crowd->clients[i];
        client->subs_at = at;
        client->subs_count = (uint16_t)layout(s, sums, client->number, list);
        client->is_slow = is_slow(s, client->number);
        for (uint32_t k = 0; k < client->subs_count; k++) crowd->subs[at++].channel = list[k];
    }
    free(sums);
    traffic->weights = weights_of(s, crowd->process, s->processes, crowd->outlets_count);
    for (uint32_t i = 0; i < s->channels; i++) {
        all += weight_of(s, i);
        if (i % s->processes == crowd->process) share += weight_of(s, i);
    }
    bool is_by_client = s->kind == KIND_ECHO || s->kind == KIND_SEND;
    traffic->rate = is_by_client      ? s->rate * crowd->clients_count / s->clients
                    : s->channels > 0 ? s->rate * share / all
                                      : 0;
    if (s->kind == KIND_RECEIPTS) receipts_create(crowd);
    if (s->kind == KIND_SEND) traffic->rate /= s->batch; /* of frames */
    if (s->kind == KIND_SEND) {
        traffic->asked_size = 64;
        while (traffic->asked_size < 2 * s->in_flight * s->batch) traffic->asked_size *= 2;
        traffic->asked_ns =
            calloc((size_t)traffic->asked_size * crowd->clients_count, sizeof *traffic->asked_ns);
    }
}

const struct position *traffic_position(const struct crowd *crowd, uint32_t channel)
{
    return crowd->scenario->kind == KIND_RETURN ? &crowd->tally->at[channel].before : NULL;
}

void traffic_ready(struct crowd *crowd, struct client *client)
{
    if (client->is_slow) loop_recv_disarm(crowd->loop, client->sock);
}

/* --- pace ----------------------------------------------------------------------------------- */

bool traffic_is_measuring(const struct crowd *crowd)
{
    return crowd->tally->phase == PHASE_MEASURE;
}

static bool is_flowing(const struct crowd *crowd)
{
    return crowd->tally->phase == PHASE_WARM || crowd->tally->phase == PHASE_MEASURE;
}

bool traffic_is_paced(const struct crowd *crowd)
{
    return crowd->scenario->rate > 0 && is_flowing(crowd);
}

uint64_t traffic_due(struct crowd *crowd)
{
    struct traffic *traffic = crowd->traffic;
    if (traffic->rate <= 0) return 0;
    if (traffic->paced_from_ns == 0) traffic->paced_from_ns = crowd->now_ns;
    uint64_t due =
        traffic->paced_from_ns + (uint64_t)((double)traffic->paced * 1e9 / traffic->rate);
    if (due > crowd->now_ns) return 0;
    traffic->paced++;
    return due;
}

uint32_t traffic_pick(struct crowd *crowd)
{
    struct traffic *traffic = crowd->traffic;
    if (traffic->weights == NULL) return traffic->next++ % crowd->outlets_count;
    return pick(traffic->weights, crowd->outlets_count, uniform(&traffic->rng));
}

void traffic_took(struct crowd *crowd, uint64_t due_ns)
{
    if (traffic_is_measuring(crowd) && due_ns >= crowd->tally->began_ns)
        histogram_add(&crowd->part->latency, (crowd->now_ns - due_ns) / 1000);
}

struct span traffic_data(struct crowd *crowd, uint32_t source, uint64_t number, uint64_t due_ns)
{
    uint32_t size = crowd->scenario->payload;
    char *data = crowd->traffic->data;
    struct stamp stamp = {.source = source & 0xffff, .number = number, .due_ns = due_ns};
    if (size >= STAMPED_PAYLOAD)
        stamp_write(data, size, &stamp);
    else
        memset(data, 'x', size);
    return (struct span){data, size};
}

/* --- fan-out -------------------------------------------------------------------------------- */

void traffic_publish(struct crowd *crowd, uint32_t outlet_at, uint64_t due_ns)
{
    struct traffic *traffic = crowd->traffic;
    struct outlet *outlet = &crowd->outlets[outlet_at];
    struct client *client = outlet->publisher;
    uint32_t channel = crowd->process + outlet_at * crowd->scenario->processes;
    uint64_t number = ++outlet->published;
    struct span data = traffic_data(crowd, channel, number, due_ns);
    crowd->part->published++;
    if (crowd->scenario->wire == WIRE_RELAY) {
        crowd->words->push(&traffic->message, crowd_channel(crowd, channel), data);
    } else if (crowd->scenario->method == METHOD_SEND) {
        char key[64];
        snprintf(key, sizeof key, "%llx-%u-%llu", (unsigned long long)crowd->tally->run, channel,
                 (unsigned long long)number);
        crowd->words->send(&traffic->message, ++client->ids, crowd_channel(crowd, channel), data,
                           key);
    } else {
        crowd->words->publish(&traffic->message, ++client->ids, crowd_channel(crowd, channel),
                              data);
    }
    client_say(crowd, client, &traffic->message);
}

static void publish_due(struct crowd *crowd)
{
    if (crowd->outlets_count == 0) return;
    if (crowd->scenario->rate > 0) {
        for (uint64_t due; (due = traffic_due(crowd)) != 0;)
            traffic_publish(crowd, traffic_pick(crowd), due);
        return;
    }
    if (crowd->traffic->paced_from_ns == 0) crowd->traffic->paced_from_ns = crowd->now_ns;
    for (uint32_t i = 0; i < crowd->outlets_count; i++) {
        uint32_t channel = crowd->process + i * crowd->scenario->processes;
        uint64_t everywhere =
            tally_delivered(crowd->tally, channel) / crowd->tally->at[channel].listeners;
        while (crowd->outlets[i].published - everywhere < crowd->scenario->in_flight)
            traffic_publish(crowd, i, crowd->now_ns);
    }
}

/* True when every listener has everything. */
static bool is_all_delivered(struct crowd *crowd)
{
    for (uint32_t i = 0; i < crowd->outlets_count; i++) {
        uint32_t channel = crowd->process + i * crowd->scenario->processes;
        if (tally_delivered(crowd->tally, channel) !=
            crowd->outlets[i].published * crowd->tally->at[channel].listeners)
            return false;
    }
    return true;
}

static void count_delivery(struct crowd *crowd, const struct client *client, uint32_t channel)
{
    if (client->is_slow) return;
    crowd->part->delivered++;
    crowd->tally->delivered[(size_t)channel * crowd->tally->processes + crowd->process]++;
}

/* A message of `channel` at one of its listeners: the next one, or the run fails. */
static void deliver(struct crowd *crowd, const struct client *client, struct sub *sub,
                    struct span data)
{
    struct stamp stamp;
    if (!stamp_read(data.at, data.size, &stamp) || data.size != crowd->scenario->payload ||
        stamp.source != (sub->channel & 0xffff)) {
        crowd_fail(crowd, "client %u: a message of channel %u that nobody sent: %.*s",
                   client->number, sub->channel, (int)min_u32(data.size, 80), data.at);
        return;
    }
    if (stamp.number != sub->heard + 1) {
        crowd_fail(crowd, "client %u: message %llu of channel %u after %llu", client->number,
                   (unsigned long long)stamp.number, sub->channel, (unsigned long long)sub->heard);
        return;
    }
    sub->heard = stamp.number;
    count_delivery(crowd, client, sub->channel);
    traffic_took(crowd, stamp.due_ns);
}

/* --- echo ----------------------------------------------------------------------------------- */

static void echo_say(struct crowd *crowd, struct client *client, uint64_t due_ns)
{
    struct span data = traffic_data(crowd, client->number, ++client->said, due_ns);
    crowd->part->published++;
    client->in_flight++;
    text_add(&crowd->traffic->message, data.at, data.size);
    client_say(crowd, client, &crowd->traffic->message);
}

static void echo_turn(struct crowd *crowd)
{
    struct traffic *traffic = crowd->traffic;
    if (crowd->scenario->rate > 0) {
        for (uint64_t due; (due = traffic_due(crowd)) != 0;)
            echo_say(crowd, &crowd->clients[traffic->next++ % crowd->clients_count], due);
        return;
    }
    if (traffic->has_begun) return; /* each answer brings the next */
    traffic->has_begun = true;
    for (uint32_t i = 0; i < crowd->clients_count; i++)
        while (crowd->clients[i].in_flight < crowd->scenario->in_flight)
            echo_say(crowd, &crowd->clients[i], crowd->now_ns);
}

static void echo_hear(struct crowd *crowd, struct client *client, struct span message)
{
    struct stamp stamp;
    if (message.size != crowd->scenario->payload || !stamp_read(message.at, message.size, &stamp) ||
        stamp.source != (client->number & 0xffff) || stamp.number != client->heard + 1) {
        crowd_fail(crowd, "client %u: no echo of its message %llu: %.*s", client->number,
                   (unsigned long long)client->heard + 1, (int)min_u32(message.size, 80),
                   message.at);
        return;
    }
    client->heard++;
    client->in_flight--;
    crowd->part->delivered++;
    traffic_took(crowd, stamp.due_ns);
    if (crowd->scenario->rate == 0 && is_flowing(crowd)) echo_say(crowd, client, crowd->now_ns);
}

static bool echo_is_done(struct crowd *crowd)
{
    return crowd->part->published == crowd->part->delivered;
}

/* --- hearing -------------------------------------------------------------------------------- */

void traffic_plain(struct crowd *crowd, struct client *client, struct span message)
{
    if (crowd->scenario->kind == KIND_ECHO) echo_hear(crowd, client, message);
}

static void on_missed(void *context, struct span data, uint64_t offset)
{
    struct crowd *crowd = context;
    struct client *client = crowd->traffic->speaker;
    (void)offset;
    if (client->subs_count > 0) deliver(crowd, client, &crowd->subs[client->subs_at], data);
}

static void on_greeting(struct crowd *crowd, struct client *client, const struct heard *heard)
{
    /* connect is command 1, the subscriptions follow. */
    if (crowd->scenario->kind == KIND_RETURN && !client->is_extra && heard->id == 2) {
        const struct sub *sub = &crowd->subs[client->subs_at];
        if (!heard->is_recovered || sub->heard != crowd->scenario->missed)
            crowd_fail(crowd, "client %u came back and got %llu of %u messages%s", client->number,
                       (unsigned long long)sub->heard, crowd->scenario->missed,
                       heard->is_recovered ? "" : ", not recovered");
    }
    if (--client->answers == 0) client_ready(crowd, client);
}

static void hear_push(struct crowd *crowd, const struct client *client, const struct heard *heard)
{
    static const char receipts[] = "receipts:";
    bool has_receipts = crowd->scenario->kind == KIND_RECEIPTS;
    if (heard->data.at == NULL) return;
    if (has_receipts && heard->channel.size > sizeof receipts - 1 &&
        memcmp(heard->channel.at, receipts, sizeof receipts - 1) == 0) {
        receipts_hear(crowd, client, heard->data);
        return;
    }
    struct sub *sub = client_sub(crowd, client, heard->channel);
    if (sub == NULL) return;
    deliver(crowd, client, sub, heard->data);
    if (has_receipts) receipts_on_message(crowd, client, heard->offset);
}

static void on_heard(void *context, const struct heard *heard)
{
    struct crowd *crowd = context;
    struct client *client = crowd->traffic->speaker;
    if (heard->is_ping) {
        crowd->words->pong(&crowd->traffic->message);
        client_say(crowd, client, &crowd->traffic->message);
        crowd->part->pings++;
    } else if (heard->id == 0) {
        hear_push(crowd, client, heard);
    } else if (survey_on_reply(crowd, heard)) {
        return;
    } else if (heard->error.at != NULL) {
        crowd_fail(crowd, "client %u is answered: %.*s", client->number,
                   (int)min_u32(heard->error.size, 160), heard->error.at);
    } else if (client->state == GREETING) {
        on_greeting(crowd, client, heard);
    } else if (crowd->scenario->kind == KIND_RECEIPTS) {
        receipts_on_reply(crowd, client, heard);
    } else {
        send_on_reply(crowd, client, heard);
    }
}

void traffic_hear(struct crowd *crowd, struct client *client, struct span frame)
{
    struct traffic *traffic = crowd->traffic;
    traffic->speaker = client;
    traffic->hearer.on_heard = on_heard;
    traffic->hearer.on_missed = on_missed;
    if (!crowd->words->hear(frame, &traffic->hearer))
        crowd_fail(crowd, "client %u: not of the protocol: %.*s", client->number,
                   (int)min_u32(frame.size, 160), frame.at);
}

/* --- the turn ------------------------------------------------------------------------------- */

/* Slow clients read again, and hear what was kept for them or that they are closed. */
static void slow_wake(struct crowd *crowd)
{
    if (crowd->traffic->has_begun) return;
    crowd->traffic->has_begun = true;
    for (uint32_t i = 0; i < crowd->clients_count; i++)
        if (crowd->clients[i].is_slow && crowd->clients[i].state == READY)
            loop_recv_arm(crowd->loop, crowd->clients[i].sock);
}

static bool is_drained(struct crowd *crowd)
{
    switch (crowd->scenario->kind) {
    case KIND_ECHO: return echo_is_done(crowd);
    case KIND_SEND: return send_is_done(crowd);
    case KIND_RECEIPTS: return receipts_is_done(crowd);
    case KIND_SLOW:
        slow_wake(crowd);
        return is_all_delivered(crowd) && crowd->now_ns > crowd->tally->began_ns + 3000000000u;
    default: return is_all_delivered(crowd);
    }
}

static bool is_ended(struct crowd *crowd)
{
    switch (crowd->tally->phase) {
    case PHASE_OPEN: return crowd->part->ready == crowd->clients_count && survey_turn(crowd);
    case PHASE_AWAY: return away_is_done(crowd);
    case PHASE_DRAIN: return is_drained(crowd);
    default: return true;
    }
}

void traffic_turn(struct crowd *crowd)
{
    if (crowd->part->is_failed) return;
    if (crowd->tally->phase == PHASE_AWAY) away_turn(crowd);
    if (is_flowing(crowd)) {
        switch (crowd->scenario->kind) {
        case KIND_FANOUT:
        case KIND_SLOW: publish_due(crowd); break;
        case KIND_ECHO: echo_turn(crowd); break;
        case KIND_SEND: send_turn(crowd); break;
        case KIND_RECEIPTS: receipts_turn(crowd); break;
        default: break;
        }
    }
    if (crowd->part->ended != crowd->tally->phase + 1u && is_ended(crowd))
        crowd->part->ended = crowd->tally->phase + 1u;
}
