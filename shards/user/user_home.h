/*
 * user_home: what happens at a user's home.
 *
 *   USER_ENTER  a connection asks to be registered.  Refused when a call for the
 *               user came after its connect began, and above
 *               client.user_connection_limit; with single_connection the user's
 *               other sessions are told to end.
 *   USER_LEAVE  a registered connection has ended.
 *   USER_ACT    a backend speaks of the user.  Every shard with an addressed session
 *               is asked to act, and the backend is answered when all have; the
 *               call stays as a revocation for connects that are under way.  The empty
 *               user, at the home of that name, is every client without one.
 *
 *   USER_TELL   a channel's home has something for the user's connections.  Nobody waits
 *               for it, and who connects meanwhile has it from where it came from.
 *
 * With other nodes a call, and the entrance of a connection that is to be the only one, first
 * takes its place in an order that all homes of the user share (storage/peers.h): every
 * node acts in that order, and of two new connections on two nodes exactly one stays.
 *
 * Letters of one shard to another are one FIFO, so whom this home has answered yes
 * knows it before a USER_DO about it arrives, and a leave is known here before the
 * answer to the USER_DO that caused it.
 *
 * Thread:  the user's home shard.
 * Tests:   tests/unit/shards/test_user_home.c, tests/unit/shards/test_user_peers.c, the simulator
 */
#pragma once

#include "shards/user/revocations.h"
#include "shards/user/users.h"

struct shard;
struct letter;

struct user_home {
    struct users users;
    struct revocations revocations;
};

void user_home_init(struct shard *shard, uint32_t sessions_max);
void user_home_fini(struct shard *shard);
/* Once a second: forgets revocations that no connect under way can meet. */
void user_home_tick(struct shard *shard);

void user_on_enter(void *shard, struct letter *letter);
void user_on_leave(void *shard, struct letter *letter);
void user_on_act(void *shard, struct letter *letter);
void user_on_tell(void *shard, struct letter *letter);
/* Of another node (struct store_peer_sink). */
void user_on_told(void *shard, struct bytes user, struct bytes packed, uint64_t age_ms);
