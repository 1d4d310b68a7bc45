/*
 * fetch: which addresses may be asked; a server of one answer at a time on this
 * machine: what comes, what is too large, what is tried again and what is not, where
 * a redirect may lead.
 */
#include "unit/proto/wire.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/fetch.h"
#include "core/mem.h"

static void addresses_are_absolute(void **state)
{
    (void)state;
    static const char *const fine[] = {"http://a", "https://a.example/k?x=1", "http://[::1]:80/"};
    static const char *const wrong[] = {"",          "a",           "http://",     "https:///a",
                                        "ftp://a",   "file:///etc", "http:a",      "HTTP://a",
                                        "http://a ", "http://a\n",  "http://\xc3", "http://@a"};
    for (size_t i = 0; i < array_count(fine); i++) assert_true(fetch_url_is_fine(fine[i]));
    for (size_t i = 0; i < array_count(wrong); i++) assert_false(fetch_url_is_fine(wrong[i]));
    char text[FETCH_URL_MAX + 2];
    memset(text, 'a', sizeof(text));
    memcpy(text, "http://", 7);
    text[FETCH_URL_MAX] = 0;
    assert_true(fetch_url_is_fine(text));
    text[FETCH_URL_MAX] = 'a';
    text[FETCH_URL_MAX + 1] = 0;
    assert_false(fetch_url_is_fine(text));
    assert_true(fetch_url_is_local("http://localhost:9/k"));
    assert_true(fetch_url_is_local("http://127.0.0.1"));
    assert_false(fetch_url_is_local("http://127.0.0.1.example/"));
    assert_false(fetch_url_is_local("http://localhost:x@example/"));
    assert_false(fetch_url_is_local("https://example/127.0.0.1"));
}

#define POSTED "a\nb\n"

/* Answers one connection after another with `answers`, then ends. */
static struct server {
    int listener;
    uint32_t asked;
    const char *answers[6];
    char request[2048]; /* the last one */
    char url[64];
    pthread_t thread;
} server;

/* A GET ends with its head, a POST with the body that the tests send. */
static bool request_is_whole(size_t used)
{
    const char *end = used == 0 ? NULL : strstr(server.request, "\r\n\r\n");
    return end != NULL && (server.request[0] == 'G' || strcmp(end + 4, POSTED) == 0);
}

static void *serve(void *unused)
{
    (void)unused;
    for (; server.answers[server.asked] != NULL; server.asked++) {
        int peer = accept(server.listener, NULL, NULL);
        if (peer < 0) break;
        ssize_t got = 1;
        size_t used = 0;
        while (got > 0 && !request_is_whole(used)) {
            got = recv(peer, server.request + used, sizeof(server.request) - 1 - used, 0);
            if (got > 0) used += (size_t)got;
            server.request[used] = 0;
        }
        const char *answer = server.answers[server.asked];
        if (got > 0) got = send(peer, answer, strlen(answer), MSG_NOSIGNAL);
        shutdown(peer, SHUT_WR);
        close(peer);
    }
    return NULL;
}

/* Fetches from a server of these answers; returns how many it gave. */
static uint32_t ask_with(struct fetch *fetch, enum err wanted, const char *const *answers,
                         enum err (*ask)(struct fetch *fetch))
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    memset(&server, 0, sizeof(server));
    for (uint32_t i = 0; answers[i] != NULL; i++) server.answers[i] = answers[i];
    server.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server.listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(server.listener, 8), 0);
    assert_int_equal(getsockname(server.listener, (struct sockaddr *)&address, &size), 0);
    snprintf(server.url, sizeof(server.url), "http://127.0.0.1:%u/keys", ntohs(address.sin_port));
    assert_int_equal(pthread_create(&server.thread, NULL, serve, NULL), 0);
    fetch->url = server.url;
    fetch->timeout_ms = 5000;
    fetch->tries = 3;
    fetch->body_max = 100;
    enum err err = ask(fetch);
    shutdown(server.listener, SHUT_RDWR);
    pthread_join(server.thread, NULL);
    close(server.listener);
    assert_int_equal(err, wanted);
    return server.asked;
}

static uint32_t ask(struct fetch *fetch, enum err wanted, const char *const *answers)
{
    *fetch = (struct fetch){0};
    return ask_with(fetch, wanted, answers, fetch_get);
}

#define HEAD(status) "HTTP/1.1 " status "\r\nConnection: close\r\n"

