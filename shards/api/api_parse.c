/*
 * api_parse: bodies of the server API.
 *
 * Unknown members are passed over, as backends send what newer servers know.
 * `data` is taken as it stands, byte for byte.
 */
#include "core/check.h"
#include "core/crypt.h"
#include "core/limits.h"
#include "proto/json.h"
#include "shards/api/api_parts.h"
#include "shards/letter_members.h"

/* A list of texts.  Its length is not known before its end, so it is walked
 * once on a copy of the reader and once for good. */
void api_parse_texts(struct json *json, struct arena *arena, const struct bytes **texts,
                     uint32_t *count)
{
    *count = 0;
    if (json_peek(json) == JSON_NULL) {
        json_skip(json);
        return;
    }
    struct json ahead = *json;
    if (json_enter_array(&ahead))
        while (json_element(&ahead)) {
            json_skip(&ahead);
            (*count)++;
        }
    struct bytes *items = arena_get(arena, (*count + (size_t)1) * sizeof *items);
    uint32_t at = 0;
    if (json_enter_array(json))
        while (json_element(json)) {
            check(at < *count);
            json_text(json, arena, &items[at++]);
        }
    *texts = items;
}

/* An object whose members are texts; null is absent.  False when it is another valid
 * value, which is then passed over. */
static bool parse_tags(struct json *json, struct bytes *tags)
{
    enum json_kind kind = json_peek(json);
    if (kind != JSON_OBJECT) {
        json_skip(json);
        return kind == JSON_NULL;
    }
    struct json ahead = *json;
    struct bytes key;
    bool is_fine = true;
    if (json_enter_object(&ahead))
        while (json_key(&ahead, &key)) {
            is_fine = is_fine && json_peek(&ahead) == JSON_TEXT;
            json_skip(&ahead);
        }
    json_raw(json, tags);
    if (tags->size == 2) *tags = BYTES_NONE; /* "{}" says nothing */
    return is_fine;
}

enum err api_parse_base64(struct bytes text, struct arena *arena, struct bytes *data)
{
    size_t room = text.size / 4 * 3 + 3, used = 0;
    uint8_t *out = arena_get(arena, room);
    if (crypt_base64_decode(text, false, out, room, &used) != ERR_OK) return ERR_BAD_REQUEST;
    *data = bytes_of(out, used);
    return ERR_OK;
}

enum err api_parse_publication(struct bytes body, bool is_broadcast, struct arena *arena,
                               struct api_publication *out)
{
    *out = (struct api_publication){0};
    bool has_bad_tags = false;
    struct bytes name, base64 = BYTES_NONE, *channel = arena_get(arena, sizeof *channel);
    *channel = BYTES_NONE;
    struct json json;
    json_open(&json, body);
    if (json_enter_object(&json))
        while (json_key(&json, &name)) {
            if (!is_broadcast && bytes_equal_text(name, "channel"))
                json_text(&json, arena, channel);
            else if (is_broadcast && bytes_equal_text(name, "channels"))
                api_parse_texts(&json, arena, &out->channels, &out->channels_count);
            else if (bytes_equal_text(name, "data"))
                json_raw(&json, &out->data);
            else if (bytes_equal_text(name, "b64data"))
                json_text(&json, arena, &base64);
            else if (bytes_equal_text(name, "tags"))
                has_bad_tags = !parse_tags(&json, &out->tags);
            else if (bytes_equal_text(name, "idempotency_key"))
                json_text(&json, arena, &out->key);
            else if (bytes_equal_text(name, "version"))
                json_u64(&json, &out->version);
            else if (bytes_equal_text(name, "version_epoch"))
                json_text(&json, arena, &out->version_epoch);
            else if (bytes_equal_text(name, "skip_history"))
                json_bool(&json, &out->skip_history);
            else
                json_skip(&json);
        }
    TRY(json_close(&json));
    if (!is_broadcast) {
        out->channels = channel;
        out->channels_count = 1;
    }
    out->is_json = base64.size == 0;
    if (base64.size > 0) TRY(api_parse_base64(base64, arena, &out->data));
    if (out->key.size > IDEMPOTENCY_KEY_MAX || out->version_epoch.size > VERSION_EPOCH_MAX ||
        has_bad_tags)
        return ERR_BAD_REQUEST;
    if (out->channels_count > API_CHANNELS_MAX) return ERR_LIMIT_BROADCAST;
    return out->channels_count == 0 ? ERR_BAD_REQUEST : ERR_OK;
}

static void parse_since(struct json *json, struct arena *arena, struct api_history_ask *out,
                        bool *has_since)
{
    if (json_peek(json) == JSON_NULL) {
        json_skip(json);
        return;
    }
    *has_since = true;
    struct bytes name;
    if (json_enter_object(json))
        while (json_key(json, &name)) {
            if (bytes_equal_text(name, "offset"))
                json_u64(json, &out->since);
            else if (bytes_equal_text(name, "epoch"))
                json_text(json, arena, &out->since_epoch);
            else
                json_skip(json);
        }
}

