/*
 * mesh: letters between shards.
 *
 * One SPSC ring (ck_ring) per ordered pair of shards.  A letter is written by
 * its sender, immutable while it travels, and freed where it was made: after
 * the receiver has handled it, it goes home in the next flush.  All letters
 * from one shard to another are one FIFO, overflow included: what a turn posts
 * to one shard is linked into a chain, one ring slot carries the chain, and a
 * full ring leaves the chain staged (counted, never dropped).  Letters to
 * oneself are a FIFO without a ring, read without waiting for a flush.
 *
 *    A: letter_new ─ fill ─ letter_post ─┐ flush: one slot        ┌─ B: on_letter
 *    A: on_home, freed ◀─────────────────┴── flush: one slot ◀────┘ (or letter_keep …
 *                                                                    letter_release)
 *
 * Credits.  A letter that asks for an answer is a request; it holds a credit
 * of its pair until the answer arrives, so answers, frames and letters going
 * home always fit.  Without credit the caller waits (letter_credit is false).
 *
 * Sleeping.  A shard that is about to sleep says so, looks once more, and only
 * then enters; a sender rings (loop_wake) at most once per turn and only a
 * shard that said so.
 *
 * Thread:  each `struct post` belongs to its shard.  mesh.c is the one file
 *          with atomics; it tells TSan what ck_ring does.
 * Tests:   tests/unit/core/test_mesh.c, tests/prop/prop_mesh.c, and under TSan
 *          tests/unit/core/test_mesh_race.c
 */
#pragma once

#include "core/bytes.h"
#include "core/err.h"

struct loop;
struct mesh;
struct post; /* one shard's post office */

#define LETTER_INLINE_MAX 480 /* payload bytes of a letter of 512 bytes, header included */

struct letter {
    struct letter *next; /* private: chain */
    uint16_t from, to;
    uint16_t kind;      /* of the table given to mesh_create */
    uint8_t is_request; /* holds a credit */
    uint8_t is_answer;  /* gives back the credit of the request it answers */
    uint8_t state;      /* private: draft, sent, open, homeward */
    uint8_t size_class; /* private */
    uint16_t keeps;     /* private: who still holds it open on the receiving shard */
    uint32_t size;      /* payload bytes */
    _Alignas(16) uint8_t payload[];
};

static_assert(sizeof(struct letter) == 32, "size classes are whole cache lines");

struct letter_handlers {
    const char *name;
    /* Runs on the receiver.  The letter goes home afterwards unless letter_keep
     * was called on it. */
    void (*on_letter)(void *shard, struct letter *letter);
    /* Runs on the sender when the letter is back, before it is freed; may be NULL. */
    void (*on_home)(void *shard, struct letter *letter);
};

/* `kinds`: kinds_count rows, kept by the caller.  1 <= shards_count <= SHARDS_MAX. */
struct mesh *mesh_create(uint32_t shards_count, const struct letter_handlers *kinds,
                         uint32_t kinds_count, uint32_t credits_max);
/* All letters must be home.  Accepts NULL. */
void mesh_destroy(struct mesh *mesh);
/* Before shards start: where `shard`'s letters are handled and how it is woken;
 * without a loop (NULL) nobody rings.  Borrowed until mesh_destroy. */
struct post *mesh_open(struct mesh *mesh, uint32_t shard, void *shard_context, struct loop *loop);

/* A letter to fill in, zeroed; never NULL: requests are bounded by credits, the
 * rest by what was asked. */
must_use struct letter *letter_new(struct post *post, uint32_t to, uint32_t kind, uint32_t size);
/* Frees a draft that is not wanted after all. */
void letter_discard(struct post *post, struct letter *letter);
/* Sends a draft; the sender no longer writes to it. */
void letter_post(struct post *post, struct letter *letter);
/* True when a request to `to` may be posted now; takes the credit.  The next
 * letter_post_request spends it. */
must_use bool letter_credit(struct post *post, uint32_t to);
/* Requests to `to` that may still be posted. */
uint32_t letter_credits_left(const struct post *post, uint32_t to);
/* Posts a draft as a request, on a credit taken before. */
void letter_post_request(struct post *post, struct letter *letter);
/* Gives back an unspent credit. */
void letter_credit_return(struct post *post, uint32_t to);
/* Posts a draft as the answer to a request from letter->to. */
void letter_post_answer(struct post *post, struct letter *letter);

/* A request to oneself that is heard at once, and an answer of one's own that is given at
 * once, need no letter: the credit that letter_credit took is spent, and given back.  Who
 * asks so must find that nothing he said to himself before is still to be read. */
must_use bool letter_waits_here(const struct post *post);
void letter_request_here(struct post *post);
void letter_answer_here(struct post *post);

/* In on_letter, or while it is kept: the letter stays here until letter_release,
 * which comes once for each letter_keep. */
void letter_keep(struct post *post, struct letter *letter);
void letter_release(struct post *post, struct letter *letter);

/* Handles up to `letters_max` letters, rings read from a moving start, and what
 * they make this shard post to itself; returns the count.  Equal to letters_max:
 * run another turn without sleeping. */
uint32_t mesh_read(struct post *post, uint32_t letters_max);
/* Hands every staged chain to its ring and rings the sleeping. */
void mesh_flush(struct post *post);
/* Announces sleep; false when something is waiting and sleeping would be wrong.
 * A chain that a full ring left staged is no reason to stay awake: who reads
 * that ring rings back. */
must_use bool mesh_sleep(struct post *post);
/* After loop_enter. */
void mesh_awake(struct post *post);

/* Bytes and letters staged for, or not yet home from, `to`. */
uint64_t mesh_backlog_bytes(const struct post *post, uint32_t to);
/* Letters of this shard that are not home, drafts and kept ones included. */
uint32_t mesh_letters_out(const struct post *post);
/* Letters from others that this shard keeps. */
uint32_t mesh_letters_kept(const struct post *post);

struct mesh_counters {
    uint64_t letters_sent, letters_read; /* homeward trips not counted */
    uint64_t bells;
    uint64_t ring_full;     /* flushes that left a chain staged */
    uint64_t credits_spent; /* letter_credit said no */
};
void mesh_count(const struct post *post, struct mesh_counters *counters);
