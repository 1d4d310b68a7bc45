/* Who moves the state: timer (WAITING ▶ CONNECTING, and every timeout to
 * CLOSING), on_connect (▶ HELLO), take_hello (▶ READY), refuse (READY ▶ AGAIN),
 * link_drop (▶ CLOSING), on_closed (▶ WAITING).
 *
 * With TLS its handshake is part of CONNECTING.
 *
 * Invariant: pending holds calls only in READY and AGAIN, in the order of their
 * bytes on the wire; so the first reply belongs to the first of them. */
#include "storage/redis/link.h"

#include <errno.h>
#include <stdio.h>

#include "core/check.h"
#include "core/log.h"
#include "core/loop.h"
#include "storage/redis/refusal.h"

#define BACKOFF_LEAST_MS 20
#define BACKOFF_MOST_MS  2000
/* How late an unwritten call may end, and how late a silence is noticed. */
#define TICK_MS          50
#define STOP_MS          1000

static uint64_t link_now_ms(const struct link *link)
{
    return clock_turn_ms(link->links->clock);
}

static void link_on_timer(struct timer *timer);

static void link_move(struct link *link, enum link_state state)
{
    check(state < LINK_STATE_COUNT && state != link->state);
    link->state = state;
    link->since_ms = link_now_ms(link);
    if (!timer_is_armed(&link->timer))
        wheel_arm(link->links->wheel, &link->timer, link->since_ms + TICK_MS, link_on_timer);
}

static void link_say(struct link *link, const char *problem)
{
    if (problem != link->problem) snprintf(link->problem, sizeof link->problem, "%s", problem);
}

/* --- calls --------------------------------------------------------------------------------- */

static void call_end(struct link *link, struct link_call *call, enum err err,
                     const struct reply *reply)
{
    check(!list_is_linked(&call->link));
    check(link->calls_count > 0);
    link->calls_count--;
    call->on_end(call, err, reply);
}

static void calls_end(struct link *link, struct list *calls, enum err err)
{
    struct list *node;
    while ((node = list_take(calls)) != NULL)
        call_end(link, container_of(node, struct link_call, link), err, NULL);
}

/* The order of deadlines is the order of the line but for calls put back, which
 * are older; so looking at the first is enough. */
static void calls_expire(struct link *link, uint64_t now_ms)
{
    while (!list_is_empty(&link->waiting)) {
        struct link_call *call = container_of(link->waiting.next, struct link_call, link);
        if (call->due_ms > now_ms) break;
        list_remove(&call->link);
        call_end(link, call, ERR_STORE_DOWN, NULL);
    }
}

void link_call(struct link *link, struct link_call *call, uint64_t due_ms)
{
    check(call->write != NULL && call->on_end != NULL);
    check(link->role != LINK_FEED);
    call->due_ms = due_ms;
    list_append(link->calls_count < LINK_CALLS_MAX ? &link->waiting : &link->refused, &call->link);
    link->calls_count++;
    if (!timer_is_armed(&link->timer))
        wheel_arm(link->links->wheel, &link->timer, link_now_ms(link) + TICK_MS, link_on_timer);
}

static void link_write_calls(struct link *link)
{
    struct resp_out *out = &link->outs[link->filling];
    while (!list_is_empty(&link->waiting) && out->used < LINK_OUT_MAX) {
        struct list *node = list_take(&link->waiting);
        struct link_call *call = container_of(node, struct link_call, link);
        call->write(call, link, out);
        call->due_ms = link_now_ms(link);
        list_append(&link->pending, node);
        link->pending_count++;
        link->unsent_count++;
        link->written++;
    }
}

static void link_send(struct link *link)
{
    struct resp_out *out = &link->outs[link->filling];
    if (link->is_sending || link->sock == SOCK_NONE) return;
    struct bytes bytes = wrap_seal(&link->wrap, out);
    if (bytes.size == 0) return;
    check(bytes.size <= UINT32_MAX);
    link->is_sending = true;
    if (!wrap_is_on(&link->wrap)) link->filling ^= 1;
    link->unsent_count = 0;
    loop_send_wait(link->links->loop, link->sock, bytes.at, (uint32_t)bytes.size);
}

