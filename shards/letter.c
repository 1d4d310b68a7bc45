/*
 * letter: fields in, fields out.
 *
 * Each pack sizes its fields first, so a letter is exactly as large as what it
 * says; each read checks that it ended where the payload ends.
 */
#include "shards/letter.h"

#include <string.h>

#include "core/arena.h"
#include "core/check.h"
#include "shards/api/fleet.h"
#include "shards/call.h"
#include "shards/channel/channel.h"
#include "shards/conn/door.h"
#include "shards/fanout/fanout.h"
#include "shards/letter_members.h"
#include "shards/letter_parts.h"
#include "shards/letter_receipt.h"
#include "shards/letter_who.h"
#include "shards/ops/drain.h"
#include "shards/ops/survey.h"
#include "shards/token/token.h"
#include "shards/user/user_do.h"
#include "shards/user/user_home.h"

const struct letter_handlers letter_table[LETTER_KIND_COUNT] = {
#define LETTER(id, on_letter, on_home) [LETTER_##id] = {#id, on_letter, on_home},
#include "shards/letter.def"
#undef LETTER
};

void letter_read_question(const struct letter *letter, struct letter_ask *out)
{
    struct reader r = letter_opened(letter, letter->kind);
    out->call = read_handle(&r);
    out->channel = read_sized(&r);
    check(!r.failed);
}

/* subscribe · call · sized channel · hub · u8 flags · u8 wire · u64 offset · sized epoch
 *           · [who, or sized user] */
struct letter *letter_pack_subscribe(struct post *post, uint32_t to,
                                     const struct letter_subscribe *in)
{
    struct writer w;
    bool is_told = in->has_presence || in->tells_joins;
    struct wire_info who = {
        .user = in->user, .conn_info = in->conn_info, .chan_info = in->chan_info};
    memcpy(who.client, in->client, sizeof who.client);
    size_t told = is_told ? who_size(&who) : in->is_as_member ? SIZED(in->user) : 0;
    struct letter *letter =
        letter_draft(post, to, LETTER_SUBSCRIBE,
                     2 * HANDLE_SIZE + 2 + 8 + SIZED(in->channel) + SIZED(in->epoch) + told, &w);
    write_handle(&w, in->call);
    write_sized(&w, in->channel);
    write_handle(&w, in->hub);
    write_u8(&w, (uint8_t)(in->recover | in->reject_unrecovered << 1 | in->is_cache << 2 |
                           in->has_presence << 3 | in->tells_joins << 4 | in->hears_joins << 5 |
                           in->is_as_member << 6));
    write_u8(&w, in->wire);
    write_u64(&w, in->offset);
    write_sized(&w, in->epoch);
    if (is_told)
        who_write(&w, &who);
    else if (in->is_as_member)
        write_sized(&w, in->user);
    return letter_packed(letter, &w);
}

void letter_read_subscribe(const struct letter *letter, struct letter_subscribe *out)
{
    struct reader r = letter_opened(letter, LETTER_SUBSCRIBE);
    *out = (struct letter_subscribe){.call = read_handle(&r)};
    out->channel = read_sized(&r);
    out->hub = read_handle(&r);
    uint8_t flags = read_u8(&r);
    out->recover = flags & 1;
    out->reject_unrecovered = flags >> 1 & 1;
    out->is_cache = flags >> 2 & 1;
    out->has_presence = flags >> 3 & 1;
    out->tells_joins = flags >> 4 & 1;
    out->hears_joins = flags >> 5 & 1;
    out->is_as_member = flags >> 6 & 1;
    out->wire = read_u8(&r);
    out->offset = read_u64(&r);
    out->epoch = read_sized(&r);
    struct wire_info who = {.user = BYTES_NONE};
    if (out->has_presence || out->tells_joins)
        who_read(&r, &who);
    else if (out->is_as_member)
        who.user = read_sized(&r);
    memcpy(out->client, who.client, sizeof out->client);
    out->user = who.user;
    out->conn_info = who.conn_info;
    out->chan_info = who.chan_info;
    letter_read_end(&r);
}

