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
 * The sidecar may give its table up for another, and may die and be there again. Whoever calls something that may block
 * follows it while the old table still answers: such calls look for the newer table when the old one was retired, or
 * less than a quarter of its lease is left. A process that asks often does not wait for that; one that asks now and
 * then waits 5 ms at most.
 *
 * Threads may share a handle. After fork the child may go on using it: the mapping is the same, the socket and the
 * counters become the child's own at its first call that may block. Others may close our descriptors at any time (a
 * daemonizer closes all of them): the library connects again, and never touches files that have got those numbers
 * since. It must not be called between vfork and exec. Not for signal handlers, except permtab_peek.
 *
 * "Blocks" below means: may wait for the sidecar, at most check_ms (permtab_open and permtab_refresh: open_ms), other
 * threads' turns at the socket included. Everything else neither blocks nor makes a system call.
 *
 * C11 and C++11, gcc and clang, Linux; with a strict -std=c11 define _POSIX_C_SOURCE as 200809L.
 * Errors are negative codes (shm/error.h), permtab_strerror() names them. Ids are full 64-bit unsigned numbers. */
#ifndef PERMTAB_H
#define PERMTAB_H

#include "shm/error.h"

#if defined(__GNUC__) && defined(__cplusplus)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic" /* the layout has a flexible array */
#pragma GCC diagnostic ignored "-Wshadow"   /* a function and a struct may share a name */
#endif
#include "shm/reader.h"
#if defined(__GNUC__) && defined(__cplusplus)
#pragma GCC diagnostic pop
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PERMTAB_INLINE_ static inline __attribute__((always_inline))
#define PERMTAB_API __attribute__((visibility("default")))

enum permtab_decision { PERMTAB_UNKNOWN = -1, PERMTAB_DENY = 0, PERMTAB_ALLOW = 1 };

struct permtab;
struct permtab_rule;

/* A permission and a scope type by name, resolved once. They belong to one handle and survive reattachment. All
 * zero is no permission and no type, and makes every check UNKNOWN. */
typedef struct {
    uint32_t slot;
} permtab_perm;

typedef struct {
    uint32_t slot;
} permtab_type;

/* A place. The global one is permtab_at(type of "global", 0). */
typedef struct {
    uint64_t id;
    permtab_type type;
} permtab_scope;

/* A token that a write returned: a check "at" it sees the write or is UNKNOWN. */
struct permtab_token {
    uint64_t store_id, revision;
};

/* size: sizeof(struct permtab_options), so that fields can be added. open_ms: how long permtab_open and permtab_refresh
 * wait for the sidecar (0: 5000). check_ms: how long one blocking call may take in all (0: 1000). server_uid: the uid
 * the sidecar must run as (so set it: 0 means root alone). -1 and NULL options: root, our own, or the owner of the
 * socket's folder where root alone can have made that folder, as systemd makes /run/permtab for the sidecar's user: no
 * folder above it, and none with a link that leads there, belongs to, or may be written by, anybody but root.
 *
 * Within these times a connection that ends, or cannot be made, is tried again: a sidecar that is started anew fails no
 * check that has time left. But when it has been away for longer than both check_ms and a lease, calls that need it
 * fail at once until it is back, so that a server whose sidecar stays away does not stand still. */
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

/* ---- opening ------------------------------------------------------------------------------------------------- */

/* Connects, attaches to the table and reads the catalogue; waits up to open_ms for the sidecar to be there and to
 * have a table. NULL options: defaults. *out is written on success alone; permtab_close it. A sidecar with another
 * table layout than this header's is no failure: the handle then answers over the socket alone (permtab_peek is
 * PERMTAB_UNKNOWN, and permtab_why says PERMTAB_E_LAYOUT). Blocks.
 * PERMTAB_E_UNREACHABLE, _TIMEOUT, _STALE (it is there, and has nothing to vouch for), _PEER (whose socket is it?),
 * _CLOCK (another time namespace), _PROTOCOL, _INVALID (a path that is too long, options of no known size),
 * _HEADER (the program was compiled with another permtab.h than the library: compile it again), _MEMORY, _SYSTEM
 * (errno tells). */
static inline int permtab_open(struct permtab **out, const char *socket_path,
                               const struct permtab_options *options) PERMTAB_MUST_CHECK;

