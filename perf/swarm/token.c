/* token: three parts in base64url. */
#include "token.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

static size_t base64url(const uint8_t *in, size_t size, char *out)
{
    int length = EVP_EncodeBlock((unsigned char *)out, in, (int)size);
    while (length > 0 && out[length - 1] == '=') length--;
    for (int i = 0; i < length; i++) out[i] = out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i];
    out[length] = 0;
    return (size_t)length;
}

void token_make(const char *secret, const char *user, uint32_t info, char token[TOKEN_MAX])
{
    static const char header[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";
    char claims[512], filling[304];
    memset(filling, 'i', sizeof filling);
    int size = info < 3 ? snprintf(claims, sizeof claims, "{\"sub\":\"%s\"}", user)
                        : snprintf(claims, sizeof claims, "{\"sub\":\"%s\",\"info\":\"%.*s\"}",
                                   user, (int)info - 2, filling);
    size_t at = base64url((const uint8_t *)header, sizeof header - 1, token);
    token[at++] = '.';
    at += base64url((const uint8_t *)claims, (size_t)size, token + at);
    uint8_t digest[32];
    HMAC(EVP_sha256(), secret, (int)strlen(secret), (const uint8_t *)token, at, digest, NULL);
    token[at++] = '.';
    base64url(digest, sizeof digest, token + at);
}
