/*
 * client_sim: the simulated people and backends.
 *
 * A client speaks HTTP upgrade, masked WebSocket and Centrifuge's JSON or Protobuf
 * as an SDK does: it reconnects by itself, subscribes again with the position it has,
 * answers pings, and now and then is rude (resets, slow reading, forbidden
 * requests).  A backend speaks the server API over HTTP and retries a publish
 * with the same key until it is answered.
 *
 *   OFF ─dial─▶ DIALING ─101─▶ GREETING ─connect reply─▶ ON
 *    ▲             any end of the connection              │
 *    └──────────── after a while, by seed ◀───────────────┘
 */
#pragma once

#include "book.h"
#include "wire_sim.h"

#define ASKS_MAX     64
#define SUBS_SIM_MAX 8

struct link;

enum ask_kind {
    ASK_CONNECT,
    ASK_SUBSCRIBE,
    ASK_UNSUBSCRIBE,
    ASK_PUBLISH,
    ASK_HISTORY,
    ASK_READ,
    ASK_SEND,
    ASK_COUNTS
};

/* A command that waits for its reply. */
struct ask {
    uint32_t id;
    enum ask_kind kind;
    uint32_t channel;
    uint32_t number;      /* of the message */
    uint64_t offset;      /* since, or read up to */
    uint64_t head_before; /* what the book knew */
    uint64_t floor;       /* the cursor that was told before it was asked */
    bool is_forbidden;    /* must be answered with an error */
    bool is_recovering;
};

enum sub_sim_state { SUB_SIM_OFF, SUB_SIM_ASKED, SUB_SIM_LIVE, SUB_SIM_LEAVING };

struct sub_sim {
    uint32_t channel;
    enum sub_sim_state state;
    bool is_wanted, has_position;
    bool is_named;    /* the connect command named it: the server begins it */
    struct ask asked; /* while is_named: what its entry in the connect reply answers */
    uint64_t offset;
    char epoch[EPOCH_SIM_MAX];
    uint32_t *newest; /* channels without history: newest message + 1 by publisher */
    uint64_t *heard;  /* who came and went since it subscribed (check_join) */
    uint32_t heard_count, heard_room;
};

enum client_state { CLIENT_OFF, CLIENT_DIALING, CLIENT_GREETING, CLIENT_ON };

struct client_sim {
    uint32_t number, user;
    enum client_state state;
    uint64_t session; /* counts connections; events of older ones are void */
    struct link *link;
    struct intake intake;
    uint32_t ids;
    struct ask asks[ASKS_MAX];
    uint32_t asks_count;
    struct sub_sim subs[SUBS_SIM_MAX];
    uint32_t subs_count;
    uint32_t tries;
    uint32_t close_code;
    bool is_paused;
    bool is_binary; /* it speaks Protobuf */
    uint32_t keyed; /* message that is sent again with its key until answered, + 1; 0: none */
    char *token;
};

extern struct client_sim clients[CLIENTS_SIM_MAX];

void clients_init(const struct plan *plan);
void clients_fini(void);
/* No more publications and no more rudeness; everyone comes back. */
void clients_calm(void);
/* Everyone is connected, subscribed to what it wants and has everything; else
 * `why` tells about the first who is not. */
bool clients_are_complete(char *why, size_t size);
uint32_t clients_on(uint32_t *subs);
/* The user of a client whose connect command is under way, or any. */
uint32_t clients_greeting_user(void);
/* Members ask who has read the newest messages. */
void clients_ask_counts(void);
/* Everyone goes away for good. */
void clients_stop(void);

/* Ends its connection; it comes back after a while. */
void client_leave(struct client_sim *client, bool is_reset);

/* client_say.c: commands out.  False when too many wait for their replies. */
bool client_say_connect(struct client_sim *client);
bool client_say_subscribe(struct client_sim *client, struct sub_sim *sub);
bool client_say_unsubscribe(struct client_sim *client, struct sub_sim *sub);
bool client_say_publish(struct client_sim *client, uint32_t channel, bool is_forbidden);
bool client_say_history(struct client_sim *client, uint32_t channel, bool is_forbidden);
bool client_say_read(struct client_sim *client, uint32_t channel, uint64_t offset);
bool client_say_ping(struct client_sim *client);
/* RPC message.send of client->keyed, again and again with the same key. */
bool client_say_keyed(struct client_sim *client);
/* Where it may: subscribed, and no attempt under way. */
void client_send_keyed(struct client_sim *client);
bool client_say_counts(struct client_sim *client, uint32_t channel, uint64_t offset);
/* A subscribe that must be refused. */
bool client_say_forbidden(struct client_sim *client, uint32_t channel);
/* Sends a WebSocket message, in fragments now and then; a text goes out in the wire
 * that the client speaks. */
void client_say(struct client_sim *client, enum ws_opcode opcode, struct bytes payload);
/* Writes {"m":…} of a new message of `channel`. */
uint32_t message_write(char *out, size_t size, uint32_t number, uint32_t pad);
#define MESSAGE_ROOM (32u << 10)

/* client_hear.c: what the gateway says. */
void client_hear(struct client_sim *client, const struct ws_message *message);
/* The connection is gone: what was asked is unknown. */
void client_forget_asks(struct client_sim *client);

/* check_access.c: may this client be given a publication of `name` now? */
struct sub_sim *check_receiver(struct client_sim *client, struct bytes name);
/* A publication without offset: not doubled, in order of its publisher. */
void check_live(struct client_sim *client, struct sub_sim *sub, uint32_t number);
/* A join or a leave of the client `id` was told: they alternate. */
void check_join(struct client_sim *client, struct sub_sim *sub, bool is_join, struct bytes id);
struct sub_sim *client_sub(struct client_sim *client, uint32_t channel);

/* api_sim.c: the backends. */
void apis_init(const struct plan *plan);
void apis_fini(void);
void apis_calm(void);
/* Every call has its answer; else `why` tells. */
bool apis_are_idle(char *why, size_t size);
/* Reads every channel's history whole, checks it, and asks info until it counts
 * clients and subscriptions right; apis_are_idle when done. */
void apis_read_all(void);
void apis_stop(void);
