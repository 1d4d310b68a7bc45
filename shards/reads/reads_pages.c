/*
 * reads_pages: what the read-index service shows to anybody: health, metrics, the
 * document that describes its routes.
 *
 * The six metrics stand here under the names that dashboards of such services know;
 * /metrics of the gateway has them too, with its prefix.
 */
#include "core/check.h"
#include "proto/prom.h"
#include "shards/ops/health.h"
#include "shards/ops/survey.h"
#include "shards/reads/reads_parts.h"

/* Three families that are written by hand. */
#define OWN_BOUND 1024

static const uint8_t openapi[] = {
#include "shards/reads/openapi.json.inc"
};

enum err reads_openapi(const struct reads_ask *ask)
{
    check(ask->kind == READS_OPEN);
    conn_respond(ask->shard, ask->conn, 200, "application/json", bytes_of(openapi, sizeof openapi),
                 NULL);
    return ERR_OK;
}

enum err reads_health(const struct reads_ask *ask)
{
    health_on_request(ask->shard, ask->conn, ask->request);
    return ERR_OK;
}

static void write_head(struct writer *writer, const char *name, const char *kind, const char *text)
{
    write_text(writer, "# HELP ");
    write_text(writer, name);
    write_text(writer, text);
    write_text(writer, "\n# TYPE ");
    write_text(writer, name);
    write_text(writer, kind);
    write_text(writer, name);
    write_u8(writer, ' ');
}

/* Bytes as MiB, in thousandths. */
static void write_memory(struct writer *writer, uint64_t bytes)
{
    uint64_t parts = bytes * 1000 / (1u << 20);
    write_head(writer, "read_index_memory_mb", " gauge\n",
               " MiB of members and cursors, names of members included.");
    write_decimal(writer, parts / 1000);
    write_u8(writer, '.');
    for (uint32_t unit = 100; unit > 0; unit /= 10)
        write_u8(writer, (uint8_t)('0' + parts / unit % 10));
    write_u8(writer, '\n');
}

static void on_survey(struct shard *shard, struct conn *conn, const struct api_sink *sink,
                      const struct survey *survey)
{
    static const enum family_id families[] = {
        FAMILY_READ_INDEX_CHANNELS, FAMILY_READ_INDEX_EVENTS,   FAMILY_READ_INDEX_REFUSED,
        FAMILY_READ_INDEX_ERRORS,   FAMILY_READ_INDEX_QUERY_MS, FAMILY_READ_CURSOR_API_MS};
    (void)sink;
    if (conn->state != CONN_HTTP) return;
    size_t size = OWN_BOUND;
    for (size_t i = 0; i < array_count(families); i++) size += prom_bound_bare(families[i]);
    struct writer writer = writer_of(arena_get(&shard->arena, size), size);
    for (size_t i = 0; i < array_count(families); i++)
        prom_write_bare(&writer, &survey->metrics, families[i]);
    const uint64_t *values = survey->metrics.values;
    write_memory(&writer, values[METRIC_READ_INDEX_BYTES]);
    write_head(&writer, "read_cursor_updates_total", " counter\n",
               " Read cursors that moved forward.");
    write_decimal(&writer, values[METRIC_RECEIPTS]);
    write_u8(&writer, '\n');
    check(!writer.failed);
    conn_respond(shard, conn, 200, PROM_CONTENT_TYPE, writer_bytes(&writer), NULL);
}

enum err reads_metrics(const struct reads_ask *ask)
{
    TRY(survey_begin(ask->shard, ask->conn, SURVEY_COUNTERS, NULL, on_survey));
    conn_await(ask->shard, ask->conn);
    return ERR_OK;
}
