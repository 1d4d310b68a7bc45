/*
 * Commands in, pushes out: ns to decode a publish whose data is of a given size,
 * against jansson parsing the same line and printing the data again (which a
 * gateway on jansson would have to do); and ns to encode the push of it.  The
 * least of many rounds counts: the machine may be busy.
 */
#include <math.h>
#include <stdio.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/doc.h"
#include "core/mem.h"
#include "proto/codec.h"
#include "proto/json.h"

#define ROUNDS 50
#define REPEAT 500

/* {"id":7,"publish":{"channel":"chat:room-42","data":{…}}}, `size` bytes of data. */
static struct bytes line_of(char *text, size_t size, bool ascii)
{
    static const char *const letters[] = {"\xD0\xB0\xD0\xB1 ", "words "};
    size_t used =
        (size_t)sprintf(text, "{\"id\":7,\"publish\":{\"channel\":\"chat:room-42\",\"data\":");
    size_t end = used + size - 2;
    used += (size_t)sprintf(text + used, "{\"n\":12345,\"text\":\"");
    while (used + 8 < end) used += (size_t)sprintf(text + used, "%s", letters[ascii]);
    while (used < end) text[used++] = '.';
    used += (size_t)sprintf(text + used, "\"}}}");
    check(json_is_valid(bytes_of(text, used)));
    return bytes_of(text, used);
}

static uint64_t sum;

static double decode_ns(struct bytes line, struct arena *arena, struct cmd *cmd)
{
    uint64_t start_ns = clock_mono_ns();
    for (uint32_t i = 0; i < REPEAT; i++) {
        struct reader frame = reader_of(line);
        check(codec_of(WIRE_JSON)->next(&frame, true, arena, cmd) == ERR_OK);
        sum += cmd->publish.data.size;
    }
    return (double)(clock_mono_ns() - start_ns) / REPEAT;
}

static double jansson_ns(struct bytes line)
{
    uint64_t start_ns = clock_mono_ns();
    for (uint32_t i = 0; i < REPEAT; i++) {
        struct doc *doc;
        struct bytes channel;
        char where[160];
        check(doc_parse(line, &doc, where) == ERR_OK);
        struct doc *publish = doc_get(doc, "publish");
        check(doc_text(doc_get(publish, "channel"), &channel));
        char *data = doc_print(doc_get(publish, "data"));
        sum += channel.size + (uint8_t)data[0];
        mem_free(data);
        doc_free(doc);
    }
    return (double)(clock_mono_ns() - start_ns) / REPEAT;
}

static double encode_ns(const struct cmd *cmd)
{
    static uint8_t room[16 << 10];
    const struct codec *codec = codec_of(WIRE_JSON);
    struct push push = {.kind = PUSH_PUBLICATION,
                        .channel = cmd->publish.channel,
                        .publication = {.offset = 123456,
                                        .data = cmd->publish.data,
                                        .has_info = true,
                                        .info = {.user = BYTES_LITERAL("42")}}};
    uint64_t start_ns = clock_mono_ns();
    for (uint32_t i = 0; i < REPEAT; i++) {
        size_t bound = codec->push_bound(&push);
        check(bound <= sizeof(room));
        struct writer writer = writer_of(room, bound);
        codec->push(&writer, &push);
        sum += writer.used;
    }
    return (double)(clock_mono_ns() - start_ns) / REPEAT;
}

int main(void)
{
    static const size_t sizes[] = {32, 128, 512, 2048};
    char text[4096];
    struct arena arena;
    arena_init(&arena, 64 << 10);
    printf("%-9s %6s %8s %8s %8s   ns per command\n", "text", "bytes", "decode", "jansson",
           "encode");
    for (uint32_t kind = 0; kind < 2; kind++) {
        for (size_t s = 0; s < array_count(sizes); s++) {
            struct cmd cmd;
            struct bytes line = line_of(text, sizes[s], kind == 0);
            double decode = 1e9, jansson = 1e9, encode = 1e9;
            for (uint32_t round = 0; round < ROUNDS; round++) {
                decode = fmin(decode, decode_ns(line, &arena, &cmd));
                jansson = fmin(jansson, jansson_ns(line));
                encode = fmin(encode, encode_ns(&cmd));
            }
            printf("%-9s %6zu %8.1f %8.1f %8.1f\n", kind == 0 ? "ASCII" : "Cyrillic",
                   cmd.publish.data.size, decode, jansson, encode);
        }
    }
    arena_fini(&arena);
    return sum == 0;
}
