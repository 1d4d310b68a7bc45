/*
 * fuzz_peers: sockets that do what the input says.
 *
 * A word of the script is a byte: three bits of socket, five of kind (enum word); some
 * take a size and so many bytes, or the number of a text of fuzz_words.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "fuzz_parts.h"
#include "net_sim.h"
#include "wire_pb.h"
#include "world.h"

/* What a byte of script means. */
enum word {
    WORD_RAW,     /* size, bytes: as they are */
    WORD_TEXT,    /* size, bytes: a text frame */
    WORD_FRAME,   /* first header byte, size, bytes: any frame */
    WORD_BIG,     /* size / 256, byte: a text frame of that byte */
    WORD_UPGRADE, /* which: a handshake */
    WORD_CONNECT, /* which: a connect command */
    WORD_COMMAND, /* which: one of commands[] */
    WORD_REQUEST, /* which: one of requests[] */
    WORD_API,     /* which, size, bytes: a call with the key and that body */
    WORD_STEP,    /* count: so many steps of the world */
    WORD_TIME,    /* so many tenths of a second go by */
    WORD_LONG,    /* so many times two seconds */
    WORD_CLOSE,   /* the peer ends its side */
    WORD_RESET,   /* it vanishes */
    WORD_STOP,    /* it stops reading */
    WORD_READ,    /* it reads again */
    WORD_CUT,     /* size: the next bytes go in pieces of that size */
    WORD_BINARY,  /* size, bytes: a binary frame */
    WORD_MESSAGE, /* size, bytes: a binary frame of one message behind its length */
    WORD_CHANGE,  /* place, bits: flips them in the next frame */
    WORD_NESTED,  /* depth / 128: a subscribe command with so many filters in each other */
    WORD_USER,    /* which, size, bytes: a call that means a user, with that body */
    WORD_ACT,     /* which: one of acts[] */
    WORD_COUNT,
};

static struct peer {
    struct link *link; /* NULL: gone, or never there */
    bool is_open, is_closing;
    bool is_binary; /* it upgraded to Protobuf */
    uint8_t change_at, change_bits;
    size_t cut;     /* 0: whole */
    uint8_t *early; /* written before it was open */
    size_t early_size;
} peers[PEERS];

/* --- peers -------------------------------------------------------------------- */

static void peer_put(struct peer *peer, const void *data, size_t size)
{
    const uint8_t *at = data;
    size_t piece = peer->cut == 0 ? size : peer->cut;
    for (size_t done = 0; done < size && peer->link != NULL; done += piece) {
        net_write(peer->link, at + done, min_u64(piece, size - done));
        /* Pieces that arrive one by one; a long text is not worth a world each. */
        if (peer->cut != 0 && done < 64 * peer->cut) fuzz_step();
    }
    peer->cut = 0;
}

static void on_peer_open(void *owner)
{
    struct peer *peer = owner;
    peer->is_open = true;
    if (peer->early_size > 0) net_write(peer->link, peer->early, peer->early_size);
    free(peer->early);
    peer->early = NULL;
    peer->early_size = 0;
    if (!peer->is_closing) return;
    net_close(peer->link, false);
    peer->link = NULL;
}

static void on_peer_data(void *owner, const uint8_t *data, size_t size)
{
    (void)owner;
    (void)data;
    (void)size;
}

static void on_peer_end(void *owner, bool is_orderly)
{
    struct peer *peer = owner;
    (void)is_orderly;
    peer->link = NULL;
}

static const struct net_peer peer_calls = {on_peer_open, on_peer_data, on_peer_end};

static void peer_say(struct peer *peer, const void *data, size_t size)
{
    if (peer->is_closing) return;
    if (peer->link == NULL) {
        free(peer->early);
        *peer = (struct peer){
            .cut = peer->cut, .change_at = peer->change_at, .change_bits = peer->change_bits};
        peer->link = net_connect(&peer_calls, peer);
    }
    if (peer->is_open) {
        peer_put(peer, data, size);
        return;
    }
    uint8_t *early = realloc(peer->early, peer->early_size + size + 1);
    check(early != NULL);
    memcpy(early + peer->early_size, data, size);
    peer->early = early;
    peer->early_size += size;
}

