/*
 * wrap: TLS around the bytes of a link, when redis.tls asks for it.
 *
 * Both ends of a link look the same with and without: what is to be sent goes
 * through wrap_seal, what came through wrap_open.
 *
 * Thread:  one owner; wrap_context before the shards start.
 * Memory:  as core/secure.h while the link is up; nothing without TLS.
 * Tests:   tests/unit/storage/test_redis_tls.c
 */
#pragma once

#include "core/config.h"
#include "core/secure.h"
#include "storage/redis/hello.h"

/* Zeroed memory is one without TLS. */
struct wrap {
    struct secure *secure;
    struct resp_out sealed; /* with the kernel, until wrap_clear */
    bool is_begun;          /* the connection stands */
    bool has_heard;         /* something came, and that was … */
    uint8_t first;          /* … its first byte */
};

/* What redis.tls.* say, as a context; NULL in it without TLS.  Files are read.
 * ERR_BAD_REQUEST with the reason logged. */
must_use enum err wrap_context(const struct config *config, struct secure_context **context);

/* Begins with TLS, or without where the options have none; false: memory is short. */
must_use bool wrap_begin(struct wrap *wrap, const struct redis_options *options,
                         const struct redis_place *place);
/* The connection is over.  Accepts a zeroed struct. */
void wrap_end(struct wrap *wrap);

static inline bool wrap_is_on(const struct wrap *wrap)
{
    return wrap->secure != NULL;
}
/* True when words may be sent: without TLS always. */
static inline bool wrap_is_open(const struct wrap *wrap)
{
    return !wrap_is_on(wrap) || secure_is_open(wrap->secure);
}

/* What is to be sent now of `out`, which is emptied when TLS is on, and of the handshake.  The
 * bytes stay until wrap_clear or, without TLS, as long as those of `out`. */
struct bytes wrap_seal(struct wrap *wrap, struct resp_out *out);
/* Opens `input`: `hear` gets what it says piece by piece and answers whether to go on.
 * SECURE_FAILED with a sentence.  Without TLS it is said as it is, and more is wanted. */
enum secure_result wrap_open(struct wrap *wrap, struct bytes input,
                             bool (*hear)(void *context, struct bytes plain), void *context,
                             const struct redis_place *place, char problem[HELLO_PROBLEM_MAX]);
/* The kernel has what wrap_seal gave. */
void wrap_clear(struct wrap *wrap);
/* Why a connection that fails with `error` does, as a sentence; 0: the other side closed it.
 * `what` failed, where nothing more is known: a server that hangs, and one that wants TLS or
 * has none, say so by what comes, or by silence. */
cold void wrap_tell(const struct wrap *wrap, const struct redis_place *place, const char *what,
                    int error, char problem[HELLO_PROBLEM_MAX]);
