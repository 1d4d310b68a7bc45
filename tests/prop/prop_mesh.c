/*
 * Letters against a FIFO of ids per ordered pair: up to five shards on one
 * thread post, ask, answer at once or later, keep and release, read so many or
 * stall until rings are full.  Each letter arrives once, in its pair's order,
 * with its bytes; each comes home; credits add up.  A shard that was allowed to
 * sleep has nothing to read.
 */
#include <string.h>

#include "core/mesh.h"
#include "prop.h"

#define SHARDS   5
#define FIFO_MAX 16384
#define KEPT_MAX 256
#define CREDITS  6
#define STEPS    4000

enum { KIND_PLAIN, KIND_ASK, KIND_TELL, KIND_COUNT };

struct fifo {
    uint32_t ids[FIFO_MAX];
    uint32_t head, tail;
};

struct shard {
    struct post *post;
    struct letter *kept[KEPT_MAX];
    uint32_t kept_count;
    uint32_t requests_open[SHARDS]; /* to each */
    uint64_t posted, came_home;
    uint32_t stalled; /* steps still to sit out */
};

static struct fifo fifos[SHARDS][SHARDS];
static struct shard shards[SHARDS];
static struct mesh *mesh;
static struct rng *dice;
static uint32_t shards_count, next_id;

/* The payload says which letter it is, all the way through. */
static void letter_fill(struct letter *letter, uint32_t id)
{
    memcpy(letter->payload, &id, sizeof id);
    for (uint32_t i = sizeof id; i < letter->size; i++) letter->payload[i] = (uint8_t)(id + i);
}

static uint32_t letter_check(const struct letter *letter)
{
    uint32_t id;
    memcpy(&id, letter->payload, sizeof id);
    for (uint32_t i = sizeof id; i < letter->size; i++)
        expect(letter->payload[i] == (uint8_t)(id + i));
    return id;
}

static struct letter *draft(uint32_t from, uint32_t to, uint32_t kind)
{
    static const uint32_t sizes[] = {4, 5, 96, 97, 480, 481, 4064, 4065, 9000};
    uint32_t size = sizes[rng_below(dice, rng_chance(dice, 90) ? 4 : array_count(sizes))];
    struct letter *letter = letter_new(shards[from].post, to, kind, size);
    for (uint32_t i = 0; i < size; i++) expect(letter->payload[i] == 0);
    struct fifo *fifo = &fifos[from][to];
    expect(fifo->tail - fifo->head < FIFO_MAX);
    fifo->ids[fifo->tail++ % FIFO_MAX] = next_id;
    letter_fill(letter, next_id++);
    shards[from].posted++;
    return letter;
}

static void answer(uint32_t self, uint32_t to)
{
    letter_post_answer(shards[self].post, draft(self, to, KIND_TELL));
}

static void arrived(uint32_t self, struct letter *letter)
{
    expect(letter->to == self);
    struct fifo *fifo = &fifos[letter->from][self];
    expect(fifo->head != fifo->tail);
    expect(letter_check(letter) == fifo->ids[fifo->head++ % FIFO_MAX]);
}

static void maybe_keep(struct shard *shard, struct letter *letter)
{
    if (shard->kept_count == KEPT_MAX) return;
    letter_keep(shard->post, letter);
    shard->kept[shard->kept_count++] = letter;
}

static void on_plain(void *context, struct letter *letter)
{
    struct shard *shard = context;
    arrived((uint32_t)(shard - shards), letter);
    if (rng_chance(dice, 20)) maybe_keep(shard, letter);
    if (rng_chance(dice, 5)) maybe_keep(shard, letter); /* maybe twice */
}

static void on_ask(void *context, struct letter *letter)
{
    struct shard *shard = context;
    uint32_t self = (uint32_t)(shard - shards);
    arrived(self, letter);
    if (rng_chance(dice, 40) && shard->kept_count < KEPT_MAX)
        maybe_keep(shard, letter);
    else
        answer(self, letter->from);
}

static void on_tell(void *context, struct letter *letter)
{
    struct shard *shard = context;
    arrived((uint32_t)(shard - shards), letter);
    expect(shard->requests_open[letter->from] > 0);
    shard->requests_open[letter->from]--;
}

