/*
 * letter_receipt: fields in, fields out.
 */
#include "shards/letter_receipt.h"

#include <string.h>

#include "core/arena.h"
#include "core/check.h"
#include "proto/outcome.h"
#include "shards/json_out.h"
#include "shards/letter_parts.h"

/* receipt · call · sized channel · u8 verb · u8 flags · 16 client · u64 offset · u32 limit
 *         · u64 after · sized user · u32 count · u64 offsets */
struct letter *letter_pack_receipt(struct post *post, uint32_t to, const struct letter_receipt *in)
{
    check(in->verb < RECEIPT_VERB_COUNT);
    check(in->offsets_count <= RECEIPT_BATCH_MAX);
    struct writer w;
    struct letter *letter = letter_draft(post, to, LETTER_RECEIPT,
                                         HANDLE_SIZE + 1 + 1 + 16 + 8 + 4 + 8 + SIZED(in->channel) +
                                             SIZED(in->user) + 4 + 8 * (size_t)in->offsets_count,
                                         &w);
    write_handle(&w, in->call);
    write_sized(&w, in->channel);
    write_u8(&w, in->verb);
    write_u8(&w, (uint8_t)(in->is_hidden | in->is_seq << 1));
    write_bytes(&w, bytes_of(in->client, sizeof in->client));
    write_u64(&w, in->offset);
    write_u32(&w, in->limit);
    write_u64(&w, in->after);
    write_sized(&w, in->user);
    write_u32(&w, in->offsets_count);
    for (uint32_t i = 0; i < in->offsets_count; i++) write_u64(&w, in->offsets[i]);
    return letter_packed(letter, &w);
}

void letter_read_receipt(const struct letter *letter, struct arena *arena,
                         struct letter_receipt *out)
{
    *out = (struct letter_receipt){.verb = 0};
    struct reader r = letter_opened(letter, LETTER_RECEIPT);
    out->call = read_handle(&r);
    out->channel = read_sized(&r);
    out->verb = read_u8(&r);
    check(out->verb < RECEIPT_VERB_COUNT);
    uint8_t flags = read_u8(&r);
    out->is_hidden = flags & 1;
    out->is_seq = flags >> 1 & 1;
    struct bytes client = read_bytes(&r, sizeof out->client);
    check(client.size == sizeof out->client);
    memcpy(out->client, client.at, sizeof out->client);
    out->offset = read_u64(&r);
    out->limit = read_u32(&r);
    out->after = read_u64(&r);
    out->user = read_sized(&r);
    out->offsets_count = read_u32(&r);
    check(out->offsets_count <= RECEIPT_BATCH_MAX);
    uint64_t *offsets = arena_get(arena, (out->offsets_count + (size_t)1) * sizeof *offsets);
    for (uint32_t i = 0; i < out->offsets_count; i++) offsets[i] = read_u64(&r);
    out->offsets = offsets;
    letter_read_end(&r);
}

/* receipt_states · call · sized user · u32 count · sized channels */
struct letter *letter_pack_receipt_states(struct post *post, uint32_t to,
                                          const struct letter_receipt_states *in)
{
    check(in->channels_count <= RECEIPT_STATES_MAX);
    size_t size = SIZED(in->user) + 4;
    for (uint32_t i = 0; i < in->channels_count; i++) size += SIZED(in->channels[i]);
    struct writer w;
    struct letter *letter = letter_draft(post, to, LETTER_RECEIPT_STATES, HANDLE_SIZE + size, &w);
    write_handle(&w, in->call);
    write_sized(&w, in->user);
    write_u32(&w, in->channels_count);
    for (uint32_t i = 0; i < in->channels_count; i++) write_sized(&w, in->channels[i]);
    return letter_packed(letter, &w);
}

void letter_read_receipt_states(const struct letter *letter, struct arena *arena,
                                struct letter_receipt_states *out)
{
    struct reader r = letter_opened(letter, LETTER_RECEIPT_STATES);
    out->call = read_handle(&r);
    out->user = read_sized(&r);
    out->channels_count = read_u32(&r);
    check(out->channels_count <= RECEIPT_STATES_MAX);
    struct bytes *channels = arena_get(arena, (out->channels_count + (size_t)1) * sizeof *channels);
    for (uint32_t i = 0; i < out->channels_count; i++) channels[i] = read_sized(&r);
    out->channels = channels;
    letter_read_end(&r);
}

static void numbers_write(struct json_out *out, const char *name, const uint32_t *numbers,
                          uint32_t count)
{
    json_out_key(out, name);
    json_out_array(out);
    for (uint32_t i = 0; i < count; i++) json_out_u64(out, numbers[i]);
    json_out_array_end(out);
}

void receipt_counts_write(struct json_out *out, const struct answer *answer)
{
    json_out_object(out);
    numbers_write(out, "counts", answer->readers, answer->counts_count);
    numbers_write(out, "eligible", answer->eligible, answer->counts_count);
    json_out_object_end(out);
}

void receipt_users_write(struct json_out *out, const struct answer *answer)
{
    json_out_object(out);
    json_out_key(out, "users");
    json_out_array(out);
    for (uint32_t i = 0; i < answer->receipt_users_count; i++) {
        const struct receipt_user *user = &answer->receipt_users[i];
        json_out_object(out);
        json_out_member_text(out, "user", user->user);
        json_out_member_u64(out, "read_at", user->read_ms);
        json_out_member_u64(out, "delivered_at", user->delivered_ms);
        json_out_object_end(out);
    }
    json_out_array_end(out);
    json_out_key(out, "times");
    json_out_bool(out, answer->has_times);
    json_out_member_u64(out, "next", answer->next);
    json_out_object_end(out);
}

