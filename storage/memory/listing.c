/* Channels by user, each user's in one ordered array. */
#include "storage/memory/listing.h"

#include "core/check.h"
#include "core/mem.h"

#define LISTER_RETRY_MS 5

struct listed {
    struct bytes user;
    struct bytes *channels; /* ascending; each a block */
    uint32_t count, room;
    uint8_t text[];
};

/* What a shard says or asks. */
struct lister_item {
    struct list link;
    struct store_memberships *op; /* NULL: somebody came or went */
    bool is_leave, has_more;
    struct bytes user, channel;
    struct bytes *answer; /* the names behind the array in one block */
    uint32_t answer_count;
    uint8_t text[];
};

void listing_init(struct listing *listing)
{
    *listing = (struct listing){0};
    map_init(&listing->users, 0);
}

static void listed_free(struct listed *listed)
{
    for (uint32_t i = 0; i < listed->count; i++)
        mem_free((void *)(uintptr_t)listed->channels[i].at);
    mem_free(listed->channels);
    mem_free(listed);
}

void listing_fini(struct listing *listing)
{
    uint32_t at = 0;
    for (struct listed *listed; (listed = map_next(&listing->users, &at)) != NULL;)
        listed_free(listed);
    map_fini(&listing->users);
}

/* How many of the channels are below `name`, or not above it. */
static uint32_t listed_below(const struct listed *listed, struct bytes name, bool or_equal)
{
    uint32_t low = 0, high = listed->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int by = bytes_compare(listed->channels[middle], name);
        if (by < 0 || (or_equal && by == 0))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct listed *listed_make(struct listing *listing, struct bytes user)
{
    struct listed *listed = map_find(&listing->users, user);
    if (listed != NULL) return listed;
    listed = mem_alloc(sizeof *listed + user.size);
    memcpy(listed->text, user.at, user.size);
    listed->user = bytes_of(listed->text, user.size);
    map_put(&listing->users, listed->user, listed);
    return listed;
}

static void listing_join(struct listing *listing, struct bytes user, struct bytes channel)
{
    struct listed *listed = listed_make(listing, user);
    uint32_t at = listed_below(listed, channel, false);
    if (at < listed->count && bytes_equal(listed->channels[at], channel)) return;
    if (listed->count == listed->room) {
        listed->room = max_u32(4, listed->room * 2);
        listed->channels = mem_resize(listed->channels, listed->room * sizeof *listed->channels);
    }
    memmove(&listed->channels[at + 1], &listed->channels[at],
            (listed->count - at) * sizeof *listed->channels);
    listed->channels[at] = bytes_of(mem_text(channel.at, channel.size), channel.size);
    listed->count++;
}

static void listing_leave(struct listing *listing, struct bytes user, struct bytes channel)
{
    struct listed *listed = map_find(&listing->users, user);
    if (listed == NULL) return;
    uint32_t at = listed_below(listed, channel, false);
    if (at == listed->count || !bytes_equal(listed->channels[at], channel)) return;
    mem_free((void *)(uintptr_t)listed->channels[at].at);
    listed->count--;
    memmove(&listed->channels[at], &listed->channels[at + 1],
            (listed->count - at) * sizeof *listed->channels);
    if (listed->count > 0) return;
    void *removed = map_remove(&listing->users, user);
    check(removed == listed);
    listed_free(listed);
}

static void listing_answer(const struct listing *listing, struct lister_item *item)
{
    const struct listed *listed = map_find(&listing->users, item->user);
    if (listed == NULL) return;
    uint32_t first = listed_below(listed, item->channel, true);
    uint32_t count = min_u32(listed->count - first, item->op->limit);
    size_t size = count * sizeof *item->answer + 1;
    for (uint32_t i = 0; i < count; i++) size += listed->channels[first + i].size;
    item->answer = mem_alloc(size);
    uint8_t *text = (uint8_t *)(void *)(item->answer + count);
    for (uint32_t i = 0; i < count; i++) {
        struct bytes channel = listed->channels[first + i];
        memcpy(text, channel.at, channel.size);
        item->answer[i] = bytes_of(text, channel.size);
        text += channel.size;
    }
    item->answer_count = count;
    item->has_more = first + count < listed->count;
}

static void lister_run(struct job *job, uint32_t thread)
{
    struct lister *lister = container_of(job, struct lister, job);
    (void)thread;
    list_each (node, &lister->taken) {
        struct lister_item *item = container_of(node, struct lister_item, link);
        if (item->op != NULL)
            listing_answer(lister->listing, item);
        else if (item->is_leave)
            listing_leave(lister->listing, item->user, item->channel);
        else
            listing_join(lister->listing, item->user, item->channel);
    }
}

static void lister_submit(struct lister *lister);

static void lister_done(struct job *job, void *shard)
{
    struct lister *lister = container_of(job, struct lister, job);
    (void)shard;
    struct list taken;
    list_init(&taken);
    for (struct list *node; (node = list_take(&lister->taken)) != NULL;) list_append(&taken, node);
    lister->is_under_way = false;
    for (struct list *node; (node = list_take(&taken)) != NULL;) {
        struct lister_item *item = container_of(node, struct lister_item, link);
        if (item->op != NULL) {
            lister->asked--;
            item->op->on_memberships(item->op, ERR_OK, item->answer, item->answer_count,
                                     item->has_more);
        }
        mem_free(item->answer);
        mem_free(item);
    }
    lister_submit(lister);
}

static void lister_on_retry(struct timer *timer)
{
    struct lister *lister = container_of(timer, struct lister, retry);
    if (lister->env->workers != NULL) {
        lister_submit(lister);
        return;
    }
    for (struct list *node; (node = list_take(&lister->items)) != NULL;)
        list_append(&lister->taken, node);
    lister_run(&lister->job, 0);
    lister_done(&lister->job, NULL);
}

static void lister_arm(struct lister *lister, uint64_t delay_ms)
{
    const struct store_env *env = lister->env;
    if (timer_is_armed(&lister->retry)) return;
    wheel_arm(env->wheel, &lister->retry, clock_turn_ms(env->clock) + delay_ms, lister_on_retry);
}

static void lister_submit(struct lister *lister)
{
    const struct store_env *env = lister->env;
    if (lister->is_under_way || list_is_empty(&lister->items)) return;
    if (env->workers == NULL) { /* a world of one thread */
        lister_arm(lister, 0);
        return;
    }
    for (struct list *node; (node = list_take(&lister->items)) != NULL;)
        list_append(&lister->taken, node);
    lister->job.kind = WORKER_INDEX_WRITER;
    lister->job.run = lister_run;
    lister->job.done = lister_done;
    lister->job.home = env->inbox;
    lister->is_under_way = workers_submit(env->workers, &lister->job) == ERR_OK;
    if (lister->is_under_way) return;
    for (struct list *node; (node = list_take(&lister->taken)) != NULL;)
        list_append(&lister->items, node);
    lister_arm(lister, LISTER_RETRY_MS);
}

void lister_init(struct lister *lister, struct listing *listing, const struct store_env *env)
{
    *lister = (struct lister){.listing = listing, .env = env};
    list_init(&lister->items);
    list_init(&lister->taken);
}

void lister_fini(struct lister *lister)
{
    check(!lister->is_under_way && lister->asked == 0);
    wheel_disarm(lister->env->wheel, &lister->retry);
    for (struct list *node; (node = list_take(&lister->items)) != NULL;)
        mem_free(container_of(node, struct lister_item, link));
}

static struct lister_item *item_create(struct bytes user, struct bytes channel)
{
    struct lister_item *item = mem_alloc(sizeof *item + user.size + channel.size);
    memcpy(item->text, user.at, user.size);
    if (channel.size > 0) memcpy(item->text + user.size, channel.at, channel.size);
    item->user = bytes_of(item->text, user.size);
    item->channel = bytes_of(item->text + user.size, channel.size);
    return item;
}

void lister_note(struct lister *lister, struct bytes user, struct bytes channel, bool is_leave)
{
    struct lister_item *item = item_create(user, channel);
    item->is_leave = is_leave;
    list_append(&lister->items, &item->link);
    lister_submit(lister);
}

void lister_ask(struct lister *lister, struct store_memberships *op)
{
    check(op->user.size > 0);
    struct lister_item *item = item_create(op->user, op->after);
    item->op = op;
    lister->asked++;
    list_append(&lister->items, &item->link);
    lister_submit(lister);
}

uint32_t lister_pending(const struct lister *lister)
{
    return lister->asked + lister->is_under_way + !list_is_empty(&lister->items);
}
