/* Places are compared as addresses: the same server has many names. */
#include "storage/redis/place.h"

#include <netinet/in.h>
#include <stdio.h>

#include "core/check.h"

#define HOST_MAX 100

enum err place_parse(const char *text, uint16_t port, struct redis_place *place)
{
    static const char *const schemes[] = {"redis://", "rediss://"};
    char host[HOST_MAX + 1];
    const char *at = text;
    for (size_t i = 0; i < array_count(schemes); i++)
        if (strncmp(text, schemes[i], strlen(schemes[i])) == 0) at = text + strlen(schemes[i]);
    size_t size = strcspn(at, "/");
    *place = (struct redis_place){0};
    snprintf(place->text, sizeof place->text, "%.*s", (int)min_u64(size, HOST_MAX), at);
    if (size == 0 || size > HOST_MAX || (at[size] == '/' && at[size + 1] != 0))
        return ERR_BAD_REQUEST;
    snprintf(host, sizeof host, "%.*s", (int)size, at);
    char *colon = strrchr(host, ':');
    char *bracket = strrchr(host, ']');
    if (colon != NULL && (bracket == NULL || colon > bracket)) {
        uint64_t number = 0;
        bool is_port =
            bytes_to_u64(bytes_of_text(colon + 1), &number) && number >= 1 && number <= UINT16_MAX;
        if (!is_port) return ERR_BAD_REQUEST;
        port = (uint16_t)number;
        *colon = 0;
    }
    char *name = host;
    if (host[0] == '[' && bracket != NULL) {
        *bracket = 0;
        name = host + 1;
    }
    return net_address_resolve(name, port, &place->address);
}

/* The address of `asked` with another port. */
static void place_neighbour(const struct redis_place *asked, uint16_t port,
                            struct redis_place *place)
{
    const char *colon = strrchr(asked->text, ':');
    size_t size = colon == NULL ? strlen(asked->text) : (size_t)(colon - asked->text);
    bool is_v6 = asked->address.storage.ss_family == AF_INET6;
    *place = (struct redis_place){.address = asked->address};
    if (is_v6) ((struct sockaddr_in6 *)&place->address.storage)->sin6_port = htons(port);
    if (!is_v6) ((struct sockaddr_in *)&place->address.storage)->sin_port = htons(port);
    snprintf(place->text, sizeof place->text, "%.*s:%u", (int)min_u64(size, HOST_MAX), asked->text,
             port);
}

enum err place_of(struct bytes host, uint64_t port, const struct redis_place *asked,
                  struct redis_place *place)
{
    char text[HOST_MAX + 1];
    if (port < 1 || port > UINT16_MAX || host.size > HOST_MAX) return ERR_BAD_REQUEST;
    if (host.size == 0) {
        place_neighbour(asked, (uint16_t)port, place);
        return ERR_OK;
    }
    *place = (struct redis_place){0};
    snprintf(text, sizeof text, "%.*s", (int)host.size, (const char *)host.at);
    TRY(net_address_parse(text, (uint16_t)port, &place->address));
    bool is_v6 = place->address.storage.ss_family == AF_INET6;
    snprintf(place->text, sizeof place->text, is_v6 ? "[%s]:%u" : "%s:%u", text, (unsigned)port);
    return ERR_OK;
}

bool place_is_same(const struct redis_place *a, const struct redis_place *b)
{
    check(a->address.size > 0 && b->address.size > 0);
    return bytes_equal(bytes_of(&a->address.storage, a->address.size),
                       bytes_of(&b->address.storage, b->address.size));
}
