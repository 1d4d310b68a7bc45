/*
 * The two wires against each other: a random command is written in JSON and in
 * Protobuf side by side, field for field, with fields that nobody knows between and
 * commands that lose beside it, and both must read as the same struct cmd.
 */
#include "core/arena.h"
#include "prop.h"
#include "proto/codec.h"
#include "proto/json.h"
#include "unit/proto/cmd_show.h"
#include "unit/proto/pb_bytes.h"

#define ROOM (64u << 10)

/* One message being written in both. */
struct both {
    struct rng *rng;
    struct writer json, pb;
    bool is_first; /* of the JSON object that is open */
};

static struct arena arena;

static struct writer room(void)
{
    return writer_of(arena_get(&arena, ROOM), ROOM);
}

static void json_key_of(struct both *both, const char *name)
{
    if (!both->is_first) write_u8(&both->json, ',');
    both->is_first = false;
    json_write_text(&both->json, bytes_of_text(name));
    write_u8(&both->json, ':');
}

static bool chance(struct both *both, uint64_t of)
{
    return rng_below(both->rng, of) == 0;
}

static void text(struct both *both, const char *name, uint32_t field)
{
    static const char *const texts[] = {
        "", "a", "chat:room", "\"\\\n\t", "\xc3\xa9", "\xf0\x9f\x92\xac x", "\x01\x7f"};
    struct bytes value = bytes_of_text(texts[rng_below(both->rng, array_count(texts))]);
    if (value.size == 0 && chance(both, 2)) return;
    json_key_of(both, name);
    json_write_text(&both->json, value);
    pb_sized(&both->pb, field, value);
}

static void raw(struct both *both, const char *name, uint32_t field)
{
    static const char *const values[] = {"{}", "[1, 2]", "\"\\u00e9\"", "-1.50e3",
                                         "{\"a\":{\"b\":[null]}}"};
    struct bytes value = bytes_of_text(values[rng_below(both->rng, array_count(values))]);
    if (chance(both, 4)) return;
    json_key_of(both, name);
    write_bytes(&both->json, value);
    pb_sized(&both->pb, field, value);
}

/* 0, or a number of at most `bits` bits, of any length. */
static uint64_t some(struct both *both, uint32_t bits)
{
    uint64_t value = rng_next(both->rng) >> rng_below(both->rng, 64);
    return chance(both, 4) ? 0 : bits == 64 ? value : value & ((UINT64_C(1) << bits) - 1);
}

static void number(struct both *both, const char *name, uint32_t field, uint32_t bits)
{
    uint64_t value = some(both, bits);
    if (value == 0 && chance(both, 2)) return;
    json_key_of(both, name);
    write_decimal(&both->json, value);
    pb_number(&both->pb, field, value);
}

/* Of `bits` bits with a sign: Protobuf shows a negative one in 64. */
static void integer(struct both *both, const char *name, uint32_t field, uint32_t bits)
{
    int64_t value = (int64_t)some(both, bits - 1);
    if (chance(both, 2)) value = -value;
    json_key_of(both, name);
    if (value < 0) write_u8(&both->json, '-');
    write_decimal(&both->json, value < 0 ? (uint64_t)-value : (uint64_t)value);
    pb_number(&both->pb, field, (uint64_t)value);
}

static void fact(struct both *both, const char *name, uint32_t field)
{
    bool value = chance(both, 2);
    if (!value && chance(both, 2)) return;
    json_key_of(both, name);
    write_text(&both->json, value ? "true" : "false");
    pb_number(&both->pb, field, value);
}

static void unknown(struct both *both)
{
    if (!chance(both, 4)) return;
    json_key_of(both, "of tomorrow");
    write_text(&both->json, "[{\"channel\":1}]");
    pb_sized(&both->pb, 200, BYTES_LITERAL("\xff"));
    pb_number(&both->pb, 201, UINT64_MAX);
}

/* Opens an object in both; `close_object` puts it into the message around it. */
static struct both open_object(struct both *outer, const char *name)
{
    json_key_of(outer, name);
    write_u8(&outer->json, '{');
    return (struct both){.rng = outer->rng, .json = outer->json, .pb = room(), .is_first = true};
}

static void close_object(struct both *outer, struct both *inner, uint32_t field)
{
    unknown(inner);
    write_u8(&inner->json, '}');
    outer->json = inner->json;
    pb_sized(&outer->pb, field, writer_bytes(&inner->pb));
}

static void position(struct both *both)
{
    if (chance(both, 3)) return;
    struct both since = open_object(both, "since");
    number(&since, "offset", 1, 64);
    text(&since, "epoch", 2);
    close_object(both, &since, 8);
}

static void filter(struct both *both, uint32_t depth)
{
    if (chance(both, 2)) return;
    struct both tf = open_object(both, "tf");
    text(&tf, "op", 1);
    if (depth > 0) pb_sized(&tf.pb, 6, BYTES_LITERAL("\x0a\x03not\x32\x00"));
    close_object(both, &tf, 13);
}

