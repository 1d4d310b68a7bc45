/*
 * user_home: enter, leave, act.
 */
#include "shards/user/user_home.h"

#include "core/check.h"
#include "core/log.h"
#include "core/mem.h"
#include "shards/call.h"
#include "shards/home.h"
#include "shards/shard.h"
#include "shards/user/act.h"
#include "storage/peers.h"

/* A connect ends as stale after client.stale_close_delay, give or take a tick. */
#define CONNECT_SLACK_MS 5000

void user_home_init(struct shard *shard, uint32_t sessions_max)
{
    users_init(&shard->user_home.users, rng_next(&shard->rng), sessions_max);
    revocations_init(&shard->user_home.revocations, rng_next(&shard->rng));
}

void user_home_fini(struct shard *shard)
{
    revocations_fini(&shard->user_home.revocations);
    users_fini(&shard->user_home.users);
}

static void account(struct shard *shard)
{
    const struct user_home *home = &shard->user_home;
    metric_set(&shard->metrics, METRIC_USERS, home->users.users_count);
    metric_set(&shard->metrics, METRIC_USER_SESSIONS, home->users.sessions_count);
    metric_set(&shard->metrics, METRIC_REVOCATIONS, home->revocations.count);
}

void user_home_tick(struct shard *shard)
{
    uint64_t keep_ns =
        (shard->config->client_stale_close_delay_ms + CONNECT_SLACK_MS) * (uint64_t)1000000;
    uint64_t now_ns = shard->clock.mono_ns;
    if (now_ns > keep_ns) revocations_forget(&shard->user_home.revocations, now_ns - keep_ns);
    account(shard);
}

/* --- sessions of one user, by shard ------------------------------------------------ */

/* The sessions to address, in runs of one shard each. */
struct addressed {
    struct handle *conns; /* of all, in the arena */
    uint32_t first[SHARDS_MAX + 1];
    bool is_anonymous; /* in their place every client without a user */
};

/* Counting sort by shard; `is_ending`: marks them as told to end, and leaves out those
 * that were told before. */
static void address(struct shard *shard, struct user *user, bool is_ending, struct addressed *out)
{
    struct users *users = &shard->user_home.users;
    *out = (struct addressed){.conns = NULL};
    uint32_t at[SHARDS_MAX] = {0}, count = 0;
    uint32_t session = user == NULL ? SESSION_NONE : users_first(users, user);
    uint32_t first = session;
    for (; session != SESSION_NONE; session = users_next(users, user, session)) {
        struct user_place place = users_place(users, session);
        if (is_ending && place.is_ended) continue;
        at[place.shard]++;
        count++;
    }
    out->conns = arena_get(&shard->arena, (count + (size_t)1) * sizeof *out->conns);
    for (uint32_t i = 0; i < SHARDS_MAX; i++) {
        out->first[i + 1] = out->first[i] + at[i];
        at[i] = out->first[i];
    }
    for (session = first; session != SESSION_NONE; session = users_next(users, user, session)) {
        struct user_place place = users_place(users, session);
        if (is_ending && place.is_ended) continue;
        out->conns[at[place.shard]++] = place.conn;
        if (is_ending) users_end(users, user, session);
    }
    check(out->first[SHARDS_MAX] == count);
}

static void post_do(struct shard *shard, uint32_t to, const struct addressed *addressed,
                    struct bytes packed, const struct handle *call)
{
    struct letter_user_do letter = {
        .packed = packed,
        .conns = addressed->conns + addressed->first[to],
        .conns_count = addressed->first[to + 1] - addressed->first[to],
        .is_anonymous = addressed->is_anonymous,
    };
    metric_add(&shard->metrics, METRIC_MESSAGES_SENT_CONTROL, 1);
    if (call == NULL) {
        letter_post(shard->post, letter_pack_user_do(shard->post, to, &letter));
        return;
    }
    letter.call = *call;
    call_post(shard, letter_pack_user_do(shard->post, to, &letter));
}

static struct bytes packed_act(struct shard *shard, const struct act *act)
{
    size_t size = act_size(act);
    struct writer writer = writer_of(arena_get(&shard->arena, size), size);
    act_write(&writer, act);
    check(!writer.failed);
    return writer_bytes(&writer);
}

/* --- enter, leave ------------------------------------------------------------------ */

