/*
 * conn_proxy: a proxy in front of us says who the user is.
 *
 * With client.user_id_http_header the proxy has checked the user and names it in a
 * header of the upgrade.  The name is kept where a connected client's is, so it costs
 * nothing more; cmd/connect_identify.c takes it when no token came.  Two such headers
 * are refused: one of them may be the peer's own, which the proxy passed on.
 */
#include "core/check.h"
#include "core/utf8.h"
#include "shards/conn/conn.h"
#include "shards/shard.h"

static const char *complaint(const struct http_request *request, const char *name,
                             struct bytes *user)
{
    uint32_t count = 0;
    *user = BYTES_NONE;
    for (uint32_t i = 0; i < request->headers_count; i++) {
        if (!bytes_equal_nocase(request->headers[i].name, bytes_of_text(name))) continue;
        *user = request->headers[i].value;
        count++;
    }
    if (count > 1) return "more than one header names the user";
    if (user->size > USER_ID_MAX) return "the header that names the user is too long";
    return utf8_is_valid(*user) ? NULL : "the header that names the user is not UTF-8";
}

bool conn_take_proxy_user(struct shard *shard, struct conn *conn,
                          const struct http_request *request)
{
    check(conn->state == CONN_HTTP);
    const char *name = shard->config->client_user_id_http_header;
    struct bytes user;
    /* An upgrade before may have been refused at the door. */
    conn_forget_user(shard, conn);
    if (name[0] == '\0') return true;
    const char *why = complaint(request, name, &user);
    if (why == NULL) {
        if (user.size > 0) conn_set_user(shard, conn, user, BYTES_NONE);
        return true;
    }
    conn_respond(shard, conn, 400, "text/plain; charset=utf-8", bytes_of_text(why), NULL);
    return false;
}
