/*
 * prom: metrics as Prometheus reads them.
 *
 * Text exposition 0.0.4: HELP, TYPE and values of every family of core/metric.def,
 * named sluice_<name>, and sluice_node_build{version="…"} 1.
 *
 * Thread:  any; pure.
 * Source:  Prometheus, text-based exposition format.
 * Tests:   tests/unit/proto/test_prom.c
 */
#pragma once

#include "core/bytes.h"
#include "core/metric.h"

#define PROM_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Bytes that prom_write needs at most. */
size_t prom_bound(const char *version);
/* `metrics`: the sum over all shards. */
void prom_write(struct writer *writer, const struct metrics *metrics, const char *version);
/* One family under its name alone, without the prefix: for readers that know it so. */
void prom_write_bare(struct writer *writer, const struct metrics *metrics, enum family_id id);
/* Bytes that it needs at most. */
size_t prom_bound_bare(enum family_id id);
