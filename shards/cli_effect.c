/*
 * cli_effect: lines out, a command or a POST, and what became of it.
 */
#include "shards/cli_effect.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/crypt.h"
#include "core/fetch.h"
#include "core/mem.h"
#include "proto/json.h"

/* How long a command that reads or runs is left alone, at first and at most. */
#define REST_MS     1
#define REST_MAX_MS 20

extern char **environ;

/* --- lines ----------------------------------------------------------------------------------- */

static bool is_one_of(struct bytes name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (bytes_equal_text(name, names[i])) return true;
    return false;
}

/* Whitespace between tokens may hold a newline, which would end the line. */
static void write_raw(struct json_out *out, struct bytes name, struct bytes raw)
{
    uint8_t *copy = mem_alloc(raw.size);
    struct writer writer = writer_of(copy, raw.size);
    json_write_raw(&writer, raw);
    check(!writer.failed);
    json_out_key_text(out, name);
    json_out_raw(out, writer_bytes(&writer));
    mem_free(copy);
}

static void write_base64(struct json_out *out, struct bytes name, struct bytes value)
{
    char key[WORK_NAME_MAX + sizeof "_base64"];
    size_t size = 4 * ((value.size + 2) / 3);
    char *text = mem_alloc(size + 1);
    size_t used = crypt_base64(value, text, size);
    snprintf(key, sizeof key, "%.*s_base64", (int)min_u64(name.size, WORK_NAME_MAX),
             (const char *)name.at);
    json_out_key_text(out, bytes_of_text(key));
    json_out_text(out, bytes_of(text, used));
    mem_free(text);
}

static void write_field(struct json_out *out, const struct work_field *field)
{
    static const char *const raws[] = {"payload", "tags", "joined", "left"};
    static const char *const numbers[] = {"timestamp", "sequence_number"};
    uint64_t number;
    if (is_one_of(field->name, raws, array_count(raws))) {
        if (json_is_valid(field->value))
            write_raw(out, field->name, field->value);
        else
            write_base64(out, field->name, field->value);
        return;
    }
    json_out_key_text(out, field->name);
    if (is_one_of(field->name, numbers, array_count(numbers)) &&
        bytes_to_u64(field->value, &number))
        json_out_u64(out, number);
    else
        json_out_text(out, field->value);
}

void effect_line(struct json_out *lines, const char *topic, const struct work_entry *entry)
{
    check(entry->id.size > 0);
    json_out_object(lines);
    json_out_member_text(lines, "topic", bytes_of_text(topic));
    json_out_member_text(lines, "id", entry->id);
    json_out_key(lines, "deliveries");
    json_out_u64(lines, entry->deliveries);
    for (uint32_t i = 0; i < entry->fields_count; i++) write_field(lines, &entry->fields[i]);
    json_out_object_end(lines);
    lines->is_comma_due = false; /* one document a line */
    json_out_raw(lines, BYTES_LITERAL("\n"));
    lines->is_comma_due = false;
}

/* --- a command ------------------------------------------------------------------------------- */

static enum effect_outcome say(struct effect *effect, enum effect_outcome outcome,
                               const char *format, ...) printf_like(3, 4);

static enum effect_outcome say(struct effect *effect, enum effect_outcome outcome,
                               const char *format, ...)
{
    va_list values;
    va_start(values, format);
    vsnprintf(effect->why, sizeof effect->why, format, values);
    va_end(values);
    return outcome;
}

/* Starts it with `input` as its standard input, out of reach of the terminal's
 * Ctrl-C: that ends us, after the batch.  0, or an errno. */
