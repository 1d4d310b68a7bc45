/*
 * The exposition: every metric has its three lines, within the bound.
 */
#include "unit/proto/wire.h"

#include <ctype.h>

#include "proto/prom.h"

static char *exposition(const struct metrics *metrics, const char *version)
{
    size_t bound = prom_bound(version);
    char *text = malloc(bound + 1);
    struct writer writer = writer_of(text, bound);
    prom_write(&writer, metrics, version);
    assert_false(writer.failed);
    text[writer.used] = '\0';
    return text;
}

/* The line of one value and the head of its family stand in `text`, each once. */
static void assert_line(const char *text, const struct metric_family *family, const char *label,
                        uint64_t value)
{
    char line[512];
    snprintf(line, sizeof(line), "# HELP sluice_%s %s\n# TYPE sluice_%s %s\nsluice_%s",
             family->name, family->text, family->name, family->kind, family->name);
    const char *head = strstr(text, line);
    if (head == NULL) fail_msg("missing: %s", line);
    assert_null(strstr(head + 1, line));
    snprintf(line, sizeof(line), "\nsluice_%s%s %llu\n", family->name, label,
             (unsigned long long)value);
    const char *found = strstr(text, line);
    if (found == NULL) fail_msg("missing: %s", line);
    assert_null(strstr(found + 1, line));
}

static void every_metric_has_its_lines(void **state)
{
    (void)state;
    struct metrics metrics;
    for (enum metric_id id = 0; id < METRIC_COUNT; id++) metrics.values[id] = UINT64_MAX - id;
    char *text = exposition(&metrics, "1.2.3");
    for (enum family_id id = 0; id < FAMILY_COUNT; id++) {
        const struct metric_family *family = metric_family(id);
        if (family->bounds != NULL) continue;
        if (family->label == NULL) assert_line(text, family, "", UINT64_MAX - family->first);
        for (uint32_t i = 0; i < family->values_count; i++) {
            char label[64];
            snprintf(label, sizeof(label), "{%s=\"%s\"}", family->label, family->values[i]);
            for (char *at = strchr(label, '='); *at != 0; at++) *at = (char)tolower(*at);
            assert_line(text, family, label, UINT64_MAX - family->first - i);
        }
    }
    assert_non_null(strstr(text, "\nsluice_client_recover{recovered=\"yes\"} "));
    assert_non_null(strstr(text, "\nsluice_node_build{version=\"1.2.3\"} 1\n"));
    assert_int_equal(text[strlen(text) - 1], '\n');
    free(text);
}

static void buckets_add_up(void **state)
{
    (void)state;
    struct metrics metrics = {{0}};
    metric_observe(&metrics, FAMILY_API_SECONDS, 500);
    metric_observe(&metrics, FAMILY_API_SECONDS, 7000000);
    metric_observe(&metrics, FAMILY_API_SECONDS, 61000000000);
    char *text = exposition(&metrics, "1");
    static const char *const lines[] = {
        "\n# TYPE sluice_api_command_duration_seconds histogram\n",
        "\nsluice_api_command_duration_seconds_bucket{le=\"0.001\"} 1\n",
        "\nsluice_api_command_duration_seconds_bucket{le=\"0.005\"} 1\n",
        "\nsluice_api_command_duration_seconds_bucket{le=\"0.01\"} 2\n",
        "\nsluice_api_command_duration_seconds_bucket{le=\"5\"} 2\n",
        "\nsluice_api_command_duration_seconds_bucket{le=\"+Inf\"} 3\n",
        "\nsluice_api_command_duration_seconds_sum 61.007000500\n",
        "\nsluice_api_command_duration_seconds_count 3\n",
    };
    for (size_t i = 0; i < array_count(lines); i++) {
        const char *found = strstr(text, lines[i]);
        if (found == NULL) fail_msg("missing: %s", lines[i]);
        assert_null(strstr(found + 1, lines[i]));
    }
    free(text);
}

static void a_family_may_stand_under_its_bare_name(void **state)
{
    (void)state;
    struct metrics metrics = {{0}};
    metric_add(&metrics, METRIC_COMMANDS, 7);
    metric_observe(&metrics, FAMILY_API_SECONDS, 1000500);
    char text[4096];
    size_t bound = prom_bound_bare(FAMILY_COMMANDS) + prom_bound_bare(FAMILY_API_SECONDS);
    assert_true(bound < sizeof text);
    struct writer writer = writer_of(text, bound);
    prom_write_bare(&writer, &metrics, FAMILY_COMMANDS);
    prom_write_bare(&writer, &metrics, FAMILY_API_SECONDS);
    assert_false(writer.failed);
    text[writer.used] = '\0';
    assert_null(strstr(text, "sluice_"));
    assert_memory_equal(text, "# HELP client_commands_total ", 29);
    assert_non_null(strstr(text, "\nclient_commands_total 7\n"));
    assert_non_null(strstr(text, "\napi_command_duration_seconds_bucket{le=\"0.005\"} 1\n"));
    assert_non_null(strstr(text, "\napi_command_duration_seconds_sum 0.001000500\n"));
}

static void a_version_is_escaped(void **state)
{
    (void)state;
    struct metrics metrics = {{0}};
    char *text = exposition(&metrics, "\"\\\n\"\\\n\"\\\n\"\\\n");
    assert_non_null(strstr(text, "{version=\"\\\"\\\\\\n\\\"\\\\\\n\\\"\\\\\\n\\\"\\\\\\n\"} 1\n"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_metric_has_its_lines),
        cmocka_unit_test(a_version_is_escaped),
        cmocka_unit_test(a_family_may_stand_under_its_bare_name),
        cmocka_unit_test(buckets_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
