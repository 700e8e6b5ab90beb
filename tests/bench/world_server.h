/* The thread that hands a world's segment out and renews its lease ten times a second, as the sidecar does. */
#ifndef PERMTAB_TESTS_BENCH_WORLD_SERVER_H
#define PERMTAB_TESTS_BENCH_WORLD_SERVER_H

#include "tests/bench/world.h"

#define WORLD_CATALOGUE 1u
#define WORLD_NAME_SIZE 32u

void world_permission_name(uint32_t bit, char name[WORLD_NAME_SIZE]);

void world_server_start(struct world *world);
void world_server_stop(struct world *world);

#endif
