/*
 * codec_pb: a length-prefixed Protobuf message → struct cmd.
 *
 * nanopb walks the bytes; this file says where fields go.  Texts and bytes are
 * callbacks that take a view, so the stream is a reader of ours whose position is
 * known.  nanopb hands a callback whose field came with the wrong wire type a
 * stream of its own over a copy on the stack: a view of that would dangle, so such
 * a field is refused.
 *
 * The commands of one message are callbacks too.  The one that comes first in
 * proto/cmd.def wins whatever the order of the bytes; a second piece of the same
 * command is merged into it, as Protobuf has it; the others are passed over.
 */
#include "proto/codec_pb.h"

#include <pb_decode.h>

#include "core/check.h"
#include "core/utf8.h"
#include "proto/client.pb.h"

const struct codec codec_pb = {
    .name = "protobuf",
    .is_binary = true,
    .next = codec_pb_next,
    .reply_bound = codec_pb_reply_bound,
    .reply = codec_pb_reply,
    .push_bound = codec_pb_push_bound,
    .push = codec_pb_push,
    .ping = {(const uint8_t *)"\0", 1},
};

/* One message under way. */
struct decoding {
    struct arena *arena;
    struct cmd *cmd;
    enum err err;          /* why a callback said no; ERR_OK: nanopb did */
    uint32_t filter_depth; /* levels of FilterNode now open */
    uint32_t subs_room;
    struct cmd_connect_sub *subs;
    union {
        wire_ConnectRequest connect;
        wire_SubscribeRequest subscribe;
        wire_UnsubscribeRequest unsubscribe;
        wire_PublishRequest publish;
        wire_PresenceRequest presence;
        wire_PresenceStatsRequest presence_stats;
        wire_HistoryRequest history;
        wire_PingRequest ping;
        wire_SendRequest send;
        wire_RPCRequest rpc;
        wire_RefreshRequest refresh;
        wire_SubRefreshRequest sub_refresh;
    } body; /* of cmd->kind */
};

static bool on_read(pb_istream_t *stream, pb_byte_t *to, size_t count)
{
    struct reader *reader = stream->state;
    struct bytes bytes = read_bytes(reader, count);
    if (reader->failed) return false;
    if (to != NULL && count > 0) memcpy(to, bytes.at, count);
    return true;
}

static bool is_ours(const pb_istream_t *stream)
{
    return stream->callback == on_read;
}

/* `arg`: struct bytes.  The whole field as a view. */
static bool on_bytes(pb_istream_t *stream, const pb_field_t *field, void **arg)
{
    (void)field;
    if (!is_ours(stream)) return false;
    struct bytes *view = *arg;
    *view = read_bytes(stream->state, stream->bytes_left);
    check(view->size == stream->bytes_left);
    stream->bytes_left = 0;
    return true;
}

static bool on_text(pb_istream_t *stream, const pb_field_t *field, void **arg)
{
    const struct bytes *view = *arg;
    return on_bytes(stream, field, arg) && utf8_is_valid(*view);
}

/* A text that nobody asks for is checked all the same. */
static bool on_other_text(pb_istream_t *stream, const pb_field_t *field, void **arg)
{
    struct bytes view;
    void *at = &view;
    (void)arg;
    return on_text(stream, field, &at);
}

static pb_callback_t text_into(struct bytes *view)
{
    return (pb_callback_t){.funcs.decode = on_text, .arg = view};
}

static pb_callback_t bytes_into(struct bytes *view)
{
    return (pb_callback_t){.funcs.decode = on_bytes, .arg = view};
}

/* --- filters --------------------------------------------------------------------- */

/* `arg`: struct decoding.  Filters are not served, but that one is there and whether
 * it is well formed is the frame's matter. */
static bool on_filter(pb_istream_t *stream, const pb_field_t *field, void **arg)
{
    struct decoding *decoding = *arg;
    (void)field;
    if (!is_ours(stream)) return false;
    if (decoding->filter_depth == CODEC_PB_DEPTH_MAX) {
        decoding->err = ERR_TOO_DEEP;
        return false;
    }
    pb_callback_t text = {.funcs.decode = on_other_text};
    wire_FilterNode node = {.op = text, .key = text, .cmp = text, .val = text, .vals = text};
    node.nodes = (pb_callback_t){.funcs.decode = on_filter, .arg = decoding};
    decoding->filter_depth++;
    bool is_read = pb_decode_ex(stream, wire_FilterNode_fields, &node, PB_DECODE_NOINIT);
    decoding->filter_depth--;
    if (decoding->filter_depth == 0) decoding->cmd->subscribe.has_filter = true;
    return is_read;
}

/* --- connect.subs ----------------------------------------------------------------- */

