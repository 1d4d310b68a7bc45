/* The texts are arrays of numbers: a string literal of this length is beyond
 * what the C standard promises. */
#include "storage/redis/script.h"

#include "core/check.h"

static const uint8_t append_text[] = {
#include "storage/redis/lua/append.lua.inc"
};
static const uint8_t confirm_text[] = {
#include "storage/redis/lua/confirm.lua.inc"
};
static const uint8_t read_text[] = {
#include "storage/redis/lua/read.lua.inc"
};
static const uint8_t nodes_text[] = {
#include "storage/redis/lua/nodes.lua.inc"
};
static const uint8_t presence_text[] = {
#include "storage/redis/lua/presence.lua.inc"
};
static const uint8_t users_text[] = {
#include "storage/redis/lua/users.lua.inc"
};
static const uint8_t forget_text[] = {
#include "storage/redis/lua/forget.lua.inc"
};

struct bytes script_text(enum script script)
{
    switch (script) {
    case SCRIPT_APPEND: return bytes_of(append_text, sizeof append_text);
    case SCRIPT_CONFIRM: return bytes_of(confirm_text, sizeof confirm_text);
    case SCRIPT_READ: return bytes_of(read_text, sizeof read_text);
    case SCRIPT_NODES: return bytes_of(nodes_text, sizeof nodes_text);
    case SCRIPT_PRESENCE: return bytes_of(presence_text, sizeof presence_text);
    case SCRIPT_USERS: return bytes_of(users_text, sizeof users_text);
    case SCRIPT_FORGET: return bytes_of(forget_text, sizeof forget_text);
    case SCRIPT_COUNT: break;
    }
    impossible("every script has its text");
}
