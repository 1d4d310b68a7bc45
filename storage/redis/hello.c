/* The steps are a table in the order of the wire; which of them a connection
 * needs is decided once, in hello_write. */
#include "storage/redis/hello.h"

#include <stdio.h>

#include "core/check.h"
#include "core/hash.h"
#include "storage/redis/refusal.h"

enum step {
    STEP_AUTH,
    STEP_SELECT,
    STEP_NAME,
    STEP_INFO,
    STEP_CONFIG,
    STEP_PARTITIONS,
    STEP_WITNESS,
    STEP_LOAD, /* one for each script */
    STEP_COUNT = STEP_LOAD + SCRIPT_COUNT,
};

static_assert(STEP_COUNT <= array_count(((struct hello *)NULL)->steps), "a flag per step");

/* The oldest release with sharded pub/sub and SET NX GET. */
#define VERSION_LEAST 7

const char *link_role_name(enum link_role role)
{
    static const char *const names[] = {
        [LINK_COMMANDS] = "commands", [LINK_PUBLISH] = "publish", [LINK_FEED] = "feed",
        [LINK_SENTINEL] = "sentinel", [LINK_SEED] = "seed",       [LINK_EVENTS] = "events"};
    return names[role];
}

static const char *role_user(const struct redis_options *options, enum link_role role)
{
    return role == LINK_SENTINEL ? options->sentinel_user : options->user;
}

static const char *role_password(const struct redis_options *options, enum link_role role)
{
    return role == LINK_SENTINEL ? options->sentinel_password : options->password;
}

static void write_auth(const struct redis_options *options, enum link_role role,
                       struct resp_out *out)
{
    const char *user = role_user(options, role);
    resp_begin(out, user[0] != 0 ? 3 : 2);
    resp_text(out, "AUTH");
    if (user[0] != 0) resp_text(out, user);
    resp_text(out, role_password(options, role));
}

/* The first node fixes the number of partitions; every other one learns it. */
void hello_ask_partitions(const struct redis_options *options, struct resp_out *out)
{
    resp_begin(out, 5);
    resp_text(out, "SET");
    resp_pair(out, bytes_of_text(options->prefix), BYTES_LITERAL(":partitions"));
    resp_number(out, options->partitions);
    resp_text(out, "NX");
    resp_text(out, "GET");
}

/* Nothing is fixed before the answer: a node with another number must leave no trace. */
static void write_partitions(const struct redis_options *options, struct resp_out *out)
{
    resp_begin(out, 2);
    resp_text(out, "GET");
    resp_pair(out, bytes_of_text(options->prefix), BYTES_LITERAL(":partitions"));
}

/* Every partition knows the number too; this one is written to as soon as a node runs. */
void hello_ask_witness(const struct redis_options *options, struct resp_out *out)
{
    resp_begin(out, 3);
    resp_text(out, "HGET");
    resp_pair(out, bytes_of_text(options->prefix), BYTES_LITERAL(":{p0}:meta"));
    resp_bytes(out, BYTES_NONE);
}

void hello_ask_info(struct resp_out *out)
{
    resp_begin(out, 5);
    resp_text(out, "INFO");
    resp_text(out, "server");
    resp_text(out, "replication");
    resp_text(out, "persistence");
    resp_text(out, "stats");
}

void hello_ask_config(struct resp_out *out)
{
    resp_begin(out, 6);
    resp_text(out, "CONFIG");
    resp_text(out, "GET");
    resp_text(out, "appendfsync");
    resp_text(out, "no-appendfsync-on-rewrite");
    resp_text(out, "maxmemory");
    resp_text(out, "maxmemory-policy");
}

static void write_step(enum step step, const struct hello *hello, struct resp_out *out)
{
    const struct redis_options *options = hello->options;
    switch (step) {
    case STEP_AUTH: write_auth(options, hello->role, out); return;
    case STEP_SELECT:
        resp_begin(out, 2);
        resp_text(out, "SELECT");
        resp_number(out, options->db);
        return;
    case STEP_NAME:
        resp_begin(out, 3);
        resp_text(out, "CLIENT");
        resp_text(out, "SETNAME");
        resp_text(out, "sluice");
        return;
    case STEP_INFO: hello_ask_info(out); return;
    case STEP_CONFIG: hello_ask_config(out); return;
    case STEP_PARTITIONS: write_partitions(options, out); return;
    case STEP_WITNESS: hello_ask_witness(options, out); return;
    default:
        check(step >= STEP_LOAD && step < STEP_COUNT);
        resp_begin(out, 3);
        resp_text(out, "SCRIPT");
        resp_text(out, "LOAD");
        resp_bytes(out, script_text((enum script)(step - STEP_LOAD)));
        return;
    }
}