/* leave · hub · u8 flags · u8 wire · sized channel · [16 client] */
struct letter *letter_pack_leave(struct post *post, uint32_t to, const struct letter_leave *in)
{
    struct writer w;
    bool is_told = in->has_presence || in->tells_joins;
    struct letter *letter = letter_draft(
        post, to, LETTER_LEAVE, HANDLE_SIZE + 2 + SIZED(in->channel) + (is_told ? 16 : 0), &w);
    write_handle(&w, in->hub);
    write_u8(&w, (uint8_t)(in->has_presence | in->tells_joins << 1 | in->hears_joins << 2));
    write_u8(&w, in->wire);
    write_sized(&w, in->channel);
    if (is_told) write_bytes(&w, bytes_of(in->client, 16));
    return letter_packed(letter, &w);
}

void letter_read_leave(const struct letter *letter, struct letter_leave *out)
{
    struct reader r = letter_opened(letter, LETTER_LEAVE);
    *out = (struct letter_leave){.hub = read_handle(&r)};
    uint8_t flags = read_u8(&r);
    out->has_presence = flags & 1;
    out->tells_joins = flags >> 1 & 1;
    out->hears_joins = flags >> 2 & 1;
    out->wire = read_u8(&r);
    out->channel = read_sized(&r);
    if (out->has_presence || out->tells_joins) who_read_client(&r, out->client);
    letter_read_end(&r);
}

/* ask · call · sized channel */
struct letter *letter_pack_ask(struct post *post, uint32_t to, enum letter_kind kind,
                               const struct letter_ask *in)
{
    struct writer w;
    struct letter *letter = letter_draft(post, to, kind, HANDLE_SIZE + SIZED(in->channel), &w);
    write_handle(&w, in->call);
    write_sized(&w, in->channel);
    return letter_packed(letter, &w);
}

void letter_read_ask(const struct letter *letter, struct letter_ask *out)
{
    letter_read_question(letter, out);
    check(letter->size == HANDLE_SIZE + SIZED(out->channel));
}

/* message_delete · call · sized channel · u64 offset · epoch */
struct letter *letter_pack_message_delete(struct post *post, uint32_t to,
                                          const struct letter_message *in)
{
    struct writer w;
    struct letter *letter =
        letter_draft(post, to, LETTER_MESSAGE_DELETE,
                     HANDLE_SIZE + 8 + SIZED(in->channel) + SIZED(in->epoch), &w);
    write_handle(&w, in->call);
    write_sized(&w, in->channel);
    write_u64(&w, in->offset);
    write_sized(&w, in->epoch);
    return letter_packed(letter, &w);
}

void letter_read_message_delete(const struct letter *letter, struct letter_message *out)
{
    struct reader r = letter_opened(letter, LETTER_MESSAGE_DELETE);
    out->call = read_handle(&r);
    out->channel = read_sized(&r);
    out->offset = read_u64(&r);
    out->epoch = read_sized(&r);
    letter_read_end(&r);
}

/* publish · call · sized channel · u8 flags · scope · key · publication */
struct letter *letter_pack_publish(struct post *post, uint32_t to, const struct letter_publish *in)
{
    struct writer w;
    struct letter *letter = letter_draft(post, to, LETTER_PUBLISH,
                                         HANDLE_SIZE + 1 + SIZED(in->channel) + SIZED(in->scope) +
                                             SIZED(in->key) + publication_size(&in->publication),
                                         &w);
    write_handle(&w, in->call);
    write_sized(&w, in->channel);
    write_u8(&w, (uint8_t)(in->is_live_only | in->is_head << 1));
    write_sized(&w, in->scope);
    write_sized(&w, in->key);
    publication_write(&w, &in->publication);
    return letter_packed(letter, &w);
}

void letter_read_publish(const struct letter *letter, struct letter_publish *out)
{
    struct reader r = letter_opened(letter, LETTER_PUBLISH);
    out->call = read_handle(&r);
    out->channel = read_sized(&r);
    uint8_t flags = read_u8(&r);
    out->is_live_only = flags & 1;
    out->is_head = flags >> 1 & 1;
    out->scope = read_sized(&r);
    out->key = read_sized(&r);
    enum err err = publication_read(&r, &out->publication);
    check(err == ERR_OK);
    letter_read_end(&r);
}

