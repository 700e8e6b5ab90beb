/* Whether the listener on the socket may answer us. */
#ifndef PERMTAB_CLIENT_PEER_H
#define PERMTAB_CLIENT_PEER_H

#include "shm/error.h"

#include <stdint.h>

#define PEER_VOUCHED (-1) /* root, our own uid, or the uid that root gave the socket's folder to */
#define PEER_ANY     (-2)

/* Compares the peer of a connected socket with `server_uid`: a uid, PEER_VOUCHED or PEER_ANY. `path` is the
 * socket's. 0, PERMTAB_E_PEER, or PERMTAB_E_SYSTEM (errno tells). */
int peer_check(int descriptor, const char *path, int64_t server_uid) PERMTAB_MUST_CHECK;

#endif
