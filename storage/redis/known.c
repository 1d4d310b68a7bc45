/* Out of order an answer may bring an older lineage or generation than the one that is
 * known; that proves no more than it did. */
#include "storage/redis/known.h"

#include "core/check.h"
#include "core/mem.h"
#include "storage/redis/redis.h"

/* The lineage that a promoted replica goes on from, when all of its replicas were waited
 * for as long as we saw it; "": none. */
static const char *waited_lineage(const struct redis_store *redis, const char *parent)
{
    uint32_t waited = redis->node->options.wait_replicas;
    for (uint32_t i = 0; i < redis->servers_count && waited > 0; i++) {
        const struct lineage *seen[] = {&redis->servers[i]->now, &redis->servers[i]->before};
        for (uint32_t j = 0; j < array_count(seen); j++) {
            bool is_parent = seen[j]->text[0] != 0 && strcmp(seen[j]->replication_id, parent) == 0;
            if (is_parent && seen[j]->replicas_most <= waited) return seen[j]->text;
        }
    }
    return "";
}

/* "d<lineage>", "w<lineage>", "r<run id>" or "-"; lua/partition.lua says what they mean. */
static void vouch_write(const struct link *link, struct writer *writer)
{
    const struct redis_server *server = link->owner;
    const struct hello_server *said = &link->hello.server;
    const struct lineage *before = &server->before;
    const char *waited = waited_lineage(server->redis, said->parent);
    bool is_promoted = said->parent[0] != 0;
    bool is_same = memcmp(before->text, said->lineage, LINEAGE_MAX / 2) == 0;
    bool is_restarted = before->text[0] != 0 && said->is_durable && before->is_durable;
    if (is_promoted) {
        write_text(writer, waited[0] == 0 ? "-" : "w");
        write_text(writer, waited);
    } else if (is_restarted && !is_same) {
        write_text(writer, "d");
        write_text(writer, before->text);
    } else {
        write_text(writer, "r");
        write_bytes(writer, bytes_of(said->lineage, LINEAGE_MAX / 2));
    }
}

void known_write(const struct link *link, uint32_t partition, struct writer *writer)
{
    const struct redis_server *server = link->owner;
    const struct redis_store *redis = server->redis;
    check(partition < redis->node->options.partitions);
    const struct position *known = redis->partitions[partition].known;
    write_decimal(writer, redis->node->options.partitions);
    write_text(writer, " ");
    vouch_write(link, writer);
    if (known == NULL) return;
    write_text(writer, " ");
    write_text(writer, known->epoch);
    write_text(writer, " ");
    write_text(writer, known->lineage);
    write_text(writer, " ");
    write_decimal(writer, known->count);
}

static bool is_same_life(const struct position *a, const struct position *b)
{
    return strcmp(a->epoch, b->epoch) == 0 && strcmp(a->lineage, b->lineage) == 0;
}

void known_learn(struct redis_store *redis, uint32_t partition, const struct position *position,
                 uint64_t count)
{
    struct position **known = &redis->partitions[partition].known;
    check(position->epoch[0] != 0 && position->lineage[0] != 0);
    if (*known == NULL) *known = mem_alloc(sizeof **known);
    if (is_same_life(*known, position)) count = max_u64(count, (*known)->count);
    **known = *position;
    (*known)->count = count;
}

bool known_doubts(const struct redis_store *redis, uint32_t partition,
                  const struct position *position)
{
    const struct position *known = redis->partitions[partition].known;
    if (known == NULL) return false;
    return !is_same_life(known, position) || known->count > position->count;
}

void known_vouch(struct redis_server *server)
{
    struct redis_store *redis = server->redis;
    bool is_news = server->before.text[0] != 0 || server->commands.hello.server.parent[0] != 0;
    for (uint32_t i = 0; i < redis->node->options.partitions; i++) {
        struct redis_partition *at = &redis->partitions[i];
        if (at->server != server || !at->is_arrived) continue;
        at->is_arrived = false;
        /* One shard for all, and whoever knows something. */
        bool is_wanted = (redis->store.env.shard == 0 && is_news) || at->known != NULL;
        if (is_wanted) append_touch(redis, i, BYTES_LITERAL("probe"));
    }
}

void known_fini(struct redis_store *redis)
{
    for (uint32_t i = 0; i < redis->node->options.partitions; i++)
        mem_free(redis->partitions[i].known);
}