/* Attaches again, for workers that only peek: call it when permtab_why says PERMTAB_E_RETIRED, _STALE, _CATALOGUE or
 * _UNREACHABLE. Waits up to open_ms. The codes of permtab_open; on failure the handle is as it was. 0 when there is no
 * newer table, and this one has a lease: then call it again after a pause. Blocks. */
PERMTAB_API int permtab_refresh(struct permtab *table) PERMTAB_MUST_CHECK;

/* Gives everything back; NULL is allowed. No other thread may be inside the library with this handle, and its rules
 * are freed first. A child that forked closes its own copy; the parent's stays. */
PERMTAB_API void permtab_close(struct permtab *table);

/* Resolves a name, once, at start-up; the same name gives the same slot. The catalogue is read again when the name
 * is not in it. PERMTAB_E_NO_PERMISSION, PERMTAB_E_NO_SCOPE_TYPE, PERMTAB_E_LIMIT (a name too long, too many
 * names), and the codes of permtab_open. Blocks. */
PERMTAB_API int permtab_permission(struct permtab *table, const char *name,
                                   permtab_perm *out) PERMTAB_MUST_CHECK;
PERMTAB_API int permtab_scope_type(struct permtab *table, const char *name,
                                   permtab_type *out) PERMTAB_MUST_CHECK;

static inline permtab_scope permtab_at(permtab_type type, uint64_t id);

/* ---- checking ------------------------------------------------------------------------------------------------ */

/* True for ALLOW alone: the one to use. Blocks on a miss. */
PERMTAB_INLINE_ bool permtab_allowed(struct permtab *table, uint64_t user, permtab_scope scope,
                                     permtab_perm perm);

/* The table, then the socket, within check_ms. UNKNOWN: see permtab_why. Blocks on a miss. */
PERMTAB_INLINE_ enum permtab_decision permtab_check(struct permtab *table, uint64_t user, permtab_scope scope,
                                                    permtab_perm perm);

/* The table alone. When it was retired, or less than a quarter of its lease is left, permtab_why says
 * PERMTAB_E_RETIRED although the answer is good. Never blocks; may be called in a signal handler. */
PERMTAB_INLINE_ enum permtab_decision permtab_peek(struct permtab *table, uint64_t user, permtab_scope scope,
                                                   permtab_perm perm);

/* The permission on a resource of `owner`: own-only grants count when the user is the owner. Blocks on a miss. */
static inline enum permtab_decision permtab_check_owned(struct permtab *table, uint64_t user,
                                                        permtab_scope scope, permtab_perm perm,
                                                        uint64_t owner);

/* As permtab_check, and never older than the write that returned the token: when the table is behind it, the sidecar is
 * asked, which catches up first. A token of another store is UNKNOWN. Blocks on a miss. */
static inline enum permtab_decision permtab_check_at(struct permtab *table, uint64_t user,
                                                     permtab_scope scope, permtab_perm perm,
                                                     struct permtab_token token);

/* n checks; out[i] answers queries[i], each true by itself: they need not be of one moment. Memory is fetched
 * ahead; queries that are not in the table are asked for together, 10,000 in one round trip. Of those that were not
 * answered in time the table is asked once more: the sidecar goes on with them. Returns how many are not UNKNOWN;
 * or PERMTAB_E_INVALID (a NULL, or n above INT_MAX) with nothing written. Any other failure makes single answers
 * UNKNOWN. Blocks on a miss, at most check_ms in all. */
PERMTAB_API int permtab_check_many(struct permtab *table, const struct permtab_query *queries, size_t n,
                                   enum permtab_decision *out) PERMTAB_MUST_CHECK;

/* Why this thread's last UNKNOWN was one: a code, or 0 when there was none since permtab_open or permtab_refresh
 * succeeded in this thread. Not changed by ALLOW or DENY (but see permtab_peek).
 *   _MISS         not in the table (permtab_peek)         _BUSY         the entry kept changing: try again
 *   _STALE        the lease has ended                     _RETIRED      another table takes over: permtab_refresh
 *   _CATALOGUE    names must be resolved again            _BEHIND       the table is behind the token (peek)
 *   _UNREACHABLE  the sidecar is away                     _TIMEOUT      no answer within check_ms, now or just before
 *   _LAYOUT       served over the socket alone (peek)     _NO_PERMISSION, _NO_SCOPE_TYPE  the name has gone
 *   others        what the sidecar said */
