/*
 * life: a life of a store that gets killed; the story stands in crash_store.c.
 *
 * It tells the judge, by a pipe: what it asks for, what was acknowledged, and at its
 * start what the store holds.
 */
#pragma once

#include "core/rng.h"
#include "storage/embed/embed.h"
#include "unit/storage/store_world.h"

#define CHANNELS  12
#define IN_FLIGHT 64
#define SIZES     3
#define KEYS_MAX  8
#define KEY_SIZE  64

enum story {
    STORY_ASKED = 1,
    STORY_ACKED,
    STORY_HELD,
    STORY_CURSOR_ACKED,
    STORY_CURSOR_HELD,
    STORY_READY,
    STORY_BACKUP_ASKED,
    STORY_DELETES
};

struct line {
    uint32_t story;
    uint32_t channel;
    uint64_t text;   /* its number; HELD: 0 for one that was deleted; CURSOR: the offset */
    uint64_t offset; /* CURSOR: which mark; DELETES: the number of the text that goes */
};

static int tell_fd = 3;
static bool is_key_alone; /* no previous ones are given */
static struct thing things[CHANNELS];
static struct world world;

static void tell(uint32_t story, uint32_t channel, uint64_t text, uint64_t offset)
{
    struct line line = {story, channel, text, offset};
    if (write(tell_fd, &line, sizeof line) != sizeof line) _exit(3);
}

struct flight {
    struct store_append op; /* first */
    uint32_t channel;
    uint64_t text;
    bool is_busy, is_cursor;
    char key[32], data[8192];
};

static struct flight flights[IN_FLIGHT];

/* The newest text of each channel that was acknowledged in this life and may be deleted:
 * none of cid's, and none that deletes. */
static struct {
    uint64_t text, offset;
} victims[CHANNELS];

static bool text_deletes(uint64_t text)
{
    return text % 22 == 7; /* none of them has a key, so none is asked again */
}

static void flight_on_appended(struct store_append *op, enum err err, uint64_t offset,
                               bool is_repeat)
{
    (void)is_repeat;
    struct flight *flight = (struct flight *)op;
    if (err != ERR_OK) _exit(4);
    if (flight->is_cursor)
        tell(STORY_CURSOR_ACKED, flight->channel, op->offset, op->mark);
    else
        tell(STORY_ACKED, flight->channel, flight->text, offset);
    flight->is_busy = false;
    if (flight->is_cursor || flight->text % 5 == 0 || text_deletes(flight->text)) return;
    victims[flight->channel].text = flight->text;
    victims[flight->channel].offset = offset;
}

static struct flight *flight_free(void)
{
    for (;;) {
        for (int i = 0; i < IN_FLIGHT; i++) {
            if (!flights[i].is_busy) return &flights[i];
        }
        world_turn(&world);
    }
}

/* Text n is "n " and filler that depends on n, of a size that depends on n; even
 * numbers have a key, those that five divides are by cid, a member, and some delete. */
static void fly(uint32_t channel, uint64_t text)
{
    static const uint32_t sizes[SIZES] = {20, 300, 8000};
    struct flight *flight = flight_free();
    memset(&flight->op, 0, sizeof flight->op);
    flight->channel = channel;
    flight->text = text;
    flight->is_busy = true;
    flight->is_cursor = false;
    int used = snprintf(flight->data, sizeof flight->data, "%llu ", (unsigned long long)text);
    uint32_t size = sizes[text % 97 == 0 ? 2 : text % SIZES == 0];
    memset(flight->data + used, 'a' + (int)(text % 26), size - (uint32_t)used);
    snprintf(flight->key, sizeof flight->key, "k%llu", (unsigned long long)text);
    flight->op.channel = &things[channel].channel;
    flight->op.type = RECORD_PUBLICATION;
    flight->op.publication.data = bytes_of(flight->data, size);
    flight->op.scope = BYTES_LITERAL("api");
    flight->op.publication.has_info = text % 5 == 0;
    flight->op.publication.user = text % 5 == 0 ? BYTES_LITERAL("cid") : BYTES_NONE;
    if (text % 2 == 0) flight->op.key = bytes_of_text(flight->key);
    flight->op.on_appended = flight_on_appended;
    tell(STORY_ASKED, channel, text, 0);
    if (text_deletes(text) && victims[channel].offset > 0) {
        flight->op.publication.deletes = victims[channel].offset;
        tell(STORY_DELETES, channel, text, victims[channel].text);
        victims[channel].offset = 0; /* once */
    }
    store_append(things[channel].shard->store, &flight->op);
}

/* ann reads, bob's device has it. */
static void fly_cursor(uint32_t channel, enum cursor_mark mark)
{
    struct flight *flight = flight_free();
    memset(&flight->op, 0, sizeof flight->op);
    flight->channel = channel;
    flight->is_busy = true;
    flight->is_cursor = true;
    flight->op.channel = &things[channel].channel;
    flight->op.type = RECORD_CURSOR;
    flight->op.user = mark == CURSOR_READ ? BYTES_LITERAL("ann") : BYTES_LITERAL("bob");
    flight->op.mark = mark;
    flight->op.offset = things[channel].channel.head;
    flight->op.on_appended = flight_on_appended;
    store_append(things[channel].shard->store, &flight->op);
}

