/*
 * ws: split frames, fragmented messages and control frames.
 *
 * A connection borrows a context when bytes arrive that the fast path leaves,
 * and gives it back as soon as it stands between two messages.  A context never
 * gets a byte beyond the current frame: ws_head_take sees each header byte
 * first, so the end of the frame is known, and wslay stands at a frame boundary
 * whenever a context changes hands.
 *
 *     bytes ─▶ ws_fast ── whole data frame ─────────────────────▶ event
 *                │ anything else
 *                ▼
 *           ws_head_take ── a rule is broken ───────────────────▶ WS_FAULT
 *                │ header whole
 *                ▼
 *    data: take_data    control: wslay_frame_recv
 *           └───── pieces, unmasked ──────┴──▶ message or control buffer
 *                                                  │ frame final
 *                                                  ▼
 *                                                event
 *
 * Data is unmasked by the words of the fast path: wslay goes through it byte by
 * byte, and a message of sixteen commands stands in two or three receive
 * buffers, so that this is no rare path (1.2 us for 2 KB, against 0.15).
 *
 * Memory: a context is the message so far, and wslay's 4.3 KB once a control frame
 * came in pieces; its buffer grows by doubling with what has arrived, never by
 * what a header announces.
 */
#include "proto/ws.h"

#include <wslay/wslay.h>

#include "core/check.h"
#include "core/mem.h"
#include "core/utf8.h"
#include "proto/ws_parts.h"

/* Contexts and buffers kept warm for the next borrower. */
#define IDLE_CONTEXTS_MAX 64
#define IDLE_BUFFER_MAX   (16u << 10)
#define FIRST_BUFFER      512

struct context {
    wslay_frame_context_ptr wslay; /* NULL until first needed */
    const uint8_t *feed;           /* what wslay may read now */
    size_t feed_left;
    struct ws_head head;    /* of the frame under way */
    uint64_t payload_left;  /* of it, not yet fed */
    uint8_t message_opcode; /* of the open message; 0: none */
    struct utf8 utf8;
    uint8_t *data; /* the open message */
    size_t data_used, data_room;
    uint8_t control[WS_CONTROL_MAX];
    uint8_t control_used;
    bool is_taken, is_idle; /* idle: kept warm in the pool */
    uint32_t next_free;     /* index + 1 */
};

struct ws_pool {
    struct context *contexts; /* contexts_max of address space; pages come when touched */
    uint32_t contexts_max;
    uint32_t touched; /* contexts ever used */
    uint32_t used, idle;
    uint32_t free_first; /* index + 1 */
    /* The context whose message was given last: its bytes stay until the next
     * call or ws_pool_rest, although its connection has let go of it.  Index + 1. */
    uint32_t parked;
};

static ssize_t on_wslay_recv(uint8_t *buffer, size_t size, int flags, void *user_data)
{
    struct context *context = user_data;
    (void)flags;
    if (context->feed_left == 0) return -1; /* "would block" */
    size_t taken = min_u64(size, context->feed_left);
    memcpy(buffer, context->feed, taken);
    context->feed += taken;
    context->feed_left -= taken;
    return (ssize_t)taken;
}

struct ws_pool *ws_pool_create(uint32_t contexts_max)
{
    check(contexts_max > 0 && contexts_max < UINT32_MAX);
    struct ws_pool *pool = mem_alloc(sizeof(*pool));
    pool->contexts_max = contexts_max;
    pool->contexts = mem_reserve((size_t)contexts_max * sizeof(*pool->contexts));
    return pool;
}

/* Frees what a context holds besides itself. */
static void context_drop(struct context *context)
{
    if (context->wslay != NULL) wslay_frame_context_free(context->wslay);
    mem_free(context->data);
    *context = (struct context){0};
}

/* Contexts that are still lent are dropped too: a shard that is torn down does not
 * first end every connection. */
void ws_pool_destroy(struct ws_pool *pool)
{
    if (pool == NULL) return;
    for (uint32_t i = 0; i < pool->touched; i++) context_drop(&pool->contexts[i]);
    mem_unreserve(pool->contexts, (size_t)pool->contexts_max * sizeof(*pool->contexts));
    mem_free(pool);
}

uint32_t ws_pool_used(const struct ws_pool *pool)
{
    return pool->used - (pool->parked != 0);
}

static struct context *context_of(struct ws_pool *pool, uint32_t number)
{
    check(number > 0 && number <= pool->touched);
    return &pool->contexts[number - 1];
}

