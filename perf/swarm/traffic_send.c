/* traffic_send: durable publications and their answers; what was published while
 * everybody was away. */
#include <stdio.h>

#include "stamp.h"
#include "traffic_parts.h"

#define SURVEY_MAX 64  /* questions under way */
#define AWAY_MAX   256 /* publications under way */

/* --- the survey ----------------------------------------------------------------------------- */

/* Asks for the position of each of our channels through `client`. */
static bool survey(struct crowd *crowd, struct client *client)
{
    struct traffic *traffic = crowd->traffic;
    while (traffic->survey_asked < crowd->outlets_count &&
           traffic->survey_asked - traffic->surveyed < SURVEY_MAX) {
        uint32_t outlet = traffic->survey_asked++;
        uint32_t channel = crowd->process + outlet * crowd->scenario->processes;
        uint32_t id = SURVEY_IDS + 2 * outlet + traffic->is_second_survey;
        crowd->words->history(&traffic->message, id, crowd_channel(crowd, channel));
        client_say(crowd, client, &traffic->message);
    }
    return traffic->surveyed == crowd->outlets_count;
}

bool survey_turn(struct crowd *crowd)
{
    return crowd->scenario->kind != KIND_SEND || survey(crowd, &crowd->clients[0]);
}

bool survey_on_reply(struct crowd *crowd, const struct heard *heard)
{
    struct traffic *traffic = crowd->traffic;
    if (heard->id < SURVEY_IDS) return false;
    uint32_t outlet = (heard->id - SURVEY_IDS) / 2;
    uint32_t channel = crowd->process + outlet * crowd->scenario->processes;
    struct tally_channel *at = &crowd->tally->at[channel];
    struct position *before = &at->before;
    traffic->surveyed++;
    if (heard->error.at != NULL) {
        if (crowd->scenario->kind == KIND_RETURN)
            crowd_fail(crowd, "channel %u tells no position: %.*s", channel,
                       (int)min_u32(heard->error.size, 120), heard->error.at);
        crowd->part->is_unchecked = true;
        return true;
    }
    char epoch[sizeof before->epoch];
    snprintf(epoch, sizeof epoch, "%.*s", (int)heard->epoch.size, heard->epoch.at);
    if (!traffic->is_second_survey) {
        *before = (struct position){.offset = heard->offset, .is_known = true};
        memcpy(before->epoch, epoch, sizeof epoch);
    } else if (strcmp(before->epoch, epoch) != 0) {
        crowd_fail(crowd, "channel %u was %s and is %s", channel, before->epoch, epoch);
    } else {
        at->grown = heard->offset - before->offset;
    }
    return true;
}

/* --- send ----------------------------------------------------------------------------------- */

static uint64_t *asked_at(struct crowd *crowd, const struct client *client, uint32_t id)
{
    struct traffic *traffic = crowd->traffic;
    size_t index = (size_t)(client - crowd->clients);
    return &traffic->asked_ns[index * traffic->asked_size + id % traffic->asked_size];
}

/* One frame of `batch` commands. */
static void send_frame(struct crowd *crowd, struct client *client, uint64_t due_ns)
{
    struct traffic *traffic = crowd->traffic;
    const struct scenario *s = crowd->scenario;
    for (uint32_t i = 0; i < s->batch; i++) {
        uint32_t channel = crowd->process + traffic_pick(crowd) * s->processes, id = ++client->ids;
        struct span data = traffic_data(crowd, client->number, id, due_ns);
        const char *name = crowd_channel(crowd, channel);
        *asked_at(crowd, client, id) = due_ns;
        if (s->method == METHOD_SEND) {
            char key[64];
            snprintf(key, sizeof key, "%llx-%u-%u", (unsigned long long)crowd->tally->run,
                     client->number, id);
            crowd->words->send(&traffic->message, id, name, data, key);
        } else {
            crowd->words->publish(&traffic->message, id, name, data);
        }
    }
    client->in_flight += s->batch;
    crowd->part->published += s->batch;
    client_say(crowd, client, &traffic->message);
}

