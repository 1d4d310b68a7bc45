/* A flight ends when every script, its WAIT and every confirm has; then its calls
 * end in order.  The next flight may leave as soon as the WAIT has ended. */
#include "storage/redis/confirm.h"

#include <stdio.h>

#include "core/check.h"
#include "core/log.h"
#include "core/mem.h"
#include "storage/redis/append.h"
#include "storage/redis/known.h"

struct flight {
    struct redis_server *server;
    struct list calls; /* struct append_call, in the order of their batches */
    uint32_t calls_count;
    uint32_t under_way; /* calls without an answer, the WAIT included */
    bool has_left;
    struct link_call wait;
    uint64_t wait_connection, wait_order; /* when it was written last */
    int64_t replicas;                     /* that WAIT counted; negative: it did not answer */
};

/* --- boarding -------------------------------------------------------------------------------- */

static void wait_write(struct link_call *base, struct link *link, struct resp_out *out)
{
    struct flight *flight = container_of(base, struct flight, wait);
    const struct redis_options *options = link->options;
    flight->wait_connection = flight->server->publish_connection;
    flight->wait_order = ++flight->server->publish_order;
    resp_begin(out, 3);
    resp_text(out, "WAIT");
    resp_number(out, options->wait_replicas);
    resp_number(out, options->wait_timeout_ms);
}

static void wait_on_end(struct link_call *base, enum err err, const struct reply *reply);

static struct flight *flight_create(struct redis_server *server)
{
    struct flight *flight = mem_alloc(sizeof *flight);
    flight->server = server;
    flight->wait.write = wait_write;
    flight->wait.on_end = wait_on_end;
    list_init(&flight->calls);
    return flight;
}

bool confirm_board(struct redis_server *server, struct append_call *call)
{
    if (server->flight == NULL) server->flight = flight_create(server);
    struct flight *flight = server->flight;
    if (flight->has_left || flight->calls_count == FLIGHT_CALLS) return false;
    check(!list_is_linked(&call->batch) && call->flight == NULL);
    call->flight = flight;
    list_append(&flight->calls, &call->batch);
    flight->calls_count++;
    return true;
}

static void flight_wait(struct flight *flight)
{
    struct link *link = &flight->server->publish;
    flight->under_way++;
    link_call(link, &flight->wait, link_due_ms(link));
}

void confirm_submit(struct redis_server *server)
{
    struct flight *flight = server->flight;
    struct link *link = &server->publish;
    if (flight == NULL || flight->has_left) return;
    check(flight->calls_count > 0);
    flight->has_left = true;
    list_each (node, &flight->calls) {
        struct append_call *call = container_of(node, struct append_call, batch);
        flight->under_way++;
        call->call.route = call->partition + 1;
        if (call->call.limit_ms == 0)
            call->call.limit_ms = redis_now_ms(server->redis) + link->options->io_timeout_ms;
        link_call(link, &call->call, link_due_ms(link));
    }
    flight_wait(flight);
}

/* --- confirming ------------------------------------------------------------------------------ */

/* A live publication was announced by the script: nothing of it is held, nor of what met
 * damage. */
static bool record_is_held(const struct append_record *record)
{
    return record->kind != 'l' && !record->is_damaged;
}

static uint32_t call_held(const struct append_call *call)
{
    uint32_t count = 0;
    list_each (node, &call->records) {
        count += record_is_held(container_of(node, struct append_record, link));
    }
    return count;
}

static void record_write(const struct append_record *record, struct resp_out *out)
{
    bool is_position = append_is_repeat(record) || record->op == NULL || record->kind == 'k';
    bool has_body = !is_position && record->kind == 'p';
    resp_bytes(out, is_position ? BYTES_LITERAL("h") : bytes_of(&record->kind, 1));
    resp_bytes(out, append_channel(record));
    resp_number(out, record->head);
    resp_number(out, record->revision);
    resp_bytes(out, has_body ? append_body(record) : BYTES_NONE);
}

static void confirm_write(struct link_call *base, struct link *link, struct resp_out *out)
{
    struct append_call *call = container_of(base, struct append_call, call);
    struct redis_server *server = link->owner;
    char origin[64];
    if (call->connection != server->publish_connection) {
        /* Perhaps another server; a command must be written all the same. */
        call->err = ERR_STORE_UNKNOWN;
        resp_begin(out, 1);
        resp_text(out, "PING");
        return;
    }
    uint64_t started_ns = call->started_ns;
    append_number(call, server);
    call->started_ns = started_ns; /* the whole way is its time */
    redis_write_script(link, out, SCRIPT_CONFIRM, call->partition, 2 + call_held(call) * 5);
    resp_bytes(out, append_origin(call, origin, sizeof origin));
    append_write_streams(call->redis->store.env.config, out);
    list_each (node, &call->records) {
        const struct append_record *record = container_of(node, struct append_record, link);
        if (record_is_held(record)) record_write(record, out);
    }
}

