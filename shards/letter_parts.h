/*
 * letter_parts: how the packers of letters begin and end one.
 *
 * A packer computes the exact size, drafts, writes its fields and closes with
 * letter_packed; a reader opens, reads the same fields and closes with
 * letter_read_end.  Both ends stop the process when sizes disagree: bytes of a letter
 * come from this process only.
 *
 * Thread:  the packer's and the reader's shard; pure.
 * Tests:   tests/unit/shards/test_letter.c
 */
#pragma once

#include "core/check.h"
#include "shards/letter.h"

#define HANDLE_SIZE 8
#define SIZED(view) (4 + (view).size)

static inline struct letter *letter_draft(struct post *post, uint32_t to, enum letter_kind kind,
                                          size_t size, struct writer *writer)
{
    check(size <= UINT32_MAX);
    struct letter *letter = letter_new(post, to, kind, (uint32_t)size);
    *writer = writer_of(letter->payload, size);
    return letter;
}

static inline struct letter *letter_packed(struct letter *letter, const struct writer *writer)
{
    check(!writer->failed);
    check(writer->used == letter->size);
    return letter;
}

static inline struct reader letter_opened(const struct letter *letter, enum letter_kind kind)
{
    check(letter->kind == kind);
    return reader_of(bytes_of(letter->payload, letter->size));
}

static inline void letter_read_end(const struct reader *reader)
{
    check(!reader->failed);
    check(reader->left == 0);
}

static inline void write_handle(struct writer *writer, struct handle handle)
{
    write_u32(writer, handle.index);
    write_u32(writer, handle.generation);
}

static inline struct handle read_handle(struct reader *reader)
{
    struct handle handle;
    handle.index = read_u32(reader);
    handle.generation = read_u32(reader);
    return handle;
}
