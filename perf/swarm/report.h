/*
 * report: the figures of a run as a line of JSON, as lines for people, and as a page.
 *
 * Thread:  any.
 */
#pragma once

#include <stdio.h>

#include "run.h"

void report_line(FILE *out, const struct scenario *scenario, const struct outcome *outcome);
void report_text(FILE *out, const struct scenario *scenario, const struct run_options *options,
                 const struct outcome *outcome);
/* A page that needs nothing but itself.  False when the file cannot be written. */
bool report_page(const char *path, const struct scenario *scenario, const struct outcome *outcome);
/* The title that the scenario has, or one made of its numbers. */
const char *report_title(const struct scenario *scenario);
