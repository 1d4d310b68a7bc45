/* Sorts, cuts, and appends piece by piece. */
#include "storage/change.h"

#include <stdlib.h>

#include "core/check.h"
#include "core/mem.h"

struct change_row {
    struct bytes user;
    uint32_t at; /* where it stood: of two equal ones the first counts */
};

static int row_compare(const void *a, const void *b)
{
    const struct change_row *left = a, *right = b;
    int by = bytes_compare(left->user, right->user);
    return by != 0 ? by : (left->at > right->at) - (left->at < right->at);
}

/* By user, each once; the count that is left. */
static uint32_t rows_sort(struct change_row *rows, uint32_t count)
{
    uint32_t kept = 0;
    if (count == 0) return 0;
    qsort(rows, count, sizeof *rows, row_compare);
    for (uint32_t i = 0; i < count; i++) {
        if (kept > 0 && bytes_equal(rows[kept - 1].user, rows[i].user)) continue;
        rows[kept++] = rows[i];
    }
    return kept;
}

/* Users, joins, names, in one block. */
static void change_copy(struct store_change *op, const struct change_row *rows, uint32_t count)
{
    size_t size = count * (sizeof *op->users + sizeof *op->joins) + 1;
    for (uint32_t i = 0; i < count; i++) size += rows[i].user.size;
    op->block = mem_alloc(size);
    op->users = op->block;
    op->joins = (struct member_join *)(void *)(op->users + count);
    uint8_t *text = (uint8_t *)(void *)(op->joins + count);
    for (uint32_t i = 0; i < count; i++) {
        struct bytes user = rows[i].user;
        memcpy(text, user.at, user.size);
        op->users[i] = bytes_of(text, user.size);
        op->joins[i] = (struct member_join){0};
        if (op->ask.joins != NULL) op->joins[i] = op->ask.joins[rows[i].at];
        text += user.size;
    }
    op->left = count;
}

static void change_append(struct store_change *op);

static void change_on_appended(struct store_append *append, enum err err, uint64_t offset,
                               bool is_repeat)
{
    struct store_change *op = container_of(append, struct store_change, append);
    (void)offset;
    check(!is_repeat);
    if (err == ERR_OK && op->left > 0) {
        change_append(op);
        return;
    }
    mem_free(op->block);
    op->block = NULL;
    op->on_changed(op, err);
}

/* The next piece. */
static void change_append(struct store_change *op)
{
    uint32_t count = min_u32(op->left, MEMBERS_RECORD_MAX);
    struct members_ask *ask = &op->append.members;
    struct bytes after = ask->upto;
    *ask = (struct members_ask){
        .kind = op->ask.kind, .users = op->users, .joins = op->joins, .count = count};
    bool is_cut = op->block != op->users || count < op->left;
    if (ask->kind == MEMBERS_SET && is_cut) {
        ask->kind = MEMBERS_SET_BETWEEN;
        ask->after = after;
        if (count < op->left) ask->upto = op->users[count - 1];
    }
    op->users += count;
    op->joins += count;
    op->left -= count;
    store_append(op->store, &op->append);
}

void store_change(struct store *store, struct store_change *op)
{
    const struct members_ask *ask = &op->ask;
    check(ask->kind <= MEMBERS_REMOVE && ask->count <= MEMBERS_MAX && op->on_changed != NULL);
    struct change_row *rows = mem_alloc((ask->count + 1) * sizeof *rows);
    for (uint32_t i = 0; i < ask->count; i++) rows[i] = (struct change_row){ask->users[i], i};
    change_copy(op, rows, rows_sort(rows, ask->count));
    mem_free(rows);
    op->store = store;
    op->append = (struct store_append){
        .channel = op->channel, .type = RECORD_MEMBERS, .on_appended = change_on_appended};
    change_append(op);
}
