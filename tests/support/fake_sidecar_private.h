/* Functions that the fake sidecar's files share. All are called under the lock. */
#ifndef PERMTAB_TESTS_SUPPORT_FAKE_SIDECAR_PRIVATE_H
#define PERMTAB_TESTS_SUPPORT_FAKE_SIDECAR_PRIVATE_H

#include "tests/support/fake_sidecar.h"

enum { FAKE_GLOBAL, FAKE_SERVER, FAKE_CHANNEL, FAKE_TYPES };

extern const char *const fake_permissions[FAKE_PERMISSIONS];
extern const char *const fake_types[FAKE_TYPES];

/* Aborts with errno's text unless it is good. */
void fake_require(bool good, const char *what);

/* A new segment takes over. */
void fake_table_new(struct fake *fake);
void fake_table_renew(struct fake *fake);
void fake_table_put(struct fake *fake, uint64_t user, uint64_t scope);

/* Answers one request, unless the fake is mute. May close the connection. */
void fake_answer(struct fake *fake, struct fake_connection *connection, const struct wire_message *message);
void fake_connection_close(struct fake_connection *connection);

#endif
