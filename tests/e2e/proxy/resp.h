/* Redis' protocol, as much of it as is needed to take single messages out of a subscription: where a value ends, and
 * where the payload of a message lies. Pure. */
#ifndef PERMTAB_E2E_RESP_H
#define PERMTAB_E2E_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The size of the value that begins at `bytes`; 0 when more bytes are needed, -1 when it is none. */
ssize_t resp_size(const char *bytes, size_t size);

/* Says where the payload lies in a whole value that is ["message", channel, payload]. */
bool resp_message(const char *bytes, size_t size, size_t *payload, size_t *length);

#endif
