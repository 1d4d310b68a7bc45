/*
 * Lines as they come out: the form, levels, cuts, quotes; many threads at once;
 * a reader that is too slow.
 */
#include "death.h"

#include <fcntl.h>
#include <pthread.h>
#include <time.h>

#include <cmocka.h>

#include "core/check.h"
#include "core/log.h"

static int log_file;
static char log_path[] = "/tmp/test_log.XXXXXX";
static char *text;

static void start(void)
{
    log_file = mkstemp(strcpy(log_path, "/tmp/test_log.XXXXXX"));
    assert_true(log_file >= 0);
    log_start(log_file);
}

/* Stops the log and reads what it wrote. */
static void stop(void)
{
    log_stop();
    off_t size = lseek(log_file, 0, SEEK_END);
    free(text);
    text = calloc(1, (size_t)size + 1);
    assert_int_equal(pread(log_file, text, (size_t)size, 0), size);
    close(log_file);
    unlink(log_path);
}

static void line_has_time_level_shard_and_sentence(void **state)
{
    (void)state;
    start();
    log_info("listening address=%s port=%d", "127.0.0.1", 8000);
    check_context(2, 9);
    log_error("disk is full");
    check_context(UINT32_MAX, 0);
    stop();
    int year, ms;
    char rest[100];
    assert_int_equal(sscanf(text, "%4d-%*2d-%*2dT%*2d:%*2d:%*2d.%3dZ %99[^\n]", &year, &ms, rest),
                     3);
    assert_in_range(year, 2024, 2100);
    assert_string_equal(rest, "info listening address=127.0.0.1 port=8000");
    assert_non_null(strstr(text, "Z error shard=2 disk is full\n"));
}

static void lines_below_the_level_do_not_come(void **state)
{
    (void)state;
    start();
    log_set_level(LOG_WARN);
    log_debug("one");
    log_info("two");
    log_warn("three");
    log_set_level(LOG_DEBUG);
    log_debug("four");
    log_set_level(LOG_TRACE);
    log_debug("fourth again");
    log_set_level(LOG_NONE);
    log_error("five");
    log_set_level(LOG_INFO);
    stop();
    assert_null(strstr(text, "one"));
    assert_null(strstr(text, "two"));
    assert_non_null(strstr(text, "warn three"));
    assert_non_null(strstr(text, "debug four"));
    assert_non_null(strstr(text, "debug fourth again"));
    assert_null(strstr(text, "five"));
}

static void levels_have_names(void **state)
{
    (void)state;
    enum log_level level = LOG_ERROR;
    assert_true(log_level_parse("debug", &level));
    assert_int_equal(level, LOG_DEBUG);
    assert_true(log_level_parse("trace", &level));
    assert_int_equal(level, LOG_TRACE);
    assert_true(log_level_parse("none", &level));
    assert_int_equal(level, LOG_NONE);
    assert_false(log_level_parse("INFO", &level));
    assert_false(log_level_parse("", &level));
    assert_int_equal(level, LOG_NONE);
}

static void long_line_is_cut_and_says_so(void **state)
{
    (void)state;
    char body[3000];
    memset(body, 'x', sizeof body);
    body[sizeof body - 1] = '\0';
    start();
    log_info("%s", body);
    log_info("after");
    stop();
    char *end = strchr(text, '\n');
    assert_int_equal(end - text, 1023);
    assert_memory_equal(end - 4, "x...", 4);
    assert_non_null(strstr(end, "info after\n"));
}

static void *write_lines(void *number)
{
    for (int i = 0; i < 500; i++) log_info("thread=%d line=%d", *(int *)number, i);
    return NULL;
}

static void lines_of_many_threads_stay_whole_and_in_order(void **state)
{
    (void)state;
    pthread_t threads[4];
    int numbers[4] = {0, 1, 2, 3}, next[4] = {0};
    uint64_t dropped = log_dropped();
    start();
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, write_lines, &numbers[i]);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    stop();
    assert_int_equal(log_dropped(), dropped); /* 2,000 short lines fit the ring */
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        int thread, number;
        assert_int_equal(sscanf(line, "%*s info thread=%d line=%d", &thread, &number), 2);
        assert_in_range(thread, 0, 3);
        assert_int_equal(number, next[thread]++);
    }
    for (int i = 0; i < 4; i++) assert_int_equal(next[i], 500);
}

static int pipe_ends[2];
static void *read_all(void *unused)
{
    (void)unused;
    size_t used = 0, size = 2 << 20;
    free(text);
    text = calloc(1, size);
    for (ssize_t got; (got = read(pipe_ends[0], text + used, size - 1 - used)) > 0;)
        used += (size_t)got;
    return NULL;
}