/* `arg`: struct decoding.  One entry of map<string, SubscribeRequest>. */
static bool on_sub(pb_istream_t *stream, const pb_field_t *field, void **arg)
{
    struct decoding *decoding = *arg;
    struct cmd_connect *connect = &decoding->cmd->connect;
    (void)field;
    if (!is_ours(stream)) return false;
    if (connect->subs_count == CONNECT_SUBS_MAX) {
        decoding->err = ERR_BAD_FRAME;
        return false;
    }
    if (connect->subs_count == decoding->subs_room)
        connect->subs = decoding->subs = cmd_grow_subs(decoding->arena, decoding->subs,
                                                       connect->subs_count, &decoding->subs_room);
    struct cmd_connect_sub *sub = &decoding->subs[connect->subs_count];
    *sub = (struct cmd_connect_sub){0};
    wire_ConnectRequest_SubsEntry entry = {
        .key = text_into(&sub->channel),
        .value = {.epoch = text_into(&sub->epoch)},
    };
    if (!pb_decode_ex(stream, wire_ConnectRequest_SubsEntry_fields, &entry, PB_DECODE_NOINIT))
        return false;
    sub->recover = entry.value.recover;
    sub->offset = entry.value.offset;
    connect->subs_count++;
    return true;
}

/* --- the commands ----------------------------------------------------------------- */

static void connect_begin(struct decoding *decoding)
{
    struct cmd_connect *connect = &decoding->cmd->connect;
    decoding->subs = NULL;
    decoding->subs_room = 0;
    decoding->body.connect = (wire_ConnectRequest){
        .token = text_into(&connect->token),
        .data = bytes_into(&connect->data),
        .subs = {.funcs.decode = on_sub, .arg = decoding},
        .name = text_into(&connect->name),
        .version = text_into(&connect->version),
    };
}

static void connect_end(struct decoding *decoding)
{
    decoding->cmd->connect.flag = decoding->body.connect.flag;
}

static void subscribe_begin(struct decoding *decoding)
{
    struct cmd_subscribe *subscribe = &decoding->cmd->subscribe;
    decoding->body.subscribe = (wire_SubscribeRequest){
        .channel = text_into(&subscribe->channel),
        .token = text_into(&subscribe->token),
        .epoch = text_into(&subscribe->epoch),
        .data = bytes_into(&subscribe->data),
        .delta = text_into(&subscribe->delta),
        .tf = {.funcs.decode = on_filter, .arg = decoding},
    };
}

static void subscribe_end(struct decoding *decoding)
{
    const wire_SubscribeRequest *in = &decoding->body.subscribe;
    struct cmd_subscribe *subscribe = &decoding->cmd->subscribe;
    subscribe->offset = in->offset;
    subscribe->flag = in->flag;
    subscribe->type = in->type;
    subscribe->recover = in->recover;
    subscribe->positioned = in->positioned;
    subscribe->recoverable = in->recoverable;
    subscribe->join_leave = in->join_leave;
}

static void unsubscribe_begin(struct decoding *decoding)
{
    decoding->body.unsubscribe =
        (wire_UnsubscribeRequest){.channel = text_into(&decoding->cmd->unsubscribe.channel)};
}

static void publish_begin(struct decoding *decoding)
{
    decoding->body.publish = (wire_PublishRequest){
        .channel = text_into(&decoding->cmd->publish.channel),
        .data = bytes_into(&decoding->cmd->publish.data),
    };
}

static void publish_end(struct decoding *decoding)
{
    decoding->cmd->publish.type = decoding->body.publish.type;
    decoding->cmd->publish.is_opaque = true;
}

static void presence_begin(struct decoding *decoding)
{
    decoding->body.presence =
        (wire_PresenceRequest){.channel = text_into(&decoding->cmd->presence.channel)};
}

static void presence_stats_begin(struct decoding *decoding)
{
    decoding->body.presence_stats =
        (wire_PresenceStatsRequest){.channel = text_into(&decoding->cmd->presence_stats.channel)};
}

static void history_begin(struct decoding *decoding)
{
    struct cmd_history *history = &decoding->cmd->history;
    decoding->body.history = (wire_HistoryRequest){
        .channel = text_into(&history->channel),
        .since = {.epoch = text_into(&history->since_epoch)},
    };
}

static void history_end(struct decoding *decoding)
{
    const wire_HistoryRequest *in = &decoding->body.history;
    struct cmd_history *history = &decoding->cmd->history;
    history->limit = in->limit;
    history->reverse = in->reverse;
    history->has_since = in->has_since;
    history->since_offset = in->since.offset;
}

static void ping_begin(struct decoding *decoding)
{
    decoding->body.ping = (wire_PingRequest){0};
}

static void rpc_begin(struct decoding *decoding)
{
    decoding->body.rpc = (wire_RPCRequest){
        .data = bytes_into(&decoding->cmd->rpc.data),
        .method = text_into(&decoding->cmd->rpc.method),
    };
}

static void send_begin(struct decoding *decoding)
{
    decoding->body.send = (wire_SendRequest){.data = bytes_into(&decoding->cmd->send.data)};
}

static void refresh_begin(struct decoding *decoding)
{
    decoding->body.refresh =
        (wire_RefreshRequest){.token = text_into(&decoding->cmd->refresh.token)};
}

static void sub_refresh_begin(struct decoding *decoding)
{
    decoding->body.sub_refresh = (wire_SubRefreshRequest){
        .channel = text_into(&decoding->cmd->sub_refresh.channel),
        .token = text_into(&decoding->cmd->sub_refresh.token),
    };
}