/* Takes what was announced of the cursors; false: the script stopped in the middle. */
static bool confirm_answer(struct append_call *call, const struct reply *reply)
{
    uint32_t at = 1;
    if (reply->type != REPLY_ARRAY || reply->count != call_held(call) + 1) return false;
    if (position_read(reply_text(reply->items[0]), &call->position) != ERR_OK) return false;
    known_learn(call->redis, call->partition, &call->position, call->position.sure);
    list_each (node, &call->records) {
        struct append_record *record = container_of(node, struct append_record, link);
        if (!record_is_held(record)) continue;
        const struct reply *number = reply->items[at++];
        if (number->type != REPLY_INTEGER || number->integer < 0) return false;
        bool is_cursor = announcement_mark((enum announcement_kind)record->kind) < CURSOR_MARKS &&
                         !append_is_repeat(record);
        if (is_cursor) record->result = (uint64_t)number->integer * 2;
    }
    return true;
}

static void flight_end(struct flight *flight)
{
    struct list returned, *node;
    check(flight->under_way == 0 && flight->server->flight != flight);
    list_init(&returned);
    while ((node = list_take(&flight->calls)) != NULL) {
        struct append_call *call = container_of(node, struct append_call, batch);
        if (!call->is_returned) {
            append_end(call, call->err);
            continue;
        }
        call->is_returned = false;
        call->flight = NULL;
        list_append(&returned, node);
    }
    append_return(flight->server->redis, &returned);
    mem_free(flight);
}

static void confirm_on_end(struct link_call *base, enum err err, const struct reply *reply)
{
    struct append_call *call = container_of(base, struct append_call, call);
    struct flight *flight = call->flight;
    if (err == ERR_OK && call->err == ERR_OK && !confirm_answer(call, reply)) {
        log_error("Redis could not run a confirmation to its end: %.*s",
                  (int)min_u64(reply->text.size, 200), (const char *)reply->text.at);
        err = ERR_STORE_UNKNOWN;
    }
    /* What is held may be confirmed by anybody yet: never less than unknown. */
    if (err != ERR_OK) call->err = ERR_STORE_UNKNOWN;
    if (--flight->under_way == 0) flight_end(flight);
}

/* --- judging --------------------------------------------------------------------------------- */

/* A script that was refused at first was written again, maybe behind the WAIT. */
static bool flight_must_wait_again(const struct flight *flight)
{
    list_each (node, &flight->calls) {
        const struct append_call *call = container_of(node, struct append_call, batch);
        bool is_sound = call->err == ERR_OK && call->connection == flight->wait_connection;
        if (is_sound && call->order > flight->wait_order) return true;
    }
    return false;
}

static void flight_judge(struct flight *flight)
{
    struct redis_server *server = flight->server;
    uint32_t wanted = server->redis->node->options.wait_replicas;
    bool is_enough = flight->replicas >= (int64_t)wanted;
    if (flight->replicas >= 0) server->replicas = (uint32_t)flight->replicas;
    server->now.replicas_most = max_u32(server->now.replicas_most, server->replicas);
    /* The first one gives the data set another name, and a fail-over goes by that. */
    if (flight->replicas > (int64_t)server_said(server)->replicas) facts_look_first(server);
    check(server->flight == flight);
    server->flight = NULL; /* the next one may board */
    list_each (node, &flight->calls) {
        struct append_call *call = container_of(node, struct append_call, batch);
        if (call->err != ERR_OK) continue;
        if (!is_enough || call->connection != flight->wait_connection) {
            call->err = ERR_STORE_UNKNOWN;
            continue;
        }
        known_learn(call->redis, call->partition, &call->position, call->position.count);
        if (call_held(call) > 0) {
            call->call.route = 0; /* its records are held here: it goes nowhere else */
            call->call.write = confirm_write;
            call->call.on_end = confirm_on_end;
            flight->under_way++;
            link_call(&server->publish, &call->call, link_due_ms(&server->publish));
        }
    }
    if (flight->under_way == 0) flight_end(flight);
}

static void flight_step(struct flight *flight)
{
    check(flight->under_way > 0 && flight->has_left);
    if (--flight->under_way > 0) return;
    if (flight->replicas >= 0 && flight_must_wait_again(flight)) {
        flight_wait(flight);
    } else {
        flight_judge(flight);
    }
}

static void wait_on_end(struct link_call *base, enum err err, const struct reply *reply)
{
    struct flight *flight = container_of(base, struct flight, wait);
    bool is_number = err == ERR_OK && reply->type == REPLY_INTEGER && reply->integer >= 0;
    flight->replicas = is_number ? reply->integer : -1;
    if (err == ERR_OK && !is_number)
        log_error("Redis refuses WAIT: %.*s", (int)min_u64(reply->text.size, 200),
                  (const char *)reply->text.at);
    flight_step(flight);
}

void confirm_on_appended(struct append_call *call, enum err err, const struct reply *reply)
{
    call->err = err;
    if (err == ERR_OK && !append_answer(call, reply)) call->err = append_failure(reply);
    flight_step(call->flight);
}

void confirm_on_elsewhere(struct link *link, struct link_call *base, const struct reply *reply)
{
    struct append_call *call = container_of(base, struct append_call, call);
    call->err = ERR_STORE_DOWN;
    call->is_returned = true;
    route_redirect(link, call->partition, reply);
    flight_step(call->flight);
}

/* --- life ------------------------------------------------------------------------------------ */

void confirm_on_lost(struct link *link)
{
    struct redis_server *server = link->owner;
    server->publish_connection++;
}
