/*
 * connect_register: the user's home learns of the connection, or refuses it.
 *
 * The connect reply waits for it, so that every user-addressed call after the
 * reply finds the connection.  Anonymous clients have no home.
 */
#include "core/check.h"
#include "core/log.h"
#include "shards/call.h"
#include "shards/cmd/connecting.h"
#include "shards/home.h"
#include "shards/shard.h"
#include "shards/user/act.h"

static void tell_leave(struct shard *shard, struct conn *conn)
{
    struct letter_user_leave leave = {
        .conn = slab_handle(&shard->conns, conn),
        .session = conn->session,
    };
    uint32_t home = home_of_user(conn_user(conn), shard->shards_count);
    letter_post(shard->post, letter_pack_user_leave(shard->post, home, &leave));
}

void connect_unregister(struct shard *shard, struct conn *conn)
{
    if (!(conn->flags & CONN_REGISTERED)) return;
    conn->flags &= ~(uint32_t)CONN_REGISTERED;
    tell_leave(shard, conn);
}

static void refuse(struct shard *shard, struct conn *conn, const struct answer *answer)
{
    log_debug("user's home refused a client err=%s", err_name(answer->err));
    if (answer->err == ERR_LIMIT_CONNECTIONS)
        conn_end(shard, conn, CLOSE_LIMIT);
    else if (answer->err == ERR_REVOKED)
        conn_end_with(shard, conn, (uint16_t)answer->offset, answer->epoch);
    else
        connecting_fail(shard, conn, answer->err);
}

static void on_registered(struct shard *shard, struct call *call, struct conn *conn,
                          const struct answer *answer)
{
    (void)call;
    check(conn != NULL);
    check(!(conn->flags & (CONN_REGISTERED | CONN_CONNECTED)));
    bool is_wanted = conn->flags & CONN_CONNECTING;
    if (answer->err != ERR_OK) {
        if (is_wanted) refuse(shard, conn, answer);
        return;
    }
    conn->session = (uint32_t)answer->offset;
    if (!is_wanted) {
        tell_leave(shard, conn); /* it ended on the way */
        return;
    }
    conn->flags |= CONN_REGISTERED;
    connecting_go_on(shard, conn);
}

enum connect_step connect_register(struct shard *shard, struct conn *conn)
{
    struct connecting *connecting = conn->connecting;
    if (conn->user_size == 0 || conn->flags & CONN_REGISTERED) return CONNECT_DONE;
    if (connecting->is_registering) return CONNECT_WAITS;

    struct letter_user_enter enter = {
        .conn = slab_handle(&shard->conns, conn),
        .began_ns = connecting->began_ns,
        .user = conn_user(conn),
    };
    uint32_t home = home_of_user(enter.user, shard->shards_count);
    struct call *call;
    enum err err = call_begin(shard, conn, home, on_registered, &call, &enter.call);
    if (err == ERR_CREDIT_SPENT) return CONNECT_CREDIT;
    if (err != ERR_OK) {
        connecting_fail(shard, conn, err);
        return CONNECT_OVER;
    }
    connecting->is_registering = true;
    call_post(shard, letter_pack_user_enter(shard->post, home, &enter));
    return CONNECT_WAITS;
}
