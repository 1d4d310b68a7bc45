/*
 * fetch_os: one try, on libcurl.
 *
 * A handle for each try: a key set is asked for once an hour, and a connection
 * kept for that long would be dead by then.
 */
#include <curl/curl.h>
#include <stdio.h>

#include "core/check.h"
#include "core/fetch.h"
#include "core/mem.h"

struct sink {
    struct fetch *fetch;
    size_t room;
    bool is_full;
};

/* Takes what came; anything but `size` back makes libcurl give up. */
static size_t on_body(char *at, size_t one, size_t size, void *context)
{
    struct sink *sink = context;
    struct fetch *fetch = sink->fetch;
    check(one == 1);
    if (size > fetch->body_max - fetch->size) {
        sink->is_full = true;
        return 0;
    }
    if (fetch->size + size > sink->room) {
        sink->room = min_u64(fetch->body_max, max_u64(4096, 2 * (fetch->size + size)));
        fetch->body = mem_resize(fetch->body, sink->room);
    }
    memcpy(fetch->body + fetch->size, at, size);
    fetch->size += size;
    return size;
}

static bool set_up(CURL *curl, struct sink *sink)
{
    const struct fetch *fetch = sink->fetch;
    bool is_safe = strncmp(fetch->url, "https://", 8) == 0;
    return curl_easy_setopt(curl, CURLOPT_URL, fetch->url) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, is_safe ? "https" : "http,https") ==
               CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_MAXREDIRS, (long)FETCH_REDIRECTS_MAX) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)fetch->timeout_ms) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_USERAGENT, "sluice/" SLUICE_VERSION) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_WRITEDATA, sink) == CURLE_OK;
}

/* `headers` is the caller's to free once the try is over. */
static bool set_up_post(CURL *curl, const struct fetch *fetch, struct curl_slist **headers)
{
    char type[128];
    snprintf(type, sizeof(type), "Content-Type: %s", fetch->post_type);
    /* No question before a large body: some servers let it wait for a second. */
    *headers = curl_slist_append(curl_slist_append(NULL, type), "Expect:");
    check(*headers != NULL);
    return curl_easy_setopt(curl, CURLOPT_POST, 1L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_POSTFIELDS, fetch->post.at) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)fetch->post.size) ==
               CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_HTTPHEADER, *headers) == CURLE_OK;
}

/* Why, in words that never hold the address: it may carry a password. */
static enum err failed(struct fetch *fetch, const struct sink *sink, CURLcode code)
{
    mem_free(fetch->body);
    fetch->body = NULL;
    fetch->size = 0;
    if (sink->is_full) {
        snprintf(fetch->why, sizeof(fetch->why), "the answer is larger than %zu bytes",
                 fetch->body_max);
        return ERR_LIMIT_SIZE;
    }
    if (code == CURLE_OK)
        snprintf(fetch->why, sizeof(fetch->why), "the server answered %u", fetch->status);
    else
        snprintf(fetch->why, sizeof(fetch->why), "%s", curl_easy_strerror(code));
    return ERR_IO;
}

enum err fetch_once(struct fetch *fetch)
{
    struct sink sink = {.fetch = fetch};
    CURL *curl = curl_easy_init();
    check(curl != NULL);
    CURLcode code = CURLE_FAILED_INIT;
    struct curl_slist *headers = NULL;
    long status = 0;
    bool is_ready = set_up(curl, &sink);
    if (is_ready && fetch->post_type != NULL) is_ready = set_up_post(curl, fetch, &headers);
    if (is_ready) code = curl_easy_perform(curl);
    if (code == CURLE_OK) (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    fetch->status = (uint32_t)status;
    bool is_good = fetch->post_type != NULL ? status / 100 == 2 : status == 200;
    if (code != CURLE_OK || !is_good) return failed(fetch, &sink, code);
    if (fetch->body == NULL) fetch->body = mem_alloc(1); /* an empty answer is one */
    return ERR_OK;
}
