/* Out of order an answer may bring an older lineage than the one that is known; that proves
 * no more than it did.  One of an older epoch is passed over: of what was replaced a script
 * that knows it makes another generation, so this one did not know it yet. */
#include "storage/redis/known.h"

#include <stdlib.h>

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
    const struct replaced *replaced = redis->partitions[partition].replaced;
    for (uint32_t i = 0; replaced != NULL && i < replaced->count; i++) {
        write_text(writer, " ");
        write_text(writer, replaced->epochs[i]);
    }
}

static bool is_of_letters(const char *epoch, const char *other)
{
    size_t size = strcspn(epoch, ".");
    return size == strcspn(other, ".") && memcmp(epoch, other, size) == 0;
}

static uint64_t generation_of(const char *epoch)
{
    const char *at = epoch + strcspn(epoch, ".");
    return *at == '.' ? strtoull(at + 1, NULL, 10) : 0;
}

/* Data of other letters took the place of `epoch`: the latest stands last. */
static void replaced_note(struct redis_partition *partition, const char *epoch)
{
    if (partition->replaced == NULL) partition->replaced = mem_alloc(sizeof *partition->replaced);
    struct replaced *replaced = partition->replaced;
    uint32_t at = 0;
    while (at < replaced->count && !is_of_letters(replaced->epochs[at], epoch)) at++;
    if (at == replaced->count && at == KNOWN_REPLACED_MAX) at = 0;
    if (at < replaced->count) {
        size_t left = replaced->count - at - 1;
        memmove(replaced->epochs[at], replaced->epochs[at + 1], left * sizeof *replaced->epochs);
        replaced->count--;
    }
    check(replaced->count < KNOWN_REPLACED_MAX);
    memcpy(replaced->epochs[replaced->count++], epoch, strlen(epoch) + 1);
}

/* What the script would have made another generation of, had it known what we know now. */
static bool is_outdated(const struct redis_partition *partition, const char *epoch)
{
    const struct replaced *replaced = partition->replaced;
    const char *known = partition->known->epoch;
    if (is_of_letters(known, epoch)) return generation_of(epoch) < generation_of(known);
    for (uint32_t i = 0; replaced != NULL && i < replaced->count; i++) {
        if (is_of_letters(replaced->epochs[i], epoch))
            return generation_of(epoch) <= generation_of(replaced->epochs[i]);
    }
    return false;
}

static bool is_same_life(const struct position *a, const struct position *b)
{
    return strcmp(a->epoch, b->epoch) == 0 && strcmp(a->lineage, b->lineage) == 0;
}

void known_learn(struct redis_store *redis, uint32_t partition, const struct position *position,
                 uint64_t count)
{
    struct redis_partition *at = &redis->partitions[partition];
    check(position->epoch[0] != 0 && position->lineage[0] != 0);
    if (at->known == NULL)
        at->known = mem_alloc(sizeof *at->known);
    else if (is_outdated(at, position->epoch))
        return;
    else if (!is_of_letters(at->known->epoch, position->epoch))
        replaced_note(at, at->known->epoch);
    if (is_same_life(at->known, position)) count = max_u64(count, at->known->count);
    *at->known = *position;
    at->known->count = count;
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
    for (uint32_t i = 0; i < redis->node->options.partitions; i++) {
        mem_free(redis->partitions[i].known);
        mem_free(redis->partitions[i].replaced);
    }
}