/* A call that came while the connect was under way and ends it. */
static bool is_revoked(struct shard *shard, const struct letter_user_enter *enter,
                       struct answer *answer)
{
    struct revocations *revocations = &shard->user_home.revocations;
    if (!revocations_know(revocations, enter->began_ns)) {
        answer->err = ERR_BACKLOG; /* temporary: the next attempt begins later */
        return true;
    }
    const struct revocation *at = revocations_find(revocations, enter->user, enter->began_ns);
    for (; at != NULL; at = at->younger) {
        struct act act;
        struct reader reader = reader_of(bytes_of(at->act, at->size));
        act_read(&reader, &act);
        bool is_end = act.verb == ACT_REFRESH && act.is_expired;
        if (act.verb != ACT_DISCONNECT && !is_end) continue;
        answer->err = ERR_REVOKED;
        answer->offset = is_end ? close_row(CLOSE_EXPIRED)->code : act.code;
        answer->epoch = is_end ? bytes_of_text(close_row(CLOSE_EXPIRED)->text) : act.reason;
        metric_add(&shard->metrics, METRIC_REVOKED, 1);
        return true;
    }
    return false;
}

/* Calls that end no connection act on it as soon as it knows that it is registered. */
static void act_late(struct shard *shard, const struct letter_user_enter *enter, uint32_t to)
{
    const struct revocation *at =
        revocations_find(&shard->user_home.revocations, enter->user, enter->began_ns);
    for (; at != NULL; at = at->younger) {
        struct letter_user_do letter = {
            .packed = bytes_of(at->act, at->size),
            .conns = &enter->conn,
            .conns_count = 1,
        };
        metric_add(&shard->metrics, METRIC_MESSAGES_SENT_CONTROL, 1);
        letter_post(shard->post, letter_pack_user_do(shard->post, to, &letter));
    }
}

static bool is_single(const struct config *config)
{
    return config->client_subscribe_to_user_personal_channel_enabled &&
           config->client_subscribe_to_user_personal_channel_single_connection;
}

static void end_others(struct shard *shard, struct user *user)
{
    struct act act = {
        .verb = ACT_DISCONNECT,
        .code = close_row(CLOSE_LIMIT)->code,
        .reason = bytes_of_text(close_row(CLOSE_LIMIT)->text),
    };
    struct addressed addressed;
    address(shard, user, true, &addressed);
    for (uint32_t to = 0; to < shard->shards_count; to++)
        if (addressed.first[to + 1] > addressed.first[to])
            post_do(shard, to, &addressed, packed_act(shard, &act), NULL);
}

static enum err enter_user(struct shard *shard, const struct letter_user_enter *enter,
                           uint32_t from, uint32_t *session)
{
    struct users *users = &shard->user_home.users;
    struct user *user = users_find(users, enter->user);
    uint32_t limit = shard->config->client_user_connection_limit;
    bool others_end = is_single(shard->config);
    if (user != NULL && limit > 0 && !others_end && users_count_of(user) >= limit) {
        metric_add(&shard->metrics, METRIC_USER_LIMIT, 1);
        return ERR_LIMIT_CONNECTIONS;
    }
    if (user != NULL && others_end) end_others(shard, user);
    struct user_place place = {.shard = from, .conn = enter->conn};
    return users_enter(users, enter->user, &place, session);
}

static void enter_finish(struct shard *shard, const struct letter_user_enter *enter, uint32_t from)
{
    struct answer answer = {.call = enter->call};
    if (!is_revoked(shard, enter, &answer)) {
        uint32_t session = SESSION_NONE;
        answer.err = enter_user(shard, enter, from, &session);
        answer.offset = session;
    }
    call_answer_to(shard, from, &answer);
    if (answer.err == ERR_OK) act_late(shard, enter, from);
    account(shard);
}

/* With other nodes the newest connection of a user is the one whose command comes last in
 * the order that they share: it enters in that place, and ends those before it. */
struct enter_tell {
    struct store_tell op;
    struct shard *shard;
    uint32_t from;
    struct letter_user_enter enter;
    uint8_t user[];
};

static void enter_on_told(struct store_tell *op, enum err err)
{
    struct enter_tell *tell = container_of(op, struct enter_tell, op);
    struct shard *shard = tell->shard;
    if (err == ERR_OK)
        enter_finish(shard, &tell->enter, tell->from);
    else
        call_answer_to(shard, tell->from, &(struct answer){.call = tell->enter.call, .err = err});
    mem_free(tell);
}

static void enter_tell(struct shard *shard, const struct letter_user_enter *enter, uint32_t from)
{
    struct act act = {.verb = ACT_DISCONNECT, .user = enter->user, .is_single = true};
    struct enter_tell *tell = mem_alloc(sizeof *tell + enter->user.size);
    memcpy(tell->user, enter->user.at, enter->user.size);
    tell->shard = shard;
    tell->from = from;
    tell->enter = *enter;
    tell->enter.user = bytes_of(tell->user, enter->user.size);
    tell->op = (struct store_tell){
        .user = tell->enter.user, .text = packed_act(shard, &act), .on_end = enter_on_told};
    store_tell(shard->store, &tell->op);
}

