/*
 * codec_json: a line of JSON → struct cmd.
 *
 * The fields of each command are rows: their JSON key, how to read them, where
 * they go.  One walk reads a command's envelope and its first command; when a
 * line carries several, the one that comes first in proto/cmd.def wins whatever
 * their order in the text, and the others are only validated.
 *
 * Budget: the line is passed over once; nothing is allocated but strings with
 * escapes.
 */
#include "proto/codec_json.h"

#include "core/check.h"
#include "proto/json.h"

const struct codec codec_json = {
    .name = "json",
    .is_binary = false,
    .next = codec_json_next,
    .reply_bound = codec_json_reply_bound,
    .reply = codec_json_reply,
    .push_bound = codec_json_push_bound,
    .push = codec_json_push,
    .ping = {(const uint8_t *)"{}", 2},
};

enum field_kind {
    FIELD_TEXT,
    FIELD_RAW,
    FIELD_U64,
    FIELD_I64,
    FIELD_I32,
    FIELD_BOOL,
    FIELD_SINCE,
    FIELD_SUBS,
    FIELD_PRESENT
};

struct field {
    struct bytes name; /* empty ends the row */
    enum field_kind kind;
    size_t offset; /* in struct cmd */
};

/* clang-format off */
#define NAME(text)                {(const uint8_t *)(text), sizeof(text) - 1}
#define FIELD(name, kind, member) {NAME(#name), FIELD_##kind, offsetof(struct cmd, member)}
#define FIELDS_END                {NAME(""), FIELD_TEXT, 0}
/* clang-format on */

static const struct field connect_fields[] = {
    FIELD(token, TEXT, connect.token),
    FIELD(data, RAW, connect.data),
    FIELD(name, TEXT, connect.name),
    FIELD(version, TEXT, connect.version),
    FIELD(subs, SUBS, connect),
    FIELD(flag, I64, connect.flag),
    FIELDS_END,
};
static const struct field subscribe_fields[] = {
    FIELD(channel, TEXT, subscribe.channel),
    FIELD(token, TEXT, subscribe.token),
    FIELD(recover, BOOL, subscribe.recover),
    FIELD(epoch, TEXT, subscribe.epoch),
    FIELD(offset, U64, subscribe.offset),
    FIELD(data, RAW, subscribe.data),
    FIELD(positioned, BOOL, subscribe.positioned),
    FIELD(recoverable, BOOL, subscribe.recoverable),
    FIELD(join_leave, BOOL, subscribe.join_leave),
    FIELD(delta, TEXT, subscribe.delta),
    FIELD(tf, PRESENT, subscribe.has_filter),
    FIELD(flag, I64, subscribe.flag),
    FIELD(type, I32, subscribe.type),
    FIELDS_END,
};
static const struct field unsubscribe_fields[] = {
    FIELD(channel, TEXT, unsubscribe.channel),
    FIELDS_END,
};
static const struct field publish_fields[] = {
    FIELD(channel, TEXT, publish.channel),
    FIELD(data, RAW, publish.data),
    FIELD(type, I32, publish.type),
    FIELDS_END,
};
static const struct field presence_fields[] = {
    FIELD(channel, TEXT, presence.channel),
    FIELDS_END,
};
static const struct field presence_stats_fields[] = {
    FIELD(channel, TEXT, presence_stats.channel),
    FIELDS_END,
};
static const struct field history_fields[] = {
    FIELD(channel, TEXT, history.channel),
    FIELD(limit, I32, history.limit),
    FIELD(since, SINCE, history),
    FIELD(reverse, BOOL, history.reverse),
    FIELDS_END,
};
static const struct field ping_fields[] = {FIELDS_END};
static const struct field rpc_fields[] = {
    FIELD(data, RAW, rpc.data),
    FIELD(method, TEXT, rpc.method),
    FIELDS_END,
};
static const struct field send_fields[] = {
    FIELD(data, RAW, send.data),
    FIELDS_END,
};
static const struct field refresh_fields[] = {
    FIELD(token, TEXT, refresh.token),
    FIELDS_END,
};
static const struct field sub_refresh_fields[] = {
    FIELD(channel, TEXT, sub_refresh.channel),
    FIELD(token, TEXT, sub_refresh.token),
    FIELD(type, I32, sub_refresh.type),
    FIELDS_END,
};

static const struct {
    struct bytes name;
    const struct field *fields;
} commands[CMD_COUNT] = {
#define CMD(id, name, field) [CMD_##id] = {NAME(#name), name##_fields},
#include "proto/cmd.def"
#undef CMD
};

/* Where to begin again after a slice: an absent value and a null are the same. */
static void read_raw(struct json *json, struct bytes *raw)
{
    bool is_null = json_peek(json) == JSON_NULL;
    json_raw(json, raw);
    if (is_null) *raw = BYTES_NONE;
}

static void read_i32(struct json *json, int32_t *value)
{
    int64_t wide;
    json_i64(json, &wide);
    *value = (int32_t)wide;
    if (*value != wide && json->error == ERR_OK) json->error = ERR_BAD_REQUEST;
}

/* StreamPosition {offset, epoch}. */
static void read_since(struct json *json, struct arena *arena, struct cmd_history *history)
{
    history->has_since = false;
    history->since_offset = 0;
    history->since_epoch = BYTES_NONE;
    if (json_peek(json) == JSON_NULL) {
        json_skip(json);
        return;
    }
    struct bytes key;
    if (!json_enter_object(json)) return;
    history->has_since = true;
    while (json_key(json, &key)) {
        if (bytes_equal_text(key, "offset"))
            json_u64(json, &history->since_offset);
        else if (bytes_equal_text(key, "epoch"))
            json_text(json, arena, &history->since_epoch);
        else
            json_skip(json);
    }
}

