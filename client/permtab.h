/* permtab: "may this user do this here?", answered from shared memory.
 *
 *     struct permtab *table;
 *     permtab_perm send;
 *     permtab_type channel;
 *     if (permtab_open(&table, "/run/permtab/permtab.sock", NULL) < 0 ||
 *         permtab_permission(table, "message.send", &send) < 0 || permtab_scope_type(table, "channel", &channel) < 0)
 *         ...
 *     if (permtab_allowed(table, user, permtab_at(channel, 10), send))
 *         ...
 *
 * A hit is a few loads from a read-only mapping. A miss asks the sidecar over its Unix socket. An answer is never
 * older than the sidecar's lease (max_staleness, 2 s by default); when that cannot be kept, it is PERMTAB_UNKNOWN.
 *
 * Threads may share a handle. After fork the child may go on using it: the mapping is the same, the socket and
 * the counters become the child's own. Not for signal handlers, except permtab_peek.
 *
 * Errors are negative codes (shm/error.h), permtab_strerror() names them. Ids are full 64-bit unsigned numbers. */
#ifndef PERMTAB_H
#define PERMTAB_H

#include "shm/error.h"
#include "shm/reader.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PERMTAB_API __attribute__((visibility("default")))

enum permtab_decision { PERMTAB_UNKNOWN = -1, PERMTAB_DENY = 0, PERMTAB_ALLOW = 1 };

struct permtab;
struct permtab_rule;

typedef struct {
    uint32_t slot;
} permtab_perm; /* of one handle; survives reattachment */

typedef struct {
    uint32_t slot;
} permtab_type; /* of one handle */

typedef struct {
    uint64_t id;
    permtab_type type;
} permtab_scope;

/* What a write returned: a check "at" it sees the write or is UNKNOWN. */
struct permtab_token {
    uint64_t store_id, revision;
};

/* size: sizeof(struct permtab_options), so that fields can be added. 0 elsewhere means the default.
 * open_ms: how long permtab_open and permtab_refresh wait for the sidecar (5000). check_ms: how long one blocking
 * check may take in all (1000). server_uid: the uid the sidecar must run as; -1 means root or our own. */
struct permtab_options {
    size_t size;
    uint32_t open_ms, check_ms;
    int64_t server_uid;
};

/* One check of a batch; owner counts when owned is true. */
struct permtab_query {
    uint64_t user, owner;
    permtab_scope scope;
    permtab_perm perm;
    bool owned;
};

/* One user at one place, for one request. Plain memory: copy it, drop it. Do not keep it across permtab_close. */
struct permtab_view {
    uint64_t private_[8];
};

#ifdef __cplusplus
}
#endif

#endif
