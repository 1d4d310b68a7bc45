/* Boxes; the layout stands in seal.h. */
#include "storage/seal.h"

#include "core/check.h"

#define SEALED_VERSION 2
/* Version, flags, offset, time: the same first bytes in a sealed and a plain record. */
#define RECORD_HEAD    18

void seal_derive(const struct seal_key *key, const uint8_t salt[SEAL_SALT], struct bytes log_name,
                 uint8_t secret[SEAL_SECRET])
{
    crypt_hkdf_sha256(bytes_of(key->bytes, sizeof key->bytes), bytes_of(salt, SEAL_SALT), log_name,
                      secret, SEAL_SECRET);
}

void sealer_init(struct sealer *sealer, const uint8_t secret[SEAL_SECRET], struct bytes name)
{
    check(name.size > 0 && name.size <= SEAL_NAME_MAX);
    *sealer = (struct sealer){.gcm = crypt_gcm_create(secret, true)};
    sealer->name_size = (uint8_t)name.size;
    memcpy(sealer->name, name.at, name.size);
}

void sealer_fini(struct sealer *sealer)
{
    crypt_gcm_destroy(sealer->gcm);
    sealer->gcm = NULL;
}

static struct bytes user_of(const struct publication *publication)
{
    return publication->has_info ? publication->user : BYTES_NONE;
}

/* What stands before the box. */
static size_t head_size(const struct sealer *sealer, const struct publication *publication,
                        struct bytes key)
{
    return RECORD_HEAD + 4 + user_of(publication).size + 4 + key.size + 1 + sealer->name_size + 8;
}

/* The user travels in the head. */
static struct publication without_user(const struct publication *publication)
{
    struct publication inner = *publication;
    inner.user = BYTES_NONE;
    return inner;
}

size_t sealed_size(const struct sealer *sealer, const struct publication *publication,
                   struct bytes key)
{
    struct publication inner = without_user(publication);
    return head_size(sealer, publication, key) + publication_size(&inner) - RECORD_HEAD +
           CRYPT_GCM_TAG;
}

static void nonce_of(uint64_t count, uint8_t nonce[CRYPT_GCM_NONCE])
{
    struct writer writer = writer_of(nonce, CRYPT_GCM_NONCE);
    write_u32(&writer, 0);
    write_u64(&writer, count);
    check(!writer.failed);
}

void sealed_write(struct sealer *sealer, struct writer *writer,
                  const struct publication *publication, struct bytes channel, struct bytes key)
{
    struct publication inner = without_user(publication);
    size_t head = head_size(sealer, publication, key);
    size_t box = publication_size(&inner) - RECORD_HEAD;
    if (writer->failed || writer->size - writer->used < head + box + CRYPT_GCM_TAG) {
        writer->failed = true;
        return;
    }
    uint8_t *at = writer->start + writer->used;
    /* The plain record first, where its end will be sealed; the head then replaces its
     * first bytes, of which it keeps the flags. */
    struct writer plain = writer_of(at + head - RECORD_HEAD, RECORD_HEAD + box);
    publication_write(&plain, &inner);
    uint8_t flags = at[head - RECORD_HEAD + 1];
    check(sealer->count < UINT64_MAX && !plain.failed && plain.used == plain.size);
    sealer->count++;
    struct writer outer = writer_of(at, head);
    write_u8(&outer, SEALED_VERSION);
    write_u8(&outer, flags);
    write_u64(&outer, publication->offset);
    write_u64(&outer, publication->time_ms);
    write_sized(&outer, user_of(publication));
    write_sized(&outer, key);
    write_u8(&outer, sealer->name_size);
    write_bytes(&outer, bytes_of(sealer->name, sealer->name_size));
    write_u64(&outer, sealer->count);
    check(!outer.failed && outer.used == head);
    uint8_t nonce[CRYPT_GCM_NONCE];
    nonce_of(sealer->count, nonce);
    struct bytes bound[] = {bytes_of(at, head), channel};
    crypt_gcm_seal(sealer->gcm, nonce, bound, array_count(bound), bytes_of(at + head, box),
                   at + head, at + head + box);
    writer->used += head + box + CRYPT_GCM_TAG;
}

