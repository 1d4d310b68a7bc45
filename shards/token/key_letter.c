/*
 * key_letter: what is said about key sets, in bytes.
 */
#include "core/check.h"
#include "shards/letter.h"
#include "shards/token/token_parts.h"

/* keys_ask · u8 use · u64 after */
struct letter *letter_pack_keys_ask(struct post *post, uint32_t to,
                                    const struct letter_keys_ask *in)
{
    struct letter *letter = letter_new(post, to, LETTER_KEYS_ASK, 1 + 8);
    struct writer w = writer_of(letter->payload, letter->size);
    write_u8(&w, in->use);
    write_u64(&w, in->after_ms);
    check(!w.failed && w.used == letter->size);
    return letter;
}

void letter_read_keys_ask(const struct letter *letter, struct letter_keys_ask *out)
{
    check(letter->kind == LETTER_KEYS_ASK);
    struct reader r = reader_of(bytes_of(letter->payload, letter->size));
    out->use = read_u8(&r);
    out->after_ms = read_u64(&r);
    check(!r.failed && r.left == 0);
}

/* keys · u8 use · u8 is there · u64 hash · u64 began · sized text */
struct letter *letter_pack_keys(struct post *post, uint32_t to, const struct letter_keys *in)
{
    uint32_t size = 1 + 1 + 8 + 8 + 4 + (uint32_t)in->text.size;
    struct letter *letter = letter_new(post, to, LETTER_KEYS, size);
    struct writer w = writer_of(letter->payload, letter->size);
    write_u8(&w, in->use);
    write_u8(&w, in->is_there);
    write_u64(&w, in->url_hash);
    write_u64(&w, in->began_ms);
    write_sized(&w, in->text);
    check(!w.failed && w.used == letter->size);
    return letter;
}

void letter_read_keys(const struct letter *letter, struct letter_keys *out)
{
    check(letter->kind == LETTER_KEYS);
    struct reader r = reader_of(bytes_of(letter->payload, letter->size));
    out->use = read_u8(&r);
    out->is_there = read_u8(&r) != 0;
    out->url_hash = read_u64(&r);
    out->began_ms = read_u64(&r);
    out->text = read_sized(&r);
    check(!r.failed && r.left == 0);
}
