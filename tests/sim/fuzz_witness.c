/*
 * fuzz_witness: a client that keeps the rules while others break them.
 *
 * It publishes numbers into a channel of its own and must hear each once, in
 * order, on one connection that is never closed.  Others may publish there too.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/check.h"
#include "fuzz_parts.h"
#include "net_sim.h"
#include "wire_sim.h"
#include "world.h"

#define PAYLOAD_MAX 4096

struct witness witness;

static struct {
    struct link *link;
    struct intake intake;
    bool is_upgraded, has_ended;
} self;

static void witness_send(struct bytes text)
{
    uint8_t frame[PAYLOAD_MAX + 16];
    check(text.size <= PAYLOAD_MAX);
    size_t size = ws_put(frame, WS_TEXT, true, text, 0x0a0b0c0d);
    net_write(self.link, frame, size);
}

static void witness_publish(uint32_t number)
{
    char text[128];
    int size = snprintf(text, sizeof text,
                        "{\"id\":%u,\"publish\":{\"channel\":\"own:w\",\"data\":{\"w\":%u}}}",
                        number + 100, number);
    check(size > 0);
    witness_send(bytes_of(text, (size_t)size));
}

static void witness_hear_push(struct bytes push)
{
    struct bytes publication, data;
    char channel[32];
    peek_text(push, "channel", channel, sizeof channel);
    if (strcmp(channel, "own:w") != 0 || !peek_get(push, "pub", &publication)) return;
    if (!peek_get(publication, "data", &data) || data.size == 0 || data.at[0] != '{') return;
    uint64_t number = peek_number(data, "w", 0);
    if (number == 0) return; /* somebody else's */
    if (number != witness.heard + 1)
        world_fail("the witness hears every message once, in order", "%" PRIu64 " after %u", number,
                   witness.heard);
    witness.heard++;
}

static void witness_hear(struct bytes text)
{
    struct bytes push, error;
    if (text.size == 2) {
        witness_send(BYTES_LITERAL("{}"));
        return;
    }
    uint64_t id = peek_number(text, "id", 0);
    if (peek_get(text, "push", &push)) {
        witness_hear_push(push);
    } else if (peek_get(text, "error", &error)) {
        if (!peek_true(error, "temporary") || id <= 100)
            world_fail("who keeps the rules is not refused", "%.*s", (int)text.size,
                       (const char *)text.at);
        witness_publish((uint32_t)id - 100);
    } else if (id == 2) {
        witness.is_in = true;
    } else if (id > 100) {
        witness.acked++;
    }
}

static void witness_take(void)
{
    struct ws_message message;
    if (!self.is_upgraded) {
        const uint8_t *end = memmem(self.intake.bytes, self.intake.size, "\r\n\r\n", 4);
        if (end == NULL) return;
        if (memcmp(self.intake.bytes, "HTTP/1.1 101 ", 13) != 0)
            world_fail("the witness is let in", "%.60s", (const char *)self.intake.bytes);
        intake_drop(&self.intake, (size_t)(end - self.intake.bytes) + 4);
        self.is_upgraded = true;
        witness_send(BYTES_LITERAL("{\"id\":1,\"connect\":{\"token\":\"" TOKEN_SELF "\"}}\n"
                                   "{\"id\":2,\"subscribe\":{\"channel\":\"own:w\"}}"));
    }
    while (!self.has_ended && ws_take(&self.intake, &message)) {
        if (message.opcode == WS_CLOSE)
            world_fail("who keeps the rules is not closed", "code %u",
                       message.payload.size < 2
                           ? 0u
                           : (unsigned)(message.payload.at[0] << 8 | message.payload.at[1]));
        size_t from = 0;
        for (size_t i = 0; i <= message.payload.size; i++) {
            if (i < message.payload.size && message.payload.at[i] != '\n') continue;
            if (i > from) witness_hear(bytes_of(message.payload.at + from, i - from));
            from = i + 1;
        }
        intake_drop(&self.intake, message.size);
    }
}

static void on_witness_open(void *owner)
{
    static const char text[] = "GET /connection/websocket HTTP/1.1\r\nHost: a\r\n"
                               "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                               "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                               "Sec-WebSocket-Version: 13\r\n\r\n";
    (void)owner;
    net_write(self.link, text, sizeof text - 1);
}

static void on_witness_data(void *owner, const uint8_t *data, size_t size)
{
    (void)owner;
    intake_put(&self.intake, data, size);
    witness_take();
}

static void on_witness_end(void *owner, bool is_orderly)
{
    (void)owner;
    (void)is_orderly;
    if (!self.has_ended) world_fail("who keeps the rules stays connected", "it was closed");
    self.link = NULL;
}

static const struct net_peer witness_calls = {on_witness_open, on_witness_data, on_witness_end};

void witness_start(void)
{
    memset(&witness, 0, sizeof witness);
    memset(&self, 0, sizeof self);
    self.link = net_connect(&witness_calls, NULL);
}

void witness_say(void)
{
    check(witness.is_in);
    witness_publish(++witness.said);
}

void witness_end(void)
{
    self.has_ended = true;
    net_close(self.link, false);
    self.link = NULL;
}

void witness_fini(void)
{
    intake_free(&self.intake);
}
