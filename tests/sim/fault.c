/*
 * fault: planted faults, so that the checkers are known to see.
 *
 * Functions of the gateway are linked through here by --wrap; each does now and then
 * what it must never do.  The others are in loop_sim_write.c.
 */
#include <string.h>

#include "core/mesh.h"
#include "proto/ws.h"
#include "shards/channel/presence.h"
#include "shards/channel/window.h"
#include "shards/conn/conn.h"
#include "shards/letter.h"
#include "storage/cursor.h"
#include "storage/keys.h"
#include "world.h"

const char *fault_name(enum sim_fault fault)
{
    static const char *const names[FAULT_COUNT] = {[FAULT_NONE] = "none",
#define X(name, text) [FAULT_##name] = text,
                                                   SIM_FAULTS(X)
#undef X
    };
    return names[fault];
}

enum sim_fault fault_of(const char *name)
{
    for (int fault = FAULT_NONE + 1; fault < FAULT_COUNT; fault++)
        if (strcmp(fault_name((enum sim_fault)fault), name) == 0) return (enum sim_fault)fault;
    return FAULT_NONE;
}

/* One in `odds`, where that fault is planted. */
static bool strikes(enum sim_fault fault, uint32_t odds)
{
    if (world.fault != fault || chance_below(odds) != 0) return false;
    world.fault_strikes++;
    world_note(TRACE_FAULT, world.fault_strikes, 0, 0);
    return true;
}

void __real_letter_post(struct post *post, struct letter *letter);
void __wrap_letter_post(struct post *post, struct letter *letter);
void __wrap_letter_post(struct post *post, struct letter *letter)
{
    if (letter->kind == LETTER_FRAME && letter->to != letter->from &&
        strikes(FAULT_DROP_LETTER, 100))
        return;
    __real_letter_post(post, letter);
}

static bool is_publication(const struct frame *frame)
{
    return memmem(frame->bytes, frame->size, "\"pub\":{", 7) != NULL;
}

void __real_conn_push(struct shard *shard, struct conn *conn, struct frame *frame);
void __wrap_conn_push(struct shard *shard, struct conn *conn, struct frame *frame);
void __wrap_conn_push(struct shard *shard, struct conn *conn, struct frame *frame)
{
    bool is_planned = world.fault == FAULT_DEAF || world.fault == FAULT_TWICE;
    bool is_victim = is_planned && is_publication(frame);
    if (is_victim && strikes(FAULT_DEAF, 200)) return;
    __real_conn_push(shard, conn, frame);
    if (is_victim && strikes(FAULT_TWICE, 200)) __real_conn_push(shard, conn, frame);
}

struct key_entry *__real_keys_begin(struct keys *keys, struct key_owner *owner, struct bytes scope,
                                    struct bytes key, uint64_t now_ms);
struct key_entry *__wrap_keys_begin(struct keys *keys, struct key_owner *owner, struct bytes scope,
                                    struct bytes key, uint64_t now_ms);
struct key_entry *__wrap_keys_begin(struct keys *keys, struct key_owner *owner, struct bytes scope,
                                    struct bytes key, uint64_t now_ms)
{
    static uint64_t number;
    if (strikes(FAULT_FORGET_KEY, 4)) {
        number++;
        scope = bytes_of(&number, sizeof(number));
    }
    return __real_keys_begin(keys, owner, scope, key, now_ms);
}

void __real_window_push(struct window *window, const struct publication *publication);
void __wrap_window_push(struct window *window, const struct publication *publication);
void __wrap_window_push(struct window *window, const struct publication *publication)
{
    struct publication kept = *publication;
    if (window->count > 0 && strikes(FAULT_STALE_PAST, 10)) {
        struct publication before;
        window_get(window, window->head, &before);
        kept.data = before.data;
    }
    __real_window_push(window, &kept);
}

void __real_presence_remove(struct presences *all, struct presence *presence,
                            const uint8_t client[16], bool is_listed);
void __wrap_presence_remove(struct presences *all, struct presence *presence,
                            const uint8_t client[16], bool is_listed);
void __wrap_presence_remove(struct presences *all, struct presence *presence,
                            const uint8_t client[16], bool is_listed)
{
    if (!strikes(FAULT_GHOST, 10)) __real_presence_remove(all, presence, client, is_listed);
}

enum err __real_cursor_move(struct cursor_index *index, struct bytes user, uint64_t offset,
                            uint64_t *before, uint64_t *after);
enum err __wrap_cursor_move(struct cursor_index *index, struct bytes user, uint64_t offset,
                            uint64_t *before, uint64_t *after);
enum err __wrap_cursor_move(struct cursor_index *index, struct bytes user, uint64_t offset,
                            uint64_t *before, uint64_t *after)
{
    if (strikes(FAULT_STILL_CURSOR, 2)) offset = 0;
    return __real_cursor_move(index, user, offset, before, after);
}
