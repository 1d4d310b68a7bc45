/*
 * effect: entries as JSON lines, and what the ends of commands mean.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/mem.h"
#include "proto/json.h"
#include "shards/cli_effect.h"

/* An entry of pairs of names and values, ended by NULL. */
static struct work_entry *entry_of(const char *first, ...)
{
    struct work_entry *entry = mem_alloc(sizeof *entry + 8 * sizeof entry->fields[0]);
    va_list words;
    entry->id = BYTES_LITERAL("17-0");
    entry->deliveries = 2;
    va_start(words, first);
    for (const char *word = first; word != NULL; word = va_arg(words, const char *)) {
        assert_true(entry->fields_count < 8);
        entry->fields[entry->fields_count++] =
            (struct work_field){bytes_of_text(word), bytes_of_text(va_arg(words, const char *))};
    }
    va_end(words);
    return entry;
}

#define BEGINNING "{\"topic\":\"group_msg\",\"id\":\"17-0\",\"deliveries\":2"

#define assert_line(entry, text)                                                                   \
    do {                                                                                           \
        struct json_out lines_ = {0};                                                              \
        struct work_entry *entry_ = entry;                                                         \
        effect_line(&lines_, "group_msg", entry_);                                                 \
        char found_[600];                                                                          \
        snprintf(found_, sizeof found_, "%.*s", (int)lines_.used, (const char *)lines_.at);        \
        assert_string_equal(found_, BEGINNING text "}\n");                                         \
        assert_true(json_is_valid(bytes_of(lines_.at, lines_.used - 1)));                          \
        json_out_fini(&lines_);                                                                    \
        mem_free(entry_);                                                                          \
    } while (0)

static void a_line_says_everything_as_json(void **state)
{
    (void)state;
    assert_line(entry_of("conversation_id", "chat:\"a\"", "sequence_number", "7", "timestamp", "17",
                         "sender_id", "", "payload", "{\"a\": [1,\n 2]}", NULL),
                ",\"conversation_id\":\"chat:\\\"a\\\"\",\"sequence_number\":7,\"timestamp\":17"
                ",\"sender_id\":\"\",\"payload\":{\"a\": [1, 2]}");
    assert_line(entry_of("joined", "[\"a\"]", "left", "[]", NULL),
                ",\"joined\":[\"a\"],\"left\":[]");
    /* Numbers stand as numbers only where they are. */
    assert_line(entry_of("sequence_number", "x", "user_id", "12", NULL),
                ",\"sequence_number\":\"x\",\"user_id\":\"12\"");
    /* What is not JSON. */
    assert_line(entry_of("payload", "\x01\xff", NULL), ",\"payload_base64\":\"Af8=\"");
    assert_line(entry_of("payload", "{", NULL), ",\"payload_base64\":\"ew==\"");
}

static void lines_follow_each_other(void **state)
{
    (void)state;
    struct json_out lines = {0};
    struct work_entry *entry = entry_of(NULL, NULL);
    effect_line(&lines, "group_msg", entry);
    effect_line(&lines, "group_msg", entry);
    static const char both[] = BEGINNING "}\n" BEGINNING "}\n";
    assert_int_equal(lines.used, sizeof both - 1);
    assert_memory_equal(lines.at, both, sizeof both - 1);
    json_out_fini(&lines);
    mem_free(entry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_says_everything_as_json),
        cmocka_unit_test(lines_follow_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
