/*
 * cli_backup: copy the data directory of a gateway, running or not.
 *
 * The command and the gateway speak by two files in the data directory
 * (storage/embed/backup.h): whoever may write there may ask.  A call of the server API
 * would let a backend write files on this machine, and a second process cannot read
 * SQLite's files safely, because their locks are the gateway's own.  While none runs, the
 * command takes the gateway's place: a plain copy, put back later, would go on with the
 * epochs of the original, and what it lacks would be missed by nobody.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/disk.h"
#include "core/entropy.h"
#include "shards/cli_parts.h"
#include "storage/embed/backup.h"

#define LOOK_MS     100
#define SAY_MS      1000
/* The gateway looks each second, and works even when it is busy. */
#define PATIENCE_MS 60000
#define PATH_SIZE   (BACKUP_PATH_MAX + 80)

struct ask {
    const char *data; /* the data directory */
    char target[BACKUP_PATH_MAX];
    uint64_t id;
    char state[16], text[BACKUP_TEXT_MAX];
    uint64_t done_bytes, all_bytes;
};

static int failed(const char *where, const char *why)
{
    fprintf(stderr, "sluice: %s: %s\n", where, why);
    return CLI_FAILED;
}

static void path_in(char path[PATH_SIZE], const char *directory, const char *name)
{
    snprintf(path, PATH_SIZE, "%s/%s", directory, name);
}

/* True while a gateway holds the data directory. */
static bool is_served(const struct ask *ask)
{
    char path[PATH_SIZE];
    path_in(path, ask->data, "lock");
    if (disk_size_at(path) < 0) return false;
    int lock = disk_lock(path);
    if (lock >= 0) disk_close(lock);
    return lock == -EWOULDBLOCK;
}

static int ask_write(struct ask *ask)
{
    char path[PATH_SIZE], next[PATH_SIZE], text[PATH_SIZE];
    path_in(path, ask->data, BACKUP_REQUEST);
    path_in(next, ask->data, BACKUP_REQUEST ".next");
    entropy_fill(&ask->id, sizeof(ask->id));
    int size = snprintf(text, sizeof(text), "%" PRIu64 "\n%s", ask->id, ask->target);
    int file = disk_open(next, DISK_WRITE | DISK_CREATE);
    int64_t result = file < 0 ? file : disk_truncate(file, 0);
    if (result >= 0) result = disk_write(file, text, (size_t)size, 0);
    if (file >= 0) disk_close(file);
    if (result >= 0) result = disk_rename(next, path);
    return result < 0 ? (int)result : 0;
}

/* What the gateway says of this question; false: nothing yet. */
static bool ask_look(struct ask *ask)
{
    char path[PATH_SIZE], text[BACKUP_TEXT_MAX];
    path_in(path, ask->data, BACKUP_STATUS);
    int file = disk_open(path, DISK_READ);
    int64_t got = file < 0 ? file : disk_read(file, text, sizeof(text) - 1, 0);
    if (file >= 0) disk_close(file);
    if (got <= 0) return false;
    text[got] = 0;
    uint64_t id;
    int at = 0;
    if (sscanf(text, "%" SCNu64 " %15s %" SCNu64 " %" SCNu64 "%n", &id, ask->state,
               &ask->done_bytes, &ask->all_bytes, &at) != 4 ||
        id != ask->id)
        return false;
    snprintf(ask->text, sizeof(ask->text), "%s", text + at + (text[at] == '\n'));
    ask->text[strcspn(ask->text, "\n")] = 0;
    return true;
}

/* Follows the gateway to the end. */
static int ask_follow(struct ask *ask)
{
    char path[PATH_SIZE];
    uint64_t start_ms = clock_mono_ns() / 1000000, heard_ms = start_ms, said_ms = start_ms;
    uint64_t done_bytes = 0;
    for (;;) {
        uint64_t now_ms = clock_mono_ns() / 1000000;
        bool is_heard = ask_look(ask);
        if (is_heard && strcmp(ask->state, BACKUP_DONE) == 0) return CLI_DONE;
        if (is_heard && strcmp(ask->state, BACKUP_FAILED) == 0)
            return failed(ask->target, ask->text);
        if (is_heard && ask->done_bytes != done_bytes) {
            heard_ms = now_ms;
            done_bytes = ask->done_bytes;
        }
        if (is_heard && ask->all_bytes > 0 && now_ms - said_ms >= SAY_MS) {
            said_ms = now_ms;
            fprintf(stderr, "sluice: copied %" PRIu64 " of %" PRIu64 " MiB\n",
                    ask->done_bytes >> 20, ask->all_bytes >> 20);
        }
        bool is_late = now_ms - heard_ms >= PATIENCE_MS;
        if (is_late || !is_served(ask)) {
            path_in(path, ask->data, BACKUP_REQUEST);
            (void)!disk_unlink(path);
            if (ask_look(ask) && strcmp(ask->state, BACKUP_COPYING) != 0) continue;
            return failed(ask->data,
                          is_late ? "the gateway does not answer: is this command run as its user, "
                                    "and has the disk room?"
                                  : "the gateway ended before the backup was complete");
        }
        nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000}, NULL);
    }
}

