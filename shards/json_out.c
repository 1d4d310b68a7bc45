/*
 * json_out: JSON out, growing.
 */
#include "shards/json_out.h"

#include "core/check.h"
#include "core/mem.h"
#include "proto/json.h"

#define ROOM_FIRST   256
#define DECIMALS_MAX 20

void json_out_fini(struct json_out *out)
{
    mem_free(out->at);
    *out = (struct json_out){0};
}

/* A writer over at least `size` free bytes; what it used is taken by `took`. */
static struct writer room_for(struct json_out *out, size_t size)
{
    if (out->room - out->used < size) {
        size_t room = out->room == 0 ? ROOM_FIRST : out->room;
        while (room - out->used < size) room *= 2;
        out->at = mem_resize(out->at, room);
        out->room = room;
    }
    return writer_of(out->at + out->used, out->room - out->used);
}

static void took(struct json_out *out, const struct writer *writer)
{
    check(!writer->failed);
    out->used += writer->used;
    check(out->used <= out->room);
}

static void put(struct json_out *out, struct bytes bytes)
{
    struct writer writer = room_for(out, bytes.size);
    write_bytes(&writer, bytes);
    took(out, &writer);
}

static void begin_value(struct json_out *out)
{
    if (out->is_comma_due) put(out, BYTES_LITERAL(","));
    out->is_comma_due = true;
}

static void open_level(struct json_out *out, struct bytes bracket)
{
    begin_value(out);
    put(out, bracket);
    out->is_comma_due = false;
}

static void close_level(struct json_out *out, struct bytes bracket)
{
    put(out, bracket);
    out->is_comma_due = true;
}

void json_out_object(struct json_out *out)
{
    open_level(out, BYTES_LITERAL("{"));
}

void json_out_object_end(struct json_out *out)
{
    close_level(out, BYTES_LITERAL("}"));
}

void json_out_array(struct json_out *out)
{
    open_level(out, BYTES_LITERAL("["));
}

void json_out_array_end(struct json_out *out)
{
    close_level(out, BYTES_LITERAL("]"));
}

void json_out_key(struct json_out *out, const char *name)
{
    begin_value(out);
    put(out, BYTES_LITERAL("\""));
    put(out, bytes_of_text(name));
    put(out, BYTES_LITERAL("\":"));
    out->is_comma_due = false;
}

void json_out_key_text(struct json_out *out, struct bytes name)
{
    json_out_text(out, name);
    put(out, BYTES_LITERAL(":"));
    out->is_comma_due = false;
}

void json_out_text(struct json_out *out, struct bytes text)
{
    begin_value(out);
    struct writer writer = room_for(out, json_text_bound(text));
    json_write_text(&writer, text);
    took(out, &writer);
}

void json_out_u64(struct json_out *out, uint64_t value)
{
    begin_value(out);
    struct writer writer = room_for(out, DECIMALS_MAX);
    write_decimal(&writer, value);
    took(out, &writer);
}

void json_out_bool(struct json_out *out, bool value)
{
    begin_value(out);
    put(out, value ? BYTES_LITERAL("true") : BYTES_LITERAL("false"));
}

void json_out_raw(struct json_out *out, struct bytes raw)
{
    check(raw.size > 0);
    begin_value(out);
    put(out, raw);
}

void json_out_member_text(struct json_out *out, const char *name, struct bytes text)
{
    json_out_key(out, name);
    json_out_text(out, text);
}

void json_out_member_u64(struct json_out *out, const char *name, uint64_t value)
{
    if (value == 0) return;
    json_out_key(out, name);
    json_out_u64(out, value);
}
