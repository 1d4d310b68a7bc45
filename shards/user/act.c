/*
 * act: fields in, fields out.
 */
#include "shards/user/act.h"

#include "core/arena.h"
#include "core/check.h"
#include "shards/letter_parts.h"

/* u8 verb · u8 flags · 5 × u8 override · u16 code · u32 expires
 * · u64 offset · sized user, client, whitelist, reason, channel, info, data, epoch */
size_t act_size(const struct act *act)
{
    return 7 + 2 + 4 + 8 + SIZED(act->user) + SIZED(act->client) + SIZED(act->whitelist) +
           SIZED(act->reason) + SIZED(act->channel) + SIZED(act->info.bytes) +
           SIZED(act->data.bytes) + SIZED(act->epoch);
}

void act_write(struct writer *writer, const struct act *act)
{
    check(act->verb < ACT_VERB_COUNT);
    check(act->client.size == 0 || act->client.size == 16);
    check(act->whitelist.size % 16 == 0);
    write_u8(writer, act->verb);
    write_u8(writer,
             (uint8_t)(act->is_expired | act->has_info << 1 | act->recovers << 2 |
                       act->info.is_opaque << 3 | act->data.is_opaque << 4 | act->is_single << 5));
    write_u8(writer, act->override.presence);
    write_u8(writer, act->override.join_leave);
    write_u8(writer, act->override.force_push_join_leave);
    write_u8(writer, act->override.force_positioning);
    write_u8(writer, act->override.force_recovery);
    write_u16(writer, act->code);
    write_u32(writer, act->expires_s);
    write_u64(writer, act->offset);
    write_sized(writer, act->user);
    write_sized(writer, act->client);
    write_sized(writer, act->whitelist);
    write_sized(writer, act->reason);
    write_sized(writer, act->channel);
    write_sized(writer, act->info.bytes);
    write_sized(writer, act->data.bytes);
    write_sized(writer, act->epoch);
}

bool act_parse(struct reader *reader, struct act *act)
{
    *act = (struct act){.verb = read_u8(reader)};
    uint8_t flags = read_u8(reader);
    act->is_expired = flags & 1;
    act->has_info = flags >> 1 & 1;
    act->recovers = flags >> 2 & 1;
    act->info.is_opaque = flags >> 3 & 1;
    act->data.is_opaque = flags >> 4 & 1;
    act->is_single = flags >> 5 & 1;
    act->override.presence = read_u8(reader);
    act->override.join_leave = read_u8(reader);
    act->override.force_push_join_leave = read_u8(reader);
    act->override.force_positioning = read_u8(reader);
    act->override.force_recovery = read_u8(reader);
    act->code = read_u16(reader);
    act->expires_s = read_u32(reader);
    act->offset = read_u64(reader);
    act->user = read_sized(reader);
    act->client = read_sized(reader);
    act->whitelist = read_sized(reader);
    act->reason = read_sized(reader);
    act->channel = read_sized(reader);
    act->info.bytes = read_sized(reader);
    act->data.bytes = read_sized(reader);
    act->epoch = read_sized(reader);
    return !reader->failed && act->verb < ACT_VERB_COUNT && act->epoch.size <= EPOCH_MAX &&
           (act->client.size == 0 || act->client.size == 16) && act->whitelist.size % 16 == 0;
}

void act_read(struct reader *reader, struct act *act)
{
    bool is_act = act_parse(reader, act);
    check(is_act);
}

/* --- letters -------------------------------------------------------------------- */

/* user_enter · call · conn · u64 began · sized user */
struct letter *letter_pack_user_enter(struct post *post, uint32_t to,
                                      const struct letter_user_enter *in)
{
    struct writer w;
    struct letter *letter =
        letter_draft(post, to, LETTER_USER_ENTER, 2 * HANDLE_SIZE + 8 + SIZED(in->user), &w);
    write_handle(&w, in->call);
    write_handle(&w, in->conn);
    write_u64(&w, in->began_ns);
    write_sized(&w, in->user);
    return letter_packed(letter, &w);
}

