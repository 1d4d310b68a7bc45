/*
 * codec: the wires, and ids as text.
 */
#include "proto/codec.h"

#include "core/check.h"
#include "proto/codec_json.h"
#include "proto/codec_pb.h"

const struct codec *codec_of(enum wire wire)
{
    check(wire < WIRE_COUNT);
    return wire == WIRE_JSON ? &codec_json : &codec_pb;
}

static bool is_any_opaque(const struct wire_publication *publications, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (publications[i].is_opaque) return true;
    return false;
}

static bool is_subscribe_opaque(const struct reply_subscribe *subscribe)
{
    return is_any_opaque(subscribe->publications, subscribe->publications_count);
}

bool reply_is_opaque(const struct reply *reply)
{
    if (reply->error_code != 0) return false;
    if (reply->kind == CMD_SUBSCRIBE) return is_subscribe_opaque(&reply->subscribe);
    if (reply->kind == CMD_HISTORY)
        return is_any_opaque(reply->history.publications, reply->history.publications_count);
    if (reply->kind != CMD_CONNECT) return false;
    for (uint32_t i = 0; i < reply->connect.subs_count; i++)
        if (is_subscribe_opaque(&reply->connect.subs[i].subscribe)) return true;
    return false;
}

/* RFC 4122 section 3: 8-4-4-4-12 digits. */
static bool is_dash(uint32_t at)
{
    return at == 8 || at == 13 || at == 18 || at == 23;
}

/* Without a branch a digit: each recovered publication names its publisher. */
void codec_uuid(const uint8_t id[16], char text[37])
{
    static const char digits[] = "0123456789abcdef";
    static const uint8_t places[16] = {0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34};
    for (uint32_t i = 0; i < 16; i++) {
        text[places[i]] = digits[id[i] >> 4];
        text[places[i] + 1] = digits[id[i] & 15];
    }
    text[8] = text[13] = text[18] = text[23] = '-';
    text[36] = '\0';
}

enum err codec_uuid_parse(struct bytes text, uint8_t id[16])
{
    if (text.size != 36) return ERR_BAD_REQUEST;
    uint32_t nibbles = 0;
    for (uint32_t i = 0; i < 36; i++) {
        uint8_t value;
        if (is_dash(i)) {
            if (text.at[i] != '-') return ERR_BAD_REQUEST;
            continue;
        }
        if (!bytes_hex_digit(text.at[i], &value)) return ERR_BAD_REQUEST;
        if (nibbles % 2 == 0)
            id[nibbles / 2] = (uint8_t)(value << 4);
        else
            id[nibbles / 2] |= value;
        nibbles++;
    }
    check(nibbles == 32);
    return ERR_OK;
}
