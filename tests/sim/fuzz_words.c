/*
 * fuzz_words: what a fuzzer would not guess: handshakes, tokens, commands, calls.
 *
 * Commands are JSON here; a peer that speaks Protobuf has them turned by wire_pb.c.
 */
#include "core/base.h"
#include "fuzz_parts.h"

/* Of user fuzz for shut:s, with the key of RFC 8037, appendix A, which fetch_sim.c serves. */
#define TOKEN_SIM                                                                                  \
    "eyJhbGciOiJFZERTQSIsImtpZCI6InNpbSJ9.eyJzdWIiOiJmdXp6IiwiY2hhbm5lbCI6InNodXQ6cyJ9."           \
    "wNzh7lSaOLihNwoCBuDvLjxNSmdnSqDpFyvZ4bx2VdfewDki4_4v0HaI_Fs4pMCsOWmxM-CsTldKr48q4MN1Cg"

static const char *const upgrades[] = {
    "/connection/websocket", "/connection/websocket?cf_ws_frame_ping_pong=true",
    "/connection/websocket?format=protobuf", "/debug/echo",
    "/connection/websocket?cf_protocol=protobuf&cf_ws_frame_ping_pong=true"};

static const char *const connects[] = {
    "{\"id\":1,\"connect\":{}}",
    "{\"id\":1,\"connect\":{\"token\":\"" TOKEN_FUZZ "\",\"name\":\"js\",\"version\":\"1\"}}",
    "{\"id\":1,\"connect\":{\"token\":\"" TOKEN_ENDS "\"}}",
    "{\"id\":1,\"connect\":{\"token\":\"" TOKEN_FUZZ
    "\",\"subs\":{\"all:a\":{\"recover\":true,\"epoch\":\"x\",\"offset\":1}}}}\n"
    "{\"id\":2,\"subscribe\":{\"channel\":\"all:b\"}}",
    "{\"id\":1,\"connect\":{\"token\":\"" TOKEN_SUBS "\"}}",
    "{\"id\":1,\"connect\":{\"token\":\"" TOKEN_MANY "\"}}\n"
    "{\"id\":2,\"presence\":{\"channel\":\"all:a\"}}",
    "{\"id\":1,\"connect\":{\"token\":\"" TOKEN_SUBS
    "\",\"data\":{\"x\":1},\"subs\":{\"all:a\":{\"recover\":true,\"epoch\":\"\",\"offset\":0},"
    "\"live:x\":{},\"shut:s\":{},\"no:pe\":{}}}}",
};

static const char *const commands[] = {
    "{\"id\":3,\"subscribe\":{\"channel\":\"all:a\"}}",
    "{\"id\":4,\"subscribe\":{\"channel\":\"all:a\",\"recover\":true,\"offset\":1,\"epoch\":\"\"}}",
    "{\"id\":5,\"unsubscribe\":{\"channel\":\"all:a\"}}",
    "{\"id\":6,\"publish\":{\"channel\":\"all:a\",\"data\":{\"x\":1}}}",
    "{\"id\":7,\"publish\":{\"channel\":\"own:w\",\"data\":\"noise\"}}",
    "{\"id\":8,\"subscribe\":{\"channel\":\"own:w\",\"join_leave\":true,\"positioned\":true}}",
    "{\"id\":9,\"history\":{\"channel\":\"all:a\",\"limit\":100}}",
    "{\"id\":10,\"history\":{\"channel\":\"own:w\",\"limit\":9,\"reverse\":true}}",
    "{\"id\":11,\"presence\":{\"channel\":\"all:a\"}}",
    "{\"id\":12,\"presence_stats\":{\"channel\":\"own:w\"}}",
    "{\"id\":13,\"rpc\":{\"method\":\"receipt.read\",\"data\":{\"channel\":\"all:a\",\"offset\":1}}"
    "}",
    "{\"id\":14,\"rpc\":{\"method\":\"message.send\",\"data\":{\"channel\":\"all:a\",\"data\":1,"
    "\"key\":\"k\"}}}",
    "{\"id\":15,\"refresh\":{\"token\":\"" TOKEN_FUZZ "\"}}",
    "{\"id\":16,\"sub_refresh\":{\"channel\":\"all:a\",\"token\":\"x\"}}",
    "{\"id\":17,\"ping\":{}}",
    "{}",
    "{\"id\":18,\"subscribe\":{\"channel\":\"all:#fuzz\"}}\n{\"id\":19,\"subscribe\":{\"channel\":"
    "\"live:x\"}}\n{\"id\":20,\"publish\":{\"channel\":\"live:x\",\"data\":[]}}",
    "{\"send\":{\"data\":1}}",
    "{\"id\":21,\"subscribe\":{\"channel\":\"shut:s\",\"token\":\"" TOKEN_SHUT "\"}}",
    "{\"id\":22,\"subscribe\":{\"channel\":\"shut:s\",\"token\":\"" TOKEN_SHUT_ENDS "\"}}",
    "{\"id\":23,\"subscribe\":{\"channel\":\"shut:s\",\"token\":\"" TOKEN_SHUT_LEAVES "\"}}",
    "{\"id\":24,\"sub_refresh\":{\"channel\":\"shut:s\",\"token\":\"" TOKEN_SHUT "\"}}",
    /* Where keys come from another server, this one is asked for. */
    "{\"id\":25,\"subscribe\":{\"channel\":\"shut:s\",\"token\":\"" TOKEN_SIM "\"}}",
    "{\"id\":26,\"subscribe\":{\"channel\":\"all:a\",\"flag\":3,\"recover\":true,\"offset\":1,"
    "\"epoch\":\"_\"}}",
    "{\"id\":27,\"subscribe\":{\"channel\":\"all:b\",\"tf\":{\"key\":\"a\"},\"delta\":\"fossil\"}}",
    "{\"id\":28,\"unsubscribe\":{\"channel\":\"shut:s\"}}\n"
    "{\"id\":29,\"presence\":{\"channel\":\"shut:s\"}}",
    "{\"id\":30,\"presence\":{\"channel\":\"me:#fuzz\"}}\n"
    "{\"id\":31,\"publish\":{\"channel\":\"me:#fuzz\",\"data\":{}}}\n"
    "{\"id\":32,\"unsubscribe\":{\"channel\":\"me:#fuzz\"}}",
    "{\"id\":33,\"refresh\":{\"token\":\"" TOKEN_SUBS "\"}}",
    "{\"id\":34,\"presence_stats\":{\"channel\":\"all:a\"}}",
};

