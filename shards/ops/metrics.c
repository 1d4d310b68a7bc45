/*
 * metrics: the sum of all shards' counters, and one figure of our own.
 *
 * How many shards are missing from the sum stands on the page: a counter that
 * seems to go back is then no riddle.
 */
#include "shards/ops/metrics.h"

#include "core/check.h"
#include "proto/prom.h"
#include "shards/ops/survey.h"
#include "shards/shard.h"

#define PLAIN_TYPE "text/plain; charset=utf-8"
#define OWN_BOUND  256

static void write_missing(struct writer *writer, uint32_t missing)
{
    write_text(writer,
               "# HELP sluice_scrape_shards_missing Shards that were too busy to be asked.\n"
               "# TYPE sluice_scrape_shards_missing gauge\n"
               "sluice_scrape_shards_missing ");
    write_decimal(writer, missing);
    write_text(writer, "\n");
}

static void on_survey(struct shard *shard, struct conn *conn, const struct api_sink *sink,
                      const struct survey *survey)
{
    (void)sink;
    if (conn->state != CONN_HTTP) return;
    size_t size = prom_bound(SLUICE_VERSION) + OWN_BOUND;
    struct writer writer = writer_of(arena_get(&shard->arena, size), size);
    prom_write(&writer, &survey->metrics, SLUICE_VERSION);
    write_missing(&writer, survey->missing);
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
