/*
 * crypt: OpenSSL's EVP for what must be right and fast, and the text forms by
 * hand: EVP's base64 reader skips white space and accepts stray bits, which
 * would give one token many spellings.
 */
#include "core/crypt.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "core/check.h"

static void digest(const EVP_MD *kind, struct bytes data, uint8_t *out, unsigned out_size)
{
    unsigned used = 0;
    int ok =
        EVP_Digest(data.size > 0 ? (const void *)data.at : "", data.size, out, &used, kind, NULL);
    check(ok == 1);
    check(used == out_size);
}

void crypt_sha1(struct bytes data, uint8_t out[20])
{
    digest(EVP_sha1(), data, out, 20);
}

void crypt_sha256(struct bytes data, uint8_t out[32])
{
    digest(EVP_sha256(), data, out, 32);
}

void crypt_hmac_sha256(struct bytes key, struct bytes data, uint8_t mac[32])
{
    check(key.size <= INT32_MAX);
    unsigned used = 0;
    /* A NULL key would mean "the key of the call before". */
    const void *key_at = key.size > 0 ? (const void *)key.at : "";
    const uint8_t *data_at = data.size > 0 ? data.at : (const uint8_t *)"";
    uint8_t *done = HMAC(EVP_sha256(), key_at, (int)key.size, data_at, data.size, mac, &used);
    check(done == mac);
    check(used == 32);
}

bool crypt_equal(struct bytes a, struct bytes b)
{
    if (a.size != b.size) return false;
    return a.size == 0 || CRYPTO_memcmp(a.at, b.at, a.size) == 0;
}

void crypt_wipe(void *at, size_t size)
{
    if (size > 0) OPENSSL_cleanse(at, size);
}

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char alphabet_url[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static size_t encode(struct bytes data, const char *letters, bool is_padded, char *text,
                     size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < data.size; i += 3) {
        size_t left = data.size - i;
        uint32_t bits = (uint32_t)data.at[i] << 16;
        if (left > 1) bits |= (uint32_t)data.at[i + 1] << 8;
        if (left > 2) bits |= data.at[i + 2];
        size_t count = left > 2 ? 4 : left + 1;
        check(used + (is_padded ? 4 : count) <= size);
        for (size_t k = 0; k < count; k++) text[used++] = letters[(bits >> (18 - 6 * k)) & 63];
        while (is_padded && used % 4 != 0) text[used++] = '=';
    }
    return used;
}

size_t crypt_base64(struct bytes data, char *text, size_t size)
{
    return encode(data, alphabet, true, text, size);
}

size_t crypt_base64url(struct bytes data, char *text, size_t size)
{
    return encode(data, alphabet_url, false, text, size);
}

/* The value of a letter, or -1.  Constant work is not needed: what is decoded
 * here (signatures, claims) is public. */
static int letter_value(uint8_t letter, bool url)
{
    if (letter >= 'A' && letter <= 'Z') return letter - 'A';
    if (letter >= 'a' && letter <= 'z') return letter - 'a' + 26;
    if (letter >= '0' && letter <= '9') return letter - '0' + 52;
    if (letter == (url ? '-' : '+')) return 62;
    if (letter == (url ? '_' : '/')) return 63;
    return -1;
}

enum err crypt_base64_decode(struct bytes text, bool url, uint8_t *out, size_t out_size,
                             size_t *out_used)
{
    check(out_used != NULL);
    size_t letters = text.size;
    if (!url) {
        if (letters % 4 != 0) return ERR_BAD_REQUEST;
        if (letters > 0 && text.at[letters - 1] == '=') letters--;
        if (letters > 0 && text.at[letters - 1] == '=' && letters % 4 == 3) letters--;
    }
    if (letters % 4 == 1) return ERR_BAD_REQUEST;
    size_t needed = letters / 4 * 3 + (letters % 4 == 0 ? 0 : letters % 4 - 1);
    if (needed > out_size) return ERR_LIMIT_SIZE;

    uint32_t bits = 0;
    size_t used = 0;
    for (size_t i = 0; i < letters; i++) {
        int value = letter_value(text.at[i], url);
        if (value < 0) return ERR_BAD_REQUEST;
        bits = bits << 6 | (uint32_t)value;
        /* After letters 2, 3 and 4 of a group another byte is whole. */
        if (i % 4 > 0) out[used++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
    }
    /* Bits behind the last byte must be zero, or two texts would say the same. */
    if (letters % 4 == 2 && (bits & 15) != 0) return ERR_BAD_REQUEST;
    if (letters % 4 == 3 && (bits & 3) != 0) return ERR_BAD_REQUEST;
    check(used == needed);
    *out_used = used;
    return ERR_OK;
}

void crypt_hex(struct bytes data, char *text)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < data.size; i++) {
        text[2 * i] = digits[data.at[i] >> 4];
        text[2 * i + 1] = digits[data.at[i] & 15];
    }
    text[2 * data.size] = 0;
}

bool crypt_hex_decode(struct bytes text, uint8_t *out, size_t size)
{
    if (text.size != 2 * size) return false;
    for (size_t i = 0; i < size; i++) {
        uint8_t high, low;
        if (!bytes_hex_digit(text.at[2 * i], &high) || !bytes_hex_digit(text.at[2 * i + 1], &low))
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}
