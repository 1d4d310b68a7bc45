/* The bytes of publications on their way to the log and back, sealed or plain. */
#include "core/log.h"
#include "storage/embed/embed.h"

#define OPENED_ARENA_KEEP (256u << 10)

void embed_seal_init(struct embed_store *store)
{
    struct seals *seals = &store->node->seals;
    seals_sealer(seals, store->store.env.shard, &store->sealer);
    opener_init(&store->opener, seals_find, seals);
    arena_init(&store->opened, OPENED_ARENA_KEEP);
    store->log.salt = seals_salt(seals, store->node->generation);
}

void embed_seal_fini(struct embed_store *store)
{
    sealer_fini(&store->sealer);
    opener_fini(&store->opener);
    arena_fini(&store->opened);
}

size_t embed_publication_size(const struct embed_store *store, const struct store_append *op)
{
    if (store->sealer.gcm == NULL) return publication_size(&op->publication);
    return sealed_size(&store->sealer, &op->publication, op->key);
}

void embed_publication_write(struct embed_store *store, struct writer *writer,
                             const struct store_append *op, const struct entry *entry)
{
    struct publication publication = op->publication;
    publication.offset = entry->offset;
    publication.time_ms = store->store.env.clock->wall_ms;
    if (store->sealer.gcm == NULL)
        publication_write(writer, &publication);
    else
        sealed_write(&store->sealer, writer, &publication, entry->name, op->key);
}

void record_publication(struct embed_store *store, const struct embed_record *record,
                        struct publication *publication)
{
    struct entry entry;
    record_read(record, &entry);
    check(entry.type == RECORD_PUBLICATION);
    uint8_t *room = NULL;
    if (seal_is_on(entry.body)) room = arena_get(&store->opened, entry.body.size);
    enum err err = publication_open(&store->opener, entry.name, entry.body, room, publication);
    check(err == ERR_OK && publication->offset == record->offset); /* we wrote it */
    publication->taken_ms = entry.time_ms;
}

enum err embed_reseal(struct embed_node *node)
{
    uint64_t start_ns = clock_mono_ns();
    while (node->reseal.is_needed && clock_mono_ns() - start_ns < EMBED_RESEAL_NS)
        TRY(index_reseal(node->index, &node->reseal, EMBED_RESEAL_ROWS));
    return ERR_OK;
}