static void peer_go(struct peer *peer, bool is_abort)
{
    if (peer->link == NULL) return;
    if (!peer->is_open) {
        peer->is_closing = true; /* as soon as it can */
        return;
    }
    net_close(peer->link, is_abort);
    peer->link = NULL;
}

static void peer_frame(struct peer *peer, uint8_t first, struct bytes payload)
{
    uint8_t *out = malloc(payload.size + 16);
    check(out != NULL);
    size_t size = ws_put(out, WS_TEXT, true, payload, 0x01020304);
    out[0] = first;
    if (payload.size > 0)
        out[size - payload.size + peer->change_at % payload.size] ^= peer->change_bits;
    peer->change_bits = 0;
    peer_say(peer, out, size);
    free(out);
}

/* --- the script ----------------------------------------------------------------- */

static uint8_t take(struct script *script)
{
    return script->at < script->end ? *script->at++ : 0;
}

static struct bytes take_sized(struct script *script)
{
    size_t size = min_u64(take(script), (size_t)(script->end - script->at));
    struct bytes bytes = bytes_of(script->at, size);
    script->at += size;
    return bytes;
}

static void say_text(struct peer *peer, const char *text)
{
    peer_say(peer, text, strlen(text));
}

static void say_upgrade(struct peer *peer, const char *path)
{
    char text[512];
    int size =
        snprintf(text, sizeof text,
                 "GET %s HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                 "Sec-WebSocket-Version: 13\r\n\r\n",
                 path);
    check(size > 0 && (size_t)size < sizeof text);
    peer_say(peer, text, (size_t)size);
}

/* Lines of JSON in the wire that the peer speaks. */
static void say_commands(struct peer *peer, struct bytes lines)
{
    if (!peer->is_binary) {
        peer_frame(peer, 0x81, lines);
        return;
    }
    struct intake out = {NULL, 0, 0};
    for (size_t at = 0; at < lines.size;) {
        const uint8_t *end = memchr(lines.at + at, '\n', lines.size - at);
        size_t size = end == NULL ? lines.size - at : (size_t)(end - lines.at) - at;
        pb_put_command(&out, bytes_of(lines.at + at, size));
        at += size + 1;
    }
    peer_frame(peer, 0x82, bytes_of(out.bytes, out.size));
    intake_free(&out);
}

/* A key of Protobuf, and the length of what follows, in front of `at`. */
static uint8_t *lead(uint8_t *at, uint8_t key, size_t size)
{
    uint8_t varint[10];
    uint32_t used = 0;
    for (; size >= 128; size /= 128) varint[used++] = (uint8_t)(size % 128 + 128);
    varint[used++] = (uint8_t)size;
    at -= used;
    memcpy(at, varint, used);
    if (key != 0) *--at = key;
    return at;
}

/* subscribe {tf {nodes {nodes {… }}}}, from the inside. */
static void say_nested(struct peer *peer, uint32_t depth)
{
    static uint8_t room[160 << 10];
    uint8_t *end = room + sizeof room, *at = end;
    for (uint32_t level = depth; level > 0; level--)
        at = lead(at, (uint8_t)((level == 1 ? 13 : 6) * 8 + 2), (size_t)(end - at));
    at = lead(at, 5 * 8 + 2, (size_t)(end - at));
    at = lead(at, 0, (size_t)(end - at));
    peer_frame(peer, 0x82, bytes_of(at, (size_t)(end - at)));
}

/* Nothing is meant for the witness, in whatever spelling. */
static bool is_for_peers(struct bytes body)
{
    return memmem(body.at, body.size, "witness", 7) == NULL &&
           memchr(body.at, '\\', body.size) == NULL;
}

static void say_call(struct peer *peer, const char *method, struct bytes body)
{
    char text[512];
    if (body.size > 0 && !is_for_peers(body)) return;
    int size = snprintf(text, sizeof text,
                        "POST /api/%s HTTP/1.1\r\nHost: a\r\nX-API-Key: " API_KEY
                        "\r\nContent-Length: %zu\r\n\r\n",
                        method, body.size);
    check(size > 0 && (size_t)size + body.size < sizeof text);
    if (body.size > 0) memcpy(text + size, body.at, body.size);
    peer_say(peer, text, (size_t)size + body.size);
}

static const char *one_of(const struct fuzz_list *list, uint32_t n)
{
    return list->texts[n % list->count];
}