void hello_write(struct hello *hello, const struct redis_options *options,
                 const struct redis_place *place, enum link_role role, bool is_again,
                 struct resp_out *out)
{
    bool is_commands = role == LINK_COMMANDS || role == LINK_PUBLISH;
    const char *user = role_user(options, role), *password = role_password(options, role);
    *hello = (struct hello){.options = options, .place = place, .role = role, .is_again = is_again};
    hello->steps[STEP_AUTH] = !is_again && (password[0] != 0 || user[0] != 0);
    hello->steps[STEP_SELECT] =
        !is_again && options->db != 0 && (is_commands || role == LINK_FEED || role == LINK_EVENTS);
    hello->steps[STEP_NAME] = !is_again;
    hello->steps[STEP_INFO] = is_commands || role == LINK_FEED;
    hello->steps[STEP_CONFIG] = is_commands;
    hello->steps[STEP_PARTITIONS] = hello->steps[STEP_WITNESS] = is_commands;
    for (uint32_t i = STEP_LOAD; i < STEP_COUNT; i++) hello->steps[i] = is_commands;
    for (uint32_t i = 0; i < STEP_COUNT; i++) {
        if (hello->steps[i]) write_step((enum step)i, hello, out);
    }
    while (hello->step < STEP_COUNT && !hello->steps[hello->step]) hello->step++;
    check(!hello_is_done(hello));
}

bool hello_is_done(const struct hello *hello)
{
    return hello->step == STEP_COUNT;
}

/* The value of "name:value" in the lines of INFO, or nothing. */
static struct bytes info_value(struct bytes info, const char *name)
{
    size_t name_size = strlen(name);
    for (size_t at = 0; at < info.size;) {
        const uint8_t *line = info.at + at;
        const uint8_t *end = memchr(line, '\n', info.size - at);
        size_t size = end == NULL ? info.size - at : (size_t)(end - line);
        at += size + 1;
        if (size > 0 && line[size - 1] == '\r') size--;
        if (size > name_size && memcmp(line, name, name_size) == 0 && line[name_size] == ':')
            return bytes_of(line + name_size + 1, size - name_size - 1);
    }
    return BYTES_NONE;
}

/* A Cluster and a single server are spoken to differently. */
static enum err take_mode(struct hello *hello, struct bytes info)
{
    bool is_cluster = bytes_equal_text(info_value(info, "redis_mode"), "cluster");
    bool wants_cluster = hello->options->mode == CONFIG_REDIS_CLUSTER;
    if (is_cluster == wants_cluster) return ERR_OK;
    snprintf(hello->problem, sizeof hello->problem,
             is_cluster ? "the server at %s belongs to a Redis Cluster; set redis.mode to cluster"
                        : "the server at %s belongs to no Redis Cluster; set redis.mode to "
                          "standalone or sentinel",
             hello->place->text);
    return ERR_UNSUPPORTED;
}

/* A replica that was promoted remembers whom it copied: what that one had answered
 * last may be missing here, whatever this one keeps over a restart. */
static void take_parent(struct hello *hello, struct bytes id)
{
    size_t zeros = 0;
    while (zeros < id.size && id.at[zeros] == '0') zeros++;
    if (id.size < LINEAGE_MAX / 2 || zeros == id.size) return;
    memcpy(hello->server.parent, id.at, LINEAGE_MAX / 2);
    hello->server.parent[LINEAGE_MAX / 2] = 0;
}

/* A primary takes another replication id also when its first replica comes, or the last one
 * has been gone for an hour; the data is the same then.  Only where it was copied from
 * another server does the id tell one data set of the process from the next. */
static void take_lineage(struct hello_server *server, struct bytes run_id,
                         struct bytes replication_id)
{
    const size_t half = LINEAGE_MAX / 2;
    check(run_id.size >= half && replication_id.size >= half);
    memcpy(server->replication_id, replication_id.at, half);
    server->replication_id[half] = 0;
    memcpy(server->lineage, run_id.at, half);
    memset(server->lineage + half, '0', half);
    if (server->parent[0] != 0) memcpy(server->lineage + half, replication_id.at, half);
    server->lineage[LINEAGE_MAX] = 0;
    for (uint32_t i = 0; i < LINEAGE_MAX; i++) {
        if (server->lineage[i] <= ' ') server->lineage[i] = '_'; /* the scripts split at a space */
    }
}

