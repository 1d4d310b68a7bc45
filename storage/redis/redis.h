/*
 * redis: the engine on Redis Streams; this header is private to its files.
 *
 *   redis.c    the node, the store of a shard, health
 *   server.c   a primary: its links and the probe
 *   route.c    which primary holds a partition; calls on their way to it
 *   cluster.c, sentinel.c   who says so; slots.c, place.c   what they say, parsed
 *   find.c     whom to talk to first
 *   batch.c    records in: batches by partition
 *   append.c   their calls and answers
 *   confirm.c  the same when replicas are waited for
 *   read.c     a channel opened, a gap filled, history read
 *   subscribe.c   channels opened and closed, the feed link
 *   feed.c     announcements and their order
 *   entries.c  what a read answered, taken apart
 *   damage.c   what cannot be read, told to people
 *   seals.c, sealed.c   what publications are sealed with
 *   known.c    what was seen of a partition, and proves a loss
 *   facts.c    what a server says of itself, asked again
 *   partitions.c   how many partitions there are, kept in Redis
 *   sweep.c    the periodic look for what no announcement told
 *   forget.c   channels that nobody uses
 *   answer.c   what scripts and announcements say, parsed
 *   moves.c    when members moved
 *   listing.c  which channels a user belongs to
 *   sync.c     where clients stand in their conversations
 *   groups.c   how far consumers of the worker streams are behind
 *   work.c, work_ask.c   a consumer of the worker streams, beside the store
 *   peers.c, nodes.c, presence.c, tell.c   other nodes (peers_parts.h)
 *   link.c, wrap.c, hello.c, ask.c, resp.c, script.c   the way to Redis
 *
 * Redis holds, P partitions of k = hash(name) mod P, per partition:
 *
 *   <prefix>:{p<k>}:meta       hash: '' ▶ "epoch.generation lineage count sure …",
 *                              channel ▶ "head revision members-revision [removed
 *                              [confirmed-head confirmed-revision]] [birth] [@ms]"
 *   <prefix>:{p<k>}:forgot     hash: part of the names ▶ "-" and letters (lua/partition.lua)
 *   <prefix>:{p<k>}:idle       "<cursor> <ms>": the round of lua/forget.lua
 *   <prefix>:{p<k>}:s:<ch>     stream: <offset>-0 d <publication>,
 *                              <head>-<revision> m <member list>
 *   <prefix>:{p<k>}:w:<ch>     list: changes that wait for replicas
 *   <prefix>:{p<k>}:m:<ch>     hash: user ▶ "joined read [delivered unread_from hidden]";
 *                              or '' ▶ "none", or "lost"
 *   <prefix>:{p<k>}:t:<ch>     sorted set: members, while a list in pieces replaces them
 *   <prefix>:{p<k>}:v:<letters>:<ch>   stream: when cursors moved (lua/records.lua)
 *   <prefix>:{p<k>}:l:<letters>:<ch>   sorted set: up to where moves are of who left
 *   <prefix>:{p<k>}:o          stream: who came and went, until it is carried to …
 *   <prefix>:{p<k>}:b:<user>   hash: channel ▶ "<ms> <number> 1", or 0 when left (lua/belongs.lua)
 *   <prefix>:{p<k>}:k:<letters>:<n>:<ch>:<n>:<scope><key>   "<offset>", for the horizon
 *   <prefix>:{p<k>}:seal:<name>  what records are sealed with (seals.h)
 *   <prefix>:{p<k>}:c:<ch>     sharded pub/sub: announcements
 *   <prefix>:{p0}:probe:<boot> sharded pub/sub: ours alone, to see that it lives
 *   <prefix>:{p<k>}:sync:<n>:<user>:<client>   hash: channel ▶ "offset ms epoch" (lua/sync.lua)
 *   <prefix>:partitions        P
 *   <prefix>:{p0}:sealed       sorted set: key id ▶ until when it may be needed (sealed.h)
 *
 * and, as an option, streams that no gateway reads (lua/streams.lua).
 *
 * The stream is the truth, announcements are news of it.  A channel of ours has
 * a position (head, revision); an announcement is taken when it is the next
 * step from there, dropped when it is behind, and otherwise the gap is read
 * from the stream before anything later is taken.  Our own appends are fed from
 * their answers, right after on_appended; their announcements mark the place.
 *
 * Thread:  owner shard.
 * Tests:   tests/unit/storage/test_redis.c, tests/unit/storage/test_redis_feed.c
 */
