/*
 * digest: pages, states, parts.
 */
#include "shards/cmd/digest.h"

#include <stdio.h>

#include "core/check.h"
#include "core/crypt.h"
#include "core/hash.h"
#include "core/map.h"
#include "core/mem.h"
#include "shards/call.h"
#include "shards/home.h"
#include "shards/json_out.h"
#include "shards/letter_receipt.h"
#include "shards/shard.h"

#define PARTS_LOG      8
#define PARTS_MAX      (1u << PARTS_LOG)
/* "<log2 of parts>.<base64url of 32 bits each>.<base64url of a sum and names>" */
#define SUMS_MAX       (2 + (PARTS_MAX * 4 * 4 + 2) / 3)
/* A sum over the channels, and their names, each behind a byte with its size, while there is
 * room for all of them. */
#define NAMES_MAX      2048u
#define SET_MAX        (4 + NAMES_MAX)
#define VERSION_MAX    (SUMS_MAX + 1 + (SET_MAX * 4 + 2) / 3)
/* The same in every process: versions outlive them. */
#define DIGEST_SEED    0x646967657374ull
/* Between two looks for credit. */
#define DIGEST_WAIT_MS 5

/* A channel as it will be told, if it is. */
struct told_at {
    size_t at, size; /* in digest.text */
    uint32_t part;
};

struct digest {
    struct shard *shard;
    struct conn *conn; /* counted in its calls_count */
    digest_fn on_done;
    uint32_t id;
    struct timer timer; /* for credit */
    struct store_memberships listing;
    uint8_t user[USER_ID_MAX], after[CHANNEL_NAME_MAX];
    uint32_t then_log; /* PARTS_LOG + 1: there is no version */
    uint32_t then[PARTS_MAX], now[PARTS_MAX];
    /* The channels that the user had then, and has now. */
    bool has_set;
    uint8_t then_set[SET_MAX];
    size_t then_size;
    struct map gone; /* of those named then: not seen by now; each in a byte of then_set */
    uint32_t now_sum;
    struct json_out names_now;
    /* The page under way. */
    uint8_t *names;
    struct bytes channels[RECEIPT_STATES_MAX];
    uint8_t homes[RECEIPT_STATES_MAX];
    uint32_t channels_count;
    bool has_more;
    bool is_settling; /* the page is none: homes say when what they answered is listed */
    uint32_t home;    /* the next to ask */
    uint32_t left;    /* homes to answer */
    enum err err;
    struct json_out text; /* the channels, one after another */
    struct told_at *told;
    uint32_t told_count, told_room;
};

/* --- versions ------------------------------------------------------------------------- */

static bool sums_parse(struct bytes version, uint32_t *log, uint32_t parts[PARTS_MAX])
{
    uint8_t raw[PARTS_MAX * 4];
    size_t used = 0;
    if (version.size < 3 || version.size > SUMS_MAX || version.at[1] != '.') return false;
    if (version.at[0] < '0' || version.at[0] > '0' + PARTS_LOG) return false;
    uint32_t said = (uint32_t)(version.at[0] - '0'), count = 1u << said;
    struct bytes text = bytes_of(version.at + 2, version.size - 2);
    if (crypt_base64_decode(text, true, raw, sizeof raw, &used) != ERR_OK || used != count * 4)
        return false;
    struct reader reader = reader_of(bytes_of(raw, used));
    for (uint32_t i = 0; i < count; i++) parts[i] = read_u32(&reader);
    *log = said;
    return true;
}

/* The sum of the channels and their names; *size 0: the version has none. */
static bool set_parse(struct bytes text, uint8_t set[SET_MAX], size_t *size)
{
    *size = 0;
    if (text.size == 0) return true;
    if (crypt_base64_decode(text, true, set, SET_MAX, size) != ERR_OK || *size < 4) return false;
    size_t at = 4;
    while (at < *size && set[at] > 0) at += 1u + set[at];
    return at == *size;
}

static struct bytes version_sums(struct bytes version)
{
    if (version.size < 3) return version;
    const uint8_t *dot = memchr(version.at + 2, '.', version.size - 2);
    return dot == NULL ? version : bytes_of(version.at, (size_t)(dot - version.at));
}