static bool has_room(const struct crowd *crowd, const struct client *client)
{
    uint32_t most = crowd->scenario->rate > 0
                        ? crowd->traffic->asked_size - crowd->scenario->batch
                        : (crowd->scenario->in_flight - 1) * crowd->scenario->batch;
    return client->in_flight <= most;
}

/* Each due frame goes to the next client that has room.  When none has, the server is
 * behind: the frame leaves later and counts from its moment. */
static void send_paced(struct crowd *crowd)
{
    struct traffic *traffic = crowd->traffic;
    for (uint32_t full = 0; full < crowd->clients_count;) {
        struct client *client = &crowd->clients[traffic->next % crowd->clients_count];
        if (!has_room(crowd, client)) {
            full++;
            traffic->next++;
            continue;
        }
        uint64_t due = traffic_due(crowd);
        if (due == 0) return;
        full = 0;
        traffic->next++;
        send_frame(crowd, client, due);
    }
    crowd->part->late++;
}

void send_turn(struct crowd *crowd)
{
    struct traffic *traffic = crowd->traffic;
    if (crowd->scenario->rate > 0) {
        send_paced(crowd);
        return;
    }
    if (traffic->has_begun) return; /* answers bring the next */
    traffic->has_begun = true;
    for (uint32_t i = 0; i < crowd->clients_count; i++)
        while (has_room(crowd, &crowd->clients[i]))
            send_frame(crowd, &crowd->clients[i], crowd->now_ns);
}

static void send_on_ack(struct crowd *crowd, struct client *client, const struct heard *heard)
{
    enum phase phase = crowd->tally->phase;
    crowd->part->acked++;
    client->in_flight--;
    traffic_took(crowd, *asked_at(crowd, client, heard->id));
    bool is_closed = crowd->scenario->rate == 0 && (phase == PHASE_WARM || phase == PHASE_MEASURE);
    if (is_closed && has_room(crowd, client)) send_frame(crowd, client, crowd->now_ns);
}

bool send_is_done(struct crowd *crowd)
{
    struct traffic *traffic = crowd->traffic;
    if (crowd->part->acked != crowd->part->published) return false;
    if (!traffic->is_second_survey) {
        traffic->is_second_survey = true;
        traffic->surveyed = traffic->survey_asked = 0;
    }
    return survey(crowd, &crowd->clients[0]);
}

void send_on_reply(struct crowd *crowd, struct client *client, const struct heard *heard)
{
    if (crowd->scenario->kind == KIND_SEND)
        send_on_ack(crowd, client, heard);
    else if (client->is_extra)
        crowd->traffic->away_acked++;
}

/* --- away ----------------------------------------------------------------------------------- */

static struct client *away_client(struct crowd *crowd)
{
    return &crowd->clients[crowd->clients_count];
}

void away_turn(struct crowd *crowd)
{
    struct traffic *traffic = crowd->traffic;
    struct client *client = away_client(crowd);
    if (!traffic->has_begun) {
        traffic->has_begun = client->is_extra = true;
        client_open(crowd, client);
    }
    if (client->state != READY || !survey(crowd, client)) return;
    uint64_t wanted = (uint64_t)crowd->outlets_count * crowd->scenario->missed;
    while (crowd->part->published < wanted &&
           crowd->part->published - traffic->away_acked < AWAY_MAX) {
        uint32_t outlet = (uint32_t)(crowd->part->published++ % crowd->outlets_count);
        uint32_t channel = crowd->process + outlet * crowd->scenario->processes;
        struct span data =
            traffic_data(crowd, channel, ++crowd->outlets[outlet].published, crowd->now_ns);
        crowd->words->publish(&traffic->message, ++client->ids, crowd_channel(crowd, channel),
                              data);
        client_say(crowd, client, &traffic->message);
    }
    if (traffic->away_acked == wanted) client_close(crowd, client);
}

bool away_is_done(struct crowd *crowd)
{
    uint64_t wanted = (uint64_t)crowd->outlets_count * crowd->scenario->missed;
    return crowd->traffic->away_acked == wanted && away_client(crowd)->state == CLOSED;
}