PERMTAB_API int permtab_why(const struct permtab *table);

/* permtab_why as a sentence for people and logs: the sidecar's words when this thread asked it, "the feed waits for
 * the store to answer a poll, since 2026-11-30T04:11:05Z"; or, when it said nothing, permtab_strerror of the code;
 * "" for 0. Valid until this thread's next call with any handle. */
PERMTAB_API const char *permtab_why_text(const struct permtab *table);

/* ---- views and rules ----------------------------------------------------------------------------------------- */

/* Finds one user at one place once, for many tests in one request; asks the sidecar for it when it is not there. 0, or
 * the code that permtab_why would give; PERMTAB_E_LAYOUT and PERMTAB_E_MISS mean that there is no entry to look at (use
 * permtab_check). *out is written in any case: after a failure it answers UNKNOWN. Blocks on a miss. */
PERMTAB_API int permtab_view_get(struct permtab *table, uint64_t user, permtab_scope scope,
                                 struct permtab_view *out) PERMTAB_MUST_CHECK;

/* Bits and set sequence, no clock: true when the view was made, and not known to have changed since. A view that is
 * kept for longer than a request must be asked permtab_view_current first. Never blocks. */
static inline enum permtab_decision permtab_view_has(const struct permtab_view *view, permtab_perm perm,
                                                     bool own);

/* Would permtab_view_get find the same now? Looks at entry, catalogue, lease and clock. Never blocks. */
PERMTAB_API bool permtab_view_current(const struct permtab_view *view);

/* Compiles  message.delete AND (channel.manage OR NOT member.muted).  NOT binds tighter than AND, AND tighter than OR.
 * ALL(a, b, …) and ANY(a, b, …) take expressions. message.* stands for any of the live permissions whose names
 * begin with "message.": ANY over them, and inside ALL( ) all of them; the set of them follows the catalogue.
 * Keywords in any case. Values are three: NOT UNKNOWN is UNKNOWN, DENY AND UNKNOWN is DENY, ALLOW OR UNKNOWN is
 * ALLOW.
 * On failure *error_at (may be NULL) is the byte offset of the trouble: PERMTAB_E_SYNTAX, PERMTAB_E_NO_PERMISSION
 * (a name that does not exist, a wildcard that matches nothing), PERMTAB_E_LIMIT (more than 4096 bytes, 32 levels,
 * 1024 parts), PERMTAB_E_MEMORY, and the codes of permtab_permission. Free the rule before its handle. Blocks. */
PERMTAB_API int permtab_rule_compile(struct permtab *table, const char *text, struct permtab_rule **out,
                                     size_t *error_at) PERMTAB_MUST_CHECK;

/* All permissions that the rule looks at are read at one moment of the view's set. A permission that has gone since
 * makes its part UNKNOWN. Threads may share a rule. Never waits for the sidecar. */
PERMTAB_API enum permtab_decision permtab_rule_eval(const struct permtab_view *view,
                                                    const struct permtab_rule *rule, bool own);

/* NULL is allowed. */
PERMTAB_API void permtab_rule_free(struct permtab_rule *rule);

/* One sentence for a code; "unknown error" for a number that is none. Static memory. */
PERMTAB_API const char *permtab_strerror(int code);

/* ---- the fast path: not part of the interface below here ------------------------------------------------------ */

#define PERMTAB_TYPE_SLOTS_ 16u /* slot 0 is no type */
#define PERMTAB_NO_NUMBER_  UINT32_MAX
/* At most so many hits lie between one that is sampled and the next: client/count.c. */
#define PERMTAB_SAMPLE_GAP_ 55u

/* The number of what is below here and in shm/reader.h, as far as code that is compiled into programs shares it with
 * the library: structs, and functions that end in _. Raise it with each change of them (client/permtab.c watches the
 * sizes). permtab_open_ gets it above the layout, where programs from before there was a number have 0. A library
 * from that time takes the sum for a layout that it does not know, and answers over the socket alone. */
#define PERMTAB_HEADER_           1u
#define PERMTAB_VERSIONS_(layout) (PERMTAB_HEADER_ << 16 | (layout))

/* One attachment to one segment with the names as they were then. Immutable, except that slots which nobody has been
 * given yet are filled in; never reused before permtab_close. Without a table `table.header` is a page of zeroes. */
