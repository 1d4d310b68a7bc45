/*
 * cmd_show: every field of a command as bytes, so that two commands are the same
 * exactly when these are.  Which wire `data` came by (publish.is_opaque) is left out.
 *
 * Thread:  any; pure.
 */
#pragma once

#include "core/check.h"
#include "proto/cmd.h"

static inline void show_subscribe(struct writer *w, const struct cmd_subscribe *s)
{
    const struct bytes views[] = {s->channel, s->token, s->data, s->epoch, s->delta};
    for (size_t i = 0; i < array_count(views); i++) write_sized(w, views[i]);
    write_u64(w, s->offset);
    write_u64(w, (uint64_t)s->flag);
    write_u32(w, (uint32_t)s->type);
    const bool facts[] = {s->recover, s->positioned, s->recoverable, s->join_leave, s->has_filter};
    for (size_t i = 0; i < array_count(facts); i++) write_u8(w, facts[i]);
}

static inline void show_connect(struct writer *w, const struct cmd_connect *c)
{
    const struct bytes views[] = {c->token, c->data, c->name, c->version};
    for (size_t i = 0; i < array_count(views); i++) write_sized(w, views[i]);
    write_u64(w, (uint64_t)c->flag);
    write_u32(w, c->subs_count);
    for (uint32_t i = 0; i < c->subs_count; i++) {
        write_sized(w, c->subs[i].channel);
        write_sized(w, c->subs[i].epoch);
        write_u64(w, c->subs[i].offset);
        write_u8(w, c->subs[i].recover);
    }
}

static inline void show_history(struct writer *w, const struct cmd_history *h)
{
    write_sized(w, h->channel);
    write_sized(w, h->since_epoch);
    write_u64(w, h->since_offset);
    write_u32(w, (uint32_t)h->limit);
    write_u8(w, h->has_since);
    write_u8(w, h->reverse);
}

static inline void cmd_show(struct writer *w, const struct cmd *cmd)
{
    write_u32(w, cmd->kind);
    write_u32(w, cmd->id);
    switch (cmd->kind) {
    case CMD_CONNECT: show_connect(w, &cmd->connect); break;
    case CMD_SUBSCRIBE: show_subscribe(w, &cmd->subscribe); break;
    case CMD_HISTORY: show_history(w, &cmd->history); break;
    case CMD_UNSUBSCRIBE: write_sized(w, cmd->unsubscribe.channel); break;
    case CMD_PRESENCE: write_sized(w, cmd->presence.channel); break;
    case CMD_PRESENCE_STATS: write_sized(w, cmd->presence_stats.channel); break;
    case CMD_PUBLISH:
        write_sized(w, cmd->publish.channel);
        write_sized(w, cmd->publish.data);
        write_u32(w, (uint32_t)cmd->publish.type);
        break;
    case CMD_RPC:
        write_sized(w, cmd->rpc.method);
        write_sized(w, cmd->rpc.data);
        break;
    case CMD_SEND: write_sized(w, cmd->send.data); break;
    case CMD_REFRESH: write_sized(w, cmd->refresh.token); break;
    case CMD_SUB_REFRESH:
        write_sized(w, cmd->sub_refresh.channel);
        write_sized(w, cmd->sub_refresh.token);
        write_u32(w, (uint32_t)cmd->sub_refresh.type);
        break;
    default: break;
    }
    check(!w->failed);
}
