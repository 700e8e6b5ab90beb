/* Whose process is this? What a handle keeps for one process alone must be empty in a child. */
#ifndef PERMTAB_CLIENT_PROCESS_H
#define PERMTAB_CLIENT_PROCESS_H

#include "client/handle.h"

/* From now on a fork empties the handle's own page in the child, and closes the parent's connection there.
 * PERMTAB_E_MEMORY. */
int process_join(struct handle *handle) PERMTAB_MUST_CHECK;
/* NULL-safe towards handles that never joined. */
void process_leave(struct handle *handle);
/* Before the lock is taken: empties the page if this is a child after all, made by a clone that calls nobody. */
void process_enter(struct handle *handle);
/* A number that no other thread of the process gets, and none of its parents had: whichever handle it begins with. */
uint32_t process_ticket(void);

#endif
