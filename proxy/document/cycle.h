/* Cycles of inheritance. Pure. */
#ifndef PERMTAB_DOCUMENT_CYCLE_H
#define PERMTAB_DOCUMENT_CYCLE_H

#include "proxy/document/place.h"

#include <stddef.h>
#include <stdint.h>

/* An edge: child inherits from parent; `tag` is the caller's. */
struct cycle_edge {
    uint64_t child;
    uint64_t parent;
    size_t tag;
};

/* 1 and *found (an index into `edges`) when an edge whose tag is not CYCLE_NO_TAG is part of a cycle: the one with
 * the lowest tag; 0 when there is none; PERMTAB_E_MEMORY. Sorts the edges. Cycles of edges without tags are not
 * reported. */
#define CYCLE_NO_TAG SIZE_MAX
int cycle_find(struct cycle_edge *edges, size_t count, size_t *found) PERMTAB_MUST_CHECK;

/* Sets the sentence about the cycle. Returns the code. */
int cycle_fail(struct failure *failure, const struct policy_place *place, const struct cycle_edge *edge);

#endif
