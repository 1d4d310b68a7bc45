/*
 * loop: durable writes, and where a loop may run at all.
 *
 * Short writes come from a file-size limit and from a pipe; failing ones from
 * /dev/full; an unprivileged user is a child that gave up its rights.
 */
#include "unit/core/loop_world.h"

#include <signal.h>
#include <sys/wait.h>

struct written {
    struct write_op op;
    int done, error;
};

static void on_written(struct write_op *op, int error)
{
    struct written *written = container_of(op, struct written, op);
    written->done++;
    written->error = error;
}

static int temporary_file(void)
{
    char path[] = "/tmp/test_loop.XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    unlink(path);
    return file;
}

static void write_is_whole_and_synced(void **state)
{
    struct world *w = world_new(*state, NULL);
    int file = temporary_file();
    enum { SIZE = 3 << 20 };
    uint8_t *text = malloc(SIZE), *got = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++) text[i] = (uint8_t)(i * 13);
    for (int synced = 0; synced < 2; synced++) {
        struct written written = {.op = {.file = file,
                                         .offset = 4096,
                                         .data = text,
                                         .size = SIZE,
                                         .is_synced = synced == 1,
                                         .on_done = on_written}};
        loop_write_sync(w->loop, &written.op);
        assert_int_equal(written.done, 0);
        turn_until(w, written.done == 1);
        assert_int_equal(written.error, 0);
        assert_int_equal(pread(file, got, SIZE, 4096), SIZE);
        assert_memory_equal(got, text, SIZE);
        assert_int_equal(ftruncate(file, 0), 0);
    }
    free(text);
    free(got);
    close(file);
    world_free(w);
}

static void failed_write_says_why(void **state)
{
    struct world *w = world_new(*state, NULL);
    int file = open("/dev/full", O_WRONLY);
    assert_true(file >= 0);
    struct written written = {.op = {.file = file,
                                     .data = (const uint8_t *)"abc",
                                     .size = 3,
                                     .is_synced = true,
                                     .on_done = on_written}};
    loop_write_sync(w->loop, &written.op);
    turn_until(w, written.done == 1);
    assert_int_equal(written.error, ENOSPC);
    close(file);
    written = (struct written){.op = {.file = file,
                                      .data = (const uint8_t *)"abc",
                                      .size = 3,
                                      .is_synced = true,
                                      .on_done = on_written}};
    loop_write_sync(w->loop, &written.op);
    turn_until(w, written.done == 1);
    assert_int_equal(written.error, EBADF);

    int pipes[2]; /* writes go, syncs do not */
    assert_int_equal(pipe(pipes), 0);
    written = (struct written){.op = {.file = pipes[1],
                                      .data = (const uint8_t *)"abc",
                                      .size = 3,
                                      .is_synced = true,
                                      .on_done = on_written}};
    loop_write_sync(w->loop, &written.op);
    turn_until(w, written.done == 1);
    assert_int_equal(written.error, EINVAL);
    close(pipes[0]);
    close(pipes[1]);
    world_free(w);
}

/* The file may grow to 1 MiB only: the write is short, the sync behind it is
 * cancelled, the rest fails, and nothing is acknowledged. */
static void short_write_is_continued_and_then_fails(void **state)
{
    struct world *w = world_new(*state, NULL);
    int file = temporary_file();
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit before, limit;
    getrlimit(RLIMIT_FSIZE, &before);
    limit = before;
    limit.rlim_cur = 1 << 20;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    enum { SIZE = 2 << 20 };
    uint8_t *text = calloc(1, SIZE);
    struct written written = {
        .op = {.file = file, .data = text, .size = SIZE, .is_synced = true, .on_done = on_written}};
    loop_write_sync(w->loop, &written.op);
    turn_until(w, written.done == 1);
    assert_int_equal(written.error, EFBIG);
    assert_int_equal(written.op.written, 1 << 20);
    assert_int_equal(lseek(file, 0, SEEK_END), 1 << 20);
    setrlimit(RLIMIT_FSIZE, &before);
    free(text);
    close(file);
    world_free(w);
}

/* A pipe takes what fits: a short write that goes on once there is room.  (Its
 * sync is left out: pipes have none.) */
static void short_write_goes_on_where_it_stopped(void **state)
{
    struct world *w = world_new(*state, NULL);
    int pipes[2];
    assert_int_equal(pipe2(pipes, O_NONBLOCK), 0);
    enum { SIZE = 1 << 20 };
    uint8_t *text = malloc(SIZE), *got = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++) text[i] = (uint8_t)(i * 13 + (i >> 10));
    struct written written = {
        .op = {.file = pipes[1], .data = text, .size = SIZE, .on_done = on_written}};
    loop_write_sync(w->loop, &written.op);
    size_t received = 0;
    while (received < SIZE) {
        turn(w, 0);
        ssize_t size = read(pipes[0], got + received, SIZE - received);
        if (size > 0) received += (size_t)size;
        assert_true(received == SIZE || written.done == 0);
    }
    turn_until(w, written.done == 1);
    assert_int_equal(written.error, 0);
    assert_memory_equal(got, text, SIZE);
    free(text);
    free(got);
    close(pipes[0]);
    close(pipes[1]);
    world_free(w);
}

