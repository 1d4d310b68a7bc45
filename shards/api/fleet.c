/*
 * fleet: ask the others, answer them.
 */
#include "shards/api/fleet.h"

#include "core/check.h"
#include "core/mem.h"
#include "shards/call.h"
#include "shards/node.h"
#include "shards/shard.h"
#include "storage/peers.h"

#define SIZED(view) (4 + (view).size)

/* --- asking ----------------------------------------------------------------------- */

struct fleet_ask {
    struct store_survey op;
    struct shard *shard;
    uint32_t to;
    struct handle call;
    uint8_t *parts; /* sized, one after another */
    size_t used;
    bool is_too_much;
    uint8_t question[];
};

static void on_part(struct store_survey *op, struct bytes part)
{
    struct fleet_ask *ask = container_of(op, struct fleet_ask, op);
    size_t size = SIZED(part);
    /* An answer of ours is one letter. */
    ask->is_too_much = ask->is_too_much || ask->used + size > HISTORY_BYTES_MAX;
    if (ask->is_too_much) return;
    ask->parts = mem_resize(ask->parts, ask->used + size);
    struct writer writer = writer_of(ask->parts + ask->used, size);
    write_sized(&writer, part);
    check(!writer.failed);
    ask->used += size;
}

static void on_end(struct store_survey *op, enum err err)
{
    struct fleet_ask *ask = container_of(op, struct fleet_ask, op);
    if (ask->is_too_much) err = ERR_LIMIT_LISTED;
    call_answer_to(
        ask->shard, ask->to,
        &(struct answer){.call = ask->call, .err = err, .epoch = bytes_of(ask->parts, ask->used)});
    mem_free(ask->parts);
    mem_free(ask);
}

void fleet_on_ask(void *context, struct letter *letter)
{
    struct shard *shard = context;
    struct letter_ask in;
    letter_read_ask(letter, &in);
    check(store_has_peers(shard->store));
    struct fleet_ask *ask = mem_alloc(sizeof *ask + in.channel.size);
    memcpy(ask->question, in.channel.at, in.channel.size);
    ask->shard = shard;
    ask->to = letter->from;
    ask->call = in.call;
    ask->op = (struct store_survey){
        .question = bytes_of(ask->question, in.channel.size), .on_part = on_part, .on_end = on_end};
    store_survey(shard->store, &ask->op);
}

bool fleet_info_next(struct reader *parts, struct fleet_info *info)
{
    if (parts->left == 0) return false;
    struct reader reader = reader_of(read_sized(parts));
    info->id = read_bytes(&reader, 16);
    info->name = read_sized(&reader);
    info->version = read_sized(&reader);
    info->uptime_s = read_u64(&reader);
    info->shard = read_u32(&reader);
    info->shards_count = read_u32(&reader);
    info->clients = read_u64(&reader);
    info->users = read_u64(&reader);
    info->channels = read_u64(&reader);
    info->subscriptions = read_u64(&reader);
    return !parts->failed && !reader.failed && info->shard < info->shards_count &&
           info->shards_count <= SHARDS_MAX;
}

/* --- answering -------------------------------------------------------------------- */

static void answer_info(struct shard *shard, const struct store_asker *asker)
{
    const struct node *node = shard->node;
    struct bytes name = bytes_of_text(node->name), version = BYTES_LITERAL(SLUICE_VERSION);
    uint64_t now_ms = shard->clock.wall_ms;
    uint8_t bytes[512];
    struct writer writer = writer_of(bytes, sizeof bytes);
    write_bytes(&writer, bytes_of(node->id, sizeof node->id));
    write_sized(&writer, name);
    write_sized(&writer, version);
    write_u64(&writer, now_ms > node->started_ms ? (now_ms - node->started_ms) / 1000 : 0);
    write_u32(&writer, shard->index);
    write_u32(&writer, shard->shards_count);
    write_u64(&writer, shard->clients_count);
    write_u64(&writer, shard->user_home.users.users_count);
    write_u64(&writer, shard->metrics.values[METRIC_CHANNELS]);
    write_u64(&writer, shard->subs.count);
    check(!writer.failed);
    store_answer(shard->store, asker, writer_bytes(&writer));
}

static void answer_channels(struct shard *shard, const struct store_asker *asker, struct bytes glob)
{
    struct answer answer = {.rows_count = 0};
    enum err err = channels_list(shard, glob, CHANNELS_LISTED_MAX, &answer);
    uint32_t count = err == ERR_OK ? answer.rows_count : 0;
    size_t size = 4 + 4;
    for (uint32_t i = 0; i < count; i++) size += SIZED(answer.rows[i].name) + 4;
    struct writer writer = writer_of(arena_get(&shard->arena, size), size);
    write_u32(&writer, err);
    write_u32(&writer, count);
    for (uint32_t i = 0; i < count; i++) {
        write_sized(&writer, answer.rows[i].name);
        write_u32(&writer, answer.rows[i].clients);
    }
    check(!writer.failed && writer.used == size);
    store_answer(shard->store, asker, writer_bytes(&writer));
}

/* A question of a release that knows more is answered with nothing. */
void fleet_on_question(void *context, const struct store_asker *asker, struct bytes question)
{
    struct shard *shard = context;
    struct reader reader = reader_of(question);
    uint8_t what = question.size > 0 ? read_u8(&reader) : 0;
    struct bytes rest = read_bytes(&reader, reader.left);
    if (what == FLEET_INFO)
        answer_info(shard, asker);
    else if (what == FLEET_CHANNELS && rest.size <= CHANNEL_NAME_MAX)
        answer_channels(shard, asker, rest);
    else
        store_answer(shard->store, asker, BYTES_NONE);
}
