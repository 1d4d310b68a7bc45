/*
 * cli_work: a consumer of the worker streams, from a terminal or a service unit.
 *
 * Batch after batch: read, hand to a command or a server, acknowledge.  Trouble that
 * passes (the server is down, exit code 75) holds the batch until it has passed; a
 * batch that fails is tried entry by entry, and an entry that fails alone is left
 * for later, by this consumer or another.
 */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "core/check.h"
#include "core/fetch.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/mem.h"
#include "shards/cli_effect.h"
#include "shards/cli_parts.h"

#define WORK_GROUP           "sluice"
#define WORK_BATCH           100
#define WORK_WAIT            "5s"
#define WORK_IDLE            "1m"
#define WORK_IDLE_LEAST_MS   1000
#define WORK_DELIVERIES      5
#define WORK_DELIVERIES_MAX  1000
#define WORK_POST_TIMEOUT_MS 30000
/* Between two tries. */
#define WORK_PAUSE_MS        500
#define WORK_PAUSE_MAX_MS    30000

static volatile sig_atomic_t is_told_to_stop;

struct work_run {
    struct work *work;
    struct work_options options;
    struct effect effect;
    struct json_out lines;
    const struct work_entry **entries;
    uint64_t done, failed;
    uint64_t pause_ms;
    bool is_complaining; /* the last try failed, and it was said */
    char consumer[WORK_NAME_MAX + 1];
};

/* ---- options ---- */

static bool take_number(const struct cli_call *call, enum option option, uint32_t fallback,
                        uint32_t most, uint32_t *value)
{
    const char *text = call->values[option];
    uint64_t number = fallback;
    if (text != NULL &&
        (!bytes_to_u64(bytes_of_text(text), &number) || number < 1 || number > most)) {
        fprintf(stderr, "sluice: %s wants a number from 1 to %u\n", cli_option_rows[option].name,
                most);
        return false;
    }
    *value = (uint32_t)number;
    return true;
}

static bool take_time(const struct cli_call *call, enum option option, const char *fallback,
                      uint64_t least_ms, uint64_t *ms)
{
    const char *text = call->values[option] != NULL ? call->values[option] : fallback;
    char why[CONFIG_WHY_MAX];
    if (!config_duration(text, ms, why)) {
        fprintf(stderr, "sluice: %s: %s\n", cli_option_rows[option].name, why);
        return false;
    }
    if (*ms >= least_ms) return true;
    fprintf(stderr, "sluice: %s wants at least %llums\n", cli_option_rows[option].name,
            (unsigned long long)least_ms);
    return false;
}

static bool take_name(const char *option, const char *name)
{
    if (work_name_is_fine(name)) return true;
    fprintf(stderr, "sluice: %s wants up to %d letters without spaces and quotes\n", option,
            WORK_NAME_MAX);
    return false;
}

/* Who we are among the group's consumers, unless told: one name per process. */
static void name_consumer(struct work_run *run)
{
    char host[WORK_NAME_MAX - 11] = "";
    if (gethostname(host, sizeof host - 1) != 0 || !work_name_is_fine(host))
        snprintf(host, sizeof host, "consumer");
    snprintf(run->consumer, sizeof run->consumer, "%s-%d", host, (int)getpid());
}

static bool take_effect(struct work_run *run, const struct cli_call *call)
{
    struct effect *effect = &run->effect;
    effect->command = call->values[OPTION_EXEC];
    effect->url = call->values[OPTION_POST];
    if ((effect->command == NULL) == (effect->url == NULL)) {
        fprintf(stderr, "sluice: work wants either --exec COMMAND or --post URL\n");
        return false;
    }
    if (effect->url != NULL && !fetch_url_is_fine(effect->url)) {
        fprintf(stderr, "sluice: --post wants an address such as http://127.0.0.1:9000/events\n");
        return false;
    }
    return true;
}

static bool prepare(struct work_run *run, const struct cli_call *call)
{
    struct work_options *options = &run->options;
    options->topic = call->words[0];
    if (!work_topic_is_known(options->topic)) {
        fprintf(stderr,
                "sluice: '%.60s' is no topic; there are group_msg, offline_msg, "
                "membership_change and read_receipt\n",
                options->topic);
        return false;
    }
    name_consumer(run);
    options->group = call->values[OPTION_GROUP] != NULL ? call->values[OPTION_GROUP] : WORK_GROUP;
    options->consumer =
        call->values[OPTION_CONSUMER] != NULL ? call->values[OPTION_CONSUMER] : run->consumer;
    options->is_once = call->values[OPTION_ONCE] != NULL;
    options->stop = &is_told_to_stop;
    if (!take_name("--group", options->group) || !take_name("--consumer", options->consumer) ||
        !take_effect(run, call) ||
        !take_number(call, OPTION_BATCH, WORK_BATCH, WORK_BATCH_MAX, &options->batch) ||
        !take_number(call, OPTION_DELIVERIES, WORK_DELIVERIES, WORK_DELIVERIES_MAX,
                     &options->deliveries_max) ||
        !take_time(call, OPTION_WAIT, options->is_once ? "0s" : WORK_WAIT, 0, &options->wait_ms) ||
        !take_time(call, OPTION_IDLE, WORK_IDLE, WORK_IDLE_LEAST_MS, &options->idle_ms))
        return false;
    run->effect.topic = options->topic;
    run->effect.hold_ms = options->idle_ms / 3;
    run->effect.post_timeout_ms = (uint32_t)min_u64(WORK_POST_TIMEOUT_MS, options->idle_ms / 2);
    return true;
}