static void say_act(struct peer *peer, const char *act)
{
    for (uint32_t i = 0; i < fuzz_user_methods.count; i++)
        if (fuzz_user_methods.texts[i][0] == act[0])
            say_call(peer, fuzz_user_methods.texts[i], bytes_of_text(act + 1));
}

static void say_upgrade_to(struct peer *peer, const char *path)
{
    say_upgrade(peer, path);
    peer->is_binary = strstr(path, "protobuf") != NULL;
}

/* Words that send a frame. */
static void speak_frame(struct peer *peer, enum word word, struct script *script)
{
    static uint8_t filler[16 << 10];
    switch (word) {
    case WORD_TEXT: peer_frame(peer, 0x81, take_sized(script)); break;
    case WORD_BINARY: peer_frame(peer, 0x82, take_sized(script)); break;
    case WORD_FRAME: {
        uint8_t first = take(script);
        peer_frame(peer, first, take_sized(script));
        break;
    }
    case WORD_BIG: {
        size_t size = (size_t)take(script) * 256 % sizeof filler;
        memset(filler, take(script), size);
        peer_frame(peer, 0x81, bytes_of(filler, size));
        break;
    }
    case WORD_MESSAGE: {
        uint8_t message[258];
        struct bytes bytes = take_sized(script);
        uint8_t *at = message + sizeof message - bytes.size;
        if (bytes.size > 0) memcpy(at, bytes.at, bytes.size);
        at = lead(at, 0, bytes.size);
        peer_frame(peer, 0x82, bytes_of(at, (size_t)(message + sizeof message - at)));
        break;
    }
    case WORD_NESTED: say_nested(peer, 1 + take(script) * 134u); break;
    case WORD_CONNECT:
        say_commands(peer, bytes_of_text(one_of(&fuzz_connects, take(script))));
        break;
    case WORD_COMMAND:
        say_commands(peer, bytes_of_text(one_of(&fuzz_commands, take(script))));
        break;
    default: impossible("no word of play or speak");
    }
}

/* Words that send. */
static void speak(struct peer *peer, enum word word, struct script *script)
{
    switch (word) {
    case WORD_RAW: {
        struct bytes bytes = take_sized(script);
        peer_say(peer, bytes.at, bytes.size);
        break;
    }
    case WORD_UPGRADE: say_upgrade_to(peer, one_of(&fuzz_upgrades, take(script))); break;
    case WORD_REQUEST: say_text(peer, one_of(&fuzz_requests, take(script))); break;
    case WORD_API: {
        const char *method = one_of(&fuzz_methods, take(script));
        say_call(peer, method, take_sized(script));
        break;
    }
    case WORD_USER: {
        const char *method = one_of(&fuzz_user_methods, take(script));
        say_call(peer, method, take_sized(script));
        break;
    }
    case WORD_ACT: say_act(peer, one_of(&fuzz_acts, take(script))); break;
    default: speak_frame(peer, word, script); break;
    }
}

void peers_play(struct script *script)
{
    uint8_t byte = take(script);
    struct peer *peer = &peers[byte & 7];
    enum word word = (enum word)((byte >> 3) % WORD_COUNT);
    switch (word) {
    case WORD_STEP:
        for (uint32_t i = take(script); i > 0; i--) fuzz_step();
        break;
    case WORD_TIME: fuzz_pass(take(script) * (SECOND_NS / 10)); break;
    case WORD_LONG: fuzz_pass(take(script) % 32 * 2 * SECOND_NS); break;
    case WORD_CLOSE: peer_go(peer, false); break;
    case WORD_RESET: peer_go(peer, true); break;
    case WORD_STOP:
        if (peer->link != NULL) net_pause(peer->link, true);
        break;
    case WORD_READ:
        if (peer->link != NULL) net_pause(peer->link, false);
        break;
    case WORD_CUT: peer->cut = 1 + take(script) % 64; break;
    case WORD_CHANGE:
        peer->change_at = take(script);
        peer->change_bits = take(script);
        break;
    default: speak(peer, word, script); break;
    }
}

void peers_init(void)
{
    memset(peers, 0, sizeof peers);
}

void peers_go(void)
{
    for (uint32_t i = 0; i < PEERS; i++) {
        peer_go(&peers[i], true);
        peers[i].is_closing = true;
    }
}

void peers_fini(void)
{
    for (uint32_t i = 0; i < PEERS; i++) free(peers[i].early);
}
