/*
 * fuzz_jwks: any text is a set or is refused; what a set gives is fit to be used.
 *
 * The bytes are a set as they stand.  Every name it gives is asked with a token that
 * nobody signed, in every algorithm: none may verify.
 */
#include <stdio.h>

#include "core/check.h"
#include "core/crypt.h"
#include "core/doc.h"
#include "core/mem.h"
#include "proto/json.h"
#include "proto/jwt_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask(const struct jwt_set *set, struct bytes kid, const char *alg)
{
    static const char *const nobodys = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    struct arena arena;
    struct jwt_claims claims;
    char none[] = "", sub[] = "sub", header[2048], token[4096];
    struct jwt_rules rules = {.has_set = true, .audience = none, .issuer = none, .user_claim = sub};
    struct writer writer = writer_of(header, sizeof(header));
    arena_init(&arena, 16 << 10);
    write_text(&writer, "{\"alg\":\"");
    write_text(&writer, alg);
    write_text(&writer, "\",\"kid\":");
    json_write_text(&writer, kid);
    write_text(&writer, "}");
    check(!writer.failed);
    size_t used = crypt_base64url(writer_bytes(&writer), token, sizeof(token));
    used += (size_t)snprintf(token + used, sizeof(token) - used, ".e30.%s%s", nobodys,
                             alg[0] == 'E' ? nobodys : "");
    enum err err = jwt_verify(&rules, set, bytes_of(token, used), 1, &arena, &claims);
    check(err == ERR_TOKEN_INVALID || err == ERR_KEY_UNKNOWN);
    arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool is_set_up;
    if (!is_set_up) doc_setup();
    is_set_up = true;
    struct jwt_set *set;
    enum err err = jwt_set_parse(bytes_of(data, size), &set);
    check((err == ERR_OK) == (set != NULL));
    if (set == NULL) return 0;
    check(jwt_set_count(set) <= JWT_SET_KEYS_MAX);
    for (uint32_t i = 0; i < jwt_set_count(set); i++) {
        struct bytes kid = jwt_set_kid(set, i);
        check(kid.size > 0 && jwt_set_has(set, kid));
        static const char *const algs[] = {"RS256", "RS512", "ES256", "ES384",
                                           "ES512", "EdDSA", "HS256"};
        for (size_t k = 0; k < array_count(algs); k++) ask(set, kid, algs[k]);
    }
    jwt_set_destroy(set);
    return 0;
}
