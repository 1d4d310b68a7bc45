/*
 * reads_parse: paths, queries and bodies of the read-index service.
 */
#include "core/check.h"
#include "core/limits.h"
#include "core/utf8.h"
#include "proto/json.h"
#include "shards/reads/reads_parts.h"

/* A value of a query may be as long as a name, each byte as %XX. */
#define QUERY_VALUE_MAX (USER_ID_MAX + 1)

enum err reads_decode(struct bytes segment, struct arena *arena, struct bytes *text)
{
    uint8_t *out = arena_get(arena, segment.size + 1);
    size_t used = 0;
    for (size_t i = 0; i < segment.size; i++) {
        uint8_t c = segment.at[i], high, low;
        if (c == '%') {
            if (segment.size - i < 3 || !bytes_hex_digit(segment.at[i + 1], &high) ||
                !bytes_hex_digit(segment.at[i + 2], &low))
                return ERR_BAD_CHANNEL;
            c = (uint8_t)(high << 4 | low);
            i += 2;
        }
        out[used++] = c;
    }
    *text = bytes_of(out, used);
    bool is_fine = used > 0 && used <= CHANNEL_NAME_MAX && utf8_is_valid(*text) &&
                   memchr(out, 0, used) == NULL;
    return is_fine ? ERR_OK : ERR_BAD_CHANNEL;
}

enum err reads_query(const struct reads_ask *ask, const char *name, struct bytes *text)
{
    *text = BYTES_NONE;
    if (!http_query_has(ask->request, name)) return ERR_OK;
    char value[QUERY_VALUE_MAX];
    if (!http_query(ask->request, name, value, sizeof value)) return ERR_BAD_REQUEST;
    struct bytes found = bytes_of_text(value);
    if (!utf8_is_valid(found)) return ERR_BAD_REQUEST;
    *text = arena_copy(&ask->shard->arena, found);
    return ERR_OK;
}

enum err reads_query_u64(const struct reads_ask *ask, const char *name, uint64_t *value)
{
    struct bytes text;
    if (!http_query_has(ask->request, name)) return ERR_OK;
    TRY(reads_query(ask, name, &text));
    return bytes_to_u64(text, value) ? ERR_OK : ERR_BAD_REQUEST;
}

enum err reads_query_page(const struct reads_ask *ask, uint32_t *limit, uint64_t *after)
{
    uint64_t wanted = READS_LIST_DEFAULT;
    *after = 0;
    TRY(reads_query_u64(ask, "limit", &wanted));
    TRY(reads_query_u64(ask, "after", after));
    *limit = (uint32_t)wanted;
    return wanted > 0 && wanted <= RECEIPT_LIST_MAX ? ERR_OK : ERR_BAD_REQUEST;
}

enum err reads_user_check(struct bytes user)
{
    return user.size > 0 && user.size <= USER_ID_MAX ? ERR_OK : ERR_BAD_REQUEST;
}

enum err reads_parse_mark(const struct reads_ask *ask, struct reads_mark *mark)
{
    struct arena *arena = &ask->shard->arena;
    struct bytes name;
    struct json json;
    *mark = (struct reads_mark){0};
    json_open(&json, ask->request->body);
    if (json_enter_object(&json))
        while (json_key(&json, &name)) {
            bool is_null = json_peek(&json) == JSON_NULL;
            if (bytes_equal_text(name, "user") || bytes_equal_text(name, "sender")) {
                json_text(&json, arena, &mark->user);
            } else if (bytes_equal_text(name, "id")) {
                json_text(&json, arena, &mark->id);
            } else if (bytes_equal_text(name, "offset")) {
                mark->has_offset = !is_null;
                json_u64(&json, &mark->offset);
            } else if (bytes_equal_text(name, "seq")) {
                mark->has_seq = !is_null;
                json_u64(&json, &mark->seq);
            } else {
                json_skip(&json);
            }
        }
    TRY(json_close(&json));
    return mark->id.size <= IDEMPOTENCY_KEY_MAX ? ERR_OK : ERR_BAD_REQUEST;
}

enum err reads_parse_offsets(const struct reads_ask *ask, uint64_t *offsets, uint32_t *count)
{
    struct bytes name;
    struct json json;
    *count = 0;
    json_open(&json, ask->request->body);
    if (json_enter_object(&json))
        while (json_key(&json, &name)) {
            if (bytes_equal_text(name, "offsets"))
                json_u64s(&json, offsets, RECEIPT_BATCH_MAX, count);
            else
                json_skip(&json);
        }
    TRY(json_close(&json));
    if (*count > RECEIPT_BATCH_MAX) return ERR_LIMIT_SIZE;
    return *count == 0 ? ERR_BAD_REQUEST : ERR_OK;
}
