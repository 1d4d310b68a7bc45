/*
 * secure: TLS 1.2 and 1.3 of a client over the caller's buffers, on OpenSSL.
 *
 * A context is whom we trust and who we are; a session is one connection.  Bytes
 * of the wire go in as views and are always taken whole; what is to be sent
 * collects in the session until it is taken.  Nothing here connects or waits.
 *
 *   secure_create ─▶ output ─▶ … secure_take, secure_read, output … ─▶ secure_is_open
 *   secure_write ─▶ output      secure_take ─▶ secure_read until SECURE_MORE
 *
 * The server's certificate must be signed by one of those that the context trusts,
 * valid now, and made out to the name that the session was created with.
 *
 * Thread:  a session belongs to one thread; a context may be used by any.
 * Memory:  OpenSSL's own, some 40 KB a session: for the few links of a shard.
 * Source:  RFC 8446, RFC 5246, RFC 6125 (names), RFC 6066 section 3 (server name)
 * Tests:   tests/unit/core/test_secure.c
 */
#pragma once

#include "core/bytes.h"
#include "core/err.h"

#define SECURE_WHY_MAX 256

struct secure_context;
struct secure;

/* PEM texts; each may be empty. */
struct secure_options {
    struct bytes ca;   /* certificates that we trust; empty: those that the machine trusts */
    struct bytes cert; /* ours, for a server that asks who we are, and those that signed it */
    struct bytes key;  /* its private key without a passphrase */
    bool takes_any;    /* the server's certificate is not looked at */
};

/* Blocks for files of the machine's trust; before the shards start.  ERR_BAD_REQUEST when a
 * text does not serve: which, and why, as a sentence. */
must_use enum err secure_context_create(const struct secure_options *options,
                                        struct secure_context **context, char why[SECURE_WHY_MAX]);
/* Accepts NULL.  After its sessions. */
void secure_context_destroy(struct secure_context *context);

/* Begins a handshake.  `name`: what the certificate is made out to, a name or an
 * address.  NULL when memory is short. */
struct secure *secure_create(struct secure_context *context, const char *name);
/* Accepts NULL. */
void secure_destroy(struct secure *secure);

enum secure_result {
    SECURE_MORE,   /* all that came was opened; more is needed */
    SECURE_READ,   /* bytes were opened: call again */
    SECURE_ENDED,  /* the peer said that nothing follows */
    SECURE_FAILED, /* the handshake or a record failed; secure_failure says why */
};

/* Takes bytes of the wire. */
void secure_take(struct secure *secure, struct bytes input);
/* Goes on with the handshake, then opens the next bytes into plain[room].  A handshake costs
 * up to a millisecond. */
enum secure_result secure_read(struct secure *secure, uint8_t *plain, size_t room, size_t *size);
/* True from the end of the handshake on. */
bool secure_is_open(const struct secure *secure);
/* Seals `plain`; only while open.  False when the session cannot any more. */
must_use bool secure_write(struct secure *secure, struct bytes plain);
/* Bytes that wait to be sent. */
size_t secure_output_size(const struct secure *secure);
/* Moves them to out[secure_output_size]. */
void secure_output_take(struct secure *secure, uint8_t *out);
/* Why the session failed, as a clause for people; never NULL. */
const char *secure_failure(const struct secure *secure);
