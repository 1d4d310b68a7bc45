/*
 * home: names to shards.
 */
#include "shards/home.h"

#include "core/check.h"
#include "core/config.h"
#include "core/hash.h"

/* Fixed: a home must be the same in every process and at every start. */
#define HOME_SEED 0x736c75696365ull

static const char *const companions[] = {CONFIG_RECEIPTS_PREFIX, "typing:"};

uint32_t home_of_channel(struct bytes channel, uint32_t shards_count)
{
    check(shards_count > 0);
    for (size_t i = 0; i < array_count(companions); i++) {
        size_t size = strlen(companions[i]);
        if (channel.size > size && memcmp(channel.at, companions[i], size) == 0) {
            channel = bytes_of(channel.at + size, channel.size - size);
            break;
        }
    }
    return hash_jump(hash_bytes(channel, HOME_SEED), shards_count);
}

bool home_is_receipts(struct bytes channel, struct bytes *base)
{
    size_t size = strlen(companions[0]);
    bool is_companion = channel.size > size && memcmp(channel.at, companions[0], size) == 0;
    *base = is_companion ? bytes_of(channel.at + size, channel.size - size) : channel;
    return is_companion;
}

uint32_t home_of_user(struct bytes user, uint32_t shards_count)
{
    check(shards_count > 0);
    return hash_jump(hash_bytes(user, HOME_SEED + 1), shards_count);
}