static void answers_come_or_fail(void **state)
{
    (void)state;
    struct fetch fetch;
    assert_int_equal(ask(&fetch, ERR_OK, (const char *[]){HEAD("200 OK") "\r\nhello", NULL}), 1);
    assert_true(bytes_equal_text(bytes_of(fetch.body, fetch.size), "hello"));
    mem_free(fetch.body);
    assert_int_equal(ask(&fetch, ERR_OK, (const char *[]){HEAD("200 OK") "\r\n", NULL}), 1);
    assert_int_equal(fetch.size, 0);
    mem_free(fetch.body);
    /* Worth another try: broken, busy, overloaded. */
    assert_int_equal(
        ask(&fetch, ERR_OK,
            (const char *[]){"", HEAD("503 Busy") "\r\n", HEAD("200 OK") "\r\nx", NULL}),
        3);
    mem_free(fetch.body);
    assert_int_equal(ask(&fetch, ERR_IO,
                         (const char *[]){HEAD("500 A") "\r\n", HEAD("429 B") "\r\n",
                                          HEAD("500 C") "\r\n", HEAD("200 OK") "\r\nx", NULL}),
                     3);
    assert_non_null(strstr(fetch.why, "answered 500"));
    assert_null(fetch.body);
    /* Not worth one. */
    assert_int_equal(ask(&fetch, ERR_IO,
                         (const char *[]){HEAD("404 No") "\r\nno", HEAD("200 OK") "\r\nx", NULL}),
                     1);
    assert_null(strstr(fetch.why, "127.0.0.1"));
}

static void answers_have_a_size(void **state)
{
    (void)state;
    struct fetch fetch;
    char answer[400];
    snprintf(answer, sizeof(answer), HEAD("200 OK") "\r\n%0100d", 1);
    assert_int_equal(ask(&fetch, ERR_OK, (const char *[]){answer, NULL}), 1);
    assert_int_equal(fetch.size, 100);
    mem_free(fetch.body);
    snprintf(answer, sizeof(answer), HEAD("200 OK") "\r\n%0101d", 1);
    assert_int_equal(ask(&fetch, ERR_LIMIT_SIZE, (const char *[]){answer, answer, NULL}), 1);
    assert_null(fetch.body);
    assert_non_null(strstr(fetch.why, "larger than 100 bytes"));
}

static void redirects_stay_with_http(void **state)
{
    (void)state;
    struct fetch fetch;
    assert_int_equal(
        ask(&fetch, ERR_OK,
            (const char *[]){HEAD("302 F") "Location: /b\r\n\r\n", HEAD("200 OK") "\r\nb", NULL}),
        2);
    mem_free(fetch.body);
    assert_int_equal(
        ask(&fetch, ERR_IO,
            (const char *[]){HEAD("302 F") "Location: file:///etc/passwd\r\n\r\n",
                             HEAD("302 F") "Location: ftp://127.0.0.1/\r\n\r\n",
                             HEAD("302 F") "Location: gopher://127.0.0.1/\r\n\r\n", NULL}),
        3);
}

static void nobody_answers(void **state)
{
    (void)state;
    struct fetch fetch = {
        .url = "http://127.0.0.1:1/", .timeout_ms = 2000, .tries = 2, .body_max = 9};
    assert_int_equal(fetch_get(&fetch), ERR_IO);
    assert_true(fetch.body == NULL && fetch.status == 0 && fetch.why[0] != 0);
}

static void a_post_is_tried_once_and_goes_nowhere_else(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        uint32_t status;
        enum err err;
    } cases[] = {{HEAD("200 OK") "\r\nx", 200, ERR_OK},
                 {HEAD("204 None") "\r\n", 204, ERR_OK},
                 {HEAD("302 F") "Location: /b\r\n\r\n", 302, ERR_IO},
                 {HEAD("422 No") "\r\n", 422, ERR_IO},
                 {HEAD("503 Busy") "\r\n", 503, ERR_IO},
                 {"", 0, ERR_IO}};
    for (size_t i = 0; i < array_count(cases); i++) {
        struct fetch fetch = {.post = BYTES_LITERAL(POSTED), .post_type = "text/plain"};
        assert_int_equal(
            ask_with(&fetch, cases[i].err, (const char *[]){cases[i].answer, NULL}, fetch_post), 1);
        assert_int_equal(fetch.status, cases[i].status);
        assert_non_null(strstr(server.request, "POST /keys HTTP/1.1\r\n"));
        assert_non_null(strstr(server.request, "\r\nContent-Type: text/plain\r\n"));
        assert_non_null(strstr(server.request, "\r\n\r\n" POSTED));
        mem_free(fetch.body);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_absolute),
        cmocka_unit_test(answers_come_or_fail),
        cmocka_unit_test(answers_have_a_size),
        cmocka_unit_test(redirects_stay_with_http),
        cmocka_unit_test(nobody_answers),
        cmocka_unit_test(a_post_is_tried_once_and_goes_nowhere_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
