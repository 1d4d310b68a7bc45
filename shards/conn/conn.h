/*
 * conn: one accepted socket, from its first byte to its last.
 *
 *   state    may become          while here
 *   HTTP     WS, DYING           reading requests; an API answer may be under way
 *   WS       CLOSING, DYING      upgraded; commands both ways
 *   CLOSING  DYING               our close frame is queued; input is ignored
 *   DYING    FREE                the socket is closing, or calls are unanswered;
 *                                takes no frames; FREE with the last of both
 *   FREE     HTTP                a slot of the slab
 *
 * The slab index is the loop's socket number, so no table lies between them.
 * Output is a list of counted frames; what a turn pushed leaves in one send at
 * its end.  A connection that the kernel refuses to take more for is BLOCKED:
 * it has one waiting send and everything else queues behind it, up to
 * client.queue_max_size bytes, beyond which it ends with SLOW.
 *
 * Thread:  owner shard only.
 * Source:  conn.c (life), conn_in.c (bytes → requests, messages, commands),
 *          conn_say.c (answers, pushes → frames), conn_out.c (frames → sends),
 *          conn_http.c (requests → answers), conn_echo.c (/debug/echo), door.c (who may come in)
 * Tests:   the simulator, tests/conformance
 */
#pragma once

#include "core/frame.h"
#include "core/slab.h"
#include "proto/close.h"
#include "proto/codec.h"
#include "proto/http.h"
#include "proto/ws.h"

struct shard;
struct out_chunk;
struct connecting;
struct rng;
/* A peer has this long to answer our close frame, and to close after the last word. */
#define CONN_CLOSING_S   5
#define OUT_CHUNK_SIZE   112 /* bytes of one link of a queue: eleven frames */
/* An unblocked connection may be given this many queue limits within one turn. */
#define OUT_BURST_FACTOR 4

/* Users' ids up to so many bytes need no block of their own. */
#define CONN_USER_NEAR 12

/* Saved bytes: a partial HTTP request, or commands that wait. */
struct conn_saved {
    uint32_t size, room;
    uint32_t message; /* the first so many bytes are a message's rest, unmasked */
    uint8_t data[];
};

enum conn_state { CONN_FREE, CONN_HTTP, CONN_WS, CONN_CLOSING, CONN_DYING, CONN_STATE_COUNT };

enum conn_flag {
    CONN_CONNECTED = 1,       /* the connect command was answered with a result */
    CONN_CONNECT_FAILED = 2,  /* it was answered with an error: commands end it */
    CONN_BLOCKED = 4,         /* a loop_send_wait is under way */
    CONN_DIRTY = 8,           /* in the shard's dirty list */
    CONN_MOVED = 16,          /* output went since the last look at its pong */
    CONN_SOCK_CLOSED = 32,    /* on_closed came */
    CONN_PINGED = 64,         /* a ping waits for its pong */
    CONN_PAUSED = 128,        /* input waits (credit, an API answer): receive is disarmed */
    CONN_PEER_GONE = 256,     /* on_end came */
    CONN_CLOSE_SENT = 512,    /* end once the queue is empty */
    CONN_KEEP_ALIVE = 1024,   /* HTTP: another request may follow */
    CONN_PING_PHASE = 2048,   /* ping_s is the end of the wait for a pong */
    CONN_LINGERS = 4096,      /* our direction was ended; what still comes is dropped */
    CONN_CLOSING_SOCK = 8192, /* loop_close was called */
    CONN_HEAD_ONLY = 16384,   /* HTTP: the request was HEAD */
    CONN_LISTED = 32768,      /* in the shard's waiting or resumed list */
    CONN_USER_FAR = 262144,   /* user.far holds the id */
    CONN_FULL = 65536,        /* input waits until the answers given have gone */
    CONN_CONNECTING = 131072, /* a connect command is under way: `connecting` is set */

    CONN_SUBS_END = 1 << 20,    /* some of its subscriptions may have an end */
    CONN_INDEX = 1 << 21,       /* it came to the read-index service's port */
    CONN_LONE = 1 << 22,        /* one frame is pending: out_lone is it */
    CONN_ENTERED = 1 << 27,     /* counted at the door (door.h) */
    CONN_FRAME_PINGS = 1 << 28, /* pinged by WebSocket frames instead of commands */
    CONN_ECHO = 1 << 29,        /* /debug/echo: messages go back, no command is read */
    CONN_TLS = 1 << 30,         /* there is a struct conn_tls beside it */
    CONN_REGISTERED = 524288,   /* its user's home knows it: `session` is set */
};

