/* `permtabd --demo`: a folder of its own with an embedded store, a small community in it, and a few lines that say
 * what to try. The folder is removed at the end. */
#ifndef PERMTAB_DAEMON_DEMO_H
#define PERMTAB_DAEMON_DEMO_H

#include "proxy/config/config.h"
#include "proxy/store/store.h"

#include <stdio.h>

struct demo;

/* Makes the folder and points store and sockets of the configuration into it. PERMTAB_E_SYSTEM, PERMTAB_E_MEMORY. */
int demo_new(struct demo **out, struct config *config, struct failure *failure) PERMTAB_MUST_CHECK;
/* Points store and sockets of a configuration into the folder, which is there. PERMTAB_E_MEMORY. */
int demo_configure(const struct demo *demo, struct config *config,
                   struct failure *failure) PERMTAB_MUST_CHECK;
/* Applies the built-in policy. Blocks. */
int demo_fill_store(const struct config *config, struct store *store,
                    struct failure *failure) PERMTAB_MUST_CHECK;
void demo_print(const struct demo *demo, const struct config *config, FILE *out);
/* Removes the folder. */
void demo_free(struct demo *demo);

#endif
