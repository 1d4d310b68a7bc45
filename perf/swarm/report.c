/* report: see report.h.  The unit of a figure is what the kind counts: a delivery, an
 * acknowledgement, a connection. */
#include "report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef unsigned long long ull;

const char *report_title(const struct scenario *s)
{
    static char title[160];
    if (*s->title != 0) return s->title;
    char kind[SCENARIO_TEXT_MAX], wire[SCENARIO_TEXT_MAX];
    snprintf(title, sizeof title, "%s, %u clients, %u channels, %u bytes, %s%s",
             scenario_text(s, "kind", kind), s->clients, s->channels, s->payload,
             scenario_text(s, "wire", wire), s->tls == TLS_OFF ? "" : ", TLS");
    return title;
}

/* What is counted, and what one of them is called. */
static uint64_t units(const struct scenario *s, const struct outcome *o, const char **name)
{
    switch (s->kind) {
    case KIND_CONNECT: *name = "connection"; return s->clients;
    case KIND_RETURN: *name = "returning client"; return s->clients;
    case KIND_SEND: *name = "acknowledgement"; return o->measured.acked;
    case KIND_RECEIPTS: *name = "cursor moved"; return o->measured.acked;
    case KIND_IDLE: *name = "ping"; return o->measured.pings;
    default: *name = "delivery"; return o->measured.delivered;
    }
}

static double per(double all, uint64_t count)
{
    return count > 0 ? all / (double)count : 0;
}

/* JSON and HTML both: what would end a text is left out. */
static void put_text(FILE *out, const char *text)
{
    for (; *text != 0; text++)
        fputc(strchr("\"\\<>&", *text) != NULL || (uint8_t)*text < 32 ? '\'' : *text, out);
}

static void put_times(FILE *out, const char *name, const struct histogram *h)
{
    fprintf(out,
            ",\"%s\":{\"count\":%llu,\"p50\":%llu,\"p90\":%llu,\"p99\":%llu,\"p999\":%llu,\"most\":"
            "%llu}",
            name, (ull)h->total, (ull)histogram_at(h, 0.5), (ull)histogram_at(h, 0.9),
            (ull)histogram_at(h, 0.99), (ull)histogram_at(h, 0.999), (ull)h->most);
}

void report_line(FILE *out, const struct scenario *s, const struct outcome *o)
{
    const struct figures *m = &o->measured;
    const char *unit;
    char text[SCENARIO_TEXT_MAX];
    uint64_t count = units(s, o, &unit);
    uint64_t ticks = m->cpu.user_ticks + m->cpu.system_ticks;
    fprintf(out, "{\"title\":\"");
    put_text(out, report_title(s));
    fprintf(out, "\",\"kind\":\"%s\"", scenario_text(s, "kind", text));
    fprintf(out, ",\"wire\":\"%s\"", scenario_text(s, "wire", text));
    fprintf(out, ",\"tls\":\"%s\"", scenario_text(s, "tls", text));
    fprintf(
        out,
        ",\"clients\":%u,\"channels\":%u,\"payload\":%u,\"in_flight\":%u,\"rate\":%g,\"batch\":%u",
        s->clients, s->channels, s->payload, s->in_flight, s->rate, s->batch);
    fprintf(out, ",\"processes\":%u,\"seconds\":%.3f,\"unit\":\"%s\",\"units\":%llu", s->processes,
            m->seconds, unit, (ull)count);
    fprintf(out, ",\"units_per_s\":%.1f", m->seconds > 0 ? (double)count / m->seconds : 0);
    fprintf(
        out,
        ",\"published\":%llu,\"delivered\":%llu,\"acked\":%llu,\"receipts\":%llu,\"pings\":%llu",
        (ull)m->published, (ull)m->delivered, (ull)m->acked, (ull)m->told, (ull)m->pings);
    fprintf(out, ",\"server_ns\":%.1f,\"softirq_ns\":%.1f,\"shard_ns\":%.1f,\"user_percent\":%.1f",
            per((double)(m->cpu.ns + m->cpu.softirq_ns), count),
            per((double)m->cpu.softirq_ns, count), per((double)m->shard_ns, count),
            ticks > 0 ? 100.0 * (double)m->cpu.user_ticks / (double)ticks : 0);
    fprintf(out, ",\"server_cpus\":%.3f,\"swarm_cpus\":%.3f",
            m->seconds > 0 ? (double)(m->cpu.ns + m->cpu.softirq_ns) * 1e-9 / m->seconds : 0,
            m->seconds > 0 ? (double)m->swarm_ns * 1e-9 / m->seconds : 0);
    fprintf(out,
            ",\"connect_us\":%.2f,\"idle_bytes\":%.0f,\"bytes_per_unit\":%.1f,\"gathered\":%.2f",
            o->connect_ns / 1e3, o->idle_bytes, per((double)m->bytes, count),
            per((double)m->delivered, m->wakes));
    fprintf(out, ",\"resumed\":%llu,\"closed\":%llu,\"checked\":%s", (ull)o->resumed,
            (ull)o->closed, o->is_unchecked ? "false" : "true");
    put_times(out, "latency_us", &o->latency);
    put_times(out, "opening_us", &o->took);
    fprintf(out, ",\"failure\":\"");
    put_text(out, o->failure);
    fprintf(out, "\"}");
}

