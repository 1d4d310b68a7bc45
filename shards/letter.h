/*
 * letter: the payloads of the letters between shards, packed and read.
 *
 * A payload is fields in order, little-endian, views as u32 size and bytes; the
 * struct here is its unpacked form.  Both sides check: a payload that does not
 * read back to its end is a bug and stops the process.
 *
 * Thread:  pack on the sender, read on the receiver; views that come out
 *          point into the letter and live as long as it does.
 * Tests:   tests/unit/shards/test_letter.c
 */
#pragma once

#include "core/limits.h"
#include "core/mesh.h"
#include "core/metric.h"
#include "core/slab.h"
#include "proto/cmd.h"
#include "storage/record.h"

enum letter_kind {
#define LETTER(id, on_letter, on_home) LETTER_##id,
#include "shards/letter.def"
#undef LETTER
    LETTER_KIND_COUNT,
};

/* The rows as the mesh wants them. */
extern const struct letter_handlers letter_table[LETTER_KIND_COUNT];

/* `call` names the asker's call (shards/call.h). */
struct letter_subscribe {
    struct handle call;
    struct handle hub; /* the listening shard's entry for the channel */
    struct bytes channel;
    struct bytes epoch; /* recover from here; empty: any epoch */
    uint64_t offset;
    bool recover;
    bool reject_unrecovered; /* answer ERR_UNRECOVERABLE instead of recovered: false */
    bool is_cache;           /* recovery brings the newest publication only */
    bool has_presence;       /* the client is listed while it is subscribed */
    bool tells_joins;        /* its coming and going is told to who asked for it */
    bool hears_joins;        /* it is told who comes and goes */
    bool is_as_member;       /* only members may: `user` is one */
    uint8_t wire;            /* enum wire of the client: the home encodes for those in use */
    /* Who, when has_presence or tells_joins; else empty, but for `user` with is_as_member. */
    uint8_t client[16];
    struct bytes user, conn_info, chan_info;
};
struct letter_leave {
    struct handle hub;
    struct bytes channel;
    bool has_presence, tells_joins, hears_joins; /* as it subscribed */
    uint8_t wire;                                /* as it subscribed */
    uint8_t client[16]; /* with one of the first two; the home knows more */
};
/* A question of nothing but a channel; CHANNELS: a glob; PEERS: what they are asked. */
struct letter_ask {
    struct handle call;
    struct bytes channel;
};
/* One message of a channel. */
struct letter_message {
    struct handle call;
    struct bytes channel;
    uint64_t offset;
    struct bytes epoch; /* of the offset; empty: whatever the channel's is */
};
struct letter_publish {
    struct handle call;
    struct bytes channel;
    struct bytes scope, key; /* idempotency; an empty key is none */
    struct publication publication;
    bool is_live_only; /* skip_history */
    bool is_head;      /* a message that is kept elsewhere (channel/head.c) */
};
struct letter_history {
    struct handle call;
    struct bytes channel;
    struct bytes since_epoch; /* empty: any */
    uint64_t since;           /* exclusive */
    uint32_t limit;           /* 0: position only; UINT32_MAX: everything */
    bool is_reverse;
    struct bytes user; /* of the client that asks; empty: the server, or a client without one */
};
struct letter_frame {
    struct handle hub;
    uint64_t offset;
    bool is_join;   /* a join or a leave: for those who hear them */
    bool is_leave;  /* of the two, the leave */
    bool is_opaque; /* the data is not JSON, which ends who speaks it */
    /* By enum wire; NULL when nobody there speaks it; owned by the home's frames. */
    const uint8_t *bytes[2];
    uint32_t sizes[2];
    void *frames[2]; /* struct frame of the home shard */
};
struct letter_lost {
    struct handle hub;
};

struct arena;

/* Letter drafts, ready to post. */
struct letter *letter_pack_subscribe(struct post *post, uint32_t to,
                                     const struct letter_subscribe *in);
struct letter *letter_pack_leave(struct post *post, uint32_t to, const struct letter_leave *in);
/* HISTORY_REMOVE, PRESENCE, PRESENCE_STATS, CHANNELS, PEERS. */
struct letter *letter_pack_ask(struct post *post, uint32_t to, enum letter_kind kind,
                               const struct letter_ask *in);
struct letter *letter_pack_message_delete(struct post *post, uint32_t to,
                                          const struct letter_message *in);