#pragma once

#include "core/map.h"
#include "core/slab.h"
#include "storage/redis/answer.h"
#include "storage/redis/damage.h"
#include "storage/redis/seals.h"
#include "storage/redis/server.h"
#include "storage/store.h"

/* Channels that one shard has open at once. */
#define REDIS_CHANNELS_MAX  (VERIFY ? 4096 : 1u << 20)
/* Announcements of one channel that wait for an answer or a fill; what comes
 * beyond is left to the next fill. */
#define REDIS_HELD_MAX      (VERIFY ? 4 : 1024)
/* One script call: long enough to pay for its overhead, short enough not to
 * keep others of the same server waiting (0.2 ms at 7 us a record). */
#define REDIS_BATCH_RECORDS 64
#define REDIS_BATCH_BYTES   (256u << 10)
/* Calls of records under way at a server, from which on a partition has one at a time there
 * and what comes meanwhile is its next one.  So a busy server gets few and full calls, never
 * runs dry, and who comes alone waits for nothing. */
#define REDIS_APPENDS_EAGER (VERIFY ? 1 : 16)
/* Primaries that one shard talks to. */
#define REDIS_SERVERS_MAX   64

/* redis.prefix is at most 128; a point and a number of five digits may follow. */
#define REDIS_PREFIX_MAX 136

struct redis_node {
    struct store_node node; /* first: a node is cast back */
    const struct config *config;
    struct redis_options options;
    char prefix[REDIS_PREFIX_MAX + 1]; /* redis.prefix, and the database's number behind it */
    struct keyring keyring;
    struct redis_place seeds[CONFIG_REDIS_ADDRESSES_MAX]; /* redis.addresses */
    uint32_t seeds_count;
    struct redis_place place;          /* the primary, or one that holds something of ours */
    struct redis_place witness;        /* who has partition 0 */
    uint64_t epoch;                    /* as of which the Sentinels named it; a Cluster: 0 */
    struct slots_view *view;           /* of a Cluster, else NULL */
    struct hello_server server;        /* what the primary said at the start of the node */
    uint64_t age_base_ms;              /* for the stores, as it was when the node opened */
    char letters[REDIS_BOOT_SIZE + 1]; /* name this process to other nodes */
};

enum channel_state {
    CHANNEL_SUBSCRIBING, /* waits for the subscription, then reads */
    CHANNEL_READING,     /* the snapshot is under way; announcements are held */
    CHANNEL_LIVE,
};

/* A channel that is open on this shard. */
struct redis_channel {
    struct store_channel *channel;
    struct store_open *op; /* unless LIVE */
    enum channel_state state;
    bool is_subscribed;
    bool is_filling;
    bool is_behind; /* to be filled as soon as possible: announcements were dropped */
    uint32_t partition;
    uint64_t revision;      /* of members, cursors and removals, as far as the sink knows */
    uint64_t removed;       /* everything up to it was; the sink knows */
    uint64_t policy;        /* the channel's own mark; the sink knows */
    uint64_t subscribe_seq; /* our place among the confirmations */
    uint64_t acked_head;    /* largest offset that an answer told us, in this epoch */
    uint64_t suspect_head;  /* seen by the sweep before it was announced */
    uint64_t suspect_revision;
    uint64_t held_head, held_revision; /* what the sweep saw confirmed below what was held */
    bool was_held;
    bool is_touching;    /* we are about to confirm what is held */
    bool is_reopening;   /* READING, once more, behind that */
    uint64_t due_ms;     /* SUBSCRIBING: the open fails then */
    struct list link;    /* in its partition */
    struct list queue;   /* to be subscribed */
    struct list opening; /* SUBSCRIBING */
    struct list holding; /* has held announcements */
    struct list held;    /* struct held, in order of arrival */
    uint32_t held_count;
};

/* An announcement that waits, or, without its body, the place of one of our own
 * that is fed when its answer comes. */
struct held {
    struct list link;
    struct redis_server *server; /* that announced it */
    bool is_place;
    uint32_t size;
    uint8_t bytes[];
};

