/*
 * fuzz_resp: whatever a server sends, through the reader of replies and every
 * parser of answers and announcements behind it.
 *
 * The bytes are fed twice, whole and in two pieces; the replies must be the same.
 */
#include "core/check.h"
#include "core/hash.h"
#include "core/mem.h"
#include "storage/redis/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t digest;

static void digest_add(const void *at, size_t size)
{
    digest = hash_crc32c(digest, at, size);
}

static void try_text(struct bytes text)
{
    struct announcement announcement;
    struct position position;
    struct meta meta;
    if (announcement_read(text, &announcement) == ERR_OK) {
        check(announcement.body.size < text.size);
        struct members_change change;
        if (members_body_read(announcement.body, 1, &change) == ERR_OK) {
            check(change.count <= announcement.body.size / 5 + 1);
            members_change_fini(&change);
        }
    }
    if (position_read(text, &position) == ERR_OK) check(position.epoch[0] != 0);
    if (meta_read(text, &meta) == ERR_OK) {
        digest_add(&meta.head, sizeof meta.head);
        digest_add(&meta.confirmed_head, sizeof meta.confirmed_head);
        digest_add(meta.birth, strlen(meta.birth));
    }
}

/* Touches every byte and tries every parser. */
static void walk(const struct reply *reply, uint32_t depth)
{
    struct read_answer answer;
    struct stream_entry entry;
    struct store_member member;
    check(depth < 10);
    digest_add(&reply->type, sizeof reply->type);
    if (reply->type == REPLY_INTEGER) digest_add(&reply->integer, sizeof reply->integer);
    if (reply->text.size > 0) digest_add(reply->text.at, reply->text.size);
    if (reply_text(reply).size > 0) try_text(reply_text(reply));
    if (read_answer_read(reply, &answer) == ERR_OK) check(strlen(answer.epoch) > 0);
    if (stream_entry_read(reply, &entry) == ERR_OK) check(entry.is_members || entry.offset > 0);
    if (reply->type != REPLY_ARRAY) return;
    for (uint32_t i = 0; i < reply->count; i++) {
        walk(reply_item(reply, i), depth + 1);
        if (i > 0 && member_read(reply_item(reply, i - 1), reply_item(reply, i), &member) == ERR_OK)
            digest_add(&member.read, sizeof member.read);
    }
}

/* Returns false when the bytes break the protocol. */
static bool read_all(struct resp_in *in)
{
    for (;;) {
        const struct reply *reply;
        if (resp_next(in, &reply) != ERR_OK) return false;
        if (reply == NULL) return true;
        walk(reply, 0);
    }
}

static uint32_t feed(const uint8_t *data, size_t size, size_t split)
{
    struct resp_in *in = resp_in_create();
    digest = 0;
    bool is_good = resp_feed(in, data, split) == ERR_OK && read_all(in) &&
                   resp_feed(in, data + split, size - split) == ERR_OK && read_all(in);
    digest_add(&is_good, sizeof is_good);
    resp_in_destroy(in);
    return digest;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint32_t whole = feed(data, size, size);
    check(feed(data, size, size / 2) == whole);
    return 0;
}