void receipt_removed_write(struct json_out *out, struct bytes channel)
{
    json_out_member_text(out, "channel", channel);
    json_out_key(out, "unread");
    json_out_u64(out, 0);
    json_out_key(out, "removed");
    json_out_bool(out, true);
}

void receipt_state_write(struct json_out *out, const struct receipt_state *state, bool with_channel)
{
    json_out_object(out);
    if (with_channel) json_out_member_text(out, "channel", state->channel);
    if (state->err != ERR_OK) {
        const struct outcome *outcome = outcome_of(state->err);
        json_out_key(out, "error");
        json_out_object(out);
        json_out_key(out, "code");
        json_out_u64(out, outcome->code);
        json_out_member_text(out, "message", bytes_of_text(outcome->text));
        json_out_object_end(out);
        json_out_object_end(out);
        return;
    }
    const struct {
        const char *name;
        uint64_t value;
        bool is_left_out;
    } numbers[] = {{"head", state->head, false},
                   {"read", state->read, false},
                   {"delivered", state->delivered, !state->has_delivered},
                   {"unread", state->unread, false},
                   {"first_unread", state->first_unread, state->first_unread == 0}};
    json_out_member_text(out, "epoch", state->epoch);
    for (size_t i = 0; i < array_count(numbers); i++) {
        if (numbers[i].is_left_out) continue;
        json_out_key(out, numbers[i].name);
        json_out_u64(out, numbers[i].value);
    }
    json_out_object_end(out);
}

/* --- answers ---------------------------------------------------------------------- */

/* u8 flags · [u32 n · u64 next · n users] · [u32 n · n states] */
enum { HAS_USERS = 1, HAS_TIMES = 2, HAS_STATES = 4 };

static uint8_t flags_of(const struct answer *in)
{
    bool has_list = in->receipt_users != NULL;
    return (uint8_t)((has_list ? HAS_USERS : 0) | (has_list && in->has_times ? HAS_TIMES : 0) |
                     (in->states_count > 0 ? HAS_STATES : 0));
}

static size_t state_size(const struct receipt_state *state)
{
    return 4 + SIZED(state->channel) + SIZED(state->epoch) + 5 * 8 + 1;
}

size_t receipts_size(const struct answer *in)
{
    size_t size = 1;
    uint8_t flags = flags_of(in);
    if (flags == 0) return 0;
    if (flags & HAS_USERS) size += 4 + 8;
    for (uint32_t i = 0; flags & HAS_USERS && i < in->receipt_users_count; i++)
        size += SIZED(in->receipt_users[i].user) + 2 * 8;
    if (flags & HAS_STATES) size += 4;
    for (uint32_t i = 0; i < in->states_count; i++) size += state_size(&in->states[i]);
    return size;
}

void receipts_write(struct writer *writer, const struct answer *in)
{
    uint8_t flags = flags_of(in);
    write_u8(writer, flags);
    if (flags & HAS_USERS) {
        write_u32(writer, in->receipt_users_count);
        write_u64(writer, in->next);
        for (uint32_t i = 0; i < in->receipt_users_count; i++) {
            write_sized(writer, in->receipt_users[i].user);
            write_u64(writer, in->receipt_users[i].read_ms);
            write_u64(writer, in->receipt_users[i].delivered_ms);
        }
    }
    if (!(flags & HAS_STATES)) return;
    write_u32(writer, in->states_count);
    for (uint32_t i = 0; i < in->states_count; i++) {
        const struct receipt_state *state = &in->states[i];
        write_u32(writer, state->err);
        write_sized(writer, state->channel);
        write_sized(writer, state->epoch);
        write_u64(writer, state->head);
        write_u64(writer, state->read);
        write_u64(writer, state->delivered);
        write_u64(writer, state->unread);
        write_u64(writer, state->first_unread);
        write_u8(writer, state->has_delivered);
    }
}

static void read_users(struct reader *reader, struct arena *arena, struct answer *out)
{
    out->receipt_users_count = read_u32(reader);
    check(out->receipt_users_count <= reader->left);
    out->next = read_u64(reader);
    struct receipt_user *users =
        arena_get(arena, (out->receipt_users_count + (size_t)1) * sizeof *users);
    for (uint32_t i = 0; i < out->receipt_users_count; i++) {
        users[i].user = read_sized(reader);
        users[i].read_ms = read_u64(reader);
        users[i].delivered_ms = read_u64(reader);
    }
    out->receipt_users = users;
}

static void read_states(struct reader *reader, struct arena *arena, struct answer *out)
{
    out->states_count = read_u32(reader);
    check(out->states_count <= reader->left);
    struct receipt_state *states =
        arena_get(arena, (out->states_count + (size_t)1) * sizeof *states);
    for (uint32_t i = 0; i < out->states_count; i++) {
        struct receipt_state *state = &states[i];
        state->err = (enum err)read_u32(reader);
        check(state->err < ERR_COUNT);
        state->channel = read_sized(reader);
        state->epoch = read_sized(reader);
        state->head = read_u64(reader);
        state->read = read_u64(reader);
        state->delivered = read_u64(reader);
        state->unread = read_u64(reader);
        state->first_unread = read_u64(reader);
        state->has_delivered = read_u8(reader) != 0;
    }
    out->states = states;
}

void receipts_read(struct reader *reader, struct arena *arena, struct answer *out)
{
    uint8_t flags = read_u8(reader);
    out->has_times = flags & HAS_TIMES;
    if (flags & HAS_USERS) read_users(reader, arena, out);
    if (flags & HAS_STATES) read_states(reader, arena, out);
}
