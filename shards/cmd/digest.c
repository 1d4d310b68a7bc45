/*
 * digest: pages, states, parts.
 */
#include "shards/cmd/digest.h"

#include <stdio.h>

#include "core/check.h"
#include "core/crypt.h"
#include "core/hash.h"
#include "core/mem.h"
#include "shards/call.h"
#include "shards/home.h"
#include "shards/json_out.h"
#include "shards/letter_receipt.h"
#include "shards/shard.h"

#define PARTS_LOG      8
#define PARTS_MAX      (1u << PARTS_LOG)
/* "<log2 of parts>.<base64url of 32 bits each>" */
#define VERSION_MAX    (2 + (PARTS_MAX * 4 * 4 + 2) / 3)
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
    /* The page under way. */
    uint8_t *names;
    struct bytes channels[RECEIPT_STATES_MAX];
    uint8_t homes[RECEIPT_STATES_MAX];
    uint32_t channels_count;
    bool has_more;
    uint32_t home; /* the next to ask */
    uint32_t left; /* homes to answer */
    enum err err;
    struct json_out text; /* the channels, one after another */
    struct told_at *told;
    uint32_t told_count, told_room;
};

/* --- versions ------------------------------------------------------------------------- */

static bool version_parse(struct bytes version, uint32_t *log, uint32_t parts[PARTS_MAX])
{
    uint8_t raw[PARTS_MAX * 4];
    size_t used = 0;
    *log = PARTS_LOG + 1;
    if (version.size == 0) return true;
    if (version.size < 3 || version.size > VERSION_MAX || version.at[1] != '.') return false;
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

bool digest_is_version(struct bytes version)
{
    uint32_t log, parts[PARTS_MAX];
    return version_parse(version, &log, parts);
}

/* Sums are exclusive ors, so fewer parts are those of more put together. */
static void fold(const uint32_t parts[PARTS_MAX], uint32_t log, uint32_t folded[PARTS_MAX])
{
    uint32_t count = 1u << log;
    for (uint32_t i = 0; i < count; i++) folded[i] = 0;
    for (uint32_t i = 0; i < PARTS_MAX; i++) folded[i % count] ^= parts[i];
}

static void version_write(struct json_out *out, const uint32_t parts[PARTS_MAX], uint32_t channels)
{
    uint32_t log = 0, folded[PARTS_MAX];
    while (log < PARTS_LOG && 1u << log < channels) log++;
    fold(parts, log, folded);
    uint8_t raw[PARTS_MAX * 4];
    struct writer writer = writer_of(raw, sizeof raw);
    for (uint32_t i = 0; i < 1u << log; i++) write_u32(&writer, folded[i]);
    char text[VERSION_MAX + 4];
    text[0] = (char)('0' + log);
    text[1] = '.';
    size_t size = crypt_base64url(writer_bytes(&writer), text + 2, sizeof text - 2);
    json_out_member_text(out, "version", bytes_of(text, 2 + size));
}

/* --- the end -------------------------------------------------------------------------- */

static void document_write(struct digest *digest, struct json_out *out)
{
    bool is_all = digest->then_log > PARTS_LOG;
    uint32_t folded[PARTS_MAX] = {0}, mask = is_all ? 0 : (1u << digest->then_log) - 1;
    if (!is_all) fold(digest->now, digest->then_log, folded);
    json_out_object(out);
    version_write(out, digest->now, digest->told_count);
    json_out_key(out, "channels");
    json_out_array(out);
    for (uint32_t i = 0; i < digest->told_count; i++) {
        const struct told_at *told = &digest->told[i];
        uint32_t part = told->part & mask;
        if (is_all || folded[part] != digest->then[part])
            json_out_raw(out, bytes_of(digest->text.at + told->at, told->size));
    }
    json_out_array_end(out);
    if (digest->has_more) {
        json_out_key(out, "more");
        json_out_bool(out, true);
    }
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
    mem_free(digest->told);
    mem_free(digest->names);
    mem_free(digest);
    check(conn->calls_count > 0);
    conn->calls_count--;
    if (conn->state == CONN_DYING) conn_settle(shard, conn);
}

/* --- a page ----------------------------------------------------------------------------- */

static void digest_list(struct digest *digest);

static void state_add(struct digest *digest, const struct receipt_state *state)
{
    if (digest->told_count == digest->told_room) {
        digest->told_room = max_u32(16, digest->told_room * 2);
        digest->told = mem_resize(digest->told, digest->told_room * sizeof digest->told[0]);
    }
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
    if (digest->err == ERR_OK && digest->conn->state == CONN_WS && digest->has_more &&
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
    if (count == 0) return ERR_OK;
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
        if (err == ERR_CREDIT_SPENT) {
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

/* The names outlive the callback, and the last one is where the next page begins. */
static void page_keep(struct digest *digest, const struct bytes *channels, uint32_t count)
{
    size_t size = 0, used = 0;
    for (uint32_t i = 0; i < count; i++) size += channels[i].size;
    mem_free(digest->names);
    digest->names = mem_alloc(size + 1);
    for (uint32_t i = 0; i < count; i++) {
        memcpy(digest->names + used, channels[i].at, channels[i].size);
        digest->channels[i] = bytes_of(digest->names + used, channels[i].size);
        digest->homes[i] =
            (uint8_t)home_of_channel(digest->channels[i], digest->shard->shards_count);
        used += channels[i].size;
    }
    digest->channels_count = count;
    if (count == 0) return;
    struct bytes last = digest->channels[count - 1];
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
    /* What is no version of ours tells nothing: everything is new. */
    if (!version_parse(version, &digest->then_log, digest->then)) digest->then_log = PARTS_LOG + 1;
    conn->calls_count++;
    digest_list(digest);
    return ERR_OK;
}
