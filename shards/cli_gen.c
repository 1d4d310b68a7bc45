/*
 * cli_gen: a configuration to begin with.
 *
 * What a first gateway needs, each section with the sentence that decides it, and
 * two secrets that nobody else has.  Everything it prints is taken by check-config.
 */
#include <stdio.h>

#include "core/crypt.h"
#include "core/entropy.h"
#include "shards/cli_parts.h"

#define SECRET_BYTES 32

static const char head[] =
    "# A configuration of Sluice.  Each option, its values and its default:\n"
    "#   sluice options        sluice gen-config --full\n"
    "# After a change:         sluice check-config --config FILE\n"
    "# Taken without a restart at SIGHUP, but where \"restart\" is said.\n"
    "# The environment wins over this file: SLUICE_HTTP_SERVER_PORT=9000\n"
    "# is http_server.port.  This file holds secrets: chmod 600.\n\n";

static const char clients[] =
    "client:\n"
    "  token:\n"
    "    # Signs the tokens of your users (HS256): your backend has the same key.\n"
    "    # One to try with: sluice gen-token --config FILE --user alice\n"
    "    hmac_secret_key: \"%s\"\n"
    "  # Web pages that may connect; \"*\" stands for any text.  Empty: no page of\n"
    "  # another origin.  Programs that send no Origin are not asked.\n"
    "  allowed_origins: [\"http://localhost:*\"]\n"
    "  # Without tokens, for development only: insecure: true\n"
    "  channel_limit: 128\n"
    "  ping_interval: 25s\n"
    "  pong_timeout: 8s\n"
    "  # What may wait for a client that reads slowly, before it is disconnected.\n"
    "  queue_max_size: 1MiB\n\n";

static const char server[] =
    "http_server:\n"
    "  # Empty: every address of this machine (restart).\n"
    "  address: \"127.0.0.1\"\n"
    "  port: 8000\n"
    "  # TLS on that port (restart); the files are read again at SIGHUP.\n"
    "  # tls:\n"
    "  #   enabled: true\n"
    "  #   cert_pem: /etc/sluice/fullchain.pem\n"
    "  #   key_pem: /etc/sluice/privkey.pem\n\n"
    "http_api:\n"
    "  # Backends send it as X-API-Key to POST /api/publish and the other methods.\n"
    "  key: \"%s\"\n\n"
    "websocket:\n"
    "  # The largest message of a client.\n"
    "  message_size_limit: 64KiB\n\n";

static const char channels[] =
    "channel:\n"
    "  # What stands before the first ':' of a channel's name is its namespace and\n"
    "  # decides what the channel may do.  Names without ':' come under this one:\n"
    "  without_namespace:\n"
    "    allow_subscribe_for_client: false\n"
    "  namespaces:\n"
    "    # chat:general, chat:42: kept, recovered after a lost connection\n"
    "    - name: chat\n"
    "      history_size: 1000\n"
    "      history_ttl: 7d\n"
    "      force_recovery: true\n"
    "      allow_subscribe_for_client: true\n"
    "      allow_publish_for_subscriber: true\n"
    "      allow_history_for_subscriber: true\n"
    "      # Who is subscribed can be asked.\n"
    "      presence: true\n"
    "      allow_presence_for_subscriber: true\n"
    "    # live:scores: what is missed is missed; only the backend publishes\n"
    "    - name: live\n"
    "      allow_subscribe_for_client: true\n\n";

static const char store[] =
    "storage:\n"
    "  # embedded: files of this node.  redis: Redis Streams, for several nodes.\n"
    "  # memory: gone at a restart.  (restart)\n"
    "  engine: embedded\n"
    "  path: data\n"
    "  # durable: acknowledged when it is on the disk.  written: when the kernel has it.\n"
    "  durability: durable\n"
    "  # redis.address and others count with engine: redis.\n\n"
    "shards:\n"
    "  # Threads; 0 is one per CPU (restart).\n"
    "  count: 0\n"
    "  # Connections that one of them has room for (restart).\n"
    "  connections_max: 65536\n\n"
    "# GET /health: 200 while the gateway can serve, 503 with the reason otherwise.\n"
    "health:\n"
    "  enabled: true\n\n"
    "# GET /metrics, for Prometheus.\n"
    "prometheus:\n"
    "  enabled: true\n\n"
    "log:\n"
    "  level: info\n\n"
    "shutdown:\n"
    "  # Clients are handed over within this time at SIGTERM.\n"
    "  timeout: 30s\n";

static void print_line(void *context, const char *line)
{
    (void)context;
    puts(line);
}

int cli_gen_config(const struct cli_call *call)
{
    uint8_t secrets[2][SECRET_BYTES];
    char texts[2][2 * SECRET_BYTES + 1];
    entropy_fill(secrets, sizeof(secrets));
    for (size_t i = 0; i < 2; i++) {
        crypt_hex(bytes_of(secrets[i], SECRET_BYTES), texts[i]);
        texts[i][2 * SECRET_BYTES] = 0;
    }
    if (call->values[OPTION_FULL] == NULL) {
        fputs(head, stdout);
        printf(clients, texts[0]);
        printf(server, texts[1]);
        fputs(channels, stdout);
        fputs(store, stdout);
    } else {
        const struct config_override instead[] = {
            {"client.token.hmac_secret_key", texts[0], ""},
            {"http_api.key", texts[1], ""},
        };
        fputs(head, stdout);
        config_write(instead, array_count(instead), print_line, NULL);
    }
    crypt_wipe(secrets, sizeof(secrets));
    crypt_wipe(texts, sizeof(texts));
    return CLI_DONE;
}
