/*
 * The embedded store against arrays: random publications, keys, members,
 * cursors, deletions, removals and reads, over clean restarts and crashes (directory.h), each with
 * another number of shards and another key, or none.
 */
#include "prop/directory.h"
#include "prop/prop.h"

#include "unit/storage/store_world.h"

#define CHANNELS  5
#define TEXTS_MAX 20000
#define KEYS_MAX  64
#define USERS     4
#define STEPS     250
#define KEY_A     "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define KEY_B     "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0"

/* The model. */
static struct model {
    uint32_t head, size;       /* texts[1 .. head], the last `size` are kept … */
    uint32_t removed;          /* … above this */
    uint32_t texts[TEXTS_MAX]; /* 0: was deleted */
    struct {
        char text[16];
        uint32_t offset;
    } keys[KEYS_MAX];
    uint32_t keys_count;
    bool is_member[USERS];
    uint64_t joined[USERS], read[USERS];
    char epoch[EPOCH_MAX + 1];
} models[CHANNELS];

static const char *const users[USERS] = {"ann", "bob", "cid", "dan"};
static struct thing things[CHANNELS];
static struct world world;
static struct rng *rng;
static uint32_t text_next;

#define same(a, b) expect((uint64_t)(a) == (uint64_t)(b))

static void check_answer(uint32_t channel, uint64_t first, uint64_t last)
{
    struct thing *thing = &things[channel];
    uint64_t count = first == 0 || last == 0 ? 0
                     : first <= last         ? last - first + 1
                                             : first - last + 1;
    same(thing->answer.count, count);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t offset = first <= last ? first + i : first - i;
        same(thing->answer.items[i].offset, offset);
        const char *data = thing->answer.items[i].data;
        bool is_deleted = strcmp(data, DELETED_DATA) == 0;
        same(is_deleted ? 0 : strtoul(data, NULL, 10), models[channel].texts[offset]);
    }
}

/* The oldest offset that is kept; head + 1: none. */
static uint64_t lowest_of(const struct model *model)
{
    uint64_t by_size = model->head > model->size ? model->head - model->size + 1 : 1;
    return max_u64(by_size, model->removed + 1u);
}

static void check_open(uint32_t channel)
{
    struct thing *thing = &things[channel];
    struct model *model = &models[channel];
    uint32_t window = (uint32_t)rng_below(rng, 20);
    thing_open(&world, thing, window);
    same(thing->channel.head, model->head);
    uint32_t count = min_u32(window, (uint32_t)(model->head + 1 - lowest_of(model)));
    check_answer(channel, count == 0 ? 0 : model->head - count + 1, model->head);
    if (model->epoch[0] == '\0') memcpy(model->epoch, thing->channel.epoch, sizeof model->epoch);
    expect(strcmp(model->epoch, thing->channel.epoch) == 0);
    uint32_t members = 0;
    for (int i = 0; i < USERS; i++) {
        uint64_t joined = 0, read = thing_cursor_of(thing, users[i], &joined);
        same(read, model->is_member[i] ? model->read[i] : UINT64_MAX);
        if (model->is_member[i]) same(joined, model->joined[i]);
        members += model->is_member[i];
    }
    same(thing->members_count, members);
}

/* Kept nowhere: no offset, nothing to read, and yet the key is known. */
static void step_live(uint32_t channel, struct model *model)
{
    struct append append = {0};
    char *key = model->keys[model->keys_count].text;
    snprintf(key, sizeof model->keys[0].text, "live%u", ++text_next);
    model->keys[model->keys_count++].offset = 0;
    append.op.type = RECORD_PUBLICATION;
    append.op.publication.data = BYTES_LITERAL("live");
    append.op.scope = BYTES_LITERAL("api");
    append.op.key = bytes_of_text(key);
    append.op.is_live_only = true;
    thing_append(&things[channel], &append);
    world_settle(&world);
    expect(append.is_done && append.err == ERR_OK && !append.is_repeat);
    same(append.offset, 0);
}

static void step_publish(uint32_t channel)
{
    struct model *model = &models[channel];
    char data[16], key[16] = "";
    uint32_t at = (uint32_t)rng_below(rng, KEYS_MAX);
    if (model->head + 1 >= TEXTS_MAX) return;
    if (rng_chance(rng, 30) && at < model->keys_count) {
        same(thing_publish(&things[channel], model->keys[at].text, "again"),
             model->keys[at].offset);
        return;
    }
    if (rng_chance(rng, 15) && model->keys_count < KEYS_MAX) {
        step_live(channel, model);
        return;
    }
    model->texts[++model->head] = ++text_next;
    snprintf(data, sizeof data, "%u", text_next);
    if (rng_chance(rng, 20) && model->keys_count < KEYS_MAX) {
        snprintf(key, sizeof key, "key%u", text_next);
        memcpy(model->keys[model->keys_count].text, key, sizeof key);
        model->keys[model->keys_count++].offset = model->head;
    }
    same(thing_publish(&things[channel], key[0] == '\0' ? NULL : key, data), model->head);
}

/* A publication that deletes an earlier one, whether that is kept still or not. */
static void ask_delete(uint32_t channel, struct append *append)
{
    struct model *model = &models[channel];
    uint64_t offset = rng_below(rng, model->head) + 1;
    char data[16];
    if (rng_chance(rng, 50)) offset = max_u64(offset, model->head - min_u32(model->head - 1, 9));
    model->texts[offset] = 0;
    model->texts[++model->head] = ++text_next;
    snprintf(data, sizeof data, "%u", text_next);
    *append = (struct append){.op.type = RECORD_PUBLICATION};
    append->op.publication.data = bytes_of_text(data);
    append->op.publication.deletes = offset;
    thing_append(&things[channel], append);
}

