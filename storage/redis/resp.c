/* The one file that includes hiredis.  Its reader hands us pieces through
 * callbacks; we lay them out in an arena, which costs 20-140 ns a reply where
 * its own objects cost 50-420, and frees in one step. */
#include "storage/redis/resp.h"

#include <hiredis/read.h>

#include "core/arena.h"
#include "core/check.h"
#include "core/mem.h"

/* A buffer that grew past this by one big answer is given back. */
#define OUT_KEEP (256u << 10)

/* --- commands ---------------------------------------------------------------------------- */

static uint8_t *out_room(struct resp_out *out, size_t size)
{
    if (out->used + size > out->size) {
        size_t grown = out->size == 0 ? 4096 : out->size * 2;
        while (grown < out->used + size) grown *= 2;
        out->at = mem_resize(out->at, grown);
        out->size = grown;
    }
    return out->at + out->used;
}

static void out_head(struct resp_out *out, char kind, uint64_t number)
{
    char digits[24];
    size_t at = sizeof digits;
    digits[--at] = '\n';
    digits[--at] = '\r';
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    digits[--at] = kind;
    size_t size = sizeof digits - at;
    memcpy(out_room(out, size), digits + at, size);
    out->used += size;
}

static void out_raw(struct resp_out *out, struct bytes bytes)
{
    if (bytes.size == 0) return;
    memcpy(out_room(out, bytes.size), bytes.at, bytes.size);
    out->used += bytes.size;
}

uint8_t *resp_extend(struct resp_out *out, size_t size)
{
    uint8_t *at = out_room(out, size);
    out->used += size;
    return at;
}

void resp_begin(struct resp_out *out, uint32_t count)
{
    check(count > 0);
    out_head(out, '*', count);
}

void resp_pair(struct resp_out *out, struct bytes first, struct bytes second)
{
    out_head(out, '$', first.size + second.size);
    out_raw(out, first);
    out_raw(out, second);
    out_raw(out, BYTES_LITERAL("\r\n"));
}

void resp_bytes(struct resp_out *out, struct bytes word)
{
    resp_pair(out, word, BYTES_NONE);
}

void resp_text(struct resp_out *out, const char *word)
{
    resp_bytes(out, bytes_of_text(word));
}

void resp_number(struct resp_out *out, uint64_t number)
{
    uint8_t digits[20];
    struct writer writer = writer_of(digits, sizeof digits);
    write_decimal(&writer, number);
    check(!writer.failed);
    resp_bytes(out, writer_bytes(&writer));
}

void resp_clear(struct resp_out *out)
{
    out->used = 0;
    if (out->size > OUT_KEEP) resp_fini(out);
}

void resp_fini(struct resp_out *out)
{
    mem_free(out->at);
    *out = (struct resp_out){0};
}

/* --- replies ----------------------------------------------------------------------------- */

struct resp_in {
    redisReader *reader;
    struct arena arena; /* the reply being built, or the one handed out */
    bool is_handed_out;
};

static struct reply *in_new(const redisReadTask *task, enum reply_type type)
{
    struct resp_in *in = task->privdata;
    struct reply *reply = arena_get(&in->arena, sizeof *reply);
    *reply = (struct reply){.type = type};
    if (task->parent != NULL) {
        struct reply *parent = task->parent->obj;
        check(parent->type == REPLY_ARRAY && task->idx >= 0 && (uint32_t)task->idx < parent->count);
        parent->items[task->idx] = reply;
    }
    return reply;
}

static void *in_string(const redisReadTask *task, char *text, size_t size)
{
    struct resp_in *in = task->privdata;
    struct reply *reply = in_new(task, task->type == REDIS_REPLY_ERROR    ? REPLY_ERROR
                                       : task->type == REDIS_REPLY_STATUS ? REPLY_STATUS
                                                                          : REPLY_TEXT);
    reply->text = arena_copy(&in->arena, bytes_of(text, size));
    return reply;
}

static void *in_array(const redisReadTask *task, int count)
{
    struct resp_in *in = task->privdata;
    /* The count comes before the items, so a lie must not cost memory without end. */
    if (count < 0 || (uint32_t)count > REPLY_ITEMS_MAX) return NULL;
    struct reply *reply = in_new(task, REPLY_ARRAY);
    reply->count = (uint32_t)count;
    if (count > 0) reply->items = arena_get(&in->arena, (size_t)count * sizeof *reply->items);
    return reply;
}

static void *in_integer(const redisReadTask *task, long long value)
{
    struct reply *reply = in_new(task, REPLY_INTEGER);
    reply->integer = value;
    return reply;
}

static void *in_nil(const redisReadTask *task)
{
    return in_new(task, REPLY_NIL);
}

/* Everything lives in the arena. */
static void in_free(void *reply)
{
    (void)reply;
}

static redisReplyObjectFunctions in_functions = {
    .createString = in_string,
    .createArray = in_array,
    .createInteger = in_integer,
    .createNil = in_nil,
    .freeObject = in_free,
};

static void in_open(struct resp_in *in)
{
    in->reader = redisReaderCreateWithFunctions(&in_functions);
    check(in->reader != NULL);
    in->reader->privdata = in;
}

struct resp_in *resp_in_create(void)
{
    struct resp_in *in = mem_alloc(sizeof *in);
    arena_init(&in->arena, 64u << 10);
    in_open(in);
    return in;
}

void resp_in_destroy(struct resp_in *in)
{
    if (in == NULL) return;
    redisReaderFree(in->reader);
    arena_fini(&in->arena);
    mem_free(in);
}

void resp_in_reset(struct resp_in *in)
{
    redisReaderFree(in->reader);
    arena_reset(&in->arena);
    in->is_handed_out = false;
    in_open(in);
}

enum err resp_feed(struct resp_in *in, const void *data, size_t size)
{
    return redisReaderFeed(in->reader, data, size) == REDIS_OK ? ERR_OK : ERR_BAD_REQUEST;
}

enum err resp_next(struct resp_in *in, const struct reply **reply)
{
    *reply = NULL;
    if (in->is_handed_out) {
        arena_reset(&in->arena);
        in->is_handed_out = false;
    }
    void *whole = NULL;
    if (redisReaderGetReply(in->reader, &whole) != REDIS_OK) return ERR_BAD_REQUEST;
    if (whole == NULL) return ERR_OK;
    in->is_handed_out = true;
    *reply = whole;
    return ERR_OK;
}

bool reply_is_error(const struct reply *reply, const char *word)
{
    if (reply == NULL || reply->type != REPLY_ERROR) return false;
    size_t size = strlen(word);
    return reply->text.size >= size && memcmp(reply->text.at, word, size) == 0 &&
           (reply->text.size == size || reply->text.at[size] == ' ');
}