enum err seal_head_read(struct bytes body, struct seal_head *head)
{
    struct reader reader = reader_of(body);
    *head = (struct seal_head){0};
    uint8_t version = read_u8(&reader);
    (void)read_u8(&reader);
    head->offset = read_u64(&reader);
    head->time_ms = read_u64(&reader);
    head->user = read_sized(&reader);
    head->key = read_sized(&reader);
    head->name = read_bytes(&reader, read_u8(&reader));
    head->count = read_u64(&reader);
    bool is_whole = !reader.failed && version == SEALED_VERSION && reader.left >= CRYPT_GCM_TAG &&
                    head->name.size > 0 && head->name.size <= SEAL_NAME_MAX;
    if (!is_whole) return ERR_STORE_CORRUPT;
    head->box = bytes_of(reader.at, reader.left - CRYPT_GCM_TAG);
    return ERR_OK;
}

void opener_init(struct opener *opener, seal_find_fn find, void *context)
{
    *opener = (struct opener){.find = find, .context = context};
}

void opener_fini(struct opener *opener)
{
    for (uint32_t i = 0; i < OPENER_SEALS; i++) crypt_gcm_destroy(opener->seals[i].gcm);
    *opener = (struct opener){0};
}

static bool opener_has(const struct opener *opener, uint32_t i, struct bytes name)
{
    const struct opener_seal *seal = &opener->seals[i];
    return seal->gcm != NULL && bytes_equal(bytes_of(seal->name, seal->name_size), name);
}

/* NULL: the seal is unknown. */
static struct crypt_gcm *opener_find(struct opener *opener, struct bytes name)
{
    uint8_t secret[SEAL_SECRET];
    if (opener_has(opener, opener->newest, name)) return opener->seals[opener->newest].gcm;
    for (uint32_t i = 0; i < OPENER_SEALS; i++) {
        if (!opener_has(opener, i, name)) continue;
        opener->newest = i;
        return opener->seals[i].gcm;
    }
    if (opener->find == NULL || !opener->find(opener->context, name, secret)) return NULL;
    struct opener_seal *seal = &opener->seals[opener->next];
    crypt_gcm_destroy(seal->gcm);
    seal->gcm = crypt_gcm_create(secret, false);
    crypt_wipe(secret, sizeof secret);
    seal->name_size = (uint8_t)name.size;
    memcpy(seal->name, name.at, name.size);
    opener->newest = opener->next;
    opener->next = (opener->next + 1) % OPENER_SEALS;
    return seal->gcm;
}

enum err publication_open(struct opener *opener, struct bytes channel, struct bytes body,
                          uint8_t *room, struct publication *publication)
{
    struct reader plain = reader_of(body);
    if (!seal_is_on(body)) return publication_read(&plain, publication);
    struct seal_head head;
    TRY(seal_head_read(body, &head));
    struct crypt_gcm *gcm = opener_find(opener, head.name);
    if (gcm == NULL) return ERR_STORE_CORRUPT;
    /* Room: the plain record's head, what the box holds, the user. */
    check(RECORD_HEAD + head.box.size + head.user.size <= body.size);
    uint8_t nonce[CRYPT_GCM_NONCE];
    nonce_of(head.count, nonce);
    struct bytes bound[] = {bytes_of(body.at, (size_t)(head.box.at - body.at)), channel};
    if (!crypt_gcm_open(gcm, nonce, bound, array_count(bound), head.box, room + RECORD_HEAD,
                        head.box.at + head.box.size))
        return ERR_STORE_CORRUPT;
    memcpy(room, body.at, RECORD_HEAD);
    room[0] = 1;
    size_t used = RECORD_HEAD + head.box.size;
    plain = reader_of(bytes_of(room, used));
    TRY(publication_read(&plain, publication));
    if (plain.left > 0) return ERR_STORE_CORRUPT;
    if (head.user.size > 0) memcpy(room + used, head.user.at, head.user.size);
    publication->user = bytes_of(room + used, head.user.size);
    return ERR_OK;
}
