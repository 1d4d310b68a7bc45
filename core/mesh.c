/*
 * mesh: rings, chains, bells, and the memory of letters.
 *
 * The only file with atomics.  What shards share is `struct pair` (a ring and
 * one flag) and `struct door` (a bitmap and one flag); all else belongs to one
 * shard and is plain memory.
 *
 * Who may miss whom, and why nobody does.  Three flags are set by one side and
 * looked at by the other; each side writes its own fact, fences fully, and
 * only then reads the other's (Dekker), so at least one of them sees both:
 *
 *   reader  takes `full` bits, then reads the rings | writer  fills the ring, then sets its bit
 *   reader  says it sleeps, then looks at `full`    | writer  sets its bit, then looks who sleeps
 *   writer  says it is blocked, then tries again    | reader  empties the ring, then looks who is
 *
 * TSan cannot see ck_ring's inline assembly.  Each chain is released on the
 * address of its first letter and acquired there, so that exactly the letters
 * of that chain are ordered, no more: a sender that still writes to a posted
 * letter is reported (tests/tsan).  The slots themselves are ck_ring's own
 * business, hence the two functions that TSan does not instrument.
 */
#include "core/mesh.h"

/* ck_ring's functions must vanish into pair_put and pair_take, also where the
 * compiler would rather call them: see hidden_from_tsan. */
#include <ck_cc.h>
#undef CK_CC_INLINE
#define CK_CC_INLINE CK_CC_FORCE_INLINE
#include <ck_pr.h>
#include <ck_ring.h>

#include "core/check.h"
#include "core/limits.h"
#include "core/loop.h"
#include "core/mem.h"
#include "core/spares.h"

#if defined(SLUICE_TSAN) && !defined(MESH_WITHOUT_ANNOTATION)
#include <sanitizer/tsan_interface.h>
#else
#define __tsan_acquire(address) ((void)(address))
#define __tsan_release(address) ((void)(address))
#endif
#define hidden_from_tsan __attribute__((no_sanitize("thread"), noinline))

/* Two lines, because the neighbour's prefetcher fetches pairs of lines. */
#define APART _Alignas(2 * CACHE_LINE)

enum { LETTER_DRAFT, LETTER_SENT, LETTER_OPEN, LETTER_HOMEWARD };

/* From one shard to another. */
struct pair {
    APART ck_ring_t ring;
    ck_ring_buffer_t slots[MESH_RING_SLOTS];
    APART uint32_t is_blocked; /* the writer has a chain that found no slot */
};

/* What others see of a shard. */
struct door {
    APART uint64_t full; /* bit per shard whose ring to this one may hold something */
    uint32_t is_sleeping;
    struct loop *loop;
};

/* What one shard has for, and from, one other. */
struct lane {
    struct letter *first; /* staged for it, oldest first */
    struct letter **last;
    struct letter *unread; /* from it: the rest of the chain being read */
    uint64_t backlog_bytes;
    uint32_t credits_used; /* requests without answer, and credits held */
    uint32_t credits_held; /* taken by letter_credit, not yet spent */
};

struct post {
    struct mesh *mesh;
    void *shard; /* context of handlers */
    uint32_t index;
    uint32_t read_start; /* where the next read begins */
    uint64_t staged;     /* bit per lane with a chain */
    uint64_t unread;     /* bit per shard that may have something for us */
    uint32_t letters_out, letters_kept;
    uint64_t others_to_ring;  /* bit per shard that this turn's work may wake */
    struct letter **self_end; /* end of our own unread chain, while there is one */
    struct spares spares;
    struct mesh_counters counters;
    struct lane lanes[SHARDS_MAX];
};

struct mesh {
    uint32_t shards_count, kinds_count, credits_max;
    const struct letter_handlers *kinds;
    struct post *posts;
    struct door *doors;
    struct pair *pairs; /* [from * shards_count + to] */
};

static_assert(SHARDS_MAX <= 64, "a bitmap has a bit per shard");

/* Pages give the alignment that the heap does not promise. */
static size_t mesh_pairs_size(uint32_t n)
{
    return (size_t)n * n * sizeof(struct pair);
}
static size_t mesh_doors_size(uint32_t n)
{
    return (size_t)n * sizeof(struct door);
}

struct mesh *mesh_create(uint32_t shards_count, const struct letter_handlers *kinds,
                         uint32_t kinds_count, uint32_t credits_max)
{
    check(shards_count >= 1 && shards_count <= SHARDS_MAX);
    check(credits_max >= 1);
    check(kinds_count <= UINT16_MAX);

    struct mesh *mesh = mem_alloc(sizeof *mesh);
    mesh->shards_count = shards_count;
    mesh->kinds = kinds;
    mesh->kinds_count = kinds_count;
    mesh->credits_max = credits_max;
    mesh->posts = mem_alloc(shards_count * sizeof *mesh->posts);
    mesh->doors = mem_reserve(mesh_doors_size(shards_count));
    mesh->pairs = mem_reserve(mesh_pairs_size(shards_count));
    for (uint32_t i = 0; i < shards_count * shards_count; i++)
        ck_ring_init(&mesh->pairs[i].ring, MESH_RING_SLOTS);
    return mesh;
}

