/*
 * crash_store: kill -9 at any moment, open again, compare.
 *
 *   crash_store [lives [seed]]        the judge
 *   crash_store drive DIR SEED SHARDS the life that gets killed
 *
 * The life publishes known texts to some channels, half of them with a key, and
 * tells the judge through a pipe what it asks for, what was acknowledged, and
 * at its start what the store holds.  The judge kills it at a random moment and
 * holds the next life to the model: every acknowledged text stands at its
 * offset; offsets are gapless; every text was asked for, stands once and in its
 * channel; cursors never go back.  What was asked with a key and not answered is
 * asked again in the next life and must then be there exactly once.  Now and
 * then a life ends in order, and the number of shards changes with every life.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "core/rng.h"
#include "unit/storage/store_world.h"

#define CHANNELS  12
#define TEXTS_MAX 4000000
#define IN_FLIGHT 64
#define SIZES     3

enum story {
    STORY_ASKED = 1,
    STORY_ACKED,
    STORY_HELD,
    STORY_CURSOR_ACKED,
    STORY_CURSOR_HELD,
    STORY_READY
};

struct line {
    uint32_t story;
    uint32_t channel;
    uint64_t text; /* its number; CURSOR: the offset */
    uint64_t offset;
};

/* ── the life ─────────────────────────────────────────────────────────────── */

static int tell_fd = 3;
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

static void flight_on_appended(struct store_append *op, enum err err, uint64_t offset,
                               bool is_repeat)
{
    (void)is_repeat;
    struct flight *flight = (struct flight *)op;
    if (err != ERR_OK) _exit(4);
    if (flight->is_cursor)
        tell(STORY_CURSOR_ACKED, flight->channel, op->offset, 0);
    else
        tell(STORY_ACKED, flight->channel, flight->text, offset);
    flight->is_busy = false;
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
 * numbers have a key. */
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
    if (text % 2 == 0) flight->op.key = bytes_of_text(flight->key);
    flight->op.on_appended = flight_on_appended;
    tell(STORY_ASKED, channel, text, 0);
    store_append(things[channel].shard->store, &flight->op);
}

static void fly_cursor(uint32_t channel)
{
    struct flight *flight = flight_free();
    memset(&flight->op, 0, sizeof flight->op);
    flight->channel = channel;
    flight->is_busy = true;
    flight->is_cursor = true;
    flight->op.channel = &things[channel].channel;
    flight->op.type = RECORD_CURSOR;
    flight->op.user = BYTES_LITERAL("ann");
    flight->op.offset = things[channel].channel.head;
    flight->op.on_appended = flight_on_appended;
    store_append(things[channel].shard->store, &flight->op);
}