static int command_start(const char *command, int input, pid_t *pid)
{
    char shell[] = "/bin/sh", flag[] = "-c", *text = mem_text(command, strlen(command));
    char *argv[] = {shell, flag, text, NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t defaults;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    int error = posix_spawn_file_actions_init(&files);
    check(error == 0);
    error = posix_spawnattr_init(&attributes);
    check(error == 0);
    error = posix_spawn_file_actions_adddup2(&files, input, STDIN_FILENO);
    if (error == 0) error = posix_spawnattr_setsigdefault(&attributes, &defaults);
    if (error == 0) error = posix_spawnattr_setpgroup(&attributes, 0);
    if (error == 0)
        error =
            posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    if (error == 0) error = posix_spawn(pid, shell, &files, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    mem_free(text);
    return error;
}

/* Writes what the pipe takes; true when nothing is left to write, or nobody reads. */
static bool command_feed(int output, struct bytes *left)
{
    while (left->size > 0) {
        ssize_t used = write(output, left->at, left->size);
        if (used < 0 && errno == EINTR) continue;
        if (used < 0) return errno != EAGAIN;
        *left = bytes_of(left->at + used, left->size - (size_t)used);
    }
    return true;
}

/* Feeds it and waits for its end; meanwhile its entries stay ours. */
static int command_wait(struct effect *effect, pid_t pid, int output, struct bytes lines)
{
    uint64_t rest_ms = REST_MS, held_ns = clock_mono_ns();
    int status = 0;
    for (;;) {
        if (output >= 0 && command_feed(output, &lines)) {
            close(output);
            output = -1;
        }
        pid_t ended = waitpid(pid, &status, WNOHANG);
        if (ended == pid) break;
        check(ended == 0 || errno == EINTR);
        work_wait(effect->work, rest_ms);
        poll(NULL, 0, 1); /* told to stop, work_wait does not wait */
        rest_ms = min_u64(rest_ms * 2, REST_MAX_MS);
        if (clock_mono_ns() - held_ns < effect->hold_ms * 1000000) continue;
        held_ns = clock_mono_ns();
        (void)!work_hold(effect->work); /* else somebody takes them: at least once, as promised */
    }
    if (output >= 0) close(output);
    return status;
}

static enum effect_outcome command_run(struct effect *effect, struct bytes lines)
{
    int ends[2];
    pid_t pid = 0;
    if (pipe2(ends, O_CLOEXEC) != 0) return say(effect, EFFECT_LATER, "%s", strerror(errno));
    int error = fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0 ? 0 : errno;
    if (error == 0) error = command_start(effect->command, ends[0], &pid);
    close(ends[0]);
    if (error != 0) {
        close(ends[1]);
        return say(effect, EFFECT_LATER, "the command cannot be started: %s", strerror(error));
    }
    int status = command_wait(effect, pid, ends[1], lines);
    if (WIFSIGNALED(status))
        return say(effect, EFFECT_FAILED, "the command was ended by signal %d", WTERMSIG(status));
    int code = WEXITSTATUS(status);
    if (code == 0) return EFFECT_DONE;
    return say(effect, code == EX_TEMPFAIL ? EFFECT_LATER : EFFECT_FAILED,
               "the command ended with exit code %d", code);
}

/* --- a POST ---------------------------------------------------------------------------------- */

static enum effect_outcome post_run(struct effect *effect, struct bytes lines)
{
    struct fetch fetch = {.url = effect->url,
                          .timeout_ms = effect->post_timeout_ms,
                          .tries = 1,
                          .body_max = EFFECT_ANSWER_MAX,
                          .post = lines,
                          .post_type = "application/x-ndjson"};
    enum err err = fetch_post(&fetch);
    mem_free(fetch.body);
    if (err == ERR_OK) return EFFECT_DONE;
    uint32_t status = fetch.status;
    bool is_done = err == ERR_LIMIT_SIZE && status / 100 == 2;
    if (is_done) return EFFECT_DONE;
    bool is_later = status == 0 || status == 408 || status == 429 || status >= 500;
    return say(effect, is_later ? EFFECT_LATER : EFFECT_FAILED, "%s", fetch.why);
}

enum effect_outcome effect_run(struct effect *effect, struct bytes lines)
{
    check(lines.size > 0);
    check((effect->command == NULL) != (effect->url == NULL));
    effect->why[0] = 0;
    return effect->command != NULL ? command_run(effect, lines) : post_run(effect, lines);
}
