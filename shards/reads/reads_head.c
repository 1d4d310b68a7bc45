/*
 * reads_head: messages that are kept elsewhere.
 *
 * PUT head {seq, sender, id} → {"offset","epoch"}: a message was posted; the next offset
 * is its.  `seq` is the chat server's own number, up to HEAD_SEQ_MAX, and does not fall; the
 * same one twice is two messages, unless both name the same `id`.  GET head → the newest;
 * ?seq= → the last one whose number is not above it.
 */
#include "core/check.h"
#include "proto/json.h"
#include "shards/letter_members.h"
#include "shards/reads/reads_parts.h"

/* Idempotency keys of heads are theirs alone. */
#define HEAD_SCOPE "read index"

enum err reads_head_put(const struct reads_ask *ask)
{
    struct reads_mark mark;
    TRY(reads_parse_mark(ask, &mark));
    if (!mark.has_seq || mark.seq > HEAD_SEQ_MAX || mark.has_offset || mark.user.size > USER_ID_MAX)
        return ERR_BAD_REQUEST;
    size_t room = sizeof("{\"seq\":18446744073709551615,\"id\":}") + json_text_bound(mark.id);
    struct writer data = writer_of(arena_get(&ask->shard->arena, room), room);
    write_text(&data, "{\"seq\":");
    write_decimal(&data, mark.seq);
    if (mark.id.size > 0) {
        write_text(&data, ",\"id\":");
        json_write_text(&data, mark.id);
    }
    write_u8(&data, '}');
    check(!data.failed);
    struct letter_publish question = {
        .channel = ask->channel,
        .scope = mark.id.size > 0 ? BYTES_LITERAL(HEAD_SCOPE) : BYTES_NONE,
        .key = mark.id,
        .publication = {.data = writer_bytes(&data),
                        .has_info = mark.user.size > 0,
                        .user = mark.user},
        .is_head = true,
    };
    struct call *call;
    TRY(reads_call(ask, reads_on_offset, &call, &question.call));
    call_post(ask->shard, letter_pack_publish(ask->shard->post, call->to, &question));
    return ERR_OK;
}

enum err reads_head_show(const struct reads_ask *ask)
{
    struct letter_head question = {.channel = ask->channel};
    question.has_seq = http_query_has(ask->request, "seq");
    TRY(reads_query_u64(ask, "seq", &question.seq));
    struct call *call;
    TRY(reads_call(ask, reads_on_offset, &call, &question.call));
    call_post(ask->shard, letter_pack_head(ask->shard->post, call->to, &question));
    return ERR_OK;
}