struct letter *letter_pack_publish(struct post *post, uint32_t to, const struct letter_publish *in);
struct letter *letter_pack_history(struct post *post, uint32_t to, const struct letter_history *in);
struct letter *letter_pack_survey(struct post *post, uint32_t to, struct handle call,
                                  bool with_users);
struct letter *letter_pack_frame(struct post *post, uint32_t to, const struct letter_frame *in);
struct letter *letter_pack_lost(struct post *post, uint32_t to, const struct letter_lost *in);
/* How many connections the sender has let in, and how many more it wants to. */
struct letter *letter_pack_door_ask(struct post *post, uint32_t to, uint32_t held, uint32_t wanted);
struct letter *letter_pack_door_answer(struct post *post, uint32_t to, uint32_t granted);
/* One without a payload. */
struct letter *letter_pack_plain(struct post *post, uint32_t to, enum letter_kind kind);

void letter_read_subscribe(const struct letter *letter, struct letter_subscribe *out);
void letter_read_leave(const struct letter *letter, struct letter_leave *out);
void letter_read_ask(const struct letter *letter, struct letter_ask *out);
/* What every question about a channel begins with, whatever else it says. */
void letter_read_question(const struct letter *letter, struct letter_ask *out);
void letter_read_message_delete(const struct letter *letter, struct letter_message *out);
void letter_read_publish(const struct letter *letter, struct letter_publish *out);
void letter_read_history(const struct letter *letter, struct letter_history *out);
void letter_read_survey(const struct letter *letter, struct handle *call, bool *with_users);
void letter_read_frame(const struct letter *letter, struct letter_frame *out);
void letter_read_lost(const struct letter *letter, struct letter_lost *out);
void letter_read_door_ask(const struct letter *letter, uint32_t *held, uint32_t *wanted);
void letter_read_door_answer(const struct letter *letter, uint32_t *granted);

/* Answers.  One struct for all: which fields mean something follows from the
 * question.  With an error only `call` and `err` do. */
struct channel_row {
    struct bytes name;
    uint32_t clients;
};
struct receipt_user;
struct receipt_state;
struct cursor_member;
struct answer {
    struct handle call;
    enum err err;
    /* subscribe, history, publish; user_enter, REVOKED: reason; peers: sized answers */
    struct bytes epoch;
    /* subscribe: position; history: head; publish: offset; receipt moves: cursor; user_enter:
     * session, or with REVOKED the close code */
    uint64_t offset;
    uint64_t time_ms; /* publish: of the publication; 0: not known any more */
    bool is_repeat;   /* publish: the key was seen before */
    bool recovered, was_recovering, is_recoverable; /* subscribe */
    const struct publication *publications;         /* subscribe, history */
    uint32_t publications_count;
    /* Publications that follow those, as they were written (storage/record.h): who packs
     * them need not look into them, and who reads the letter finds all in `publications`. */
    const struct bytes *records;
    uint32_t records_count;
    const uint32_t *readers, *eligible; /* receipt counts */
    uint32_t counts_count;
    const struct receipt_user *receipt_users; /* receipt lists */
    uint32_t receipt_users_count;
    uint64_t next;                      /* receipt lists: `after` of the next page; 0: none */
    bool has_times;                     /* receipt lists: times are kept here */
    const struct receipt_state *states; /* receipt states */
    uint32_t states_count;
    const struct cursor_member *members; /* members_list */
    uint32_t members_count;
    uint64_t next_slot;            /* members_list: `after` of the next page; 0: none */
    const struct wire_info *infos; /* presence, each client once */
    uint32_t infos_count;
    uint32_t clients_count, users_count; /* presence_stats */
    const struct channel_row *rows;      /* channels */
    uint32_t rows_count;
    /* survey */
    const struct metrics *metrics;
    uint64_t clients, subscriptions, channels;
    struct bytes user_hashes; /* u64 per distinct user there, when they were asked for */
    bool store_ok;
    struct bytes store_detail;
    uint64_t store_lag_bytes, store_latency_us, keys_latency_us;
    uint8_t keys_state;        /* enum keys_state; shard 0 alone has one */
    struct bytes store_groups; /* struct store_group, one after another */
};
struct letter *letter_pack_answer(struct post *post, uint32_t to, const struct answer *in);
/* Arrays come from `arena`, views point into the letter. */
void letter_read_answer(const struct letter *letter, struct arena *arena, struct answer *out);