struct redis_partition {
    struct redis_server *server;
    uint64_t epoch;          /* of the claim by which it has the partition */
    struct route_hold *hold; /* calls that cannot go to it yet, or NULL */
    struct list channels;
    struct append_call *filling; /* takes records until it is submitted */
    uint32_t appends;            /* calls of records under way, but for those of flights */
    struct list held;            /* struct append_call, behind them; empty while there is none */
    struct position *known;      /* known.c; NULL: nothing */
    struct replaced *replaced;   /* known.c; NULL: nothing was */
    uint64_t looked_ms;          /* the last look of the sweep; 0: none yet */
    bool is_arrived;             /* the server is another one for it since it was vouched for */
};

/* groups.c: what the last sweep over the worker streams found, and the one under way. */
struct redis_groups {
    struct store_group rows[STORE_GROUPS_MAX], next[STORE_GROUPS_MAX];
    uint32_t count, next_count;
    uint32_t partition; /* the next one to ask */
    uint32_t calls;
    bool is_incomplete; /* one of them failed: the sweep does not count */
    struct timer timer;
};

/* forget.c: the round over the metas of all partitions; of shard 0. */
struct redis_forget {
    struct timer timer;
    struct link_call call;
    bool is_calling;
    uint32_t partition; /* asked now, or last */
    uint64_t *due_ms;   /* when each partition is to be looked at; NULL: by another shard */
    uint64_t pause_ms;  /* as the look told */
    uint8_t *over;      /* channel and mark of those that go, sized; or NULL */
    size_t over_size;
    uint32_t over_count;
};

struct redis_store {
    struct store store; /* first: a store is cast back */
    struct redis_node *node;
    char letters[REDIS_BOOT_SIZE + 1]; /* offered for a new epoch */
    struct links links;
    struct redis_server *servers[REDIS_SERVERS_MAX];
    uint32_t servers_count;
    struct redis_server *root;   /* holds what belongs to no partition */
    struct store_server *health; /* scratch of redis_health */
    /* route.c */
    struct list holds;    /* struct route_hold */
    struct list unrouted; /* calls for which there was no room */
    uint32_t held_count;
    struct timer route_timer;
    /* cluster.c */
    struct timer cluster_timer;
    struct link_call cluster_call;
    struct redis_server *cluster_asked;
    uint64_t cluster_asked_ms;
    uint32_t cluster_turn;
    bool is_cluster_calling, is_cluster_wanted;
    /* sentinel.c */
    struct timer sentinels_timer;
    struct sentinel *sentinels; /* node->seeds_count of them, or NULL */
    struct map channels_by_name;
    struct slab channels;
    struct redis_partition *partitions;
    uint32_t pending;
    struct redis_peers *peers; /* other nodes (peers_parts.h) */
    /* batch.c */
    struct list batches;   /* struct append_call of this turn */
    uint32_t batches_held; /* in the lines of all partitions */
    uint64_t latency_us;
    /* subscribe.c, feed.c */
    struct list opening;
    struct list holding;
    struct list refused; /* opens for which no channel was left */
    /* sweep.c */
    struct redis_groups groups;
    struct timer sweep_timer;
    uint32_t sweep_next; /* partition */
    uint32_t sweep_calls;
    uint32_t sweep_rounds;
    bool is_sweep_urgent; /* what differs is filled at once */
    bool is_sweep_again;  /* begin anew when this one is through */
    struct redis_forget forget;
    /* partitions.c */
    struct link_call partitions_call;
    bool is_partitions_calling;
    bool is_partitions_other; /* somebody began anew with another number */
    /* listing.c */
    struct list carries; /* struct carry */
    struct timer listing_timer;
    uint32_t listing_next; /* partition */
    struct redis_seals seals;
    struct redis_damage damage;
    /* sealed.c */
    struct link_call sealed_call;
    bool is_sealed_calling;
    uint64_t sealed_due_ms;
    struct arena opened;              /* scratch of one callback */
    struct publication *publications; /* the same */
    uint32_t publications_max;
};

static inline struct redis_store *redis_of(struct store *store)
{
    return container_of(store, struct redis_store, store);
}
static inline uint64_t redis_now_ms(const struct redis_store *redis)
{
    return clock_turn_ms(redis->store.env.clock);
}

/* redis.c */
/* The server's clock said `time_ms` at some moment since `asked_ms`: store time follows it, so
 * that all nodes judge ages alike, however wrong the clocks of their machines are. */