static void step_delete(uint32_t channel)
{
    struct append append;
    if (models[channel].head == 0 || models[channel].head + 1 >= TEXTS_MAX) return;
    ask_delete(channel, &append);
    if (rng_chance(rng, 50)) world_settle(&world);
    expect(world_wait(&world, &append.is_done) && append.err == ERR_OK);
    same(append.offset, models[channel].head);
}

/* Many at once, so that batches hold more than one. */
static void step_burst(uint32_t channel)
{
    struct model *model = &models[channel];
    static struct append appends[200];
    uint32_t count = (uint32_t)rng_below(rng, array_count(appends));
    if (model->head + count >= TEXTS_MAX) return;
    for (uint32_t i = 0; i < count; i++) {
        char data[16];
        if (model->head > 0 && rng_chance(rng, 5)) {
            ask_delete(channel, &appends[i]);
            continue;
        }
        model->texts[++model->head] = ++text_next;
        snprintf(data, sizeof data, "%u", text_next);
        thing_ask(&things[channel], &appends[i], NULL, data);
        if (rng_chance(rng, 5)) world_turn(&world);
    }
    world_settle(&world);
    for (uint32_t i = 0; i < count; i++) same(appends[i].offset, model->head - count + 1 + i);
}

static void step_read(uint32_t channel)
{
    struct model *model = &models[channel];
    bool is_reverse = rng_chance(rng, 50);
    uint64_t since = rng_below(rng, model->head + 5u);
    uint32_t limit = rng_chance(rng, 20) ? UINT32_MAX : (uint32_t)rng_below(rng, 30);
    thing_read(&things[channel], since, limit, is_reverse);
    uint64_t lowest = lowest_of(model);
    uint64_t first, last;
    if (is_reverse) {
        first = since == 0 ? model->head : min_u64(model->head, since - 1);
        last = first + 1 > limit ? max_u64(lowest, first + 1 - limit) : lowest;
        check_answer(channel, limit == 0 || first < lowest ? 0 : first, last);
    } else {
        first = max_u64(lowest, since + 1);
        last = min_u64(model->head, first + limit - 1);
        check_answer(channel, limit == 0 || first > model->head ? 0 : first, last);
    }
}

static void step_members(uint32_t channel)
{
    struct model *model = &models[channel];
    const char *list[USERS];
    uint32_t count = 0;
    for (int i = 0; i < USERS; i++) {
        bool is_member = rng_chance(rng, 50);
        if (is_member) list[count++] = users[i];
        if (is_member && !model->is_member[i]) {
            model->joined[i] = model->head + 1u;
            model->read[i] = model->head;
        }
        model->is_member[i] = is_member;
    }
    thing_members(&things[channel], list, count);
}

static void step_cursor(uint32_t channel)
{
    struct model *model = &models[channel];
    uint64_t user = rng_below(rng, USERS), offset = rng_below(rng, model->head + 1u);
    if (model->is_member[user]) model->read[user] = max_u64(model->read[user], offset);
    thing_cursor(&things[channel], users[user], offset);
}

static void step_remove(uint32_t channel)
{
    struct model *model = &models[channel];
    model->removed = model->head;
    same(thing_remove(&things[channel]), model->head);
}

static void close_all(void)
{
    for (uint32_t i = 0; i < CHANNELS; i++) thing_close(&things[i]);
}

static void start(void)
{
    world_config(&world, CONFIG_ENGINE_EMBEDDED, directory);
    /* Any of the keys seals, or none; what was sealed is opened with all of them. */
    static const char *const keys[] = {NULL, KEY_A, KEY_B};
    world.config.storage_key = keys[rng_below(rng, array_count(keys))];
    world.config.storage_previous_keys = KEY_A "," KEY_B;
    enum err err = world_start(&world, (uint32_t)rng_below(rng, WORLD_SHARDS_MAX) + 1);
    check(err == ERR_OK);
    for (uint32_t i = 0; i < CHANNELS; i++) check_open(i);
}

static void step_restart(bool is_crash)
{
    world_settle(&world);
    if (is_crash) directory_copy();
    close_all();
    world_stop(&world);
    if (is_crash) directory_put_back();
    start();
}

static void round_run(struct rng *seeded)
{
    rng = seeded;
    directory_clear("prop_store");
    memset(models, 0, sizeof models);
    for (uint32_t i = 0; i < CHANNELS; i++) {
        char name[16];
        snprintf(name, sizeof name, "room:%u", i);
        models[i].size = i % 2 == 0 ? 1000000 : 7;
        thing_init(&things[i], name, models[i].size, 86400000);
    }
    start();
    for (uint32_t i = 0; i < STEPS; i++) {
        uint32_t channel = (uint32_t)rng_below(rng, CHANNELS), dice = (uint32_t)rng_below(rng, 100);
        if (dice < 45)
            step_publish(channel);
        else if (dice < 53)
            step_burst(channel);
        else if (dice < 57)
            step_delete(channel);
        else if (dice < 80)
            step_read(channel);
        else if (dice < 85)
            step_members(channel);
        else if (dice < 91)
            step_cursor(channel);
        else if (dice < 93)
            step_remove(channel);
        else if (dice < 97) {
            thing_close(&things[channel]);
            check_open(channel);
        } else {
            step_restart(dice >= 98);
        }
    }
    close_all();
    world_stop(&world);
    for (uint32_t i = 0; i < CHANNELS; i++) thing_fini(&things[i]);
    directory_clear("prop_store");
}

int main(int argc, char **argv)
{
    return prop_main(argc, argv, 3, round_run);
}
