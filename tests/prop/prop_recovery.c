/*
 * Clients that come and go over channels that lose nothing: random publishing,
 * subscribing with recovery, leaving, waiting, stores that answer late, and
 * losses, against a book of what each channel said.
 *
 *   1. A live client hears offset position + 1 next, always, and the bytes that
 *      stand in the book for it: no hole, no double, no foreign message.
 *   2. recovered: true brings exactly what was missed; recovered: false has a
 *      reason in the protocol's table.
 *   3. A key gets one offset, and every copy the same.
 *   4. At the end every live client stands at the head, and everything is home.
 *
 * Each seed draws its own configuration and its own probabilities.
 *
 *   prop_recovery [seed [steps]]
 */
#include "tests/unit/shards/small_node.h"

#define CHANNELS 3
#define CLIENTS  24
#define KEYS     8
#define OFFSETS  20000

enum client_state { OFF, ASKED, LIVE, LEAVING };

struct client {
    struct book *book;
    uint32_t shard, channel;
    enum client_state state;
    bool has_position;
    uint64_t position, asked_at;
    char epoch[EPOCH_MAX + 1];
    bool is_recovering;
    struct told told;
};

struct publisher {
    struct book *book;
    uint32_t channel, key; /* key KEYS: none */
    uint64_t number;
    struct told told;
};

struct book {
    struct small small;
    struct rng rng;
    uint32_t history, limit;
    uint64_t ttl_ms, next_number;
    uint64_t numbers[CHANNELS][OFFSETS];   /* what stands at an offset; 0: not known yet */
    uint64_t asked_ms[CHANNELS * OFFSETS]; /* by number: when its publisher asked */
    uint64_t key_offset[CHANNELS][KEYS];   /* 0: no answer yet */
    uint32_t key_firsts[CHANNELS][KEYS];
    struct client clients[CLIENTS];
    uint32_t publishing;
    uint64_t recovered, unrecovered, heard;
    /* percent per step */
    uint32_t chance_publish, chance_subscribe, chance_leave, chance_lose, chance_shut, chance_wait;
};

static struct bytes channel_at(uint32_t index)
{
    static const char *const names[CHANNELS] = {"red", "green", "blue"};
    return bytes_of_text(names[index]);
}

static struct handle hub_at_shard(const struct client *client)
{
    return (struct handle){client->channel + CHANNELS * client->shard, 1};
}

static void note_number(struct book *book, uint32_t channel, uint64_t offset, uint64_t number)
{
    check(offset > 0 && offset < OFFSETS);
    check(number > 0 && number < UINT64_MAX);
    uint64_t *known = &book->numbers[channel][offset];
    if (*known == 0) *known = number;
    check(*known == number);
}

/* --- clients --------------------------------------------------------------------- */

static void client_leave(struct client *client)
{
    tell_leave(&client->book->small, client->shard, channel_at(client->channel),
               hub_at_shard(client));
    client->state = OFF;
}

/* Why a recovery may fail; `head` is where the home stood. */
static bool has_excuse(const struct client *client, uint64_t head)
{
    const struct book *book = client->book;
    uint64_t at = client->asked_at;
    if (at > head || head - at > book->limit) return true;
    if (head >= book->history && at < head - book->history) return true;
    /* Its record is as old as its question at most; 0 is the number of nobody yet. */
    uint64_t number = book->numbers[client->channel][at + 1];
    return book->asked_ms[number] + book->ttl_ms <= book->small.wall_ms;
}

static void client_check_recovery(struct client *client)
{
    const struct told *told = &client->told;
    struct book *book = client->book;
    check(told->was_recovering == client->is_recovering);
    if (!told->recovered) {
        check(told->count == 0);
        if (client->is_recovering) {
            check(strcmp(client->epoch, told->epoch) != 0 || has_excuse(client, told->offset));
            book->unrecovered++;
        }
        client->position = told->offset;
        return;
    }
    book->recovered++;
    check(told->offset == client->asked_at);
    check(told->count <= book->limit);
    client->position = client->asked_at;
    for (uint32_t i = 0; i < told->count; i++) {
        check(told->offsets[i] == client->position + 1);
        note_number(book, client->channel, told->offsets[i], told->numbers[i]);
        client->position++;
    }
}

