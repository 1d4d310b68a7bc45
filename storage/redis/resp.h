/*
 * resp: the Redis protocol, version 2: commands out, replies in.
 *
 * A command is appended to a growing buffer as an array of bulk strings, by
 * hand: the library's formatter costs 500 ns a command and allocates, this
 * costs a few copies.  Replies are parsed by hiredis' reader into a tree that
 * lives until the next one is asked for.
 *
 *   resp_begin(out, 3) · resp_text(out, "SET") · resp_bytes(out, key) · resp_bytes(out, value)
 *
 * Memory:  a reply and everything under it dies with the next resp_next.
 * Thread:  one owner.
 * Source:  redis.io, "Redis serialization protocol", RESP2
 * Tests:   tests/unit/storage/test_link.c
 */
#pragma once

#include "core/bytes.h"
#include "core/err.h"

/* Commands that wait for the socket. */
struct resp_out {
    uint8_t *at;
    size_t used;
    size_t size;
};

/* Starts a command of `count` words; that many resp_… calls follow. */
void resp_begin(struct resp_out *out, uint32_t count);
void resp_bytes(struct resp_out *out, struct bytes word);
void resp_text(struct resp_out *out, const char *word);
/* Decimal digits. */
void resp_number(struct resp_out *out, uint64_t number);
/* One word made of two pieces. */
void resp_pair(struct resp_out *out, struct bytes first, struct bytes second);
/* Room for `size` bytes that belong to no command; they count as written. */
uint8_t *resp_extend(struct resp_out *out, size_t size);
/* Empties the buffer and, when it grew large, gives its memory back. */
void resp_clear(struct resp_out *out);
/* Accepts a zeroed struct. */
void resp_fini(struct resp_out *out);

enum reply_type {
    REPLY_NIL,
    REPLY_TEXT,
    REPLY_STATUS,
    REPLY_ERROR,
    REPLY_INTEGER,
    REPLY_ARRAY,
};

struct reply {
    enum reply_type type;
    uint32_t count;       /* REPLY_ARRAY */
    int64_t integer;      /* REPLY_INTEGER */
    struct bytes text;    /* REPLY_TEXT, REPLY_STATUS, REPLY_ERROR */
    struct reply **items; /* REPLY_ARRAY: `count` of them, none NULL */
};

/* An array above this is garbage, not an answer to anything we ask. */
#define REPLY_ITEMS_MAX (1u << 20)

struct resp_in;
must_use struct resp_in *resp_in_create(void);
/* Accepts NULL. */
void resp_in_destroy(struct resp_in *in);
/* Forgets everything; for a new connection. */
void resp_in_reset(struct resp_in *in);
/* ERR_BAD_REQUEST: the bytes break the protocol; only a reset helps. */
must_use enum err resp_feed(struct resp_in *in, const void *data, size_t size);
/* The next whole reply, or NULL when more bytes are needed. */
must_use enum err resp_next(struct resp_in *in, const struct reply **reply);

/* The item of an array, or NULL when there is none. */
static inline const struct reply *reply_item(const struct reply *reply, uint32_t at)
{
    return reply->type == REPLY_ARRAY && at < reply->count ? reply->items[at] : NULL;
}
/* The text of a bulk or status reply, BYTES_NONE of anything else (NULL included). */
static inline struct bytes reply_text(const struct reply *reply)
{
    bool is_text = reply != NULL && (reply->type == REPLY_TEXT || reply->type == REPLY_STATUS);
    return is_text ? reply->text : BYTES_NONE;
}
/* True exactly when the reply is an error that begins with this word. */
bool reply_is_error(const struct reply *reply, const char *word);
