/* Any bytes: as something sealed they are refused and looked at no further than they go;
 * as a publication they are sealed, opened, and the same. */
#include <stdlib.h>
#include <string.h>

#include "storage/seal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool find(void *context, struct bytes name, uint8_t secret[SEAL_SECRET])
{
    (void)context;
    memset(secret, 7, SEAL_SECRET);
    return name.size > 0;
}

static void seal_and_open(struct opener *opener, struct bytes plain)
{
    struct publication publication, again;
    struct reader reader = reader_of(plain);
    if (publication_read(&reader, &publication) != ERR_OK || reader.left > 0) return;
    struct sealer sealer;
    uint8_t secret[SEAL_SECRET];
    struct bytes name = BYTES_LITERAL("seal"), channel = BYTES_LITERAL("room:1");
    (void)find(NULL, name, secret);
    sealer_init(&sealer, secret, name);
    size_t room = sealed_size(&sealer, &publication, channel);
    uint8_t *sealed = malloc(room), *opened = malloc(room), *copy = malloc(plain.size);
    struct writer writer = writer_of(sealed, room);
    sealed_write(&sealer, &writer, &publication, channel, channel);
    if (writer.failed || writer.used != room) abort();
    struct bytes body = bytes_of(sealed, room);
    if (publication_open(opener, BYTES_LITERAL("room:2"), body, opened, &again) == ERR_OK) abort();
    if (publication_open(opener, channel, body, opened, &again) != ERR_OK) abort();
    writer = writer_of(copy, plain.size);
    publication_write(&writer, &again);
    if (writer.failed || memcmp(copy, plain.at, plain.size) != 0) abort();
    free(sealed);
    free(opened);
    free(copy);
    sealer_fini(&sealer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct publication publication;
    struct opener opener;
    uint8_t *room = malloc(size + 1);
    opener_init(&opener, find, NULL);
    struct bytes body = bytes_of(data, size);
    enum err err = publication_open(&opener, BYTES_LITERAL("room:1"), body, room, &publication);
    if (err == ERR_OK && seal_is_on(body)) abort(); /* nobody sealed this */
    seal_and_open(&opener, body);
    opener_fini(&opener);
    free(room);
    return 0;
}