static void text_times(FILE *out, const char *name, const struct histogram *h)
{
    if (h->total == 0) return;
    fprintf(out, "%-22s p50 %llu us, p90 %llu, p99 %llu, p99.9 %llu, most %llu\n", name,
            (ull)histogram_at(h, 0.5), (ull)histogram_at(h, 0.9), (ull)histogram_at(h, 0.99),
            (ull)histogram_at(h, 0.999), (ull)h->most);
}

void report_text(FILE *out, const struct scenario *s, const struct run_options *options,
                 const struct outcome *o)
{
    const struct figures *m = &o->measured;
    const char *unit;
    uint64_t count = units(s, o, &unit);
    fprintf(out, "%s\n", report_title(s));
    fprintf(out, "%-22s %llu in %.2f s, %.0f a second", unit, (ull)count, m->seconds,
            m->seconds > 0 ? (double)count / m->seconds : 0);
    if (m->wakes > 0 && m->delivered > 0)
        fprintf(out, ", %.2f at once", (double)m->delivered / (double)m->wakes);
    fprintf(out, "\n");
    if (options->pid != 0) {
        fprintf(out, "%-22s %.0f ns each (shard %.0f, softirq %.0f), %.2f CPUs\n", "server CPU",
                per((double)(m->cpu.ns + m->cpu.softirq_ns), count),
                per((double)m->shard_ns, count), per((double)m->cpu.softirq_ns, count),
                m->seconds > 0 ? (double)(m->cpu.ns + m->cpu.softirq_ns) * 1e-9 / m->seconds : 0);
        fprintf(out, "%-22s %.2f us of CPU, %.0f resident bytes\n", "a connection",
                o->connect_ns / 1e3, o->idle_bytes);
    }
    text_times(out, s->kind == KIND_SEND ? "answered after" : "delivered after", &o->latency);
    text_times(out, "let in after", &o->took);
    if (o->resumed > 0)
        fprintf(out, "%-22s %llu of %u sessions\n", "resumed", (ull)o->resumed, s->clients);
    if (o->closed > 0) fprintf(out, "%-22s %llu slow clients\n", "closed", (ull)o->closed);
    if (*o->failure != 0)
        fprintf(out, "FAILED: %s\n", o->failure);
    else if (s->kind == KIND_SEND)
        fprintf(out, "%s\n",
                o->is_unchecked ? "not checked: the channels keep no history"
                                : "checked: the channels grew by what was acknowledged");
    else if (s->kind != KIND_IDLE && s->kind != KIND_CONNECT && s->wire != WIRE_PLAIN)
        fprintf(out, "checked: every delivery exactly once and in order\n");
}

/* --- the page ------------------------------------------------------------------------------- */

#define WIDE 720.0
#define HIGH 220.0

static void page_line(FILE *out, const double *values, uint32_t count, double most,
                      const char *colour)
{
    fprintf(out, "<polyline fill='none' stroke='%s' stroke-width='2' points='", colour);
    for (uint32_t i = 0; i < count; i++)
        fprintf(out, "%.1f,%.1f ", count > 1 ? WIDE * i / (count - 1) : 0,
                HIGH - HIGH * values[i] / most);
    fprintf(out, "'/>");
}

static double greatest(const double *values, uint32_t count)
{
    double most = 1e-9;
    for (uint32_t i = 0; i < count; i++)
        if (values[i] > most) most = values[i];
    return most;
}

static void page_plot(FILE *out, const char *title, const double *values, uint32_t count,
                      const char *colour)
{
    if (count < 2) return;
    double most = greatest(values, count);
    fprintf(out, "<h2>%s</h2><svg viewBox='-70 -12 810 260' role='img'>", title);
    for (int i = 0; i <= 4; i++)
        fprintf(out,
                "<line x1='0' x2='720' y1='%.1f' y2='%.1f' class='g'/><text x='-8' y='%.1f' "
                "text-anchor='end'>%.3g</text>",
                HIGH * i / 4, HIGH * i / 4, HIGH * i / 4 + 4, most * (4 - i) / 4);
    page_line(out, values, count, most, colour);
    fprintf(
        out,
        "<text x='0' y='240'>0 s</text><text x='720' y='240' text-anchor='end'>%u s</text></svg>",
        count - 1);
}