static void client_on_told(struct told *told)
{
    struct client *client = told->context;
    check(told->err == ERR_OK);
    if (client->state == LEAVING) {
        client_leave(client);
        return;
    }
    check(client->state == ASKED);
    client_check_recovery(client);
    memcpy(client->epoch, told->epoch, sizeof client->epoch);
    client->has_position = true;
    client->state = LIVE;
}

static void client_subscribe(struct client *client)
{
    check(client->state == OFF);
    struct book *book = client->book;
    if (!small_may_ask(&book->small, client->shard, channel_at(client->channel))) return;
    client->is_recovering = client->has_position && rng_chance(&book->rng, 90);
    client->asked_at = client->position;
    struct letter_subscribe in = {
        .hub = hub_at_shard(client),
        .channel = channel_at(client->channel),
        .recover = client->is_recovering,
        .offset = client->position,
        .epoch = bytes_of_text(client->epoch),
    };
    ask_subscribe(&book->small, client->shard, in, &client->told);
    client->told.then = client_on_told;
    client->told.context = client;
    client->state = ASKED;
}

static void on_heard(struct small *small, const struct heard *heard)
{
    struct book *book = container_of(small, struct book, small);
    const char *data = strstr(heard->text, "\"data\":");
    for (uint32_t i = 0; i < CLIENTS; i++) {
        struct client *client = &book->clients[i];
        if (client->shard != heard->shard || client->state != LIVE) continue;
        if (client->channel != heard->hub.index % CHANNELS) continue;
        if (heard->is_lost) {
            client_leave(client);
            continue;
        }
        check(heard->offset == client->position + 1);
        check(data != NULL);
        note_number(book, client->channel, heard->offset, strtoull(data + 7, NULL, 10));
        client->position++;
        book->heard++;
    }
}

/* --- publishers ------------------------------------------------------------------ */

static void publisher_on_told(struct told *told)
{
    struct publisher *publisher = told->context;
    struct book *book = publisher->book;
    check(told->err == ERR_OK);
    if (publisher->key < KEYS) {
        uint64_t *offset = &book->key_offset[publisher->channel][publisher->key];
        if (*offset == 0) *offset = told->offset;
        check(*offset == told->offset);
        book->key_firsts[publisher->channel][publisher->key] += !told->is_repeat;
        check(book->key_firsts[publisher->channel][publisher->key] <= 1);
    } else {
        check(!told->is_repeat);
    }
    if (!told->is_repeat) note_number(book, publisher->channel, told->offset, publisher->number);
    book->publishing--;
    free(publisher);
}

static void publish(struct book *book)
{
    uint32_t channel = (uint32_t)rng_below(&book->rng, CHANNELS);
    uint32_t shard = (uint32_t)rng_below(&book->rng, SMALL_SHARDS);
    if (!small_may_ask(&book->small, shard, channel_at(channel))) return;
    struct publisher *publisher = calloc(1, sizeof *publisher);
    check(publisher != NULL);
    publisher->book = book;
    publisher->channel = channel;
    publisher->key = rng_chance(&book->rng, 10) ? (uint32_t)rng_below(&book->rng, KEYS) : KEYS;
    publisher->number = ++book->next_number;
    check(publisher->number < array_count(book->asked_ms));
    book->asked_ms[publisher->number] = book->small.wall_ms;
    char text[32], key[8];
    int size = snprintf(text, sizeof text, "%llu", (unsigned long long)publisher->number);
    snprintf(key, sizeof key, "k%u", publisher->key);
    struct letter_publish in = {
        .channel = channel_at(publisher->channel),
        .publication.data = bytes_of(text, (size_t)size),
    };
    if (publisher->key < KEYS) {
        in.scope = BYTES_LITERAL("api");
        in.key = bytes_of_text(key);
    }
    ask_publish(&book->small, shard, in, &publisher->told);
    publisher->told.then = publisher_on_told;
    publisher->told.context = publisher;
    book->publishing++;
}

/* --- the run --------------------------------------------------------------------- */

static void lose(struct book *book)
{
    uint32_t index = (uint32_t)rng_below(&book->rng, CHANNELS);
    struct shard *home = book->small.shards[small_home(channel_at(index))];
    struct channel *channel = channel_find(home, channel_at(index));
    if (channel != NULL && channel->state == CHANNEL_LIVE)
        channel_on_lost(home, &channel->stored->store);
}

