/*
 * channel_asks: one channel of a small node, what is asked of it, who listens.
 *
 * Thread:  one; after <cmocka.h>.
 */
#pragma once

#include "tests/unit/shards/small_node.h"

#define CHANNEL BYTES_LITERAL("room")

static const char plain[] = "storage: {window_size: 4}\n"
                            "channel: {without_namespace: {history_size: 10, history_ttl: 60s}}\n";

static inline struct handle hub_of(uint32_t index)
{
    return (struct handle){index, 1};
}

static inline struct letter_subscribe subscribe_from(uint64_t offset, const char *epoch)
{
    return (struct letter_subscribe){
        .hub = hub_of(1),
        .channel = CHANNEL,
        .recover = true,
        .offset = offset,
        .epoch = bytes_of_text(epoch),
    };
}

struct ear {
    struct heard heard[64];
    uint32_t count;
};

static inline void ear_on_heard(struct small *small, const struct heard *heard)
{
    struct ear *ear = small->context;
    assert_true(ear->count < array_count(ear->heard));
    ear->heard[ear->count++] = *heard;
}

static inline struct small *small_with_ear(struct ear *ear, const char *options)
{
    struct small *small = malloc(sizeof *small);
    small_init(small, options);
    memset(ear, 0, sizeof *ear);
    small->on_heard = ear_on_heard;
    small->context = ear;
    return small;
}
