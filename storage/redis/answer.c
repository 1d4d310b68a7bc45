/* Words are separated by single spaces, as our own scripts write them. */
#include "storage/redis/answer.h"

#include "core/check.h"

/* Takes the next word of `text`, or nothing at its end. */
static struct bytes word_take(struct bytes *text)
{
    const uint8_t *space = text->size == 0 ? NULL : memchr(text->at, ' ', text->size);
    size_t size = space == NULL ? text->size : (size_t)(space - text->at);
    struct bytes word = bytes_of(text->at, size);
    size_t used = space == NULL ? size : size + 1;
    *text = bytes_of(used == 0 ? text->at : text->at + used, text->size - used);
    return word;
}

static bool number_take(struct bytes *text, uint64_t *number)
{
    return bytes_to_u64(word_take(text), number);
}

/* "<first><mark><second>" */
static bool pair_read(struct bytes text, char mark, struct bytes *first, uint64_t *second)
{
    const uint8_t *at = text.size == 0 ? NULL : memchr(text.at, mark, text.size);
    if (at == NULL) return false;
    *first = bytes_of(text.at, (size_t)(at - text.at));
    return bytes_to_u64(bytes_of(at + 1, text.size - first->size - 1), second);
}

static bool epoch_is_valid(struct bytes epoch)
{
    return epoch.size > 0 && epoch.size <= EPOCH_MAX - BIRTH_MAX &&
           memchr(epoch.at, 0, epoch.size) == NULL;
}

enum err birth_read(struct bytes text, char birth[BIRTH_MAX + 1])
{
    if (text.size > BIRTH_MAX || (text.size > 0 && text.at[0] != '-')) return ERR_STORE_CORRUPT;
    if (text.size > 0) memcpy(birth, text.at, text.size);
    birth[text.size] = 0;
    return ERR_OK;
}

void epoch_write(const struct position *position, const char *birth, char epoch[EPOCH_MAX + 1])
{
    struct writer writer = writer_of(epoch, EPOCH_MAX);
    write_text(&writer, position->epoch);
    write_text(&writer, birth);
    check(!writer.failed);
    epoch[writer.used] = 0;
}

enum cursor_mark announcement_mark(enum announcement_kind kind)
{
    if (kind == ANNOUNCEMENT_CURSOR) return CURSOR_READ;
    if (kind == ANNOUNCEMENT_DELIVERED) return CURSOR_DELIVERED;
    if (kind == ANNOUNCEMENT_UNREAD) return CURSOR_UNREAD;
    if (kind == ANNOUNCEMENT_HIDDEN) return CURSOR_HIDDEN;
    return kind == ANNOUNCEMENT_POLICY ? CURSOR_POLICY : CURSOR_MARKS;
}

enum err announcement_read(struct bytes message, struct announcement *announcement)
{
    *announcement = (struct announcement){0};
    const uint8_t *end = message.size == 0 ? NULL : memchr(message.at, '\n', message.size);
    if (end == NULL) return ERR_STORE_CORRUPT;
    struct bytes line = bytes_of(message.at, (size_t)(end - message.at));
    announcement->body = bytes_of(end + 1, message.size - line.size - 1);
    struct bytes kind = word_take(&line);
    if (kind.size != 1 || memchr("plmcduxsrhjg", kind.at[0], 12) == NULL) return ERR_STORE_CORRUPT;
    announcement->kind = (enum announcement_kind)kind.at[0];
    if (!number_take(&line, &announcement->number)) return ERR_STORE_CORRUPT;
    announcement->epoch = word_take(&line);
    if (!pair_read(word_take(&line), ':', &announcement->boot, &announcement->seq))
        return ERR_STORE_CORRUPT;
    bool has_revision =
        announcement->kind != ANNOUNCEMENT_PUBLICATION && !announcement_is_live(announcement);
    if (has_revision && !number_take(&line, &announcement->revision)) return ERR_STORE_CORRUPT;
    if (announcement->kind == ANNOUNCEMENT_PUBLICATION && announcement->number == 0)
        return ERR_STORE_CORRUPT;
    return ERR_OK;
}

enum err position_read(struct bytes text, struct position *position)
{
    struct bytes epoch = word_take(&text), lineage = word_take(&text);
    *position = (struct position){0};
    bool is_good = epoch_is_valid(epoch) && lineage.size > 0 && lineage.size <= LINEAGE_MAX &&
                   number_take(&text, &position->count) && number_take(&text, &position->sure);
    if (!is_good) return ERR_STORE_CORRUPT;
    memcpy(position->epoch, epoch.at, epoch.size);
    memcpy(position->lineage, lineage.at, lineage.size);
    return ERR_OK;
}

