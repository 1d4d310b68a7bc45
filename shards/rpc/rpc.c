/*
 * rpc: the table, and replies.
 */
#include "shards/rpc/rpc.h"

#include "core/check.h"
#include "shards/home.h"
#include "shards/rpc/rpc_parts.h"
#include "shards/shard.h"

static const struct {
    const char *method;
    rpc_fn handler;
} methods[] = {
#define RPC(method, handler) {method, handler},
#include "shards/rpc/rpc.def"
#undef RPC
};

/* "receipt.x" of a program that knows other methods of "receipt." is a mistake in
 * the name; anything else is for a backend, and there is none. */
static bool is_family(struct bytes method)
{
    for (size_t i = 0; i < array_count(methods); i++) {
        size_t size = (size_t)(strchr(methods[i].method, '.') - methods[i].method) + 1;
        if (method.size >= size && memcmp(method.at, methods[i].method, size) == 0) return true;
    }
    return false;
}

enum err rpc_on_cmd(struct shard *shard, struct conn *conn, const struct cmd *cmd)
{
    check(cmd->kind == CMD_RPC);
    struct rpc rpc = {.shard = shard, .conn = conn, .id = cmd->id, .data = cmd->rpc.data};
    for (size_t i = 0; i < array_count(methods); i++) {
        if (!bytes_equal_text(cmd->rpc.method, methods[i].method)) continue;
        enum err err = methods[i].handler(&rpc);
        /* Bad JSON inside `data` is the method's matter, not the frame's. */
        return err_class_of(err) == ERR_CLASS_PEER ? ERR_BAD_REQUEST : err;
    }
    return is_family(cmd->rpc.method) ? ERR_NOT_FOUND : ERR_NOT_AVAILABLE;
}

enum err rpc_call(const struct rpc *rpc, struct bytes channel, call_fn on_answer,
                  struct call **call, struct handle *handle)
{
    uint32_t home = home_of_channel(channel, rpc->shard->shards_count);
    TRY(call_begin(rpc->shard, rpc->conn, home, on_answer, call, handle));
    (*call)->id = rpc->id;
    return ERR_OK;
}

bool rpc_is_answered(struct shard *shard, const struct call *call, struct conn *conn,
                     const struct answer *answer)
{
    check(conn != NULL);
    if (conn->state != CONN_WS) return false;
    if (answer->err == ERR_OK) return true;
    conn_reply_error(shard, conn, call->id, answer->err);
    return false;
}

void rpc_reply(struct shard *shard, const struct call *call, struct conn *conn,
               struct json_out *out)
{
    struct reply reply = {.id = call->id, .kind = CMD_RPC, .rpc.data = json_out_bytes(out)};
    conn_reply(shard, conn, &reply);
    json_out_fini(out);
}
