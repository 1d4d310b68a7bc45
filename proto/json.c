/*
 * json: one pass over a command, every byte looked at once.
 *
 * Why by hand: a command's payload must come out as the bytes that went in (a
 * library rebuilds numbers and order), nothing may be allocated for it, and
 * what is skipped must still be validated, because it is passed on to others.
 *
 * Invariants: start <= at <= end; once `error` is set `at` stands still and every
 * call gives nothing.  Values that only pass through are walked by a loop with
 * one bit per open level, so depth costs no stack.
 *
 * A lone surrogate escape ("\ud800") is grammatical JSON and JavaScript sends
 * it for a cut emoji, so it passes through; only where a string is unescaped it
 * becomes U+FFFD.
 */
#include "proto/json.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "core/check.h"
#include "core/limits.h"
#include "core/utf8.h"
#include "proto/json_parts.h"

static_assert(JSON_DEPTH_MAX <= 64, "open levels are bits of a word");

#if !defined(__SSE2__)
#define ONES  0x0101010101010101u
#define HIGHS 0x8080808080808080u
#endif

static void fail(struct json *json, enum err err)
{
    check(err != ERR_OK);
    if (json->error == ERR_OK) json->error = err;
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static void skip_space(struct json *json)
{
    while (json->at < json->end && is_space(*json->at)) json->at++;
}

/* The next byte after whitespace, not taken; 0 at the end, which begins nothing. */
static uint8_t next_byte(struct json *json)
{
    if (likely(json->at<json->end && * json->at> ' ')) return *json->at;
    skip_space(json);
    return json->at < json->end ? *json->at : 0;
}

void json_open(struct json *json, struct bytes text)
{
    check(text.size == 0 || text.at != NULL);
    *json = (struct json){.at = text.at, .end = text.at, .is_first = true};
    if (text.size > 0) json->end = text.at + text.size;
    /* Once for the whole text: beyond ASCII only strings may go, and they pass
     * through a scan that then need not look at each character. */
    if (!utf8_is_valid(text)) fail(json, ERR_BAD_UTF8);
}

enum err json_close(struct json *json)
{
    if (json->error != ERR_OK) return json->error;
    skip_space(json);
    if (json->at != json->end || json->depth != 0 || json->is_first) fail(json, ERR_BAD_JSON);
    return json->error;
}

enum json_kind json_peek(struct json *json)
{
    if (json->error != ERR_OK) return JSON_NONE;
    switch (next_byte(json)) {
    case '{': return JSON_OBJECT;
    case '[': return JSON_ARRAY;
    case '"': return JSON_TEXT;
    case 't': return JSON_TRUE;
    case 'f': return JSON_FALSE;
    case 'n': return JSON_NULL;
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9': return JSON_NUMBER;
    default: return JSON_NONE;
    }
}

/* A byte that ends plain text: a quote, a backslash or a control.  Bytes beyond ASCII are
 * plain, because json_open judged them. */
static bool is_plain(uint8_t c)
{
    return c >= 0x20 && c != '"' && c != '\\';
}

/* Leading plain bytes of at[left].  Sixteen a step where every machine of the architecture
 * can; else eight, by the usual zero-byte trick, three times. */
static size_t plain_size(const uint8_t *at, size_t left)
{
    size_t size = 0;
#if defined(__SSE2__)
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    const __m128i control = _mm_set1_epi8(0x1f);
    for (; left - size >= 16; size += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(at + size));
        __m128i ends = _mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, slash));
        /* The lesser of the two is the byte itself: it is a control. */
        ends = _mm_or_si128(ends, _mm_cmpeq_epi8(_mm_min_epu8(bytes, control), bytes));
        uint32_t hits = (uint32_t)_mm_movemask_epi8(ends);
        if (hits != 0) return size + (uint32_t)__builtin_ctz(hits);
    }
#else
    for (uint64_t word; left - size >= sizeof word; size += sizeof word) {
        memcpy(&word, at + size, sizeof word);
        uint64_t quote = word ^ (ONES * '"'), slash = word ^ (ONES * '\\');
        uint64_t hits =
            ((word - ONES * 0x20) & ~word) | ((quote - ONES) & ~quote) | ((slash - ONES) & ~slash);
        if ((hits & HIGHS) != 0) break;
    }
#endif
    while (size < left && is_plain(at[size])) size++;
    return size;
}