void redis_hear_time(struct redis_store *redis, uint64_t time_ms, uint64_t asked_ms);
#define REDIS_KEY_MAX 1024
/* Writes "<prefix>:{p<k>}:<kind><name>" into key[REDIS_KEY_MAX]. */
struct bytes redis_key(const struct redis_store *redis, char *key, uint32_t partition,
                       const char *kind, struct bytes name);
/* The first words of a script call: digest, key and lineage; `count` further words follow. */
void redis_write_script(struct link *link, struct resp_out *out, enum script script,
                        uint32_t partition, uint32_t count);
/* Eight letters, from the shard's secrets. */
void redis_draw_letters(char letters[REDIS_BOOT_SIZE + 1]);
/* The primary that holds the partition. */
struct redis_server *redis_server_of(const struct redis_store *redis, uint32_t partition);
/* The same behind everything that was appended before, so that what it finds of our own
 * is answered already; with replicas to wait for it does not follow a partition that moves. */
void redis_call_behind(struct redis_store *redis, uint32_t partition, struct link_call *call);
uint32_t redis_partition_of(const struct redis_store *redis, struct bytes name);
/* Room for `count` publications in redis->publications. */
void redis_reserve(struct redis_store *redis, uint32_t count);

/* route.c */
void route_start(struct redis_store *redis);
/* After links_fini: ends what is left. */
void route_fini(struct redis_store *redis);
/* Puts `call` in line at the primary of the partition, where its write finds it as the
 * link's owner; it may wait unwritten while the link comes back, and is written again,
 * elsewhere, when the partition was somewhere else.  Calls of one partition keep their
 * order. */
void redis_call(struct redis_store *redis, uint32_t partition, struct link_call *call);
void route_on_elsewhere(struct link *link, struct link_call *call, const struct reply *reply);
/* The same for a call that its owner keeps, and gives again when the partition is not held. */
void route_redirect(struct link *link, uint32_t partition, const struct reply *reply);
/* True exactly when what is asked of the partition now must wait. */
bool route_is_held(const struct redis_store *redis, uint32_t partition);
/* From now on `to` holds the partition. */
void route_move(struct redis_store *redis, uint32_t partition, struct redis_server *to);
/* Somebody says so, as of a configuration epoch; true: it is news, and believed. */
bool route_claim(struct redis_store *redis, uint32_t partition, struct redis_server *server,
                 uint64_t epoch);
/* Something speaks for a change: ask soon. */
void route_want(struct redis_store *redis);
/* Once a turn: calls whose wait is over, servers that lost everything. */
void route_submit(struct redis_store *redis);

/* cluster.c */
void cluster_start(struct redis_store *redis);
void cluster_want(struct redis_store *redis);
uint32_t cluster_slot(const struct redis_store *redis, uint32_t partition);
void cluster_fini(struct redis_store *redis);

/* sentinel.c */
void sentinels_start(struct redis_store *redis);
void sentinels_want(struct redis_store *redis);
void sentinels_flush(struct redis_store *redis);
void sentinels_fini(struct redis_store *redis);

/* batch.c */
void redis_append(struct store *store, struct store_append *op);
/* Hands the batches of this turn to the link. */
void append_submit(struct redis_store *redis);
/* After links_fini: what did not leave yet, which nobody asked for, goes. */
void append_abandon(struct redis_store *redis);
/* Writes something to the partition and confirms what is held of the channel. */
void append_touch(struct redis_store *redis, uint32_t partition, struct bytes channel);

/* read.c */
void read_open(struct redis_store *redis, struct redis_channel *channel);
/* What was held of it when it was read is confirmed, or is not to be: it is read again. */
void read_open_again(struct redis_store *redis, struct redis_channel *channel);
/* Brings the channel to what Redis holds; a no-op while it is doing that. */
void read_fill(struct redis_store *redis, struct redis_channel *channel);
void redis_read(struct store *store, struct store_read *op);

/* subscribe.c */
void redis_open(struct store *store, struct store_open *op);
void redis_close(struct store *store, struct store_channel *channel);
void feed_on_ready(struct link *link);
void feed_on_lost(struct link *link);
void feed_on_push(struct link *link, const struct reply *reply);
/* The channel is to be subscribed at the server that holds its partition now. */
void subscribe_queue(struct redis_store *redis, struct redis_channel *channel);
/* Writes the head of an SSUBSCRIBE; its `count` channels follow, in a Cluster all of one
 * partition. */