/* history · call · sized channel · u64 since · u32 limit · u8 reverse · since_epoch · user */
struct letter *letter_pack_history(struct post *post, uint32_t to, const struct letter_history *in)
{
    struct writer w;
    struct letter *letter = letter_draft(post, to, LETTER_HISTORY,
                                         HANDLE_SIZE + 8 + 4 + 1 + SIZED(in->channel) +
                                             SIZED(in->since_epoch) + SIZED(in->user),
                                         &w);
    write_handle(&w, in->call);
    write_sized(&w, in->channel);
    write_u64(&w, in->since);
    write_u32(&w, in->limit);
    write_u8(&w, in->is_reverse);
    write_sized(&w, in->since_epoch);
    write_sized(&w, in->user);
    return letter_packed(letter, &w);
}

void letter_read_history(const struct letter *letter, struct letter_history *out)
{
    struct reader r = letter_opened(letter, LETTER_HISTORY);
    out->call = read_handle(&r);
    out->channel = read_sized(&r);
    out->since = read_u64(&r);
    out->limit = read_u32(&r);
    out->is_reverse = read_u8(&r) != 0;
    out->since_epoch = read_sized(&r);
    out->user = read_sized(&r);
    letter_read_end(&r);
}

/* survey · call · u8 with users? */
struct letter *letter_pack_survey(struct post *post, uint32_t to, struct handle call,
                                  bool with_users)
{
    struct writer w;
    struct letter *letter = letter_draft(post, to, LETTER_SURVEY, HANDLE_SIZE + 1, &w);
    write_handle(&w, call);
    write_u8(&w, with_users);
    return letter_packed(letter, &w);
}

void letter_read_survey(const struct letter *letter, struct handle *call, bool *with_users)
{
    struct reader r = letter_opened(letter, LETTER_SURVEY);
    *call = read_handle(&r);
    *with_users = read_u8(&r) != 0;
    letter_read_end(&r);
}

/* A frame letter is the struct itself: its pointers mean something only in this process. */
struct letter *letter_pack_frame(struct post *post, uint32_t to, const struct letter_frame *in)
{
    struct letter *letter = letter_new(post, to, LETTER_FRAME, sizeof *in);
    memcpy(letter->payload, in, sizeof *in);
    return letter;
}

void letter_read_frame(const struct letter *letter, struct letter_frame *out)
{
    check(letter->kind == LETTER_FRAME);
    check(letter->size == sizeof *out);
    memcpy(out, letter->payload, sizeof *out);
}

struct letter *letter_pack_lost(struct post *post, uint32_t to, const struct letter_lost *in)
{
    struct writer w;
    struct letter *letter = letter_draft(post, to, LETTER_LOST, HANDLE_SIZE, &w);
    write_handle(&w, in->hub);
    return letter_packed(letter, &w);
}

void letter_read_lost(const struct letter *letter, struct letter_lost *out)
{
    struct reader r = letter_opened(letter, LETTER_LOST);
    out->hub = read_handle(&r);
    letter_read_end(&r);
}

/* door_ask · u32 held · u32 wanted */
struct letter *letter_pack_door_ask(struct post *post, uint32_t to, uint32_t held, uint32_t wanted)
{
    struct writer w;
    struct letter *letter = letter_draft(post, to, LETTER_DOOR_ASK, 4 + 4, &w);
    write_u32(&w, held);
    write_u32(&w, wanted);
    return letter_packed(letter, &w);
}

void letter_read_door_ask(const struct letter *letter, uint32_t *held, uint32_t *wanted)
{
    struct reader r = letter_opened(letter, LETTER_DOOR_ASK);
    *held = read_u32(&r);
    *wanted = read_u32(&r);
    letter_read_end(&r);
}

/* door_answer · u32 granted */
struct letter *letter_pack_door_answer(struct post *post, uint32_t to, uint32_t granted)
{
    struct writer w;
    struct letter *letter = letter_draft(post, to, LETTER_DOOR_ANSWER, 4, &w);
    write_u32(&w, granted);
    return letter_packed(letter, &w);
}

void letter_read_door_answer(const struct letter *letter, uint32_t *granted)
{
    struct reader r = letter_opened(letter, LETTER_DOOR_ANSWER);
    *granted = read_u32(&r);
    letter_read_end(&r);
}

struct letter *letter_pack_plain(struct post *post, uint32_t to, enum letter_kind kind)
{
    return letter_new(post, to, kind, 0);
}
