/*
 * reads_policy: what members of a channel learn of readers.
 *
 * GET policy → {"receipts","receipts_opt_out","own":{…}}; PUT policy {"receipts",
 * "receipts_opt_out"}: what is absent or null is as the namespace says.
 */
#include "shards/api/api_parts.h"
#include "shards/letter_members.h"
#include "shards/reads/reads_parts.h"

static void on_policy(struct shard *shard, struct call *call, struct conn *conn,
                      const struct answer *answer)
{
    if (!reads_is_answered(shard, call, conn, answer)) return;
    struct json_out out = {0};
    api_write_policy(&out, answer);
    reads_reply(shard, call, conn, &out);
}

static enum err policy_ask(const struct reads_ask *ask, struct letter_policy *question,
                           call_fn on_answer)
{
    struct call *call;
    question->channel = ask->channel;
    TRY(reads_call(ask, on_answer, &call, &question->call));
    call_post(ask->shard, letter_pack_policy(ask->shard->post, call->to, question));
    return ERR_OK;
}

enum err reads_policy_show(const struct reads_ask *ask)
{
    struct letter_policy question = {.own = 0};
    return policy_ask(ask, &question, on_policy);
}

enum err reads_policy_put(const struct reads_ask *ask)
{
    struct letter_policy question;
    TRY(api_parse_policy(ask->request->body, &ask->shard->arena, &question));
    return policy_ask(ask, &question, reads_on_done);
}
