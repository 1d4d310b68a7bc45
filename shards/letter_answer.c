/*
 * letter_answer: fields in, fields out.
 *
 * Most answers say yes or no and a position.  What few of them say besides is a part, a
 * row of a table: a part without anything to say takes no bytes, and one byte tells which
 * parts follow.  So the answer to a publication costs what a publication's answer says.
 */
#include <string.h>

#include "core/arena.h"
#include "core/check.h"
#include "shards/letter_members.h"
#include "shards/letter_parts.h"
#include "shards/letter_receipt.h"
#include "shards/letter_who.h"

/* --- publications: u32 n, n publications ------------------------------------------------ */

static size_t publications_size(const struct answer *in)
{
    size_t size = 0;
    for (uint32_t i = 0; i < in->publications_count; i++)
        size += publication_size(&in->publications[i]);
    for (uint32_t i = 0; i < in->records_count; i++) size += in->records[i].size;
    return size == 0 ? 0 : 4 + size;
}

static void publications_write(struct writer *writer, const struct answer *in)
{
    write_u32(writer, in->publications_count + in->records_count);
    for (uint32_t i = 0; i < in->publications_count; i++)
        publication_write(writer, &in->publications[i]);
    for (uint32_t i = 0; i < in->records_count; i++) write_bytes(writer, in->records[i]);
}

static void publications_read(struct reader *reader, struct arena *arena, struct answer *out)
{
    out->publications_count = read_u32(reader);
    check(out->publications_count <= reader->left);
    struct publication *publications =
        arena_get(arena, (out->publications_count + (size_t)1) * sizeof *publications);
    for (uint32_t i = 0; i < out->publications_count; i++) {
        enum err err = publication_read(reader, &publications[i]);
        check(err == ERR_OK);
    }
    out->publications = publications;
}

/* --- counts: u32 n, n × (u32 readers, u32 eligible) ------------------------------------- */

static size_t counts_size(const struct answer *in)
{
    return in->counts_count == 0 ? 0 : 4 + 8 * (size_t)in->counts_count;
}

static void counts_write(struct writer *writer, const struct answer *in)
{
    write_u32(writer, in->counts_count);
    for (uint32_t i = 0; i < in->counts_count; i++) {
        write_u32(writer, in->readers[i]);
        write_u32(writer, in->eligible[i]);
    }
}

static void counts_read(struct reader *reader, struct arena *arena, struct answer *out)
{
    out->counts_count = read_u32(reader);
    check(out->counts_count <= RECEIPT_BATCH_MAX);
    uint32_t *counts = arena_get(arena, 2 * (out->counts_count + (size_t)1) * sizeof *counts);
    for (uint32_t i = 0; i < out->counts_count; i++) {
        counts[i] = read_u32(reader);
        counts[out->counts_count + i] = read_u32(reader);
    }
    out->readers = counts;
    out->eligible = counts + out->counts_count;
}

/* --- survey: metrics · 3 × u64 · sized hashes · u8 ok · sized detail · 2 × u64 · u8 · u64
 *             · sized groups ------------------------------------------------------------ */

static size_t survey_size(const struct answer *in)
{
    if (in->metrics == NULL) return 0;
    return sizeof *in->metrics + 3 * 8 + SIZED(in->user_hashes) + 1 + SIZED(in->store_detail) +
           2 * 8 + 1 + 8 + SIZED(in->store_groups);
}

static void survey_write(struct writer *writer, const struct answer *in)
{
    write_bytes(writer, bytes_of(in->metrics, sizeof *in->metrics));
    write_u64(writer, in->clients);
    write_u64(writer, in->subscriptions);
    write_u64(writer, in->channels);
    write_sized(writer, in->user_hashes);
    write_u8(writer, in->store_ok);
    write_sized(writer, in->store_detail);
    write_u64(writer, in->store_lag_bytes);
    write_u64(writer, in->store_latency_us);
    write_u8(writer, in->keys_state);
    write_u64(writer, in->keys_latency_us);
    write_sized(writer, in->store_groups);
}

