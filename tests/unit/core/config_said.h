/*
 * config_said: reads a text as a configuration and keeps what was said.
 *
 * A sentence is what an operator gets, so its words are part of the contract:
 * cases compare the whole sentence.
 *
 * Thread:  one; included by the tests of config only.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/config_parts.h"
#include "core/doc.h"

static struct {
    char errors[CONFIG_ERRORS_MAX + 2][1100];
    char warnings[64][1100];
    uint32_t errors_count, warnings_count;
} said;

static void on_say(void *context, enum config_voice voice, const char *sentence)
{
    assert_ptr_equal(context, &said);
    bool is_error = voice == CONFIG_SAYS_ERROR;
    uint32_t *count = is_error ? &said.errors_count : &said.warnings_count;
    assert_true(*count < (is_error ? array_count(said.errors) : array_count(said.warnings)));
    char *to = is_error ? said.errors[*count] : said.warnings[*count];
    ++*count;
    snprintf(to, 1100, "%s", sentence);
}

static inline struct config *read_as(const char *name, const char *text)
{
    memset(&said, 0, sizeof(said));
    struct config *config = NULL;
    enum err err = config_parse(bytes_of_text(text), name, NULL, 0, on_say, &said, &config);
    assert_int_equal(err, said.errors_count == 0 ? ERR_OK : ERR_BAD_REQUEST);
    assert_int_equal(config != NULL, err == ERR_OK);
    return config;
}

static inline struct config *good(const char *text)
{
    struct config *config = read_as("c.yaml", text);
    for (uint32_t i = 0; i < said.errors_count; i++) print_message("%s\n", said.errors[i]);
    assert_non_null(config);
    return config;
}

/* The one sentence that this text earns. */
static inline void bad_as(const char *name, const char *text, const char *sentence)
{
    assert_null(read_as(name, text));
    if (said.errors_count > 0) assert_string_equal(said.errors[0], sentence);
    assert_int_equal(said.errors_count, 1);
}

static inline void bad(const char *text, const char *sentence)
{
    bad_as("c.yaml", text, sentence);
}
