/*
 * wire_sim: the client's side of HTTP and WebSocket, and a reader of JSON.
 */
#include "wire_sim.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/check.h"
#include "world.h"

void intake_put(struct intake *intake, const uint8_t *data, size_t size)
{
    if (size == 0) return;
    if (intake->size + size > intake->room) {
        intake->room = 2 * (intake->size + size) + 512;
        intake->bytes = realloc(intake->bytes, intake->room);
        check(intake->bytes != NULL);
    }
    memcpy(intake->bytes + intake->size, data, size);
    intake->size += size;
}

void intake_drop(struct intake *intake, size_t size)
{
    check(size <= intake->size);
    intake->size -= size;
    memmove(intake->bytes, intake->bytes + size, intake->size);
}

void intake_free(struct intake *intake)
{
    free(intake->bytes);
    *intake = (struct intake){NULL, 0, 0};
}

bool ws_take(const struct intake *intake, struct ws_message *message)
{
    const uint8_t *at = intake->bytes;
    if (intake->size < 2) return false;
    uint64_t size = at[1] & 127u;
    size_t head = 2;
    if (at[0] >> 4 != 8)
        world_fail("frames of the server are whole and plain", "first byte %02x", at[0]);
    if (at[1] & 128u) world_fail("frames of the server are not masked", "second byte %02x", at[1]);
    if (size == 126) {
        if (intake->size < 4) return false;
        size = (uint64_t)at[2] << 8 | at[3];
        head = 4;
        if (size < 126) world_fail("frame lengths are minimal", "%u", (uint32_t)size);
    } else if (size == 127) {
        if (intake->size < 10) return false;
        size = 0;
        for (uint32_t i = 2; i < 10; i++) size = size << 8 | at[i];
        head = 10;
        if (size < 65536) world_fail("frame lengths are minimal", "%u", (uint32_t)size);
    }
    if (intake->size < head + size) return false;
    *message =
        (struct ws_message){(enum ws_opcode)(at[0] & 15u), bytes_of(at + head, size), head + size};
    return true;
}

size_t ws_put(uint8_t *out, enum ws_opcode opcode, bool is_final, struct bytes payload,
              uint32_t mask)
{
    size_t used = 0;
    out[used++] = (uint8_t)((is_final ? 128u : 0u) | (uint32_t)opcode);
    if (payload.size < 126) {
        out[used++] = (uint8_t)(128u | payload.size);
    } else if (payload.size < 65536) {
        out[used++] = 128u | 126u;
        out[used++] = (uint8_t)(payload.size >> 8);
        out[used++] = (uint8_t)payload.size;
    } else {
        out[used++] = 128u | 127u;
        for (uint32_t i = 0; i < 8; i++)
            out[used++] = (uint8_t)((uint64_t)payload.size >> (56 - 8 * i));
    }
    uint8_t key[4];
    memcpy(key, &mask, 4);
    memcpy(out + used, key, 4);
    used += 4;
    for (size_t i = 0; i < payload.size; i++) out[used++] = payload.at[i] ^ key[i & 3];
    return used;
}

bool http_take(const struct intake *intake, struct http_answer *answer)
{
    const uint8_t *end = memmem(intake->bytes, intake->size, "\r\n\r\n", 4);
    if (intake->size == 0 || end == NULL) return false;
    size_t head = (size_t)(end - intake->bytes) + 4;
    char text[4096];
    if (head >= sizeof(text)) world_fail("heads of answers are short", "%zu bytes", head);
    memcpy(text, intake->bytes, head);
    text[head] = '\0';
    uint32_t status = 0;
    if (sscanf(text, "HTTP/1.1 %3u ", &status) != 1)
        world_fail("an answer begins with its status", "%.40s", text);
    const char *length = strcasestr(text, "\r\ncontent-length:");
    size_t size = length == NULL ? 0 : strtoul(length + 17, NULL, 10);
    if (intake->size < head + size) return false;
    *answer = (struct http_answer){status, bytes_of(intake->bytes + head, size), head + size};
    return true;
}