static bool is_hex(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* `at` is a backslash inside a string. */
static bool scan_escape(struct json *json)
{
    size_t left = (size_t)(json->end - json->at);
    if (left < 2) return false;
    if (json->at[1] != 'u') {
        if (json->at[1] == 0 || strchr("\"\\/bfnrt", json->at[1]) == NULL) return false;
        json->at += 2;
        return true;
    }
    if (left < 6) return false;
    for (uint32_t i = 2; i < 6; i++) {
        if (!is_hex(json->at[i])) return false;
    }
    json->at += 6;
    return true;
}

/* `at` is an opening quote.  Gives what is between the quotes, as it stands. */
static bool scan_string(struct json *json, struct bytes *inside, bool *has_escapes)
{
    check(json->at < json->end && *json->at == '"');
    const uint8_t *start = ++json->at;
    *has_escapes = false;
    while (json->at < json->end) {
        json->at += plain_size(json->at, (size_t)(json->end - json->at));
        if (json->at == json->end) break;
        uint8_t c = *json->at;
        if (c == '"') {
            *inside = bytes_of(start, (size_t)(json->at - start));
            json->at++;
            return true;
        }
        if (c != '\\') break;
        *has_escapes = true;
        if (!scan_escape(json)) break;
    }
    fail(json, ERR_BAD_JSON);
    return false;
}

static bool scan_digits(struct json *json)
{
    const uint8_t *start = json->at;
    while (json->at < json->end && *json->at >= '0' && *json->at <= '9') json->at++;
    return json->at > start;
}

/* RFC 8259 section 6; any number of digits, because numbers pass through. */
static bool scan_number(struct json *json)
{
    if (json->at < json->end && *json->at == '-') json->at++;
    const uint8_t *whole = json->at;
    bool good = scan_digits(json) && (*whole != '0' || json->at - whole == 1);
    if (good && json->at < json->end && *json->at == '.') {
        json->at++;
        good = scan_digits(json);
    }
    if (good && json->at < json->end && (*json->at == 'e' || *json->at == 'E')) {
        json->at++;
        if (json->at < json->end && (*json->at == '+' || *json->at == '-')) json->at++;
        good = scan_digits(json);
    }
    if (!good) fail(json, ERR_BAD_JSON);
    return good;
}

static bool scan_word(struct json *json, const char *word)
{
    size_t size = strlen(word);
    if ((size_t)(json->end - json->at) < size || memcmp(json->at, word, size) != 0) {
        fail(json, ERR_BAD_JSON);
        return false;
    }
    json->at += size;
    return true;
}

static bool scan_scalar(struct json *json, enum json_kind kind)
{
    struct bytes inside;
    bool has_escapes;
    switch (kind) {
    case JSON_TEXT: return scan_string(json, &inside, &has_escapes);
    case JSON_NUMBER: return scan_number(json);
    case JSON_TRUE: return scan_word(json, "true");
    case JSON_FALSE: return scan_word(json, "false");
    case JSON_NULL: return scan_word(json, "null");
    default: fail(json, ERR_BAD_JSON); return false;
    }
}

/* A key and its colon. */
static bool scan_key(struct json *json, struct bytes *key)
{
    bool has_escapes;
    if (next_byte(json) != '"') {
        fail(json, ERR_BAD_JSON);
        return false;
    }
    if (!scan_string(json, key, &has_escapes)) return false;
    if (next_byte(json) != ':') {
        fail(json, ERR_BAD_JSON);
        return false;
    }
    json->at++;
    return true;
}

/* `at` is an opening brace or bracket. */
static bool enter(struct json *json)
{
    if (json->depth == JSON_DEPTH_MAX) {
        fail(json, ERR_TOO_DEEP);
        return false;
    }
    json->at++;
    json->depth++;
    json->is_first = true;
    return true;
}

/* `at` is the closing one. */
static void leave(struct json *json)
{
    check(json->depth > 0);
    json->at++;
    json->depth--;
    json->is_first = false;
}

/* Before a member or element: true with the comma taken where one is due, false
 * after the closing byte or a failure. */
static bool advance(struct json *json, uint8_t closing)
{
    if (json->error != ERR_OK) return false;
    uint8_t c = next_byte(json);
    if (c == closing) {
        leave(json);
        return false;
    }
    if (json->is_first) {
        json->is_first = false;
        return true;
    }
    if (c != ',') {
        fail(json, ERR_BAD_JSON);
        return false;
    }
    json->at++;
    return true;
}

bool json_enter_object(struct json *json)
{
    if (json_peek(json) != JSON_OBJECT) {
        fail(json, ERR_BAD_JSON);
        return false;
    }
    return enter(json);
}

bool json_key(struct json *json, struct bytes *key)
{
    *key = BYTES_NONE;
    return advance(json, '}') && scan_key(json, key);
}

bool json_key_text(struct json *json, struct arena *arena, struct bytes *key)
{
    if (!json_key(json, key)) return false;
    if (key->size > 0 && memchr(key->at, '\\', key->size) != NULL)
        *key = json_unescape(*key, arena);
    return true;
}

bool json_enter_array(struct json *json)
{
    if (json_peek(json) != JSON_ARRAY) {
        fail(json, ERR_BAD_JSON);
        return false;
    }
    return enter(json);
}

bool json_element(struct json *json)
{
    if (!advance(json, ']')) return false;
    /* "[1,]": what follows the comma must begin a value. */
    if (json_peek(json) == JSON_NONE) {
        fail(json, ERR_BAD_JSON);
        return false;
    }
    return true;
}

/* Walks one value.  `objects` holds a bit per level opened here, the innermost
 * lowest, set for an object. */
static void walk(struct json *json)
{
    uint32_t base = json->depth;
    uint64_t objects = 0;
    do {
        enum json_kind kind = json_peek(json);
        if (kind == JSON_OBJECT || kind == JSON_ARRAY) {
            if (!enter(json)) return;
            objects = objects << 1 | (kind == JSON_OBJECT);
        } else if (!scan_scalar(json, kind)) {
            return;
        }
        struct bytes key;
        while (json->depth > base) {
            bool is_object = objects & 1;
            if (is_object ? json_key(json, &key) : json_element(json)) break;
            if (json->error != ERR_OK) return;
            objects >>= 1;
        }
    } while (json->depth > base);
    json->is_first = false;
}

void json_skip(struct json *json)
{
    if (json->error == ERR_OK) walk(json);
}

void json_raw(struct json *json, struct bytes *raw)
{
    *raw = BYTES_NONE;
    if (json->error != ERR_OK) return;
    skip_space(json);
    const uint8_t *start = json->at;
    walk(json);
    if (json->error == ERR_OK) *raw = bytes_of(start, (size_t)(json->at - start));
}

bool json_is_valid(struct bytes text)
{
    struct json json;
    json_open(&json, text);
    json_skip(&json);
    return json_close(&json) == ERR_OK;
}

/* Takes a null where a value is optional. */
static bool take_null(struct json *json)
{
    if (json_peek(json) != JSON_NULL) return false;
    json->is_first = false;
    (void)scan_word(json, "null");
    return true;
}

void json_text(struct json *json, struct arena *arena, struct bytes *text)
{
    *text = BYTES_NONE;
    if (take_null(json)) return;
    if (json_peek(json) != JSON_TEXT) {
        fail(json, ERR_BAD_JSON);
        return;
    }
    struct bytes inside;
    bool has_escapes;
    json->is_first = false;
    if (!scan_string(json, &inside, &has_escapes)) return;
    *text = has_escapes ? json_unescape(inside, arena) : inside;
}

/* Digits only, no fraction or exponent, at most UINT64_MAX. */
static bool take_magnitude(struct json *json, uint64_t *value)
{
    const uint8_t *digits = json->at;
    if (!scan_number(json)) return false;
    *value = 0;
    for (const uint8_t *at = digits; at < json->at; at++) {
        uint32_t digit = (uint32_t)*at - '0';
        if (digit > 9 || __builtin_mul_overflow(*value, 10u, value) ||
            __builtin_add_overflow(*value, digit, value)) {
            fail(json, ERR_BAD_JSON);
            return false;
        }
    }
    return true;
}

void json_u64(struct json *json, uint64_t *value)
{
    *value = 0;
    if (take_null(json)) return;
    if (json_peek(json) != JSON_NUMBER || *json->at == '-') {
        fail(json, ERR_BAD_JSON);
        return;
    }
    json->is_first = false;
    uint64_t magnitude;
    if (take_magnitude(json, &magnitude)) *value = magnitude;
}

void json_u64s(struct json *json, uint64_t *values, uint32_t most, uint32_t *count)
{
    *count = 0;
    if (!json_enter_array(json)) return;
    for (uint64_t value = 0; json_element(json); (*count)++) {
        json_u64(json, &value);
        if (*count < most) values[*count] = value;
    }
}

void json_u32(struct json *json, uint32_t *value)
{
    uint64_t wide;
    json_u64(json, &wide);
    if (wide > UINT32_MAX) fail(json, ERR_BAD_JSON);
    *value = json->error == ERR_OK ? (uint32_t)wide : 0;
}

void json_i64(struct json *json, int64_t *value)
{
    *value = 0;
    if (take_null(json)) return;
    if (json_peek(json) != JSON_NUMBER) {
        fail(json, ERR_BAD_JSON);
        return;
    }
    json->is_first = false;
    bool is_negative = *json->at == '-';
    if (is_negative) json->at++;
    uint64_t magnitude;
    if (json->at == json->end || *json->at == '-') {
        fail(json, ERR_BAD_JSON);
    } else if (take_magnitude(json, &magnitude)) {
        if (magnitude > (uint64_t)INT64_MAX + is_negative)
            fail(json, ERR_BAD_JSON);
        else
            *value = (int64_t)(is_negative ? 0 - magnitude : magnitude);
    }
}

void json_bool(struct json *json, bool *value)
{
    *value = false;
    if (take_null(json)) return;
    enum json_kind kind = json_peek(json);
    if (kind != JSON_TRUE && kind != JSON_FALSE) {
        fail(json, ERR_BAD_JSON);
        return;
    }
    json->is_first = false;
    if (scan_scalar(json, kind)) *value = kind == JSON_TRUE;
}
