/*
 * cover: TLS of one client over the caller's bytes, on OpenSSL.
 *
 * The server's certificate is not looked at: a load generator measures, it trusts
 * nobody with anything.  A context with tickets hands the newest one to the next
 * session, which then resumes.
 *
 * Thread:  one.
 */
#pragma once

#include <stdbool.h>

#include "text.h"

struct cover_context;
struct cover;

struct cover_context *cover_context_create(bool resumes);
/* True once a session of this context may be resumed; without tickets: always. */
bool cover_context_is_warm(const struct cover_context *context);

struct cover *cover_create(struct cover_context *context);
void cover_free(struct cover *cover);

/* Takes what came; plain bytes are added to `plain`, what must be sent to `out`.  False when
 * the session is over or broken. */
bool cover_take(struct cover *cover, const char *data, uint32_t size, struct text *plain,
                struct text *out);
/* Begins the handshake. */
void cover_begin(struct cover *cover, struct text *out);
bool cover_is_open(const struct cover *cover);
bool cover_is_resumed(const struct cover *cover);
/* Seals plain bytes; only while open. */
void cover_seal(struct cover *cover, const char *plain, uint32_t size, struct text *out);
/* Why it broke. */
const char *cover_failure(void);
