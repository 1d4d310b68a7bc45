/*
 * cmd: the names of the commands, from proto/cmd.def; what both decoders share.
 */
#include "proto/cmd.h"

#include <string.h>

#include "core/arena.h"
#include "core/check.h"

#define SUBS_ROOM_FIRST 8

static const char *const names[CMD_COUNT] = {
    [CMD_PONG] = "pong",
#define CMD(id, name, field) [CMD_##id] = #name,
#include "proto/cmd.def"
#undef CMD
};

const char *cmd_name(enum cmd_kind kind)
{
    check(kind < CMD_COUNT);
    check(names[kind] != NULL);
    return names[kind];
}

struct cmd_connect_sub *cmd_grow_subs(struct arena *arena, const struct cmd_connect_sub *subs,
                                      uint32_t count, uint32_t *room)
{
    check(count == *room);
    check(count <= CONNECT_SUBS_MAX);
    *room = count == 0 ? SUBS_ROOM_FIRST : 2 * count;
    struct cmd_connect_sub *grown = arena_get(arena, *room * sizeof *grown);
    if (count > 0) memcpy(grown, subs, count * sizeof *grown);
    return grown;
}
