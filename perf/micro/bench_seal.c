/*
 * Sealing: ns to write a publication plain and sealed, to read it plain and sealed, and
 * the bytes that a seal adds, by the size of the data; each the best of many short rounds.
 */
#include <stdio.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/mem.h"
#include "storage/seal.h"

#define CALLS  2000u
#define ROUNDS 200
#define ROOM   (20u << 10)

static volatile uint64_t sink;

static bool find(void *context, struct bytes name, uint8_t secret[SEAL_SECRET])
{
    (void)context, (void)name;
    memset(secret, 7, SEAL_SECRET);
    return true;
}

static double write_ns(struct sealer *sealer, const struct publication *publication, uint8_t *bytes,
                       size_t *size)
{
    uint64_t before_ns = clock_mono_ns();
    for (uint32_t i = 0; i < CALLS; i++) {
        struct writer writer = writer_of(bytes, ROOM);
        if (sealer == NULL)
            publication_write(&writer, publication);
        else
            sealed_write(sealer, &writer, publication, BYTES_LITERAL("room:1"), BYTES_NONE);
        check(!writer.failed);
        *size = writer.used;
    }
    return (double)(clock_mono_ns() - before_ns) / CALLS;
}

static double read_ns(struct opener *opener, struct bytes body, uint8_t *room)
{
    uint64_t before_ns = clock_mono_ns();
    for (uint32_t i = 0; i < CALLS; i++) {
        struct publication publication;
        enum err err = publication_open(opener, BYTES_LITERAL("room:1"), body, room, &publication);
        check(err == ERR_OK);
        sink += publication.data.size;
    }
    return (double)(clock_mono_ns() - before_ns) / CALLS;
}

static double min_ns(double a, double b)
{
    return a < b ? a : b;
}

int main(void)
{
    static const uint32_t sizes[] = {20, 200, 1000, 10000};
    uint8_t secret[SEAL_SECRET], *data = mem_alloc(ROOM), *bytes = mem_alloc(ROOM),
                                 *room = mem_alloc(ROOM);
    struct sealer sealer;
    struct opener opener;
    (void)!find(NULL, BYTES_NONE, secret);
    sealer_init(&sealer, secret, BYTES_LITERAL("8 bytes."));
    opener_init(&opener, find, NULL);
    printf("%8s %12s %12s %12s %12s %8s\n", "data", "write ns", "sealed ns", "read ns", "opened ns",
           "more");
    for (uint32_t i = 0; i < array_count(sizes); i++) {
        struct publication publication = {.offset = 1, .data = bytes_of(data, sizes[i])};
        double write = 1e9, read = 1e9, seal = 1e9, open = 1e9;
        size_t plain = 0, sealed = 0;
        for (uint32_t round = 0; round < ROUNDS; round++) {
            write = min_ns(write, write_ns(NULL, &publication, bytes, &plain));
            read = min_ns(read, read_ns(&opener, bytes_of(bytes, plain), room));
            seal = min_ns(seal, write_ns(&sealer, &publication, bytes, &sealed));
            open = min_ns(open, read_ns(&opener, bytes_of(bytes, sealed), room));
        }
        printf("%8u %12.0f %12.0f %12.0f %12.0f %8zu\n", sizes[i], write, seal, read, open,
               sealed - plain);
    }
    sealer_fini(&sealer);
    opener_fini(&opener);
    mem_free(data);
    mem_free(bytes);
    mem_free(room);
    return 0;
}