static void sub_refresh_end(struct decoding *decoding)
{
    decoding->cmd->sub_refresh.type = decoding->body.sub_refresh.type;
}

/* `begin` points the callbacks at the command; `end`, or NULL, takes over what
 * nanopb keeps by value. */
static const struct {
    uint32_t tag;
    const pb_msgdesc_t *fields;
    void (*begin)(struct decoding *decoding);
    void (*end)(struct decoding *decoding);
} commands[CMD_COUNT] = {
    [CMD_CONNECT] = {4, wire_ConnectRequest_fields, connect_begin, connect_end},
    [CMD_SUBSCRIBE] = {5, wire_SubscribeRequest_fields, subscribe_begin, subscribe_end},
    [CMD_UNSUBSCRIBE] = {6, wire_UnsubscribeRequest_fields, unsubscribe_begin, NULL},
    [CMD_PUBLISH] = {7, wire_PublishRequest_fields, publish_begin, publish_end},
    [CMD_PRESENCE] = {8, wire_PresenceRequest_fields, presence_begin, NULL},
    [CMD_PRESENCE_STATS] = {9, wire_PresenceStatsRequest_fields, presence_stats_begin, NULL},
    [CMD_HISTORY] = {10, wire_HistoryRequest_fields, history_begin, history_end},
    [CMD_PING] = {11, wire_PingRequest_fields, ping_begin, NULL},
    [CMD_SEND] = {12, wire_SendRequest_fields, send_begin, NULL},
    [CMD_RPC] = {13, wire_RPCRequest_fields, rpc_begin, NULL},
    [CMD_REFRESH] = {14, wire_RefreshRequest_fields, refresh_begin, NULL},
    [CMD_SUB_REFRESH] = {15, wire_SubRefreshRequest_fields, sub_refresh_begin, sub_refresh_end},
};
#define CMD(id, name, field) static_assert(wire_Command_##name##_tag == (field), "cmd.def");
#include "proto/cmd.def"
#undef CMD

static enum cmd_kind command_of(uint32_t tag)
{
    for (enum cmd_kind kind = CMD_PONG + 1; kind < CMD_COUNT; kind++)
        if (commands[kind].tag == tag) return kind;
    impossible("nanopb gives the callback only to the fields of Command");
}

/* `arg`: struct decoding.  The body of one command. */
static bool on_command(pb_istream_t *stream, const pb_field_t *field, void **arg)
{
    struct decoding *decoding = *arg;
    struct cmd *cmd = decoding->cmd;
    if (!is_ours(stream)) return false;
    enum cmd_kind kind = command_of(field->tag);
    if (cmd->kind != CMD_PONG && kind > cmd->kind) return pb_read(stream, NULL, stream->bytes_left);
    if (kind != cmd->kind) {
        *cmd = (struct cmd){.kind = kind};
        commands[kind].begin(decoding);
    }
    return pb_decode_ex(stream, commands[kind].fields, &decoding->body, PB_DECODE_NOINIT);
}

static enum err read_message(struct bytes message, struct arena *arena, struct cmd *cmd)
{
    struct decoding decoding = {.arena = arena, .cmd = cmd};
    struct reader reader = reader_of(message);
    pb_istream_t stream = {.callback = on_read, .state = &reader, .bytes_left = message.size};
    pb_callback_t body = {.funcs.decode = on_command, .arg = &decoding};
    wire_Command envelope = {
#define CMD(id, name, field) .name = body,
#include "proto/cmd.def"
#undef CMD
    };
    *cmd = (struct cmd){.kind = CMD_PONG};
    bool is_read = pb_decode_ex(&stream, wire_Command_fields, &envelope, PB_DECODE_NOINIT);
    if (!is_read) return decoding.err != ERR_OK ? decoding.err : ERR_BAD_REQUEST;
    if (commands[cmd->kind].end != NULL) commands[cmd->kind].end(&decoding);
    cmd->id = envelope.id;
    /* Nothing but an id is no pong: a reply would be owed to nothing. */
    return cmd->kind == CMD_PONG && cmd->id != 0 ? ERR_BAD_REQUEST : ERR_OK;
}

/* The length before a message; false when it is cut off or cannot be one. */
static bool read_length(struct reader *frame, uint64_t *length)
{
    *length = 0;
    for (uint32_t shift = 0; shift < 35; shift += 7) {
        uint8_t byte = read_u8(frame);
        if (frame->failed) return false;
        *length |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return true;
    }
    return false;
}

enum err codec_pb_next(struct reader *frame, bool is_first, struct arena *arena, struct cmd *cmd)
{
    check(!frame->failed);
    uint64_t length;
    if (frame->left == 0) return is_first ? ERR_BAD_REQUEST : ERR_END;
    if (!read_length(frame, &length) || length > frame->left) return ERR_BAD_REQUEST;
    enum err err = read_message(read_bytes(frame, (size_t)length), arena, cmd);
    check(err != ERR_END);
    return err;
}