struct permtab_geometry_ {
    struct permtab_shm_table table;
    uint64_t catalogue; /* for which the numbers below hold */
    uint64_t store_id;
    const uint32_t *permissions; /* slot → bit, or PERMTAB_NO_NUMBER_ */
    uint32_t permission_slots;
    struct permtab_shm_kind kinds[PERMTAB_TYPE_SLOTS_]; /* slot → type, or PERMTAB_NO_NUMBER_ as one */
    int trouble;                                        /* why there is no table: PERMTAB_E_LAYOUT, or 0 */
    uint64_t
        early_ns; /* with less than this left of a lease, checks look for a newer table: client/ahead.c */
};

/* The start of the page that is all zero in a child: so a child counts nothing into its parent's lines, and knows
 * that socket and counters are not its own. */
struct permtab_own_ {
    void *feedback; /* struct permtab_shm_feedback *, or NULL */
};

/* The visible part of a handle; the library's own follows it. */
struct permtab {
    void *geometry; /* struct permtab_geometry_ *, swapped atomically, never NULL */
    struct permtab_own_ *own;
};

/* The client's one thread-local slot. */
struct permtab_thread_ {
    uint32_t line; /* of the feedback, plus one; 0: none chosen yet */
    int why;
    int told;          /* the code that `trouble` explains; 0: none */
    char trouble[256]; /* as the sidecar said it */
};
extern PERMTAB_API __thread struct permtab_thread_ permtab_thread_;

PERMTAB_API int permtab_open_(struct permtab **out, const char *socket_path,
                              const struct permtab_options *options, uint32_t versions) PERMTAB_MUST_CHECK;
/* Counts a hit where there is no feedback yet. `blocks`: the caller may block, so this process may make itself
 * known to the sidecar (it does not wait for that). */
PERMTAB_API void permtab_uncounted_hit_(struct permtab *table, bool blocks);
/* Stores a sample of a hit when its turn has come, and chooses the hit that is looked at next. */
PERMTAB_API void permtab_sample_(struct permtab *table, struct permtab_shm_feedback_line *line, uint64_t hits,
                                 uint64_t user, permtab_scope scope);
/* Chooses a line for this thread. */
PERMTAB_API void permtab_thread_enter_(struct permtab *table);
/* The slow path of permtab_peek: never blocks. */
PERMTAB_API enum permtab_decision permtab_peek_(struct permtab *table, uint64_t user, permtab_scope scope,
                                                permtab_perm perm);
/* The slow path of all checks; token may be NULL. */
PERMTAB_API enum permtab_decision permtab_ask_(struct permtab *table, const struct permtab_query *query,
                                               const struct permtab_token *token);

#define PERMTAB_LIKELY_(condition) __builtin_expect(!!(condition), 1)

static inline const struct permtab_geometry_ *permtab_geometry_of_(const struct permtab *table)
{
    return (const struct permtab_geometry_ *)permtab_shm_load_pointer(&table->geometry);
}

static inline struct permtab_shm_feedback_line *permtab_line_(struct permtab *table)
{
    struct permtab_shm_feedback *feedback =
        (struct permtab_shm_feedback *)permtab_shm_load_pointer(&table->own->feedback);
    if (feedback == NULL)
        return NULL;
    if (!PERMTAB_LIKELY_(permtab_thread_.line != 0))
        permtab_thread_enter_(table);
    return feedback->line + permtab_thread_.line - 1;
}

/* A plain addition: the line is this thread's own, or a shared one that may lose counts. So may the chosen hit be any
 * number: one that is further away than the next sampled hit can be is due, too. */
static inline void permtab_count_hit_(struct permtab *table, uint64_t user, permtab_scope scope, bool blocks)
{
    struct permtab_shm_feedback_line *line = permtab_line_(table);
    if (PERMTAB_LIKELY_(line != NULL)) {
        uint64_t hits = permtab_shm_load64_relaxed(&line->hits) + 1;
        permtab_shm_store64_relaxed(&line->hits, hits);
        uint64_t next = permtab_shm_load64_relaxed(&line->next_sample);
        if (!PERMTAB_LIKELY_(next - hits - 1 < PERMTAB_SAMPLE_GAP_))
            permtab_sample_(table, line, hits, user, scope);
    } else {
        permtab_uncounted_hit_(table, blocks);
    }
}

