/* uthash, whose tables ask for memory at the first addition and when they grow: told to end the process when there is
 * none, unless HASH_NONFATAL_OOM. So an addition may fail; HASH_ADDED says whether it did not. An element that was not
 * added is in no table, and is the caller's to free. */
#ifndef PERMTAB_BASE_HASH_H
#define PERMTAB_BASE_HASH_H

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define HASH_ADDED(element) ((element)->hh.tbl != NULL)

#endif
