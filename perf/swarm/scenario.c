/* scenario: the table, YAML by libyaml, and the rules between settings. */
#include "scenario.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum type { U32, ENUM, NUMBER, BOOL, TEXT };

struct setting {
    const char *name;
    enum type type;
    size_t at;
    const char *fallback, *least, *most, *text;
};

static const struct setting settings[] = {
#define SETTING(name, type, fallback, least, most, text)                                           \
    {#name, type, offsetof(struct scenario, name), fallback, least, most, text},
#include "scenario.def"
#undef SETTING
};
#define SETTINGS (sizeof settings / sizeof *settings)

static const struct setting *setting_of(const char *name)
{
    for (size_t i = 0; i < SETTINGS; i++)
        if (strcmp(settings[i].name, name) == 0) return &settings[i];
    return NULL;
}

/* The `index`-th of "a|b|c" into text[]; false behind the last. */
static bool value_at(const char *list, uint32_t index, char *text, size_t text_size)
{
    for (; index > 0; index--) {
        list = strchr(list, '|');
        if (list == NULL) return false;
        list++;
    }
    snprintf(text, text_size, "%.*s", (int)strcspn(list, "|"), list);
    return true;
}

static bool set_enum(uint32_t *field, const struct setting *setting, const char *value)
{
    char text[32];
    for (uint32_t i = 0; value_at(setting->least, i, text, sizeof text); i++)
        if (strcmp(text, value) == 0) {
            *field = i;
            return true;
        }
    return false;
}

static bool set_number(double *number, const struct setting *setting, const char *value)
{
    char *end;
    errno = 0;
    *number = strtod(value, &end);
    return *value != 0 && *end == 0 && errno == 0 && *number >= atof(setting->least) &&
           *number <= atof(setting->most);
}

static bool set(struct scenario *scenario, const struct setting *setting, const char *value)
{
    void *field = (char *)scenario + setting->at;
    double number = 0;
    switch (setting->type) {
    case U32:
        if (!set_number(&number, setting, value) || number != (double)(uint32_t)number)
            return false;
        *(uint32_t *)field = (uint32_t)number;
        return true;
    case NUMBER: return set_number(field, setting, value);
    case ENUM: return set_enum(field, setting, value);
    case BOOL:
        *(bool *)field = strcmp(value, "true") == 0;
        return *(bool *)field || strcmp(value, "false") == 0;
    case TEXT:
        if (*setting->most != 0 && strlen(value) > strtoul(setting->most, NULL, 10)) return false;
        free(*(char **)field);
        *(char **)field = strdup(value);
        return *(char **)field != NULL;
    }
    return false;
}

/* A sentence about what `setting` takes. */
static void wanted(const struct setting *setting, const char *value, char *why, size_t why_size)
{
    if (setting->type == ENUM)
        snprintf(why, why_size, "%s is \"%s\"; it is one of %s", setting->name, value,
                 setting->least);
    else if (setting->type == BOOL)
        snprintf(why, why_size, "%s is \"%s\"; it is true or false", setting->name, value);
    else if (setting->type == TEXT)
        snprintf(why, why_size, "%s is longer than %s bytes", setting->name, setting->most);
    else
        snprintf(why, why_size, "%s is \"%s\"; it is a number from %s to %s", setting->name, value,
                 setting->least, setting->most);
}

static bool set_named(struct scenario *scenario, const char *name, const char *value, char *why,
                      size_t why_size)
{
    const struct setting *setting = setting_of(name);
    if (setting == NULL) {
        snprintf(why, why_size, "there is no setting \"%s\"; --help names all", name);
        return false;
    }
    if (set(scenario, setting, value)) return true;
    wanted(setting, value, why, why_size);
    return false;
}

void scenario_default(struct scenario *scenario)
{
    for (size_t i = 0; i < SETTINGS; i++)
        if (!set(scenario, &settings[i], settings[i].fallback)) abort();
}

bool scenario_set(struct scenario *scenario, const char *text, char *why, size_t why_size)
{
    char name[64];
    const char *sign = strchr(text, '=');
    if (sign == NULL || (size_t)(sign - text) >= sizeof name) {
        snprintf(why, why_size, "\"%s\" is no name=value", text);
        return false;
    }
    snprintf(name, sizeof name, "%.*s", (int)(sign - text), text);
    return set_named(scenario, name, sign + 1, why, why_size);
}

/* One mapping of plain values; `key` is what the next value belongs to. */
static bool read_event(struct scenario *scenario, const yaml_event_t *event, char *key,
                       size_t key_size, char *why, size_t why_size)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        if (*key == 0) {
            snprintf(key, key_size, "%s", (const char *)event->data.scalar.value);
            return true;
        }
        if (!set_named(scenario, key, (const char *)event->data.scalar.value, why, why_size))
            return false;
        *key = 0;
        return true;
    case YAML_SEQUENCE_START_EVENT:
    case YAML_ALIAS_EVENT:
        snprintf(why, why_size, "a scenario is lines of \"name: value\"");
        return false;
    default: return true;
    }
}

