/*
 * api_users: calls about a user: subscribe, unsubscribe, disconnect, refresh.
 *
 * {"user", "client"?, "session"?, …} → {} once every addressed connection of this
 * node has acted and the other nodes will (user/user_home.h).  The empty user is every
 * anonymous client.  A client id that is none addresses nobody, and so does a session:
 * only emulated transports have one.
 */
#include "core/check.h"
#include "core/crypt.h"
#include "core/limits.h"
#include "proto/close.h"
#include "proto/codec.h"
#include "proto/json.h"
#include "shards/api/api_parts.h"
#include "shards/cmd/rules.h"
#include "shards/home.h"
#include "shards/shard.h"
#include "shards/user/act.h"

/* Far ends stay within a u32 of seconds: a year is renewed often enough. */
#define EXPIRY_MAX_S (365u * 86400u)

/* A body of any of the calls: they share their names. */
struct api_user_ask {
    bool has_user; /* the empty one is the anonymous clients */
    struct bytes user, client, session, channel;
    const struct bytes *whitelist;
    uint32_t whitelist_count;
    uint32_t code; /* 0: none given */
    struct bytes reason;
    bool is_expired;
    int64_t expire_at;
    struct bytes info, base64_info, data, base64_data;
    bool recovers;
    uint64_t offset;
    struct bytes epoch;
    struct jwt_override override;
};

/* --- bodies ----------------------------------------------------------------------- */

static bool is_null(struct json *json)
{
    if (json_peek(json) != JSON_NULL) return false;
    json_skip(json);
    return true;
}

static void parse_disconnect(struct json *json, struct arena *arena, struct api_user_ask *ask)
{
    struct bytes name;
    if (!is_null(json) && json_enter_object(json))
        while (json_key(json, &name)) {
            if (bytes_equal_text(name, "code"))
                json_u32(json, &ask->code);
            else if (bytes_equal_text(name, "reason"))
                json_text(json, arena, &ask->reason);
            else
                json_skip(json);
        }
}

static void parse_since(struct json *json, struct arena *arena, struct api_user_ask *ask)
{
    struct bytes name;
    if (is_null(json)) return;
    ask->recovers = true;
    if (json_enter_object(json))
        while (json_key(json, &name)) {
            if (bytes_equal_text(name, "offset"))
                json_u64(json, &ask->offset);
            else if (bytes_equal_text(name, "epoch"))
                json_text(json, arena, &ask->epoch);
            else
                json_skip(json);
        }
}

/* {"value": true} */
static void parse_choice(struct json *json, uint8_t *choice)
{
    struct bytes name;
    bool value = false;
    if (is_null(json)) return;
    if (json_enter_object(json))
        while (json_key(json, &name)) {
            if (bytes_equal_text(name, "value"))
                json_bool(json, &value);
            else
                json_skip(json);
        }
    *choice = value ? JWT_ON : JWT_OFF;
}

static void parse_override(struct json *json, struct jwt_override *override)
{
    struct bytes name;
    if (!is_null(json) && json_enter_object(json))
        while (json_key(json, &name)) {
            if (bytes_equal_text(name, "presence"))
                parse_choice(json, &override->presence);
            else if (bytes_equal_text(name, "join_leave"))
                parse_choice(json, &override->join_leave);
            else if (bytes_equal_text(name, "force_push_join_leave"))
                parse_choice(json, &override->force_push_join_leave);
            else if (bytes_equal_text(name, "force_positioning"))
                parse_choice(json, &override->force_positioning);
            else if (bytes_equal_text(name, "force_recovery"))
                parse_choice(json, &override->force_recovery);
            else
                json_skip(json);
        }
}

static void parse_raw(struct json *json, struct bytes *raw)
{
    if (!is_null(json)) json_raw(json, raw);
}

/* What says how a subscription is to be. */
static void parse_subscription(struct json *json, struct bytes name, struct arena *arena,
                               struct api_user_ask *ask)
{
    if (bytes_equal_text(name, "b64info"))
        json_text(json, arena, &ask->base64_info);
    else if (bytes_equal_text(name, "data"))
        parse_raw(json, &ask->data);
    else if (bytes_equal_text(name, "b64data"))
        json_text(json, arena, &ask->base64_data);
    else if (bytes_equal_text(name, "recover_since"))
        parse_since(json, arena, ask);
    else if (bytes_equal_text(name, "override"))
        parse_override(json, &ask->override);
    else
        json_skip(json);
}

static void parse_member(struct json *json, struct bytes name, struct arena *arena,
                         struct api_user_ask *ask)
{
    if (bytes_equal_text(name, "user")) {
        ask->has_user = json_peek(json) != JSON_NULL;
        json_text(json, arena, &ask->user);
    } else if (bytes_equal_text(name, "client"))
        json_text(json, arena, &ask->client);
    else if (bytes_equal_text(name, "session"))
        json_text(json, arena, &ask->session);
    else if (bytes_equal_text(name, "channel"))
        json_text(json, arena, &ask->channel);
    else if (bytes_equal_text(name, "whitelist"))
        api_parse_texts(json, arena, &ask->whitelist, &ask->whitelist_count);
    else if (bytes_equal_text(name, "disconnect"))
        parse_disconnect(json, arena, ask);
    else if (bytes_equal_text(name, "expired"))
        json_bool(json, &ask->is_expired);
    else if (bytes_equal_text(name, "expire_at"))
        json_i64(json, &ask->expire_at);
    else if (bytes_equal_text(name, "info"))
        parse_raw(json, &ask->info);
    else
        parse_subscription(json, name, arena, ask);
}