enum err read_answer_read(const struct reply *reply, struct read_answer *answer)
{
    *answer = (struct read_answer){0};
    char birth[BIRTH_MAX + 1];
    if (reply->type != REPLY_ARRAY || reply->count != 14) return ERR_STORE_CORRUPT;
    TRY(position_read(reply_text(reply->items[0]), &answer->position));
    TRY(birth_read(reply_text(reply->items[10]), birth));
    epoch_write(&answer->position, birth, answer->epoch);
    answer->entries = reply->items[4];
    answer->members = reply->items[5];
    answer->seals = reply->items[7];
    answer->are_members_lost =
        reply->items[8]->type == REPLY_INTEGER && reply->items[8]->integer == 1;
    answer->is_held = reply->items[9]->type == REPLY_INTEGER && reply->items[9]->integer == 1;
    bool is_good = bytes_to_u64(reply_text(reply->items[1]), &answer->head) &&
                   bytes_to_u64(reply_text(reply->items[2]), &answer->revision) &&
                   bytes_to_u64(reply_text(reply->items[3]), &answer->members_revision) &&
                   bytes_to_u64(reply_text(reply->items[6]), &answer->removed) &&
                   bytes_to_u64(reply_text(reply->items[11]), &answer->policy) &&
                   answer->entries->type == REPLY_ARRAY && answer->members->type == REPLY_ARRAY &&
                   bytes_to_u64(reply_text(reply->items[12]), &answer->first) &&
                   bytes_to_u64(reply_text(reply->items[13]), &answer->last) &&
                   answer->members->count % 2 == 0 && answer->seals->type == REPLY_ARRAY;
    return is_good ? ERR_OK : ERR_STORE_CORRUPT;
}

enum err stream_entry_read(const struct reply *reply, struct stream_entry *entry)
{
    *entry = (struct stream_entry){0};
    struct bytes id = reply_text(reply_item(reply, 0));
    const struct reply *fields = reply_item(reply, 1);
    struct bytes offset;
    if (!pair_read(id, '-', &offset, &entry->revision)) return ERR_STORE_CORRUPT;
    if (!bytes_to_u64(offset, &entry->offset)) return ERR_STORE_CORRUPT;
    if (fields == NULL || fields->type != REPLY_ARRAY || fields->count != 2)
        return ERR_STORE_CORRUPT;
    struct bytes name = reply_text(fields->items[0]);
    entry->is_members = bytes_equal_text(name, "m");
    if (!entry->is_members && !bytes_equal_text(name, "d")) return ERR_STORE_CORRUPT;
    if (!entry->is_members && entry->offset == 0) return ERR_STORE_CORRUPT;
    entry->body = reply_text(fields->items[1]);
    return ERR_OK;
}

enum err member_read(const struct reply *user, const struct reply *value,
                     struct store_member *member)
{
    struct bytes text = reply_text(value);
    *member = (struct store_member){.user = reply_text(user)};
    uint64_t hidden = 0;
    bool is_good = number_take(&text, &member->joined) && number_take(&text, &member->read);
    member->delivered = member->read;
    if (is_good && text.size > 0)
        is_good = number_take(&text, &member->delivered) &&
                  number_take(&text, &member->unread_from) && number_take(&text, &hidden);
    member->is_hidden = hidden != 0;
    is_good = is_good && text.size == 0 && member->joined > 0 && member->user.size > 0 &&
              member->user.size <= USER_ID_MAX;
    return is_good ? ERR_OK : ERR_STORE_CORRUPT;
}

static bool starts_number(struct bytes text)
{
    return text.size > 0 && text.at[0] >= '0' && text.at[0] <= '9';
}

enum err meta_read(struct bytes text, struct meta *meta)
{
    uint64_t members_revision, removed;
    *meta = (struct meta){0};
    bool is_good = number_take(&text, &meta->head) && number_take(&text, &meta->revision) &&
                   number_take(&text, &members_revision) &&
                   (!starts_number(text) || number_take(&text, &removed));
    meta->confirmed_head = meta->head;
    meta->confirmed_revision = meta->revision;
    if (is_good && starts_number(text))
        is_good = number_take(&text, &meta->confirmed_head) &&
                  number_take(&text, &meta->confirmed_revision);
    if (is_good && text.size > 0 && text.at[0] == 'p') (void)word_take(&text); /* lua/read.lua */
    if (is_good && text.size > 0 && text.at[0] == 'x') (void)word_take(&text);
    if (is_good && text.size > 0 && text.at[0] == '-')
        is_good = birth_read(word_take(&text), meta->birth) == ERR_OK;
    if (is_good && text.size > 0) is_good = word_take(&text).at[0] == '@';
    return is_good && text.size == 0 ? ERR_OK : ERR_STORE_CORRUPT;
}

enum err members_body_read(struct bytes body, uint64_t head, struct members_change *change)
{
    struct reader reader = reader_of(body);
    uint32_t mark = read_u32(&reader);
    if (reader.failed || (mark & 0xffffff) != 0xffffff)
        return members_change_read(body, MEMBERS_SET, head, change);
    struct bytes list = bytes_of(reader.at, reader.left);
    return members_change_read(list, (enum members_kind)(mark >> 24), head, change);
}