bool scenario_read(struct scenario *scenario, const char *path, char *why, size_t why_size)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
    if (file == NULL) {
        snprintf(why, why_size, "%s: %s", path, strerror(errno));
        return false;
    }
    yaml_parser_t parser;
    yaml_event_t event;
    char key[64] = "", reason[256] = "";
    bool is_good = true, is_over = false;
    if (!yaml_parser_initialize(&parser)) abort();
    yaml_parser_set_input_file(&parser, file);
    while (is_good && !is_over) {
        if (!yaml_parser_parse(&parser, &event)) {
            snprintf(why, why_size, "%s line %zu: %s", path, parser.problem_mark.line + 1,
                     parser.problem);
            is_good = false;
            break;
        }
        is_good = read_event(scenario, &event, key, sizeof key, reason, sizeof reason);
        if (!is_good)
            snprintf(why, why_size, "%s line %zu: %s", path, event.start_mark.line + 1, reason);
        is_over = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    if (file != stdin) fclose(file);
    return is_good;
}

static bool complain(char *why, size_t why_size, const char *sentence)
{
    snprintf(why, why_size, "%s", sentence);
    return false;
}

static bool check_receipts(struct scenario *s, char *why, size_t why_size)
{
    if (s->wire != WIRE_JSON && s->wire != WIRE_PROTOBUF)
        return complain(why, why_size, "receipts need a protocol: wire json or protobuf");
    if (s->rate <= 0) return complain(why, why_size, "receipts are read at a rate");
    if (s->processes > 1 || s->joins > 1 || s->own || s->skew > 0)
        return complain(why, why_size,
                        "receipts are of one process, and of one room a client, all of one size");
    if (s->channels == 0 || s->clients < 2 * s->channels)
        return complain(why, why_size, "a room has two members at least");
    if (*s->secret == 0) return complain(why, why_size, "members have names: receipts need secret");
    if (*s->api_key != 0 && s->tls != TLS_OFF)
        return complain(why, why_size, "members are named over plain HTTP: tls=off");
    s->method = METHOD_SEND;
    return true;
}

bool scenario_check(struct scenario *s, char *why, size_t why_size)
{
    bool is_plain = s->wire == WIRE_PLAIN;
    if (s->clients < s->processes) s->processes = s->clients;
    bool is_relay = s->wire == WIRE_RELAY;
    if ((is_plain || is_relay) && (s->kind == KIND_SEND || s->kind == KIND_RETURN))
        return complain(why, why_size, "send and return need a protocol: wire json or protobuf");
    if (is_plain && (s->kind == KIND_FANOUT || s->kind == KIND_SLOW))
        return complain(why, why_size,
                        "plain frames name no channel: wire json, protobuf or relay");
    if (is_relay && (s->joins > 1 || s->own || s->method != METHOD_PUBLISH))
        return complain(why, why_size, "relay is of one channel a client, and of publish");
    if (s->kind == KIND_ECHO && !is_plain)
        return complain(why, why_size,
                        "echo is of plain frames: wire=plain, and a path that echoes");
    if (s->kind == KIND_RECEIPTS && !check_receipts(s, why, why_size)) return false;
    bool sends = s->kind == KIND_FANOUT || s->kind == KIND_SEND || s->kind == KIND_SLOW ||
                 s->kind == KIND_RETURN || s->kind == KIND_RECEIPTS;
    if (sends && s->channels == 0) return complain(why, why_size, "this kind needs channels");
    if (s->channels > s->clients && s->kind != KIND_SEND)
        return complain(why, why_size, "there are more channels than clients");
    if (s->joins > 1 && s->joins > s->channels)
        return complain(why, why_size, "joins is more than there are channels");
    if (s->kind == KIND_RETURN && s->joins > 1)
        return complain(why, why_size, "return is of one channel a client: joins=1");
    if ((sends || s->kind == KIND_ECHO) && s->payload < STAMPED_PAYLOAD)
        return complain(why, why_size,
                        "payload below 36 cannot be checked: exactly once, in order");
    return true;
}

const char *scenario_text(const struct scenario *scenario, const char *name,
                          char text[SCENARIO_TEXT_MAX])
{
    const struct setting *setting = setting_of(name);
    if (setting == NULL || setting->type != ENUM) abort();
    uint32_t chosen;
    memcpy(&chosen, (const char *)scenario + setting->at, sizeof chosen);
    value_at(setting->least, chosen, text, SCENARIO_TEXT_MAX);
    return text;
}

void scenario_help(void)
{
    for (size_t i = 0; i < SETTINGS; i++) {
        const struct setting *setting = &settings[i];
        printf("  %-14s %s\n", setting->name, setting->text);
        if (setting->type == ENUM) printf("  %-14s   %s\n", "", setting->least);
        if (*setting->fallback != 0) printf("  %-14s   default %s\n", "", setting->fallback);
    }
}
