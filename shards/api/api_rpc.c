/*
 * api_rpc: methods of the application behind the server API.
 *
 * The gateway has none of its own, so a method that is named is not found.
 */
#include "proto/json.h"
#include "shards/api/api_parts.h"
#include "shards/shard.h"

enum err api_rpc(const struct api *api)
{
    struct bytes name, method = BYTES_NONE;
    struct json json;
    json_open(&json, api->body);
    if (json_enter_object(&json))
        while (json_key(&json, &name)) {
            if (bytes_equal_text(name, "method"))
                json_text(&json, &api->shard->arena, &method);
            else
                json_skip(&json);
        }
    TRY(json_close(&json));
    return method.size == 0 ? ERR_BAD_REQUEST : ERR_NOT_FOUND;
}
