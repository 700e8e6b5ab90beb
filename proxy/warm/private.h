/* Shared by warm.c (the list of jobs, and turns), job.c (a job and its keys), page.c (keys from the store), request.c
 * (jobs that somebody asked for), hands.c (keys under way) and runs.c (thousands of them together). */
#ifndef PERMTAB_WARM_PRIVATE_H
#define PERMTAB_WARM_PRIVATE_H

#include "proxy/answer/answer.h"
#include "proxy/base/pause.h"
#include "proxy/keys/keys.h"
#include "proxy/names/target.h"
#include "proxy/warm/budget.h"
#include "proxy/warm/fleet_keys.h"
#include "proxy/warm/warm.h"

struct page; /* a read of the store under way */

#define WARM_PATIENCE_NS 60000000000ull /* for room, or until users are counted */

struct job {
    struct warm *warm;
    struct job *prev, *next;
    struct warm_status status;
    bool targeted;                /* `target` says what it is about; else it is the keys that are known */
    struct target target;
    unsigned place;               /* of its order in the memory of keys; KEYS_ORDERS_MAX: it has none */
    unsigned starts;              /* as noted there */
    struct keys_reading *reading; /* WARM_READING: of the keys that are known */
    struct page *page;            /* WARM_READING: under way */
    bool pulling;                 /* WARM_READING, WARM_FLEET: under way */
    bool paged;                   /* one was read */
    uint64_t from;                /* the user to go on from, once one was read */
    unsigned tries;               /* of a page */
    char why[WARM_TEXT_SIZE];     /* in one line, the last failure of a read for it; or "" */
    bool cut;                     /* there are more than the table has room for */
    struct hot_key *keys;         /* malloc'ed: those to fill, from `next_key` on; before it those that were put off */
    size_t count, next_key, put_off;
    struct hot_key *alone; /* left by runs, for the hands, from `next_alone` on; NULL: none are */
    size_t alone_count, next_alone;
    size_t run_keys; /* in runs */
    unsigned busy;   /* hands that have a key of it */
    uint64_t begun_ns;
    uint64_t stuck_ns; /* since when there is no room, or users are counted; 0: nothing is waited for */
};

/* A key under way, or one that is to be tried again. */
struct hand {
    struct warm *warm;
    struct job *job;
    struct ask ask;
    struct hot_key key;
    enum { HAND_FREE, HAND_ASKS, HAND_AGAIN } is;
    unsigned tries, tries_alone;
    uint64_t begun_at; /* warm->answered when it was asked */
};

struct warm {
    struct warm_options options;
    struct ask_flow flow;
    struct event *turn;
    struct event *interval;
    struct fleet_keys *fleet; /* NULL without Redis */
    bool asked_fleet;         /* what it named has been read, or is being read */
    unsigned fleet_tries;     /* that failed, since the table was made */
    struct pause fleet_pause; /* between these */
    struct event *rejoin;     /* the end of it */
    struct job *jobs; /* under way, the one that comes first first */
    unsigned job_count;
    uint64_t last_id;
    struct warm_status past[WARM_PAST_MAX]; /* a ring */
    uint64_t past_count;
    struct hand hands[WARM_HANDS];
    unsigned busy;   /* hands that are not free */
    unsigned asking; /* and of these, those that ask */
    bool stepping;   /* ask_start may call back at once */
    struct run *runs;
    unsigned run_count;
    size_t run_keys; /* in all of them */
    struct pause pause;
    struct budget budget;
    uint64_t charged_ns; /* of answering_warm_ns: what the budget has heard of */
    struct hot_key hot[WARM_HOT_MAX]; /* the hottest, at hot_ns */
    size_t hot_count;
    uint64_t hot_ns;
    uint64_t answered;   /* keys, this way or that, by the store: it is there */
};

/* warm.c */
/* Has the next turn come when there is something to do in it. */
void warm_schedule(struct warm *warm);
/* The job that has a key for a hand: the first one that has any, unless they are for a run. NULL: none. */
struct job *warm_giver(const struct warm *warm);
/* Takes a job that ends as `state` off the list, tells, and frees it. */
void warm_end(struct job *job, enum warm_state state);

/* job.c */
/* Whether there is a place for a job of that kind: what the sidecar does by itself never waits for one of a request. */
bool job_has_place(const struct warm *warm, enum warm_kind kind);
/* Puts a new job into the list. NULL: there is no place, or, as it says, no memory. */
struct job *job_new(struct warm *warm, enum warm_kind kind, unsigned priority, const char *what);
/* It comes earlier from now on. */
void job_raise(struct job *job, unsigned priority);
/* Its keys have been read. */
void job_has_keys(struct job *job);
/* Nothing is left of what runs have left to the hands. */
void job_forget_alone(struct job *job);
/* Forgets its keys; it waits for its turn again. */
void job_again(struct job *job);
void job_remove(struct job *job);
/* Begins it, or reads its keys on. */
void job_begin(struct job *job);
void job_read_on(struct job *job);
/* Whether keys of it are to be begun, or under way. */
bool job_has_more(const struct job *job);
/* Turns to what was put off, and says whether the job is over. */
bool job_is_over(struct job *job);
/* Whether what it waits for has not come for so long that it will not. */
bool job_is_stuck(struct job *job);
/* Keys that it still has to fill. */
uint64_t job_left(const struct job *job);
/* Why a read for it has failed. NULL and "" say nothing. */
void job_keep_why(struct job *job, const char *why);
/* What warm_status.text says of it. */
void job_text(const struct job *job, char out[WARM_TEXT_SIZE]);

/* join.c */
/* Makes the part that reads and writes the fleet's keys. */
int join_fleet(struct warm *warm);
/* Begins a job with what the fleet names, unless there was one since the table was made, or reading it failed just now
 * or too often. */
void join_begin(struct warm *warm);
/* Reads the job's keys. */
void join_pull(struct job *job);

/* page.c */
/* Reads the next page, or ends the job because there is no way to. */
void page_begin(struct job *job);
/* Lets go of a page that is under way. NULL does nothing. */
void page_leave(struct page *page);

/* request.c */
/* Begins what workers before this one have not finished. */
void requests_go_on(struct warm *warm);
void request_forget(struct job *job);

/* runs.c */
#define WARM_RUNS 3u /* under way at a time; one while there is a budget to keep to */
/* The first job that has keys, if they are for a run, or NULL. */
struct job *runs_giver(const struct warm *warm);
/* Whether one more may be begun, were there room and budget. */
bool runs_have_work(const struct warm *warm);
void runs_begin(struct warm *warm);
/* Lets go of all runs of a job. */
void runs_drop(struct warm *warm, const struct job *job);

/* hands.c */
/* A failure: nothing is begun for a while, which grows. */
void hands_rest(struct warm *warm);
/* Begins as many keys as there are hands for, and room for. */
void hands_fill(struct warm *warm);
/* Lets go of all keys of a job. */
void hands_drop(struct warm *warm, const struct job *job);
/* Whether there is room for one more than are under way. */
bool hands_have_room(const struct warm *warm);
/* Whether a hand could begin something, were there room and budget. */
bool hands_have_work(const struct warm *warm);

#endif
