/*
 * pb_bytes: Protobuf by hand, for tests: keys, numbers and lengths from the rules of
 * the encoding, nothing of ours or of nanopb's.
 *
 * Thread:  any; pure.
 */
#pragma once

#include "core/bytes.h"

static inline void pb_varint(struct writer *w, uint64_t value)
{
    for (; value >= 128; value /= 128) write_u8(w, (uint8_t)(value % 128 + 128));
    write_u8(w, (uint8_t)value);
}
static inline void pb_number(struct writer *w, uint32_t field, uint64_t value)
{
    pb_varint(w, (uint64_t)field * 8);
    pb_varint(w, value);
}
static inline void pb_sized(struct writer *w, uint32_t field, struct bytes value)
{
    pb_varint(w, (uint64_t)field * 8 + 2);
    pb_varint(w, value.size);
    write_bytes(w, value);
}
/* A message in front of which its length stands. */
static inline void pb_delimited(struct writer *w, struct bytes message)
{
    pb_varint(w, message.size);
    write_bytes(w, message);
}
