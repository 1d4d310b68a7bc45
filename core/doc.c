/*
 * doc: a thin skin over jansson.
 *
 * Jansson parses recursively with a depth of its own (2,048); we look for our
 * limit first, in one pass over the brackets outside strings, so that the stack
 * a document can ask for is small and known.  Members that stand twice are
 * refused: two readers of one token or one configuration must not be able to
 * see two different values.
 */
#include "core/doc.h"

#include <jansson.h>
#include <stdio.h>

#include "core/check.h"
#include "core/entropy.h"
#include "core/limits.h"
#include "core/mem.h"

static json_t *to_json(const struct doc *doc)
{
    union {
        const struct doc *doc;
        json_t *json;
    } cast = {doc};
    return cast.json;
}

static struct doc *to_doc(json_t *json)
{
    return (struct doc *)(void *)json;
}

void doc_setup(void)
{
    uint32_t seed;
    entropy_fill(&seed, sizeof(seed));
    json_set_alloc_funcs(mem_alloc, mem_free);
    /* Of a peer's object all keys could otherwise be made to collide.  0 would
     * mean that jansson asks the kernel itself. */
    json_object_seed(seed | 1);
}

static bool is_too_deep(struct bytes text)
{
    uint32_t depth = 0;
    bool is_text = false;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.at[i];
        if (is_text) {
            if (byte == '\\') i++;
            if (byte == '"') is_text = false;
        } else if (byte == '"') {
            is_text = true;
        } else if (byte == '[' || byte == '{') {
            if (++depth > JSON_DEPTH_MAX) return true;
        } else if ((byte == ']' || byte == '}') && depth > 0) {
            depth--;
        }
    }
    return false;
}

enum err doc_parse(struct bytes text, struct doc **doc, char where[160])
{
    check(doc != NULL);
    if (where != NULL) where[0] = 0;
    if (is_too_deep(text)) {
        if (where != NULL) snprintf(where, 160, "nested deeper than %d levels", JSON_DEPTH_MAX);
        return ERR_TOO_DEEP;
    }
    json_error_t error;
    const char *at = text.size > 0 ? (const char *)text.at : "";
    json_t *json = json_loadb(at, text.size,
                              JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (json == NULL) {
        if (where != NULL)
            snprintf(where, 160, "line %d column %d: %.120s", error.line, error.column, error.text);
        return ERR_BAD_JSON;
    }
    *doc = to_doc(json);
    return ERR_OK;
}

void doc_free(struct doc *doc)
{
    json_decref(to_json(doc));
}

struct doc *doc_get(const struct doc *doc, const char *name)
{
    check(name != NULL);
    return to_doc(json_object_get(to_json(doc), name));
}

bool doc_is_object(const struct doc *doc)
{
    return json_is_object(to_json(doc));
}
bool doc_is_array(const struct doc *doc)
{
    return json_is_array(to_json(doc));
}
bool doc_is_text(const struct doc *doc)
{
    return json_is_string(to_json(doc));
}
bool doc_is_number(const struct doc *doc)
{
    return json_is_number(to_json(doc));
}
bool doc_is_null(const struct doc *doc)
{
    return json_is_null(to_json(doc));
}

size_t doc_count(const struct doc *doc)
{
    return doc_is_object(doc) ? json_object_size(to_json(doc)) : json_array_size(to_json(doc));
}

struct doc *doc_at(const struct doc *doc, size_t index)
{
    return to_doc(json_array_get(to_json(doc), index));
}

bool doc_text(const struct doc *doc, struct bytes *value)
{
    if (!doc_is_text(doc)) return false;
    *value = bytes_of(json_string_value(to_json(doc)), json_string_length(to_json(doc)));
    return true;
}

bool doc_u64(const struct doc *doc, uint64_t *value)
{
    int64_t number;
    if (!doc_i64(doc, &number) || number < 0) return false;
    *value = (uint64_t)number;
    return true;
}

bool doc_i64(const struct doc *doc, int64_t *value)
{
    if (!json_is_integer(to_json(doc))) return false;
    *value = json_integer_value(to_json(doc));
    return true;
}

bool doc_real(const struct doc *doc, double *value)
{
    if (!doc_is_number(doc)) return false;
    *value = json_number_value(to_json(doc));
    return true;
}

bool doc_bool(const struct doc *doc, bool *value)
{
    if (!json_is_boolean(to_json(doc))) return false;
    *value = json_is_true(to_json(doc));
    return true;
}

struct doc *doc_next(const struct doc *doc, void **at, const char **name)
{
    check(at != NULL);
    json_t *json = to_json(doc);
    *at = *at == NULL ? json_object_iter(json) : json_object_iter_next(json, *at);
    if (*at == NULL) return NULL;
    *name = json_object_iter_key(*at);
    return to_doc(json_object_iter_value(*at));
}

char *doc_print(const struct doc *doc)
{
    check(doc != NULL);
    char *text = json_dumps(to_json(doc), JSON_COMPACT | JSON_ENCODE_ANY);
    check(text != NULL); /* our values are always printable */
    /* Jansson's allocator is ours only after doc_setup; a copy always is. */
    char *copy = mem_text(text, strlen(text));
    json_free_t free_text;
    json_get_alloc_funcs(NULL, &free_text);
    free_text(text);
    return copy;
}
