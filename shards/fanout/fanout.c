/*
 * fanout: one publication to everyone who listens.
 *
 *   home                     mesh                listening shard
 *   encode once per wire in use
 *   frame (count 1)
 *   + 1 per letter ───────▶ FRAME ─────────────▶ borrow: one local frame per wire
 *   - 1 its own                                  conn_push each listener (+ 1)
 *                                                - 1 its own
 *   - 1 ◀───────────────── the letter, home ◀─── the last reader is done
 *
 * Budget: at home one encode per wire and one letter per listening shard, never
 * per connection; on a listening shard one append to a pending list each.  No
 * allocation but the frame.
 */
#include "shards/fanout/fanout.h"

#include "core/check.h"
#include "core/log.h"
#include "proto/codec.h"
#include "proto/ws.h"
#include "shards/channel/channel.h"
#include "shards/channel/wire.h"
#include "shards/cmd/subscription.h"
#include "shards/letter.h"
#include "shards/shard.h"

#define FETCH_AHEAD 8 /* connections of a pass */

static_assert(WIRE_COUNT == 2, "a FRAME letter has a place for each wire");

/* The push as a sealed frame, count 1; NULL when no frame is left. */
static struct frame *push_frame(struct shard *shard, const struct codec *codec,
                                const struct push *push)
{
    size_t bound = codec->push_bound(push);
    if (bound > UINT32_MAX - FRAME_HEADROOM) return NULL;
    struct frame *frame = frame_new(&shard->frames, (uint32_t)bound);
    if (frame == NULL) return NULL;
    struct writer writer = writer_of(frame_payload(frame), bound);
    codec->push(&writer, push);
    check(!writer.failed);
    uint8_t header[FRAME_HEADROOM];
    uint32_t size = ws_header(header, codec->is_binary ? WS_OP_BINARY : WS_OP_TEXT, writer.used);
    frame_seal(frame, bytes_of(header, size), (uint32_t)writer.used);
    return frame;
}

static void frames_post(struct shard *shard, const struct channel_listener *listener,
                        const struct letter_frame *what, struct frame *const frames[WIRE_COUNT])
{
    struct letter_frame out = *what;
    out.hub = listener->hub;
    for (uint32_t wire = 0; wire < WIRE_COUNT; wire++) {
        if (frames[wire] == NULL || listener->counts[wire] == 0) continue;
        frame_ref(frames[wire]);
        out.frames[wire] = frames[wire];
        out.bytes[wire] = frames[wire]->bytes;
        out.sizes[wire] = frames[wire]->size;
        shard->channels.frame_bytes_out[listener->shard] += frames[wire]->size;
    }
    letter_post(shard->post, letter_pack_frame(shard->post, listener->shard, &out));
}

/* Somebody who listens speaks it; at most one look per shard. */
static bool is_wire_used(struct channel *channel, uint32_t wire)
{
    for (uint32_t i = 0; i < channel->listeners_count; i++)
        if (channel_listeners(channel)[i].counts[wire] > 0) return true;
    return false;
}

/* One frame per wire in use; false: one could not be made.  frames_drop in any case. */
static bool frames_make(struct shard *shard, struct channel *channel, const struct push *push,
                        struct frame *frames[WIRE_COUNT])
{
    bool is_whole = true;
    bool is_opaque = push->kind == PUSH_PUBLICATION && push->publication.is_opaque;
    for (uint32_t wire = 0; wire < WIRE_COUNT; wire++) {
        frames[wire] = NULL;
        /* Data that is not JSON has no place in a line of JSON. */
        if (!is_wire_used(channel, wire) || (is_opaque && wire == WIRE_JSON)) continue;
        frames[wire] = push_frame(shard, codec_of((enum wire)wire), push);
        if (frames[wire] == NULL) is_whole = false;
    }
    return is_whole;
}

static void frames_drop(struct shard *shard, struct frame *const frames[WIRE_COUNT])
{
    for (uint32_t wire = 0; wire < WIRE_COUNT; wire++)
        if (frames[wire] != NULL) frame_unref(&shard->frames, frames[wire]);
}

void fanout_publish(struct shard *shard, struct channel *channel,
                    const struct publication *publication)
{
    check(channel->listeners_count > 0);
    struct push push = {
        .kind = PUSH_PUBLICATION,
        .channel = label_text(&channel->name),
    };
    struct bytes epoch =
        channel->stored == NULL ? BYTES_NONE : bytes_of_text(channel->stored->store.epoch);
    wire_of_publication(publication, epoch, &push.publication);

    struct frame *frames[WIRE_COUNT];
    if (!frames_make(shard, channel, &push, frames)) {
        log_warn("no frame left for a publication, its readers resubscribe offset=%llu",
                 (unsigned long long)publication->offset);
        fanout_lose(shard, channel);
    } else {
        for (uint32_t i = 0; i < channel->listeners_count; i++)
            frames_post(shard, &channel_listeners(channel)[i],
                        &(struct letter_frame){.offset = publication->offset,
                                               .is_opaque = publication->is_opaque},
                        frames);
        metric_add(&shard->metrics, METRIC_MESSAGES_SENT_PUBLICATION, channel->listeners_count);
    }
    frames_drop(shard, frames);
}