void letter_read_user_enter(const struct letter *letter, struct letter_user_enter *out)
{
    struct reader r = letter_opened(letter, LETTER_USER_ENTER);
    out->call = read_handle(&r);
    out->conn = read_handle(&r);
    out->began_ns = read_u64(&r);
    out->user = read_sized(&r);
    letter_read_end(&r);
}

/* user_leave · conn · u32 session */
struct letter *letter_pack_user_leave(struct post *post, uint32_t to,
                                      const struct letter_user_leave *in)
{
    struct writer w;
    struct letter *letter = letter_draft(post, to, LETTER_USER_LEAVE, HANDLE_SIZE + 4, &w);
    write_handle(&w, in->conn);
    write_u32(&w, in->session);
    return letter_packed(letter, &w);
}

void letter_read_user_leave(const struct letter *letter, struct letter_user_leave *out)
{
    struct reader r = letter_opened(letter, LETTER_USER_LEAVE);
    out->conn = read_handle(&r);
    out->session = read_u32(&r);
    letter_read_end(&r);
}

/* user_act · call · act */
struct letter *letter_pack_user_act(struct post *post, uint32_t to,
                                    const struct letter_user_act *in)
{
    struct writer w;
    struct letter *letter =
        letter_draft(post, to, LETTER_USER_ACT, HANDLE_SIZE + act_size(&in->act), &w);
    write_handle(&w, in->call);
    act_write(&w, &in->act);
    return letter_packed(letter, &w);
}

void letter_read_user_act(const struct letter *letter, struct letter_user_act *out)
{
    struct reader r = letter_opened(letter, LETTER_USER_ACT);
    out->call = read_handle(&r);
    act_read(&r, &out->act);
    letter_read_end(&r);
}

/* user_tell · u8 of this node · act */
struct letter *letter_pack_user_tell(struct post *post, uint32_t to, const struct act *act,
                                     bool is_of_this_node)
{
    struct writer w;
    struct letter *letter = letter_draft(post, to, LETTER_USER_TELL, 1 + act_size(act), &w);
    write_u8(&w, is_of_this_node);
    act_write(&w, act);
    return letter_packed(letter, &w);
}

void letter_read_user_tell(const struct letter *letter, struct letter_user_tell *out)
{
    struct reader r = letter_opened(letter, LETTER_USER_TELL);
    out->is_of_this_node = read_u8(&r) != 0;
    act_read(&r, &out->act);
    letter_read_end(&r);
}

/* user_do · call · u32 n, n × conn · sized act */
struct letter *letter_pack_user_do(struct post *post, uint32_t to, const struct letter_user_do *in)
{
    check(in->conns_count > 0 || in->is_anonymous);
    struct writer w;
    struct letter *letter = letter_draft(
        post, to, LETTER_USER_DO,
        HANDLE_SIZE + 1 + 4 + HANDLE_SIZE * (size_t)in->conns_count + SIZED(in->packed), &w);
    write_handle(&w, in->call);
    write_u8(&w, in->is_anonymous);
    write_u32(&w, in->conns_count);
    for (uint32_t i = 0; i < in->conns_count; i++) write_handle(&w, in->conns[i]);
    write_sized(&w, in->packed);
    return letter_packed(letter, &w);
}

void letter_read_user_do(const struct letter *letter, struct arena *arena,
                         struct letter_user_do *out)
{
    struct reader r = letter_opened(letter, LETTER_USER_DO);
    out->call = read_handle(&r);
    out->is_anonymous = read_u8(&r) != 0;
    out->conns_count = read_u32(&r);
    check(out->conns_count > 0 || out->is_anonymous);
    check(out->conns_count <= r.left / HANDLE_SIZE);
    struct handle *conns = arena_get(arena, out->conns_count * sizeof *conns);
    for (uint32_t i = 0; i < out->conns_count; i++) conns[i] = read_handle(&r);
    out->conns = conns;
    out->packed = read_sized(&r);
    letter_read_end(&r);
}