static void survey_read(struct reader *reader, struct arena *arena, struct answer *out)
{
    struct bytes raw = read_bytes(reader, sizeof(struct metrics));
    struct metrics *metrics = arena_get(arena, sizeof *metrics);
    check(raw.size == sizeof *metrics);
    memcpy(metrics, raw.at, sizeof *metrics);
    out->metrics = metrics;
    out->clients = read_u64(reader);
    out->subscriptions = read_u64(reader);
    out->channels = read_u64(reader);
    out->user_hashes = read_sized(reader);
    out->store_ok = read_u8(reader) != 0;
    out->store_detail = read_sized(reader);
    out->store_lag_bytes = read_u64(reader);
    out->store_latency_us = read_u64(reader);
    out->keys_state = read_u8(reader);
    out->keys_latency_us = read_u64(reader);
    out->store_groups = read_sized(reader);
}

/* --- the whole -------------------------------------------------------------------------- */

/* `size`: 0 when there is nothing to say. */
static const struct {
    size_t (*size)(const struct answer *in);
    void (*write)(struct writer *writer, const struct answer *in);
    void (*read)(struct reader *reader, struct arena *arena, struct answer *out);
} parts[] = {
    {publications_size, publications_write, publications_read},
    {counts_size, counts_write, counts_read},
    {survey_size, survey_write, survey_read},
    {lists_size, lists_write, lists_read},
    {receipts_size, receipts_write, receipts_read},
    {members_list_size, members_list_write, members_list_read},
};
static_assert(array_count(parts) <= 8, "a byte tells which parts follow");

/* answer · call · u32 err · u8 flags · u64 offset · u64 time · sized epoch · u8 parts · parts */
struct letter *letter_pack_answer(struct post *post, uint32_t to, const struct answer *in)
{
    size_t size = HANDLE_SIZE + 4 + 1 + 8 + 8 + SIZED(in->epoch) + 1;
    uint8_t said = 0;
    for (uint32_t i = 0; i < array_count(parts); i++) {
        size_t part = parts[i].size(in);
        if (part > 0) said |= (uint8_t)(1u << i);
        size += part;
    }
    struct writer w;
    struct letter *letter = letter_draft(post, to, LETTER_ANSWER, size, &w);
    write_handle(&w, in->call);
    write_u32(&w, in->err);
    write_u8(&w, (uint8_t)(in->is_repeat | in->recovered << 1 | in->was_recovering << 2 |
                           in->is_recoverable << 3));
    write_u64(&w, in->offset);
    write_u64(&w, in->time_ms);
    write_sized(&w, in->epoch);
    write_u8(&w, said);
    for (uint32_t i = 0; said >> i != 0; i++)
        if (said >> i & 1) parts[i].write(&w, in);
    return letter_packed(letter, &w);
}

void letter_read_answer(const struct letter *letter, struct arena *arena, struct answer *out)
{
    memset(out, 0, sizeof *out);
    struct reader r = letter_opened(letter, LETTER_ANSWER);
    out->call = read_handle(&r);
    out->err = (enum err)read_u32(&r);
    check(out->err < ERR_COUNT);
    uint8_t flags = read_u8(&r);
    out->is_repeat = flags & 1;
    out->recovered = flags >> 1 & 1;
    out->was_recovering = flags >> 2 & 1;
    out->is_recoverable = flags >> 3 & 1;
    out->offset = read_u64(&r);
    out->time_ms = read_u64(&r);
    out->epoch = read_sized(&r);
    uint8_t said = read_u8(&r);
    for (uint32_t i = 0; said >> i != 0; i++) {
        check(i < array_count(parts));
        if (said >> i & 1) parts[i].read(&r, arena, out);
    }
    letter_read_end(&r);
}
