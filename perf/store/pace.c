/*
 * pace: acknowledged records a second and how long each took, the store against
 * a bare write+fdatasync loop, in turn.
 *
 *   sluice-pace [--rates 1000,20000,...] [--rounds R] [--seconds S]    both, medians
 *   sluice-pace --burst N        N records under way at all times: the most that goes
 *   sluice-pace --sustain RATE --seconds 600     one long run, a line each 10 s
 *
 *   --directory D   where; on the disk that is meant
 *   --history N     publications kept in each of --channels C (1,000 of 1,000)
 *   --no-keys       without idempotency keys
 *   --empty         begin with empty channels; else their histories are full
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "perf/store/run.h"

#define ROUNDS_MAX 32
#define RATES_MAX  16

/* What is printed of a run. */
struct row {
    double acks, p50, p99, p999, most, batch, thread_ns, process_ns, disk_bytes, refused;
};

static struct run_plan plan = {.directory = "/var/tmp/sluice-pace",
                               .seconds = 5,
                               .warm_up = 1,
                               .payload = 200,
                               .channels = 1000,
                               .history = 1000,
                               .lag_max = 256u << 20,
                               .has_keys = true,
                               .is_primed = true};
static double rates[RATES_MAX] = {1000, 20000, 100000, 300000};
static uint32_t rates_count = 4, rounds = 5, burst;
static double sustain;
static bool has_seconds;

static struct row row_of(const struct run_result *result)
{
    double acks = result->acks > 0 ? (double)result->acks : 1;
    return (struct row){.acks = (double)result->acks / result->seconds,
                        .p50 = spread_us(&result->spread, 0.5),
                        .p99 = spread_us(&result->spread, 0.99),
                        .p999 = spread_us(&result->spread, 0.999),
                        .most = (double)result->spread.most / 1000,
                        .batch = acks / (double)(result->commits > 0 ? result->commits : 1),
                        .thread_ns = (double)result->thread_ns / acks,
                        .process_ns = result->process_ns_each,
                        .disk_bytes = result->disk_bytes_each,
                        .refused = (double)result->refused / result->seconds};
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return left < right ? -1 : left > right;
}