static void lines_without_room_are_counted_and_told(void **state)
{
    (void)state;
    uint64_t dropped = log_dropped();
    assert_int_equal(pipe(pipe_ends), 0);
    log_start(pipe_ends[1]); /* a pipe that nobody reads yet takes 64 KiB */
    char body[1000];
    memset(body, 'x', sizeof body);
    body[sizeof body - 1] = '\0';
    for (int i = 0; i < 1000; i++) log_info("%s", body);
    dropped = log_dropped() - dropped;
    assert_in_range(dropped, 500, 999);

    pthread_t reader;
    assert_int_equal(pthread_create(&reader, NULL, read_all, NULL), 0);
    log_stop();
    close(pipe_ends[1]);
    pthread_join(reader, NULL);
    close(pipe_ends[0]);
    uint64_t lines = 0, told = 0;
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        const char *count = strstr(line, "warn log lines were dropped count=");
        if (count != NULL)
            told += strtoull(strrchr(count, '=') + 1, NULL, 10);
        else
            lines++;
    }
    assert_int_equal(told, dropped);
    assert_int_equal(lines + dropped, 1000);
}

/* A pipe that is full and stays so. */
static void fill_pipe(void)
{
    assert_int_equal(pipe(pipe_ends), 0);
    assert_int_equal(fcntl(pipe_ends[1], F_SETFL, O_NONBLOCK), 0);
    char body[4096] = {0};
    while (write(pipe_ends[1], body, sizeof body) > 0) continue;
    assert_int_equal(fcntl(pipe_ends[1], F_SETFL, 0), 0);
}

static void reader_that_never_reads_does_not_hold_the_end_up(void **state)
{
    (void)state;
    fill_pipe();
    time_t began = time(NULL);
    log_start(pipe_ends[1]);
    log_info("nobody reads this");
    log_stop();
    assert_in_range(time(NULL) - began, 1, 10);
    start();
    log_info("somebody reads this");
    stop();
    assert_non_null(strstr(text, "somebody"));
    assert_null(strstr(text, "nobody"));
    close(pipe_ends[0]);
    close(pipe_ends[1]);
}

static void reader_that_never_reads_does_not_keep_a_crash_alive(void **state)
{
    (void)state;
    fill_pipe();
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(pipe_ends[1], STDERR_FILENO);
        log_start(STDERR_FILENO);
        log_info("nobody reads this");
        check(child != 0);
    }
    int how = 0;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how));
    assert_int_equal(WTERMSIG(how), SIGALRM);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
}

static void quoted_value_is_one_printable_word(void **state)
{
    (void)state;
    char buffer[64];
    assert_string_equal(log_quote(buffer, sizeof buffer, "a b", 3), "\"a b\"");
    assert_string_equal(log_quote(buffer, sizeof buffer, "a\n\"\\\x7f\x80", 6),
                        "\"a\\x0a\\\"\\\\\\x7f\\x80\"");
    assert_string_equal(log_quote(buffer, sizeof buffer, NULL, 0), "\"\"");
    char big[100];
    memset(big, '\n', sizeof big);
    for (size_t size = 8; size < sizeof buffer; size++) {
        memset(buffer, 'Z', sizeof buffer);
        log_quote(buffer, size, big, sizeof big);
        assert_true(strlen(buffer) < size);
        assert_memory_equal(buffer + strlen(buffer) - 4, "...\"", 4);
        assert_int_equal(buffer[size], 'Z');
    }
}

static void log_straight(void)
{
    log_info("early words");
    abort();
}

static void line_before_the_start_goes_to_stderr(void **state)
{
    (void)state;
    log_stop(); /* none was started: nothing */
    assert_true(dies(log_straight));
    assert_non_null(strstr(death_story, "info early words\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(line_has_time_level_shard_and_sentence),
        cmocka_unit_test(lines_below_the_level_do_not_come),
        cmocka_unit_test(levels_have_names),
        cmocka_unit_test(long_line_is_cut_and_says_so),
        cmocka_unit_test(lines_of_many_threads_stay_whole_and_in_order),
        cmocka_unit_test(lines_without_room_are_counted_and_told),
        cmocka_unit_test(reader_that_never_reads_does_not_hold_the_end_up),
        cmocka_unit_test(reader_that_never_reads_does_not_keep_a_crash_alive),
        cmocka_unit_test(quoted_value_is_one_printable_word),
        cmocka_unit_test(line_before_the_start_goes_to_stderr),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
