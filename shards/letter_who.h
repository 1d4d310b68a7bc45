/*
 * letter_who: clients and lists as they stand in letters.
 *
 *   who     16 client · sized user · sized conn_info · sized chan_info
 *   lists   u32 clients · u32 users · u32 n, n × who · u32 n, n × (sized name, u32 clients)
 *
 * Thread:  any; pure.  Views that come out point into what was read.
 * Tests:   tests/unit/shards/test_letter.c
 */
#pragma once

#include "shards/letter.h"

size_t who_size(const struct wire_info *who);
void who_write(struct writer *writer, const struct wire_info *who);
void who_read(struct reader *reader, struct wire_info *who);
void who_read_client(struct reader *reader, uint8_t client[16]);

/* The parts of an answer that list: presence, its counts, channels. */
size_t lists_size(const struct answer *in);
void lists_write(struct writer *writer, const struct answer *in);
void lists_read(struct reader *reader, struct arena *arena, struct answer *out);