/* A context that stands at a frame boundary, or NULL when all are lent. */
static struct context *pool_take(struct ws_pool *pool, uint32_t *number)
{
    if (pool->free_first != 0) {
        *number = pool->free_first;
        pool->free_first = context_of(pool, *number)->next_free;
    } else if (pool->touched < pool->contexts_max) {
        *number = ++pool->touched;
    } else {
        return NULL;
    }
    struct context *context = context_of(pool, *number);
    check(!context->is_taken);
    if (context->is_idle) pool->idle--;
    context->is_idle = false;
    context->is_taken = true;
    pool->used++;
    return context;
}

/* Back into the pool; warm when it may be. */
static void pool_give(struct ws_pool *pool, uint32_t number, bool at_boundary)
{
    struct context *context = context_of(pool, number);
    wslay_frame_context_ptr wslay = context->wslay;
    uint8_t *data = context->data;
    size_t room = context->data_room;
    check(context->is_taken);
    bool is_kept = at_boundary && pool->idle < IDLE_CONTEXTS_MAX;
    if (!is_kept) {
        context_drop(context);
    } else {
        bool keeps_data = room <= IDLE_BUFFER_MAX;
        if (!keeps_data) mem_free(data);
        *context = (struct context){.wslay = wslay, .is_idle = true};
        if (keeps_data) {
            context->data = data;
            context->data_room = room;
        }
        pool->idle++;
    }
    context->next_free = pool->free_first;
    pool->free_first = number;
    pool->used--;
}

void ws_pool_rest(struct ws_pool *pool)
{
    if (pool->parked == 0) return;
    pool_give(pool, pool->parked, true);
    pool->parked = 0;
}

void ws_end(struct ws *ws, struct ws_pool *pool)
{
    if (ws->context == 0) return;
    /* wslay may stand inside a frame: only a fresh one is sure not to. */
    pool_give(pool, ws->context, false);
    ws->context = 0;
}

/* Doubles, so that a message costs a few copies; the limit was told before. */
static void reserve(struct context *context, size_t size)
{
    size_t need = context->data_used + size, room = context->data_room;
    if (need <= room) return;
    if (room < FIRST_BUFFER) room = FIRST_BUFFER;
    while (room < need) room *= 2;
    context->data = mem_resize(context->data, room);
    context->data_room = room;
}

/* A piece of a data frame's payload, as it came. */
static enum close take_data(struct context *context, const uint8_t *at, size_t size)
{
    const uint8_t *mask = context->head.bytes + context->head.used - 4;
    uint64_t done = context->head.size - context->payload_left;
    uint8_t key[4];
    for (uint32_t i = 0; i < 4; i++) key[i] = mask[(done + i) & 3];
    reserve(context, size);
    uint8_t *to = context->data + context->data_used;
    memcpy(to, at, size);
    bool beyond_ascii = ws_unmask(to, size, key);
    context->data_used += size;
    if (context->message_opcode != WS_OP_TEXT) return CLOSE_NONE;
    if (!beyond_ascii && utf8_is_whole(&context->utf8)) return CLOSE_NONE;
    return utf8_feed(&context->utf8, bytes_of(to, size)) ? CLOSE_NONE : CLOSE_UTF8;
}

/* A piece of a control frame's payload, unmasked. */
static enum close take_control(struct context *context, struct bytes piece)
{
    uint8_t used = context->control_used;
    if (piece.size == 0) return CLOSE_NONE;
    check(piece.size <= sizeof(context->control) - used);
    memcpy(context->control + used, piece.at, piece.size);
    context->control_used += (uint8_t)piece.size;
    if ((context->head.bytes[0] & WS_OPCODE) != WS_OP_CLOSE) return CLOSE_NONE;
    return ws_close_take(context->control, used, context->control_used, &context->utf8);
}

/* Lets wslay read feed[size], which lies within one control frame. */
static enum close feed(struct context *context, const uint8_t *at, size_t size)
{
    static const struct wslay_frame_callbacks callbacks = {.recv_callback = on_wslay_recv};
    if (context->wslay == NULL) {
        int failed = wslay_frame_context_init(&context->wslay, &callbacks, context);
        check(failed == 0); /* out of memory stops the process, here as in mem.h */
    }
    struct wslay_frame_iocb iocb;
    context->feed = at;
    context->feed_left = size;
    ssize_t result;
    while ((result = wslay_frame_recv(context->wslay, &iocb)) >= 0) {
        enum close fault = take_control(context, bytes_of(iocb.data, iocb.data_length));
        if (fault != CLOSE_NONE) return fault;
    }
    if (result != WSLAY_ERR_WANT_READ) return CLOSE_PROTOCOL;
    check(context->feed_left == 0);
    return CLOSE_NONE;
}