/* ---- work ---- */

/* Says what is wrong, once until it is over, and waits longer each time. */
static void pause_for(struct work_run *run, const char *what, const char *why)
{
    if (!run->is_complaining)
        fprintf(stderr, "sluice: %s: %s; it is tried again until it works\n", what, why);
    run->is_complaining = true;
    work_wait(run->work, run->pause_ms);
    run->pause_ms = min_u64(run->pause_ms * 2, WORK_PAUSE_MAX_MS);
}

static void note_works(struct work_run *run)
{
    if (run->is_complaining) fprintf(stderr, "sluice: it works again\n");
    run->is_complaining = false;
    run->pause_ms = WORK_PAUSE_MS;
}

/* Until Redis knows it: else it would be done once more. */
static void acknowledge(struct work_run *run, uint32_t count)
{
    while (work_done(run->work) != ERR_OK) {
        if (is_told_to_stop) {
            work_leave(run->work);
            return;
        }
        pause_for(run, "what was done cannot be acknowledged", work_problem(run->work));
    }
    note_works(run);
    run->done += count;
}

/* Until it is done or will not be; true exactly when it is. */
static bool try_batch(struct work_run *run)
{
    struct bytes lines = json_out_bytes(&run->lines);
    for (;;) {
        enum effect_outcome outcome = effect_run(&run->effect, lines);
        if (outcome == EFFECT_DONE) return true;
        if (outcome == EFFECT_FAILED || is_told_to_stop) return false;
        pause_for(run, "a batch waits", run->effect.why);
        (void)!work_hold(run->work); /* else it is done twice, by somebody else too */
    }
}

static void do_batch(struct work_run *run, uint32_t count)
{
    run->lines.used = 0;
    for (uint32_t i = 0; i < count; i++)
        effect_line(&run->lines, run->options.topic, run->entries[i]);
    if (try_batch(run)) {
        acknowledge(run, count);
        return;
    }
    if (count > 1 && !is_told_to_stop) {
        work_split(run->work);
        return;
    }
    if (!is_told_to_stop) {
        const struct work_entry *entry = run->entries[0];
        run->failed++;
        fprintf(stderr, "sluice: entry %.*s failed, %u of %u times: %s\n", (int)entry->id.size,
                (const char *)entry->id.at, entry->deliveries, run->options.deliveries_max,
                run->effect.why);
    }
    work_leave(run->work);
}

static int work_all(struct work_run *run)
{
    while (!is_told_to_stop) {
        uint32_t count;
        bool is_empty;
        if (work_next(run->work, run->entries, &count, &is_empty) != ERR_OK) {
            pause_for(run, "the streams cannot be read", work_problem(run->work));
            continue;
        }
        note_works(run);
        if (count > 0) do_batch(run, count);
        if (is_empty && run->options.is_once) break;
    }
    fprintf(stderr, "sluice: %llu done, %llu failed, %llu put aside as dead letters\n",
            (unsigned long long)run->done, (unsigned long long)run->failed,
            (unsigned long long)work_dead(run->work));
    return run->failed > 0 && run->options.is_once ? CLI_FAILED : CLI_DONE;
}

static void on_signal(int number)
{
    (void)number;
    is_told_to_stop = 1;
}

/* The first one ends us after the batch, a second one at once. */
static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    int failed = sigaction(SIGTERM, &action, NULL) | sigaction(SIGINT, &action, NULL) |
                 sigaction(SIGPIPE, &ignore, NULL);
    check(failed == 0);
    is_told_to_stop = 0;
}

static int run_with(struct work_run *run, const struct config *config)
{
    const char *lack = loop_probe();
    if (lack != NULL) {
        fprintf(stderr, "sluice: %s\n", lack);
        return CLI_FAILED;
    }
    if (config->storage_engine != CONFIG_ENGINE_REDIS) {
        fprintf(stderr, "sluice: work reads streams in Redis; set storage.engine to redis\n");
        return CLI_WRONG;
    }
    if (!config->redis_streams_enabled)
        fprintf(stderr, "sluice: warning: redis.streams.enabled is not set; gateways without it "
                        "write nothing to these streams\n");
    log_set_level(LOG_WARN);
    catch_signals();
    if (work_open(config, &run->options, &run->work) != ERR_OK) return CLI_FAILED;
    run->effect.work = run->work;
    run->pause_ms = WORK_PAUSE_MS;
    run->entries = mem_alloc(run->options.batch * sizeof run->entries[0]);
    int exit = work_all(run);
    work_close(run->work);
    mem_free(run->entries);
    json_out_fini(&run->lines);
    return exit;
}

int cli_work(const struct cli_call *call)
{
    check(call->words_count == 1);
    struct work_run run = {0};
    if (!prepare(&run, call)) return CLI_WRONG;
    struct config *config;
    enum cli_exit wrong = cli_load(call, true, &config);
    if (wrong != CLI_DONE) return wrong;
    int exit = run_with(&run, config);
    config_destroy(config);
    return exit;
}