static void many_writes_at_once_all_end(void **state)
{
    struct world *w = world_new(*state, NULL);
    int file = temporary_file();
    enum { COUNT = 100 };
    static struct written written[COUNT];
    for (unsigned i = 0; i < COUNT; i++) {
        written[i] = (struct written){.op = {.file = file,
                                             .offset = i * 8,
                                             .data = (const uint8_t *)"12345678",
                                             .size = 8,
                                             .is_synced = i % 10 == 0,
                                             .on_done = on_written}};
        loop_write_sync(w->loop, &written[i].op);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        turn_until(w, written[i].done == 1);
        assert_int_equal(written[i].error, 0);
    }
    close(file);
    world_free(w);
}

/* ── where it may run ──────────────────────────────────────────────────── */

static void refusals_say_what_to_do(void **state)
{
    (void)state;
    char text[512];
    assert_null(loop_refusal(0, "6.1.0-18-amd64", 0, text, sizeof text));
    assert_null(loop_refusal(0, "7.0", -1, text, sizeof text));
    assert_null(loop_refusal(0, "strange", -1, text, sizeof text));
    static const struct {
        int error;
        const char *release;
        int disabled;
        const char *says, *advises;
    } rows[] = {
        {EINVAL, "5.15.0-100-generic", -1, "5.15.0-100-generic", "boot a newer kernel"},
        {0, "6.0.19", -1, "6.0.19", "6.1 or newer"},
        {EPERM, "6.6.1", 2, "kernel.io_uring_disabled = 2", "sysctl -w kernel.io_uring_disabled=0"},
        {EPERM, "6.6.1", 1, "kernel.io_uring_disabled = 1", "io_uring_group"},
        {EPERM, "6.6.1", 0, "seccomp", "--security-opt"},
        {EACCES, "6.1.0", -1, "seccomp", "--security-opt"},
        {ENOSYS, "6.1.0", -1, "CONFIG_IO_URING", "seccomp"},
        {EINVAL, "6.1.0", -1, "DEFER_TASKRUN", "unmodified kernel"},
        {ENOMEM, "6.1.0", -1, "memory", "LimitMEMLOCK"},
        {EMFILE, "6.1.0", -1, "descriptor", "LimitNOFILE"},
        {EIO, "6.1.0", -1, "errno 5", "Linux 6.1.0"},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        const char *got =
            loop_refusal(rows[i].error, rows[i].release, rows[i].disabled, text, sizeof text);
        assert_non_null(got);
        assert_non_null(strstr(got, rows[i].says));
        assert_non_null(strstr(got, rows[i].advises));
        assert_true(strlen(got) < sizeof text - 1);
    }
    assert_null(loop_probe());
}

/* With the usual 8 MiB of locked memory a ring of production size is fine, the
 * soft limit is raised to the hard one, and the descriptor limit bounds the
 * table instead of failing it. */
static void unprivileged_user_gets_a_loop(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        /* A user of its own: what is locked counts over all processes of a user. */
        uid_t nobody = 100000 + (uid_t)getpid();
        if (getuid() == 0 && (setgid(nobody) != 0 || setuid(nobody) != 0)) _exit(2);
        struct rlimit locked = {64 << 10, 8 << 20}, files = {1000, 1000};
        setrlimit(RLIMIT_MEMLOCK, &locked);
        setrlimit(RLIMIT_NOFILE, &files);
        if (loop_probe() != NULL) _exit(3);
        struct loop_options options = {.socks_max = 100000,
                                       .recv_buffers = 4096,
                                       .recv_buffer_size = 4096,
                                       .sq_entries = 4096,
                                       .cq_entries = 65536};
        struct loop *loop;
        if (loop_create(&options, &loop) != ERR_OK) _exit(4);
        if (loop_socks_max(loop) != 1000) _exit(5);
        loop_start(loop);
        loop_enter(loop, 0);
        loop_run(loop);
        loop_destroy(loop);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(write_is_whole_and_synced),
        cmocka_unit_test(failed_write_says_why),
        cmocka_unit_test(short_write_is_continued_and_then_fails),
        cmocka_unit_test(short_write_goes_on_where_it_stopped),
        cmocka_unit_test(many_writes_at_once_all_end),
        cmocka_unit_test(refusals_say_what_to_do),
        cmocka_unit_test(unprivileged_user_gets_a_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
