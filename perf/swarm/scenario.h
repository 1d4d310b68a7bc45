/*
 * scenario: what one run does, as a file says it.
 *
 * perf/swarm/scenario.def is the table of settings; a file (perf/load, YAML) gives some, one
 * `name: value` a line, and the command line the rest as name=value, which win.
 *
 * Thread:  read once, before the clients begin.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Values of the ENUM settings, in the order of their rows. */
enum kind {
    KIND_CONNECT,
    KIND_IDLE,
    KIND_FANOUT,
    KIND_ECHO,
    KIND_SEND,
    KIND_RETURN,
    KIND_SLOW,
    KIND_RECEIPTS
};
enum spoken { WIRE_JSON, WIRE_PROTOBUF, WIRE_PLAIN, WIRE_RELAY };
enum covered { TLS_OFF, TLS_FULL, TLS_RESUMED };
enum method { METHOD_PUBLISH, METHOD_SEND };

/* A stamp (perf/swarm/stamp.h) fits from here on. */
#define STAMPED_PAYLOAD 36

#define SCENARIO_U32    uint32_t
#define SCENARIO_ENUM   uint32_t
#define SCENARIO_NUMBER double
#define SCENARIO_BOOL   bool
#define SCENARIO_TEXT   const char *

struct scenario {
#define SETTING(name, type, fallback, least, most, text) SCENARIO_##type name;
#include "scenario.def"
#undef SETTING
};

/* Every setting at its default.  `scenario` is zeroed memory; texts are its own. */
void scenario_default(struct scenario *scenario);
/* Reads a file.  False with a sentence that names file and line. */
bool scenario_read(struct scenario *scenario, const char *path, char *why, size_t why_size);
/* One "name=value".  False with a sentence. */
bool scenario_set(struct scenario *scenario, const char *text, char *why, size_t why_size);
/* Rules between settings.  False with a sentence. */
bool scenario_check(struct scenario *scenario, char *why, size_t why_size);
#define SCENARIO_TEXT_MAX 32
/* What ENUM setting `name` has, into text[], which is given back. */
const char *scenario_text(const struct scenario *scenario, const char *name,
                          char text[SCENARIO_TEXT_MAX]);
/* The settings and what they mean, for people. */
void scenario_help(void);