static void tell_held(uint32_t channel)
{
    struct thing *thing = &things[channel];
    thing_read(thing, 0, UINT32_MAX, false);
    for (uint32_t i = 0; i < thing->answer.count; i++) {
        const struct heard *heard = &thing->answer.items[i];
        tell(STORY_HELD, channel, strtoull(heard->data, NULL, 10), heard->offset);
    }
    uint64_t read = thing_cursor_of(thing, "ann", NULL);
    if (read != UINT64_MAX) tell(STORY_CURSOR_HELD, channel, read, 0);
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

static int drive(const char *directory, uint64_t seed, uint32_t shards_count)
{
    struct rng rng;
    rng_seed(&rng, seed);
    world_config(&world, CONFIG_ENGINE_EMBEDDED, directory);
    if (world_start(&world, shards_count) != ERR_OK) return 5;
    for (uint32_t i = 0; i < CHANNELS; i++) {
        char name[32];
        snprintf(name, sizeof name, "room:%u", i);
        thing_init(&things[i], name, 100000000, 86400000);
        thing_open(&world, &things[i], 100);
        tell_held(i);
        if (thing_cursor_of(&things[i], "ann", NULL) == UINT64_MAX) {
            thing_members(&things[i], (const char *[]){"ann", "bob"}, 2);
        }
    }
    tell(STORY_READY, 0, 0, 0);
    fly_again(directory);
    uint64_t count = rng_chance(&rng, 20) ? rng_below(&rng, 300) : UINT64_MAX;
    uint64_t text = seed << 24; /* texts of a life are its own */
    for (uint64_t i = 0; i < count; i++) {
        fly((uint32_t)rng_below(&rng, CHANNELS), text++);
        if (rng_chance(&rng, 5)) fly_cursor((uint32_t)rng_below(&rng, CHANNELS));
        if (rng_chance(&rng, 20)) world_turn(&world);
    }
    for (uint32_t i = 0; i < CHANNELS; i++) thing_close(&things[i]);
    world_stop(&world);
    return 0;
}

/* ── the judge ────────────────────────────────────────────────────────────── */

/* One text of one channel. */
struct text {
    uint64_t number;
    uint32_t channel;
    uint32_t held;   /* times seen in this life's opening */
    uint64_t offset; /* 0: not acknowledged */
    uint64_t next;   /* chain in the table, plus one */
};

static struct text *texts;
static uint64_t texts_count, *table;
static uint64_t cursors[CHANNELS], heads[CHANNELS];
#define TABLE_SIZE (1u << 22)

static struct text *text_find(uint64_t number, bool is_made, uint32_t channel)
{
    uint64_t cell = number * 0x9e3779b97f4a7c15ull >> 42;
    for (uint64_t at = table[cell]; at != 0; at = texts[at - 1].next) {
        if (texts[at - 1].number == number) return &texts[at - 1];
    }
    if (!is_made) return NULL;
    check(texts_count < TEXTS_MAX);
    texts[texts_count] = (struct text){.number = number, .channel = channel, .next = table[cell]};
    table[cell] = ++texts_count;
    return &texts[texts_count - 1];
}

static bool failed;
#define judge(fact, ...)                                                                           \
    do {                                                                                           \
        if (!(fact)) {                                                                             \
            failed = true;                                                                         \
            printf("FAILED %s: ", #fact);                                                          \
            printf(__VA_ARGS__);                                                                   \
            printf("\n");                                                                          \
        }                                                                                          \
    } while (0)

static void judge_line(const struct line *line)
{
    struct text *text = NULL;
    unsigned long long number = line->text, offset = line->offset;
    switch ((enum story)line->story) {
    case STORY_ASKED: text_find(line->text, true, line->channel); break;
    case STORY_ACKED:
        text = text_find(line->text, false, 0);
        judge(text != NULL, "acknowledged without being asked: %llu", number);
        if (text == NULL) break;
        judge(text->offset == 0 || text->offset == line->offset,
              "text %llu moved from %llu to %llu", number, (unsigned long long)text->offset,
              offset);
        text->offset = line->offset;
        break;
    case STORY_HELD:
        text = text_find(line->text, false, 0);
        judge(text != NULL, "phantom text %llu at %llu", number, offset);
        judge(line->offset == ++heads[line->channel], "channel %u has %llu after %llu",
              line->channel, offset, (unsigned long long)heads[line->channel] - 1);
        if (text == NULL) break;
        judge(text->channel == line->channel, "text %llu in channel %u", number, line->channel);
        judge(text->held++ == 0, "text %llu twice, again at %llu", number, offset);
        judge(text->offset == 0 || text->offset == line->offset, "text %llu at %llu, was %llu",
              number, offset, (unsigned long long)text->offset);
        text->offset = line->offset;
        break;
    case STORY_CURSOR_ACKED:
        cursors[line->channel] = max_u64(cursors[line->channel], line->text);
        break;
    case STORY_CURSOR_HELD:
        judge(line->text >= cursors[line->channel], "cursor of channel %u went back to %llu",
              line->channel, number);
        break;
    case STORY_READY:
        for (uint64_t i = 0; i < texts_count; i++) {
            judge(texts[i].offset == 0 || texts[i].held == 1,
                  "text %llu acknowledged at %llu is missing", (unsigned long long)texts[i].number,
                  (unsigned long long)texts[i].offset);
        }
        break;
    }
}

/* Reads lines until the life is gone; kills it `kill_us` after it began, or
 * after it was ready. */
static int judge_life(int from, pid_t pid, uint64_t kill_us, bool is_early)
{
    struct line line;
    size_t used = 0;
    uint64_t kill_ns = is_early ? clock_mono_ns() + kill_us * 1000 : 0;
    int status = 0;
    bool is_killed = false;
    for (;;) {
        if (kill_ns != 0 && !is_killed && clock_mono_ns() >= kill_ns) {
            kill(pid, SIGKILL);
            is_killed = true;
        }
        ssize_t got = read(from, (char *)&line + used, sizeof line - used);
        if (got == 0) break;
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
            usleep(200);
            continue;
        }
        check(got > 0);
        used += (size_t)got;
        if (used < sizeof line) continue;
        used = 0;
        judge_line(&line);
        if (line.story == STORY_READY && !is_early) kill_ns = clock_mono_ns() + kill_us * 1000;
    }
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 0;
}

static void judge_again(const char *directory)
{
    char path[256];
    snprintf(path, sizeof path, "%s.again", directory);
    FILE *file = fopen(path, "w");
    check(file != NULL);
    for (uint64_t i = 0; i < texts_count; i++) {
        bool is_open = texts[i].offset == 0 && texts[i].number % 2 == 0;
        if (is_open) {
            fprintf(file, "%u %llu\n", texts[i].channel, (unsigned long long)texts[i].number);
        }
        texts[i].held = 0;
    }
    fclose(file);
    memset(heads, 0, sizeof heads);
}

static int judge_lives(const char *self, uint64_t lives, uint64_t seed)
{
    char directory[64], text[2][32], command[160];
    struct rng rng;
    rng_seed(&rng, seed);
    snprintf(directory, sizeof directory, "/tmp/crash_store.%d", (int)getpid());
    snprintf(command, sizeof command, "rm -rf %s %s.again", directory, directory);
    check(system(command) == 0);
    texts = calloc(TEXTS_MAX, sizeof *texts);
    table = calloc(TABLE_SIZE, sizeof *table);
    for (uint64_t life = 1; life <= lives && !failed; life++) {
        int ends[2];
        check(pipe(ends) == 0);
        judge_again(directory);
        snprintf(text[0], sizeof text[0], "%llu", (unsigned long long)(seed * 100000 + life));
        snprintf(text[1], sizeof text[1], "%d", (int)rng_below(&rng, WORLD_SHARDS_MAX) + 1);
        pid_t pid = fork();
        if (pid == 0) {
            dup2(ends[1], 3);
            freopen("/dev/null", "w", stderr);
            execl(self, self, "drive", directory, text[0], text[1], (char *)NULL);
            _exit(9);
        }
        close(ends[1]);
        fcntl(ends[0], F_SETFL, O_NONBLOCK);
        /* Mostly soon, sometimes after the index took part. */
        uint64_t kill_us = rng_below(&rng, rng_chance(&rng, 30) ? 300000 : 20000);
        int code = judge_life(ends[0], pid, kill_us, rng_chance(&rng, 15));
        close(ends[0]);
        judge(code == 0, "life %llu ended with %d", (unsigned long long)life, code);
    }
    uint64_t acked = 0;
    for (uint64_t i = 0; i < texts_count; i++) acked += texts[i].offset > 0;
    printf("%s: %llu lives, %llu texts asked, %llu acknowledged or found (seed %llu)\n",
           failed ? "FAILED" : "ok", (unsigned long long)lives, (unsigned long long)texts_count,
           (unsigned long long)acked, (unsigned long long)seed);
    if (!failed) check(system(command) == 0);
    return failed;
}

int main(int count, char **words)
{
    if (count == 5 && strcmp(words[1], "drive") == 0) {
        return drive(words[2], strtoull(words[3], NULL, 10), (uint32_t)atoi(words[4]));
    }
    uint64_t lives = count > 1 ? strtoull(words[1], NULL, 10) : 25;
    uint64_t seed = count > 2 ? strtoull(words[2], NULL, 10) : 1;
    return judge_lives(words[0], lives, seed);
}
