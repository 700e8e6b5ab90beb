/* The scripts of conf/redis, compiled in. */
#include "proxy/redis/redis.h"

#include <assert.h>
#include <string.h>

const struct redis_script redis_scripts[] = {
#include "redis_scripts.inc"
};
const size_t redis_script_count = sizeof redis_scripts / sizeof redis_scripts[0];

const struct redis_script *redis_script(const char *name)
{
    size_t index = 0;
    while (index < redis_script_count && strcmp(redis_scripts[index].name, name) != 0)
        index++;
    assert(index < redis_script_count);
    return &redis_scripts[index];
}
