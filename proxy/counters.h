/* Counters: one table drives stats as text, JSON and Prometheus, and docs/OPERATIONS.md. All are kept by the loop's
 * thread alone; helper threads report through the results of their work. */
#ifndef PERMTAB_PROXY_COUNTERS_H
#define PERMTAB_PROXY_COUNTERS_H

#include <stddef.h>
#include <stdint.h>

/* X(name, kind, help): kind is COUNTER (only grows) or GAUGE. */
#define COUNTERS(X)                                                                                          \
    X(clients, GAUGE, "connected clients")                                                                   \
    X(clients_accepted, COUNTER, "connections accepted")                                                     \
    X(clients_refused, COUNTER, "connections refused because clients_max was reached")                       \
    X(requests, COUNTER, "requests received")                                                                \
    X(requests_failed, COUNTER, "requests answered with an error")                                           \
    X(protocol_errors, COUNTER, "sessions closed for bytes that are not the protocol")                       \
    X(table_hits, COUNTER, "checks answered in shared memory, as clients report them")                       \
    X(table_misses, COUNTER, "checks that were not in shared memory, as clients report them")                \
    X(table_unknowns, COUNTER, "checks answered unknown, as clients report them")                            \
    X(fills, COUNTER, "entries filled from the store")                                                       \
    X(fills_joined, COUNTER, "requests that waited for a fill already under way")                            \
    X(fills_repeated, COUNTER, "fills dropped and repeated because something they read had changed")         \
    X(fills_failed, COUNTER, "fills that the store refused or that timed out")                               \
    X(fills_replica, COUNTER, "fills that the replica's answer was good for")                                \
    X(fills_replica_outdated, COUNTER, "answers of the replica that were outdated, or not of our history")   \
    X(fills_replica_failed, COUNTER, "reads of the replica that failed or came late")                        \
    X(strangers_answered, COUNTER, "fills for users without rows that needed no read")                       \
    X(filter_users, GAUGE, "users in the filter of those who have rows")                                     \
    X(filter_rebuilds, COUNTER, "times that filter was made anew")                                           \
    X(entries, GAUGE, "entries resident")                                                                    \
    X(entries_negative, GAUGE, "entries for scopes that do not exist or users without rows")                 \
    X(entries_evicted, COUNTER, "entries that made room for others")                                         \
    X(entries_retired, COUNTER, "entries retired because something they depend on changed")                  \
    X(sets, GAUGE, "permission sets in use")                                                                 \
    X(sets_rewritten, COUNTER, "permission sets computed again after a role changed")                        \
    X(sets_exhausted, COUNTER, "answers given without an entry because no set was free")                     \
    X(folds, GAUGE, "scopes folded into an ancestor")                                                        \
    X(roles, GAUGE, "role definitions resident")                                                             \
    X(segments, COUNTER, "segments built, the first one included")                                           \
    X(segment_bytes, GAUGE, "bytes of the live segment")                                                     \
    X(polls, COUNTER, "polls of the store")                                                                  \
    X(polls_failed, COUNTER, "polls that failed")                                                            \
    X(polls_disbelieved, COUNTER, "polls after which the store was not believed")                            \
    X(lease_renewals, COUNTER, "renewals of the lease")                                                      \
    X(batches, COUNTER, "batches of changes applied")                                                        \
    X(changes, COUNTER, "change rows applied")                                                               \
    X(expiries, COUNTER, "expired assignments applied")                                                      \
    X(rebuilds, COUNTER, "times the table was rebuilt from nothing")                                         \
    X(applied_revision, GAUGE, "revision up to which the table is true")                                     \
    X(writes, COUNTER, "write requests carried out")                                                         \
    X(invalidations, COUNTER, "invalidate requests carried out")                                             \
    X(misplaced_rows, COUNTER, "assignments ignored because their role is not of that place")                \
    X(audit_differences, COUNTER, "entries that differed from the store (reserved for the auditor)")

enum counter_kind { COUNTER_KIND_COUNTER, COUNTER_KIND_GAUGE };

struct counters {
#define X(name, kind, help) uint64_t name;
    COUNTERS(X)
#undef X
};

struct counter_description {
    const char *name;
    enum counter_kind kind;
    const char *help;
    size_t offset;
};
extern const struct counter_description counter_descriptions[];
extern const size_t counter_description_count;

/* The counter number `index` of the table. */
static inline uint64_t counter_value(const struct counters *counters, size_t index)
{
    return *(const uint64_t *)(const void *)((const char *)counters + counter_descriptions[index].offset);
}

#endif
