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

/* Takes out who was not named in this round: collected first, because a map
 * may not change while it is walked. */
static void members_sweep(struct members *members)
{
    uint32_t at = 0, gone_count = 0;
    struct member_row **gone = mem_alloc((members->map.count + 1) * sizeof(void *));
    for (struct member_row *row; (row = map_next(&members->map, &at)) != NULL;) {
        if (row->round != members->round) gone[gone_count++] = row;
    }
    for (uint32_t i = 0; i < gone_count; i++) {
        void *removed = map_remove(&members->map, gone[i]->member.user);
        check(removed == gone[i]);
        mem_free(gone[i]);
    }
    mem_free(gone);
}

void members_set(struct members *members, const struct bytes *users, uint32_t users_count,
                 uint64_t head)
{
    members->round++;
    for (uint32_t i = 0; i < users_count; i++) {
        struct member_row *row = map_find(&members->map, users[i]);
        if (row == NULL) {
            struct store_member member = {.user = users[i], .joined = head + 1, .read = head};
            row = members_add(members, &member);
        }
        row->round = members->round;
    }
    members_sweep(members);
    check(members->map.count <= users_count);
}

void members_read(struct members *members, struct bytes user, uint64_t offset)
{
    struct member_row *row = map_find(&members->map, user);
    if (row != NULL) row->member.read = max_u64(row->member.read, offset);
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
