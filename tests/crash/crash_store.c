/*
 * crash_store: kill -9 at any moment, open again, compare.
 *
 *   crash_store [lives [seed]]             the judge
 *   crash_store drive DIR SEED SHARDS KEYS the life that gets killed
 *   crash_store hold DIR SEED SHARDS KEYS  one that only tells what is there
 *
 * The life publishes known texts to some channels, half of them with a key, and
 * tells the judge through a pipe what it asks for, what was acknowledged, and
 * at its start what the store holds.  The judge kills it at a random moment and
 * holds the next life to the model: every acknowledged text stands at its
 * offset; offsets are gapless; every text was asked for, stands once and in its
 * channel, or was deleted by a text that stands there; cursors never go back, and who
 * published has read it.  What was asked with
 * a key and not answered is asked again in the next life and must then be there
 * exactly once.  Now and then a life ends in order, and the number of shards changes
 * with every life.
 *
 * From some life on what is published is sealed, and the key changes: then lives are
 * killed while older records are sealed anew, and in the end the last key alone opens
 * everything.  Some lives are killed during a backup: what it left either does not
 * start, or has everything that was acknowledged when it was asked for.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "life.h"

#define TEXTS_MAX 4000000

/* One text of one channel. */
struct text {
    uint64_t number;
    uint32_t channel;
    bool is_asked_for; /* acknowledged before the backup under way was asked for */
    uint32_t held;     /* times seen in this life's opening */
    uint64_t offset;   /* 0: not acknowledged */
    uint64_t victim;   /* the number of the text that it deletes; 0: none */
    uint64_t next;     /* chain in the table, plus one */
};

static struct text *texts;
static uint64_t texts_count, *table;
static uint64_t cursors[CHANNELS][CURSOR_MARKS], heads[CHANNELS];
static uint64_t backups_whole, backups_half;    /* that were found */
static bool is_backup_asked, is_copy;           /* is_copy: what is told now is of a backup */
static uint64_t *graves, graves_count, deleted; /* in this life's opening, and of them found */
#define GRAVES_MAX (1u << 20)
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

static uint64_t grave_of(uint32_t channel, uint64_t offset)
{
    return offset * CHANNELS + channel;
}

/* A text that deletes stands there, so what it deletes does not, but for its place. */
static void judge_victim(const struct text *by)
{
    struct text *victim = text_find(by->victim, false, 0);
    uint64_t found = 0;
    check(victim != NULL && victim->offset > 0);
    judge(victim->held++ == 0, "text %llu was deleted, and is there",
          (unsigned long long)victim->number);
    for (uint64_t i = 0; i < graves_count; i++)
        found += graves[i] == grave_of(victim->channel, victim->offset);
    judge(found == 1, "text %llu was deleted, and its place is gone",
          (unsigned long long)victim->number);
    deleted++;
}

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
    case STORY_DELETES: text_find(line->text, false, 0)->victim = line->offset; break;
    case STORY_HELD:
        if (line->text == 0) {
            check(graves_count < GRAVES_MAX);
            judge(line->offset == ++heads[line->channel], "channel %u has a hole", line->channel);
            graves[graves_count++] = grave_of(line->channel, line->offset);
            break;
        }
        text = text_find(line->text, false, 0);
        judge(text != NULL, "phantom text %llu at %llu", number, offset);
        judge(line->offset == ++heads[line->channel], "channel %u has %llu after %llu",
              line->channel, offset, (unsigned long long)heads[line->channel] - 1);
        if (text == NULL) break;
        judge(text->channel == line->channel, "text %llu in channel %u", number, line->channel);
        judge(text->held++ == 0, "text %llu twice, again at %llu", number, offset);
        judge(text->offset == 0 || text->offset == line->offset, "text %llu at %llu, was %llu",
              number, offset, (unsigned long long)text->offset);
        if (!is_copy) text->offset = line->offset;
        if (text->victim > 0) judge_victim(text);
        break;
    case STORY_CURSOR_ACKED:
        check(line->offset < CURSOR_MARKS);
        cursors[line->channel][line->offset] =
            max_u64(cursors[line->channel][line->offset], line->text);
        break;
    case STORY_CURSOR_HELD:
        if (is_copy) break;
        check(line->offset < CURSOR_MARKS);
        judge(line->text >= cursors[line->channel][line->offset],
              "cursor %llu of channel %u went back to %llu", offset, line->channel, number);
        break;
    case STORY_READY:
        judge(deleted == graves_count, "%llu are deleted, by %llu",
              (unsigned long long)graves_count, (unsigned long long)deleted);
        for (uint64_t i = 0; i < texts_count; i++) {
            bool is_owed = is_copy ? texts[i].is_asked_for : texts[i].offset > 0;
            judge(!is_owed || texts[i].held == 1, "text %llu acknowledged at %llu is missing%s",
                  (unsigned long long)texts[i].number, (unsigned long long)texts[i].offset,
                  is_copy ? " in the backup" : "");
        }
        break;
    case STORY_BACKUP_ASKED:
        is_backup_asked = true;
        for (uint64_t i = 0; i < texts_count; i++) texts[i].is_asked_for = texts[i].offset > 0;
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
    graves_count = deleted = 0;
}

