/*
 * conn_tls: handshakes by the worker, records in and out.
 *
 * A handshake's bytes collect in `input`; whole records of them become the job's, and
 * what comes meanwhile collects anew.  A handshake that was begun goes
 * before those that wait: what was paid for the key is not lost to a deadline, and
 * a client of a storm waits once.
 */
#include "shards/conn/conn_tls.h"

#include <errno.h>

#include "core/check.h"
#include "core/log.h"
#include "core/mem.h"
#include "shards/node.h"
#include "shards/shard.h"

/* Bytes that a peer may send ahead of its handshake; then it waits in the kernel. */
#define AHEAD_MAX 32768

enum tls_state { TLS_NAMELESS, TLS_SHAKING, TLS_HELD, TLS_OPEN, TLS_OVER };

/* How many handshakes of one address are under way; the map's key is inside. */
struct address {
    uint8_t bytes[16];
    uint32_t count;
};

struct conn_tls {
    struct job job;
    struct timer deadline;
    struct shard *shard;
    struct tls_context *context; /* counted, until the session has it */
    struct tls_session *session; /* NULL before the first whole record */
    struct address *address;     /* counted there, or NULL */
    uint8_t *input;              /* bytes of the wire that wait for the handshake */
    uint8_t *work;               /* those that the job has */
    struct frame *cipher;        /* records on their way, or NULL */
    uint64_t deadline_ns;
    uint32_t conn;
    uint32_t input_size, input_room;
    /* The worker's: no byte of the shard's shares their words, because a compiler may
     * read neighbours together. */
    uint32_t work_size, work_used;
    uint32_t result; /* enum tls_result of the job */
    uint32_t cipher_sent;
    uint32_t covered; /* pending bytes of the connection that `cipher` holds, while BLOCKED */
    uint8_t state;    /* enum tls_state */
    bool is_under_way;
    bool is_disarmed; /* AHEAD_MAX was reached */
    bool is_cut;      /* the socket ended while HELD; what came before is still to be read */
    bool is_mute;     /* no frame for the last words: it ends without them */
    bool has_parted;
};

static struct conn_tls *side_of(struct shard *shard, const struct conn *conn)
{
    check(conn->flags & CONN_TLS);
    struct conn_tls *tls = slab_at(&shard->tls.sides, conn_index(shard, conn));
    check(tls != NULL);
    return tls;
}

/* --- the pool --------------------------------------------------------------- */

void conn_tls_pool_init(struct conn_tls_pool *pool, struct tls_context *context, uint64_t seed,
                        uint32_t socks_max)
{
    slab_init(&pool->sides, "conn_tls", sizeof(struct conn_tls), socks_max);
    map_init(&pool->addresses, seed);
    if (context == NULL) return;
    pool->context = tls_context_ref(context);
    pool->plain = mem_alloc(TLS_RECORD_MAX);
}

void conn_tls_pool_fini(struct conn_tls_pool *pool)
{
    check(pool->addresses.count == 0);
    map_fini(&pool->addresses);
    slab_fini(&pool->sides);
    mem_free(pool->plain);
    tls_context_unref(pool->context);
}

void conn_tls_use(struct conn_tls_pool *pool, struct tls_context *context)
{
    check(context != NULL && pool->context != NULL);
    tls_context_ref(context);
    tls_context_unref(pool->context);
    pool->context = context;
}

/* --- addresses ---------------------------------------------------------------- */

/* False when the address has as many handshakes under way as it may.  A host of IPv6
 * has a /64 to itself, so that is what counts. */