static void tell_held(uint32_t channel)
{
    struct thing *thing = &things[channel];
    const struct store_member *ann = members_find(&thing->people, BYTES_LITERAL("ann"));
    const struct store_member *bob = members_find(&thing->people, BYTES_LITERAL("bob"));
    const struct store_member *cid = members_find(&thing->people, BYTES_LITERAL("cid"));
    uint64_t published = 0;
    thing_read(thing, 0, UINT32_MAX, false);
    for (uint32_t i = 0; i < thing->answer.count; i++) {
        const struct heard *heard = &thing->answer.items[i];
        uint64_t text = strtoull(heard->data, NULL, 10);
        if (text > 0 && text % 5 == 0) published = heard->offset;
        tell(STORY_HELD, channel, text, heard->offset);
    }
    if (ann == NULL) return; /* they join together, before anything is published */
    tell(STORY_CURSOR_HELD, channel, ann->read, CURSOR_READ);
    tell(STORY_CURSOR_HELD, channel, bob->delivered, CURSOR_DELIVERED);
    if (cid->read != published && cid->read + 1 != cid->joined) _exit(7);
}

static void things_open(void)
{
    for (uint32_t i = 0; i < CHANNELS; i++) {
        char name[32];
        snprintf(name, sizeof name, "room:%u", i);
        thing_init(&things[i], name, 100000000, 86400000);
        thing_open(&world, &things[i], 100);
        tell_held(i);
    }
}

/* Lines "channel text" of what has to be asked again. */
static void fly_again(const char *directory)
{
    char path[256];
    unsigned channel;
    unsigned long long text;
    snprintf(path, sizeof path, "%s.again", directory);
    FILE *file = fopen(path, "r");
    while (file != NULL && fscanf(file, "%u %llu", &channel, &text) == 2) fly(channel, text);
    if (file != NULL) fclose(file);
}

/* Sealed with key number `keys`, while those before still open; 0: plain. */
static enum err life_start(const char *directory, uint32_t shards_count, uint32_t keys)
{
    static char key[KEY_SIZE + 1], previous[KEYS_MAX * (KEY_SIZE + 1)];
    size_t used = 0;
    world_config(&world, CONFIG_ENGINE_EMBEDDED, directory);
    if (keys > 0) {
        snprintf(key, sizeof key, "%0*u", KEY_SIZE, keys);
        for (uint32_t i = 1; i < keys && !is_key_alone; i++) {
            used += (size_t)snprintf(previous + used, sizeof previous - used, "%s%0*u",
                                     used > 0 ? "," : "", KEY_SIZE, i);
        }
        world.config.storage_key = key;
        world.config.storage_previous_keys = previous;
    }
    return world_start(&world, shards_count);
}

/* The housekeeping of minutes within a life of milliseconds. */
static void hurry(void)
{
    for (uint32_t i = 0; i < world.shards_count; i++) {
        if (embed_of(world.shards[i].store)->apply.is_under_way) return;
    }
    struct embed_store *store = embed_of(world.shards[0].store);
    store->node->sweep_ns = 0; /* nobody else looks now */
    embed_apply_sweep(store);
}

/* As `sluice backup` does; the store looks for it at once. */
static void backup_ask(const char *directory)
{
    char path[256];
    struct embed_store *store = embed_of(world.shards[0].store);
    tell(STORY_BACKUP_ASKED, 0, 0, 0);
    snprintf(path, sizeof path, "%s/" BACKUP_REQUEST, directory);
    FILE *file = fopen(path, "w");
    check(file != NULL);
    fprintf(file, "1\n%s.copy", directory);
    fclose(file);
    wheel_disarm(&world.shards[0].wheel, &store->backup);
    wheel_arm(&world.shards[0].wheel, &store->backup, 0, embed_on_backup_timer);
}

static int hold(const char *directory, uint32_t shards_count, uint32_t keys)
{
    enum err err = life_start(directory, shards_count, keys);
    if (err != ERR_OK) return err == ERR_CONFLICT ? 6 : 5;
    things_open();
    tell(STORY_READY, 0, 0, 0);
    struct embed_node *node = embed_of(world.shards[0].store)->node;
    while (node->reseal.is_needed) { /* read between two jobs */
        hurry();
        world_settle(&world);
    }
    for (uint32_t i = 0; i < CHANNELS; i++) thing_close(&things[i]);
    world_stop(&world);
    return 0;
}

static int drive(const char *directory, uint64_t seed, uint32_t shards_count, uint32_t keys)
{
    struct rng rng;
    rng_seed(&rng, seed);
    if (life_start(directory, shards_count, keys) != ERR_OK) return 5;
    things_open();
    for (uint32_t i = 0; i < CHANNELS; i++) {
        if (thing_cursor_of(&things[i], "ann", NULL) == UINT64_MAX) {
            thing_members(&things[i], (const char *[]){"ann", "bob", "cid"}, 3);
        }
    }
    tell(STORY_READY, 0, 0, 0);
    fly_again(directory);
    uint64_t count = rng_chance(&rng, 20) ? rng_below(&rng, 300) : UINT64_MAX;
    uint64_t text = seed << 24; /* texts of a life are its own */
    uint64_t backup_at = rng_chance(&rng, 50) ? rng_below(&rng, 40) : UINT64_MAX;
    for (uint64_t i = 0; i < count; i++) {
        if (i == backup_at) backup_ask(directory);
        if (keys > 0 && rng_chance(&rng, 2)) hurry();
        fly((uint32_t)rng_below(&rng, CHANNELS), text++);
        if (rng_chance(&rng, 5)) {
            enum cursor_mark mark = rng_chance(&rng, 50) ? CURSOR_READ : CURSOR_DELIVERED;
            fly_cursor((uint32_t)rng_below(&rng, CHANNELS), mark);
        }
        if (rng_chance(&rng, 20)) world_turn(&world);
    }
    for (uint32_t i = 0; i < CHANNELS; i++) thing_close(&things[i]);
    world_stop(&world);
    return 0;
}
