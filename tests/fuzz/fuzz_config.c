/*
 * fuzz_config: any bytes are a configuration or a list of sentences.
 *
 * The first byte chooses YAML or JSON.  What is accepted must hold its own
 * invariants: limits, sorted namespaces, every text there.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "core/check.h"
#include "core/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_say(void *context, enum config_voice voice, const char *sentence)
{
    uint32_t *errors = context;
    check(sentence[0] != 0);
    check(strchr(sentence, '\n') == NULL);
    if (voice == CONFIG_SAYS_ERROR) ++*errors;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    const char *name = data[0] == 'j' ? "f.json" : "f.yaml";
    uint32_t errors = 0;
    struct config *config = NULL;
    enum err err =
        config_parse(bytes_of(data + 1, size - 1), name, NULL, 0, on_say, &errors, &config);
    check((err == ERR_OK) == (errors == 0));
    check((err == ERR_OK) == (config != NULL));
    if (config == NULL) return 0;
    check(config->client_pong_timeout_ms < config->client_ping_interval_ms);
    check(config->http_server_port <= 65535);
    check(config->redis_address != NULL);
    for (uint32_t i = 0; i < config->namespaces_count; i++) {
        const char *space = config->namespaces[i].name;
        check(i == 0 || strcmp(config->namespaces[i - 1].name, space) < 0);
        char channel[CONFIG_NAMESPACE_NAME_MAX + 4];
        int used = snprintf(channel, sizeof(channel), "$%s:x", space);
        check(config_namespace_of(config, bytes_of(channel, (size_t)used)) ==
              &config->namespaces[i]);
    }
    config_destroy(config);
    return 0;
}