struct resp_out *subscribe_begin(struct redis_server *server, uint32_t count, uint32_t partition,
                                 bool is_apart);
/* Subscribes what waits, as far as the pace allows; ends opens that waited too long. */
void feed_submit(struct redis_store *redis);
/* The channel is finished opening: LIVE from here on. */
void feed_begin(struct redis_store *redis, struct redis_channel *channel);
/* Opening failed: the engine lets go of the channel and the op ends. */
void feed_fail(struct redis_store *redis, struct redis_channel *channel, enum err err);

/* feed.c */
/* Takes or holds what the server announced of the channel. */
void feed_take(struct redis_server *server, struct redis_channel *channel, struct bytes message);
/* Forgets what is held. */
void feed_clear(struct redis_channel *channel);
/* Feeds our own record, now answered by the server, unless something before it is
 * missing: then its announcement, or a fill, brings it.  The channel may be gone. */
void feed_own(struct redis_server *server, struct handle channel,
              const struct announcement *announcement);
/* Takes held announcements whose wait is over. */
void feed_release(struct redis_store *redis);
/* Hands one publication, member list or cursor to the sink.  False: it cannot be read, and
 * nothing has changed. */
must_use bool feed_publication(struct redis_store *redis, struct redis_channel *channel,
                               uint64_t offset, struct bytes body);
/* The publication after the head, `offset`, cannot be read: the channel goes on behind it, and
 * the sink is told of a loss. */
void feed_pass_over(struct redis_store *redis, struct redis_channel *channel, uint64_t offset);
/* False leaves the revision where it is, and a fill brings all members. */
bool feed_members(struct redis_store *redis, struct redis_channel *channel, uint64_t revision,
                  struct bytes body);
/* Everything up to `offset` was removed. */
void feed_remove(struct redis_store *redis, struct redis_channel *channel, uint64_t offset);
/* Positions before are void: tells the sink and goes on from there. */
void feed_reset(struct redis_store *redis, struct redis_channel *channel,
                const struct read_answer *answer);

/* peers.c */
void redis_peers_start(struct redis_store *redis);
/* After links_fini. */
void redis_peers_fini(struct redis_store *redis);
void redis_peers_submit(struct redis_store *redis);
/* What still has to reach Redis before this shard may end. */
uint32_t redis_peers_pending(const struct redis_store *redis);
void redis_peers_on_feed_lost(struct redis_server *server);
/* Takes a push of the feed unless it is about an open channel or the probe; `name`
 * is what follows the tag of the key. */
must_use bool redis_peers_on_push(struct redis_server *server, struct bytes kind, struct bytes key,
                                  struct bytes name, struct bytes message);

/* presence.c */
/* The epoch under which something of the partition was just read or written. */
void presence_note_epoch(struct redis_store *redis, uint32_t partition, struct bytes epoch);
/* A join or a leave that this shard announced itself: its listeners know. */
bool presence_is_own(const struct redis_store *redis, const struct announcement *announcement);
void presence_take(struct redis_store *redis, struct redis_channel *channel,
                   const struct announcement *announcement);

/* moves.c */
void redis_moves(struct store *store, struct store_moves *op);

/* listing.c */
void listing_start(struct redis_store *redis);
/* After links_fini. */
void listing_stop(struct redis_store *redis);
/* Brings what the partition says of users to their lists. */
void listing_carry(struct redis_store *redis, uint32_t partition);
void redis_memberships(struct store *store, struct store_memberships *op);

/* sweep.c */
void sweep_start(struct redis_store *redis);
/* Looks at every partition now, and fills what differs. */
void sweep_soon(struct redis_store *redis);

/* forget.c */
void forget_start(struct redis_store *redis);
/* After everything that was asked has ended. */
void forget_stop(struct redis_store *redis);
/* A channel that is used by nobody is kept at least so long. */
uint64_t forget_least_ms(const struct redis_store *redis);

/* partitions.c */
/* Looks whether redis.partitions still stands in Redis as it was, and writes it if it went. */
void partitions_look(struct redis_store *redis);

/* groups.c */
void groups_start(struct redis_store *redis);
/* A no-op when it was not started. */
void groups_stop(struct redis_store *redis);

/* sync.c */
void redis_sync(struct store *store, struct store_sync *op);