static void subscription(struct both *both)
{
    text(both, "token", 2);
    fact(both, "recover", 3);
    text(both, "epoch", 6);
    number(both, "offset", 7, 64);
    raw(both, "data", 8);
    fact(both, "positioned", 9);
    fact(both, "recoverable", 10);
    fact(both, "join_leave", 11);
    text(both, "delta", 12);
    integer(both, "flag", 14, 64);
    integer(both, "type", 15, 32);
}

static void subs(struct both *both)
{
    uint64_t count = rng_below(both->rng, 20);
    if (count == 0) return;
    json_key_of(both, "subs");
    write_u8(&both->json, '{');
    both->is_first = true;
    for (uint64_t i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof name, "c\"%" PRIu64, i);
        struct both sub = open_object(both, name);
        struct writer entry = room();
        subscription(&sub);
        write_u8(&sub.json, '}');
        both->json = sub.json;
        pb_sized(&entry, 1, bytes_of_text(name));
        pb_sized(&entry, 2, writer_bytes(&sub.pb));
        pb_sized(&both->pb, 3, writer_bytes(&entry));
    }
    write_u8(&both->json, '}');
    both->is_first = false;
}

static void body(struct both *both, enum cmd_kind kind)
{
    bool has_channel = kind != CMD_CONNECT && kind != CMD_RPC && kind != CMD_SEND &&
                       kind != CMD_REFRESH && kind != CMD_PING;
    if (has_channel) text(both, "channel", 1);
    switch (kind) {
    case CMD_CONNECT:
        text(both, "token", 1);
        raw(both, "data", 2);
        subs(both);
        text(both, "name", 4);
        text(both, "version", 5);
        integer(both, "flag", 7, 64);
        break;
    case CMD_SUBSCRIBE:
        filter(both, (uint32_t)rng_below(both->rng, 2));
        subscription(both);
        break;
    case CMD_PUBLISH:
        raw(both, "data", 2);
        integer(both, "type", 3, 32);
        break;
    case CMD_HISTORY:
        integer(both, "limit", 7, 32);
        position(both);
        fact(both, "reverse", 9);
        break;
    case CMD_RPC:
        raw(both, "data", 1);
        text(both, "method", 2);
        break;
    case CMD_SEND: raw(both, "data", 1); break;
    case CMD_REFRESH: text(both, "token", 1); break;
    case CMD_SUB_REFRESH:
        text(both, "token", 2);
        integer(both, "type", 3, 32);
        break;
    default: break;
    }
}

static uint32_t field_of(enum cmd_kind kind)
{
#define CMD(id, name, field) [CMD_##id] = (field),
    static const uint32_t fields[CMD_COUNT] = {
#include "proto/cmd.def"
    };
#undef CMD
    return fields[kind];
}

static void command(struct both *both, enum cmd_kind kind)
{
    struct both inner = open_object(both, cmd_name(kind));
    body(&inner, kind);
    close_object(both, &inner, field_of(kind));
}

/* What the bytes read as; the error alone when they do not. */
static struct bytes shown(enum wire wire, struct bytes bytes)
{
    struct cmd cmd;
    struct writer out = room();
    struct reader frame = reader_of(bytes);
    enum err err = codec_of(wire)->next(&frame, true, &arena, &cmd);
    expect(err == ERR_OK || err == ERR_BAD_REQUEST);
    write_u8(&out, err != ERR_OK);
    if (err == ERR_OK) {
        expect(frame.left == 0);
        cmd_show(&out, &cmd);
    }
    return writer_bytes(&out);
}

static void round_codec(struct rng *rng)
{
    arena_init(&arena, 1 << 20);
    struct both both = {.rng = rng, .json = room(), .pb = room(), .is_first = true};
    write_u8(&both.json, '{');
    unknown(&both);
    if (chance(&both, 8)) number(&both, "id", 1, 32);
    /* Up to three commands, each once: in JSON the second of two replaces the first,
     * in Protobuf both are one. */
    enum cmd_kind used[3];
    uint64_t count = rng_below(rng, 4);
    for (uint64_t i = 0; i < count; i++) {
        used[i] = (enum cmd_kind)(1 + rng_below(rng, CMD_COUNT - 1));
        bool is_new = true;
        for (uint64_t other = 0; other < i; other++) is_new = is_new && used[other] != used[i];
        if (is_new) command(&both, used[i]);
    }
    unknown(&both);
    number(&both, "id", 1, 32);
    write_u8(&both.json, '}');
    struct writer framed = room();
    pb_delimited(&framed, writer_bytes(&both.pb));
    expect(!both.json.failed && !both.pb.failed && !framed.failed);
    expect(bytes_equal(shown(WIRE_JSON, writer_bytes(&both.json)),
                       shown(WIRE_PROTOBUF, writer_bytes(&framed))));
    arena_fini(&arena);
}

int main(int argc, char **argv)
{
    return prop_main(argc, argv, 5000, round_codec);
}
