/*
 * engines: the rows of the engine table in store.c, in the order of config_engine.
 *
 * Thread:  any; constant.
 */
#pragma once

#include "storage/store.h"

extern const struct store_engine store_engine_embed;
extern const struct store_engine store_engine_redis;
extern const struct store_engine store_engine_memory;
