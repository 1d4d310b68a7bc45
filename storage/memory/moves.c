/* An array in the order of time. */
#include "storage/memory/moves.h"

#include "core/check.h"
#include "core/mem.h"

struct move {
    char *user;
    uint32_t user_size;
    enum cursor_mark mark;
    uint64_t offset, time_ms;
};

void moves_fini(struct moves *moves)
{
    for (uint32_t i = 0; i < moves->count; i++) mem_free(moves->list[i].user);
    mem_free(moves->list);
    *moves = (struct moves){0};
}

void moves_add(struct moves *moves, const struct store_cursor *cursor)
{
    if (cursor->mark != CURSOR_READ && cursor->mark != CURSOR_DELIVERED) return;
    if (moves->count == moves->room) {
        moves->room = max_u32(8, moves->room * 2);
        moves->list = mem_resize(moves->list, moves->room * sizeof *moves->list);
    }
    moves->list[moves->count++] =
        (struct move){.user = mem_text(cursor->user.at, cursor->user.size),
                      .user_size = (uint32_t)cursor->user.size,
                      .mark = cursor->mark,
                      .offset = cursor->offset,
                      .time_ms = cursor->time_ms};
}

void moves_trim(struct moves *moves, uint64_t now_ms)
{
    uint32_t gone = 0;
    while (gone < moves->count && moves->list[gone].time_ms + STORE_MOVES_MS < now_ms)
        mem_free(moves->list[gone++].user);
    if (gone == 0) return;
    moves->count -= gone;
    memmove(moves->list, moves->list + gone, moves->count * sizeof *moves->list);
}

void moves_forget(struct moves *moves, struct bytes user)
{
    uint32_t left = 0;
    for (uint32_t at = 0; at < moves->count; at++) {
        struct move *move = &moves->list[at];
        if (bytes_equal(user, bytes_of(move->user, move->user_size)))
            mem_free(move->user);
        else
            moves->list[left++] = *move;
    }
    moves->count = left;
}

void moves_find(const struct moves *moves, uint64_t offset, const struct bytes *users,
                uint32_t users_count, struct store_moved *moved)
{
    for (uint32_t i = 0; i < users_count; i++) moved[i] = (struct store_moved){0};
    for (uint32_t at = 0; at < moves->count; at++) {
        const struct move *move = &moves->list[at];
        if (move->offset < offset) continue;
        struct bytes user = bytes_of(move->user, move->user_size);
        for (uint32_t i = 0; i < users_count; i++)
            if (bytes_equal(users[i], user)) moved_note(&moved[i], move->mark, move->time_ms);
    }
}