struct post *mesh_open(struct mesh *mesh, uint32_t shard, void *shard_context, struct loop *loop)
{
    check(shard < mesh->shards_count);
    struct post *post = &mesh->posts[shard];
    check(post->mesh == NULL);

    post->mesh = mesh;
    post->shard = shard_context;
    post->index = shard;
    for (uint32_t i = 0; i < mesh->shards_count; i++) post->lanes[i].last = &post->lanes[i].first;
    mesh->doors[shard].loop = loop;
    return post;
}

void mesh_destroy(struct mesh *mesh)
{
    if (mesh == NULL) return;
    for (uint32_t i = 0; i < mesh->shards_count; i++) {
        struct post *post = &mesh->posts[i];
        check(post->letters_out == 0);
        check(post->letters_kept == 0);
        spares_fini(&post->spares);
    }
    mem_unreserve(mesh->pairs, mesh_pairs_size(mesh->shards_count));
    mem_unreserve(mesh->doors, mesh_doors_size(mesh->shards_count));
    mem_free(mesh->posts);
    mem_free(mesh);
}

/* ── the memory of letters ─────────────────────────────────────────────── */

struct letter *letter_new(struct post *post, uint32_t to, uint32_t kind, uint32_t size)
{
    check(to < post->mesh->shards_count);
    check(kind < post->mesh->kinds_count);

    struct letter *letter = spares_take(&post->spares, size);
    letter->from = (uint16_t)post->index;
    letter->to = (uint16_t)to;
    letter->kind = (uint16_t)kind;
    post->letters_out++;
    return letter;
}

static void letter_free(struct post *post, struct letter *letter)
{
    check(letter->from == post->index);
    check(post->letters_out > 0);

    post->letters_out--;
    spares_give(&post->spares, letter);
}

void letter_discard(struct post *post, struct letter *letter)
{
    check(letter->state == LETTER_DRAFT);
    letter_free(post, letter);
}

/* ── posting ───────────────────────────────────────────────────────────── */

/* What `letter` adds to its sender's backlog. */
static uint64_t letter_weight(const struct letter *letter)
{
    return sizeof *letter + letter->size;
}

static void letter_stage(struct post *post, uint32_t to, struct letter *letter)
{
    struct lane *lane = &post->lanes[to];
    letter->next = NULL;
    *lane->last = letter;
    lane->last = &letter->next;
    post->staged |= UINT64_C(1) << to;
}

void letter_post(struct post *post, struct letter *letter)
{
    check(letter->state == LETTER_DRAFT);
    check(letter->from == post->index);

    letter->state = LETTER_SENT;
    post->lanes[letter->to].backlog_bytes += letter_weight(letter);
    post->counters.letters_sent++;
    letter_stage(post, letter->to, letter);
}

bool letter_credit(struct post *post, uint32_t to)
{
    check(to < post->mesh->shards_count);
    struct lane *lane = &post->lanes[to];
    if (lane->credits_used == post->mesh->credits_max) {
        post->counters.credits_spent++;
        return false;
    }
    lane->credits_used++;
    lane->credits_held++;
    return true;
}

uint32_t letter_credits_left(const struct post *post, uint32_t to)
{
    check(to < post->mesh->shards_count);
    check(post->lanes[to].credits_used <= post->mesh->credits_max);
    return post->mesh->credits_max - post->lanes[to].credits_used;
}

void letter_credit_return(struct post *post, uint32_t to)
{
    struct lane *lane = &post->lanes[to];
    check(lane->credits_held > 0);
    check(lane->credits_used >= lane->credits_held);
    lane->credits_held--;
    lane->credits_used--;
}

void letter_post_request(struct post *post, struct letter *letter)
{
    struct lane *lane = &post->lanes[letter->to];
    check(lane->credits_held > 0);
    lane->credits_held--;
    letter->is_request = 1;
    letter_post(post, letter);
}

void letter_post_answer(struct post *post, struct letter *letter)
{
    check(!letter->is_request);
    letter->is_answer = 1;
    letter_post(post, letter);
}

bool letter_waits_here(const struct post *post)
{
    const struct lane *lane = &post->lanes[post->index];
    return lane->first != NULL || lane->unread != NULL;
}

void letter_request_here(struct post *post)
{
    struct lane *lane = &post->lanes[post->index];
    check(lane->credits_held > 0);
    lane->credits_held--;
}