void link_flush(struct link *link)
{
    calls_end(link, &link->refused, ERR_BACKLOG);
    if (link->state != LINK_READY) return;
    link_write_calls(link);
    link_send(link);
}

struct resp_out *link_out(struct link *link)
{
    check(link->role == LINK_FEED && link->state == LINK_READY);
    return &link->outs[link->filling];
}

uint64_t link_due_ms(const struct link *link)
{
    uint64_t now_ms = link_now_ms(link);
    uint64_t patience_ms = link->options->connect_timeout_ms;
    bool is_given_up = link->down_ms > 0 && now_ms >= link->down_ms + patience_ms;
    return is_given_up ? now_ms : now_ms + patience_ms;
}

/* --- losing it ------------------------------------------------------------------------------ */

/* Calls whose bytes never reached the kernel did not run: they wait again. */
static void link_save_unsent(struct link *link)
{
    for (; link->unsent_count > 0; link->unsent_count--) {
        struct link_call *call = container_of(link->pending.prev, struct link_call, link);
        check(link->pending_count > 0);
        link->pending_count--;
        list_remove(&call->link);
        call->due_ms += link->options->connect_timeout_ms; /* was: when it was written */
        list_prepend(&link->waiting, &call->link);
    }
}

void link_drop(struct link *link, const char *problem)
{
    if (link->state == LINK_OFF || link->state == LINK_WAITING || link->state == LINK_CLOSING)
        return;
    bool was_up = link->state == LINK_READY || link->state == LINK_AGAIN;
    if (problem != NULL) link_say(link, problem);
    if (!link->is_stopping && (was_up || link->attempts == 0))
        log_warn("the link to Redis is lost address=%s role=%s reason=\"%s\"", link->place->text,
                 link_role_name(link->role), link->problem);
    link->attempts++;
    if (was_up) link->down_ms = link_now_ms(link);
    link_move(link, LINK_CLOSING);
    link_save_unsent(link);
    list_put_back(&link->again, &link->waiting);
    link->is_refused = false;
    loop_close(link->links->loop, link->sock, true);
    link->pending_count = 0;
    link->ended = link->written;
    calls_end(link, &link->pending, ERR_STORE_UNKNOWN);
    if (was_up) link->events->on_lost(link);
}

static void link_drop_errno(struct link *link, const char *what, int error)
{
    char problem[HELLO_PROBLEM_MAX];
    wrap_tell(&link->wrap, link->place, what, error, problem);
    link_drop(link, problem);
}

static uint64_t link_backoff_ms(struct link *link)
{
    uint32_t steps = min_u32(link->attempts, 10);
    uint64_t most = min_u64((uint64_t)BACKOFF_LEAST_MS << steps, BACKOFF_MOST_MS);
    return most / 2 + rng_below(link->links->rng, most / 2 + 1);
}

/* --- replies --------------------------------------------------------------------------------- */

static void link_hello(struct link *link, bool is_again)
{
    check(list_is_empty(&link->pending));
    hello_write(&link->hello, link->options, link->place, link->role, is_again,
                &link->outs[link->filling]);
    link_send(link);
}

static void take_refused(struct link *link, struct link_call *call)
{
    call->due_ms += link->options->connect_timeout_ms; /* was: when it was written */
    list_append(&link->again, &call->link);
    link->is_refused = true;
    if (link->state == LINK_READY) link_move(link, LINK_AGAIN);
}

static void note_refusal(struct link *link, const struct link_call *call, struct bytes text)
{
    if (call->is_optional) return;
    refusal_write(link->place->text, text, link->refusal, sizeof link->refusal);
    if (link_refusal(link) == NULL) log_warn("%s", link->refusal);
    link->refused_ms = link_now_ms(link);
}

/* The call did not run, and nobody can help it. */
static void take_down(struct link *link, struct link_call *call, const struct reply *reply)
{
    if (!call->is_roaming || refusal_of(reply) != REFUSAL_ELSEWHERE)
        note_refusal(link, call, reply->text);
    call_end(link, call, ERR_STORE_DOWN, NULL);
}

