/*
 * certificate: http_server.tls of a configuration → a TLS context.
 *
 * cert_pem and key_pem are, as in Centrifugo, the path of a file, the PEM text
 * itself or its base64.  Used at the start, by a reload and by check-config, with the
 * same sentences: option, file, what is wrong, what to do.
 *
 * Thread:  the main thread; blocking.
 * Tests:   tests/unit/shards/test_certificate.c, tests/conformance/tls.test.mjs
 */
#pragma once

#include "core/config.h"
#include "proto/tls.h"

/* Loads what `config` names: a context of count 1, or NULL when TLS is off.  Mistakes
 * are said and ERR_BAD_REQUEST returned; a certificate whose time is over is a
 * warning. */
must_use enum err certificate_load(const struct config *config, struct tls_shared *shared,
                                   config_say_fn say, void *context, struct tls_context **out);
/* The same, for its sentences alone. */
must_use enum err certificate_check(const struct config *config, config_say_fn say, void *context);
