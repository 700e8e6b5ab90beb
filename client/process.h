/* The parts of a handle that belong to one process alone are empty in a child. */
#ifndef PERMTAB_CLIENT_PROCESS_H
#define PERMTAB_CLIENT_PROCESS_H

#include "client/handle.h"

/* Registers the handle: from now on a fork empties its own page in the child, and closes the parent's connection
 * there. PERMTAB_E_MEMORY. */
int process_join(struct handle *handle) PERMTAB_MUST_CHECK;
/* NULL-safe towards handles that never joined. */
void process_leave(struct handle *handle);
/* Called before the lock is taken: empties the page in a child that was made by a clone which calls no handlers. */
void process_enter(struct handle *handle);
/* A number that no other thread of the process gets, and none of its parents had, whichever handle it begins with. */
uint32_t process_ticket(void);

#endif
