/*
 * config_env: options in the environment.
 *
 * SLUICE_HTTP_SERVER_PORT is http_server.port: the path in capitals, dots as
 * underscores.  Options of channels without a namespace are
 * SLUICE_CHANNEL_WITHOUT_NAMESPACE_…, those of the namespace chat
 * SLUICE_CHANNEL_NAMESPACES_CHAT_…, and all namespaces together are the JSON list
 * SLUICE_CHANNEL_NAMESPACES, which takes the place of the file's.  A list of texts is
 * split at commas.  A variable of ours that names no option is warned of with the
 * nearest one and stops nothing: an environment belongs to others too, above all to
 * Kubernetes, whose words about a service named sluice are passed over.
 */
#include <stdio.h>

#include "core/check.h"
#include "core/config_parts.h"
#include "core/mem.h"
#include "core/near.h"

#define ENV_PREFIX   "SLUICE_"
#define ENV_NAME_MAX (CONFIG_PATH_MAX + sizeof(ENV_PREFIX))
#define ENV_SPACES   ENV_PREFIX "CHANNEL_NAMESPACES"

uint32_t config_environment(char *const *environment, struct config_override **overrides)
{
    check(environment != NULL && overrides != NULL);
    uint32_t count = 0;
    size_t names_size = 0;
    for (char *const *at = environment; *at != NULL; at++) {
        if (strncmp(*at, ENV_PREFIX, sizeof(ENV_PREFIX) - 1) != 0 || strchr(*at, '=') == NULL)
            continue;
        names_size += strcspn(*at, "=") + 1;
        count++;
    }
    struct config_override *made = mem_alloc((count + 1) * sizeof(*made) + names_size);
    char *names = (char *)(made + count + 1);
    uint32_t used = 0;
    for (char *const *at = environment; *at != NULL; at++) {
        const char *equals = strchr(*at, '=');
        if (strncmp(*at, ENV_PREFIX, sizeof(ENV_PREFIX) - 1) != 0 || equals == NULL) continue;
        size_t size = (size_t)(equals - *at);
        memcpy(names, *at, size);
        names[size] = 0;
        made[used++] = (struct config_override){NULL, equals + 1, names};
        names += size + 1;
    }
    check(used == count);
    /* All namespaces come before the options of one of them. */
    for (uint32_t i = 1; i < count; i++) {
        if (strcmp(made[i].source, ENV_SPACES) != 0) continue;
        struct config_override spaces = made[i];
        made[i] = made[0];
        made[0] = spaces;
        break;
    }
    *overrides = made;
    return count;
}

/* "http_server.port" → "SLUICE_HTTP_SERVER_PORT"; a namespace's "-" is "_" too. */
static void name_of(const char *prefix, const char *path, char name[ENV_NAME_MAX])
{
    int size = snprintf(name, ENV_NAME_MAX, ENV_PREFIX "%s%s", prefix, path);
    check(size > 0 && (size_t)size < ENV_NAME_MAX);
    for (char *at = name; *at != 0; at++) {
        if (*at == '.' || *at == '-') *at = '_';
        if (*at >= 'a' && *at <= 'z') *at = (char)(*at - 'a' + 'A');
    }
}

/* The row that `wanted` names among `rows`; the nearest name otherwise kept in `best`. */
static const struct config_row *row_of(const struct config_row *rows, uint32_t rows_count,
                                       const char *prefix, const char *wanted, size_t *nearest,
                                       char best[ENV_NAME_MAX])
{
    for (uint32_t i = 0; i < rows_count; i++) {
        char name[ENV_NAME_MAX];
        name_of(prefix, rows[i].path, name);
        if (strcmp(name, wanted) == 0) return &rows[i];
        size_t distance = near_distance(wanted, name);
        if (distance >= *nearest) continue;
        *nearest = distance;
        memcpy(best, name, ENV_NAME_MAX);
    }
    return NULL;
}