static enum err take_info(struct hello *hello, const struct reply *reply)
{
    struct bytes info = reply_text(reply);
    struct bytes version = info_value(info, "redis_version");
    struct bytes run_id = info_value(info, "run_id");
    struct bytes replication_id = info_value(info, "master_replid");
    uint32_t major = 0;
    for (size_t i = 0;
         i < version.size && version.at[i] >= '0' && version.at[i] <= '9' && major < 1000; i++)
        major = major * 10 + version.at[i] - '0';
    if (major < VERSION_LEAST || run_id.size < 16 || replication_id.size < 16) {
        snprintf(hello->problem, sizeof hello->problem,
                 "the server at %s is release '%.*s'; use Redis 7 or Valkey, or newer",
                 hello->place->text, (int)min_u64(version.size, 20), (const char *)version.at);
        return ERR_UNSUPPORTED;
    }
    if (bytes_equal_text(info_value(info, "loading"), "1")) {
        snprintf(hello->problem, sizeof hello->problem, "Redis at %s is loading its data",
                 hello->place->text);
        return ERR_STARTING;
    }
    TRY(take_mode(hello, info));
    bool is_alone = hello->options->mode == CONFIG_REDIS_STANDALONE;
    if (bytes_equal_text(info_value(info, "role"), "slave")) {
        snprintf(hello->problem, sizeof hello->problem, "Redis at %s is a replica%s",
                 hello->place->text, is_alone ? "; set redis.address to the primary" : "");
        return ERR_STORE_DOWN;
    }
    take_parent(hello, info_value(info, "master_replid2"));
    if (bytes_to_u64(info_value(info, "server_time_usec"), &hello->server.time_ms))
        hello->server.time_ms /= 1000;
    take_lineage(&hello->server, run_id, replication_id);
    hello_hear_info(&hello->server, reply);
    return ERR_OK;
}

/* "slave0:ip=…,port=…,state=…": the address tells one from another that takes its place. */
static void take_replicas(struct hello_server *said, struct bytes info)
{
    static const char end[] = ",state=";
    memset(said->replica_places, 0, sizeof said->replica_places);
    for (uint32_t i = 0; i < REPLICAS_MAX; i++) {
        char name[16];
        snprintf(name, sizeof name, "slave%u", i);
        struct bytes value = info_value(info, name);
        const uint8_t *at =
            value.size == 0 ? NULL : memmem(value.at, value.size, end, sizeof end - 1);
        if (at == NULL) return;
        said->replica_places[i] = hash_bytes(bytes_of(value.at, (size_t)(at - value.at)), 0) | 1;
    }
}

void hello_hear_info(struct hello_server *said, const struct reply *reply)
{
    struct bytes info = reply_text(reply);
    struct bytes replication_id = info_value(info, "master_replid");
    uint64_t replicas = 0;
    bool had_log = said->has_log;
    /* A first replica brings another one; the lineage stays. */
    if (replication_id.size >= LINEAGE_MAX / 2)
        memcpy(said->replication_id, replication_id.at, LINEAGE_MAX / 2);
    said->has_log = bytes_equal_text(info_value(info, "aof_enabled"), "1");
    if (!said->has_log || !had_log) said->is_durable = false; /* until the next look at its pace */
    if (bytes_to_u64(info_value(info, "connected_slaves"), &replicas))
        said->replicas = (uint32_t)min_u64(replicas, UINT32_MAX);
    take_replicas(said, info);
    bytes_to_u64(info_value(info, "evicted_keys"), &said->evicted);
}

/* The value of an option among the pairs of the answer to CONFIG GET, or nothing. */
static struct bytes config_value(const struct reply *reply, const char *name)
{
    for (uint32_t i = 0; reply_item(reply, i + 1) != NULL; i += 2) {
        if (bytes_equal_text(reply_text(reply_item(reply, i)), name))
            return reply_text(reply_item(reply, i + 1));
    }
    return BYTES_NONE;
}

/* A server that forbids CONFIG is taken for one that may lose its last second. */
void hello_hear_config(struct hello_server *said, const struct reply *reply)
{
    struct bytes policy = config_value(reply, "maxmemory-policy");
    bool is_bounded = !bytes_equal_text(config_value(reply, "maxmemory"), "0");
    said->is_evicting = policy.size > 0 && is_bounded && !bytes_equal_text(policy, "noeviction");
    said->is_durable = said->has_log && !said->is_evicting &&
                       bytes_equal_text(config_value(reply, "appendfsync"), "always") &&
                       !bytes_equal_text(config_value(reply, "no-appendfsync-on-rewrite"), "yes");
}