struct conn {
    uint8_t state;
    uint8_t wire;      /* enum wire */
    uint16_t commands; /* handled so far of the message under way */
    uint32_t flags;    /* enum conn_flag */
    struct ws ws;
    uint32_t subs_first; /* list of subscriptions; UINT32_MAX: none */
    uint16_t subs_count;
    uint16_t calls_count;
    uint32_t due_next, due_prev; /* links of the ping wheel; UINT32_MAX: none */
    uint32_t due_s;              /* second (shard clock) of the next look at it */
    uint32_t out_skip;           /* bytes of the first pending frame that went already */
    uint32_t out_bytes;          /* pending bytes, without out_skip */
    uint32_t out_flight;         /* bytes of the send that left with the last enter */
    uint32_t out_owed;           /* pending bytes up to the last large answer: not slow reading */
    union {                      /* NULL: nothing is pending */
        struct out_chunk *out_first; /* it knows the last */
        struct frame *out_lone;      /* CONN_LONE */
    };
    struct conn_saved *input; /* NULL: nothing was saved */
    union {
        struct {
            uint32_t ping_s;    /* second of the next ping, or of the end of the wait for a pong */
            uint32_t expires_s; /* Unix second at which the token ends; 0: never */
        };
        struct connecting *connecting; /* while CONN_CONNECTING (cmd/connecting.h) */
    };
    union {
        uint8_t client[16];        /* id, once known */
        struct http_progress http; /* HTTP: of the request that `input` begins with */
    };
    /* Zero until the client is known.  A short id stands here, a long one, with
     * CONN_USER_FAR, in a block of the heap. */
    union {
        struct {
            char near[CONN_USER_NEAR];
            uint32_t info; /* name in shard.texts: the raw JSON of the token's info */
        };
        char *far;
    } user;
    uint32_t session; /* its name at its user's home (user/users.h) */
    uint8_t user_size;
    uint8_t close;           /* enum close that ended it */
    uint8_t bulk_count;      /* of its calls, those with a large answer */
    uint8_t questions_count; /* of its calls, those that change nothing */
};
static_assert(sizeof(struct conn) == 112, "every idle connection holds one");

/* Bytes that wait to be looked at. */
static inline uint32_t conn_saved_size(const struct conn *conn)
{
    return conn->input == NULL ? 0 : conn->input->size;
}
struct conn *conn_at(struct shard *shard, uint32_t index);
uint32_t conn_index(const struct shard *shard, const struct conn *conn);
static inline struct bytes conn_user(const struct conn *conn)
{
    const char *at = conn->flags & CONN_USER_FAR ? conn->user.far : conn->user.near;
    return bytes_of(at, conn->user_size);
}
/* Valid while the connection lives and nothing else is set. */
struct bytes conn_info(const struct shard *shard, const struct conn *conn);
/* Who the client is; both are copied, also from what was said before. */
void conn_set_user(struct shard *shard, struct conn *conn, struct bytes user, struct bytes info);
void conn_forget_user(struct shard *shard, struct conn *conn);
/* conn_proxy.c: keeps the user that a trusted proxy names in the upgrade; false when
 * it answered that the header cannot be. */
must_use bool conn_take_proxy_user(struct shard *shard, struct conn *conn,
                                   const struct http_request *request);

/* Takes a count on `frame` and appends it to what leaves at the turn's end.
 * A connection that takes no frames (CLOSING, DYING) ignores it. */
void conn_push(struct shard *shard, struct conn *conn, struct frame *frame);
/* More is unread than client.queue_max_size: what makes large answers waits. */
bool conn_is_full(const struct shard *shard, const struct conn *conn);
/* Encodes and pushes.  Large answers (publications or clients in them) are queued whatever is
 * unread: the client asked for them, and call_begin_bulk bounds how many. */
void conn_reply(struct shard *shard, struct conn *conn, const struct reply *reply);
void conn_reply_error(struct shard *shard, struct conn *conn, uint32_t id, enum err err);
void conn_send_push(struct shard *shard, struct conn *conn, const struct push *push);
/* Ends the connection with a row of close.def; idempotent: the first reason stays.
 * A WebSocket gets its close frame after what is queued (not for SLOW). */
void conn_end(struct shard *shard, struct conn *conn, enum close reason);
/* The same for a WebSocket with a code of the backend's choice and its reason, UTF-8 of at
 * most CLOSE_REASON_MAX bytes. */
void conn_end_with(struct shard *shard, struct conn *conn, uint16_t code, struct bytes reason);

/* HTTP: answers the request under way with a whole response, then reads on (or
 * ends, without keep-alive).  `body` is copied. */
void conn_respond(struct shard *shard, struct conn *conn, uint16_t status, const char *content_type,
                  struct bytes body, const char *extra);
/* HTTP: the answer comes later, by conn_respond; input waits. */
void conn_await(struct shard *shard, struct conn *conn);
/* HTTP: 503 to the request under way: the node ends, or takes no more of them now. */
void conn_respond_busy(struct shard *shard, struct conn *conn);
/* HTTP: the request under way becomes a WebSocket; for commands, or an echo. */
struct handshake;
void conn_upgrade(struct shard *shard, struct conn *conn, const struct handshake *handshake,
                  bool is_echo);

