/* A small segment with something of everything in it, and words of it overwritten as an input chooses. */
#ifndef PERMTAB_TESTS_FUZZ_SEGMENT_WORLD_H
#define PERMTAB_TESTS_FUZZ_SEGMENT_WORLD_H

#include "shm/segment.h"
#include "tests/fuzz/fuzz.h"

#define SEGMENT_WORLD_USERS     16u /* 0 … 15, at channel:0 and channel:2; channel:1 is folded to channel:0 */
#define SEGMENT_WORLD_SCOPES    4u
#define SEGMENT_WORLD_CHANNEL   2u /* the number of the scope type `channel` */
#define SEGMENT_WORLD_CATALOGUE 1u

/* Made at the first call by the real writer, live, and leased for ever. a.b is permission 0, c permission 1. */
const struct segment *segment_world(void);
/* Overwrites words in a copy of the segment, mostly in its header. */
void segment_world_overwrite(struct choices *choices, char *bytes, size_t size);

#endif