/* SubscribeRequest of a server-side subscription: only where to recover from counts. */
static void read_sub(struct json *json, struct arena *arena, struct cmd_connect_sub *sub)
{
    struct bytes key;
    if (json_peek(json) == JSON_NULL) {
        json_skip(json);
        return;
    }
    if (!json_enter_object(json)) return;
    while (json_key(json, &key)) {
        if (bytes_equal_text(key, "recover"))
            json_bool(json, &sub->recover);
        else if (bytes_equal_text(key, "offset"))
            json_u64(json, &sub->offset);
        else if (bytes_equal_text(key, "epoch"))
            json_text(json, arena, &sub->epoch);
        else
            json_skip(json);
    }
}

/* map<string, SubscribeRequest>: how many is known at the end, so the array moves
 * to twice its room when it is full. */
static void read_subs(struct json *json, struct arena *arena, struct cmd_connect *connect)
{
    struct cmd_connect_sub *subs = NULL;
    uint32_t count = 0, room = 0;
    struct bytes channel;
    connect->subs = NULL;
    connect->subs_count = 0;
    if (json_peek(json) == JSON_NULL) {
        json_skip(json);
        return;
    }
    if (!json_enter_object(json)) return;
    while (json_key_text(json, arena, &channel)) {
        if (count == CONNECT_SUBS_MAX) {
            json->error = ERR_BAD_FRAME;
            return;
        }
        if (count == room) subs = cmd_grow_subs(arena, subs, count, &room);
        subs[count] = (struct cmd_connect_sub){.channel = channel};
        read_sub(json, arena, &subs[count++]);
    }
    connect->subs = subs;
    connect->subs_count = count;
}

static void read_field(struct json *json, struct arena *arena, const struct field *field,
                       struct cmd *cmd)
{
    void *at = (uint8_t *)cmd + field->offset;
    check(field->offset < sizeof(*cmd));
    switch (field->kind) {
    case FIELD_TEXT: json_text(json, arena, at); break;
    case FIELD_RAW: read_raw(json, at); break;
    case FIELD_U64: json_u64(json, at); break;
    case FIELD_I64: json_i64(json, at); break;
    case FIELD_I32: read_i32(json, at); break;
    case FIELD_BOOL: json_bool(json, at); break;
    case FIELD_SINCE: read_since(json, arena, at); break;
    case FIELD_SUBS: read_subs(json, arena, at); break;
    case FIELD_PRESENT:
        *(bool *)at = json_peek(json) != JSON_NULL;
        json_skip(json);
        break;
    }
}

/* The body of one command. */
static void read_command(struct json *json, struct arena *arena, enum cmd_kind kind,
                         struct cmd *cmd)
{
    struct bytes key;
    uint32_t id = cmd->id;
    *cmd = (struct cmd){.kind = kind, .id = id};
    if (!json_enter_object(json)) return;
    while (json_key(json, &key)) {
        const struct field *field = commands[kind].fields;
        while (field->name.size > 0 && !bytes_equal(key, field->name)) field++;
        if (field->name.size > 0)
            read_field(json, arena, field, cmd);
        else
            json_skip(json);
    }
}

/* CMD_PONG when `key` names no command. */
static enum cmd_kind command_of(struct bytes key)
{
    for (enum cmd_kind kind = CMD_PONG + 1; kind < CMD_COUNT; kind++) {
        if (bytes_equal(key, commands[kind].name)) return kind;
    }
    return CMD_PONG;
}

/* An id that no uint32 can hold is a request nobody can answer. */
static void read_id(struct json *json, uint32_t *id)
{
    if (json->error != ERR_OK) return;
    json_u32(json, id);
    if (json->error != ERR_OK) json->error = ERR_BAD_REQUEST;
}

static enum err read_line(struct bytes line, struct arena *arena, struct cmd *cmd)
{
    struct json json;
    struct bytes key;
    *cmd = (struct cmd){.kind = CMD_PONG};
    json_open(&json, line);
    if (json_enter_object(&json)) {
        while (json_key(&json, &key)) {
            if (bytes_equal_text(key, "id")) {
                read_id(&json, &cmd->id);
                continue;
            }
            enum cmd_kind kind = command_of(key);
            bool wins = kind != CMD_PONG && (cmd->kind == CMD_PONG || kind <= cmd->kind);
            if (wins && json_peek(&json) != JSON_NULL)
                read_command(&json, arena, kind, cmd);
            else
                json_skip(&json);
        }
    }
    TRY(json_close(&json));
    /* Nothing but an id is no pong: a reply would be owed to nothing. */
    if (cmd->kind == CMD_PONG && cmd->id != 0) return ERR_BAD_REQUEST;
    return ERR_OK;
}

enum err codec_json_next(struct reader *frame, bool is_first, struct arena *arena, struct cmd *cmd)
{
    check(!frame->failed);
    if (frame->left == 0) return is_first ? ERR_BAD_REQUEST : ERR_END;

    const uint8_t *newline = memchr(frame->at, '\n', frame->left);
    size_t size = newline != NULL ? (size_t)(newline - frame->at) : frame->left;
    struct bytes line = read_bytes(frame, size);
    if (newline != NULL) (void)read_u8(frame);
    if (size == 0)
        return ERR_BAD_REQUEST; /* blank: at the start, between two, or twice at the end */

    enum err err = read_line(line, arena, cmd);
    check(err != ERR_END);
    return err;
}