void letter_answer_here(struct post *post)
{
    struct lane *lane = &post->lanes[post->index];
    check(lane->credits_used > lane->credits_held);
    lane->credits_used--;
}

/* ── reading ───────────────────────────────────────────────────────────── */

static void letter_home(struct post *post, struct letter *letter)
{
    struct lane *lane = &post->lanes[letter->to];
    check(letter->from == post->index);
    check(lane->backlog_bytes >= letter_weight(letter));

    lane->backlog_bytes -= letter_weight(letter);
    void (*on_home)(void *, struct letter *) = post->mesh->kinds[letter->kind].on_home;
    if (on_home != NULL) on_home(post->shard, letter);
    letter_free(post, letter);
}

void letter_keep(struct post *post, struct letter *letter)
{
    check(letter->state == LETTER_OPEN);
    check(letter->to == post->index);
    check(letter->keeps < UINT16_MAX);
    letter->keeps++;
}

void letter_release(struct post *post, struct letter *letter)
{
    check(letter->state == LETTER_OPEN);
    check(letter->to == post->index);
    check(letter->keeps > 0);

    if (--letter->keeps > 0) return;
    post->letters_kept--;
    letter->state = LETTER_HOMEWARD;
    letter_stage(post, letter->from, letter);
}

/* The reader holds the letter open itself while the handler runs.  A letter to
 * oneself that nobody kept is home at once: a trip would cost a turn. */
static void letter_open(struct post *post, struct letter *letter)
{
    check(letter->state == LETTER_SENT);
    check(letter->to == post->index);
    check(letter->kind < post->mesh->kinds_count);

    if (letter->is_answer) {
        struct lane *lane = &post->lanes[letter->from];
        check(lane->credits_used > lane->credits_held);
        lane->credits_used--;
    }
    letter->state = LETTER_OPEN;
    letter->keeps = 1;
    post->letters_kept++;
    post->counters.letters_read++;
    post->mesh->kinds[letter->kind].on_letter(post->shard, letter);

    if (letter->keeps == 1 && letter->from == post->index) {
        letter->keeps = 0;
        post->letters_kept--;
        letter_home(post, letter);
        return;
    }
    letter_release(post, letter);
}

static struct pair *mesh_pair(struct mesh *mesh, uint32_t from, uint32_t to)
{
    return &mesh->pairs[from * mesh->shards_count + to];
}

hidden_from_tsan static bool pair_put(struct pair *pair, struct letter *chain)
{
    __tsan_release(chain);
    return ck_ring_enqueue_spsc(&pair->ring, pair->slots, chain);
}

hidden_from_tsan static struct letter *pair_take(struct pair *pair)
{
    void *chain;
    if (!ck_ring_dequeue_spsc(&pair->ring, pair->slots, &chain)) return NULL;
    __tsan_acquire(chain);
    return chain;
}

/* Asks for a bell at `shard` when it sleeps; rung at the end of the step, so
 * that one turn rings one shard at most once. */
static void mesh_ring(struct post *post)
{
    if (post->others_to_ring == 0) return;
    ck_pr_fence_memory();
    for (uint64_t left = post->others_to_ring; left != 0; left &= left - 1) {
        struct door *door = &post->mesh->doors[__builtin_ctzll(left)];
        if (!ck_pr_load_32(&door->is_sleeping)) continue;
        if (!ck_pr_cas_32(&door->is_sleeping, 1, 0)) continue;
        post->counters.bells++;
        if (door->loop != NULL) loop_wake(door->loop);
    }
    post->others_to_ring = 0;
}

/* Reads at most `letters_max` letters that `from` sent; clears its bit when
 * there are no more. */
static uint32_t mesh_read_from(struct post *post, uint32_t from, uint32_t letters_max)
{
    struct lane *lane = &post->lanes[from];
    struct pair *pair = mesh_pair(post->mesh, from, post->index);
    uint32_t count = 0;
    bool has_emptied = false;

    while (count < letters_max) {
        if (lane->unread == NULL && from != post->index) {
            lane->unread = pair_take(pair);
            if (lane->unread != NULL) has_emptied = true;
        }
        struct letter *letter = lane->unread;
        if (letter == NULL) {
            post->unread &= ~(UINT64_C(1) << from);
            break;
        }
        lane->unread = letter->next;
        count++;
        if (letter->state == LETTER_HOMEWARD)
            letter_home(post, letter);
        else
            letter_open(post, letter);
    }
    if (has_emptied) {
        ck_pr_fence_memory();
        if (ck_pr_load_32(&pair->is_blocked)) {
            ck_pr_store_32(&pair->is_blocked, 0);
            post->others_to_ring |= UINT64_C(1) << from;
        }
    }
    return count;
}

