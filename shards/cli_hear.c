/*
 * cli_hear: what the server says to `sluice sub`, and what is printed of it.
 */
#include <stdio.h>

#include "core/check.h"
#include "proto/json.h"
#include "shards/cli_sub.h"
#include "shards/json_out.h"

/* What one line of the server may hold; raw values. */
struct sub_heard {
    uint32_t id;
    struct bytes error, connect, subscribe, history, push;
};

/* ---- printing ---- */

static void print_member(struct json_out *out, const char *name, struct bytes raw)
{
    if (raw.size == 0) return;
    json_out_key(out, name);
    json_out_raw(out, raw);
}

/* One publication as a line; its offset. */
static uint64_t print_publication(struct sub_run *run, const struct sub_channel *channel,
                                  struct bytes raw)
{
    struct bytes name, data = BYTES_NONE, info = BYTES_NONE, tags = BYTES_NONE;
    uint64_t offset = 0;
    struct json json;
    json_open(&json, raw);
    if (json_enter_object(&json))
        while (json_key(&json, &name)) {
            if (bytes_equal_text(name, "data"))
                json_raw(&json, &data);
            else if (bytes_equal_text(name, "info"))
                json_raw(&json, &info);
            else if (bytes_equal_text(name, "tags"))
                json_raw(&json, &tags);
            else if (bytes_equal_text(name, "offset"))
                json_u64(&json, &offset);
            else
                json_skip(&json);
        }
    if (json_close(&json) != ERR_OK) return 0;
    struct json_out out = {0};
    json_out_object(&out);
    json_out_member_text(&out, "channel", bytes_of_text(channel->name));
    json_out_member_u64(&out, "offset", offset);
    print_member(&out, "data", data);
    print_member(&out, "info", info);
    print_member(&out, "tags", tags);
    json_out_object_end(&out);
    struct bytes line = json_out_bytes(&out);
    /* A reader that went away (a closed pipe) is the end, as for any filter. */
    if (fwrite(line.at, 1, line.size, stdout) != line.size || putchar('\n') == EOF ||
        fflush(stdout) != 0)
        run->exit = CLI_FAILED;
    json_out_fini(&out);
    return offset;
}

/* The way out, for what an operator can change. */
static const char *hint_of(uint32_t code, bool is_history)
{
    switch (code) {
    case 102: return "; the namespace it names must be in channel.namespaces";
    case 103:
        return is_history ? "; its namespace must have allow_history_for_subscriber"
                          : "; its namespace must have allow_subscribe_for_client";
    case 108: return is_history ? "; its namespace keeps none: history_size, history_ttl" : "";
    default: return "";
    }
}

/* What an {"error":{"code","message","temporary"}} says. */
static bool say_error(struct sub_run *run, const char *doing, const char *what, struct bytes raw)
{
    struct bytes name, message = BYTES_NONE;
    uint32_t code = 0;
    bool is_temporary = false;
    struct json json;
    json_open(&json, raw);
    if (json_enter_object(&json))
        while (json_key(&json, &name)) {
            if (bytes_equal_text(name, "code"))
                json_u32(&json, &code);
            else if (bytes_equal_text(name, "message"))
                json_text(&json, &run->arena, &message);
            else if (bytes_equal_text(name, "temporary"))
                json_bool(&json, &is_temporary);
            else
                json_skip(&json);
        }
    if (json_close(&json) != ERR_OK) is_temporary = false;
    fprintf(stderr, "sluice: %s%s%s: %.*s (code %u)%s\n", doing, what[0] != 0 ? " " : "", what,
            (int)message.size, (const char *)message.at, code,
            what[0] != 0 ? hint_of(code, doing[0] == 'h') : "");
    return is_temporary;
}

/* ---- hearing ---- */

static void keep_epoch(struct sub_channel *channel, struct bytes epoch)
{
    if (epoch.size == 0 || epoch.size > SUB_EPOCH_MAX) return;
    memcpy(channel->epoch, epoch.at, epoch.size);
    channel->epoch[epoch.size] = 0;
}

static void drop_held(struct sub_channel *channel)
{
    json_out_fini(&channel->held);
    channel->held_first = 0;
    channel->is_history_asked = false;
}

static enum err hear_connect(struct sub_run *run, struct bytes raw)
{
    struct bytes name;
    uint32_t ping = 0;
    struct json json;
    json_open(&json, raw);
    if (json_enter_object(&json))
        while (json_key(&json, &name)) {
            if (bytes_equal_text(name, "ping"))
                json_u32(&json, &ping);
            else
                json_skip(&json);
        }
    TRY(json_close(&json));
    /* A server that is silent for longer than its pings are apart is gone. */
    wire_patience(&run->wire, ping > 0 ? ping + SUB_PATIENCE_S : 0);
    if (run->connects++ > 0) fprintf(stderr, "sluice: connected again\n");
    for (uint32_t i = 0; i < run->channels_count; i++) {
        if (run->channels[i].is_over) continue;
        drop_held(&run->channels[i]);
        TRY(sub_ask_subscribe(run, i));
    }
    return ERR_OK;
}

