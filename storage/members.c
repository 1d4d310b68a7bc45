/* Members by user id, in a map whose rows carry the round of the list that named them. */
#include "storage/members.h"

#include "core/mem.h"

struct member_row {
    struct store_member member; /* its user points at `text` */
    uint64_t round;             /* of the list that last named it */
    uint8_t text[];
};

void members_init(struct members *members, uint64_t seed)
{
    *members = (struct members){0};
    map_init(&members->map, seed);
}

void members_fini(struct members *members)
{
    uint32_t at = 0;
    for (struct member_row *row; (row = map_next(&members->map, &at)) != NULL;) mem_free(row);
    map_fini(&members->map);
}

static struct member_row *members_add(struct members *members, const struct store_member *member)
{
    check(member->joined > 0);
    struct member_row *row = mem_alloc(sizeof *row + member->user.size);
    memcpy(row->text, member->user.at, member->user.size);
    row->member = *member;
    row->member.user.at = row->text;
    map_put(&members->map, row->member.user, row);
    return row;
}

static void members_drop(struct members *members, struct member_row *row)
{
    void *removed = map_remove(&members->map, row->member.user);
    check(removed == row);
    if (members->on_change != NULL) members->on_change(members->context, row->member.user, true);
    mem_free(row);
}

/* Takes out whom the list spoke of and did not name: collected first, because a map
 * may not change while it is walked. */
static void members_sweep(struct members *members, const struct members_change *change)
{
    uint32_t at = 0, gone_count = 0;
    struct member_row **gone = mem_alloc((members->map.count + 1) * sizeof(void *));
    for (struct member_row *row; (row = map_next(&members->map, &at)) != NULL;) {
        bool is_meant = change->kind != MEMBERS_SET_BETWEEN ||
                        members_are_between(row->member.user, change->after, change->upto);
        if (is_meant && row->round != members->round) gone[gone_count++] = row;
    }
    for (uint32_t i = 0; i < gone_count; i++) members_drop(members, gone[i]);
    mem_free(gone);
}

void members_apply(struct members *members, const struct members_change *change)
{
    members->round++;
    for (uint32_t i = 0; i < change->count; i++) {
        const struct store_member *named = &change->list[i];
        struct member_row *row = map_find(&members->map, named->user);
        if (change->kind == MEMBERS_REMOVE) {
            if (row != NULL) members_drop(members, row);
            continue;
        }
        if (row == NULL) {
            row = members_add(members, named);
            if (members->on_change != NULL)
                members->on_change(members->context, row->member.user, false);
        }
        row->round = members->round;
        if (change->kind != MEMBERS_STATE) continue;
        struct bytes user = row->member.user;
        row->member = *named;
        row->member.user = user;
    }
    if (change->kind == MEMBERS_ADD || change->kind == MEMBERS_REMOVE) return;
    members_sweep(members, change);
}

struct store_member *members_find(const struct members *members, struct bytes user)
{
    struct member_row *row = map_find(&members->map, user);
    return row == NULL ? NULL : &row->member;
}

bool members_move(struct members *members, struct bytes user, enum cursor_mark mark,
                  uint64_t offset, uint64_t head)
{
    if (mark_is_of_channel(mark)) {
        bool has_changed = members->policy != offset;
        check(user.size == 0);
        members->policy = offset;
        return has_changed;
    }
    struct store_member *member = members_find(members, user);
    return member != NULL && member_move(member, mark, offset, head);
}

void members_load(struct members *members, const struct store_member *member)
{
    check(map_find(&members->map, member->user) == NULL);
    members_add(members, member)->round = members->round;
}

void members_list(const struct members *members, struct store_member *list)
{
    uint32_t at = 0, count = 0;
    for (struct member_row *row; (row = map_next(&members->map, &at)) != NULL;) {
        list[count++] = row->member;
    }
    check(count == members->map.count);
}