/* Our own letters: the chain moves behind what is unread. */
static void mesh_flush_self(struct post *post)
{
    struct lane *lane = &post->lanes[post->index];
    uint64_t bit = UINT64_C(1) << post->index;
    if ((post->staged & bit) == 0) return;
    check(lane->first != NULL);
    if (lane->unread == NULL)
        lane->unread = lane->first;
    else
        *post->self_end = lane->first;
    post->self_end = lane->last;
    lane->first = NULL;
    lane->last = &lane->first;
    post->unread |= bit;
    post->staged &= ~bit;
}

/* What a letter makes its reader post to itself is read in the same call: a
 * publication of a shard's own goes all the way to its listeners in one turn,
 * and those of one turn leave in one send.  Waiting for the flush split sixteen
 * publications in flight over three turns and tripled the sends. */
uint32_t mesh_read(struct post *post, uint32_t letters_max)
{
    struct door *door = &post->mesh->doors[post->index];
    if (ck_pr_load_64(&door->full) != 0) post->unread |= ck_pr_fas_64(&door->full, 0);

    uint32_t shards = post->mesh->shards_count;
    uint32_t count = 0;
    uint32_t start = post->read_start++ % shards;
    mesh_flush_self(post);
    while (post->unread != 0 && count < letters_max) {
        uint32_t share = letters_max / (uint32_t)__builtin_popcountll(post->unread);
        share = max_u32(share, 1);
        for (uint32_t i = 0; i < shards && count < letters_max; i++) {
            uint32_t from = (start + i) % shards;
            if ((post->unread >> from & 1) == 0) continue;
            count += mesh_read_from(post, from, min_u32(share, letters_max - count));
        }
        mesh_flush_self(post);
    }
    mesh_ring(post);
    sometimes(count == letters_max);
    return count;
}

/* ── flushing and sleeping ─────────────────────────────────────────────── */

/* Hands the chain for `to` over; false when it stays staged.  After the second
 * refusal the reader is bound to see is_blocked and to ring. */
static bool mesh_flush_to(struct post *post, uint32_t to)
{
    struct lane *lane = &post->lanes[to];
    struct pair *pair = mesh_pair(post->mesh, post->index, to);
    check(lane->first != NULL);

    if (!pair_put(pair, lane->first)) {
        ck_pr_store_32(&pair->is_blocked, 1);
        ck_pr_fence_memory();
        if (!pair_put(pair, lane->first)) {
            post->counters.ring_full++;
            return false;
        }
        ck_pr_store_32(&pair->is_blocked, 0);
    }
    ck_pr_or_64(&post->mesh->doors[to].full, UINT64_C(1) << post->index);
    post->others_to_ring |= UINT64_C(1) << to;
    return true;
}

void mesh_flush(struct post *post)
{
    mesh_flush_self(post);
    for (uint64_t left = post->staged; left != 0; left &= left - 1) {
        uint32_t to = (uint32_t)__builtin_ctzll(left);
        if (!mesh_flush_to(post, to)) continue;
        struct lane *lane = &post->lanes[to];
        lane->first = NULL;
        lane->last = &lane->first;
        post->staged &= ~(UINT64_C(1) << to);
    }
    mesh_ring(post);
}

/* True when a chain is staged that nothing but our own flush will move. */
static bool mesh_has_to_flush(struct post *post)
{
    for (uint64_t left = post->staged; left != 0; left &= left - 1) {
        uint32_t to = (uint32_t)__builtin_ctzll(left);
        if (to == post->index) return true;
        if (!ck_pr_load_32(&mesh_pair(post->mesh, post->index, to)->is_blocked)) return true;
    }
    return false;
}

bool mesh_sleep(struct post *post)
{
    struct door *door = &post->mesh->doors[post->index];
    ck_pr_store_32(&door->is_sleeping, 1);
    ck_pr_fence_memory();
    if (post->unread == 0 && ck_pr_load_64(&door->full) == 0 && !mesh_has_to_flush(post))
        return true;
    ck_pr_store_32(&door->is_sleeping, 0);
    return false;
}

void mesh_awake(struct post *post)
{
    ck_pr_store_32(&post->mesh->doors[post->index].is_sleeping, 0);
}

/* ── looking ───────────────────────────────────────────────────────────── */

uint64_t mesh_backlog_bytes(const struct post *post, uint32_t to)
{
    check(to < post->mesh->shards_count);
    return post->lanes[to].backlog_bytes;
}
uint32_t mesh_letters_out(const struct post *post)
{
    return post->letters_out;
}
uint32_t mesh_letters_kept(const struct post *post)
{
    return post->letters_kept;
}

void mesh_count(const struct post *post, struct mesh_counters *counters)
{
    *counters = post->counters;
}