static uint64_t offset_of(struct bytes raw)
{
    struct bytes name;
    uint64_t offset = 0;
    struct json json;
    json_open(&json, raw);
    if (json_enter_object(&json))
        while (json_key(&json, &name)) {
            if (bytes_equal_text(name, "offset"))
                json_u64(&json, &offset);
            else
                json_skip(&json);
        }
    return json_close(&json) == ERR_OK ? offset : 0;
}

/* A list of publications in the order of their offsets, or against it; none from
 * offset `after` on. */
static enum err print_list(struct sub_run *run, struct sub_channel *channel, struct bytes raw,
                           bool is_reverse, uint64_t after)
{
    struct bytes items[SUB_HISTORY_MAX / 100];
    struct bytes *all = items;
    uint32_t count = 0, room = array_count(items);
    struct json json;
    json_open(&json, raw);
    if (json_enter_array(&json))
        while (json_element(&json)) {
            if (count == room) {
                struct bytes *more = arena_get(&run->arena, 2 * room * sizeof(*more));
                memcpy(more, all, count * sizeof(*more));
                all = more;
                room *= 2;
            }
            json_raw(&json, &all[count++]);
        }
    TRY(json_close(&json));
    for (uint32_t i = 0; i < count; i++) {
        struct bytes item = all[is_reverse ? count - 1 - i : i];
        if (offset_of(item) >= after) continue;
        uint64_t offset = print_publication(run, channel, item);
        if (offset > channel->offset) channel->offset = offset;
    }
    return ERR_OK;
}

/* What came while the history was asked for follows it. */
static enum err print_held(struct sub_run *run, struct sub_channel *channel)
{
    enum err err = ERR_OK;
    if (channel->held_first > 0) {
        json_out_array_end(&channel->held);
        err = print_list(run, channel, json_out_bytes(&channel->held), false, UINT64_MAX);
    }
    drop_held(channel);
    return err;
}

static void hold(struct sub_channel *channel, uint64_t offset, struct bytes publication)
{
    if (channel->held_first == 0) {
        json_out_array(&channel->held);
        channel->held_first = offset;
    }
    json_out_raw(&channel->held, publication);
}

struct sub_result {
    struct bytes list, epoch;
    uint64_t offset;
    bool was_recovering, is_recovered;
};

/* Subscribe and history results have these in common. */
static enum err parse_result(struct sub_run *run, struct bytes raw, struct sub_result *result)
{
    *result = (struct sub_result){0};
    struct bytes name;
    struct json json;
    json_open(&json, raw);
    if (json_enter_object(&json))
        while (json_key(&json, &name)) {
            if (bytes_equal_text(name, "publications"))
                json_raw(&json, &result->list);
            else if (bytes_equal_text(name, "epoch"))
                json_text(&json, &run->arena, &result->epoch);
            else if (bytes_equal_text(name, "offset"))
                json_u64(&json, &result->offset);
            else if (bytes_equal_text(name, "was_recovering"))
                json_bool(&json, &result->was_recovering);
            else if (bytes_equal_text(name, "recovered"))
                json_bool(&json, &result->is_recovered);
            else
                json_skip(&json);
        }
    return json_close(&json);
}

static enum err hear_subscribe(struct sub_run *run, uint32_t index, struct bytes raw)
{
    struct sub_channel *channel = &run->channels[index];
    struct sub_result result;
    TRY(parse_result(run, raw, &result));
    if (result.was_recovering && !result.is_recovered)
        fprintf(stderr, "sluice: %s: what came behind offset %llu was missed; on from %llu\n",
                channel->name, (unsigned long long)channel->offset,
                (unsigned long long)result.offset);
    if (!result.is_recovered) channel->offset = 0;
    if (result.list.size > 0) TRY(print_list(run, channel, result.list, false, UINT64_MAX));
    keep_epoch(channel, result.epoch);
    if (!result.is_recovered) channel->offset = max_u64(channel->offset, result.offset);
    if (run->history == 0 || channel->is_history_told) return ERR_OK;
    channel->is_history_asked = true;
    return sub_ask_history(run, index);
}

static enum err hear_history(struct sub_run *run, uint32_t index, struct bytes raw)
{
    struct sub_channel *channel = &run->channels[index];
    struct sub_result result;
    TRY(parse_result(run, raw, &result));
    uint64_t after = channel->held_first > 0 ? channel->held_first : UINT64_MAX;
    if (result.list.size > 0) TRY(print_list(run, channel, result.list, true, after));
    channel->is_history_told = true;
    return print_held(run, channel);
}

static struct sub_channel *channel_named(struct sub_run *run, struct bytes name)
{
    for (uint32_t i = 0; i < run->channels_count; i++)
        if (bytes_equal_text(name, run->channels[i].name)) return &run->channels[i];
    return NULL;
}

