/* A sidecar for tests of the client: a real segment kept by the real writer, a real socket, and a policy that a
 * test can work out by itself. One thread of its own; everything a test may turn is a plain field that is set under
 * the lock (fake_lock), or a function below. */
#ifndef PERMTAB_TESTS_SUPPORT_FAKE_SIDECAR_H
#define PERMTAB_TESTS_SUPPORT_FAKE_SIDECAR_H

#include "client/wire/wire.h"
#include "shm/map.h"
#include "shm/segment.h"
#include "shm/set.h"

#include <pthread.h>

#define FAKE_PERMISSIONS 6 /* a.read, a.write, b.read, b.write, c, then d.late */
#define FAKE_STORE_ID    77
#define FAKE_CONNECTIONS 64
#define FAKE_SEGMENTS    16

struct fake_connection {
    int socket; /* -1: free */
    int feedback;
    size_t feedback_size;
    char *input;
    size_t size, capacity;
};

struct fake_counts {
    unsigned connects, hellos, attaches, catalogues, checks, many, queries;
};

struct fake {
    char folder[64];
    char path[96];
    int listener, wake[2];
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t released; /* `hold` has ended */
    struct segment segments[FAKE_SEGMENTS];
    unsigned segment_count; /* the last one is live */
    struct map map;
    struct set_pool sets;
    uint32_t set_of[2]; /* by parity of user + scope id */
    struct fake_connection connections[FAKE_CONNECTIONS];
    struct permtab_shm_feedback_line ended; /* sum of feedbacks that are there no more */
    struct fake_counts counts;
    uint64_t revision, catalogue;

    /* For tests to turn. */
    bool fill;            /* a check that misses puts the entry into the table */
    bool renew;           /* the lease is being renewed */
    bool mute;            /* requests are read and not answered */
    bool late;            /* d.late is in the catalogue */
    bool gone;            /* a.read is a tombstone */
    unsigned page;        /* rows of a page of the catalogue; 0: all at once, as older sidecars do */
    unsigned restless;    /* so many pages to come are each of another catalogue */
    bool hang_up;         /* every `check` is answered by closing the connection */
    unsigned hang_ups;    /* so many checks to come are answered so */
    bool fickle;          /* the next check is answered by closing the connection, and by another catalogue */
    bool strays;          /* an ALLOW to a request that was never made comes before every reply */
    bool chatty;          /* notifications that nobody asked for come before every reply */
    bool unsealed;        /* attach hands out a copy of the segment that bears no seals */
    bool truncated;       /* attach says a size that is not the segment's */
    uint32_t layout;      /* what hello says */
    int64_t clock_off;    /* added to attach's clock */
    uint64_t lease_ns;    /* how far renewals go, and what hello says */
    uint64_t reply_ns;    /* deadline of replies after now; 0: one that has passed */
    unsigned delay_ms;    /* before every reply to a check */
    bool hold;            /* a reply to a check waits for fake_release, and all that comes after it */
    int attach_code;      /* attach is refused with it */
    size_t feedback_size; /* as new connections get it */
};

/* The policy. `bit` is the permission's number in the list above. */
bool fake_allows(uint64_t user, uint64_t scope, uint32_t bit, bool own);

/* Starts with a live segment, filling and renewing. Aborts on failure. */
void fake_start(struct fake *fake);
/* Closes every connection and the listener; the socket file and the segment stay. fake_resume serves again. */
void fake_suspend(struct fake *fake);
void fake_resume(struct fake *fake);
void fake_stop(struct fake *fake);

void fake_lock(struct fake *fake);
void fake_unlock(struct fake *fake);

/* All below take the lock themselves. */
void fake_put(struct fake *fake, uint64_t user, uint64_t scope); /* an entry for channel:scope */
void fake_remove(struct fake *fake, uint64_t user, uint64_t scope);
/* Ends `hold`. When the check is in the counts its reply has been sent. */
void fake_release(struct fake *fake);
void fake_rewrite(struct fake *fake);                /* closes and opens both sets with the same bits */
void fake_retire(struct fake *fake, bool end_lease); /* a new segment takes over */
void fake_succeed(struct fake *fake); /* … the table of another worker: nobody retires the old */
void fake_set_revision(struct fake *fake, uint64_t revision);
void fake_set_catalogue(struct fake *fake, bool late, bool gone); /* another catalogue number too */
struct fake_counts fake_counts(struct fake *fake);
unsigned fake_open_connections(struct fake *fake);
/* Sum of a feedback's lines, over all connections there have been or are. */
struct permtab_shm_feedback_line fake_feedback(struct fake *fake);
/* The ring of the one connection that is open. */
void fake_samples(struct fake *fake, struct permtab_shm_sample out[PERMTAB_SHM_FEEDBACK_SAMPLES]);

#endif
