/*
 * fetch: what may be asked, and how often.
 */
#include "core/fetch.h"

#include "core/check.h"
#include "core/mem.h"

/* Behind "http://" or "https://"; NULL for any other scheme. */
static const char *host_of(const char *url)
{
    if (strncmp(url, "http://", 7) == 0) return url + 7;
    return strncmp(url, "https://", 8) == 0 ? url + 8 : NULL;
}

bool fetch_url_is_fine(const char *url)
{
    const char *host = host_of(url);
    if (host == NULL || host[0] == '\0' || strchr("/?#:@", host[0]) != NULL) return false;
    if (strlen(url) > FETCH_URL_MAX) return false;
    for (const char *at = url; *at != '\0'; at++)
        if (*at <= ' ' || *at > '~') return false;
    return true;
}

bool fetch_url_is_local(const char *url)
{
    const char *host = host_of(url);
    if (host == NULL) return false;
    size_t size = strcspn(host, "/?#");
    static const char *const names[] = {"localhost", "127.0.0.1", "[::1]"};
    for (size_t i = 0; i < array_count(names); i++) {
        size_t name = strlen(names[i]);
        if (size >= name && strncmp(host, names[i], name) == 0 &&
            (size == name || host[name] == ':') && memchr(host, '@', size) == NULL)
            return true;
    }
    return false;
}

enum err fetch_get(struct fetch *fetch)
{
    check(fetch->tries >= 1);
    check(fetch_url_is_fine(fetch->url));
    check(fetch->post_type == NULL);
    enum err err = ERR_IO;
    for (uint32_t i = 0; i < fetch->tries && err != ERR_OK; i++) {
        fetch->body = NULL;
        fetch->size = 0;
        fetch->status = 0;
        fetch->why[0] = '\0';
        err = fetch_once(fetch);
        check((err == ERR_OK) == (fetch->body != NULL));
        bool may_go_better = fetch->status == 0 || fetch->status == 429 || fetch->status >= 500;
        if (err == ERR_LIMIT_SIZE || !may_go_better) break;
    }
    return err;
}

enum err fetch_post(struct fetch *fetch)
{
    check(fetch_url_is_fine(fetch->url));
    check(fetch->post_type != NULL);
    fetch->body = NULL;
    fetch->size = 0;
    fetch->status = 0;
    fetch->why[0] = '\0';
    enum err err = fetch_once(fetch);
    check((err == ERR_OK) == (fetch->body != NULL));
    return err;
}