/* Relative to where the command runs, which is not where the gateway does. */
static bool target_of(struct ask *ask, const char *word)
{
    char here[BACKUP_PATH_MAX] = "";
    bool is_absolute = word[0] == '/';
    if (!is_absolute && getcwd(here, sizeof(here)) == NULL) return false;
    int size =
        snprintf(ask->target, sizeof(ask->target), "%s%s%s", here, is_absolute ? "" : "/", word);
    return size > 0 && (size_t)size < sizeof(ask->target) && strchr(ask->target, '\n') == NULL;
}

static const char no_right[] =
    "this user may not write there; run the command as the user of the gateway";

/* No gateway runs: the copy is made here. */
static int copy_still(struct ask *ask)
{
    entropy_fill(&ask->id, sizeof(ask->id));
    enum err err = embed_backup_still(ask->data, ask->id, ask->target);
    if (err == ERR_NOT_FOUND) return failed(ask->data, "nothing is stored there");
    if (err == ERR_CONFLICT) return failed(ask->data, "a gateway is starting; ask again");
    if (err == ERR_DENIED) return failed(ask->data, no_right);
    bool is_told = ask_look(ask);
    if (err != ERR_OK) return failed(ask->target, is_told ? ask->text : err_text(err));
    return CLI_DONE;
}

/* A gateway runs: it is asked. */
static int copy_running(struct ask *ask)
{
    int result = ask_write(ask);
    if (result < 0)
        return failed(ask->data, result == -EACCES ? no_right : strerrordesc_np(-result));
    return ask_follow(ask);
}

/* The gateway makes one copy at a time and has one place for a request: a second command would
 * take the first one's away.  A handle, or -errno: -EWOULDBLOCK is another command. */
static int turn_begin(const char *path)
{
    for (;;) {
        int turn = disk_lock(path);
        if (turn < 0 || disk_is_at(turn, path)) return turn;
        disk_close(turn); /* its owner ended, and removed it, in between */
    }
}

static void turn_end(int turn, const char *path)
{
    if (turn < 0) return;
    (void)!disk_unlink(path);
    disk_close(turn);
}

static int ask_all(struct ask *ask)
{
    char path[PATH_SIZE];
    path_in(path, ask->data, BACKUP_LOCK);
    int turn = turn_begin(path);
    if (turn == -EWOULDBLOCK)
        return failed(ask->data,
                      "another backup of it is under way; ask again when that has ended");
    /* Any other error meets what follows too, which tells it. */
    int exit = is_served(ask) ? copy_running(ask) : copy_still(ask);
    turn_end(turn, path);
    if (exit == CLI_DONE)
        printf("%s: complete, %" PRIu64 " MiB and %s\n", ask->target, ask->all_bytes >> 20,
               ask->text);
    return exit;
}

int cli_backup(const struct cli_call *call)
{
    check(call->words_count == 1);
    struct config *config;
    enum cli_exit wrong = cli_load(call, true, &config);
    if (wrong != CLI_DONE) return wrong;
    struct ask ask = {.data = config->storage_path};
    int exit = CLI_WRONG;
    if (config->storage_engine != CONFIG_ENGINE_EMBEDDED)
        fprintf(stderr, "sluice: backup is for storage.engine embedded; Redis has its own (BGSAVE, "
                        "or a copy of its append-only files)\n");
    else if (call->words[0][0] == 0)
        fprintf(stderr, "sluice: backup wants the directory to make, and '' is none\n");
    else if (strlen(ask.data) >= BACKUP_PATH_MAX || !target_of(&ask, call->words[0]))
        fprintf(stderr, "sluice: the path is too long, or has a line end in it\n");
    else
        exit = ask_all(&ask);
    config_destroy(config);
    return exit;
}
