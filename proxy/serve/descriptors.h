/* The share of descriptors that clients may take. The kernel gives the lowest number that is free, so a descriptor
 * with number N says that N are taken below it. A descriptor of a client (its connection, or one made or passed for
 * it) may not have one of the last numbers below the limit: as many of these as the store, Redis and files may
 * still need are kept free for them. */
#ifndef PERMTAB_SERVE_DESCRIPTORS_H
#define PERMTAB_SERVE_DESCRIPTORS_H

#include "proxy/config/config.h"

#include <stdbool.h>
#include <stdint.h>

struct descriptors {
    uint64_t limit; /* RLIMIT_NOFILE, soft */
    uint64_t kept;  /* numbers from limit - kept on are not for clients */
};

/* The descriptors that the sidecar itself may have open at once, whatever clients do. */
uint64_t descriptors_own(const struct config *config);
/* The RLIMIT_NOFILE needed for clients_max clients. */
uint64_t descriptors_wanted(const struct config *config);
/* The least RLIMIT_NOFILE with which the sidecar serves anybody. */
uint64_t descriptors_least(const struct config *config);

/* Raises the soft limit to descriptors_wanted, as far as the hard one allows. PERMTAB_E_LIMIT when that is less
 * than the least; a line in the log when it is less than wanted. */
int descriptors_init(struct descriptors *descriptors, const struct config *config,
                     struct failure *failure) PERMTAB_MUST_CHECK;
/* PERMTAB_E_LIMIT when not even the hard limit of this process is the least. */
int descriptors_check(const struct config *config, struct failure *failure) PERMTAB_MUST_CHECK;
/* Prints comments behind the configuration: the limit that is wanted, and the one that is allowed here. */
void descriptors_print(const struct config *config, void *stdio_file);

/* Whether a descriptor of a client may stay. If not, the caller closes it, and so refuses the client. */
bool descriptors_spare(const struct descriptors *descriptors, int descriptor);
/* Sessions of operators whose descriptors are among those kept; they are let in however many clients there are. */
#define DESCRIPTORS_OPERATORS 4u

#endif
