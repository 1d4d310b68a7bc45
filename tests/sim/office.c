/*
 * office: calls of the server API.
 */
#include "office.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "net_sim.h"
#include "wire_sim.h"
#include "world.h"

static struct {
    struct link *link;
    struct intake intake;
    char *request;
    size_t size;
    bool is_done;
    struct bytes result;
} office;

static void office_dial(void *context, uint64_t number);

static void office_again(void)
{
    office.link = NULL;
    office.intake.size = 0;
    if (!office.is_done)
        world_at(world.now_ns + chance_between(5, 50) * 1000000u, office_dial, NULL, 0);
}

static void office_open(void *owner)
{
    (void)owner;
    net_write(office.link, office.request, office.size);
}

static void office_data(void *owner, const uint8_t *data, size_t size)
{
    struct http_answer answer;
    struct bytes error;
    (void)owner;
    intake_put(&office.intake, data, size);
    if (!http_take(&office.intake, &answer)) return;
    office.is_done = answer.status == 200 && !peek_get(answer.body, "error", &error);
    if (answer.status == 200 && !office.is_done && !peek_true(error, "temporary") &&
        peek_number(error, "code", 0) != 100 && peek_number(error, "code", 0) != 111)
        world_fail("a correct call is answered", "%.*s", (int)min_u64(answer.body.size, 120),
                   (const char *)answer.body.at);
    if (office.is_done && !peek_get(answer.body, "result", &office.result))
        world_fail("an answer has a result", "%.200s", office.request);
    net_close(office.link, false);
    office.link = NULL;
    if (!office.is_done) office_again();
}

static void office_end(void *owner, bool is_orderly)
{
    (void)owner;
    (void)is_orderly;
    office_again();
}

static const struct net_peer office_peer = {office_open, office_data, office_end};

static void office_dial(void *context, uint64_t number)
{
    (void)context;
    (void)number;
    if (office.link == NULL && !office.is_done) office.link = net_connect(&office_peer, NULL);
}

void office_begin(const char *method, struct bytes body)
{
    char head[256];
    int size = snprintf(head, sizeof(head),
                        "POST /api/%s HTTP/1.1\r\nHost: sim\r\nX-API-Key: simulated key\r\n"
                        "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                        method, body.size);
    check(size > 0 && (size_t)size < sizeof(head));
    office_fini();
    office.size = (size_t)size + body.size;
    office.request = malloc(office.size + 1);
    check(office.request != NULL);
    memcpy(office.request, head, (size_t)size);
    memcpy(office.request + size, body.at, body.size);
    office.request[office.size] = '\0';
    office_dial(NULL, 0);
}

bool office_is_done(void)
{
    return office.is_done;
}

struct bytes office_result(void)
{
    check(office.is_done);
    return office.result;
}

void office_fini(void)
{
    intake_free(&office.intake);
    free(office.request);
    memset(&office, 0, sizeof(office));
}
