/*
 * reload: a new configuration takes the place of the old one, and nobody notices.
 *
 * What shards read of a configuration is one snapshot: the options and what was
 * made from them (keys, the certificate).  A reload reads the file again with the environment and
 * the command line it was started with.  A file with a mistake changes nothing,
 * and every mistake is said.  Options that only a start can take keep their old
 * value, and are said by name.  Then each shard is told by a note; it swaps its
 * pointers where it reads its notes, so no function sees two configurations.  The
 * last one to let go of the old snapshot frees it.
 *
 * Channels that are open look their options up at their next event, so they take
 * the new ones at once; a namespace that is gone keeps nothing more, its
 * subscribers stay until they leave, and every further command there is answered
 * with "unknown channel".  Connections are not touched.
 *
 * The snapshot of the start lives as long as the node: the store's engines keep
 * views of it, and all of their options but those of store_configure wait for the
 * next start.
 *
 * Thread:  reload_begin and reload_wait on the node's thread; the notes run on
 *          the shards.
 * Tests:   tests/conformance/reload.test.mjs
 */
#pragma once

#include <pthread.h>

#include "core/err.h"
#include "core/inbox.h"
#include "proto/jwt.h"

struct config;
struct node;
struct tls_context;
struct tls_shared;

struct snapshot {
    struct config *config;
    struct jwt_rules *token_rules[JWT_USE_COUNT];
    struct tls_context *tls; /* NULL: the port speaks no TLS */
};

/* `config` becomes the snapshot's, also on failure, which is logged. */
must_use enum err snapshot_create(struct config *config, struct tls_shared *tls_shared,
                                  struct snapshot **snapshot);
/* Accepts NULL. */
void snapshot_destroy(struct snapshot *snapshot);

struct reload {
    pthread_mutex_t mutex;
    pthread_cond_t done;
    struct snapshot *first;  /* of the start */
    struct snapshot *now;    /* the newest; also the first, before a reload */
    struct snapshot *before; /* what `now` replaces; NULL: nothing is under way */
    uint32_t left;           /* shards that have not let go of `before` */
};

/* `first` becomes its own. */
void reload_init(struct reload *reload, struct snapshot *first);
/* Every shard has ended.  A zeroed one is fine. */
void reload_fini(struct reload *reload);

/* Reads again and tells the shards.  ERR_BAD_REQUEST or ERR_IO, said in the log:
 * nothing changes.  None may be under way. */
must_use enum err reload_begin(struct node *node);
/* Until every shard has let go. */
void reload_wait(struct node *node);
