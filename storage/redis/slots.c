/* One line for each server; words are separated by single spaces:
 *   <id> <host>:<port>@<bus>[,<name>…] <flags> <primary> <ping> <pong> <epoch> <link> <slot>… */
#include "storage/redis/slots.h"

#include "core/check.h"

/* CRC16/XMODEM: polynomial 0x1021, from 0.  Bitwise: a tag is a few bytes, and is
 * looked up once for each partition. */
static uint16_t crc16(struct bytes bytes)
{
    uint16_t crc = 0;
    for (size_t i = 0; i < bytes.size; i++) {
        crc ^= (uint16_t)(bytes.at[i] << 8);
        for (uint32_t bit = 0; bit < 8; bit++)
            crc = (uint16_t)(crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1);
    }
    return crc;
}

static const uint8_t *find(struct bytes bytes, char what)
{
    return bytes.size == 0 ? NULL : memchr(bytes.at, what, bytes.size);
}

/* What stands before `mark`; `text` goes on behind it.  Without one: all of it. */
static struct bytes take_until(struct bytes *text, char mark)
{
    const uint8_t *at = find(*text, mark);
    size_t size = at == NULL ? text->size : (size_t)(at - text->at);
    struct bytes taken = bytes_of(text->at, size);
    size_t used = at == NULL ? size : size + 1;
    if (text->size > 0) *text = bytes_of(text->at + used, text->size - used);
    return taken;
}

uint32_t slots_of(struct bytes key)
{
    const uint8_t *open = find(key, '{');
    if (open != NULL) {
        struct bytes rest = bytes_of(open + 1, key.size - (size_t)(open + 1 - key.at));
        const uint8_t *close = find(rest, '}');
        if (close != NULL && close > rest.at) key = bytes_of(rest.at, (size_t)(close - rest.at));
    }
    return crc16(key) % SLOTS_COUNT;
}

/* "<host>:<port>": the last colon counts, for a host may be full of them. */
static enum err endpoint_read(struct bytes text, const struct redis_place *asked,
                              struct redis_place *place)
{
    uint64_t port = 0;
    size_t at = text.size;
    while (at > 0 && text.at[at - 1] != ':') at--;
    if (at == 0) return ERR_STORE_CORRUPT;
    bool is_port = bytes_to_u64(bytes_of(text.at + at, text.size - at), &port);
    enum err err =
        is_port ? place_of(bytes_of(text.at, at - 1), port, asked, place) : ERR_BAD_REQUEST;
    return err == ERR_OK ? ERR_OK : ERR_STORE_CORRUPT;
}

static bool flags_have(struct bytes flags, const char *flag)
{
    while (flags.size > 0) {
        if (bytes_equal_text(take_until(&flags, ','), flag)) return true;
    }
    return false;
}

/* "<slot>" or "<first>-<last>"; "[…]" is a migration under way, which changes nothing yet. */
static enum err range_read(struct bytes word, uint8_t owner, struct slots_view *view)
{
    uint64_t first = 0, last = 0;
    if (word.size > 0 && word.at[0] == '[') return ERR_OK;
    bool is_range = find(word, '-') != NULL;
    bool is_good = bytes_to_u64(take_until(&word, '-'), &first);
    last = first;
    if (is_range) is_good = is_good && bytes_to_u64(word, &last);
    if (!is_good || first > last || last >= SLOTS_COUNT) return ERR_STORE_CORRUPT;
    for (uint64_t slot = first; slot <= last; slot++) {
        uint8_t other = view->owners[slot];
        bool is_newer =
            other == 0 || view->primaries[other - 1].epoch < view->primaries[owner - 1].epoch;
        if (is_newer) view->owners[slot] = owner;
    }
    return ERR_OK;
}

static enum err line_read(struct bytes line, const struct redis_place *asked,
                          struct slots_view *view)
{
    struct slots_primary primary = {0};
    take_until(&line, ' '); /* id */
    struct bytes address = take_until(&line, ' ');
    struct bytes endpoint = take_until(&address, '@');
    struct bytes flags = take_until(&line, ' ');
    for (uint32_t i = 0; i < 3; i++) take_until(&line, ' '); /* primary, ping, pong */
    struct bytes epoch = take_until(&line, ' ');
    take_until(&line, ' '); /* link */
    bool is_primary = flags_have(flags, "master") && !flags_have(flags, "noaddr");
    if (!is_primary || line.size == 0) return ERR_OK;
    TRY(endpoint_read(endpoint, asked, &primary.place));
    if (!bytes_to_u64(epoch, &primary.epoch)) return ERR_STORE_CORRUPT;
    if (view->primaries_count == SLOTS_PRIMARIES_MAX) return ERR_LIMIT_MEMORY;
    view->primaries[view->primaries_count++] = primary;
    while (line.size > 0)
        TRY(range_read(take_until(&line, ' '), (uint8_t)view->primaries_count, view));
    return ERR_OK;
}

enum err slots_view_read(struct bytes text, const struct redis_place *asked,
                         struct slots_view *view)
{
    *view = (struct slots_view){0};
    while (text.size > 0) {
        struct bytes line = take_until(&text, '\n');
        if (line.size > 0 && line.at[line.size - 1] == '\r') line.size--;
        if (line.size > 0) TRY(line_read(line, asked, view));
    }
    return ERR_OK;
}

const struct slots_primary *slots_view_owner(const struct slots_view *view, uint32_t slot)
{
    check(slot < SLOTS_COUNT);
    uint8_t owner = view->owners[slot];
    check(owner <= view->primaries_count);
    return owner == 0 ? NULL : &view->primaries[owner - 1];
}

static enum err redirection_read(const char *word, struct bytes text,
                                 const struct redis_place *asked, uint32_t *slot,
                                 struct redis_place *place)
{
    uint64_t number = 0;
    bool is_good = bytes_equal_text(take_until(&text, ' '), word) &&
                   bytes_to_u64(take_until(&text, ' '), &number) && number < SLOTS_COUNT;
    if (!is_good) return ERR_STORE_CORRUPT;
    *slot = (uint32_t)number;
    return endpoint_read(text, asked, place);
}

enum err slots_moved_read(struct bytes text, const struct redis_place *asked, uint32_t *slot,
                          struct redis_place *place)
{
    return redirection_read("MOVED", text, asked, slot, place);
}

enum err slots_ask_read(struct bytes text, const struct redis_place *asked, uint32_t *slot,
                        struct redis_place *place)
{
    return redirection_read("ASK", text, asked, slot, place);
}
