/* How members join and move, and a list of them as bytes. */
#include "storage/member.h"

#include "core/check.h"
#include "core/limits.h"
#include "core/mem.h"

size_t members_ask_size(const struct members_ask *ask)
{
    check(ask->kind < MEMBERS_STATE);
    size_t each = ask->kind == MEMBERS_ADD ? 4 + 8 + 8 : 4, size = 0;
    if (ask->kind == MEMBERS_SET_BETWEEN) size += 4 + ask->after.size + 4 + ask->upto.size;
    for (uint32_t i = 0; i < ask->count; i++) size += each + ask->users[i].size;
    return size;
}

void members_ask_write(struct writer *writer, const struct members_ask *ask)
{
    check(ask->kind < MEMBERS_STATE);
    if (ask->kind == MEMBERS_SET_BETWEEN) {
        write_sized(writer, ask->after);
        write_sized(writer, ask->upto);
    }
    for (uint32_t i = 0; i < ask->count; i++) {
        check(ask->users[i].size > 0 && ask->users[i].size <= USER_ID_MAX);
        write_sized(writer, ask->users[i]);
        if (ask->kind != MEMBERS_ADD) continue;
        struct member_join join = ask->joins == NULL ? (struct member_join){0} : ask->joins[i];
        write_u64(writer, join.joined);
        write_u64(writer, join.read);
    }
}

static struct store_member change_next(struct reader *reader, enum members_kind kind, uint64_t head)
{
    struct member_join join = {0};
    struct bytes user = read_sized(reader);
    if (kind == MEMBERS_ADD) {
        join.joined = read_u64(reader);
        join.read = read_u64(reader);
    }
    if (user.size == 0 || user.size > USER_ID_MAX) reader->failed = true;
    if (reader->failed || kind == MEMBERS_REMOVE) return (struct store_member){.user = user};
    return member_begin(user, join, head);
}

enum err members_change_read(struct bytes body, enum members_kind kind, uint64_t head,
                             struct members_change *change)
{
    if (kind >= MEMBERS_STATE || head == UINT64_MAX) return ERR_STORE_CORRUPT;
    struct reader reader = reader_of(body);
    *change = (struct members_change){.kind = kind};
    if (kind == MEMBERS_SET_BETWEEN) {
        change->after = read_sized(&reader);
        change->upto = read_sized(&reader);
    }
    /* A name has a byte and its size at least. */
    struct store_member *list = mem_alloc((reader.left / 5 + 1) * sizeof *list);
    while (!reader.failed && reader.left > 0) {
        struct store_member member = change_next(&reader, kind, head);
        if (!reader.failed) list[change->count++] = member;
    }
    change->list = list;
    if (!reader.failed) return ERR_OK;
    members_change_fini(change);
    return ERR_STORE_CORRUPT;
}

void members_change_fini(struct members_change *change)
{
    mem_free((void *)(uintptr_t)change->list);
    *change = (struct members_change){0};
}

bool members_are_between(struct bytes user, struct bytes after, struct bytes upto)
{
    return bytes_compare(user, after) > 0 && (upto.size == 0 || bytes_compare(user, upto) <= 0);
}

struct store_member member_begin(struct bytes user, struct member_join join, uint64_t head)
{
    uint64_t joined = join.joined == 0 ? head + 1 : min_u64(join.joined, head + 1);
    uint64_t read = min_u64(max_u64(join.read, joined - 1), head);
    check(joined >= 1 && read + 1 >= joined);
    return (struct store_member){.user = user, .joined = joined, .read = read, .delivered = read};
}

static bool member_read(struct store_member *member, uint64_t offset)
{
    if (member->unread_from <= offset) member->unread_from = 0;
    member->delivered = max_u64(member->delivered, offset);
    if (offset <= member->read) return false;
    member->read = offset;
    return true;
}

bool member_move(struct store_member *member, enum cursor_mark mark, uint64_t offset, uint64_t head)
{
    uint64_t before;
    switch (mark) {
    case CURSOR_READ: return member_read(member, min_u64(offset, head));
    case CURSOR_DELIVERED:
        before = member->delivered;
        member->delivered = max_u64(before, min_u64(offset, head));
        return member->delivered > before;
    case CURSOR_UNREAD:
        before = member->unread_from;
        if (offset > 0) offset = max_u64(offset, member->joined);
        member->unread_from = offset > member->read ? 0 : offset;
        return member->unread_from != before;
    case CURSOR_HIDDEN:
        before = member->is_hidden;
        member->is_hidden = offset != 0;
        return member->is_hidden != (before != 0);
    default: impossible("an unknown mark");
    }
}

struct bytes publication_mover(const struct publication *publication)
{
    bool is_moving = publication->offset > 0 && publication->has_info;
    return is_moving ? publication->user : BYTES_NONE;
}