/* Nor can another on this connection. */
static void take_end(struct link *link, struct link_call *call, const struct reply *reply)
{
    refusal_write(link->place->text, reply->text, link->problem, sizeof link->problem);
    call_end(link, call, ERR_STORE_DOWN, NULL);
    link_drop(link, NULL);
}

static void take_elsewhere(struct link *link, struct link_call *call, const struct reply *reply)
{
    if (call->route == 0) {
        take_down(link, call, reply);
        return;
    }
    check(link->calls_count > 0);
    link->calls_count--;
    link->events->on_elsewhere(link, call, reply);
}

static void take_call(struct link *link, const struct reply *reply)
{
    if (link->pending_count <= link->unsent_count) {
        link_drop(link, "Redis sent an answer that nobody asked for");
        return;
    }
    struct list *node = list_take(&link->pending);
    link->pending_count--;
    link->ended++;
    struct link_call *call = container_of(node, struct link_call, link);
    switch (refusal_of(reply)) {
    case REFUSAL_NONE:
        if (refusal_is_of_script(reply)) note_refusal(link, call, reply->text);
        call_end(link, call, ERR_OK, reply);
        break;
    case REFUSAL_STALE:
        link->is_doubted = link->is_doubted || reply_is_error(reply, "LINEAGE");
        take_refused(link, call);
        break;
    case REFUSAL_ELSEWHERE: take_elsewhere(link, call, reply); break;
    case REFUSAL_CALL: take_down(link, call, reply); break;
    case REFUSAL_LINK: take_end(link, call, reply); break;
    }
    if (link->state == LINK_AGAIN && link->is_refused && list_is_empty(&link->pending)) {
        link->is_refused = false;
        link_hello(link, true);
    }
}

static void take_hello(struct link *link, const struct reply *reply)
{
    bool is_again = link->hello.is_again;
    enum err err = hello_take(&link->hello, reply);
    if (err != ERR_OK) {
        link_drop(link,
                  link->hello.problem[0] != 0 ? link->hello.problem : "Redis refuses to begin");
        return;
    }
    if (!hello_is_done(&link->hello)) return;
    link->lineage_ms = link_now_ms(link);
    if (link->is_doubted) link->settled_ms = link->lineage_ms;
    link->is_doubted = false;
    if (link->events->on_hello != NULL) link->events->on_hello(link);
    link_move(link, LINK_READY);
    list_put_back(&link->again, &link->waiting);
    if (is_again) return;
    log_info("linked to Redis address=%s role=%s", link->place->text, link_role_name(link->role));
    link->attempts = 0;
    link->down_ms = 0;
    link->problem[0] = 0;
    link->events->on_ready(link);
}

static void link_take(struct link *link, const struct reply *reply)
{
    if (link->state == LINK_HELLO || (link->state == LINK_AGAIN && list_is_empty(&link->pending))) {
        take_hello(link, reply);
    } else if (link->role == LINK_FEED) {
        link->events->on_push(link, reply);
    } else {
        take_call(link, reply);
    }
}

/* --- the socket ------------------------------------------------------------------------------ */

static struct link *links_find(struct links *links, uint32_t sock)
{
    list_each (node, &links->items) {
        struct link *link = container_of(node, struct link, item);
        if (link->sock == sock) return link;
    }
    return NULL;
}

/* Says hello as soon as words can be sent; until then the handshake goes on. */
static void link_begin(struct link *link)
{
    check(link->state == LINK_CONNECTING);
    if (wrap_is_open(&link->wrap)) {
        link_move(link, LINK_HELLO);
        link_hello(link, false);
    } else {
        link_send(link);
    }
}

static void links_on_connect(void *owner, uint32_t sock, int error)
{
    struct link *link = links_find(owner, sock);
    if (link == NULL || link->state != LINK_CONNECTING) return;
    if (error != 0) {
        link_drop_errno(link, "cannot reach Redis", error);
        return;
    }
    if (!wrap_begin(&link->wrap, link->options, link->place)) {
        link_drop(link, "no memory for TLS with Redis");
        return;
    }
    loop_recv_arm(link->links->loop, sock);
    link_begin(link);
}