/* The empty one is of nothing: *log is PARTS_LOG + 1. */
static bool version_parse(struct bytes version, uint32_t *log, uint32_t parts[PARTS_MAX],
                          uint8_t set[SET_MAX], size_t *set_size)
{
    struct bytes sums = version_sums(version);
    *log = PARTS_LOG + 1;
    *set_size = 0;
    if (version.size == 0) return true;
    if (version.size > VERSION_MAX || !sums_parse(sums, log, parts)) return false;
    if (sums.size == version.size) return true;
    struct bytes rest = bytes_of(version.at + sums.size + 1, version.size - sums.size - 1);
    return rest.size > 0 && set_parse(rest, set, set_size);
}

bool digest_is_version(struct bytes version)
{
    uint32_t log, parts[PARTS_MAX];
    uint8_t set[SET_MAX];
    size_t size;
    return version_parse(version, &log, parts, set, &size);
}

/* Sums are exclusive ors, so fewer parts are those of more put together. */
static void fold(const uint32_t parts[PARTS_MAX], uint32_t log, uint32_t folded[PARTS_MAX])
{
    uint32_t count = 1u << log;
    for (uint32_t i = 0; i < count; i++) folded[i] = 0;
    for (uint32_t i = 0; i < PARTS_MAX; i++) folded[i % count] ^= parts[i];
}

static void version_write(struct json_out *out, const uint32_t parts[PARTS_MAX], uint32_t channels,
                          struct bytes set)
{
    uint32_t log = 0, folded[PARTS_MAX];
    while (log < PARTS_LOG && 1u << log < channels) log++;
    fold(parts, log, folded);
    uint8_t raw[PARTS_MAX * 4];
    struct writer writer = writer_of(raw, sizeof raw);
    for (uint32_t i = 0; i < 1u << log; i++) write_u32(&writer, folded[i]);
    char text[VERSION_MAX + 8];
    text[0] = (char)('0' + log);
    text[1] = '.';
    size_t size = 2 + crypt_base64url(writer_bytes(&writer), text + 2, sizeof text - 2);
    if (set.size > 0) {
        text[size++] = '.';
        size += crypt_base64url(set, text + size, sizeof text - size);
    }
    json_out_member_text(out, "version", bytes_of(text, size));
}

/* --- the end -------------------------------------------------------------------------- */

/* What the user's channels are, for the next version. */
static struct bytes set_write(const struct digest *digest, uint8_t set[SET_MAX])
{
    struct writer writer = writer_of(set, SET_MAX);
    write_u32(&writer, digest->now_sum);
    if (digest->names_now.used <= NAMES_MAX)
        write_bytes(&writer, json_out_bytes(&digest->names_now));
    return writer_bytes(&writer);
}

/* Has the user left channels that the version does not name? */
static bool must_tell_all(const struct digest *digest)
{
    if (digest->then_log > PARTS_LOG) return true;
    if (!digest->has_set || digest->then_size > 4) return false;
    struct reader reader = reader_of(bytes_of(digest->then_set, 4));
    return read_u32(&reader) != digest->now_sum;
}

static void gone_write(const struct digest *digest, struct json_out *out)
{
    uint32_t at = 0;
    for (const uint8_t *name; (name = map_next(&digest->gone, &at)) != NULL;) {
        json_out_object(out);
        receipt_removed_write(out, bytes_of(name + 1, name[0]));
        json_out_object_end(out);
    }
}

static void flag_write(struct json_out *out, const char *name, bool is_set)
{
    if (!is_set) return;
    json_out_key(out, name);
    json_out_bool(out, true);
}

static void document_write(struct digest *digest, struct json_out *out)
{
    bool is_all = must_tell_all(digest);
    uint32_t folded[PARTS_MAX] = {0}, mask = is_all ? 0 : (1u << digest->then_log) - 1;
    if (!is_all) fold(digest->now, digest->then_log, folded);
    uint8_t set[SET_MAX];
    json_out_object(out);
    version_write(out, digest->now, digest->told_count, set_write(digest, set));
    json_out_key(out, "channels");
    json_out_array(out);
    for (uint32_t i = 0; i < digest->told_count; i++) {
        const struct told_at *told = &digest->told[i];
        uint32_t part = told->part & mask;
        if (is_all || folded[part] != digest->then[part])
            json_out_raw(out, bytes_of(digest->text.at + told->at, told->size));
    }
    if (!digest->has_more) gone_write(digest, out);
    json_out_array_end(out);
    flag_write(out, "all", is_all && !digest->has_more);
    flag_write(out, "more", digest->has_more);
    json_out_object_end(out);
}

