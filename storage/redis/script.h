/*
 * script: the Lua that runs inside Redis, carried in the binary.
 *
 * Each script is lua/partition.lua, for those that write lua/records.lua, and its
 * own file, joined at build time.  Links load them when they connect and call
 * them by the digest that SCRIPT LOAD answers.
 *
 * Thread:  any; constant.
 * Source:  the files in lua, tools/embed.cmake
 * Tests:   tests/unit/storage/test_redis.c
 */
#pragma once

#include "core/bytes.h"

enum script {
    SCRIPT_APPEND,   /* lua/append.lua: records in */
    SCRIPT_CONFIRM,  /* lua/confirm.lua: replicas have them */
    SCRIPT_READ,     /* lua/read.lua: a look at a channel */
    SCRIPT_NODES,    /* lua/nodes.lua: leases */
    SCRIPT_PRESENCE, /* lua/presence.lua: who attends */
    SCRIPT_USERS,    /* lua/users.lua: what is said about users */
    SCRIPT_FORGET,   /* lua/forget.lua: channels that nobody uses */
    SCRIPT_COUNT,
};

#define SCRIPT_DIGEST_SIZE 40

struct bytes script_text(enum script script);