/* Bytes as Redis meant them; false: the link is over. */
static bool link_hear(void *context, struct bytes plain)
{
    struct link *link = context;
    if (link->state == LINK_CONNECTING) link_begin(link);
    enum err err = resp_feed(link->in, plain.at, plain.size);
    while (err == ERR_OK && link->state != LINK_CLOSING) {
        const struct reply *reply;
        err = resp_next(link->in, &reply);
        if (err == ERR_OK && reply == NULL) return true;
        if (err == ERR_OK) link_take(link, reply);
    }
    if (err != ERR_OK) link_drop_errno(link, "no Redis", EPROTO);
    return false;
}

static void links_on_recv(void *owner, uint32_t sock, uint8_t *data, uint32_t size)
{
    struct link *link = links_find(owner, sock);
    char problem[HELLO_PROBLEM_MAX];
    if (link == NULL || link->state == LINK_CLOSING) return;
    enum secure_result result =
        wrap_open(&link->wrap, bytes_of(data, size), link_hear, link, link->place, problem);
    if (link->state == LINK_CONNECTING) link_begin(link);
    if (result == SECURE_FAILED) link_drop(link, problem);
    if (result == SECURE_ENDED) link_drop_errno(link, "lost Redis", 0);
}

static void links_on_end(void *owner, uint32_t sock, int error)
{
    struct link *link = links_find(owner, sock);
    if (link != NULL) link_drop_errno(link, "lost Redis", error);
}

static void links_on_send(void *owner, uint32_t sock, uint32_t sent, int error)
{
    (void)sent;
    struct link *link = links_find(owner, sock);
    if (link == NULL) return;
    link->is_sending = false;
    wrap_clear(&link->wrap);
    resp_clear(&link->outs[link->filling ^ 1]);
    if (link->state == LINK_CLOSING) return;
    if (error != 0) {
        link_drop_errno(link, "lost Redis", error);
    } else {
        link_send(link);
    }
}

static void links_on_closed(void *owner, uint32_t sock)
{
    struct link *link = links_find(owner, sock);
    if (link == NULL) return;
    check(link->state == LINK_CLOSING);
    link->sock = SOCK_NONE;
    link->is_sending = false;
    link->unsent_count = 0;
    wrap_end(&link->wrap);
    resp_clear(&link->outs[0]);
    resp_clear(&link->outs[1]);
    resp_in_reset(link->in);
    link->retry_ms = link_now_ms(link) + link_backoff_ms(link);
    link_move(link, link->is_stopping ? LINK_OFF : LINK_WAITING);
}

static const struct sock_handlers links_handlers = {
    .on_connect = links_on_connect,
    .on_recv = links_on_recv,
    .on_end = links_on_end,
    .on_send = links_on_send,
    .on_closed = links_on_closed,
};

/* --- time ------------------------------------------------------------------------------------ */

static void link_connect(struct link *link)
{
    const struct net_address *address = &link->place->address;
    check(link->sock == SOCK_NONE);
    link->sock = loop_connect(link->links->loop, link->links->kind,
                              (const struct sockaddr *)&address->storage, address->size);
    if (link->sock == SOCK_NONE) {
        link->attempts++;
        link->retry_ms = link_now_ms(link) + link_backoff_ms(link);
        link_say(link, "no socket is free for the link to Redis");
        return;
    }
    link_move(link, LINK_CONNECTING);
}

static void link_check_silence(struct link *link, uint64_t now_ms)
{
    const struct redis_options *options = link->options;
    bool is_connecting = link->state == LINK_CONNECTING || link->state == LINK_HELLO;
    if (is_connecting && now_ms >= link->since_ms + options->connect_timeout_ms) {
        link_drop_errno(link, "cannot reach Redis", ETIMEDOUT);
    } else if (link->state == LINK_AGAIN && now_ms >= link->since_ms + options->io_timeout_ms) {
        link_drop_errno(link, "no answer from Redis", ETIMEDOUT);
    } else if (!list_is_empty(&link->pending)) {
        struct link_call *oldest = container_of(link->pending.next, struct link_call, link);
        if (now_ms >= oldest->due_ms + options->io_timeout_ms)
            link_drop_errno(link, "no answer from Redis", ETIMEDOUT);
    }
}