/* Runs a life, which is killed after a while; its exit code. */
static int life_run(const char *words[6], uint64_t kill_us, bool is_early)
{
    int ends[2];
    check(pipe(ends) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], 3);
        freopen("/dev/null", "w", stderr);
        execv(words[0], (char *const *)(uintptr_t)words);
        _exit(9);
    }
    close(ends[1]);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    int code = judge_life(ends[0], pid, kill_us, is_early);
    close(ends[0]);
    return code;
}

/* What the life before left of a backup. */
static void judge_backup(const char *const words[6])
{
    char path[128], copy[96], command[128];
    snprintf(copy, sizeof copy, "%s.copy", words[2]);
    snprintf(path, sizeof path, "%s/index.db", copy);
    bool is_whole = access(path, F_OK) == 0, is_there = access(copy, F_OK) == 0;
    if (!is_backup_asked) return;
    is_backup_asked = false;
    backups_whole += is_whole;
    backups_half += is_there && !is_whole;
    const char *hold_words[7] = {words[0], "hold", copy, "0", words[4], words[5]};
    if (is_there) {
        judge_again(words[2]);
        is_copy = true;
        int code = life_run(hold_words, UINT64_MAX / 2000, false);
        is_copy = false;
        judge(code == (is_whole ? 0 : 6), "a backup's life ended with %d", code);
    }
    snprintf(command, sizeof command, "rm -rf %s", copy);
    check(system(command) == 0);
}

/* Everything is there, and with the last key alone. */
static void judge_end(const char *const words[6], uint32_t keys)
{
    char number[32];
    const char *hold_words[7] = {words[0], "hold", words[2], "0", words[4], number};
    snprintf(number, sizeof number, "%u", keys);
    for (int i = 0; i < 2 && !failed; i++) {
        judge_again(words[2]);
        int code = life_run(hold_words, UINT64_MAX / 2000, false);
        judge(code == 0, "the last life ended with %d", code);
        snprintf(number, sizeof number, "%u alone", keys);
    }
}

static int judge_lives(const char *self, uint64_t lives, uint64_t seed)
{
    char directory[64], text[3][32], command[256];
    const char *words[7] = {self, "drive", directory, text[0], text[1], text[2]};
    uint32_t keys = 0;
    struct rng rng;
    rng_seed(&rng, seed);
    snprintf(directory, sizeof directory, "/tmp/crash_store.%d", (int)getpid());
    snprintf(command, sizeof command, "rm -rf %s %s.again %s.copy", directory, directory,
             directory);
    check(system(command) == 0);
    texts = calloc(TEXTS_MAX, sizeof *texts);
    table = calloc(TABLE_SIZE, sizeof *table);
    graves = calloc(GRAVES_MAX, sizeof *graves);
    for (uint64_t life = 1; life <= lives && !failed; life++) {
        judge_again(directory);
        if (keys < KEYS_MAX && rng_chance(&rng, keys == 0 ? 30 : 15)) keys++;
        snprintf(text[0], sizeof text[0], "%llu", (unsigned long long)(seed * 100000 + life));
        snprintf(text[1], sizeof text[1], "%d", (int)rng_below(&rng, WORLD_SHARDS_MAX) + 1);
        snprintf(text[2], sizeof text[2], "%u", keys);
        /* Mostly soon, sometimes after the index took part. */
        uint64_t kill_us = rng_below(&rng, rng_chance(&rng, 30) ? 300000 : 20000);
        int code = life_run(words, kill_us, rng_chance(&rng, 15));
        judge(code == 0, "life %llu ended with %d", (unsigned long long)life, code);
        judge_backup(words);
    }
    judge_end(words, keys);
    uint64_t acked = 0;
    for (uint64_t i = 0; i < texts_count; i++) acked += texts[i].offset > 0;
    printf("%s: %llu lives, %llu texts asked, %llu acknowledged or found, %llu deleted, %u keys, "
           "%llu backups whole, %llu not (seed %llu)\n",
           failed ? "FAILED" : "ok", (unsigned long long)lives, (unsigned long long)texts_count,
           (unsigned long long)acked, (unsigned long long)deleted, keys,
           (unsigned long long)backups_whole, (unsigned long long)backups_half,
           (unsigned long long)seed);
    if (!failed) check(system(command) == 0);
    return failed;
}

int main(int count, char **words)
{
    if (count == 6) {
        /* "3 alone": what was sealed with those before must be sealed anew. */
        uint32_t shards_count = (uint32_t)atoi(words[4]), keys = (uint32_t)atoi(words[5]);
        is_key_alone = strstr(words[5], "alone") != NULL;
        if (strcmp(words[1], "hold") == 0) return hold(words[2], shards_count, keys);
        return drive(words[2], strtoull(words[3], NULL, 10), shards_count, keys);
    }
    uint64_t lives = count > 1 ? strtoull(words[1], NULL, 10) : 25;
    uint64_t seed = count > 2 ? strtoull(words[2], NULL, 10) : 1;
    return judge_lives(words[0], lives, seed);
}