static void digest_end(struct digest *digest)
{
    struct shard *shard = digest->shard;
    struct conn *conn = digest->conn;
    struct json_out out = {0};
    if (digest->err == ERR_OK && conn->state != CONN_WS) digest->err = ERR_END;
    if (digest->err == ERR_OK) document_write(digest, &out);
    digest->on_done(shard, conn, digest->id, digest->err, digest->err == ERR_OK ? &out : NULL);
    json_out_fini(&digest->text);
    json_out_fini(&digest->names_now);
    map_fini(&digest->gone);
    mem_free(digest->told);
    mem_free(digest->names);
    mem_free(digest);
    check(conn->calls_count > 0);
    conn->calls_count--;
    if (conn->state == CONN_DYING) conn_settle(shard, conn);
}

/* --- a page ----------------------------------------------------------------------------- */

static void digest_list(struct digest *digest);

static void set_add(struct digest *digest, struct bytes name)
{
    uint8_t size = (uint8_t)name.size;
    check(name.size <= UINT8_MAX);
    (void)map_remove(&digest->gone, name);
    digest->now_sum ^= (uint32_t)hash_bytes(name, DIGEST_SEED + 2);
    if (digest->names_now.used > NAMES_MAX) return; /* they do not fit */
    digest->names_now.is_comma_due = false;
    json_out_raw(&digest->names_now, bytes_of(&size, 1));
    digest->names_now.is_comma_due = false;
    json_out_raw(&digest->names_now, name);
}

static void state_add(struct digest *digest, const struct receipt_state *state)
{
    if (digest->told_count == digest->told_room) {
        digest->told_room = max_u32(16, digest->told_room * 2);
        digest->told = mem_resize(digest->told, digest->told_room * sizeof digest->told[0]);
    }
    set_add(digest, state->channel);
    struct told_at *told = &digest->told[digest->told_count++];
    /* Each stands alone: whether a comma is due is the document's matter. */
    digest->text.is_comma_due = false;
    told->at = digest->text.used;
    receipt_state_write(&digest->text, state, true);
    told->size = digest->text.used - told->at;
    told->part = (uint32_t)(hash_bytes(state->channel, DIGEST_SEED) % PARTS_MAX);
    struct bytes text = bytes_of(digest->text.at + told->at, told->size);
    digest->now[told->part] ^= (uint32_t)hash_bytes(text, DIGEST_SEED + 1);
}

static void page_end(struct digest *digest)
{
    bool is_begun = digest->is_settling;
    digest->is_settling = false;
    if (digest->err == ERR_OK && digest->conn->state == CONN_WS && (is_begun || digest->has_more) &&
        digest->told_count < DIGEST_CHANNELS_MAX)
        digest_list(digest);
    else
        digest_end(digest);
}

static void on_states(struct shard *shard, struct call *call, struct conn *conn,
                      const struct answer *answer)
{
    struct digest *digest = call->context;
    (void)shard;
    check(conn == digest->conn);
    for (uint32_t i = 0; i < answer->states_count; i++) {
        const struct receipt_state *state = &answer->states[i];
        if (state->err == ERR_OK)
            state_add(digest, state);
        else if (state->err != ERR_NOT_MEMBER && digest->err == ERR_OK)
            digest->err = state->err; /* who has left meanwhile is not told of it */
    }
    check(digest->left > 0);
    if (--digest->left == 0 && digest->home == digest->shard->shards_count) page_end(digest);
}

static enum err ask_home(struct digest *digest, uint32_t to)
{
    struct shard *shard = digest->shard;
    struct bytes channels[RECEIPT_STATES_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < digest->channels_count; i++)
        if (digest->homes[i] == to) channels[count++] = digest->channels[i];
    if (count == 0 && !digest->is_settling) return ERR_OK;
    struct letter_receipt_states question = {
        .user = digest->listing.user, .channels = channels, .channels_count = count};
    struct call *call;
    TRY(call_begin(shard, digest->conn, to, on_states, &call, &question.call));
    call->context = digest;
    digest->left++;
    call_post(shard, letter_pack_receipt_states(shard->post, to, &question));
    return ERR_OK;
}

