/* A stopwatch for bounds that are the product's own: the time that passed, less what this process' threads, and another
 * process, spent waiting for a processor. So a machine that others keep busy is no reason to fail. */
#ifndef PERMTAB_TESTS_SUPPORT_STOPWATCH_H
#define PERMTAB_TESTS_SUPPORT_STOPWATCH_H

#include <stdint.h>
#include <sys/types.h>

struct stopwatch {
    pid_t other;
    uint64_t begun_ns, waited_ns;
};

/* `other`: a process whose waiting does not count either, a server; 0 for none. */
void stopwatch_begin(struct stopwatch *watch, pid_t other);
/* Returns never more than what passed. */
uint64_t stopwatch_ms(const struct stopwatch *watch);

#endif
