/* The keys of the configuration. */
#include <stdio.h>

#include "core/check.h"
#include "core/config.h"
#include "core/disk.h"
#include "core/log.h"
#include "storage/seal.h"

#define KEY_FILE_MAX 4096

static enum err keyring_add(struct keyring *keyring, struct bytes digits, const char *from)
{
    struct seal_key *key = &keyring->keys[keyring->count];
    uint8_t mac[32];
    if (keyring->count == SEAL_KEYS_MAX) {
        log_error("%s has more than %d keys", from, SEAL_KEYS_MAX);
        return ERR_BAD_REQUEST;
    }
    if (!crypt_hex_decode(digits, key->bytes, sizeof key->bytes)) {
        log_error("%s wants keys of 64 hexadecimal digits, as openssl rand -hex 32 prints them",
                  from);
        return ERR_BAD_REQUEST;
    }
    crypt_hmac_sha256(bytes_of(key->bytes, sizeof key->bytes), BYTES_LITERAL("sluice key id"), mac);
    crypt_hex(bytes_of(mac, SEAL_ID / 2), key->id);
    if (keyring_find(keyring, bytes_of_text(key->id)) != NULL) return ERR_OK; /* it stands twice */
    keyring->count++;
    return ERR_OK;
}

static bool is_between(uint8_t c)
{
    return c == ',' || c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* Keys between commas, spaces and line ends. */
static enum err keyring_add_all(struct keyring *keyring, struct bytes text, const char *from)
{
    for (size_t at = 0; at < text.size;) {
        size_t end = at;
        while (end < text.size && !is_between(text.at[end])) end++;
        if (end > at) TRY(keyring_add(keyring, bytes_of(text.at + at, end - at), from));
        at = end + 1;
    }
    return ERR_OK;
}

static enum err keyring_file(struct keyring *keyring, const char *path)
{
    uint8_t text[KEY_FILE_MAX];
    int file = disk_open(path, DISK_READ);
    int64_t got = file < 0 ? file : disk_read(file, text, sizeof text, 0);
    if (file >= 0) disk_close(file);
    if (got < 0) {
        log_error("storage.key_file cannot be read file=%s error=\"%s\"", path,
                  strerrordesc_np((int)-got));
        return ERR_BAD_REQUEST;
    }
    int mode = disk_mode_shared(path);
    if (mode > 0)
        log_warn("storage.key_file may be read or written by others than its owner, and who reads "
                 "it reads what is sealed; run chmod 600 on it file=%s mode=%04o",
                 path, (unsigned)mode);
    enum err err = keyring_add_all(keyring, bytes_of(text, (size_t)got), "storage.key_file");
    crypt_wipe(text, sizeof text);
    if (err == ERR_OK && keyring->count == 0) {
        log_error("storage.key_file holds no key file=%s", path);
        err = ERR_BAD_REQUEST;
    }
    return err;
}

enum err keyring_load(const struct config *config, struct keyring *keyring)
{
    *keyring = (struct keyring){0};
    struct bytes key = bytes_of_text(config->storage_key);
    struct bytes previous = bytes_of_text(config->storage_previous_keys);
    bool has_file = bytes_of_text(config->storage_key_file).size > 0;
    if (has_file) TRY(keyring_file(keyring, config->storage_key_file));
    if (key.size > 0) TRY(keyring_add(keyring, key, "storage.key"));
    keyring->seals = keyring->count > 0;
    return keyring_add_all(keyring, previous, "storage.previous_keys");
}

void keyring_fini(struct keyring *keyring)
{
    crypt_wipe(keyring, sizeof *keyring);
}

const struct seal_key *keyring_find(const struct keyring *keyring, struct bytes id)
{
    for (uint32_t i = 0; i < keyring->count; i++)
        if (bytes_equal_text(id, keyring->keys[i].id)) return &keyring->keys[i];
    return NULL;
}
