/* The inside of a handle. What happens where:
 *
 *   permtab.c   opening, closing, names → slots        handle.c    the lock, connecting, keeping the table current
 *   attach.c    descriptors → mappings                 geometry.c  mapping and names → the object readers use
 *   mapping.c   a mapping's beginning and end
 *   ask.c       one check over the socket              many.c      many checks
 *   view.c      views                                  rule*.c     rules
 *   process.c   fork                                   count.c     what was answered, and enrolling to tell it
 *   ahead.c     a newer table, before it is needed
 *   circuit.c   not to wait for who does not answer    descriptor.c, peer.c   whose is it?
 *   outage.c    how long to try again
 *
 * Fork. A child may be made while another thread of the parent is anywhere in here. So: everything that is changed
 * under the lock, the lock included, lives in one mapping that is all zero in the child (process.c). Everything
 * else only grows, and is published by a single store when it is whole. */
#ifndef PERMTAB_CLIENT_HANDLE_H
#define PERMTAB_CLIENT_HANDLE_H

#include "client/channel.h"
#include "client/circuit.h"
#include "client/names.h"
#include "client/outage.h"
#include "client/permtab.h"

#include <pthread.h>

#define HANDLE_ATTEMPT_NS 50000000ull   /* between two attempts to attach */
#define HANDLE_RECHECK_NS 1000000000ull /* between two attachments because the table is stale */
#define HANDLE_TRIP_NS    500000000ull  /* a reply to attach that was not fetched sooner is asked for again */
#define HANDLE_NAME_MAX   NAMES_PERMISSION_MAX
#define HANDLE_OPEN_MS    5000u
#define HANDLE_CHECK_MS   1000u
#define HANDLE_SLOTS_MAX  65536u

/* The page that a child finds empty. */
struct own_page {
    struct permtab_own_ visible; /* first */
    uint64_t process;     /* the process it belongs to; 0: none yet. Set under the lock, read by process.c */
    pthread_mutex_t lock; /* everything below, and all of struct handle that changes */
    pthread_mutex_t names_lock; /* handle.names alone, never held while waiting */
    struct channel channel;
    struct mapping *leaving; /* was replaced, and is to be put away when the lock is given back */
    struct circuit circuit;
    struct outage outage;
    uint32_t ended; /* connections that ended */
    bool eager;     /* an attachment is wanted at once: permtab_refresh */
    bool looking;   /* ahead (ahead.c): with a patience so short that silence says nothing of the sidecar */
    bool greeting;  /* hello was sent on the channel and not answered yet */
    bool greeted;   /* … and answered */
    /* attach was sent and not answered yet; its reply brings descriptors, so nothing else is sent meanwhile */
    bool attaching;
    bool attached;           /* an attach succeeded on this channel */
    uint64_t asked_ns;       /* when attach was sent */
    uint64_t next_attach_ns; /* no attachment on an open connection before it */
    uint64_t next_enrol_ns;  /* no enrolment before it; read without the lock */
    uint64_t next_look_ns;   /* no look ahead before it; this and the next three are read without the lock */
    uint64_t share; /* this process's random part of the time that is left for looks ahead; 0: not drawn */
    uint64_t retired_segment, retired_ns; /* which table was seen retired, and when first */
    uint64_t attached_ns;                 /* when this process attached last */
    int attach_code;                      /* how the last attachment ended */
    uint64_t store_id;                    /* as hello said */
    uint32_t server_layout;
    uint64_t lease_ns; /* max_staleness, as hello said */
    struct permtab_shm_feedback_line
        local[PERMTAB_SHM_FEEDBACK_LINES];    /* counts from before there was a feedback */
    struct permtab_shm_feedback_line carried; /* the part of its sum that was added to a feedback */
};

/* A segment in our memory: mapped, or replaced by private zero pages. Never unmapped before the handle is closed. */
struct mapping {
    struct mapping *next;
    void *address;
    size_t size;
    uint64_t segment_id;
    uint64_t early_ns;          /* as its geometries say */
    size_t map_begin, sets_end; /* where its entry map begins, and its sets end */
    uint32_t voided;            /* all of it was replaced */
};

/* The object that readers use, and what geometry_publish needs to make the next one. */
struct geometry {
    struct permtab_geometry_ visible; /* first */
    struct geometry *next;            /* older */
    struct mapping *mapping;          /* NULL: the zero header */
    uint32_t permissions[];
};

