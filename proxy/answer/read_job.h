/* A job of reads: a few keys, read together on a thread of the store. Private to reads.c. */
#ifndef PERMTAB_ANSWER_READ_JOB_H
#define PERMTAB_ANSWER_READ_JOB_H

#include "proxy/answer/reads.h"

/* What becomes of one read of a job. */
struct read_item {
    struct read *read; /* NULL: nobody waits for it any more */
    bool left;         /* then: the warm-up pays for it all the same */
    int code;          /* 0: there are facts */
    struct failure failure;
};

struct read_job {
    struct store_job job; /* `run` is set */
    struct reads *reads;
    enum read_lane lane;
    bool too_much;       /* all of it together is; nothing else is wrong */
    uint64_t generation; /* the stamp of the facts */
    struct store_place place; /* of all keys; no levels: read in a snapshot */
    bool of_user; /* what the place brings is kept, and the only key's user is to be read */
    bool partial; /* that was done: facts are to be completed */
    struct read_source source;
    size_t bytes; /* that the facts take, about */
    size_t count;
    size_t told; /* the first ones, whose readers have been told */
    struct read_item *items;
    struct facts_key *keys;
    struct facts *facts;
    struct read_job *prev, *next; /* of those that have ended */
};

/* Empty, with room for so many. NULL when memory is short. */
struct read_job *read_job_new(struct reads *reads, size_t room, enum read_lane lane, uint64_t generation);
void read_job_take(struct read_job *job, struct read *read, const struct facts_key *key);
/* Frees the facts that nobody has taken, too. */
void read_job_free(struct read_job *job);

#endif