/* Step 6, for a lease of which early_ns are to be left. */
PERMTAB_INLINE_ bool permtab_early_(const struct permtab_geometry_ *geometry, uint64_t deadline)
{
    return permtab_shm_clock_ns() + geometry->early_ns < deadline;
}

/* Steps 1 to 6 of shm/reader.h where all is as it should be: a live table without folds and with most of its lease,
 * names that are known, and the entry in this bucket of its window, 0 or 1. 1 or 0; else -1, which says nothing. */
PERMTAB_INLINE_ int permtab_straight_(const struct permtab_geometry_ *geometry, uint32_t bucket,
                                      uint64_t user, permtab_scope scope, permtab_perm perm, bool own,
                                      uint64_t revision)
{
    const struct permtab_shm_table *table = &geometry->table;
    const struct permtab_shm_beat *beat = &table->header->beat;
    const struct permtab_shm_kind *kind = &geometry->kinds[scope.type.slot % PERMTAB_TYPE_SLOTS_];
    uint64_t deadline = permtab_shm_load64(&beat->lease_deadline);
    bool allowed = false;
    /* The revision before the catalogue, as in permtab_shm_beat_read. fold_count after the moment (BEAT-4). */
    if (!PERMTAB_LIKELY_(permtab_shm_load32(&beat->state) == PERMTAB_SHM_LIVE) ||
        !PERMTAB_LIKELY_(revision == 0 || permtab_shm_load64(&beat->applied_revision) >= revision) ||
        !PERMTAB_LIKELY_(permtab_shm_load64(&beat->catalogue) == geometry->catalogue) ||
        !PERMTAB_LIKELY_(permtab_shm_load32(&beat->fold_count) == 0) ||
        !PERMTAB_LIKELY_(perm.slot < geometry->permission_slots))
        return -1;
    uint32_t bit = geometry->permissions[perm.slot];
    if (!PERMTAB_LIKELY_(bit < table->permissions_max))
        return -1;
    const struct permtab_shm_bucket *home = permtab_shm_entry_home(table, user, scope.id, kind);
    /* One key in seven is not in its home bucket: the next one is on its way before that is known. */
    if (bucket == 0)
        permtab_shm_fetch(home + 1);
    if (!PERMTAB_LIKELY_(
            permtab_shm_check_bucket(table, home + bucket, user, scope.id, kind, bit, own, &allowed)) ||
        !PERMTAB_LIKELY_(permtab_early_(geometry, deadline)))
        return -1;
    return allowed;
}

/* The same once more, from the beginning: in the next bucket, where most of the entries are that are not in their home,
 * and then in general: folds, later buckets, other rounds. Where there are folds, the straight line gets nowhere. */
PERMTAB_SHM_APART_ int permtab_apart_(const struct permtab_geometry_ *geometry, uint64_t user,
                                      permtab_scope scope, permtab_perm perm, bool own, uint64_t revision)
{
    if (permtab_shm_load32(&geometry->table.header->beat.fold_count) == 0) {
        int result = permtab_straight_(geometry, 1, user, scope, perm, own, revision);
        if (result >= 0)
            return result;
    }
    struct permtab_shm_moment moment = permtab_shm_beat_read(&geometry->table);
    uint32_t type = geometry->kinds[scope.type.slot % PERMTAB_TYPE_SLOTS_].type;
    if (moment.state != PERMTAB_SHM_LIVE || moment.catalogue != geometry->catalogue ||
        moment.applied_revision < revision || perm.slot >= geometry->permission_slots)
        return -1;
    uint32_t bit = geometry->permissions[perm.slot];
    bool allowed = false;
    if (bit >= geometry->table.permissions_max ||
        permtab_shm_check_rounds(&geometry->table, user, scope.id, type, bit, own, &allowed) !=
            PERMTAB_SHM_FOUND ||
        !permtab_early_(geometry, moment.lease_deadline))
        return -1;
    return allowed;
}

/* 1 or 0; else -1, which says nothing: the slow paths look again, and find out what it is. */
PERMTAB_INLINE_ int permtab_hit_(const struct permtab_geometry_ *geometry, uint64_t user, permtab_scope scope,
                                 permtab_perm perm, bool own, uint64_t revision)
{
    int result = permtab_straight_(geometry, 0, user, scope, perm, own, revision);
    return PERMTAB_LIKELY_(result >= 0) ? result : permtab_apart_(geometry, user, scope, perm, own, revision);
}

