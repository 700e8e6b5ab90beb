/* Shared by the files of a clean-up: cleanup.c has the jobs, slice.c talks to Redis, orphans.c asks the store. */
#ifndef PERMTAB_CLEANUP_PRIVATE_H
#define PERMTAB_CLEANUP_PRIVATE_H

#include "proxy/base/trouble.h"
#include "proxy/cleanup/cleanup.h"
#include "proxy/cleanup/keys.h"
#include "proxy/cleanup/pace.h"

struct cleanup_flight;
struct cleanup_job;
struct cleanup_question;
struct event;

#define CLEANUP_NEVER UINT64_MAX

enum cleanup_phase {
    PHASE_WAIT,   /* for another of its kind here */
    PHASE_LOCK,   /* takes the lock of its kind */
    PHASE_SCAN,   /* sends slices */
    PHASE_ASK,    /* has keys to ask the store about */
    PHASE_ASKING, /* waits for the store's answer */
    PHASE_UNLINK, /* has keys to remove */
    PHASE_END,    /* has ended: buried in the next turn */
};

/* A key whose owner the store is asked about. */
struct cleanup_candidate {
    struct cleanup_owner owner;
    bool present; /* the store still has it, or was not asked */
    size_t size;
    char *key;
};

struct cleanup_batch {
    struct cleanup_candidate *items;
    size_t count;
    size_t next; /* PHASE_UNLINK: the candidates before it have been dealt with */
};

struct cleanup_job {
    struct cleanup *cleanup;
    struct cleanup_job *next;
    struct cleanup_status status; /* its state is made from the phase */
    cleanup_done_fn done;
    void *context;
    enum cleanup_phase phase;
    int code;       /* PHASE_END */
    bool cancelled; /* ends with the answer that is under way, whose keys are counted */
    char token[17];
    bool locked;
    bool unlocked_is_fine; /* Redis is full and refuses the lock: it needs cleaning up all the same */
    uint64_t cursor;
    bool whole; /* the cursor has come round */
    uint64_t begun_ns;
    uint64_t lock_since_ns;    /* waits for the lock since */
    uint64_t lock_renewed_ns;  /* when the lock was last renewed */
    uint64_t trouble_since_ns; /* 0: none */
    uint64_t look_ns;          /* the job is not looked at before */
    struct cleanup_batch batch;
    struct cleanup_question *question; /* PHASE_ASKING */
};

struct cleanup {
    struct event_base *base;
    struct redis *redis;
    struct store_threads *pool;
    const char *prefix;
    const struct scope_types *types;
    struct counters *counters;
    struct event *pump;
    struct cleanup_pace pace;      /* one budget for all jobs of this host */
    struct cleanup_job *jobs;      /* those that have not been buried, oldest first */
    struct cleanup_flight *flight; /* the one command that has not been answered */
    enum cleanup_kind turn;        /* whose slice comes first: kinds that run together take turns */
    struct cleanup_status past[CLEANUP_PAST_MAX]; /* oldest first */
    struct trouble epochs_ended;                  /* clean-ups of that kind, and none is trouble */
    size_t past_count;
    uint64_t last_id;
    uint64_t trouble_max_ns; /* a job waits so long for Redis, the store or the marker */
    uint64_t lock_max_ns;    /* and so long for another host */
    uint64_t seed;           /* of tokens */
    bool ending;
};

/* ---- cleanup.c --------------------------------------------------------------------------------------------------- */

/* Looks at the jobs again in the next turn of the loop. */
void cleanup_wake(struct cleanup *cleanup);
void cleanup_job_end(struct cleanup_job *job, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The job cannot go on just now: it is tried again, and ends with `code` when that has lasted for too long. */
void cleanup_job_trouble(struct cleanup_job *job, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void cleanup_job_cancel(struct cleanup_job *job);
void cleanup_job_went_well(struct cleanup_job *job);
/* The cursor means nothing any more, or the lock is gone. */
void cleanup_job_restart(struct cleanup_job *job);

/* ---- slice.c ------------------------------------------------------------------------------------------------ */

/* Takes the job's next step, if it may. Returns when to look again; CLEANUP_NEVER when a callback will wake it. */
uint64_t cleanup_job_step(struct cleanup_job *job, uint64_t now_ns);
/* Whether an answer of Redis is under way for this job. */
bool cleanup_in_flight(const struct cleanup_job *job);
/* The answer under way is for no job now. */
void cleanup_flight_forget(struct cleanup *cleanup, const struct cleanup_job *job);
void cleanup_unlock(struct cleanup_job *job);

/* ---- orphans.c ---------------------------------------------------------------------------------------------- */

#define CLEANUP_BATCH_ASK 200u  /* keys for one question */
#define CLEANUP_BATCH_MAX 4096u /* more than a slice can bring: further ones stay for their time to live */

/* Copies a key that belongs to a user or a scope; skips any other. PERMTAB_E_MEMORY. */
int cleanup_batch_add(struct cleanup_batch *batch, const struct scope_types *types, const char *key,
                      size_t size) PERMTAB_MUST_CHECK;
void cleanup_batch_clear(struct cleanup_batch *batch);
void cleanup_batch_fini(struct cleanup_batch *batch);
/* PHASE_ASK → PHASE_ASKING → PHASE_UNLINK. Hands the batch to a thread; PERMTAB_E_FULL, _MEMORY. */
int cleanup_ask(struct cleanup_job *job) PERMTAB_MUST_CHECK;
/* The store's answer is for no job now. */
void cleanup_ask_forget(struct cleanup_job *job);

#endif