static enum err parse_ask(struct bytes body, struct arena *arena, struct api_user_ask *ask)
{
    *ask = (struct api_user_ask){.code = 0};
    struct bytes name;
    struct json json;
    json_open(&json, body);
    if (json_enter_object(&json))
        while (json_key(&json, &name)) parse_member(&json, name, arena, ask);
    TRY(json_close(&json));
    return ask->has_user && ask->user.size <= USER_ID_MAX ? ERR_OK : ERR_BAD_REQUEST;
}

/* Base64 wins; bytes that are no JSON are for Protobuf clients. */
static enum err payload_of(struct bytes raw, struct bytes base64, struct arena *arena,
                           struct jwt_payload *payload)
{
    *payload = (struct jwt_payload){.bytes = raw};
    if (base64.size == 0) return ERR_OK;
    size_t room = base64.size / 4 * 3 + 3, used = 0;
    uint8_t *out = arena_get(arena, room);
    if (crypt_base64_decode(base64, false, out, room, &used) != ERR_OK) return ERR_BAD_REQUEST;
    payload->bytes = bytes_of(out, used);
    payload->is_opaque = !json_is_valid(payload->bytes);
    return ERR_OK;
}

/* --- acts ------------------------------------------------------------------------- */

static struct bytes whitelist_of(struct arena *arena, const struct api_user_ask *ask)
{
    uint8_t *ids = arena_get(arena, 16 * (size_t)ask->whitelist_count + 1);
    size_t used = 0;
    for (uint32_t i = 0; i < ask->whitelist_count; i++)
        if (codec_uuid_parse(ask->whitelist[i], ids + used) == ERR_OK) used += 16;
    return bytes_of(ids, used);
}

static void on_acted(struct shard *shard, struct call *call, struct conn *conn,
                     const struct answer *answer)
{
    check(conn != NULL);
    if (answer->err != ERR_OK)
        api_fail(shard, conn, &call->sink, answer->err);
    else
        api_reply(shard, conn, &call->sink, BYTES_LITERAL("{}"));
}

static enum err post_act(const struct api *api, const struct api_user_ask *ask, struct act *act)
{
    struct shard *shard = api->shard;
    uint8_t *client = arena_get(&shard->arena, 16);
    bool has_client = ask->client.size > 0;
    if (ask->session.size > 0 || (has_client && codec_uuid_parse(ask->client, client) != ERR_OK)) {
        api_reply(shard, api->conn, &api->sink, BYTES_LITERAL("{}"));
        return ERR_OK;
    }
    act->user = ask->user;
    act->client = bytes_of(client, has_client ? 16 : 0);
    struct letter_user_act question = {.act = *act};
    struct call *call;
    uint32_t home = home_of_user(ask->user, shard->shards_count);
    TRY(api_call_to(api, home, on_acted, &call, &question.call));
    call_post(shard, letter_pack_user_act(shard->post, home, &question));
    metric_add(&shard->metrics, METRIC_MESSAGES_SENT_CONTROL, 1);
    return ERR_OK;
}

enum err api_disconnect(const struct api *api)
{
    struct api_user_ask ask;
    struct arena *arena = &api->shard->arena;
    TRY(parse_ask(api->body, arena, &ask));
    if (ask.code == 0) ask.code = close_row(CLOSE_FORCE)->code;
    if (!close_may_be_asked(ask.code) || ask.reason.size > CLOSE_REASON_MAX) return ERR_BAD_REQUEST;
    if (ask.reason.size == 0) ask.reason = bytes_of_text(close_row(close_of_code(ask.code))->text);
    struct act act = {
        .verb = ACT_DISCONNECT,
        .code = (uint16_t)ask.code,
        .reason = ask.reason,
        .whitelist = whitelist_of(arena, &ask),
    };
    return post_act(api, &ask, &act);
}

/* Absent or 0 is never. */
static uint32_t expiry_of(const struct shard *shard, int64_t expire_at)
{
    uint64_t now = shard->clock.wall_ms / 1000;
    return expire_at <= 0 ? 0 : (uint32_t)min_u64((uint64_t)expire_at, now + EXPIRY_MAX_S);
}

enum err api_refresh(const struct api *api)
{
    struct api_user_ask ask;
    TRY(parse_ask(api->body, &api->shard->arena, &ask));
    struct act act = {
        .verb = ACT_REFRESH,
        .is_expired = ask.is_expired,
        .expires_s = expiry_of(api->shard, ask.expire_at),
        .has_info = ask.info.size > 0,
        .info = {.bytes = ask.info},
    };
    return post_act(api, &ask, &act);
}

enum err api_subscribe(const struct api *api)
{
    struct api_user_ask ask;
    struct arena *arena = &api->shard->arena;
    TRY(parse_ask(api->body, arena, &ask));
    const struct config_namespace *space;
    TRY(rules_space(api->shard, ask.channel, &space));
    if (ask.epoch.size > EPOCH_MAX) return ERR_BAD_REQUEST;
    struct act act = {
        .verb = ACT_SUBSCRIBE,
        .channel = ask.channel,
        .expires_s = expiry_of(api->shard, ask.expire_at),
        .recovers = ask.recovers,
        .offset = ask.offset,
        .epoch = ask.epoch,
        .override = ask.override,
    };
    TRY(payload_of(ask.info, ask.base64_info, arena, &act.info));
    TRY(payload_of(ask.data, ask.base64_data, arena, &act.data));
    return post_act(api, &ask, &act);
}

/* Without a channel: of all. */
enum err api_unsubscribe(const struct api *api)
{
    struct api_user_ask ask;
    TRY(parse_ask(api->body, &api->shard->arena, &ask));
    const struct config_namespace *space;
    if (ask.channel.size > 0) TRY(rules_space(api->shard, ask.channel, &space));
    struct act act = {.verb = ACT_UNSUBSCRIBE, .channel = ask.channel};
    return post_act(api, &ask, &act);
}
