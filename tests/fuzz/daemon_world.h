/* The daemon's parts in this process, with a small community in a store of their own and without listeners: fuzzers
 * hand connections to it. */
#ifndef PERMTAB_TESTS_FUZZ_DAEMON_WORLD_H
#define PERMTAB_TESTS_FUZZ_DAEMON_WORLD_H

#include "proxy/daemon/daemon.h"

/* Started at the first call, and for as long as the process lives. */
struct daemon *daemon_world(void);
/* Before that call: the address of a Redis. daemon_world_base is the loop, which is made then. */
void daemon_world_redis(const char *url);
struct event_base *daemon_world_base(void);
/* Two ends of a connection; the second is the daemon's, to be given to server_accept or ops_accept. Neither blocks. */
void daemon_world_connect(int ends[2]);
/* One turn of the loop, after a wait for something to do of at most a millisecond. */
void daemon_world_turn(void);

#endif