static double median(double *values, uint32_t count)
{
    qsort(values, count, sizeof *values, compare);
    return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* Each figure's own median. */
static struct row rows_median(const struct row *rows, uint32_t count)
{
    struct row middle;
    double values[ROUNDS_MAX];
    for (size_t at = 0; at < sizeof middle; at += sizeof(double)) {
        for (uint32_t i = 0; i < count; i++)
            memcpy(&values[i], (const char *)&rows[i] + at, sizeof(double));
        double value = median(values, count);
        memcpy((char *)&middle + at, &value, sizeof value);
    }
    return middle;
}

static void print_head(void)
{
    printf("%8s %-6s %9s %9s %9s %9s %9s %8s %9s %9s %9s %9s\n", "rate", "", "acks/s", "p50 us",
           "p99 us", "p99.9 us", "most us", "a commit", "shard ns", "all ns", "disk B",
           "refused/s");
}

static void print_row(double rate, const char *who, const struct row *row)
{
    printf("%8.0f %-6s %9.0f %9.0f %9.0f %9.0f %9.0f %8.1f %9.0f %9.0f %9.0f %9.0f\n", rate, who,
           row->acks, row->p50, row->p99, row->p999, row->most, row->batch, row->thread_ns,
           row->process_ns, row->disk_bytes, row->refused);
    fflush(stdout);
}

static void compare_at(double rate)
{
    static struct run_result result;
    struct row bare[ROUNDS_MAX], bed[ROUNDS_MAX];
    double ratios[ROUNDS_MAX];
    plan.rate = rate;
    plan.flights = burst;
    for (uint32_t i = 0; i < rounds; i++) {
        bare_run(&plan, &result);
        bare[i] = row_of(&result);
        bed_run(&plan, &result);
        bed[i] = row_of(&result);
        ratios[i] = bed[i].p99 / bare[i].p99;
    }
    struct row middle = rows_median(bare, rounds);
    print_row(rate, "bare", &middle);
    middle = rows_median(bed, rounds);
    print_row(rate, "store", &middle);
    double low = ratios[0], high = ratios[0];
    for (uint32_t i = 1; i < rounds; i++) {
        if (ratios[i] < low) low = ratios[i];
        if (ratios[i] > high) high = ratios[i];
    }
    printf("%8s p99 of neighbours: %.2f (%.2f-%.2f)\n", "", median(ratios, rounds), low, high);
    fflush(stdout);
}

static void usage(void)
{
    fputs("usage: sluice-pace [--rates R,...] [--rounds N] [--seconds S] [--burst N]\n"
          "                   [--sustain RATE] [--directory D] [--channels C] [--history N]\n"
          "                   [--payload BYTES] [--lag-max MIB] [--no-keys] [--empty]\n",
          stderr);
    exit(2);
}

static void read_rates(char *text)
{
    rates_count = 0;
    for (char *word = strtok(text, ","); word != NULL; word = strtok(NULL, ",")) {
        if (rates_count == RATES_MAX) usage();
        rates[rates_count++] = atof(word);
    }
}

static void read_options(int argc, char **argv)
{
    static const struct option names[] = {
        {"rates", 1, NULL, 'r'},   {"rounds", 1, NULL, 'n'},   {"seconds", 1, NULL, 's'},
        {"burst", 1, NULL, 'b'},   {"sustain", 1, NULL, 'u'},  {"directory", 1, NULL, 'd'},
        {"history", 1, NULL, 'h'}, {"channels", 1, NULL, 'c'}, {"payload", 1, NULL, 'p'},
        {"no-keys", 0, NULL, 'k'}, {"empty", 0, NULL, 'e'},    {"lag-max", 1, NULL, 'l'},
        {"warm-up", 1, NULL, 'w'}, {NULL, 0, NULL, 0}};
    for (int option; (option = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        switch (option) {
        case 'r': read_rates(optarg); break;
        case 'n': rounds = (uint32_t)atoi(optarg); break;
        case 's':
            plan.seconds = atof(optarg);
            has_seconds = true;
            break;
        case 'b': burst = (uint32_t)atoi(optarg); break;
        case 'u': sustain = atof(optarg); break;
        case 'd': plan.directory = optarg; break;
        case 'h': plan.history = (uint32_t)atoi(optarg); break;
        case 'c': plan.channels = (uint32_t)atoi(optarg); break;
        case 'p': plan.payload = (uint32_t)atoi(optarg); break;
        case 'l': plan.lag_max = (uint64_t)atoi(optarg) << 20; break;
        case 'w': plan.warm_up = atof(optarg); break;
        case 'k': plan.has_keys = false; break;
        case 'e': plan.is_primed = false; break;
        default: usage();
        }
    }
    if (optind != argc || rounds == 0 || rounds > ROUNDS_MAX || burst > 200000) usage();
}

static void run_sustained(void)
{
    static struct run_result result;
    plan.rate = sustain;
    plan.report_every = 10;
    bed_run(&plan, &result);
    struct row row = row_of(&result);
    print_head();
    print_row(sustain, "store", &row);
    printf("the most that the index was behind: %.1f MB\n", (double)result.lag_bytes / 1e6);
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    /* Sleeps as short as they are asked for, at both. */
    prctl(PR_SET_TIMERSLACK, 1);
    bed_open(&plan);
    if (sustain > 0) {
        run_sustained();
    } else {
        print_head();
        if (burst > 0) {
            /* Fits into what the index may be behind. */
            if (!has_seconds) plan.seconds = 1;
            plan.warm_up = 0;
            compare_at(0);
        } else {
            for (uint32_t i = 0; i < rates_count; i++) compare_at(rates[i]);
        }
    }
    bed_close();
    return 0;
}
