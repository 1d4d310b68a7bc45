/*
 * letter_members: fields in, fields out.
 */
#include "shards/letter_members.h"

#include "core/arena.h"
#include "core/check.h"
#include "shards/letter_parts.h"

/* members · call · sized channel · u8 kind · u8 with joins? · u32 count
 *         · count × (sized user [· u64 joined · u64 read]) */
struct letter *letter_pack_members(struct post *post, uint32_t to, const struct letter_members *in)
{
    check(in->kind == MEMBERS_SET || in->kind == MEMBERS_ADD || in->kind == MEMBERS_REMOVE);
    check(in->count <= MEMBERS_MAX);
    bool has_joins = in->joins != NULL;
    size_t size = 2 + SIZED(in->channel) + 4 + (has_joins ? 16 * (size_t)in->count : 0);
    for (uint32_t i = 0; i < in->count; i++) size += SIZED(in->users[i]);
    struct writer w;
    struct letter *letter = letter_draft(post, to, LETTER_MEMBERS, HANDLE_SIZE + size, &w);
    write_handle(&w, in->call);
    write_sized(&w, in->channel);
    write_u8(&w, in->kind);
    write_u8(&w, has_joins);
    write_u32(&w, in->count);
    for (uint32_t i = 0; i < in->count; i++) {
        write_sized(&w, in->users[i]);
        if (!has_joins) continue;
        write_u64(&w, in->joins[i].joined);
        write_u64(&w, in->joins[i].read);
    }
    return letter_packed(letter, &w);
}

void letter_read_members(const struct letter *letter, struct arena *arena,
                         struct letter_members *out)
{
    struct reader r = letter_opened(letter, LETTER_MEMBERS);
    out->call = read_handle(&r);
    out->channel = read_sized(&r);
    out->kind = read_u8(&r);
    bool has_joins = read_u8(&r) != 0;
    out->count = read_u32(&r);
    check(out->count <= MEMBERS_MAX);
    struct bytes *users = arena_get(arena, (out->count + (size_t)1) * sizeof *users);
    struct member_join *joins =
        has_joins ? arena_get(arena, (out->count + (size_t)1) * sizeof *joins) : NULL;
    for (uint32_t i = 0; i < out->count; i++) {
        users[i] = read_sized(&r);
        if (!has_joins) continue;
        joins[i].joined = read_u64(&r);
        joins[i].read = read_u64(&r);
    }
    out->users = users;
    out->joins = joins;
    letter_read_end(&r);
}

/* members_list · call · sized channel · u32 limit · u64 after */
struct letter *letter_pack_members_list(struct post *post, uint32_t to,
                                        const struct letter_members_list *in)
{
    check(in->limit > 0 && in->limit <= RECEIPT_LIST_MAX);
    struct writer w;
    struct letter *letter =
        letter_draft(post, to, LETTER_MEMBERS_LIST, HANDLE_SIZE + 4 + 8 + SIZED(in->channel), &w);
    write_handle(&w, in->call);
    write_sized(&w, in->channel);
    write_u32(&w, in->limit);
    write_u64(&w, in->after);
    return letter_packed(letter, &w);
}

void letter_read_members_list(const struct letter *letter, struct letter_members_list *out)
{
    struct reader r = letter_opened(letter, LETTER_MEMBERS_LIST);
    out->call = read_handle(&r);
    out->channel = read_sized(&r);
    out->limit = read_u32(&r);
    out->after = read_u64(&r);
    letter_read_end(&r);
}

/* head · call · sized channel · u8 with seq? · u64 seq */
struct letter *letter_pack_head(struct post *post, uint32_t to, const struct letter_head *in)
{
    struct writer w;
    struct letter *letter =
        letter_draft(post, to, LETTER_HEAD, HANDLE_SIZE + 1 + 8 + SIZED(in->channel), &w);
    write_handle(&w, in->call);
    write_sized(&w, in->channel);
    write_u8(&w, in->has_seq);
    write_u64(&w, in->seq);
    return letter_packed(letter, &w);
}

void letter_read_head(const struct letter *letter, struct letter_head *out)
{
    struct reader r = letter_opened(letter, LETTER_HEAD);
    out->call = read_handle(&r);
    out->channel = read_sized(&r);
    out->has_seq = read_u8(&r) != 0;
    out->seq = read_u64(&r);
    letter_read_end(&r);
}

/* policy · call · sized channel · u8 to be set? · u32 own */
struct letter *letter_pack_policy(struct post *post, uint32_t to, const struct letter_policy *in)
{
    check(in->is_set || in->own == 0);
    struct writer w;
    struct letter *letter =
        letter_draft(post, to, LETTER_POLICY, HANDLE_SIZE + 1 + 4 + SIZED(in->channel), &w);
    write_handle(&w, in->call);
    write_sized(&w, in->channel);
    write_u8(&w, in->is_set);
    write_u32(&w, in->own);
    return letter_packed(letter, &w);
}

void letter_read_policy(const struct letter *letter, struct letter_policy *out)
{
    struct reader r = letter_opened(letter, LETTER_POLICY);
    out->call = read_handle(&r);
    out->channel = read_sized(&r);
    out->is_set = read_u8(&r) != 0;
    out->own = read_u32(&r);
    letter_read_end(&r);
}

/* --- answers ---------------------------------------------------------------------- */

/* u64 next slot · u32 n, n × (sized user · 4 × u64 · u8 hidden?) */
size_t members_list_size(const struct answer *in)
{
    if (in->next_slot == 0 && in->members_count == 0) return 0;
    size_t size = 8 + 4;
    for (uint32_t i = 0; i < in->members_count; i++) size += SIZED(in->members[i].user) + 4 * 8 + 1;
    return size;
}

void members_list_write(struct writer *writer, const struct answer *in)
{
    write_u64(writer, in->next_slot);
    write_u32(writer, in->members_count);
    for (uint32_t i = 0; i < in->members_count; i++) {
        const struct cursor_member *member = &in->members[i];
        write_sized(writer, member->user);
        write_u64(writer, member->joined);
        write_u64(writer, member->read);
        write_u64(writer, member->delivered);
        write_u64(writer, member->unread_from);
        write_u8(writer, member->is_hidden);
    }
}

void members_list_read(struct reader *reader, struct arena *arena, struct answer *out)
{
    out->next_slot = read_u64(reader);
    out->members_count = read_u32(reader);
    check(out->members_count <= reader->left);
    struct cursor_member *members =
        arena_get(arena, (out->members_count + (size_t)1) * sizeof *members);
    for (uint32_t i = 0; i < out->members_count; i++) {
        members[i].user = read_sized(reader);
        members[i].joined = read_u64(reader);
        members[i].read = read_u64(reader);
        members[i].delivered = read_u64(reader);
        members[i].unread_from = read_u64(reader);
        members[i].is_hidden = read_u8(reader) != 0;
    }
    out->members = members;
}