enum err api_parse_history(struct bytes body, struct arena *arena, struct api_history_ask *out)
{
    *out = (struct api_history_ask){0};
    struct bytes name;
    int64_t limit = 0;
    bool has_since = false;
    struct json json;
    json_open(&json, body);
    if (json_enter_object(&json))
        while (json_key(&json, &name)) {
            if (bytes_equal_text(name, "channel"))
                json_text(&json, arena, &out->channel);
            else if (bytes_equal_text(name, "limit"))
                json_i64(&json, &limit);
            else if (bytes_equal_text(name, "since"))
                parse_since(&json, arena, out, &has_since);
            else if (bytes_equal_text(name, "reverse"))
                json_bool(&json, &out->is_reverse);
            else
                json_skip(&json);
        }
    TRY(json_close(&json));
    /* Nothing lies before the first offset. */
    if (out->is_reverse && has_since && out->since == 0) return ERR_BAD_REQUEST;
    out->limit = limit < 0 || limit > UINT32_MAX ? UINT32_MAX : (uint32_t)limit;
    return ERR_OK;
}

/* {"user","joined","read"}: where someone who is imported stands. */
static void parse_join(struct json *json, struct arena *arena, struct bytes *user,
                       struct member_join *join)
{
    struct bytes name;
    if (!json_enter_object(json)) return;
    while (json_key(json, &name)) {
        if (bytes_equal_text(name, "user"))
            json_text(json, arena, user);
        else if (bytes_equal_text(name, "joined"))
            json_u64(json, &join->joined);
        else if (bytes_equal_text(name, "read"))
            json_u64(json, &join->read);
        else
            json_skip(json);
    }
}

/* Texts and objects may stand beside each other; the first object makes it an import. */
static void parse_joins(struct json *json, struct arena *arena, struct api_members *out)
{
    uint32_t count = 0, at = 0;
    struct json ahead = *json;
    if (json_enter_array(&ahead))
        while (json_element(&ahead)) {
            json_skip(&ahead);
            count++;
        }
    struct bytes *users = arena_get(arena, (count + (size_t)1) * sizeof *users);
    struct member_join *joins = arena_get(arena, (count + (size_t)1) * sizeof *joins);
    if (json_enter_array(json))
        for (; json_element(json); at++) {
            check(at < count);
            users[at] = BYTES_NONE;
            joins[at] = (struct member_join){0};
            if (json_peek(json) == JSON_OBJECT)
                parse_join(json, arena, &users[at], &joins[at]);
            else
                json_text(json, arena, &users[at]);
        }
    out->users = users;
    out->joins = joins;
    out->users_count = count;
}

enum err api_parse_members(struct bytes body, bool is_import, struct arena *arena,
                           struct api_members *out)
{
    *out = (struct api_members){0};
    struct bytes name;
    bool has_members = false;
    struct json json;
    json_open(&json, body);
    if (json_enter_object(&json))
        while (json_key(&json, &name)) {
            if (bytes_equal_text(name, "channel")) {
                json_text(&json, arena, &out->channel);
            } else if (bytes_equal_text(name, "users") || bytes_equal_text(name, "members")) {
                has_members = true;
                if (is_import)
                    parse_joins(&json, arena, out);
                else
                    api_parse_texts(&json, arena, &out->users, &out->users_count);
            } else {
                json_skip(&json);
            }
        }
    TRY(json_close(&json));
    if (!has_members) return ERR_BAD_REQUEST;
    if (out->users_count > MEMBERS_MAX) return ERR_LIMIT_MEMBERS;
    for (uint32_t i = 0; i < out->users_count; i++)
        if (out->users[i].size == 0 || out->users[i].size > USER_ID_MAX) return ERR_BAD_REQUEST;
    return ERR_OK;
}

enum err api_parse_members_list(struct bytes body, struct arena *arena,
                                struct letter_members_list *out)
{
    *out = (struct letter_members_list){.limit = RECEIPT_LIST_MAX};
    struct bytes name;
    struct json json;
    json_open(&json, body);
    if (json_enter_object(&json))
        while (json_key(&json, &name)) {
            if (bytes_equal_text(name, "channel"))
                json_text(&json, arena, &out->channel);
            else if (bytes_equal_text(name, "after"))
                json_u64(&json, &out->after);
            else if (bytes_equal_text(name, "limit"))
                json_u32(&json, &out->limit);
            else
                json_skip(&json);
        }
    TRY(json_close(&json));
    return out->limit == 0 || out->limit > RECEIPT_LIST_MAX ? ERR_BAD_REQUEST : ERR_OK;
}

enum err api_parse_nothing(struct bytes body)
{
    if (body.size == 0) return ERR_OK;
    struct bytes name;
    struct json json;
    json_open(&json, body);
    if (json_enter_object(&json))
        while (json_key(&json, &name)) json_skip(&json);
    return json_close(&json);
}

enum err api_parse_text(struct bytes body, const char *name, struct arena *arena,
                        struct bytes *text)
{
    if (body.size == 0) return ERR_OK;
    struct bytes member;
    struct json json;
    json_open(&json, body);
    if (json_enter_object(&json))
        while (json_key(&json, &member)) {
            if (bytes_equal_text(member, name))
                json_text(&json, arena, text);
            else
                json_skip(&json);
        }
    return json_close(&json);
}
