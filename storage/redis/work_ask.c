/* Every ask is one command for one partition; what it says is written when a link
 * is ready for it, and its answer goes into struct work. */
#include <stdio.h>

#include "core/check.h"
#include "core/mem.h"
#include "storage/redis/work_parts.h"

#define DEAD_KEPT_MS         (30ull * 86400000)
#define CONSUMER_VANISHES_MS 86400000ull

static const uint8_t script_text_work[] = {
#include "storage/redis/lua/work.lua.inc"
};

struct ask {
    struct link_call call;
    struct work *work;
    enum ask_kind kind;
    uint32_t partition;
    uint32_t count;     /* READ: at most; ACK, HOLD: so many entries of `handed` … */
    struct list *first; /* … from this one on */
};

static struct bytes topic_key(const struct work *work, char *key, uint32_t partition)
{
    return redis_key(work->redis, key, partition, work->options.topic, BYTES_NONE);
}

/* --- asking ---------------------------------------------------------------------------------- */

static void write_ids(struct work *work, const struct ask *ask, struct resp_out *out)
{
    struct list *node = ask->first;
    for (uint32_t i = 0; i < ask->count; i++, node = node->next) {
        check(node != &work->handed);
        resp_bytes(out, container_of(node, struct work_entry, link)->id);
    }
}

static void write_script(struct work *work, const struct ask *ask, const char *mode, uint32_t more,
                         struct resp_out *out)
{
    char key[REDIS_KEY_MAX];
    struct bytes stream = topic_key(work, key, ask->partition);
    resp_begin(out, 8 + more);
    resp_text(out, "EVAL");
    resp_bytes(out, bytes_of(script_text_work, sizeof script_text_work));
    resp_text(out, "2");
    resp_bytes(out, stream);
    resp_pair(out, stream, BYTES_LITERAL(":dead"));
    resp_text(out, mode);
    resp_text(out, work->options.group);
    resp_text(out, work->options.consumer);
}

static void write_read(struct work *work, const struct ask *ask, struct bytes stream,
                       struct resp_out *out)
{
    resp_begin(out, 9);
    resp_text(out, "XREADGROUP");
    resp_text(out, "GROUP");
    resp_text(out, work->options.group);
    resp_text(out, work->options.consumer);
    resp_text(out, "COUNT");
    resp_number(out, ask->count);
    resp_text(out, "STREAMS");
    resp_bytes(out, stream);
    resp_text(out, ">");
}

/* A group that is new begins with everything that is kept. */
static void write_create(struct work *work, struct bytes stream, struct resp_out *out)
{
    resp_begin(out, 6);
    resp_text(out, "XGROUP");
    resp_text(out, "CREATE");
    resp_bytes(out, stream);
    resp_text(out, work->options.group);
    resp_text(out, "0");
    resp_text(out, "MKSTREAM");
}

/* To ourselves, whose they are: nothing changes but the time since. */
static void write_hold(struct work *work, const struct ask *ask, struct bytes stream,
                       struct resp_out *out)
{
    resp_begin(out, 6 + ask->count);
    resp_text(out, "XCLAIM");
    resp_bytes(out, stream);
    resp_text(out, work->options.group);
    resp_text(out, work->options.consumer);
    resp_text(out, "0");
    write_ids(work, ask, out);
    resp_text(out, "JUSTID");
}

static void ask_write(struct link_call *call, struct link *link, struct resp_out *out)
{
    (void)link;
    struct ask *ask = container_of(call, struct ask, call);
    struct work *work = ask->work;
    char key[REDIS_KEY_MAX];
    struct bytes stream = topic_key(work, key, ask->partition);
    switch (ask->kind) {
    case ASK_READ: write_read(work, ask, stream, out); return;
    case ASK_CREATE: write_create(work, stream, out); return;
    case ASK_HOLD: write_hold(work, ask, stream, out); return;
    case ASK_ACK:
        resp_begin(out, 3 + ask->count);
        resp_text(out, "XACK");
        resp_bytes(out, stream);
        resp_text(out, work->options.group);
        write_ids(work, ask, out);
        return;
    case ASK_CLAIM:
        write_script(work, ask, "claim", 5, out);
        resp_number(out, work->options.idle_ms);
        resp_number(out, work->options.deliveries_max);
        resp_number(out, WORK_STRIDE);
        resp_number(out, DEAD_KEPT_MS);
        resp_number(out, CONSUMER_VANISHES_MS);
        return;
    case ASK_LEAVE: write_script(work, ask, "leave", 0, out); return;
    }
    impossible("every kind has its command");
}

/* --- answers --------------------------------------------------------------------------------- */

