/*
 * net, simulated.
 */
#include "net_sim.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/list.h"
#include "loop_sim.h"
#include "world.h"

#define SOCK_UNKNOWN UINT32_MAX
#define FLOW_KEPT    1024 /* bytes of room that an empty flow keeps: there may be many */

/* One direction.  Counts run on: taken <= arrived <= sent. */
struct flow {
    uint8_t *bytes; /* sent - taken of them, from `first` */
    size_t first, room;
    uint64_t sent, arrived, taken;
    uint64_t last_ns; /* arrivals keep their order */
    bool is_fin_sent, is_fin_arrived;
};

struct link {
    struct list node; /* all links */
    uint32_t number;
    uint32_t refs; /* client, server, events under way */
    uint32_t window;
    uint32_t loop, sock; /* the server's end; SOCK_UNKNOWN until accepted */
    bool has_client, has_server, is_open, is_paused, is_reset;
    bool client_told, is_reading;
    const struct net_peer *peer;
    void *owner;
    struct flow up, down;
};

/* What an event under way will do: in the two low bits of its number. */
enum { MARK_BYTES, MARK_FIN, MARK_RESET, MARK_OPEN };

static struct {
    struct net_sim_options options;
    struct list links;
    uint32_t numbers;
} net;

void net_sim_init(const struct net_sim_options *options)
{
    net.options = *options;
    net.numbers = 0;
    list_init(&net.links);
}

const struct net_sim_options *net_options(void)
{
    return &net.options;
}
uint32_t net_number(const struct link *link)
{
    return link->number;
}

static void link_free(struct link *link)
{
    list_remove(&link->node);
    free(link->up.bytes);
    free(link->down.bytes);
    free(link);
}

static void link_unref(struct link *link)
{
    check(link->refs > 0);
    if (--link->refs == 0) link_free(link);
}

void net_sim_fini(void)
{
    list_each (node, &net.links) link_free(container_of(node, struct link, node));
}

static void flow_put(struct flow *flow, const uint8_t *data, size_t size)
{
    size_t used = (size_t)(flow->sent - flow->taken);
    if (flow->first + used + size > flow->room) {
        if (used > 0) memmove(flow->bytes, flow->bytes + flow->first, used);
        flow->first = 0;
        if (used + size > flow->room) {
            flow->room = 2 * (used + size) + 256;
            flow->bytes = realloc(flow->bytes, flow->room);
            check(flow->bytes != NULL);
        }
    }
    memcpy(flow->bytes + flow->first + used, data, size);
    flow->sent += size;
}

static void flow_take(struct flow *flow, size_t size)
{
    check(flow->taken + size <= flow->arrived);
    flow->taken += size;
    flow->first = flow->taken == flow->sent ? 0 : flow->first + size;
    if (flow->taken < flow->sent || flow->room <= FLOW_KEPT) return;
    free(flow->bytes);
    flow->bytes = NULL;
    flow->room = 0;
}

static void up_arrives(void *context, uint64_t mark);
static void down_arrives(void *context, uint64_t mark);

static void flow_announce(struct link *link, struct flow *flow, uint32_t what, uint64_t extra_ns)
{
    uint64_t delay = chance_skewed(&world.rng, net.options.delay_ns_min, net.options.delay_ns_max);
    flow->last_ns = max_u64(flow->last_ns, world.now_ns + delay + extra_ns);
    link->refs++;
    world_at(flow->last_ns, flow == &link->up ? up_arrives : down_arrives, link,
             flow->sent << 2 | what);
}

/* The client's view. */

static void client_ends(struct link *link, bool is_orderly)
{
    if (!link->has_client) return;
    link->has_client = false;
    link->peer->on_end(link->owner, is_orderly);
    link_unref(link);
}

/* Hands the client what has arrived, in pieces. */
static void client_reads(struct link *link)
{
    struct flow *down = &link->down;
    if (link->is_reading) return;
    link->is_reading = true;
    link->refs++;
    while (link->has_client && !link->is_paused && down->taken < down->arrived) {
        uint8_t piece[4096];
        size_t size = min_u64(down->arrived - down->taken, sizeof(piece));
        if (chance(net.options.split_percent)) size = 1 + chance_below(size);
        memcpy(piece, down->bytes + down->first, size);
        flow_take(down, size);
        link->peer->on_data(link->owner, piece, size);
    }
    link->is_reading = false;
    if (link->has_client && !link->is_paused && down->is_fin_arrived && down->taken == down->sent)
        client_ends(link, true);
    if (link->has_server) loop_sim_room(link->loop, link->sock);
    link_unref(link);
}

static void down_arrives(void *context, uint64_t mark)
{
    struct link *link = context;
    if (link->has_client) {
        uint32_t what = mark & 3;
        if (what == MARK_OPEN) {
            link->is_open = true;
            link->peer->on_open(link->owner);
        } else if (what == MARK_RESET) {
            client_ends(link, false);
        } else {
            link->down.arrived = max_u64(link->down.arrived, mark >> 2);
            if (what == MARK_FIN) link->down.is_fin_arrived = true;
            client_reads(link);
        }
    }
    link_unref(link);
}