void fanout_join(struct shard *shard, struct channel *channel, enum push_kind kind,
                 const struct wire_info *who)
{
    check(kind == PUSH_JOIN || kind == PUSH_LEAVE);
    struct push push = {
        .kind = kind,
        .channel = label_text(&channel->name),
        .info = *who,
    };
    struct frame *frames[WIRE_COUNT];
    if (frames_make(shard, channel, &push, frames)) {
        metric_add(&shard->metrics, METRIC_JOIN_LEAVES, 1);
        bool is_leave = kind == PUSH_LEAVE;
        for (uint32_t i = 0; i < channel->listeners_count; i++) {
            if (channel_listeners(channel)[i].hears == 0) continue;
            frames_post(shard, &channel_listeners(channel)[i],
                        &(struct letter_frame){.is_join = true, .is_leave = is_leave}, frames);
            metric_add(&shard->metrics,
                       is_leave ? METRIC_MESSAGES_SENT_LEAVE : METRIC_MESSAGES_SENT_JOIN, 1);
        }
    } else {
        log_warn("no frame left for a join or a leave, nobody hears it");
    }
    frames_drop(shard, frames);
}

void fanout_on_frame_home(void *context, struct letter *letter)
{
    struct shard *shard = context;
    struct letter_frame in;
    letter_read_frame(letter, &in);
    uint64_t *bytes_out = &shard->channels.frame_bytes_out[letter->to];
    for (uint32_t wire = 0; wire < WIRE_COUNT; wire++) {
        if (in.frames[wire] == NULL) continue;
        check(*bytes_out >= in.sizes[wire]);
        *bytes_out -= in.sizes[wire];
        frame_unref(&shard->frames, in.frames[wire]);
    }
}

uint64_t fanout_backlog_bytes(const struct shard *shard, uint32_t to)
{
    check(to < shard->shards_count);
    return mesh_backlog_bytes(shard->post, to) + shard->channels.frame_bytes_out[to];
}

/* Everyone here who listens is told to come back.  Each ends with a LEAVE to
 * the home, whose count of this shard stays exact. */
static void entry_lose(struct shard *shard, struct handle hub)
{
    struct hub_entry *entry = hub_at(&shard->hub, hub);
    while (entry != NULL && entry->count > 0) {
        uint32_t count = entry->count;
        subscription_end(shard, hub_listeners(entry)[count - 1].sub, UNSUBSCRIBE_INSUFFICIENT);
        entry = hub_at(&shard->hub, hub); /* the last to leave took it along */
        if (entry != NULL) check(entry->count < count);
    }
}

static bool hears_joins(const struct shard *shard, const struct hub_listener *listener)
{
    const struct sub *sub = slab_at(&shard->subs, listener->sub);
    check(sub != NULL);
    return sub->flags & SUB_HEARS_JOINS;
}

/* One pass over the listeners, from the last to the first: a slow reader that is
 * ended on the way leaves the hub, and the listener that takes its place has
 * had its frame already.  So it is with who speaks JSON and would be given data that
 * is none (3506).  False when no local frame is left. */
static bool entry_push(struct shard *shard, struct hub_entry *entry, struct letter *letter,
                       const struct letter_frame *in)
{
    struct frame *frames[WIRE_COUNT] = {NULL};
    bool is_whole = true;
    entry->pending++; /* the entry stays while the pass runs */
    for (uint32_t i = entry->count; i-- > 0 && is_whole;) {
        const struct hub_listener *listener = &hub_listeners(entry)[i];
        /* Where it has gone from the caches since its last message. */
        if (i >= FETCH_AHEAD) slab_prefetch(&shard->conns, listener[-FETCH_AHEAD].conn);
        if (in->is_join && !hears_joins(shard, listener)) continue;
        struct conn *conn = conn_at(shard, listener->conn);
        check(conn != NULL && conn->wire < WIRE_COUNT);
        if (in->is_opaque && conn->wire == WIRE_JSON) {
            conn_end(shard, conn, CLOSE_INAPPROPRIATE);
            continue;
        }
        struct frame **frame = &frames[conn->wire];
        check(in->bytes[conn->wire] != NULL);
        if (*frame == NULL)
            *frame = frame_borrow(&shard->frames, letter,
                                  bytes_of(in->bytes[conn->wire], in->sizes[conn->wire]));
        is_whole = *frame != NULL;
        if (is_whole) conn_push(shard, conn, *frame);
    }
    for (uint32_t wire = 0; wire < WIRE_COUNT; wire++)
        if (frames[wire] != NULL) frame_unref(&shard->frames, frames[wire]);
    hub_forget(&shard->hub, entry);
    return is_whole;
}

void fanout_on_frame(void *context, struct letter *letter)
{
    struct shard *shard = context;
    struct letter_frame in;
    letter_read_frame(letter, &in);
    metric_add(&shard->metrics,
               in.is_leave  ? METRIC_MESSAGES_RECEIVED_LEAVE
               : in.is_join ? METRIC_MESSAGES_RECEIVED_JOIN
                            : METRIC_MESSAGES_RECEIVED_PUBLICATION,
               1);
    struct hub_entry *entry = hub_at(&shard->hub, in.hub);
    /* The last listener left while this was on its way; what is pending is above it. */
    if (entry == NULL || entry->count == 0) return;
    if (in.offset > 0) {
        check(entry->entered == 0 || in.offset == entry->entered + 1);
        entry->entered = in.offset;
    }
    if (entry_push(shard, entry, letter, &in)) return;
    if (in.is_join) {
        log_warn("no frame left for a join or a leave, some do not hear it");
        return;
    }
    log_warn("no frame left for a delivery, listeners resubscribe offset=%llu",
             (unsigned long long)in.offset);
    entry_lose(shard, in.hub);
}

void fanout_lose(struct shard *shard, struct channel *channel)
{
    for (uint32_t i = 0; i < channel->listeners_count; i++) {
        const struct channel_listener *listener = &channel_listeners(channel)[i];
        struct letter_lost lost = {.hub = listener->hub};
        letter_post(shard->post, letter_pack_lost(shard->post, listener->shard, &lost));
    }
}

void fanout_on_lost(void *shard, struct letter *letter)
{
    struct letter_lost in;
    letter_read_lost(letter, &in);
    entry_lose(shard, in.hub);
}
