/*
 * cli: the command line.
 *
 *   sluice serve | sub | pub | work | backup | gen-config | gen-token | check-config
 *          | options | version | help
 *
 * One table of commands and options (cli.c) is what is parsed, what --help
 * prints and what mistakes are compared with, so the three cannot disagree.
 *
 * Exit codes: 0 it was done; 1 it was tried and failed; 2 the command line or
 * the configuration is wrong and nothing was tried.
 *
 * Thread:  the main thread, before any other.
 * Source:  cli.c (tables, parsing), cli_config.c, cli_gen.c (a first configuration),
 *          cli_sub.c, cli_hear.c, cli_pub.c, cli_wire.c (their side of HTTP and WebSocket),
 *          cli_work.c, cli_effect.c (worker streams), cli_backup.c
 * Tests:   tests/unit/shards/test_cli.c, tests/conformance/cli.test.mjs
 */
#pragma once

#include "core/base.h"

enum cli_exit { CLI_DONE = 0, CLI_FAILED = 1, CLI_WRONG = 2 };

struct config;

/* Serves until told to stop; `config` becomes the callee's.  Returns an exit code. */
typedef int (*cli_serve_fn)(struct config *config);

/* Runs the command that argv names and returns the exit code.  Answers go to
 * standard output, mistakes and warnings to standard error. */
int cli_run(int argc, char **argv, cli_serve_fn serve);
