/* Counters: one table drives stats as text, JSON and Prometheus, and docs/OPERATIONS.md. All are kept by the loop's
 * thread alone; helper threads report through the results of their work. */
#ifndef PERMTAB_BASE_COUNTERS_H
#define PERMTAB_BASE_COUNTERS_H

#include <stddef.h>
#include <stdint.h>

/* X(name, kind, help): kind is COUNTER (only grows), GAUGE, or SIGNED (a gauge that may be below zero). Times are
 * microseconds, their names end in _us, and `help` names no unit: Prometheus shows them in seconds. */
#define COUNTERS(X)                                                                                          \
    X(worker_starts, COUNTER, "workers that the master has begun, this one included")                        \
    X(worker_age_us, GAUGE, "how long this worker has been there")                                           \
    X(clients, GAUGE, "connected clients")                                                                   \
    X(clients_accepted, COUNTER, "connections accepted")                                                     \
    X(clients_refused, COUNTER, "connections refused: clients_max or descriptors ran out")                   \
    X(requests, COUNTER, "requests received")                                                                \
    X(requests_failed, COUNTER, "requests answered with an error")                                           \
    X(protocol_errors, COUNTER, "sessions closed for bytes that are not the protocol")                       \
    X(table_hits, COUNTER, "checks answered in shared memory, as clients report them")                       \
    X(table_misses, COUNTER, "checks that were not in shared memory, as clients report them")                \
    X(table_unknowns, COUNTER, "checks answered unknown, as clients report them")                            \
    X(socket_hits, COUNTER, "checks over the socket that were answered from the table")                      \
    X(samples, COUNTER, "samples of hits that clients have left")                                            \
    X(fills, COUNTER, "entries filled from the store")                                                       \
    X(fills_known, COUNTER, "of these, misses of clients: users with rows, at places that are there")        \
    X(store_reads, COUNTER, "reads of the store for fills and the warm-up, each of one or of many")          \
    X(fills_joined, COUNTER, "requests that waited for a fill already under way")                            \
    X(fills_repeated, COUNTER, "fills dropped and repeated: something they read had changed, or was missing") \
    X(fills_roles_missing, COUNTER, "of these, for want of a role's definition, which was not read")          \
    X(fills_failed, COUNTER, "fills that the store refused or that timed out")                               \
    X(keys_known, GAUGE, "keys of which it is known that they were asked for lately, about")                 \
    X(keys_bytes, GAUGE, "bytes of the memory that these take, which outlives the worker")                    \
    X(keys_noted, COUNTER, "times that a key was noted as asked for")                                        \
    X(hot_keys_written, COUNTER, "hot keys put into Redis by this host, for fresh ones")                     \
    X(hot_keys_read, COUNTER, "hot keys that others have put there, read")                                   \
    X(hot_keys_bad, COUNTER, "pieces of these that could not be understood, or are of another store")        \
    X(warm_jobs, GAUGE, "jobs of the warm-up under way, those that wait included")                           \
    X(warm_store_us, COUNTER, "how long its reads took at the store, all connections together")              \
    X(warm_left, GAUGE, "keys that the warm-up has still to fill")                                           \
    X(warm_filled, COUNTER, "keys that the warm-up has filled")                                              \
    X(warm_strangers, COUNTER, "keys that it skipped: no such place, or a user without rows")                \
    X(warm_failed, COUNTER, "keys that it could not read")                                                   \
    X(fills_replica, COUNTER, "fills that the replica's answer was good for")                                \
    X(fills_replica_outdated, COUNTER, "answers of the replica that were outdated, or not of our history")   \
    X(fills_replica_failed, COUNTER, "reads of the replica that failed or came late")                        \
    X(strangers_answered, COUNTER, "fills for users without rows that needed no read")                       \
    X(filter_users, GAUGE, "users in the filter of those who have rows")                                     \
    X(filter_rebuilds, COUNTER, "times that filter was made anew")                                           \
    X(entries, GAUGE, "entries resident")                                                                    \
    X(entries_negative, GAUGE, "entries for scopes that do not exist or users without rows")                 \
    X(entries_evicted, COUNTER, "entries that made room for others")                                         \
    X(entries_returned, COUNTER, "of these, those that were soon asked for again, about")                    \
    X(entries_retired, COUNTER, "entries retired because something they depend on changed")                  \
    X(sets, GAUGE, "permission sets in use")                                                                 \
    X(sets_rewritten, COUNTER, "permission sets computed again after a role changed")                        \
    X(sets_exhausted, COUNTER, "answers given without an entry because no set was free")                     \
    X(folds, GAUGE, "scopes folded into an ancestor")                                                        \
    X(roles, GAUGE, "role definitions resident")                                                             \
    X(segments, COUNTER, "segments built, the first one included")                                           \
    X(segment_bytes, GAUGE, "bytes of the live segment")                                                     \
    X(table_capacity, GAUGE, "entries that the table has room for")                                          \
    X(table_bytes, GAUGE, "bytes of the tables there are, private indexes included")                         \
    X(retired_bytes, GAUGE, "bytes of retired segments that clients still have mapped")                      \
    X(growths, COUNTER, "times the table grew")                                                              \
    X(growths_hit_rate, COUNTER, "of these, because there were too few hits")                                \
    X(growths_returned, COUNTER, "of these, because entries that had made room were asked for again")        \
    X(growths_given_up, COUNTER, "times growth was begun and given up")                                      \
    X(growth_held_memory_max, GAUGE, "1 when table_memory_max kept the table from growing lately")           \
    X(growth_held_cgroup, GAUGE, "1 when the memory limit of the cgroup did")                                \
    X(growth_held_machine, GAUGE, "1 when the memory that is left on the machine did")                       \
    X(polls, COUNTER, "polls of the store")                                                                  \
    X(polls_failed, COUNTER, "polls that failed")                                                            \
    X(polls_disbelieved, COUNTER, "polls after which the store was not believed")                            \
    X(lease_renewals, COUNTER, "renewals of the lease")                                                      \
    X(leases_ended, COUNTER, "times the lease ended before it was renewed")                                  \
    X(batches, COUNTER, "batches of changes applied")                                                        \
    X(changes, COUNTER, "change rows applied")                                                               \
    X(expiries, COUNTER, "expired assignments applied")                                                      \
    X(rebuilds, COUNTER, "times the table was rebuilt from nothing")                                         \
    X(applied_revision, GAUGE, "revision up to which the table is true")                                     \
    X(writes, COUNTER, "write requests carried out")                                                         \
    X(writes_waiting, GAUGE, "write requests under way that somebody waits for")                             \
    X(writes_timed_out, COUNTER, "write requests given up when their time was over")                         \
    X(writes_abandoned, COUNTER, "write requests given up because their asker had gone")                     \
    X(writes_unsure, COUNTER, "write requests of which the asker was told that the outcome is unknown")      \
    X(invalidations, COUNTER, "invalidate requests carried out")                                             \
    X(delayed_added, COUNTER, "delayed tasks added through this host")                                       \
    X(delayed_taken, COUNTER, "delayed tasks taken from the queue by this host")                             \
    X(delayed_done, COUNTER, "delayed tasks carried out")                                                    \
    X(delayed_failed, COUNTER, "times a delayed task could not be carried out and was put back")             \
    X(delayed_late, COUNTER, "delayed tasks taken more than 5 s after they were due")                        \
    X(delayed_waited, COUNTER, "times a delayed task was put back because its condition did not hold")       \
    X(delayed_expired, COUNTER, "delayed tasks that ended undone: out of time, or tried too often")          \
    X(delayed_returned, COUNTER, "delayed tasks put back because the host that had them let its lease end")  \
    X(delayed_cancelled, COUNTER, "delayed tasks cancelled through this host")                               \
    X(invalidations_heard, COUNTER,                                                                          \
      "messages heard that other hosts, or people, have published to invalidate")                            \
    X(invalidations_refused, COUNTER, "invalidations not begun, or done in part: a limit was met")           \
    X(invalidations_running, GAUGE, "invalidations under way")                                               \
    X(invalidation_entries, COUNTER, "entries retired by invalidations")                                     \
    X(invalidation_keys, COUNTER, "keys removed from L2 by invalidations")                                   \
    X(invalidation_retries, COUNTER, "commands to Redis that invalidations had to repeat")                   \
    X(invalidation_singles, COUNTER, "keys removed one by one because Redis refused their batch")            \
    X(invalidation_failures, COUNTER,                                                                        \
      "keys that invalidations could not remove; they end with their time to live")                          \
    X(invalidation_gaps, COUNTER, "messages of other hosts that were lost, by their numbers")                \
    X(misplaced_rows, COUNTER, "assignments ignored because their role is not of that place")                \
    X(l2_hits, COUNTER, "misses answered from Redis")                                                        \
    X(l2_misses, COUNTER, "looks into Redis that went on to the store")                                      \
    X(l2_outdated, COUNTER, "values in Redis that a change since had made useless")                          \
    X(l2_roles_missing, COUNTER, "values in Redis whose roles this host did not know")                       \
    X(l2_corrupt, COUNTER, "values in Redis that could not be understood")                                   \
    X(l2_oversized, COUNTER, "values too large for Redis")                                                   \
    X(l2_lock_waits, COUNTER, "waits for another host that was reading the same from the store")             \
    X(l2_puts, COUNTER, "values put into Redis")                                                             \
    X(l2_puts_refused, COUNTER, "values that came too late for Redis")                                       \
    X(l2_refreshes, COUNTER, "values that were due to be read again from the store before they ended")       \
    X(l2_errors, COUNTER, "commands to Redis that were refused, lost or too slow")                           \
    X(l2_breaker_open, GAUGE, "1 while Redis is not asked because it failed or was slow")                    \
    X(l2_marker_known, GAUGE, "1 while it is known up to where Redis is true")                               \
    X(l2_marker_revision, GAUGE, "revision up to which Redis is true")                                       \
    X(l2_advances, COUNTER, "attempts to bring Redis to a later revision")                                   \
    X(l2_epochs, COUNTER, "times this host made Redis forget everything")                                    \
    X(l2_contested, GAUGE, "1 while L2 is left to another store under the same prefix")                      \
    X(messages, COUNTER, "messages heard from Redis")                                                        \
    X(messages_bad, COUNTER, "messages that could not be understood")                                        \
    X(messages_foreign, COUNTER, "messages about another store")                                             \
    X(message_gaps, COUNTER, "gaps in the sequence of messages")                                             \
    X(message_wakes, COUNTER, "polls that a message caused")                                                 \
    X(cleanup_keys_seen, COUNTER, "keys of Redis that clean-ups have passed, about")                         \
    X(cleanup_keys_removed, COUNTER, "keys of Redis that clean-ups have removed")                            \
    X(cleanup_slices, COUNTER, "slices of clean-ups")                                                        \
    X(audit_checks, COUNTER, "resident entries that the auditor compared with the store")                    \
    X(audit_differences, COUNTER, "entries that differed from the store")                                    \
    X(audit_overgrants, COUNTER, "of these, entries that allowed what the store does not")                   \
    X(audit_skipped, COUNTER, "audits given up because the entry or the store changed meanwhile")            \
    X(audit_rebuilds, COUNTER, "times the auditor had the whole table rebuilt")                              \
    X(propagation_unmeasured, COUNTER, "changes whose way to the table could not be measured")               \
    X(clock_offset_us, SIGNED, "how far the store's clock is ahead of this host's")                          \
    X(clock_error_us, GAUGE, "how far that may be wrong")                                                    \
    X(clock_steps, COUNTER, "times the store's clock was found to have been set")                            \
    X(subscribers, GAUGE, "clients that are told what is invalidated")                                       \
    X(subscribers_refused, COUNTER, "subscriptions refused because there were too many")                     \
    X(notifications, COUNTER, "notifications sent to subscribers")                                           \
    X(notifications_missed, COUNTER, "targets that slow subscribers were not told of")

enum counter_kind { COUNTER_KIND_COUNTER, COUNTER_KIND_GAUGE, COUNTER_KIND_SIGNED };

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