static bool address_take(struct shard *shard, struct conn_tls *tls, const uint8_t bytes[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    uint8_t key[16] = {0};
    bool is_ipv4 = memcmp(bytes, mapped, sizeof mapped) == 0;
    memcpy(key, bytes, is_ipv4 ? 16 : 8);
    struct address *address = map_find(&shard->tls.addresses, bytes_of(key, sizeof key));
    if (address == NULL) {
        address = mem_alloc(sizeof *address);
        memcpy(address->bytes, key, sizeof key);
        map_put(&shard->tls.addresses, bytes_of(address->bytes, sizeof key), address);
    } else if (address->count >= shard->config->http_server_tls_handshakes_per_address) {
        return false;
    }
    address->count++;
    tls->address = address;
    return true;
}

static void address_give(struct shard *shard, struct conn_tls *tls)
{
    struct address *address = tls->address;
    if (address == NULL) return;
    tls->address = NULL;
    check(address->count > 0);
    if (--address->count > 0) return;
    map_remove(&shard->tls.addresses, bytes_of(address->bytes, sizeof address->bytes));
    mem_free(address);
}

/* --- beginning and end of a handshake -------------------------------------------- */

static void handshake_over(struct shard *shard, struct conn_tls *tls)
{
    if (!tls->is_under_way) return;
    tls->is_under_way = false;
    metric_sub(&shard->metrics, METRIC_TLS_UNDER_WAY, 1);
    wheel_disarm(&shard->wheel, &tls->deadline);
    address_give(shard, tls);
}

static void handshake_late(struct shard *shard, struct conn_tls *tls)
{
    metric_add(&shard->metrics, METRIC_TLS_LATE, 1);
    log_debug("tls handshake not in time");
    conn_close_peer(shard, conn_at(shard, tls->conn));
}

/* Also while HELD: the connection then waits, dying, for the worker. */
static void on_deadline(struct timer *timer)
{
    struct conn_tls *tls = container_of(timer, struct conn_tls, deadline);
    handshake_late(tls->shard, tls);
}

void conn_tls_accept(struct shard *shard, struct conn *conn)
{
    uint32_t sock = conn_index(shard, conn);
    struct handle handle;
    struct conn_tls *tls = slab_get_at(&shard->tls.sides, sock, &handle);
    check(tls != NULL); /* as many as connections */
    conn->flags |= CONN_TLS;
    tls->shard = shard;
    tls->conn = sock;
    tls->context = tls_context_ref(shard->tls.context);
    tls->is_under_way = true;
    metric_add(&shard->metrics, METRIC_TLS_UNDER_WAY, 1);
    uint64_t timeout_ms = shard->config->http_server_tls_handshake_timeout_ms;
    tls->deadline_ns = shard->clock.mono_ns + timeout_ms * 1000000u;
    wheel_arm(&shard->wheel, &tls->deadline, clock_turn_ms(&shard->clock) + timeout_ms,
              on_deadline);
    if (shard->config->http_server_tls_handshakes_per_address > 0) {
        tls->state = TLS_NAMELESS;
        loop_ask_peer(shard->loop, sock);
    } else {
        tls->state = TLS_SHAKING;
        loop_recv_arm(shard->loop, sock);
    }
}

void conn_tls_on_peer(void *context, uint32_t sock, const uint8_t address[16], int error)
{
    struct shard *shard = context;
    struct conn *conn = conn_at(shard, sock);
    check(conn != NULL);
    if (conn->state == CONN_DYING) return;
    struct conn_tls *tls = side_of(shard, conn);
    check(tls->state == TLS_NAMELESS);
    tls->state = TLS_SHAKING;
    if (error == EOPNOTSUPP || error == EAFNOSUPPORT) {
        if (!shard->tls.is_nameless_told)
            log_warn(
                "http_server.tls.handshakes_per_address is not kept: this kernel does not tell "
                "addresses; take Linux 6.7 or newer");
        shard->tls.is_nameless_told = true;
    } else if (error == 0 && !address_take(shard, tls, address)) {
        metric_add(&shard->metrics, METRIC_TLS_LIMITED, 1);
        conn_close_peer(shard, conn);
        return;
    }
    loop_recv_arm(shard->loop, sock);
}

/* Ends the connection after what TLS still has to say. */
static void tls_fail(struct shard *shard, struct conn *conn, struct conn_tls *tls, const char *why)
{
    bool was_under_way = tls->is_under_way;
    log_debug("tls %s failed reason=\"%s\"", was_under_way ? "handshake" : "session", why);
    metric_add(&shard->metrics, METRIC_TLS_FAILED, was_under_way);
    handshake_over(shard, tls);
    tls->state = TLS_OVER;
    if (!was_under_way || tls->session == NULL || !tls_has_output(tls->session)) {
        conn_close_peer(shard, conn);
        return;
    }
    /* As an error of HTTP: the alert goes, then the peer has a while to read it. */
    conn->flags |= CONN_CLOSE_SENT;
    conn_due(shard, conn, shard_second(shard) + CONN_CLOSING_S);
    conn_mark_dirty(shard, conn);
}

/* Somebody speaks HTTP to this port: the connection goes on without TLS for as long as
 * it takes to say so. */
static void speak_plain(struct shard *shard, struct conn *conn)
{
    metric_add(&shard->metrics, METRIC_TLS_PLAIN, 1);
    conn_tls_free(shard, conn);
    conn_refuse(shard, conn, 400, "this port speaks TLS: use https:// or wss://\n");
}

/* --- the worker ---------------------------------------------------------------------- */

static void handshake_run(struct job *job, uint32_t thread)
{
    (void)thread;
    struct conn_tls *tls = container_of(job, struct conn_tls, job);
    tls->work_used = 0;
    tls->result = TLS_MORE;
    /* Too late already: the shard's timer says so, and the key has other work. */
    if (clock_mono_ns() >= tls->deadline_ns) return;
    if (tls->session == NULL) tls->session = tls_session_create(tls->context);
    if (tls->session == NULL) {
        tls->result = TLS_FAILED;
        return;
    }
    struct bytes input = bytes_of(tls->work, tls->work_size);
    tls->result = tls_handshake(tls->session, &input);
    tls->work_used = tls->work_size - (uint32_t)input.size;
}

static void handshake_go_on(struct shard *shard, struct conn *conn, struct conn_tls *tls);
static void open_input(struct shard *shard, struct conn *conn, struct conn_tls *tls,
                       struct bytes input);

/* Nothing more comes.  Behind a close_notify that is no news; without one a request may
 * have been cut short, so there is no answer to what came. */
void conn_tls_on_end(struct shard *shard, struct conn *conn, int error)
{
    struct conn_tls *tls = side_of(shard, conn);
    if (conn->flags & CONN_PEER_GONE && error == 0) return;
    if (tls->state == TLS_HELD && error == 0) {
        tls->is_cut = true;
        return;
    }
    conn->flags |= CONN_PEER_GONE;
    bool is_begun = tls->state == TLS_HELD || tls->session != NULL || tls->input_size > 0;
    if (tls->is_under_way && is_begun) metric_add(&shard->metrics, METRIC_TLS_FAILED, 1);
    if (tls->state == TLS_OPEN && !tls->has_parted)
        metric_add(&shard->metrics, METRIC_TLS_TRUNCATED, 1);
    if (conn->state != CONN_DYING) conn_close_peer(shard, conn);
}

/* The first bytes behind the handshake may have come with its last ones. */
static void handshake_done(struct shard *shard, struct conn *conn, struct conn_tls *tls)
{
    handshake_over(shard, tls);
    tls->state = TLS_OPEN;
    metric_add(&shard->metrics, METRIC_TLS_HANDSHAKES, 1);
    if (tls_is_resumed(tls->session)) metric_add(&shard->metrics, METRIC_TLS_RESUMED, 1);
    log_debug("tls session version=%s suite=%s resumed=%d", tls_version(tls->session),
              tls_suite(tls->session), tls_is_resumed(tls->session));
    conn_due(shard, conn, shard_second_after(shard, shard->config->http_server_header_timeout_ms));
    uint8_t *work = tls->work, *input = tls->input;
    struct bytes first = bytes_of(work + tls->work_used, tls->work_size - tls->work_used);
    struct bytes then = bytes_of(input, tls->input_size);
    tls->work = tls->input = NULL;
    tls->work_size = tls->input_size = tls->input_room = 0;
    if (tls->is_disarmed && !(conn->flags & CONN_PEER_GONE)) loop_recv_arm(shard->loop, tls->conn);
    tls->is_disarmed = false;
    open_input(shard, conn, tls, first);
    open_input(shard, conn, tls, then);
    mem_free(work);
    mem_free(input);
    if (tls->is_cut) conn_tls_on_end(shard, conn, 0);
}

static void handshake_answered(struct job *job, void *context)
{
    struct shard *shard = context;
    struct conn_tls *tls = container_of(job, struct conn_tls, job);
    struct conn *conn = conn_at(shard, tls->conn);
    check(conn != NULL && tls->state == TLS_HELD);
    tls->state = TLS_SHAKING;
    if (tls->session != NULL) {
        tls_context_unref(tls->context);
        tls->context = NULL;
    }
    if (conn->state == CONN_DYING) {
        tls->state = TLS_OVER;
        conn_settle(shard, conn);
        return;
    }
    if (tls->session != NULL && tls_has_output(tls->session)) conn_mark_dirty(shard, conn);
    switch ((enum tls_result)tls->result) {
    case TLS_DONE: handshake_done(shard, conn, tls); break;
    case TLS_MORE:
        if (tls->session == NULL) { /* the worker's clock was ahead of the timer */
            handshake_late(shard, tls);
            break;
        }
        mem_free(tls->work);
        tls->work = NULL;
        handshake_go_on(shard, conn, tls);
        if (tls->is_cut && tls->state == TLS_SHAKING) conn_tls_on_end(shard, conn, 0);
        break;
    case TLS_ENDED:
    case TLS_FAILED:
        if (tls->is_cut) conn->flags |= CONN_PEER_GONE;
        tls_fail(shard, conn, tls, tls->session != NULL ? tls_failure(tls->session) : "no memory");
        break;
    }
}

static void input_save(struct shard *shard, struct conn_tls *tls, struct bytes bytes)
{
    if (bytes.size == 0) return;
    uint32_t need = tls->input_size + (uint32_t)bytes.size;
    if (need > tls->input_room) {
        tls->input_room = max_u32(need, 2 * tls->input_room);
        tls->input = mem_resize(tls->input, tls->input_room);
    }
    memcpy(tls->input + tls->input_size, bytes.at, bytes.size);
    tls->input_size = need;
    if (need < AHEAD_MAX || tls->is_disarmed || tls->state != TLS_HELD) return;
    tls->is_disarmed = true;
    loop_recv_disarm(shard->loop, tls->conn);
}

/* Gives what came to the worker, when a whole record is there. */
static void handshake_go_on(struct shard *shard, struct conn *conn, struct conn_tls *tls)
{
    check(tls->state == TLS_SHAKING && tls->work == NULL);
    struct bytes input = bytes_of(tls->input, tls->input_size);
    bool is_first = tls->session == NULL;
    uint32_t whole = (uint32_t)tls_records_whole(input);
    if (is_first) {
        switch (tls_hello_of(input)) {
        case TLS_HELLO_PART: return;
        case TLS_HELLO_WHOLE: break;
        case TLS_HELLO_PLAIN: speak_plain(shard, conn); return;
        case TLS_HELLO_NOISE: tls_fail(shard, conn, tls, "not TLS"); return;
        }
    } else if (whole == 0) {
        return;
    }
    tls->job = (struct job){
        .kind = WORKER_HANDSHAKE,
        .waiting_max = is_first ? shard->config->http_server_tls_handshake_queue : 0,
        .is_begun = !is_first,
        .run = handshake_run,
        .done = handshake_answered,
        .home = &shard->inbox,
    };
    tls->state = TLS_HELD;
    tls->work = tls->input;
    tls->work_size = whole;
    tls->input = NULL;
    tls->input_size = tls->input_room = 0;
    input_save(shard, tls, bytes_of(tls->work + whole, input.size - whole));
    if (workers_submit(shard->node->workers, &tls->job) == ERR_OK) return;
    tls->state = TLS_OVER;
    metric_add(&shard->metrics, METRIC_TLS_REFUSED, 1);
    conn_close_peer(shard, conn);
}

/* --- in ---------------------------------------------------------------------------------- */

/* The peer said close_notify: as the end of the socket, but nothing was cut off. */
static void peer_ended(struct shard *shard, struct conn *conn)
{
    if (conn->flags & CONN_PEER_GONE) return;
    loop_recv_disarm(shard->loop, conn_index(shard, conn));
    conn->flags |= CONN_PEER_GONE;
    if (conn->flags & CONN_LINGERS || conn->state != CONN_HTTP)
        conn_close_peer(shard, conn);
    else
        conn_end_http(shard, conn);
}

static void open_input(struct shard *shard, struct conn *conn, struct conn_tls *tls,
                       struct bytes input)
{
    while (tls->state == TLS_OPEN && conn->state != CONN_DYING) {
        size_t size = 0;
        enum tls_result result =
            tls_open(tls->session, &input, shard->tls.plain, TLS_RECORD_MAX, &size);
        if (tls_has_output(tls->session)) conn_mark_dirty(shard, conn);
        switch (result) {
        case TLS_DONE: conn_input(shard, conn, shard->tls.plain, (uint32_t)size); break;
        case TLS_MORE: return;
        case TLS_ENDED: peer_ended(shard, conn); return;
        case TLS_FAILED: tls_fail(shard, conn, tls, tls_failure(tls->session)); return;
        }
    }
}

void conn_tls_recv(struct shard *shard, struct conn *conn, const uint8_t *data, uint32_t size)
{
    if (conn->state == CONN_DYING) return;
    struct conn_tls *tls = side_of(shard, conn);
    switch ((enum tls_state)tls->state) {
    case TLS_OPEN: open_input(shard, conn, tls, bytes_of(data, size)); break;
    case TLS_SHAKING:
    case TLS_HELD:
        input_save(shard, tls, bytes_of(data, size));
        if (tls->state == TLS_SHAKING) handshake_go_on(shard, conn, tls);
        break;
    case TLS_OVER: break;
    case TLS_NAMELESS: impossible("nothing is received before the address is known");
    }
}

/* --- out ------------------------------------------------------------------------------------ */

static void cipher_forget(struct shard *shard, struct conn_tls *tls)
{
    if (tls->cipher != NULL) frame_unref(&shard->frames, tls->cipher);
    tls->cipher = NULL;
    tls->cipher_sent = 0;
}

bool conn_tls_speaks(struct shard *shard, struct conn *conn)
{
    const struct conn_tls *tls = side_of(shard, conn);
    return tls->state != TLS_HELD && !tls->is_mute && tls->session != NULL &&
           tls_has_output(tls->session);
}

bool conn_tls_send(struct shard *shard, struct conn *conn, struct bytes plain)
{
    struct conn_tls *tls = side_of(shard, conn);
    check(tls->cipher == NULL && tls->covered == 0);
    if (plain.size > 0) check(tls->state == TLS_OPEN);
    if (plain.size == 0 && !conn_tls_speaks(shard, conn)) return false;
    size_t bound = tls_seal_bound(tls->session, plain.size);
    struct frame *frame = frame_new(&shard->frames, (uint32_t)bound);
    struct writer writer = writer_of(frame == NULL ? NULL : frame_payload(frame), bound);
    if (frame == NULL || !tls_seal(tls->session, plain, &writer)) {
        if (frame != NULL) frame_unref(&shard->frames, frame);
        tls->is_mute = true;
        conn_close_peer(shard, conn);
        return false;
    }
    frame_seal(frame, BYTES_NONE, (uint32_t)writer.used);
    tls->cipher = frame;
    loop_send_now(shard->loop, tls->conn, frame->bytes, frame->size);
    return true;
}

bool conn_tls_is_sending(struct shard *shard, struct conn *conn)
{
    return side_of(shard, conn)->cipher != NULL && !(conn->flags & CONN_BLOCKED);
}

void conn_tls_sent(struct shard *shard, struct conn *conn)
{
    cipher_forget(shard, side_of(shard, conn));
}

uint32_t conn_tls_on_send(struct shard *shard, struct conn *conn, uint32_t sent, bool is_over)
{
    struct conn_tls *tls = side_of(shard, conn);
    check(tls->cipher != NULL);
    if (conn->out_flight > 0) tls->covered = conn->out_flight;
    tls->cipher_sent += sent;
    check(tls->cipher_sent <= tls->cipher->size);
    if (sent > 0) conn->flags |= CONN_MOVED;
    uint32_t gone = tls->cipher_sent == tls->cipher->size ? tls->covered : 0;
    if (tls->cipher_sent < tls->cipher->size && !is_over) return 0;
    cipher_forget(shard, tls);
    tls->covered = 0;
    return gone;
}

void conn_tls_send_rest(struct shard *shard, struct conn *conn)
{
    const struct conn_tls *tls = side_of(shard, conn);
    check(tls->cipher != NULL && conn->flags & CONN_BLOCKED);
    loop_send_wait(shard->loop, tls->conn, tls->cipher->bytes + tls->cipher_sent,
                   tls->cipher->size - tls->cipher_sent);
}

uint32_t conn_tls_commit(struct shard *shard, struct conn *conn)
{
    struct conn_tls *tls = side_of(shard, conn);
    uint32_t covered = tls->covered;
    tls->covered = 0;
    return covered;
}

/* --- the end ---------------------------------------------------------------------------------- */

bool conn_tls_part(struct shard *shard, struct conn *conn)
{
    struct conn_tls *tls = side_of(shard, conn);
    if (tls->state != TLS_OPEN || tls->has_parted) return false;
    tls->has_parted = true;
    tls_goodbye(tls->session);
    if (!tls_has_output(tls->session)) return false;
    conn_mark_dirty(shard, conn);
    return true;
}

/* Records that wait for a peer that does not read are not waited for; what can leave
 * with the next enter is. */
bool conn_tls_delays_end(struct shard *shard, struct conn *conn)
{
    struct conn_tls *tls = side_of(shard, conn);
    handshake_over(shard, tls);
    if (tls->state == TLS_HELD) return true;
    if (conn->flags & CONN_BLOCKED) return false;
    if (tls->cipher != NULL) return true;
    if (conn->flags & (CONN_SOCK_CLOSED | CONN_CLOSING_SOCK)) return false;
    (void)conn_tls_part(shard, conn);
    if (!conn_tls_speaks(shard, conn)) return false;
    conn_mark_dirty(shard, conn);
    return true;
}

void conn_tls_free(struct shard *shard, struct conn *conn)
{
    struct conn_tls *tls = side_of(shard, conn);
    check(tls->state != TLS_HELD);
    handshake_over(shard, tls);
    cipher_forget(shard, tls);
    tls_session_destroy(tls->session);
    tls_context_unref(tls->context);
    mem_free(tls->input);
    mem_free(tls->work);
    conn->flags &= ~(uint32_t)CONN_TLS;
    slab_put(&shard->tls.sides, tls);
}
