/*
 * connecting: the stages one after another, and the reply.
 */
#include "shards/cmd/connecting.h"

#include "core/check.h"
#include "core/log.h"
#include "core/mem.h"
#include "shards/cmd/dispatch.h"
#include "shards/shard.h"

/* --- its memory --------------------------------------------------------------- */

struct connecting_kept {
    struct connecting_kept *next;
    _Alignas(16) uint8_t bytes[];
};

void *connecting_alloc(struct connecting *connecting, size_t size)
{
    struct connecting_kept *kept = mem_alloc(sizeof *kept + size);
    kept->next = connecting->kept;
    connecting->kept = kept;
    return kept->bytes;
}

struct bytes connecting_keep(struct connecting *connecting, struct bytes bytes)
{
    if (bytes.size == 0) return BYTES_NONE;
    void *copy = connecting_alloc(connecting, bytes.size);
    memcpy(copy, bytes.at, bytes.size);
    return bytes_of(copy, bytes.size);
}

/* The request outlives its frame. */
static void keep_request(struct connecting *connecting, const struct cmd_connect *request)
{
    struct cmd_connect *copy = &connecting->request;
    *copy = *request;
    copy->token = connecting_keep(connecting, request->token);
    copy->data = connecting_keep(connecting, request->data);
    copy->name = connecting_keep(connecting, request->name);
    copy->version = connecting_keep(connecting, request->version);
    copy->subs = NULL;
    if (request->subs_count == 0) return;
    struct cmd_connect_sub *subs = connecting_alloc(connecting, request->subs_count * sizeof *subs);
    for (uint32_t i = 0; i < request->subs_count; i++) {
        subs[i] = request->subs[i];
        subs[i].channel = connecting_keep(connecting, request->subs[i].channel);
        subs[i].epoch = connecting_keep(connecting, request->subs[i].epoch);
    }
    copy->subs = subs;
}

static void connecting_free(struct shard *shard, struct conn *conn)
{
    check(conn->flags & CONN_CONNECTING);
    struct connecting *connecting = conn->connecting;
    connect_drop_held(shard, connecting);
    while (connecting->kept != NULL) {
        struct connecting_kept *kept = connecting->kept;
        connecting->kept = kept->next;
        mem_free(kept);
    }
    mem_free(connecting);
    conn->connecting = NULL;
    conn->flags &= ~(uint32_t)CONN_CONNECTING;
}

void connecting_end(struct shard *shard, struct conn *conn)
{
    if (conn->flags & CONN_CONNECTING) connecting_free(shard, conn);
}

void connecting_fail(struct shard *shard, struct conn *conn, enum err err)
{
    check(err != ERR_OK);
    uint32_t id = conn->connecting->id;
    connecting_free(shard, conn);
    conn->flags |= CONN_CONNECT_FAILED;
    log_debug("connect refused err=%s", err_name(err));
    conn_reply_error(shard, conn, id, err);
    if (conn->flags & CONN_PAUSED) conn_resume(shard, conn);
}

/* --- the last stage ----------------------------------------------------------- */

static void log_connected(const struct shard *shard, const struct conn *conn)
{
    char id[37], user[64];
    codec_uuid(conn->client, id);
    log_debug("client connected client=%s user=%s shard=%u", id,
              log_quote(user, sizeof user, conn_user(conn).at, conn->user_size), shard->index);
}

/* The reply is encoded before the block goes that its views point into. */
static enum connect_step connect_reply(struct shard *shard, struct conn *conn)
{
    const struct connecting *connecting = conn->connecting;
    if (shard->is_draining) {
        conn_end(shard, conn, CLOSE_SHUTDOWN);
        return CONNECT_OVER;
    }
    uint64_t now = shard->clock.wall_ms / 1000;
    uint32_t expires_s = connecting->expires_s;
    bool has_pings = !(conn->flags & CONN_FRAME_PINGS); /* else they are frames */
    struct reply reply = {
        .id = connecting->id,
        .kind = CMD_CONNECT,
        .connect =
            {
                .version = BYTES_LITERAL(SLUICE_VERSION),
                .data = connecting->data,
                .ping = has_pings
                            ? (uint32_t)((shard->config->client_ping_interval_ms + 999) / 1000)
                            : 0,
                .pong = has_pings,
                .expires = expires_s != 0,
                .ttl = expires_s > now ? (uint32_t)(expires_s - now) : 0,
                .subs = connecting->reply_subs,
                .subs_count = connecting->reply_subs_count,
                .time_ms =
                    shard->config->client_connect_include_server_time ? shard->clock.wall_ms : 0,
            },
    };
    memcpy(reply.connect.client, conn->client, sizeof conn->client);
    conn_reply(shard, conn, &reply);
    if (conn->state == CONN_WS) connect_release(shard, conn);
    if (conn->state != CONN_WS) return CONNECT_OVER; /* no room for all that ended it */

    connecting_free(shard, conn);
    conn->expires_s = expires_s;
    conn->flags |= CONN_CONNECTED;
    shard->clients_count++;
    metric_add(&shard->metrics, METRIC_CLIENTS, 1);
    metric_add(&shard->metrics, METRIC_ACCEPTED, 1);
    log_connected(shard, conn);
    conn_begin_pings(shard, conn);
    if (conn->flags & CONN_PAUSED) conn_resume(shard, conn);
    return CONNECT_OVER;
}

/* --- one after another -------------------------------------------------------- */

typedef enum connect_step (*connect_fn)(struct shard *shard, struct conn *conn);

static const connect_fn stages[] = {
    [CONNECT_STAGE_IDENTIFY] = connect_identify,   [CONNECT_STAGE_REGISTER] = connect_register,
    [CONNECT_STAGE_SUBSCRIBE] = connect_subscribe, [CONNECT_STAGE_DIGEST] = connect_digest,
    [CONNECT_STAGE_REPLY] = connect_reply,
};

void connecting_go_on(struct shard *shard, struct conn *conn)
{
    check(conn->state == CONN_WS);
    check(conn->flags & CONN_CONNECTING);
    enum connect_step step = CONNECT_DONE;
    while (step == CONNECT_DONE) {
        check(conn->connecting->stage <= CONNECT_STAGE_REPLY);
        step = stages[conn->connecting->stage](shard, conn);
        if (step == CONNECT_DONE) conn->connecting->stage++;
    }
    /* Credit comes back with an answer: shard.c moves the waiting on then. */
    if (step == CONNECT_CREDIT && !(conn->flags & CONN_LISTED)) {
        conn->flags |= CONN_LISTED;
        shard_await_credit(shard, conn_index(shard, conn), false);
    }
}

enum err cmd_connect(struct shard *shard, struct conn *conn, const struct cmd *cmd)
{
    check(cmd->kind == CMD_CONNECT);
    check(!(conn->flags & (CONN_CONNECTED | CONN_CONNECTING)));
    if (shard->is_draining) {
        conn_end(shard, conn, CLOSE_SHUTDOWN);
        return ERR_OK;
    }
    struct connecting *connecting = mem_alloc(sizeof *connecting);
    connecting->id = cmd->id;
    connecting->began_ns = shard->clock.mono_ns;
    keep_request(connecting, &cmd->connect);
    conn->connecting = connecting;
    conn->flags |= CONN_CONNECTING;
    connecting_go_on(shard, conn);
    return ERR_OK;
}
