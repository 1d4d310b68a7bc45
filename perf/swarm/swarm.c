/*
 * swarm: a crowd of clients with one purpose, and what it cost the server.
 *
 *   sluice-swarm perf/load/fanout.yaml clients=10000 --pid 4711 --html report.html
 *
 * A scenario file says what is done; perf/swarm/scenario.def is the table of settings.
 *
 *   exit   1 when something was missing, doubled, out of order, refused or too late;
 *          2 when the scenario cannot be run
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report.h"

static void usage(FILE *out)
{
    fputs("usage: sluice-swarm [FILE] [name=value...] [option...]\n\n"
          "  --pid PID         the server, on this machine: its CPU time and memory are figures\n"
          "  --server-cpu N    its CPU, whose softirq thread counts as the server's\n"
          "  --cpu N[,N...]    where our processes run, in turn\n"
          "  --json            one line of JSON, and nothing else on stdout\n"
          "  --html FILE       a page with plots\n"
          "  --quiet           no line of progress a second\n\n"
          "Settings, in FILE as \"name: value\" or here:\n",
          out);
}

static void refuse(const char *why)
{
    fprintf(stderr, "swarm: %s\n", why);
    exit(2);
}

int main(int argc, char **argv)
{
    static struct scenario scenario;
    static struct outcome outcome;
    struct run_options options = {.server_cpu = -1};
    const char *page = NULL;
    bool is_json = false;
    char why[400];
    static const struct option table[] = {
        {"pid", 1, NULL, 'p'},  {"server-cpu", 1, NULL, 's'}, {"cpu", 1, NULL, 'c'},
        {"json", 0, NULL, 'j'}, {"html", 1, NULL, 'o'},       {"quiet", 0, NULL, 'q'},
        {"help", 0, NULL, 'h'}, {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long(argc, argv, "h", table, NULL)) != -1;) {
        switch (option) {
        case 'p': options.pid = atoi(optarg); break;
        case 's': options.server_cpu = atoi(optarg); break;
        case 'c': options.cpus = optarg; break;
        case 'j': is_json = true; break;
        case 'o': page = optarg; break;
        case 'q': options.is_quiet = true; break;
        case 'h':
            usage(stdout);
            scenario_help();
            return 0;
        default: usage(stderr); return 2;
        }
    }
    scenario_default(&scenario);
    for (int i = optind; i < argc; i++) {
        bool is_setting = strchr(argv[i], '=') != NULL;
        if (!(is_setting ? scenario_set(&scenario, argv[i], why, sizeof why)
                         : scenario_read(&scenario, argv[i], why, sizeof why)))
            refuse(why);
    }
    if (!scenario_check(&scenario, why, sizeof why)) refuse(why);
    struct cpu_time time;
    if (options.pid != 0 && !cpu_time_read(options.pid, -1, &time))
        refuse("--pid names no process");

    run(&scenario, &options, &outcome);
    if (is_json) {
        report_line(stdout, &scenario, &outcome);
        putchar('\n');
    } else {
        report_text(stdout, &scenario, &options, &outcome);
    }
    if (*outcome.failure != 0) fprintf(stderr, "swarm: %s\n", outcome.failure);
    if (page != NULL && !report_page(page, &scenario, &outcome)) return 2;
    return *outcome.failure != 0;
}