static void link_on_timer(struct timer *timer)
{
    struct link *link = container_of(timer, struct link, timer);
    uint64_t now_ms = link_now_ms(link);
    if (link->is_stopping) return;
    if (link->state == LINK_WAITING && now_ms >= link->retry_ms) link_connect(link);
    link_check_silence(link, now_ms);
    if (link->state != LINK_READY) calls_expire(link, now_ms);
    if (timer_is_armed(timer)) return;
    bool is_quiet = link->state == LINK_READY && link->calls_count == 0;
    uint64_t next_ms = now_ms + TICK_MS;
    if (link->state == LINK_WAITING)
        next_ms = max_u64(now_ms + 1, min_u64(next_ms, link->retry_ms));
    if (!is_quiet) wheel_arm(link->links->wheel, timer, next_ms, link_on_timer);
}

/* --- life ------------------------------------------------------------------------------------ */

void links_init(struct links *links, enum sock_kind kind, struct loop *loop, struct wheel *wheel,
                struct clock *clock, struct rng *rng)
{
    *links = (struct links){.kind = kind, .loop = loop, .wheel = wheel, .clock = clock, .rng = rng};
    list_init(&links->items);
    loop_handle(loop, kind, &links_handlers, links);
}

void link_start(struct link *link, struct links *links, const struct redis_options *options,
                const struct redis_place *place, enum link_role role,
                const struct link_events *events, void *owner)
{
    check(link->state == LINK_OFF);
    list_append(&links->items, &link->item);
    link->links = links;
    link->options = options;
    link->place = place;
    link->role = role;
    link->events = events;
    link->owner = owner;
    link->sock = SOCK_NONE;
    link->in = resp_in_create();
    list_init(&link->waiting);
    list_init(&link->pending);
    list_init(&link->again);
    list_init(&link->refused);
    link_say(link, "not linked to Redis yet");
    link_move(link, LINK_WAITING);
    link->down_ms = link->since_ms;
    wheel_arm(links->wheel, &link->timer, link->since_ms, link_on_timer);
}

void link_stop(struct link *link)
{
    link->is_stopping = true;
    link_drop(link, "it is no primary of ours any more");
    if (link->state == LINK_WAITING) link_move(link, LINK_OFF);
}

void link_resume(struct link *link)
{
    check(link->is_stopping);
    link->is_stopping = false;
    link->attempts = 0;
    link->down_ms = link->retry_ms = link_now_ms(link);
    link_say(link, "not linked to Redis yet");
    if (link->state == LINK_OFF) link_move(link, LINK_WAITING);
}

static bool links_are_off(const struct links *links)
{
    list_each (node, &links->items) {
        if (container_of(node, struct link, item)->sock != SOCK_NONE) return false;
    }
    return true;
}

void links_fini(struct links *links)
{
    list_each (node, &links->items) {
        struct link *link = container_of(node, struct link, item);
        link->is_stopping = true;
        link_drop(link, "the store is closing");
        wheel_disarm(links->wheel, &link->timer);
    }
    uint64_t due_ms = clock_turn_ms(links->clock) + STOP_MS;
    while (!links_are_off(links) && clock_turn_ms(links->clock) < due_ms) {
        loop_enter(links->loop, clock_turn_ms(links->clock) + 10);
        clock_turn(links->clock);
        loop_run(links->loop);
    }
    struct list *node;
    while ((node = list_take(&links->items)) != NULL) {
        struct link *link = container_of(node, struct link, item);
        calls_end(link, &link->waiting, ERR_STORE_DOWN);
        calls_end(link, &link->refused, ERR_STORE_DOWN);
        wheel_disarm(links->wheel, &link->timer);
        wrap_end(&link->wrap);
        resp_in_destroy(link->in);
        resp_fini(&link->outs[0]);
        resp_fini(&link->outs[1]);
    }
}