/* A copy with everything it says; NULL when it is none. */
static struct work_entry *entry_create(uint32_t partition, const struct reply *id,
                                       const struct reply *fields, uint32_t deliveries)
{
    if (id == NULL || fields == NULL || fields->type != REPLY_ARRAY || fields->count % 2 != 0)
        return NULL;
    size_t size = reply_text(id).size;
    for (uint32_t i = 0; i < fields->count; i++) size += reply_text(fields->items[i]).size;
    uint32_t count = fields->count / 2;
    struct work_entry *entry = mem_alloc(sizeof *entry + count * sizeof entry->fields[0] + size);
    struct writer writer = writer_of(&entry->fields[count], size);
    entry->partition = partition;
    entry->deliveries = deliveries;
    entry->fields_count = count;
    struct bytes *const first = &entry->id;
    for (uint32_t i = 0; i <= fields->count; i++) {
        struct bytes text = reply_text(i == 0 ? id : fields->items[i - 1]);
        struct work_field *field = i == 0 ? NULL : &entry->fields[(i - 1) / 2];
        struct bytes *view = i == 0 ? first : i % 2 == 1 ? &field->name : &field->value;
        *view = bytes_of(writer.start + writer.used, text.size);
        write_bytes(&writer, text);
    }
    check(!writer.failed);
    return entry;
}

static void take_fresh(struct ask *ask, const struct reply *reply)
{
    struct work *work = ask->work;
    /* One stream: its name and its entries. */
    const struct reply *entries = reply_item(reply, 0);
    entries = entries == NULL ? NULL : reply_item(entries, 1);
    if (entries == NULL || entries->type != REPLY_ARRAY) return;
    for (uint32_t i = 0; i < entries->count; i++) {
        struct work_entry *entry = entry_create(ask->partition, reply_item(entries->items[i], 0),
                                                reply_item(entries->items[i], 1), 1);
        if (entry == NULL) continue; /* taken out of the stream meanwhile */
        if (work->fresh_count++ == 0) work->fresh_ms = work_now_ms(work);
        list_append(&work->fresh, &entry->link);
    }
    work->has_read = work->has_read || entries->count > 0;
    if (entries->count == ask->count && work->hot_count < WORK_STRIDE)
        work->hot[work->hot_count++] = ask->partition;
}

static void take_claimed(struct ask *ask, const struct reply *reply)
{
    struct work *work = ask->work;
    const struct reply *letters = reply_item(reply, 0);
    if (letters == NULL || letters->type != REPLY_INTEGER) return;
    work->dead += (uint64_t)letters->integer;
    for (uint32_t i = 1; i < reply->count; i++) {
        const struct reply *item = reply->items[i], *times = reply_item(item, 1);
        if (times == NULL || times->type != REPLY_INTEGER) continue;
        struct work_entry *entry = entry_create(ask->partition, reply_item(item, 0),
                                                reply_item(item, 2), (uint32_t)times->integer);
        if (entry == NULL) continue;
        list_append(&work->again, &entry->link);
        work->again_count++;
        work->has_read = true;
    }
}

static void fail(struct work *work, enum err err, struct bytes why)
{
    work->err = err;
    snprintf(work->problem, sizeof work->problem, "Redis refuses: %.*s",
             (int)min_u64(why.size, 200), (const char *)why.at);
}

/* Of the server that holds the partition; a link that is fine has none. */
static void note_problem(struct work *work, uint32_t partition)
{
    const char *problem = redis_server_of(work->redis, partition)->commands.problem;
    snprintf(work->problem, sizeof work->problem, "%s",
             problem[0] != 0 ? problem : "the link to Redis broke");
}

static void ask_take(struct ask *ask, const struct reply *reply)
{
    struct work *work = ask->work;
    bool has_no_group = reply_is_error(reply, "NOGROUP");
    if (has_no_group && ask->kind == ASK_READ) {
        work_ask(work, ASK_CREATE, ask->partition, 0, NULL);
        work->has_read = true; /* look again at once */
    } else if (has_no_group || reply_is_error(reply, "BUSYGROUP")) {
        return; /* the stream vanished with its group, or another consumer was first */
    } else if (reply->type == REPLY_ERROR) {
        bool is_missing = ask->kind == ASK_CLAIM || ask->kind == ASK_LEAVE;
        if (is_missing && memmem(reply->text.at, reply->text.size, "NOGROUP", 7) != NULL) return;
        fail(work, ERR_STORE_DOWN, reply->text);
    } else if (ask->kind == ASK_READ) {
        take_fresh(ask, reply);
    } else if (ask->kind == ASK_CLAIM) {
        take_claimed(ask, reply);
    }
}

static void ask_on_end(struct link_call *call, enum err err, const struct reply *reply)
{
    struct ask *ask = container_of(call, struct ask, call);
    struct work *work = ask->work;
    if (err == ERR_OK) {
        ask_take(ask, reply);
    } else {
        work->err = ERR_STORE_DOWN;
        note_problem(work, ask->partition);
    }
    check(work->asks > 0);
    work->asks--;
    mem_free(ask);
}

void work_ask(struct work *work, enum ask_kind kind, uint32_t partition, uint32_t count,
              struct list *first)
{
    struct ask *ask = mem_alloc(sizeof *ask);
    ask->call.write = ask_write;
    ask->call.on_end = ask_on_end;
    ask->work = work;
    ask->kind = kind;
    ask->partition = partition;
    ask->count = count;
    ask->first = first;
    work->asks++;
    redis_call(work->redis, partition, &ask->call);
}