/* The header is whole and good. */
static enum close begin_frame(struct context *context)
{
    uint8_t opcode = context->head.bytes[0] & WS_OPCODE;
    context->payload_left = context->head.size;
    if (ws_is_control(opcode)) {
        context->control_used = 0;
        /* Behind a close frame no message goes on. */
        if (opcode == WS_OP_CLOSE) context->utf8 = (struct utf8){0};
        return feed(context, context->head.bytes, context->head.used);
    }
    if (opcode != WS_OP_MORE) {
        check(context->message_opcode == 0);
        context->message_opcode = opcode;
        context->utf8 = (struct utf8){0};
        context->data_used = 0;
    }
    return CLOSE_NONE;
}

static enum ws_event fault_event(struct ws_message *message, enum close fault)
{
    check(fault != CLOSE_NONE);
    message->fault = fault;
    return WS_FAULT;
}

static enum ws_event end_control(struct context *context, uint8_t opcode,
                                 struct ws_message *message)
{
    message->data = bytes_of(context->control, context->control_used);
    if (opcode == WS_OP_PING) return WS_PING;
    if (opcode == WS_OP_PONG) return WS_PONG;
    check(opcode == WS_OP_CLOSE);
    enum close fault = ws_close_payload(message->data, &message->close_code);
    return fault != CLOSE_NONE ? fault_event(message, fault) : WS_CLOSE;
}

/* The frame is whole: WS_MORE when the message is not. */
static enum ws_event end_frame(struct context *context, struct ws_message *message)
{
    uint8_t first = context->head.bytes[0], opcode = first & WS_OPCODE;
    context->head = (struct ws_head){0};
    if (ws_is_control(opcode)) return end_control(context, opcode, message);
    if ((first & WS_FIN) == 0) return WS_MORE;
    bool is_text = context->message_opcode == WS_OP_TEXT;
    if (is_text && !utf8_is_whole(&context->utf8)) return fault_event(message, CLOSE_UTF8);
    message->data = bytes_of(context->data, context->data_used);
    context->message_opcode = 0;
    return is_text ? WS_TEXT : WS_BINARY;
}

static enum ws_event slow(struct context *context, uint8_t **at, size_t *left, size_t message_max,
                          struct ws_message *message)
{
    enum ws_event event = WS_MORE;
    /* A limit that fell below what is already here lets no byte more in. */
    size_t max = max_u64(message_max, context->message_opcode != 0 ? context->data_used : 0);
    while (*left > 0 && event == WS_MORE) {
        enum close fault = CLOSE_NONE;
        bool in_message = context->message_opcode != 0;
        if (!ws_head_is_whole(&context->head)) {
            struct ws_before before = {in_message, in_message ? context->data_used : 0, max};
            fault = ws_head_take(&context->head, **at, &before);
            *at += 1;
            *left -= 1;
            if (fault == CLOSE_NONE && ws_head_is_whole(&context->head))
                fault = begin_frame(context);
        } else {
            size_t size = min_u64(*left, context->payload_left);
            bool is_control = ws_is_control(context->head.bytes[0] & WS_OPCODE);
            fault = is_control ? feed(context, *at, size) : take_data(context, *at, size);
            *at += size;
            *left -= size;
            context->payload_left -= size;
        }
        if (fault != CLOSE_NONE) return fault_event(message, fault);
        if (ws_head_is_whole(&context->head) && context->payload_left == 0)
            event = end_frame(context, message);
    }
    return event;
}

enum ws_event ws_next(struct ws *ws, struct ws_pool *pool, uint8_t **at, size_t *left,
                      size_t message_max, struct ws_message *message)
{
    enum ws_event event;
    *message = (struct ws_message){.close_code = WS_NO_STATUS};
    ws_pool_rest(pool);
    if (*left == 0) return WS_MORE;
    struct context *context;
    if (ws->context != 0) {
        context = context_of(pool, ws->context);
    } else if (ws_fast(at, left, message_max, message, &event)) {
        return event;
    } else {
        context = pool_take(pool, &ws->context);
        if (context == NULL) {
            ws->context = 0;
            return fault_event(message, CLOSE_INTERNAL); /* the client comes back later */
        }
    }
    event = slow(context, at, left, message_max, message);
    /* Between two messages nothing needs remembering. */
    if (event != WS_FAULT && context->message_opcode == 0 && context->head.used == 0) {
        pool->parked = ws->context;
        ws->context = 0;
    }
    return event;
}
