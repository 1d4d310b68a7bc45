/*
 * fuzz_codec_json: what decodes, encodes and decodes to the same.
 *
 * Any bytes as a frame: decoding ends, in commands or in an error.  Each command
 * is written again by the plain encoder below and must read back equal, field
 * by field.  Replies and pushes made of its parts stay within their bound and
 * are valid JSON on one line.
 */
#include "proto/codec.h"

#include "core/check.h"
#include "proto/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_text(struct writer *w, const char *name, struct bytes text)
{
    write_text(w, name);
    json_write_text(w, text);
}

static void put_raw(struct writer *w, const char *name, struct bytes raw)
{
    write_text(w, name);
    if (raw.size > 0)
        json_write_raw(w, raw);
    else
        write_text(w, "null");
}

static void put_bool(struct writer *w, const char *name, bool value)
{
    write_text(w, name);
    write_text(w, value ? "true" : "false");
}

static void put_number(struct writer *w, const char *name, int64_t value)
{
    write_text(w, name);
    if (value < 0) write_u8(w, '-');
    write_decimal(w, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

static void put_subscribe(struct writer *w, const struct cmd_subscribe *s)
{
    put_text(w, "{\"channel\":", s->channel);
    put_text(w, ",\"token\":", s->token);
    put_raw(w, ",\"data\":", s->data);
    put_text(w, ",\"epoch\":", s->epoch);
    put_text(w, ",\"delta\":", s->delta);
    write_text(w, ",\"offset\":");
    write_decimal(w, s->offset);
    put_number(w, ",\"flag\":", s->flag);
    put_number(w, ",\"type\":", s->type);
    put_bool(w, ",\"recover\":", s->recover);
    put_bool(w, ",\"positioned\":", s->positioned);
    put_bool(w, ",\"recoverable\":", s->recoverable);
    put_bool(w, ",\"join_leave\":", s->join_leave);
    write_text(w, s->has_filter ? ",\"tf\":{}}" : "}");
}

static void put_history(struct writer *w, const struct cmd_history *h)
{
    put_text(w, "{\"channel\":", h->channel);
    put_number(w, ",\"limit\":", h->limit);
    put_bool(w, ",\"reverse\":", h->reverse);
    if (h->has_since) {
        write_text(w, ",\"since\":{\"offset\":");
        write_decimal(w, h->since_offset);
        put_text(w, ",\"epoch\":", h->since_epoch);
        write_text(w, "}");
    }
    write_text(w, "}");
}

static void put_subs(struct writer *w, const struct cmd_connect *connect)
{
    check(connect->subs_count <= CONNECT_SUBS_MAX);
    write_text(w, ",\"subs\":{");
    for (uint32_t i = 0; i < connect->subs_count; i++) {
        const struct cmd_connect_sub *sub = &connect->subs[i];
        if (i > 0) write_u8(w, ',');
        json_write_text(w, sub->channel);
        put_text(w, ":{\"epoch\":", sub->epoch);
        put_bool(w, ",\"recover\":", sub->recover);
        write_text(w, ",\"offset\":");
        write_decimal(w, sub->offset);
        write_text(w, "}");
    }
    write_text(w, "}");
}

static void put_body(struct writer *w, const struct cmd *cmd)
{
    switch (cmd->kind) {
    case CMD_CONNECT:
        put_text(w, "{\"token\":", cmd->connect.token);
        put_raw(w, ",\"data\":", cmd->connect.data);
        put_text(w, ",\"name\":", cmd->connect.name);
        put_text(w, ",\"version\":", cmd->connect.version);
        put_number(w, ",\"flag\":", cmd->connect.flag);
        put_subs(w, &cmd->connect);
        break;
    case CMD_SUBSCRIBE: put_subscribe(w, &cmd->subscribe); return;
    case CMD_UNSUBSCRIBE: put_text(w, "{\"channel\":", cmd->unsubscribe.channel); break;
    case CMD_PRESENCE: put_text(w, "{\"channel\":", cmd->presence.channel); break;
    case CMD_PRESENCE_STATS: put_text(w, "{\"channel\":", cmd->presence_stats.channel); break;
    case CMD_PUBLISH:
        put_text(w, "{\"channel\":", cmd->publish.channel);
        put_raw(w, ",\"data\":", cmd->publish.data);
        put_number(w, ",\"type\":", cmd->publish.type);
        break;
    case CMD_HISTORY: put_history(w, &cmd->history); return;
    case CMD_RPC:
        put_text(w, "{\"method\":", cmd->rpc.method);
        put_raw(w, ",\"data\":", cmd->rpc.data);
        break;
    case CMD_SEND: put_raw(w, "{\"data\":", cmd->send.data); break;
    case CMD_REFRESH: put_text(w, "{\"token\":", cmd->refresh.token); break;
    case CMD_SUB_REFRESH:
        put_text(w, "{\"channel\":", cmd->sub_refresh.channel);
        put_text(w, ",\"token\":", cmd->sub_refresh.token);
        put_number(w, ",\"type\":", cmd->sub_refresh.type);
        break;
    default: write_text(w, "{"); break;
    }
    write_text(w, "}");
}

static void put_command(struct writer *w, const struct cmd *cmd)
{
    write_text(w, "{\"id\":");
    write_decimal(w, cmd->id);
    if (cmd->kind != CMD_PONG) {
        write_text(w, ",\"");
        write_text(w, cmd_name(cmd->kind));
        write_text(w, "\":");
        put_body(w, cmd);
    }
    write_text(w, "}");
}

static struct bytes encoded(const struct cmd *cmd, struct arena *arena, size_t room)
{
    struct writer writer = writer_of(arena_get(arena, room), room);
    put_command(&writer, cmd);
    check(!writer.failed);
    check(memchr(writer.start, '\n', writer.used) == NULL);
    return writer_bytes(&writer);
}

/* Equal when both are written the same: the encoder writes every field. */
static void round_trip(const struct cmd *cmd, struct arena *arena, size_t room)
{
    struct cmd back;
    struct bytes text = encoded(cmd, arena, room);
    struct reader frame = reader_of(text);
    check(codec_of(WIRE_JSON)->next(&frame, true, arena, &back) == ERR_OK);
    check(frame.left == 0);
    check(bytes_equal(encoded(&back, arena, room), text));
}

static void encode_parts(const struct cmd *cmd, struct arena *arena)
{
    const struct codec *codec = codec_of(WIRE_JSON);
    struct bytes any = cmd->kind == CMD_RPC ? cmd->rpc.method : BYTES_LITERAL("e\"\n");
    struct bytes raw = cmd->kind == CMD_RPC ? cmd->rpc.data : BYTES_NONE;
    struct wire_publication publication = {
        .offset = 1,
        .epoch = any,
        .data = raw,
        .has_info = true,
        .info = {.user = any, .conn_info = raw, .chan_info = raw}};
    struct reply_connect_sub sub = {any, {.epoch = any, .data = raw, .id = INT64_MAX}};
    struct reply replies[] = {
        {.id = cmd->id, .kind = CMD_RPC, .rpc = {raw}},
        {.id = UINT32_MAX, .kind = CMD_HISTORY, .history = {&publication, 1, any, UINT64_MAX}},
        {.id = cmd->id,
         .kind = CMD_SUBSCRIBE,
         .subscribe = {.epoch = any,
                       .data = raw,
                       .publications = &publication,
                       .publications_count = 1,
                       .ttl = UINT32_MAX,
                       .offset = UINT64_MAX}},
        {.id = cmd->id,
         .kind = CMD_CONNECT,
         .connect = {.version = any,
                     .data = raw,
                     .ttl = UINT32_MAX,
                     .ping = UINT32_MAX,
                     .expires = true,
                     .session = any,
                     .node = any,
                     .time_ms = UINT64_MAX,
                     .subs = &sub,
                     .subs_count = 1,
                     .pong = true}},
        {.id = cmd->id, .kind = CMD_PRESENCE, .presence = {&publication.info, 1}},
        {.id = cmd->id, .kind = CMD_PRESENCE_STATS, .presence_stats = {UINT32_MAX, UINT32_MAX}},
    };
    for (size_t i = 0; i < array_count(replies); i++) {
        size_t bound = codec->reply_bound(&replies[i]);
        struct writer writer = writer_of(arena_get(arena, bound), bound);
        codec->reply(&writer, &replies[i]);
        check(!writer.failed && json_is_valid(writer_bytes(&writer)));
        check(memchr(writer.start, '\n', writer.used) == NULL);
    }
    struct push pushes[] = {
        {.kind = PUSH_PUBLICATION, .channel = any, .publication = publication},
        {.kind = PUSH_JOIN, .channel = any, .info = publication.info},
        {.kind = PUSH_MESSAGE, .message = {raw}},
        {.kind = PUSH_SUBSCRIBE, .channel = any, .subscribe = {true, true, any, raw, UINT64_MAX}},
    };
    for (size_t i = 0; i < array_count(pushes); i++) {
        size_t bound = codec->push_bound(&pushes[i]);
        struct writer writer = writer_of(arena_get(arena, bound), bound);
        codec->push(&writer, &pushes[i]);
        check(!writer.failed && json_is_valid(writer_bytes(&writer)));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    arena_init(&arena, 64 << 10);
    struct reader frame = reader_of(bytes_of(data, size));
    struct cmd cmd;
    bool is_first = true;
    while (codec_of(WIRE_JSON)->next(&frame, is_first, &arena, &cmd) == ERR_OK) {
        check(cmd.kind < CMD_COUNT);
        check(cmd.kind != CMD_PONG || cmd.id == 0);
        round_trip(&cmd, &arena, 1024 + 20 * size);
        encode_parts(&cmd, &arena);
        is_first = false;
    }
    arena_fini(&arena);
    return 0;
}