static enum err judge_partitions(const struct redis_options *options,
                                 const struct redis_place *place, struct bytes text,
                                 char problem[HELLO_PROBLEM_MAX])
{
    uint64_t stored = 0;
    if (text.size == 0) return ERR_OK; /* we are the first */
    if (bytes_to_u64(text, &stored) && stored == options->partitions) return ERR_OK;
    snprintf(problem, HELLO_PROBLEM_MAX,
             "what Redis at %s holds under '%s' was made with %llu partitions, this node has %u: "
             "set redis.partitions to that, or take another redis.prefix",
             place->text, options->prefix, (unsigned long long)stored, options->partitions);
    return ERR_CONFLICT;
}

enum err hello_hear_partitions(const struct redis_options *options, const struct redis_place *place,
                               const struct reply *reply, char problem[HELLO_PROBLEM_MAX])
{
    return judge_partitions(options, place, reply_text(reply), problem);
}

/* "<epoch> <lineage> <count> <sure> <letter><partitions> …"; lua/partition.lua */
enum err hello_hear_witness(const struct redis_options *options, const struct redis_place *place,
                            const struct reply *reply, char problem[HELLO_PROBLEM_MAX])
{
    struct bytes text = reply_text(reply);
    size_t at = 0, end;
    for (uint32_t words = 0; at < text.size && words < 4; at++) words += text.at[at] == ' ';
    for (end = ++at; end < text.size && text.at[end] != ' ';) end++;
    if (at >= text.size) return ERR_OK;
    return judge_partitions(options, place, bytes_of(text.at + at, end - at), problem);
}

static enum err take_digest(struct hello *hello, enum script script, const struct reply *reply)
{
    struct bytes digest = reply_text(reply);
    if (digest.size != SCRIPT_DIGEST_SIZE) return ERR_STORE_DOWN;
    memcpy(hello->server.digests[script], digest.at, digest.size);
    hello->server.digests[script][SCRIPT_DIGEST_SIZE] = 0;
    return ERR_OK;
}

/* Which of the Cluster's servers has that key is none of our business: the one that does
 * is asked the same. */
static bool is_elsewhere(const struct hello *hello, const struct reply *reply)
{
    bool is_keyed = hello->step == STEP_PARTITIONS || hello->step == STEP_WITNESS;
    return is_keyed && hello->options->mode == CONFIG_REDIS_CLUSTER &&
           refusal_of(reply) == REFUSAL_ELSEWHERE;
}

static enum err take_error(struct hello *hello, const struct reply *reply)
{
    struct bytes text = reply->text;
    int size = (int)min_u64(text.size, 120);
    const char *place = hello->place->text;
    if (reply_is_error(reply, "LOADING")) {
        snprintf(hello->problem, sizeof hello->problem, "Redis at %s is loading its data", place);
        return ERR_STARTING;
    }
    if (reply_is_error(reply, "NOAUTH") || hello->step == STEP_AUTH) {
        snprintf(hello->problem, sizeof hello->problem,
                 "Redis at %s refuses the user or password (%.*s); set redis.%suser and "
                 "redis.%spassword",
                 place, size, (const char *)text.at,
                 hello->role == LINK_SENTINEL ? "sentinel_" : "",
                 hello->role == LINK_SENTINEL ? "sentinel_" : "");
        return ERR_UNAUTHORIZED;
    }
    snprintf(hello->problem, sizeof hello->problem, "Redis at %s refuses to begin: %.*s", place,
             size, (const char *)text.at);
    return ERR_STORE_DOWN;
}

enum err hello_take(struct hello *hello, const struct reply *reply)
{
    check(!hello_is_done(hello));
    enum step step = (enum step)hello->step;
    bool is_optional = step == STEP_CONFIG || step == STEP_NAME;
    bool is_skipped = is_elsewhere(hello, reply);
    if (reply->type == REPLY_ERROR && !is_skipped &&
        !(is_optional && !reply_is_error(reply, "NOAUTH")))
        return take_error(hello, reply);
    switch (is_skipped ? STEP_NAME : step) {
    case STEP_INFO: TRY(take_info(hello, reply)); break;
    case STEP_CONFIG: hello_hear_config(&hello->server, reply); break;
    case STEP_PARTITIONS:
        TRY(judge_partitions(hello->options, hello->place, reply_text(reply), hello->problem));
        break;
    case STEP_WITNESS:
        TRY(hello_hear_witness(hello->options, hello->place, reply, hello->problem));
        break;
    default:
        if (step >= STEP_LOAD) TRY(take_digest(hello, (enum script)(step - STEP_LOAD), reply));
        break;
    }
    do hello->step++;
    while (hello->step < STEP_COUNT && !hello->steps[hello->step]);
    return ERR_OK;
}