/* Input waits: receiving is disarmed, what still comes is saved. */
void conn_pause(struct shard *shard, struct conn *conn);
/* Queues what waits for credit or an answer to be looked at again this turn. */
void conn_resume(struct shard *shard, struct conn *conn);

/* Looks at the connection in second `at_s`. */
void conn_due(struct shard *shard, struct conn *conn, uint32_t at_s);
/* conn.c: the table's one mover. */
void conn_move(struct conn *conn, enum conn_state state);
/* The connection as a client is over: subscriptions, counts, the log's line. */
void conn_leave(struct shard *shard, struct conn *conn, enum close reason);
/* conn_http.c: echoes the peer's close and ends once that went. */
void conn_answer_close(struct shard *shard, struct conn *conn, uint16_t code);
void conn_continue_100(struct shard *shard, struct conn *conn);
/* The peer said goodbye, or nothing can be said any more. */
void conn_close_peer(struct shard *shard, struct conn *conn);
/* HTTP: the peer has ended its side; so do we once nothing waits for its answer. */
void conn_end_http(struct shard *shard, struct conn *conn);
/* The last word went: ends our direction and waits for the peer to end its own. */
void conn_linger(struct shard *shard, struct conn *conn);
/* When the first ping of a connection goes: from half an interval on, within it, and
 * anywhere there, because a fleet that connected together must not ping together.
 * Two seconds are left to the wheel, which rounds up. */
uint64_t conn_first_ping_ms(struct rng *rng, uint64_t interval_ms);
/* Starts the heartbeat of a client that just connected. */
void conn_begin_pings(struct shard *shard, struct conn *conn);
/* The next look at a connected client: its ping, or the end of its token. */
void conn_schedule(struct shard *shard, struct conn *conn);
/* conn_http.c: answers an error of HTTP itself and ends the connection. */
void conn_refuse(struct shard *shard, struct conn *conn, uint16_t status, const char *reason);
/* Moves a dying connection on: closes its socket when no call is under way, frees
 * it when the socket is closed. */
void conn_settle(struct shard *shard, struct conn *conn);
/* conn_out.c: the end of the turn looks at it: something may have to be sent. */
void conn_mark_dirty(struct shard *shard, struct conn *conn);
/* conn_out.c: appends `frame` whatever the state; takes a count. */
void conn_queue(struct shard *shard, struct conn *conn, struct frame *frame);
/* conn_out.c: where `size` bytes may be written behind the newest frame that waits, to be
 * counted by conn_extend; NULL when they need a frame of their own. */
must_use uint8_t *conn_behind(struct shard *shard, struct conn *conn, uint32_t size);
void conn_extend(struct shard *shard, struct conn *conn, uint32_t size);
/* conn_out.c: drops what is pending, but the rest of a frame that went in part. */
void conn_drop_output(struct shard *shard, struct conn *conn, bool keep_partial);
/* conn_say.c: a sealed WebSocket frame around `payload`; NULL at the limit. */
struct frame *conn_frame(struct shard *shard, enum ws_opcode opcode, struct bytes payload);
/* conn_out.c: BLOCKED, and something waits longer than client.queue_max_age. */
bool conn_is_late(const struct shard *shard, const struct conn *conn);
/* The second in which a BLOCKED connection is late unless it reads. */
uint32_t conn_late_s(const struct shard *shard, const struct conn *conn);
/* conn_echo.c: messages that go back together, as one frame.  Zeroed: none yet. */
struct echo {
    struct frame *frame;
    uint32_t used;
};
/* Adds a message; `left` bytes of input follow, which no more than so many may answer. */
void conn_echo(struct shard *shard, struct conn *conn, struct echo *echo, enum ws_event event,
               struct bytes data, size_t left);
/* Queues what was added. */
void conn_echo_flush(struct shard *shard, struct conn *conn, struct echo *echo);
/* conn_out.c: the kernel's answer to a send that did not go whole, or to a waiting one. */
void conn_on_send(void *shard, uint32_t sock, uint32_t sent, int error);
/* conn_http.c: handles one whole request. */
void conn_request(struct shard *shard, struct conn *conn, const struct http_request *request);
/* conn_http.c: is a body that is still to come worth its memory?  Every body of a backend
 * with its key, and of others what takes no more than a head. */
bool conn_wants_body(const struct shard *shard, const struct conn *conn,
                     const struct http_request *request);
/* conn_in.c: goes on with saved input. */
void conn_continue(struct shard *shard, struct conn *conn);

/* Socket handlers of SOCK_CONN. */
struct sock_handlers;
extern const struct sock_handlers conn_handlers;
/* End of turn: one send per dirty connection. */
void conn_flush(struct shard *shard);
/* After the enter: gives back the frames of sends that went whole. */
void conn_flush_done(struct shard *shard);
/* Once a second: pings, missed pongs, stale and expired connections. */
void conn_tick(struct shard *shard);
/* Bytes arrived, or saved input may be looked at again. */
void conn_input(struct shard *shard, struct conn *conn, uint8_t *data, uint32_t size);