static inline int permtab_open(struct permtab **out, const char *socket_path,
                               const struct permtab_options *options)
{
    return permtab_open_(out, socket_path, options, PERMTAB_VERSIONS_(PERMTAB_SHM_LAYOUT));
}

static inline permtab_scope permtab_at(permtab_type type, uint64_t id)
{
    permtab_scope scope;
    scope.id = id;
    scope.type = type;
    return scope;
}

PERMTAB_INLINE_ enum permtab_decision permtab_peek(struct permtab *table, uint64_t user, permtab_scope scope,
                                                   permtab_perm perm)
{
    int result = permtab_hit_(permtab_geometry_of_(table), user, scope, perm, false, 0);
    if (!PERMTAB_LIKELY_(result >= 0))
        return permtab_peek_(table, user, scope, perm);
    permtab_count_hit_(table, user, scope, false);
    return result != 0 ? PERMTAB_ALLOW : PERMTAB_DENY;
}

/* The common body of the blocking checks. The query is put together in the slow path alone. */
PERMTAB_INLINE_ enum permtab_decision permtab_decide_(struct permtab *table, uint64_t user,
                                                      permtab_scope scope, permtab_perm perm, bool owned,
                                                      uint64_t owner, const struct permtab_token *token)
{
    const struct permtab_geometry_ *geometry = permtab_geometry_of_(table);
    if (token == NULL || PERMTAB_LIKELY_(token->store_id == geometry->store_id)) {
        int result = permtab_hit_(geometry, user, scope, perm, owned && owner == user,
                                  token != NULL ? token->revision : 0);
        if (PERMTAB_LIKELY_(result >= 0)) {
            permtab_count_hit_(table, user, scope, true);
            return result != 0 ? PERMTAB_ALLOW : PERMTAB_DENY;
        }
    }
    struct permtab_query query = {user, owner, scope, perm, owned};
    return permtab_ask_(table, &query, token);
}

PERMTAB_INLINE_ enum permtab_decision permtab_check(struct permtab *table, uint64_t user, permtab_scope scope,
                                                    permtab_perm perm)
{
    return permtab_decide_(table, user, scope, perm, false, 0, NULL);
}

PERMTAB_INLINE_ bool permtab_allowed(struct permtab *table, uint64_t user, permtab_scope scope,
                                     permtab_perm perm)
{
    return permtab_check(table, user, scope, perm) == PERMTAB_ALLOW;
}

static inline enum permtab_decision permtab_check_owned(struct permtab *table, uint64_t user,
                                                        permtab_scope scope, permtab_perm perm,
                                                        uint64_t owner)
{
    return permtab_decide_(table, user, scope, perm, true, owner, NULL);
}

static inline enum permtab_decision permtab_check_at(struct permtab *table, uint64_t user,
                                                     permtab_scope scope, permtab_perm perm,
                                                     struct permtab_token token)
{
    return permtab_decide_(table, user, scope, perm, false, 0, &token);
}

/* The words of a view: 0 handle, 1 geometry, 2 entry bucket and slot, 3 set, 4 set sequence, 5 entry sequence and
 * word, 6 fold bucket and slot, 7 fold sequence and word. Buckets are aligned to 64 bytes, so the slot fits below.
 * All zero: no view. */
static inline enum permtab_decision permtab_view_has(const struct permtab_view *view, permtab_perm perm,
                                                     bool own)
{
    const struct permtab_geometry_ *geometry = (const struct permtab_geometry_ *)(uintptr_t)view->private_[1];
    const struct permtab_shm_set *set = (const struct permtab_shm_set *)(uintptr_t)view->private_[3];
    if (!PERMTAB_LIKELY_(geometry != NULL && perm.slot < geometry->permission_slots))
        return PERMTAB_UNKNOWN;
    uint32_t bit = geometry->permissions[perm.slot];
    if (!PERMTAB_LIKELY_(bit < geometry->table.permissions_max))
        return PERMTAB_UNKNOWN;
    bool allowed = permtab_shm_bit(set, bit, own);
    if (!PERMTAB_LIKELY_(permtab_shm_load64(&set->sequence) == view->private_[4]))
        return PERMTAB_UNKNOWN;
    return allowed ? PERMTAB_ALLOW : PERMTAB_DENY;
}

#ifdef __cplusplus
}
#endif

#endif
