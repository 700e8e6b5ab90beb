/* container_of leads from a member to the struct that it is in, for callbacks that get the member. */
#ifndef PERMTAB_BASE_CONTAINER_OF_H
#define PERMTAB_BASE_CONTAINER_OF_H

#include <stddef.h>

/* The `type` whose member `name` is at `pointer`; a pointer to another type than the member's is an error of the
 * compiler. */
#define container_of(pointer, type, name)                                                                    \
    ((type *)(void *)((char *)(1 ? (pointer) : &((type *)0)->name) - offsetof(type, name)))

#endif