/* JSON: the gateway's output is trusted to be JSON, and compact. */

static _Noreturn void not_json(struct bytes text)
{
    world_fail("replies are JSON", "%.*s", (int)min_u64(text.size, 300), (const char *)text.at);
}

static size_t string_end(struct bytes text, size_t at)
{
    for (size_t from = at + 1; from < text.size;) {
        const uint8_t *quote = memchr(text.at + from, '"', text.size - from);
        if (quote == NULL) break;
        size_t end = (size_t)(quote - text.at), slashes = 0;
        while (text.at[end - slashes - 1] == '\\') slashes++;
        if (slashes % 2 == 0) return end + 1;
        from = end + 1;
    }
    not_json(text);
}

/* The end of the value that begins at `at`. */
static size_t value_end(struct bytes text, size_t at)
{
    if (at >= text.size) not_json(text);
    if (text.at[at] == '"') return string_end(text, at);
    bool is_nested = text.at[at] == '{' || text.at[at] == '[';
    uint32_t depth = 0;
    for (size_t i = at; i < text.size;) {
        uint8_t c = text.at[i];
        if (c == '"') {
            i = string_end(text, i);
            continue;
        }
        if (!is_nested && (c == ',' || c == '}' || c == ']')) return i;
        if (c == '{' || c == '[') depth++;
        if ((c == '}' || c == ']') && --depth == 0) return i + 1;
        i++;
    }
    if (is_nested) not_json(text);
    return text.size;
}

bool peek_member(struct bytes object, size_t *at, struct bytes *name, struct bytes *value)
{
    if (object.size < 2 || object.at[0] != '{') not_json(object);
    if (*at == 0) *at = 1;
    if (*at < object.size && object.at[*at] == ',') ++*at;
    if (*at >= object.size || object.at[*at] == '}') return false;
    if (object.at[*at] != '"') not_json(object);
    size_t key_end = value_end(object, *at);
    if (key_end >= object.size || object.at[key_end] != ':') not_json(object);
    size_t end = value_end(object, key_end + 1);
    *name = bytes_of(object.at + *at + 1, key_end - *at - 2);
    *value = bytes_of(object.at + key_end + 1, end - key_end - 1);
    *at = end;
    return true;
}

bool peek_get(struct bytes object, const char *name, struct bytes *value)
{
    struct bytes found;
    for (size_t at = 0; peek_member(object, &at, &found, value);)
        if (bytes_equal_text(found, name)) return true;
    return false;
}

bool peek_each(struct bytes array, size_t *at, struct bytes *value)
{
    if (array.size < 2 || array.at[0] != '[') not_json(array);
    if (*at == 0) *at = 1;
    if (*at < array.size && array.at[*at] == ',') ++*at;
    if (*at >= array.size || array.at[*at] == ']') return false;
    size_t end = value_end(array, *at);
    *value = bytes_of(array.at + *at, end - *at);
    *at = end;
    return true;
}

uint64_t peek_number(struct bytes object, const char *name, uint64_t otherwise)
{
    struct bytes value;
    uint64_t number;
    if (!peek_get(object, name, &value)) return otherwise;
    if (!bytes_to_u64(value, &number)) not_json(object);
    return number;
}

bool peek_true(struct bytes object, const char *name)
{
    struct bytes value;
    return peek_get(object, name, &value) && bytes_equal_text(value, "true");
}

void peek_text(struct bytes object, const char *name, char *text, size_t size)
{
    struct bytes value;
    text[0] = '\0';
    if (!peek_get(object, name, &value)) return;
    if (value.size < 2 || value.at[0] != '"') not_json(object);
    size_t used = min_u64(value.size - 2, size - 1);
    memcpy(text, value.at + 1, used);
    text[used] = '\0';
}
