/*
 * cmd: the names of the commands, from proto/cmd.def.
 */
#include "proto/cmd.h"

#include "core/check.h"

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
