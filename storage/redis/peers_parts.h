/*
 * peers_parts: what the files about other nodes share; the other side of storage/peers.h.
 *
 *   nodes.c      the life of this shard and its lease; questions to other nodes
 *   presence.c   who attends channels
 *   tell.c       what is said about users
 *
 * Redis holds, besides what redis.h draws (P partitions, of which the first
 * REDIS_USER_PARTITIONS have users):
 *
 *   <prefix>:{p0}:nodes, :graves     leases, and lives to clean up after (lua/nodes.lua)
 *   <prefix>:{p<k>}:at:…, in:…, hid:…, who:…, of:…   presence (lua/presence.lua)
 *   <prefix>:{p<k>}:users            stream and pub/sub channel (lua/users.lua)
 *   <prefix>:{p0}:all                pub/sub: questions for every shard
 *   <prefix>:{p0}:box:<box>          pub/sub: answers for one
 *
 * Thread:  owner shard.
 * Tests:   tests/unit/storage/test_redis_peers.c, test_redis_tell.c
 */
#pragma once

#include "storage/peers.h"
#include "storage/redis/redis.h"

/* Streams of users: enough to spread over servers, few enough for every shard to hear. */
#define REDIS_USER_PARTITIONS 16
/* "<8 letters of the node><8 of the shard>.<number>" */
#define LIFE_MAX              31
#define BOX_SIZE              16
#define GRAVES_MAX            64
/* Changes of presence that wait; beyond, this shard begins another life. */
#define CHANGES_MAX           (VERIFY ? 64 : 1u << 20)

/* A pub/sub channel beside those of open channels. */
struct peer_feed {
    uint32_t partition;
    struct redis_server *server; /* where it was asked for; NULL: nowhere */
    bool is_on;                  /* confirmed */
};

/* What one partition of users has heard. */
struct user_feed {
    char after[48]; /* id; "": nothing yet */
    bool is_asking;
    bool is_behind;   /* something may have been missed */
    bool is_returned; /* and the server may be another one */
};

struct change_part {
    struct list changes; /* struct change, in order */
    struct list busy;    /* in peers.busy while there are any */
    struct change_call *call;
    uint64_t retry_ms;
    uint64_t epoch; /* hash of the one under which our entries stand; 0: none yet */
};

struct redis_peers {
    struct redis_store *redis;
    char box[BOX_SIZE + 1];
    struct timer timer;
    /* nodes.c: the lease */
    char life[LIFE_MAX + 1];
    char replaced[LIFE_MAX + 1]; /* the life before, to be told; or "" */
    uint32_t lives;              /* so many so far */
    uint32_t beat_life;          /* the one that the beat under way speaks of */
    bool is_alive;               /* the life has begun at Redis */
    bool is_beating;
    bool is_leaving; /* said goodbye */
    struct link_call beat_call;
    uint64_t beat_ms; /* next one */
    uint64_t beat_asked_ms;
    uint64_t lived_ms; /* the last that renewed was asked for */
    char graves[GRAVES_MAX][LIFE_MAX + 1];
    uint32_t graves_count;
    struct cleaning *cleaning;
    /* nodes.c: questions */
    struct list surveys;
    uint64_t survey_last;
    struct peer_feed all, mail;
    /* presence.c */
    struct change_part *parts; /* by partition */
    struct list busy;
    uint32_t changes_count;
    bool is_flowing; /* the last call of changes was good: a drain waits for the rest */
    /* tell.c */
    struct peer_feed users[REDIS_USER_PARTITIONS];
    struct user_feed heard[REDIS_USER_PARTITIONS];
    uint32_t users_count; /* of them in use */
    struct list telling;
    uint64_t tell_last;
    uint64_t look_ms; /* when every stream is looked at again */
};

static inline const struct store_peer_sink *peers_sink(const struct redis_store *redis)
{
    return redis->store.env.sink.peers;
}
/* Writes a script's first words and the mode; `count` words follow. */
void peers_write_script(struct link *link, struct resp_out *out, enum script script,
                        uint32_t partition, const char *mode, uint32_t count);
/* Publishes `head` and `body` on "<prefix>:{p0}:<kind><name>". */
void peers_publish(struct redis_store *redis, const char *kind, const char *name, struct bytes head,
                   struct bytes body);

/* nodes.c */
void nodes_tick(struct redis_store *redis, uint64_t now_ms);
/* This life is over for others, or has more to say than it can: another one begins. */
void nodes_renew(struct redis_store *redis);
/* The drain's last word: this life ends now. */
void redis_goodbye(struct store *store);
void nodes_fini(struct redis_store *redis);
void nodes_take(struct redis_store *redis, bool is_all, struct bytes message);

/* presence.c */
void presence_submit(struct redis_store *redis);
void presence_tick(struct redis_store *redis, uint64_t now_ms);
/* Everything of this shard is to be entered again, by its new life. */
void presence_enter_again(struct redis_store *redis);
void presence_fini(struct redis_store *redis);

/* tell.c */
void tell_confirmed(struct redis_store *redis, uint32_t partition);
void tell_take(struct redis_store *redis, uint32_t partition, struct bytes message);
void tell_tick(struct redis_store *redis, uint64_t now_ms);
void tell_fini(struct redis_store *redis);

/* The verbs of storage/peers.h. */
void redis_enter(struct store *store, struct bytes channel, const struct store_present *who,
                 uint32_t flags);
void redis_leave(struct store *store, struct bytes channel, const uint8_t client[16],
                 bool is_listed);
void redis_roll(struct store *store, struct store_roll *op);
void redis_survey(struct store *store, struct store_survey *op);
void redis_answer(struct store *store, const struct store_asker *asker, struct bytes answer);
void redis_tell(struct store *store, struct store_tell *op);
extern const struct store_peers redis_peers_table;