static const struct config_known_row *known_of(const char *wanted)
{
    for (uint32_t i = 0; i < config_known_rows_count; i++) {
        const struct config_known_row *row = &config_known_rows[i];
        char path[CONFIG_PATH_MAX], name[ENV_NAME_MAX];
        size_t size = config_known_size(row);
        bool is_whole = row->path[size] == 0;
        snprintf(path, sizeof(path), "%.*s", (int)size, row->path);
        name_of(row->is_of_namespace ? CONFIG_WITHOUT_PATH "." : "", path, name);
        size = strlen(name);
        if (strncmp(name, wanted, size) == 0 &&
            (wanted[size] == 0 || (!is_whole && wanted[size] == '_')))
            return row;
    }
    return NULL;
}

/* A service named sluice gives SLUICE_SERVICE_HOST, SLUICE_PORT=tcp://…,
 * SLUICE_PORT_8000_TCP_ADDR and the like to every pod of its Kubernetes namespace. */
static bool is_of_kubernetes(const struct config_override *variable)
{
    const char *port = strstr(variable->source, "_PORT_");
    return strstr(variable->source, "_SERVICE_HOST") != NULL ||
           strstr(variable->source, "_SERVICE_PORT") != NULL ||
           (port != NULL && port[6] >= '0' && port[6] <= '9') ||
           strncmp(variable->value, "tcp://", 6) == 0 || strncmp(variable->value, "udp://", 6) == 0;
}

static void apply_value(struct config_reader *reader, const struct config_row *row,
                        const struct config_override *variable, void *base, struct config *config)
{
    char why[CONFIG_WHY_MAX];
    if (!config_value_set(row, variable->value, base, config->arena, why))
        config_error(reader, 0, NULL, "%s", why);
}

/* An option of one namespace; false when the variable is none of any.  Names that differ in
 * "-" and "_" alone are one name here, and then both are meant. */
static bool apply_to_namespace(struct config_reader *reader, const struct config_override *variable,
                               struct config *config, size_t *nearest, char best[ENV_NAME_MAX])
{
    bool is_taken = false;
    for (uint32_t i = 0; i < config->namespaces_count; i++) {
        char prefix[CONFIG_PATH_MAX];
        struct config_namespace *space = &config->namespaces[i];
        snprintf(prefix, sizeof(prefix), CONFIG_NAMESPACES_PATH ".%.130s.", space->name);
        const struct config_row *row = row_of(config_namespace_rows, config_namespace_rows_count,
                                              prefix, variable->source, nearest, best);
        if (row == NULL) continue;
        apply_value(reader, row, variable, space, config);
        is_taken = true;
    }
    return is_taken;
}

static void apply_namespaces(struct config_reader *reader, const char *text, struct config *config)
{
    struct config_node *list = config_json_tree(reader, bytes_of_text(text));
    if (list != NULL) config_table_namespaces(reader, list, config);
}

void config_env_apply(struct config_reader *reader, const struct config_override *variable,
                      struct config *config)
{
    check(variable->path == NULL);
    const char *kept = reader->name, *wanted = variable->source;
    char best[ENV_NAME_MAX] = "";
    size_t nearest = NEAR_FAR;
    void *base = config;
    reader->name = wanted;
    const struct config_row *row =
        row_of(config_rows, config_rows_count, "", wanted, &nearest, best);
    if (row == NULL) {
        row = row_of(config_namespace_rows, config_namespace_rows_count, CONFIG_WITHOUT_PATH ".",
                     wanted, &nearest, best);
        base = &config->without_namespace;
    }
    const struct config_known_row *known = row == NULL ? known_of(wanted) : NULL;
    if (row != NULL) {
        apply_value(reader, row, variable, base, config);
    } else if (strcmp(wanted, ENV_SPACES) == 0) {
        apply_namespaces(reader, variable->value, config);
    } else if (known != NULL) {
        config_table_tell_known(reader, 0, NULL, known);
    } else if (apply_to_namespace(reader, variable, config, &nearest, best) ||
               is_of_kubernetes(variable)) {
        /* taken, or nobody's mistake */
    } else if (nearest <= max_u64(2, strlen(wanted) / 3)) {
        config_warn(reader, 0, NULL, "names no option; did you mean %s?", best);
    } else {
        config_warn(reader, 0, NULL, "names no option; sluice options lists them all");
    }
    reader->name = kept;
}