/* Names that slots stand for; slot 0 stands for none. Grows only; `count` is stored last. */
struct slots {
    char **texts;
    uint32_t count;
    uint32_t capacity;
};

struct handle {
    struct permtab visible; /* first */
    struct own_page *own;   /* = visible.own */
    char *path;
    uint32_t layout; /* of the application */
    uint32_t open_ms, check_ms;
    int64_t server_uid;
    struct descriptor inherited;                 /* the socket, for a child to close */
    struct handle *process_next, **process_link; /* the list in process.c */
    void *feedback[2];           /* addresses that feedback memfds of ours are mapped at, in turn */
    void *zero_header;           /* a page of zeroes: the header without a table */
    struct mapping *mappings;    /* newest first */
    struct geometry *geometries; /* newest first; the newest is visible.geometry */
    struct names *names;         /* at the last look at the catalogue; NULL before */
    struct slots permissions, types;
};

static inline struct handle *handle_of(struct permtab *table)
{
    return (struct handle *)(void *)table;
}

/* ---- handle.c ------------------------------------------------------------------------------------------------ */

/* A deadline long past: takes replies that are there, sends what needs no waiting, and does not count silence
 * against the sidecar. The next caller goes on with steps that were begun. */
#define HANDLE_NO_WAIT 0u

/* Takes the lock within the deadline, else PERMTAB_E_TIMEOUT. In a child, first drops the parent's connection. */
int handle_lock(struct handle *handle, uint64_t deadline_ns) PERMTAB_MUST_CHECK;
void handle_unlock(struct handle *handle);

/* All functions below are called with the lock held. */

/* Makes the handle connected, greeted, attached, and its names read. Attempts to connect have pauses between them,
 * which are waited for in a young outage; else PERMTAB_E_UNREACHABLE at once. PERMTAB_E_TIMEOUT at once while the
 * circuit is open. */
int handle_ready(struct handle *handle, uint64_t deadline_ns) PERMTAB_MUST_CHECK;
/* The same, again and again while handle_again says so. */
int handle_ready_again(struct handle *handle, uint64_t deadline_ns) PERMTAB_MUST_CHECK;
/* Whether a call that failed with this code is to be tried again, after a pause that is waited for in here: its
 * connection is gone, there is time left, the outage is young, and not many connections have ended under the call.
 * `ended`: own->ended when the call began. */
bool handle_again(struct handle *handle, int code, uint32_t ended, uint64_t deadline_ns);
/* Attaches again when the table was retired or is stale, and reads the catalogue when that changed. Returns 0
 * although that fails as long as the channel stays open: the socket still answers. */
int handle_refresh(struct handle *handle, uint64_t deadline_ns) PERMTAB_MUST_CHECK;
/* Attaches, whatever the state of the table. */
int handle_attach(struct handle *handle, uint64_t deadline_ns) PERMTAB_MUST_CHECK;
int handle_read_names(struct handle *handle, uint64_t deadline_ns) PERMTAB_MUST_CHECK;
/* Sends the request begun with channel_request and waits for its reply, no longer than the circuit allows; disconnects
 * when the channel broke. */
int handle_call(struct handle *handle, uint64_t deadline_ns, struct wire_message *reply) PERMTAB_MUST_CHECK;
/* Forgets the connection. */
void handle_disconnect(struct handle *handle);
/* Whether this code of a call means that the connection is gone, or could not be made. */
bool handle_broken(const struct handle *handle, int code);

/* ---- ahead.c ------------------------------------------------------------------------------------------------- */

/* Whether there may be a newer table although this one answers. */
bool ahead_wanted(const struct permtab_geometry_ *geometry, const struct permtab_shm_moment *moment,
                  uint64_t clock_ns);
/* From when on this process looks for it, when it is wanted. */
uint64_t ahead_from(struct handle *handle, const struct permtab_geometry_ *geometry,
                    const struct permtab_shm_moment *moment, uint64_t clock_ns);
/* Looks for it, when it is wanted and time; see ahead.c for who waits. Without the lock held. */
void ahead_look(struct handle *handle);

/* ---- attach.c ------------------------------------------------------------------------------------------------ */

/* The contents of a reply to `attach`. */
struct attachment {
    uint64_t segment_id, size, feedback_size, clock_ns;
    uint64_t asked_ns, answered_ns; /* our clock around it */
    struct descriptor segment, feedback;
};