void user_on_enter(void *context, struct letter *letter)
{
    struct shard *shard = context;
    struct letter_user_enter enter;
    letter_read_user_enter(letter, &enter);
    check(home_of_user(enter.user, shard->shards_count) == shard->index);
    if (is_single(shard->config) && store_has_peers(shard->store))
        enter_tell(shard, &enter, letter->from);
    else
        enter_finish(shard, &enter, letter->from);
}

void user_on_leave(void *context, struct letter *letter)
{
    struct shard *shard = context;
    struct letter_user_leave leave;
    letter_read_user_leave(letter, &leave);
    check(users_place(&shard->user_home.users, leave.session).shard == letter->from);
    users_leave(&shard->user_home.users, leave.session, leave.conn);
    account(shard);
}

/* --- act ------------------------------------------------------------------------- */

/* One call of a backend under way. */
struct act_run {
    struct handle call; /* of the API's shard */
    uint32_t api;
    uint32_t left;
};

static void on_done(struct shard *shard, struct call *call, struct conn *conn,
                    const struct answer *answer)
{
    check(conn == NULL);
    check(answer->err == ERR_OK);
    struct act_run *run = call->context;
    check(run->left > 0);
    if (--run->left > 0) return;
    struct answer told = {.call = run->call};
    call_answer_to(shard, run->api, &told);
    mem_free(run);
}

/* Has the shard to be asked?  Anonymous clients are registered nowhere, so every shard is. */
static bool is_asked(const struct addressed *addressed, uint32_t to)
{
    return addressed->is_anonymous || addressed->first[to + 1] > addressed->first[to];
}

/* All calls or none: half a ban would be worse than a refused one. */
static enum err begin_all(struct shard *shard, const struct addressed *addressed,
                          struct act_run *run, struct handle handles[SHARDS_MAX])
{
    struct call *calls[SHARDS_MAX] = {NULL};
    for (uint32_t to = 0; to < shard->shards_count; to++) {
        if (!is_asked(addressed, to)) continue;
        enum err err = call_begin(shard, NULL, to, on_done, &calls[to], &handles[to]);
        if (err != ERR_OK) {
            for (uint32_t i = 0; i < to; i++)
                if (calls[i] != NULL) call_cancel(shard, calls[i]);
            return err;
        }
        calls[to]->context = run;
        run->left++;
    }
    return ERR_OK;
}

/* Who is addressed.  False: nobody. */
static bool address_act(struct shard *shard, const struct act *act, struct addressed *addressed)
{
    if (act->user.size == 0) {
        *addressed = (struct addressed){.is_anonymous = true};
        return true;
    }
    address(shard, users_find(&shard->user_home.users, act->user), false, addressed);
    return addressed->first[SHARDS_MAX] > 0;
}

static enum err act_on_sessions(struct shard *shard, uint32_t from, struct handle call,
                                const struct act *act, struct bytes packed, bool *is_under_way)
{
    struct addressed addressed;
    *is_under_way = address_act(shard, act, &addressed);
    if (!*is_under_way) return ERR_OK;

    struct act_run *run = mem_alloc(sizeof *run);
    run->call = call;
    run->api = from;
    struct handle handles[SHARDS_MAX];
    enum err err = begin_all(shard, &addressed, run, handles);
    if (err != ERR_OK) {
        mem_free(run);
        return err;
    }
    for (uint32_t to = 0; to < shard->shards_count; to++)
        if (is_asked(&addressed, to)) post_do(shard, to, &addressed, packed, &handles[to]);
    return ERR_OK;
}

/* A client id is told with the connect reply: nobody can mean one under way.  The turn's
 * reading is too old here: a connect that another shard read since then would seem to
 * have begun after this call.  Anonymous clients are registered nowhere. */
static void revoke(struct shard *shard, const struct act *act, struct bytes packed)
{
    if (act->client.size > 0 || act->user.size == 0) return;
    revocations_add(&shard->user_home.revocations, act->user, packed, clock_mono_ns());
}

static void act_here(struct shard *shard, uint32_t from, struct handle call, const struct act *act,
                     struct bytes packed)
{
    bool is_under_way = false;
    enum err err = act_on_sessions(shard, from, call, act, packed, &is_under_way);
    if (err == ERR_OK) revoke(shard, act, packed);
    if (err != ERR_OK || !is_under_way)
        call_answer_to(shard, from, &(struct answer){.call = call, .err = err});
    account(shard);
}

/* With other nodes a call first takes its place in the order that they share, so every
 * node acts in that order. */