/* Share of values at or below a time; the scale of times is logarithmic. */
static void page_histogram(FILE *out, const char *title, const struct histogram *h)
{
    if (h->total == 0) return;
    fprintf(out, "<h2>%s</h2><svg viewBox='-70 -12 810 260' role='img'>", title);
    static const double shares[] = {0, 0.5, 0.9, 0.99, 0.999, 0.9999};
    for (int i = 0; i < 6; i++)
        fprintf(out,
                "<line x1='0' x2='720' y1='%.1f' y2='%.1f' class='g'/><text x='-8' y='%.1f' "
                "text-anchor='end'>%g %%</text>",
                HIGH - HIGH * i / 5, HIGH - HIGH * i / 5, HIGH - HIGH * i / 5 + 4, shares[i] * 100);
    for (int power = 0; power <= 7; power++) {
        fprintf(out, "<text x='%.1f' y='240' text-anchor='middle'>%s</text>", WIDE * power / 7,
                power == 0   ? "1 us"
                : power == 3 ? "1 ms"
                : power == 6 ? "1 s"
                             : "");
    }
    fprintf(out, "<polyline fill='none' stroke='#0b7' stroke-width='2' points='");
    for (int i = 0; i <= 100; i++) {
        /* Even steps between the shares of the grid. */
        int low = i / 20 < 4 ? i / 20 : 4;
        double share = shares[low] + (shares[low + 1] - shares[low]) * (i / 20.0 - low);
        double us = (double)histogram_at(h, share), x = 0;
        for (double left = us < 1 ? 1 : us; left >= 10; left /= 10) x++;
        double scale = 1;
        for (int k = 0; k < (int)x; k++) scale *= 10;
        x += (us / scale - 1) / 9; /* straight between powers of ten is near enough for a picture */
        fprintf(out, "%.1f,%.1f ", WIDE * (x < 0 ? 0 : x > 7 ? 7 : x) / 7, HIGH - HIGH * i / 100);
    }
    fprintf(out, "'/></svg>");
}

static void page_settings(FILE *out, const struct scenario *s)
{
    char value[SCENARIO_TEXT_MAX];
    fprintf(out, "<h2>Scenario</h2><table>");
#define PAGE_U32(name)    fprintf(out, "%u", s->name)
#define PAGE_NUMBER(name) fprintf(out, "%g", s->name)
#define PAGE_BOOL(name)   fprintf(out, "%s", s->name ? "true" : "false")
#define PAGE_ENUM(name)   fprintf(out, "%s", scenario_text(s, #name, value))
#define PAGE_TEXT(name)                                                                            \
    put_text(out, strcmp(#name, "secret") == 0 ? (*s->name ? "(set)" : "") : s->name)
#define SETTING(name, type, fallback, least, most, text)                                           \
    fprintf(out, "<tr><td>%s</td><td>", #name);                                                    \
    PAGE_##type(name);                                                                             \
    fprintf(out, "</td></tr>\n");
#include "scenario.def"
#undef SETTING
    fprintf(out, "</table>");
}

bool report_page(const char *path, const struct scenario *s, const struct outcome *o)
{
    FILE *out = fopen(path, "w");
    if (out == NULL) {
        fprintf(stderr, "swarm: %s: %s\n", path, strerror(errno));
        return false;
    }
    char when[64];
    time_t now = time(NULL);
    strftime(when, sizeof when, "%F %T UTC", gmtime(&now));
    fprintf(out, "<!doctype html><html lang='en'><meta charset='utf-8'><title>");
    put_text(out, report_title(s));
    fprintf(
        out,
        "</title><style>body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;"
        "padding:0 1em;color:#223}h1{font-size:1.5em}h2{font-size:1.1em;margin:2em 0 .3em}"
        "table{border-collapse:collapse}td{padding:.1em 1.2em .1em 0;border-bottom:1px solid #eee}"
        "pre{background:#f5f6f8;padding:1em;overflow:auto}svg{width:100%%;font:11px sans-serif;"
        "fill:#667}.g{stroke:#e4e6ea}.bad{color:#b00;font-weight:600}</style><h1>");
    put_text(out, report_title(s));
    fprintf(out, "</h1><p>%s</p>", when);
    if (*o->failure != 0) {
        fprintf(out, "<p class='bad'>Failed: ");
        put_text(out, o->failure);
        fprintf(out, "</p>");
    }
    fprintf(out, "<pre>");
    struct run_options options = {.pid = o->measured.cpu.ns > 0};
    report_text(out, s, &options, o);
    fprintf(out, "</pre>");
    page_plot(out, s->kind == KIND_SEND ? "Acknowledged a second" : "Delivered a second", o->rates,
              o->rates_count, "#27c");
    page_plot(out, "CPUs of the server", o->cpu_shares, o->rates_count, "#c52");
    page_histogram(out,
                   s->kind == KIND_SEND ? "Until the answer, from the intended moment"
                                        : "Until delivery, from the intended moment",
                   &o->latency);
    page_histogram(out, "Until a connection was let in", &o->took);
    page_settings(out, s);
    fprintf(out, "<h2>As JSON</h2><pre>");
    report_line(out, s, o);
    fprintf(out, "</pre></html>\n");
    return fclose(out) == 0;
}
