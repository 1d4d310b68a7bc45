/*
 * policy: what a channel itself says of receipts, where that differs from its namespace.
 *
 * Told by a backend, kept by the store as the channel's own mark (CURSOR_POLICY), so it is
 * a number, and its meaning is for ever:
 *
 *   bits 0-3   1 + enum config_receipts; 0: as the namespace says
 *   bits 4-5   1: members may not opt out, 2: they may; 0: as the namespace says
 *
 * What a later release may have added to it is passed over.  receipts.enabled false is above
 * all of it.
 *
 * Thread:  any; pure.
 * Tests:   tests/unit/shards/test_policy.c
 */
#pragma once

#include "core/config.h"

static_assert(CONFIG_RECEIPTS_OFF == 0 && CONFIG_RECEIPTS_COUNT == 1, "the number is stored");
static_assert(CONFIG_RECEIPTS_SENDER == 2 && CONFIG_RECEIPTS_ALL == 3, "the number is stored");

struct policy {
    enum config_receipts receipts;
    bool opt_out;
};

/* "off", "count", "sender", "all": as the namespace option has it. */
static inline struct bytes policy_name(enum config_receipts receipts)
{
    static const char *const names[] = {"off", "count", "sender", "all"};
    return bytes_of_text(names[receipts]);
}

/* A policy of its own, piece by piece; 0 says nothing. */
static inline uint32_t policy_with_receipts(uint32_t own, enum config_receipts receipts)
{
    return (own & ~0xfu) | ((uint32_t)receipts + 1);
}
static inline uint32_t policy_with_opt_out(uint32_t own, bool opt_out)
{
    return (own & ~0x30u) | (opt_out ? 2u : 1u) << 4;
}
static inline bool policy_has_receipts(uint32_t own)
{
    return (own & 0xf) > 0 && (own & 0xf) <= CONFIG_RECEIPTS_ALL + 1;
}
static inline bool policy_has_opt_out(uint32_t own)
{
    return (own >> 4 & 3) == 1 || (own >> 4 & 3) == 2;
}

/* What is in force, where the namespace says `space`. */
static inline struct policy policy_of(uint32_t own, struct policy space)
{
    if (policy_has_receipts(own)) space.receipts = (enum config_receipts)((own & 0xf) - 1);
    if (policy_has_opt_out(own)) space.opt_out = (own >> 4 & 3) == 2;
    return space;
}

/* As bytes of an answer: the policy in force as one of its own that says everything. */
static inline uint32_t policy_whole(struct policy policy)
{
    return policy_with_opt_out(policy_with_receipts(0, policy.receipts), policy.opt_out);
}
