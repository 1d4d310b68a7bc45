/*
 * tls: TLS 1.2 and 1.3 of a server over the caller's buffers, on OpenSSL.
 *
 * A context is a certificate with its key; a session is one connection.  Bytes
 * of the wire go in as views and are always taken whole but for what follows the
 * end of a handshake; what is to be sent collects in the session until it is
 * taken.  Nothing here reads, writes or waits.
 *
 * What is offered, and nothing else: versions 1.2 and 1.3, AEAD suites with
 * forward secrecy, ALPN "http/1.1".  No compression, no renegotiation, no early
 * data, no client certificates.  Sessions are resumed by tickets alone; their
 * keys belong to the process, so any shard opens what any other sealed.
 *
 * Thread:  a session belongs to one thread at a time, handed over by a job or a
 *          note.  A context is counted and may be used by any.  Tickets are read and
 *          rotated by tls_handshake alone: all handshakes of contexts that share
 *          them run on one thread.
 * Memory:  OpenSSL's own, 14 KB for an idle session; record buffers (17 KB each
 *          way) exist only while a record is under way.
 * Source:  RFC 8446, RFC 5246, RFC 7301 (ALPN), RFC 5077 (tickets), RFC 9325
 * Tests:   tests/unit/proto/test_tls.c, tests/conformance/tls.test.mjs
 */
#pragma once

#include "core/bytes.h"
#include "core/err.h"

/* The most that one record carries. */
#define TLS_RECORD_MAX      16384
/* The most that a record's header, nonce, tag and padding add. */
#define TLS_RECORD_OVERHEAD 64
#define TLS_WHY_MAX         256

struct tls_context;
struct tls_session;
struct tls_shared;

/* What the contexts of a process share: the keys that seal tickets, drawn now and
 * again every few hours. */
struct tls_shared *tls_shared_create(void);
/* Accepts NULL; wipes.  After the last context and session that have it. */
void tls_shared_destroy(struct tls_shared *shared);

/* What tls_context_create found fault with. */
enum tls_fault { TLS_FAULT_NONE, TLS_FAULT_CERT, TLS_FAULT_KEY, TLS_FAULT_PAIR };

/* Makes a context, count 1.  `cert`: PEM, the server's certificate and then those
 * that signed it; `key`: PEM, its private key without a passphrase.  When they do
 * not serve: ERR_BAD_REQUEST, which of them, and why and what to do as a clause. */
must_use enum err tls_context_create(struct bytes cert, struct bytes key, struct tls_shared *shared,
                                     struct tls_context **context, enum tls_fault *fault,
                                     char why[TLS_WHY_MAX]);
/* True when the certificate's time is over; "Nov 21 11:00:00 2027 GMT" into date[]. */
bool tls_context_is_expired(struct tls_context *context, char date[32]);
struct tls_context *tls_context_ref(struct tls_context *context);
/* Accepts NULL.  Sessions keep their context. */
void tls_context_unref(struct tls_context *context);

enum tls_result {
    TLS_MORE,   /* all input was taken; more is needed */
    TLS_DONE,   /* the handshake is over; bytes were opened */
    TLS_ENDED,  /* the peer said close_notify: nothing follows */
    TLS_FAILED, /* the peer broke the protocol or refused; an alert may wait to be sent */
};

/* NULL when memory is short. */
struct tls_session *tls_session_create(struct tls_context *context);
/* Accepts NULL. */
void tls_session_destroy(struct tls_session *session);

/* Goes on with the handshake: TLS_MORE, TLS_DONE (what of `input` is left belongs to
 * tls_open) or TLS_FAILED.  Costs up to a millisecond of private-key work. */
enum tls_result tls_handshake(struct tls_session *session, struct bytes *input);
/* Opens the next bytes into plain[room], room >= TLS_RECORD_MAX: TLS_DONE with
 * *size of them (call again), TLS_MORE, TLS_ENDED or TLS_FAILED. */
enum tls_result tls_open(struct tls_session *session, struct bytes *input, uint8_t *plain,
                         size_t room, size_t *size);

/* Room that sealing `size` bytes, and what waits to be sent, may need. */
size_t tls_seal_bound(const struct tls_session *session, size_t size);
/* Writes what waits to be sent and then `plain`, in as few records as they fit, to
 * `out`, which has tls_seal_bound(session, plain.size) left.  An empty `plain`: only
 * what waits.  False when the session cannot seal any more. */
must_use bool tls_seal(struct tls_session *session, struct bytes plain, struct writer *out);
/* True while something waits to be sent. */
bool tls_has_output(const struct tls_session *session);
/* Queues close_notify, once; a no-op before the handshake is over and after a failure. */
void tls_goodbye(struct tls_session *session);

bool tls_is_resumed(const struct tls_session *session);
/* "TLSv1.3", "TLS_AES_128_GCM_SHA256"; static texts. */
const char *tls_version(const struct tls_session *session);
const char *tls_suite(const struct tls_session *session);
/* Why the session failed, for a log; never NULL. */
const char *tls_failure(const struct tls_session *session);

/* What the first bytes of a connection are. */
enum tls_hello {
    TLS_HELLO_PART,  /* a record's beginning: wait */
    TLS_HELLO_WHOLE, /* at least one whole record, or a malformed one to be told about */
    TLS_HELLO_PLAIN, /* letters: somebody speaks HTTP to a port of TLS */
    TLS_HELLO_NOISE, /* neither */
};
/* Looks at the beginning of a handshake without a session. */
enum tls_hello tls_hello_of(struct bytes input);
/* Bytes of the whole records that `input` begins with; all of it when one of them is
 * too long to be. */
size_t tls_records_whole(struct bytes input);