static void step_gates(struct book *book)
{
    for (uint32_t i = 0; i < SMALL_SHARDS; i++) {
        struct gate *gate = &book->small.gates[i];
        if (rng_chance(&book->rng, book->chance_shut)) gate->is_shut = !gate->is_shut;
        if (gate->is_shut && gate->held_count > 0)
            gate_pass(gate, (uint32_t)rng_below(&book->rng, gate->held_count + 1));
    }
}

static void step(struct book *book)
{
    struct rng *rng = &book->rng;
    if (rng_chance(rng, book->chance_publish))
        for (uint64_t i = rng_below(rng, 6); i > 0 && book->publishing < 200; i--) publish(book);
    struct client *client = &book->clients[rng_below(rng, CLIENTS)];
    if (client->state == OFF && rng_chance(rng, book->chance_subscribe)) client_subscribe(client);
    if (client->state == LIVE && rng_chance(rng, book->chance_leave)) client_leave(client);
    if (client->state == ASKED && rng_chance(rng, book->chance_leave)) client->state = LEAVING;
    if (rng_chance(rng, book->chance_lose)) lose(book);
    step_gates(book);
    if (rng_chance(rng, book->chance_wait)) {
        uint64_t ms = rng_below(rng, 2000);
        book->small.mono_ms += ms;
        book->small.wall_ms += ms;
        small_clock(&book->small);
    }
    if (!rng_chance(rng, 20)) small_turn(&book->small);
}

static void check_end(struct book *book)
{
    struct small *small = &book->small;
    for (uint32_t i = 0; i < SMALL_SHARDS; i++) small->gates[i].is_shut = false;
    for (int i = 0; i < 20; i++) small_run(small);
    check(book->publishing == 0);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        struct client *client = &book->clients[i];
        check(client->state == OFF || client->state == LIVE);
        struct told told;
        ask_history(small, client->shard,
                    (struct letter_history){.channel = channel_at(client->channel)}, &told);
        small_run(small);
        check(told.is_here && told.err == ERR_OK);
        if (client->state == LIVE) check(client->position == told.offset);
        if (client->state == LIVE) client_leave(client);
    }
    small_run(small);
    small_fini(small);
}

static void run(uint64_t seed, uint32_t steps)
{
    struct book *book = calloc(1, sizeof *book);
    check(book != NULL);
    rng_seed(&book->rng, seed);
    struct rng *rng = &book->rng;
    book->history = 1 + (uint32_t)rng_below(rng, 40);
    book->limit = 1 + (uint32_t)rng_below(rng, 60);
    book->ttl_ms = 1000 * (1 + rng_below(rng, 60));
    book->chance_publish = (uint32_t)rng_below(rng, 60);
    book->chance_subscribe = 20 + (uint32_t)rng_below(rng, 80);
    book->chance_leave = (uint32_t)rng_below(rng, 30);
    book->chance_lose = rng_chance(rng, 30) ? 1 : 0;
    book->chance_shut = (uint32_t)rng_below(rng, 30);
    book->chance_wait = (uint32_t)rng_below(rng, 20);
    char options[256];
    snprintf(options, sizeof options,
             "storage: {window_size: %u}\nclient: {recovery_max_publication_limit: %u}\n"
             "channel: {without_namespace: {history_size: %u, history_ttl: %llus}}\n",
             1 + (uint32_t)rng_below(rng, 20), book->limit, book->history,
             (unsigned long long)book->ttl_ms / 1000);
    small_init(&book->small, options);
    book->small.on_heard = on_heard;
    for (uint32_t i = 0; i < CLIENTS; i++)
        book->clients[i] = (struct client){
            .book = book, .shard = i % SMALL_SHARDS, .channel = i / SMALL_SHARDS % CHANNELS};
    for (uint32_t i = 0; i < steps; i++) step(book);
    uint64_t recovered = book->recovered, unrecovered = book->unrecovered, heard = book->heard;
    check_end(book);
    printf("seed %llu: %llu published, %llu heard, %llu recovered, %llu not\n",
           (unsigned long long)seed, (unsigned long long)book->next_number,
           (unsigned long long)heard, (unsigned long long)recovered,
           (unsigned long long)unrecovered);
    free(book);
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    uint32_t steps = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 1500;
    if (argc > 1) {
        run(seed, steps);
        return 0;
    }
    for (seed = 1; seed <= 40; seed++) run(seed, steps);
    return 0;
}
