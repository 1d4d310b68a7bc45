/*
 * main: the process, as a table of contents.
 *
 * The command line chooses (cli.c); `serve` is the program: set up in order,
 * run, tear down in reverse.
 */
#include <stdio.h>
#include <unistd.h>

#include "core/doc.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/mem.h"
#include "shards/cli.h"
#include "shards/node.h"

/* Runs the gateway until it is told to end and everything is drained. */
static int serve(struct config *config)
{
    const char *lack = loop_probe();
    if (lack != NULL) {
        fprintf(stderr, "sluice: %s\n", lack);
        config_destroy(config);
        return CLI_FAILED;
    }
    log_set_level((enum log_level)config->log_level);
    log_start(STDERR_FILENO);
    log_info("starting version=%s pid=%d config=%s namespaces=%u", SLUICE_VERSION, (int)getpid(),
             config->path != NULL ? config->path : "(none)", config->namespaces_count);

    struct node *node;
    int code = CLI_FAILED;
    if (node_create(config, &node) == ERR_OK) { /* the config is the node's from here */
        if (node_listen(node) == ERR_OK) code = node_run(node);
        node_destroy(node);
    }
    log_stop();
    return code;
}

int main(int argc, char **argv)
{
    mem_setup();
    doc_setup();
    return cli_run(argc, argv, serve);
}
