/*
 * Keys against an array in the order of their age: what is found, what goes at the
 * capacity and at the horizon, what owners take along.
 */
#include <stdio.h>

#include "prop.h"
#include "storage/keys.h"

#define OWNERS  5
#define NAMES   400
#define MADE    6000
#define HORIZON 1000

struct model_key {
    uint32_t owner, name;
    enum key_state state;
    uint64_t offset, time_ms;
    struct key_entry *entry; /* PENDING */
    bool is_in;
};

static struct keys keys;
static struct key_owner owners[OWNERS];
static struct metrics metrics;
static struct model_key model[MADE]; /* oldest first */
static uint32_t model_used, model_count;
static uint64_t now_ms;

/* Of many lengths, the longest included. */
static struct bytes name_of(uint32_t name)
{
    static uint8_t text[KEY_PART_MAX];
    size_t size = name % 17 == 0 ? KEY_PART_MAX : 4 + name % 60;
    memset(text, 'k', sizeof text);
    memcpy(text, &name, sizeof name);
    return bytes_of(text, size);
}

static struct bytes scope_of(uint32_t name)
{
    return name % 3 == 0 ? BYTES_NONE : BYTES_LITERAL("user");
}

static struct model_key *model_find(uint32_t owner, uint32_t name)
{
    for (uint32_t i = 0; i < model_used; i++)
        if (model[i].is_in && model[i].owner == owner && model[i].name == name) return &model[i];
    return NULL;
}

static void model_remove(struct model_key *key)
{
    expect(key->is_in && model_count > 0);
    key->is_in = false;
    model_count--;
}

static bool model_is_over(const struct model_key *key)
{
    return key->state == KEY_KNOWN && key->time_ms + HORIZON <= now_ms;
}

static struct model_key *model_add(uint32_t owner, uint32_t name, uint64_t time_ms)
{
    if (model_count >= keys.count_max + keys.step - 1) {
        uint32_t left = keys.step;
        for (uint32_t i = 0; i < model_used && left > 0; i++) {
            if (!model[i].is_in || model[i].state != KEY_KNOWN) continue;
            model_remove(&model[i]);
            left--;
        }
    }
    struct model_key *key = &model[model_used++];
    *key = (struct model_key){.owner = owner, .name = name, .time_ms = time_ms, .is_in = true};
    model_count++;
    return key;
}

static struct key_entry *both_find(uint32_t owner, uint32_t name)
{
    struct key_entry *entry =
        keys_find(&keys, &owners[owner], scope_of(name), name_of(name), now_ms);
    struct model_key *key = model_find(owner, name);
    if (key != NULL && model_is_over(key)) {
        model_remove(key);
        key = NULL;
    }
    expect((entry == NULL) == (key == NULL));
    if (key == NULL) return NULL;
    expect(entry->state == key->state && entry->time_ms == key->time_ms);
    if (key->state == KEY_KNOWN) expect(entry->offset == key->offset);
    if (key->state == KEY_PENDING) expect(entry == key->entry);
    return entry;
}

static void step_begin(uint32_t owner, uint32_t name)
{
    if (both_find(owner, name) != NULL) return;
    struct model_key *key = model_add(owner, name, now_ms);
    key->entry = keys_begin(&keys, &owners[owner], scope_of(name), name_of(name), now_ms);
}

/* The fate of a key under way. */
static void step_end(struct rng *rng, struct model_key *key, uint32_t refuse_percent)
{
    if (rng_chance(rng, refuse_percent)) {
        keys_refuse(key->entry);
        key->state = KEY_REFUSED;
    } else if (rng_chance(rng, 20)) {
        keys_cancel(&keys, key->entry);
        model_remove(key);
    } else {
        key->offset = rng_below(rng, 1000);
        keys_end(key->entry, key->offset);
        key->state = KEY_KNOWN;
    }
}

static void step_load(struct rng *rng, uint32_t owner, uint32_t name)
{
    uint64_t offset = rng_below(rng, 1000), time_ms = now_ms - rng_below(rng, HORIZON);
    struct model_key *known = model_find(owner, name);
    keys_load(&keys, &owners[owner], scope_of(name), name_of(name), offset, time_ms);
    if (known != NULL && (known->state != KEY_KNOWN || known->offset >= offset)) return;
    if (known != NULL) model_remove(known);
    struct model_key *key = model_add(owner, name, time_ms);
    key->state = KEY_KNOWN;
    key->offset = offset;
}

static void step_expire(struct rng *rng)
{
    uint32_t left = (uint32_t)rng_below(rng, 20);
    keys_expire(&keys, now_ms, left);
    for (uint32_t i = 0; i < model_used && left > 0; i++) {
        if (!model[i].is_in) continue;
        if (!model_is_over(&model[i])) break;
        model_remove(&model[i]);
        left--;
    }
}

static void step_disown(uint32_t owner)
{
    for (uint32_t i = 0; i < model_used; i++)
        if (model[i].is_in && model[i].owner == owner && model[i].state == KEY_PENDING) return;
    for (uint32_t i = 0; i < model_used; i++)
        if (model[i].is_in && model[i].owner == owner) model_remove(&model[i]);
    keys_disown(&keys, &owners[owner]);
    keys_own(&keys, &owners[owner]);
}

static void end_some(struct rng *rng, uint32_t percent, uint32_t refuse_percent)
{
    for (uint32_t i = 0; i < model_used; i++)
        if (model[i].is_in && model[i].state == KEY_PENDING && rng_chance(rng, percent))
            step_end(rng, &model[i], refuse_percent);
}

static void round_keys(struct rng *rng)
{
    uint32_t count_max = 1 + (uint32_t)rng_below(rng, 300), steps = 1500;
    now_ms = 5000;
    model_used = model_count = 0;
    keys_init(&keys, rng_next(rng), count_max, HORIZON, &metrics);
    if (rng_chance(rng, 50)) keys.step = 8; /* as with a large capacity */
    for (uint32_t i = 0; i < OWNERS; i++) {
        owners[i] = (struct key_owner){0};
        keys_own(&keys, &owners[i]);
    }
    for (uint32_t step = 0; step < steps; step++) {
        uint32_t owner = (uint32_t)rng_below(rng, OWNERS), name = (uint32_t)rng_below(rng, NAMES);
        uint64_t what = rng_below(rng, 100);
        if (what < 60)
            step_begin(owner, name);
        else if (what < 75)
            (void)both_find(owner, name);
        else if (what < 88)
            step_load(rng, owner, name);
        else if (what < 92)
            step_expire(rng);
        else if (what < 99)
            end_some(rng, 60, 3);
        else
            step_disown(owner);
        now_ms += rng_below(rng, 4);
        expect(keys.count == model_count);
        if (step % 100 == 0) keys_verify(&keys);
    }
    end_some(rng, 100, 0);
    for (uint32_t i = 0; i < OWNERS * NAMES; i++) (void)both_find(i / NAMES, i % NAMES);
    keys_verify(&keys);
    keys_fini(&keys);
}

int main(int argc, char **argv)
{
    return prop_main(argc, argv, 40, round_keys);
}