/* The server's view. */

static void up_arrives(void *context, uint64_t mark)
{
    struct link *link = context;
    uint32_t what = mark & 3;
    if (what == MARK_OPEN) {
        if (link->has_client && !loop_sim_knock(link)) client_ends(link, false);
    } else if (link->has_server) {
        if (what == MARK_RESET)
            link->is_reset = true;
        else
            link->up.arrived = max_u64(link->up.arrived, mark >> 2);
        if (what == MARK_FIN) link->up.is_fin_arrived = true;
        if (link->sock != SOCK_UNKNOWN) loop_sim_arrived(link->loop, link->sock);
    }
    link_unref(link);
}

struct link *net_connect(const struct net_peer *peer, void *owner)
{
    struct link *link = calloc(1, sizeof(*link));
    check(link != NULL);
    link->number = net.numbers++;
    link->peer = peer;
    link->owner = owner;
    link->refs = 1;
    link->has_client = true;
    link->loop = link->sock = SOCK_UNKNOWN;
    link->window = (uint32_t)chance_between(net.options.window_min, net.options.window_max);
    list_append(&net.links, &link->node);
    flow_announce(link, &link->up, MARK_OPEN, 0);
    return link;
}

/* loop_sim took the connection into a backlog. */
void net_accepted(struct link *link, uint32_t loop, uint32_t sock)
{
    link->loop = loop;
    link->sock = sock;
    if (link->has_server) return;
    link->has_server = true;
    link->refs++;
    flow_announce(link, &link->down, MARK_OPEN, 0);
}

void net_write(struct link *link, const void *data, size_t size)
{
    check(link->has_client && link->is_open);
    flow_put(&link->up, data, size);
    flow_announce(link, &link->up, MARK_BYTES, 0);
}

void net_close(struct link *link, bool is_abort)
{
    check(link->has_client);
    link->has_client = false;
    if (link->has_server) flow_announce(link, &link->up, is_abort ? MARK_RESET : MARK_FIN, 0);
    link_unref(link);
}

void net_pause(struct link *link, bool is_paused)
{
    link->is_paused = is_paused;
    if (is_paused) link->window = min_u32(link->window, (uint32_t)chance_between(64, 4096));
    if (!is_paused) client_reads(link);
}

void net_reset(struct link *link)
{
    world_note(TRACE_RESET, link->number, 0, 0);
    if (link->has_server) flow_announce(link, &link->up, MARK_RESET, 0);
    if (link->has_client) flow_announce(link, &link->down, MARK_RESET, 0);
}

struct net_end net_end_of(const struct link *link)
{
    const struct flow *up = &link->up;
    uint64_t bytes = link->is_reset ? 0 : up->arrived - up->taken;
    return (struct net_end){.is_fin = up->is_fin_arrived && up->taken == up->sent,
                            .is_reset = link->is_reset,
                            .bytes = (uint32_t)bytes};
}

void net_take(struct link *link, uint8_t *data, uint32_t size)
{
    memcpy(data, link->up.bytes + link->up.first, size);
    flow_take(&link->up, size);
}

uint32_t net_give(struct link *link, const uint8_t *data, uint32_t size, bool may_be_short)
{
    struct flow *down = &link->down;
    check(!down->is_fin_sent);
    uint64_t used = down->sent - down->taken;
    uint32_t part = used >= link->window ? 0 : (uint32_t)min_u64(size, link->window - used);
    if (part > 0 && may_be_short && chance(net.options.short_percent))
        part = (uint32_t)chance_below(part + 1);
    /* Nobody reads: bytes to a client that is gone vanish until the reset is seen. */
    if (!link->has_client) return part;
    if (part == 0) return 0;
    flow_put(down, data, part);
    flow_announce(link, down, MARK_BYTES, 0);
    return part;
}

bool net_is_shut(const struct link *link)
{
    return link->down.is_fin_sent;
}

void net_give_fin(struct link *link)
{
    if (link->down.is_fin_sent) return;
    link->down.is_fin_sent = true;
    if (link->has_client) flow_announce(link, &link->down, MARK_FIN, 0);
}

void net_drop(struct link *link, bool is_abort)
{
    check(link->has_server);
    if (is_abort && link->has_client) flow_announce(link, &link->down, MARK_RESET, 0);
    if (!is_abort) net_give_fin(link);
    link->has_server = false;
    link_unref(link);
}

void net_sim_kill(bool is_machine)
{
    list_each (node, &net.links) {
        struct link *link = container_of(node, struct link, node);
        if (!link->has_server) continue;
        link->has_server = false;
        /* The kernel of a killed process resets; a dead machine says nothing, and
         * the client's own timers find out. */
        if (link->has_client)
            flow_announce(link, &link->down, MARK_RESET,
                          is_machine ? chance_below(3000000000u) : 0);
        link_unref(link);
    }
}