static const char *const requests[] = {
    "GET /health HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /health/simple HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "POST /api/info HTTP/1.1\r\nHost: a\r\nX-API-Key: " API_KEY
    "\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "POST /api/publish HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nX-API-Key: " API_KEY
    "\r\nContent-Length: 30\r\n\r\n",
    "{\"channel\":\"all:a\",\"data\":1234}",
    "OPTIONS /connection/websocket HTTP/1.1\r\nHost: a\r\nOrigin: http://a\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
};

/* Calls that mean no user. */
static const char *const methods[] = {
    "publish",  "broadcast",      "history", "presence",       "presence_stats",
    "channels", "history_remove", "info",    "message_delete", "batch",
    "rpc",      "members_set"};

static const char *const user_methods[] = {"disconnect", "subscribe", "unsubscribe", "refresh"};

/* What a backend does to users; the first letter is the method's. */
static const char *const acts[] = {
    "d{\"user\":\"fuzz\"}",
    "d{\"user\":\"many\",\"disconnect\":{\"code\":4000,\"reason\":\"go\"}}",
    "d{\"user\":\"fuzz\",\"whitelist\":[\"00000000-0000-4000-8000-000000000000\"]}",
    "s{\"user\":\"fuzz\",\"channel\":\"all:b\"}",
    "s{\"user\":\"fuzz\",\"channel\":\"shut:s\",\"info\":{\"i\":1},\"expire_at\":1800000010}",
    ("s{\"user\":\"many\",\"channel\":\"all:a\",\"recover_since\":{\"offset\":1,\"epoch\":\"x\"},"
     "\"override\":{\"presence\":{\"value\":true},\"join_leave\":{\"value\":true}}}"),
    "s{\"user\":\"fuzz\",\"channel\":\"live:x\",\"b64info\":\"/wA=\",\"b64data\":\"AP8=\"}",
    "u{\"user\":\"fuzz\",\"channel\":\"all:a\"}",
    "u{\"user\":\"fuzz\"}",
    "u{\"user\":\"many\",\"channel\":\"shut:s\"}",
    "r{\"user\":\"fuzz\",\"expired\":true}",
    "r{\"user\":\"fuzz\",\"expire_at\":1800000020,\"info\":{\"new\":[]}}",
    "r{\"user\":\"many\",\"expire_at\":1800000005}",
};

#define LIST(texts)                                                                                \
    {                                                                                              \
        (texts), array_count(texts)                                                                \
    }
const struct fuzz_list fuzz_upgrades = LIST(upgrades);
const struct fuzz_list fuzz_connects = LIST(connects);
const struct fuzz_list fuzz_commands = LIST(commands);
const struct fuzz_list fuzz_requests = LIST(requests);
const struct fuzz_list fuzz_methods = LIST(methods);
const struct fuzz_list fuzz_user_methods = LIST(user_methods);
const struct fuzz_list fuzz_acts = LIST(acts);