static void on_home(void *context, struct letter *letter)
{
    struct shard *shard = context;
    expect(letter->from == shard - shards);
    letter_check(letter);
    shard->came_home++;
}

static const struct letter_handlers kinds[KIND_COUNT] = {
    [KIND_PLAIN] = {"plain", on_plain, on_home},
    [KIND_ASK] = {"ask", on_ask, on_home},
    [KIND_TELL] = {"tell", on_tell, on_home},
};

static void release_one(uint32_t self)
{
    struct shard *shard = &shards[self];
    if (shard->kept_count == 0) return;
    uint32_t at = (uint32_t)rng_below(dice, shard->kept_count);
    struct letter *letter = shard->kept[at];
    shard->kept[at] = shard->kept[--shard->kept_count];
    letter_check(letter);
    if (letter->kind == KIND_ASK) answer(self, letter->from);
    letter_release(shard->post, letter);
}

static void post_some(uint32_t self)
{
    struct shard *shard = &shards[self];
    for (uint64_t n = rng_below(dice, 4); n > 0; n--) {
        uint32_t to = (uint32_t)rng_below(dice, shards_count);
        if (rng_chance(dice, 5)) {
            letter_discard(shard->post, letter_new(shard->post, to, KIND_PLAIN, 8));
        } else if (rng_chance(dice, 60)) {
            letter_post(shard->post, draft(self, to, KIND_PLAIN));
        } else {
            bool has_credit = letter_credit(shard->post, to);
            expect(has_credit == (shard->requests_open[to] < CREDITS));
            if (!has_credit) continue;
            if (rng_chance(dice, 10)) {
                letter_credit_return(shard->post, to);
                continue;
            }
            shard->requests_open[to]++;
            letter_post_request(shard->post, draft(self, to, KIND_ASK));
        }
    }
}

/* One turn as a shard makes it. */
static void turn(uint32_t self)
{
    struct shard *shard = &shards[self];
    if (shard->stalled > 0) {
        shard->stalled--;
        return;
    }
    if (rng_below(dice, 500) == 0) shard->stalled = 800; /* long enough to fill rings */
    mesh_awake(shard->post);
    uint32_t limit = 1 + (uint32_t)rng_below(dice, 40);
    expect(mesh_read(shard->post, limit) <= limit);
    while (rng_chance(dice, 50)) release_one(self);
    mesh_flush(shard->post);
    if (mesh_sleep(shard->post)) expect(mesh_read(shard->post, 1) == 0);
    mesh_awake(shard->post);
}

static uint32_t letters_out(void)
{
    uint32_t out = 0;
    for (uint32_t i = 0; i < shards_count; i++) out += mesh_letters_out(shards[i].post);
    return out;
}

static void settle(void)
{
    for (uint32_t turns = 0; letters_out() > 0; turns++) {
        expect(turns < 100000);
        uint32_t self = (uint32_t)rng_below(dice, shards_count);
        shards[self].stalled = 0;
        turn(self);
    }
    for (uint32_t i = 0; i < shards_count; i++) {
        expect(mesh_letters_kept(shards[i].post) == 0);
        expect(shards[i].posted == shards[i].came_home);
        for (uint32_t j = 0; j < shards_count; j++) {
            expect(fifos[i][j].head == fifos[i][j].tail);
            expect(mesh_backlog_bytes(shards[i].post, j) == 0);
            expect(shards[i].requests_open[j] == 0);
        }
    }
}

static void round_one(struct rng *rng)
{
    dice = rng;
    memset(fifos, 0, sizeof fifos);
    memset(shards, 0, sizeof shards);
    next_id = 0;
    shards_count = 1 + (uint32_t)rng_below(rng, SHARDS);
    mesh = mesh_create(shards_count, kinds, KIND_COUNT, CREDITS);
    for (uint32_t i = 0; i < shards_count; i++)
        shards[i].post = mesh_open(mesh, i, &shards[i], NULL);
    for (uint32_t step = 0; step < STEPS; step++) {
        uint32_t self = (uint32_t)rng_below(rng, shards_count);
        if (shards[self].stalled == 0) post_some(self);
        turn(self);
    }
    settle();
    mesh_destroy(mesh);
}

int main(int argc, char **argv)
{
    return prop_main(argc, argv, 60, round_one);
}