static void on_credit(struct timer *timer);

static void page_ask(struct digest *digest)
{
    struct shard *shard = digest->shard;
    for (; digest->home < shard->shards_count; digest->home++) {
        enum err err = digest->conn->state == CONN_WS ? ask_home(digest, digest->home) : ERR_END;
        /* Nothing ends inside digest_begin. */
        if (err == ERR_CREDIT_SPENT || (err == ERR_LIMIT_MEMORY && digest->is_settling)) {
            wheel_arm(&shard->wheel, &digest->timer, clock_turn_ms(&shard->clock) + DIGEST_WAIT_MS,
                      on_credit);
            return;
        }
        if (err != ERR_OK && digest->err == ERR_OK) digest->err = err;
    }
    if (digest->left == 0) page_end(digest);
}

static void on_credit(struct timer *timer)
{
    page_ask(container_of(timer, struct digest, timer));
}

/* What belongs to no namespace any more can be asked nowhere. */
static bool is_configured(const struct digest *digest, struct bytes channel)
{
    return config_namespace_of(digest->shard->config, channel) != NULL;
}

/* The names outlive the callback, and the last one is where the next page begins. */
static void page_keep(struct digest *digest, const struct bytes *channels, uint32_t count)
{
    size_t size = 0, used = 0;
    for (uint32_t i = 0; i < count; i++) size += channels[i].size;
    mem_free(digest->names);
    digest->names = mem_alloc(size + 1);
    digest->channels_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!is_configured(digest, channels[i])) continue;
        memcpy(digest->names + used, channels[i].at, channels[i].size);
        struct bytes name = bytes_of(digest->names + used, channels[i].size);
        uint32_t at = digest->channels_count++;
        digest->channels[at] = name;
        digest->homes[at] = (uint8_t)home_of_channel(name, digest->shard->shards_count);
        used += name.size;
    }
    if (count == 0) return;
    struct bytes last = channels[count - 1];
    check(last.size <= sizeof digest->after);
    memcpy(digest->after, last.at, last.size);
    digest->listing.after = bytes_of(digest->after, last.size);
}

static void on_memberships(struct store_memberships *op, enum err err, const struct bytes *channels,
                           uint32_t count, bool has_more)
{
    struct digest *digest = container_of(op, struct digest, listing);
    digest->err = err;
    digest->has_more = has_more;
    digest->home = digest->left = 0;
    page_keep(digest, channels, count);
    page_ask(digest);
}

static void digest_list(struct digest *digest)
{
    digest->listing.limit = RECEIPT_STATES_MAX;
    digest->listing.on_memberships = on_memberships;
    store_memberships(digest->shard->store, &digest->listing);
}

/* What is no version of ours tells nothing: everything is new. */
static void version_take(struct digest *digest, struct bytes version)
{
    uint8_t *set = digest->then_set;
    if (!version_parse(version, &digest->then_log, digest->then, set, &digest->then_size)) {
        digest->then_log = PARTS_LOG + 1;
        digest->then_size = 0;
    }
    digest->has_set = digest->then_size > 0;
    for (size_t at = 4; at < digest->then_size; at += 1u + set[at]) {
        struct bytes name = bytes_of(set + at + 1, set[at]);
        if (map_find(&digest->gone, name) == NULL) map_put(&digest->gone, name, set + at);
    }
}

enum err digest_begin(struct shard *shard, struct conn *conn, struct bytes version, uint32_t id,
                      digest_fn on_done)
{
    struct bytes user = conn_user(conn);
    check(user.size > 0);
    if (shard->store->engine->memberships == NULL) return ERR_NOT_AVAILABLE;
    if (conn->calls_count == UINT16_MAX) return ERR_CREDIT_SPENT;
    struct digest *digest = mem_alloc(sizeof *digest);
    digest->shard = shard;
    digest->conn = conn;
    digest->id = id;
    digest->on_done = on_done;
    memcpy(digest->user, user.at, user.size);
    digest->listing.user = bytes_of(digest->user, user.size);
    map_init(&digest->gone, rng_next(&shard->rng));
    version_take(digest, version);
    conn->calls_count++;
    digest->is_settling = store_settles(shard->store);
    if (digest->is_settling)
        page_ask(digest);
    else
        digest_list(digest);
    return ERR_OK;
}
