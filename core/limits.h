/*
 * limits: every limit that is not an option, with its unit and reason.
 *
 * Options live in core/config.def; what a user may set has its default there.
 *
 * Thread:  any; constants.
 */
#pragma once

#include "core/base.h"

/* Shards of one process.  Rings are per pair, so memory grows with the square:
 * 64 shards are 4,032 rings of 1 KiB. */
#define SHARDS_MAX 64

/* Chains in flight per ordered pair; a sender adds at most one per turn, so a
 * receiver may be this many turns behind before chains stay staged. */
#define MESH_RING_SLOTS        (VERIFY ? 4 : 128)
/* Requests in flight per ordered pair.  Bounds the answers a shard can owe. */
#define MESH_CREDITS           (VERIFY ? 8 : 1024)
/* Of them, those that commands of clients leave to backends and the node itself. */
#define MESH_CREDITS_KEPT      (MESH_CREDITS / 8)
/* A listening shard's unread letters; beyond it publications are refused. */
#define MESH_BACKLOG_BYTES_MAX (64u << 20)

/* Work per turn, so that no one waits on another's luck. */
#define TURN_LETTERS_MAX  (VERIFY ? 16 : 4096)
#define TURN_TIMERS_MAX   (VERIFY ? 8 : 1024)
/* Commands of one connection that waited for credit, while others wait too. */
#define TURN_COMMANDS_MAX (VERIFY ? 2 : 64)
/* Memory that a turn's arena keeps over a reset. */
#define TURN_ARENA_KEEP   (256u << 10)

/* Bytes gathered into one send; the rest follows next turn.  Larger gathers
 * gain nothing: bytes are cheap, segments are dear, and 64 KiB is one GSO. */
#define SEND_GATHER_MAX (64u << 10)

/* Wire limits of the Centrifuge protocol. */
#define CHANNEL_NAME_MAX       255
#define USER_ID_MAX            255
#define IDEMPOTENCY_KEY_MAX    255
#define VERSION_EPOCH_MAX      255
#define EPOCH_MAX              31 /* "<8 letters>.<number of 6 digits><8 letters>-<7 letters>" */
#define COMMANDS_PER_FRAME_MAX 1024
#define JSON_DEPTH_MAX         64

/* Answers of one connection that may be large (recoveries, history) and are under
 * way at once; its further commands of that sort wait. */
#define BULK_CALLS_MAX (VERIFY ? 1 : 8)

/* HTTP parts; RFC 9112 leaves them to us. */
#define HTTP_LINE_MAX    8192
#define HTTP_HEADERS_MAX 64
#define HTTP_HEAD_MAX    (16u << 10)

/* Receipts: lists and exact windows (storage/cursor.h). */
#define RECEIPT_WINDOW      1024
#define MEMBERS_MAX         100000
#define RECEIPT_OFFSETS_MAX 100  /* of one receipt.counts */
#define RECEIPT_BATCH_MAX   1000 /* of one question to a home */
#define RECEIPT_LIST_MAX    1000 /* users of one page of readers */
#define RECEIPT_STATES_MAX  100  /* channels of one receipt.unread */
/* A chat server's own number of a message: what every JSON keeps exactly. */
#define HEAD_SEQ_MAX        ((1ull << 53) - 1)
/* Users that one record of a member list names: what a Redis does in some 10 ms, in
 * which it serves nobody else. */
#define MEMBERS_RECORD_MAX  (VERIFY ? 16 : 4096)

/* How long publications are kept whose namespace names only their count. */
#define HISTORY_TTL_MS (7u * 24 * 3600 * 1000)

/* Publications that one history or API answer may carry in memory at once. */
#define HISTORY_BYTES_MAX (64u << 20)

/* Channels that one answer may list: at 255 bytes a name about 30 MiB. */
#define CHANNELS_LISTED_MAX 100000

static_assert((MESH_RING_SLOTS & (MESH_RING_SLOTS - 1)) == 0, "ck_ring wants a power of two");
static_assert(CHANNEL_NAME_MAX < 256 && USER_ID_MAX < 256, "names travel with one length byte");
static_assert(HTTP_LINE_MAX <= HTTP_HEAD_MAX, "a line fits the head");
static_assert(TURN_LETTERS_MAX <= 4096, "a turn of letters takes milliseconds");