struct act_tell {
    struct store_tell op;
    struct shard *shard;
    uint32_t from;
    struct handle call;
    size_t size;
    uint8_t packed[];
};

static void act_on_told(struct store_tell *op, enum err err)
{
    struct act_tell *tell = container_of(op, struct act_tell, op);
    struct bytes packed = bytes_of(tell->packed, tell->size);
    struct reader reader = reader_of(packed);
    struct act act;
    act_read(&reader, &act);
    if (err == ERR_OK)
        act_here(tell->shard, tell->from, tell->call, &act, packed);
    else
        call_answer_to(tell->shard, tell->from, &(struct answer){.call = tell->call, .err = err});
    mem_free(tell);
}

static void act_tell(struct shard *shard, uint32_t from, const struct letter_user_act *in,
                     struct bytes packed)
{
    struct act_tell *tell = mem_alloc(sizeof *tell + packed.size);
    memcpy(tell->packed, packed.at, packed.size);
    tell->size = packed.size;
    tell->shard = shard;
    tell->from = from;
    tell->call = in->call;
    tell->op = (struct store_tell){
        .user = in->act.user, .text = bytes_of(tell->packed, tell->size), .on_end = act_on_told};
    store_tell(shard->store, &tell->op);
}

void user_on_act(void *context, struct letter *letter)
{
    struct shard *shard = context;
    struct letter_user_act in;
    letter_read_user_act(letter, &in);
    metric_add(&shard->metrics, METRIC_MESSAGES_RECEIVED_CONTROL, 1);
    check(home_of_user(in.act.user, shard->shards_count) == shard->index);

    struct bytes packed = packed_act(shard, &in.act);
    if (store_has_peers(shard->store))
        act_tell(shard, letter->from, &in, packed);
    else
        act_here(shard, letter->from, in.call, &in.act, packed);
}

/* --- tell ------------------------------------------------------------------------ */

static void tell_here(struct shard *shard, const struct act *act, struct bytes packed)
{
    struct addressed addressed;
    if (!address_act(shard, act, &addressed)) return;
    for (uint32_t to = 0; to < shard->shards_count; to++)
        if (is_asked(&addressed, to)) post_do(shard, to, &addressed, packed, NULL);
}

/* The other nodes are told, and these connections at once: nothing of it depends on order, and
 * who misses it learns it from the next one. */
struct tell_others {
    struct store_tell op;
    size_t size;
    uint8_t packed[];
};

static void others_are_told(struct store_tell *op, enum err err)
{
    if (err != ERR_OK)
        log_debug("other nodes were not told of a user's receipt err=%s", err_name(err));
    mem_free(container_of(op, struct tell_others, op));
}

static void tell_others(struct shard *shard, const struct act *act, struct bytes packed)
{
    struct tell_others *tell = mem_alloc(sizeof *tell + packed.size);
    memcpy(tell->packed, packed.at, packed.size);
    tell->op = (struct store_tell){.user = act->user,
                                   .text = bytes_of(tell->packed, packed.size),
                                   .is_passing = true,
                                   .on_end = others_are_told};
    store_tell(shard->store, &tell->op);
}

void user_on_tell(void *context, struct letter *letter)
{
    struct shard *shard = context;
    struct letter_user_tell in;
    letter_read_user_tell(letter, &in);
    check(home_of_user(in.act.user, shard->shards_count) == shard->index);
    check(in.act.user.size > 0);
    struct bytes packed = packed_act(shard, &in.act);
    tell_here(shard, &in.act, packed);
    if (!in.is_of_this_node && store_has_peers(shard->store)) tell_others(shard, &in.act, packed);
}

/* What another node was asked to do, in its place. */
void user_on_told(void *context, struct bytes user, struct bytes packed, uint64_t age_ms)
{
    struct shard *shard = context;
    struct reader reader = reader_of(packed);
    struct act act;
    if (home_of_user(user, shard->shards_count) != shard->index) return;
    metric_add(&shard->metrics, METRIC_MESSAGES_RECEIVED_CONTROL, 1);
    /* Said before this shard was there: it has no connection from before that. */
    if (age_ms >= (shard->clock.mono_ns - shard->started_ns) / 1000000) return;
    if (!act_parse(&reader, &act) || !bytes_equal(act.user, user)) {
        log_error("a command of another node about a user is malformed and is passed over");
        return;
    }
    if (act.is_single) {
        struct user *found = users_find(&shard->user_home.users, user);
        if (found != NULL) end_others(shard, found);
    } else {
        tell_here(shard, &act, packed);
    }
    if (!act.is_single && act.verb != ACT_MESSAGE) revoke(shard, &act, packed);
    account(shard);
}
