/*
 * tls_parts: what the two files of tls share.
 *
 * Thread:  as in tls.h.
 */
#pragma once

#include <openssl/bio.h>

#include "proto/tls.h"

#define TICKET_KEYS 3

struct ticket_key {
    uint8_t name[16], aes[32], mac[32];
    uint64_t from_s; /* monotonic second from which it seals; 0: none */
};

struct tls_shared {
    BIO_METHOD *bio_method;
    struct ticket_key keys[TICKET_KEYS]; /* newest first */
};

static inline SSL_CTX *tls_ctx(struct tls_context *context)
{
    return (SSL_CTX *)context;
}

/* tls.c: how OpenSSL reads and writes here. */
BIO_METHOD *tls_bio_method(void);
/* tls_context.c: seals and opens tickets; OpenSSL's signature. */
int tls_on_ticket(SSL *ssl, uint8_t *name, uint8_t *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                  int is_sealing);