/* Checks clock, seals and sizes, maps both, publishes a geometry, and turns the old mapping into zero pages. On failure
 * everything is as it was. PERMTAB_E_STALE (the present table has a lease, and that one has
 * none), _CLOCK, _PROTOCOL, _LAYOUT, _MEMORY, _SYSTEM. */
int attach_take(struct handle *handle, const struct attachment *attachment) PERMTAB_MUST_CHECK;
/* Leaves the table, when there is one: from now on there is none, and `trouble` says why. */
int attach_void(struct handle *handle, uint64_t store_id, int trouble) PERMTAB_MUST_CHECK;
/* The pages of a handle itself: those that children find empty, the feedback's, the header of zeroes. */
int attach_init(struct handle *handle) PERMTAB_MUST_CHECK;
/* Unmaps everything. */
void attach_fini(struct handle *handle);

/* ---- mapping.c ----------------------------------------------------------------------------------------------- */

/* Notes what mapping_void has to know of the table. */
void mapping_sections(struct mapping *mapping, const struct permtab_shm_table *table);
/* Brings the pages near, so that readers meet no page faults. A hint: it cannot fail. Takes 20 ms a gigabyte. */
void mapping_populate(const struct mapping *mapping);
/* Puts zero pages in its place, under its readers, who find nothing from then on. Takes 100 ms a gigabyte. Needs no
 * lock; doing it twice, or two threads at once, does no harm. */
void mapping_void(struct mapping *mapping);

/* ---- geometry.c ---------------------------------------------------------------------------------------------- */

/* Makes a geometry of a mapping (NULL: no table, and `trouble` says why) and the present names and slots, and publishes
 * it. `table` is that mapping's. PERMTAB_E_MEMORY. */
int geometry_publish(struct handle *handle, struct mapping *mapping, const struct permtab_shm_table *table,
                     uint64_t store_id, int trouble) PERMTAB_MUST_CHECK;
/* Publishes the present table again, with the present names. */
int geometry_renew(struct handle *handle) PERMTAB_MUST_CHECK;
struct geometry *geometry_now(const struct handle *handle);
/* The code for a table that is in this state, and does not answer. */
int geometry_stale(const struct permtab_geometry_ *geometry, uint32_t state);
/* The slot of a name, new or known. PERMTAB_E_NO_PERMISSION, _NO_SCOPE_TYPE, _LIMIT, _MEMORY. */
int geometry_permission_slot(struct handle *handle, const char *name, uint32_t *slot) PERMTAB_MUST_CHECK;
int geometry_type_slot(struct handle *handle, const char *name, uint32_t *slot) PERMTAB_MUST_CHECK;
void geometry_fini(struct handle *handle);

/* ---- ask.c --------------------------------------------------------------------------------------------------- */

uint64_t ask_deadline(const struct handle *handle);
/* Remembers and counts an UNKNOWN. */
enum permtab_decision ask_unknown(struct handle *handle, int code);
/* One query, table first, with the lock held: PERMTAB_ALLOW, PERMTAB_DENY, or a code. `permission` replaces the
 * name of the query's slot when it is not NULL. */
int ask_locked(struct handle *handle, const struct permtab_query *query, const char *permission,
               const struct permtab_token *token, uint64_t deadline_ns) PERMTAB_MUST_CHECK;
/* "global" or "type:id"; false when the slot stands for nothing. */
#define ASK_SCOPE_SIZE (PERMTAB_SHM_TYPE_NAME_SIZE + 24u)
bool ask_scope_text(const struct handle *handle, permtab_scope scope, char text[ASK_SCOPE_SIZE]);
/* NULL when the slot stands for nothing. */
const char *ask_permission_text(const struct handle *handle, permtab_perm perm);

/* ---- count.c ------------------------------------------------------------------------------------------------- */

/* Adds to this thread's counters. */
void count_add(struct handle *handle, uint64_t hits, uint64_t misses, uint64_t unknowns);
/* Stores samples of the queries that the table answered. */
void count_samples(struct handle *handle, const struct permtab_query *queries, const int *results,
                   size_t count);
/* Makes this process known to the sidecar if it is not yet, without waiting: begins, or goes on with what was begun. */
void count_enrol(struct handle *handle);
/* There is a feedback now: adds what was counted before. With the lock held. */
void count_carry(struct handle *handle);

#endif