static enum err hear_unsubscribe(struct sub_run *run, struct sub_channel *channel, struct bytes raw)
{
    struct bytes name;
    uint32_t code = 0;
    struct json json;
    json_open(&json, raw);
    if (json_enter_object(&json))
        while (json_key(&json, &name)) {
            if (bytes_equal_text(name, "code"))
                json_u32(&json, &code);
            else
                json_skip(&json);
        }
    TRY(json_close(&json));
    fprintf(stderr, "sluice: %s: the gateway ended the subscription (code %u)\n", channel->name,
            code);
    /* From 2500 on a client is to subscribe anew, as behind a lost connection. */
    if (code >= 2500) return ERR_IO;
    channel->is_over = true;
    for (uint32_t i = 0; i < run->channels_count; i++)
        if (!run->channels[i].is_over) return ERR_OK;
    run->exit = CLI_FAILED;
    return ERR_OK;
}

static enum err hear_push(struct sub_run *run, struct bytes raw)
{
    struct bytes name, to = BYTES_NONE, publication = BYTES_NONE, unsubscribe = BYTES_NONE;
    struct json json;
    json_open(&json, raw);
    if (json_enter_object(&json))
        while (json_key(&json, &name)) {
            if (bytes_equal_text(name, "channel"))
                json_text(&json, &run->arena, &to);
            else if (bytes_equal_text(name, "pub"))
                json_raw(&json, &publication);
            else if (bytes_equal_text(name, "unsubscribe"))
                json_raw(&json, &unsubscribe);
            else
                json_skip(&json);
        }
    TRY(json_close(&json));
    struct sub_channel *channel = channel_named(run, to);
    if (channel == NULL) return ERR_OK;
    if (unsubscribe.size > 0) return hear_unsubscribe(run, channel, unsubscribe);
    if (publication.size == 0) return ERR_OK;
    if (channel->is_history_asked) {
        hold(channel, offset_of(publication), publication);
        return ERR_OK;
    }
    uint64_t offset = print_publication(run, channel, publication);
    if (offset > 0) channel->offset = offset;
    return ERR_OK;
}

static enum err hear_error(struct sub_run *run, const struct sub_heard *heard)
{
    bool is_temporary;
    if (heard->id < SUB_ID_HISTORY) {
        is_temporary = say_error(run, "connect", "", heard->error);
    } else {
        uint32_t index = (heard->id - SUB_ID_HISTORY) / 2;
        const char *what = index < run->channels_count ? run->channels[index].name : "";
        is_temporary =
            say_error(run, heard->id % 2 == SUB_ID_HISTORY % 2 ? "history of" : "subscribe to",
                      what, heard->error);
    }
    if (is_temporary) return ERR_IO;
    run->exit = CLI_FAILED;
    return ERR_OK;
}

static enum err hear_line(struct sub_run *run, struct bytes line)
{
    struct sub_heard heard = {0};
    struct bytes name;
    struct json json;
    json_open(&json, line);
    if (json_enter_object(&json))
        while (json_key(&json, &name)) {
            struct bytes *raw = bytes_equal_text(name, "error")       ? &heard.error
                                : bytes_equal_text(name, "connect")   ? &heard.connect
                                : bytes_equal_text(name, "subscribe") ? &heard.subscribe
                                : bytes_equal_text(name, "history")   ? &heard.history
                                : bytes_equal_text(name, "push")      ? &heard.push
                                                                      : NULL;
            if (bytes_equal_text(name, "id"))
                json_u32(&json, &heard.id);
            else if (raw != NULL)
                json_raw(&json, raw);
            else
                json_skip(&json);
        }
    TRY(json_close(&json));
    uint32_t index = heard.id < SUB_ID_HISTORY ? 0 : (heard.id - SUB_ID_HISTORY) / 2;
    if (heard.error.size > 0) return hear_error(run, &heard);
    if (heard.connect.size > 0) return hear_connect(run, heard.connect);
    if (heard.push.size > 0) return hear_push(run, heard.push);
    if (index >= run->channels_count) return ERR_OK;
    if (heard.history.size > 0) return hear_history(run, index, heard.history);
    if (heard.subscribe.size > 0) return hear_subscribe(run, index, heard.subscribe);
    /* An empty object is a ping, answered by another. */
    return line.size == 2 ? wire_send(&run->wire, BYTES_LITERAL("{}")) : ERR_OK;
}

enum err sub_hear(struct sub_run *run, struct bytes text)
{
    arena_reset(&run->arena);
    while (text.size > 0 && run->exit == CLI_DONE) {
        const uint8_t *end = memchr(text.at, '\n', text.size);
        size_t size = end == NULL ? text.size : (size_t)(end - text.at);
        if (size > 0) TRY(hear_line(run, bytes_of(text.at, size)));
        size_t used = min_u64(size + 1, text.size);
        text = bytes_of(text.at + used, text.size - used);
    }
    return ERR_OK;
}
