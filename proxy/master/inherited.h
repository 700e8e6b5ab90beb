/* Descriptors that whoever started the daemon passed to it: sd_listen_fds(3)'s protocol, without its library. */
#ifndef PERMTAB_MASTER_INHERITED_H
#define PERMTAB_MASTER_INHERITED_H

#include "proxy/base/failure.h"

#include <stdbool.h>

#define INHERITED_MAX       16
#define INHERITED_NAME_SIZE 64

struct inherited {
    struct {
        int descriptor; /* -1: taken */
        char name[INHERITED_NAME_SIZE];
    } items[INHERITED_MAX];
    unsigned count;
};

/* Reads LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES and takes them out of the environment; the descriptors become
 * close-on-exec. Nothing when they are meant for another process. PERMTAB_E_INVALID: they are garbled. */
int inherited_read(struct inherited *out, struct failure *failure) PERMTAB_MUST_CHECK;
/* The listening Unix stream socket that is bound to exactly this path, non-blocking; the caller's. -1: none is. */
int inherited_socket(struct inherited *inherited, const char *path);
/* The first descriptor of this name, the caller's. -1: there is none. */
int inherited_named(struct inherited *inherited, const char *name);
/* PERMTAB_E_INVALID, with a sentence, when one is left that nobody took. */
int inherited_refuse_rest(const struct inherited *inherited, struct failure *failure) PERMTAB_MUST_CHECK;
/* Closes what is left. */
void inherited_fini(struct inherited *inherited);

#endif
