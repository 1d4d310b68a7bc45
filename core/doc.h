/*
 * doc: JSON documents off the hot path, on jansson.
 *
 * API bodies, tokens' claims, configuration files, reports.  Reading keeps the
 * depth limit; payload fields that must pass through byte for byte are taken
 * with proto/json.h instead.
 *
 * Thread:  any; a document belongs to one thread.
 * Tests:   tests/unit/core/test_doc.c
 */
#pragma once

#include "core/bytes.h"
#include "core/err.h"

struct doc; /* a JSON value */

/* Once per process, before the first document: memory comes from core/mem.h and
 * the hash of member names is seeded from core/entropy.h. */
void doc_setup(void);

/* Reads one JSON value of any type.  ERR_BAD_JSON with `where` ("line 3 column
 * 7: …") filled, also for a member that stands twice; ERR_TOO_DEEP beyond
 * JSON_DEPTH_MAX.  `where` may be NULL. */
must_use enum err doc_parse(struct bytes text, struct doc **doc, char where[160]);
/* Accepts NULL.  Only for what doc_parse gave. */
void doc_free(struct doc *doc);
/* Members; NULL when absent or not an object.  Borrowed from `doc`. */
struct doc *doc_get(const struct doc *doc, const char *name);
bool doc_is_object(const struct doc *doc);
bool doc_is_array(const struct doc *doc);
bool doc_is_text(const struct doc *doc);
bool doc_is_number(const struct doc *doc);
bool doc_is_null(const struct doc *doc);
size_t doc_count(const struct doc *doc);
struct doc *doc_at(const struct doc *doc, size_t index);
/* False when absent or of another type; `value` then untouched. */
bool doc_text(const struct doc *doc, struct bytes *value);
bool doc_u64(const struct doc *doc, uint64_t *value);
bool doc_i64(const struct doc *doc, int64_t *value);
/* Any number; integers are converted. */
bool doc_real(const struct doc *doc, double *value);
bool doc_bool(const struct doc *doc, bool *value);
/* Walks an object: begin with *at = NULL. */
struct doc *doc_next(const struct doc *doc, void **at, const char **name);
/* Compact text; free with mem_free. */
char *doc_print(const struct doc *doc);
