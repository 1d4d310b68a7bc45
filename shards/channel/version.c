/*
 * version: a publication that is older than what the channel shows is not shown.
 *
 * Backends that send the state of something ("score 3:1") may send an older state
 * after a newer one.  A publication with a version at or below the newest one of the
 * channel, in the same version epoch, is answered with the current position and
 * published nowhere.  An empty epoch is any; another one begins anew.
 *
 * The newest version is a part of its publication's record, so it is known again when
 * the channel is opened, for as long as that publication is in the window.  While one
 * is under way at the store its outcome is open: what it would cover is refused as a
 * conflict, temporary, rather than acknowledged by something that may fail.
 */
#include "core/mem.h"
#include "shards/channel/channel_parts.h"

struct version {
    uint64_t number; /* 0: none */
    char *epoch;     /* the heap; NULL: empty */
    size_t epoch_size;
};

struct versions {
    struct version kept;  /* of the newest publication that has one */
    struct version asked; /* of the newest that was handed to the store */
    uint32_t pending;     /* of those, how many are unanswered */
};

static bool is_covered(const struct version *by, const struct publication *publication)
{
    struct bytes epoch = publication->version_epoch;
    return by->number >= publication->version &&
           (epoch.size == 0 || bytes_equal(epoch, bytes_of(by->epoch, by->epoch_size)));
}

static void version_set(struct version *version, uint64_t number, struct bytes epoch)
{
    if (version->number == number &&
        bytes_equal(epoch, bytes_of(version->epoch, version->epoch_size)))
        return;
    mem_free(version->epoch);
    version->number = number;
    version->epoch = epoch.size > 0 ? mem_text(epoch.at, epoch.size) : NULL;
    version->epoch_size = epoch.size;
}

enum err version_ask(struct channel *channel, const struct publication *publication,
                     bool *is_covered_out)
{
    check(publication->version > 0);
    *is_covered_out = false;
    if (channel->stored->versions == NULL)
        channel->stored->versions = mem_alloc(sizeof *channel->stored->versions);
    struct versions *versions = channel->stored->versions;
    if (is_covered(&versions->kept, publication)) {
        *is_covered_out = true;
        return ERR_OK;
    }
    if (versions->pending > 0 && is_covered(&versions->asked, publication)) return ERR_CONFLICT;
    version_set(&versions->asked, publication->version, publication->version_epoch);
    versions->pending++;
    return ERR_OK;
}

void version_answered(struct channel *channel)
{
    check(channel->stored->versions != NULL && channel->stored->versions->pending > 0);
    channel->stored->versions->pending--;
}

void version_note(struct channel *channel, const struct publication *publication)
{
    if (publication->version == 0) return;
    if (channel->stored->versions == NULL)
        channel->stored->versions = mem_alloc(sizeof *channel->stored->versions);
    version_set(&channel->stored->versions->kept, publication->version, publication->version_epoch);
}

void version_forget(struct channel *channel)
{
    if (channel->stored->versions != NULL)
        version_set(&channel->stored->versions->kept, 0, BYTES_NONE);
}

void version_fini(struct channel *channel)
{
    if (channel->stored->versions == NULL) return;
    mem_free(channel->stored->versions->kept.epoch);
    mem_free(channel->stored->versions->asked.epoch);
    mem_free(channel->stored->versions);
    channel->stored->versions = NULL;
}
