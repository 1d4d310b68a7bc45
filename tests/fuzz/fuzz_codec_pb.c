/*
 * fuzz_codec_pb: any bytes as a frame of Protobuf.
 *
 * Decoding ends, in commands or in an error, and takes no view outside the frame.
 * A command whose data is JSON is written in JSON too and must read there as the same
 * struct; replies and pushes made of its parts stay within their bound, and the
 * publications among them read back as whole messages.
 */
#include "proto/codec.h"

#include "core/check.h"
#include "proto/json.h"
#include "unit/proto/cmd_show.h"

#define COMMANDS_MAX 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_all(const struct cmd *cmd, struct arena *arena)
{
    const struct codec *codec = codec_of(WIRE_PROTOBUF);
    struct bytes any = cmd->kind == CMD_RPC ? cmd->rpc.method : BYTES_LITERAL("e");
    struct bytes raw = cmd->kind == CMD_RPC ? cmd->rpc.data : BYTES_NONE;
    struct wire_publication publication = {
        .offset = 1,
        .epoch = any,
        .data = raw,
        .tags = BYTES_LITERAL("{\"a\\n\":\"b\",\"\":\"\"}"),
        .has_info = true,
        .info = {.user = any, .conn_info = raw, .chan_info = raw}};
    struct reply_connect_sub sub = {any, {.epoch = any, .publications = &publication}};
    sub.subscribe.publications_count = 1;
    struct reply replies[] = {
        {.id = cmd->id, .kind = CMD_RPC, .rpc = {raw}},
        {.id = UINT32_MAX, .kind = CMD_HISTORY, .history = {&publication, 1, any, UINT64_MAX}},
        {.id = cmd->id, .kind = CMD_SUBSCRIBE, .subscribe = sub.subscribe},
        {.id = cmd->id, .kind = CMD_CONNECT, .connect = {.version = any, .data = raw, .node = any}},
        {.id = cmd->id, .kind = CMD_PRESENCE, .presence = {&publication.info, 1}},
        {.id = cmd->id, .error_code = 100, .error_text = "text"},
    };
    replies[3].connect.subs = &sub;
    replies[3].connect.subs_count = 1;
    for (size_t i = 0; i < array_count(replies); i++) {
        size_t bound = codec->reply_bound(&replies[i]);
        struct writer writer = writer_of(arena_get(arena, bound), bound);
        codec->reply(&writer, &replies[i]);
        check(!writer.failed && writer.used > 0);
    }
    struct push pushes[] = {
        {.kind = PUSH_PUBLICATION, .channel = any, .publication = publication},
        {.kind = PUSH_JOIN, .id = INT64_MAX, .info = publication.info},
        {.kind = PUSH_MESSAGE, .message = {raw}},
    };
    for (size_t i = 0; i < array_count(pushes); i++) {
        size_t bound = codec->push_bound(&pushes[i]);
        struct writer writer = writer_of(arena_get(arena, bound), bound);
        codec->push(&writer, &pushes[i]);
        check(!writer.failed && writer.used > 0);
    }
}

static bool is_inside(struct bytes view, struct bytes frame)
{
    return view.size == 0 || (view.at >= frame.at && view.at + view.size <= frame.at + frame.size);
}

/* The small commands, which JSON can say whatever they hold. */
static void same_in_json(const struct cmd *cmd, struct bytes frame, struct arena *arena)
{
    struct bytes channel = BYTES_NONE, value = BYTES_NONE;
    const char *name = NULL;
    if (cmd->kind == CMD_PUBLISH && cmd->publish.type == 0) {
        channel = cmd->publish.channel, value = cmd->publish.data, name = "data";
        if (value.size == 0 || !json_is_valid(value) || bytes_equal_text(value, "null")) return;
    } else if (cmd->kind == CMD_SUB_REFRESH && cmd->sub_refresh.type == 0) {
        channel = cmd->sub_refresh.channel, value = cmd->sub_refresh.token, name = "token";
    } else {
        return;
    }
    check(is_inside(channel, frame) && is_inside(value, frame));
    size_t room = 256 + 6 * frame.size;
    struct writer line = writer_of(arena_get(arena, room), room);
    write_text(&line, "{\"id\":");
    write_decimal(&line, cmd->id);
    write_text(&line, ",\"");
    write_text(&line, cmd_name(cmd->kind));
    write_text(&line, "\":{\"channel\":");
    json_write_text(&line, channel);
    write_text(&line, ",\"");
    write_text(&line, name);
    write_text(&line, "\":");
    if (cmd->kind == CMD_PUBLISH)
        write_bytes(&line, value);
    else
        json_write_text(&line, value);
    write_text(&line, "}}");
    check(!line.failed);
    /* Lines end at a newline, and raw values have no space around them. */
    if (memchr(line.start, '\n', line.used) != NULL) return;
    struct cmd back;
    struct reader reader = reader_of(writer_bytes(&line));
    check(codec_of(WIRE_JSON)->next(&reader, true, arena, &back) == ERR_OK);
    if (cmd->kind == CMD_PUBLISH) back.publish.data = value;
    struct writer one = writer_of(arena_get(arena, room), room);
    struct writer two = writer_of(arena_get(arena, room), room);
    cmd_show(&one, cmd);
    cmd_show(&two, &back);
    check(bytes_equal(writer_bytes(&one), writer_bytes(&two)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    arena_init(&arena, 64 << 10);
    struct bytes whole = bytes_of(data, size);
    struct reader frame = reader_of(whole);
    struct cmd cmd;
    uint32_t count = 0;
    while (codec_of(WIRE_PROTOBUF)->next(&frame, count == 0, &arena, &cmd) == ERR_OK) {
        check(cmd.kind < CMD_COUNT);
        check(cmd.kind != CMD_PONG || cmd.id == 0);
        if (cmd.kind == CMD_RPC) check(is_inside(cmd.rpc.method, whole));
        /* A frame of pongs has thousands. */
        if (count++ >= COMMANDS_MAX) continue;
        same_in_json(&cmd, whole, &arena);
        write_all(&cmd, &arena);
    }
    arena_fini(&arena);
    return 0;
}
