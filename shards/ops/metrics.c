/*
 * metrics: the sum of all shards' counters, and a few figures beside them.
 *
 * How many shards are missing from the sum stands on the page: a counter that
 * seems to go back is then no riddle.
 */
#include "shards/ops/metrics.h"

#include <stddef.h>

#include "core/check.h"
#include "proto/prom.h"
#include "shards/ops/survey.h"
#include "shards/shard.h"

#define PLAIN_TYPE   "text/plain; charset=utf-8"
#define OWN_BOUND    1024
/* Two families with a row a group. */
#define GROUPS_BOUND (512 + STORE_GROUPS_MAX * 2 * (sizeof(struct store_group) + 64))

static void write_gauge(struct writer *writer, const char *name, const char *text, uint64_t value)
{
    write_text(writer, "# HELP sluice_");
    write_text(writer, name);
    write_text(writer, " ");
    write_text(writer, text);
    write_text(writer, "\n# TYPE sluice_");
    write_text(writer, name);
    write_text(writer, " gauge\nsluice_");
    write_text(writer, name);
    write_text(writer, " ");
    write_decimal(writer, value);
    write_text(writer, "\n");
}

/* Figures that are no counters of a shard, and second names under which dashboards of
 * Centrifugo look for two of them. */
static void write_own(struct writer *writer, const struct survey *survey)
{
    const uint64_t *values = survey->metrics.values;
    write_gauge(writer, "client_connections_inflight", "The same as node_num_clients.",
                values[METRIC_CLIENTS]);
    write_gauge(writer, "client_subscriptions_inflight", "The same as node_num_subscriptions.",
                values[METRIC_SUBSCRIPTIONS]);
    write_gauge(writer, "node_num_nodes", "Always 1: gateways do not know of each other.", 1);
    write_gauge(writer, "scrape_shards_missing", "Shards that were too busy to be asked.",
                survey->missing);
}

/* A family with the topic and the group as labels; their names need no escapes. */
static void write_groups(struct writer *writer, const struct survey *survey, const char *name,
                         const char *text, size_t value_at)
{
    if (survey->groups_count == 0) return;
    write_text(writer, "# HELP sluice_");
    write_text(writer, name);
    write_text(writer, text);
    write_text(writer, "\n# TYPE sluice_");
    write_text(writer, name);
    write_text(writer, " gauge\n");
    for (uint32_t i = 0; i < survey->groups_count; i++) {
        const struct store_group *group = &survey->groups[i];
        bool is_lag = value_at == offsetof(struct store_group, lag);
        if (is_lag && group->is_lag_unknown) continue; /* a number would be a lie */
        uint64_t value;
        memcpy(&value, (const uint8_t *)group + value_at, sizeof value);
        write_text(writer, "sluice_");
        write_text(writer, name);
        write_text(writer, "{topic=\"");
        write_text(writer, group->topic);
        write_text(writer, "\",group=\"");
        write_text(writer, group->name);
        write_text(writer, "\"} ");
        write_decimal(writer, value);
        write_text(writer, "\n");
    }
}

static void on_survey(struct shard *shard, struct conn *conn, const struct api_sink *sink,
                      const struct survey *survey)
{
    (void)sink;
    if (conn->state != CONN_HTTP) return;
    size_t size = prom_bound(SLUICE_VERSION) + OWN_BOUND + GROUPS_BOUND;
    struct writer writer = writer_of(arena_get(&shard->arena, size), size);
    prom_write(&writer, &survey->metrics, SLUICE_VERSION);
    write_own(&writer, survey);
    write_groups(
        &writer, survey, "store_group_lag",
        " Entries of the worker streams that the consumer group has not read; left out while "
        "Redis does not know it, as after its restart until the group has read all.",
        offsetof(struct store_group, lag));
    write_groups(&writer, survey, "store_group_pending",
                 " Entries that the group's consumers have read and not acknowledged.",
                 offsetof(struct store_group, pending));
    check(!writer.failed);
    conn_respond(shard, conn, 200, PROM_CONTENT_TYPE, writer_bytes(&writer), NULL);
}

void metrics_on_request(struct shard *shard, struct conn *conn, const struct http_request *request)
{
    check(request->method == HTTP_GET || request->method == HTTP_HEAD);
    if (survey_begin(shard, conn, SURVEY_COUNTERS, NULL, on_survey) == ERR_OK)
        conn_await(shard, conn);
    else
        conn_respond(shard, conn, 503, PLAIN_TYPE, BYTES_LITERAL("busy"), "Retry-After: 1\r\n");
}
