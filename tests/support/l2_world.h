/* The world of test_l2*.c: a store in memory that changes at random, some hosts that follow it, each at its own
 * pace, and one real Redis between them. A host is what of the daemon has to do with L2: publisher, struct redis,
 * struct l2; the feed, the fills and the helper threads are played, one step at a time, so that anything can come
 * between. One world at a time. A test that uses it is linked as tests/CMakeLists.txt says. What hosts do is in
 * l2_hosts.h. */
#ifndef PERMTAB_TESTS_SUPPORT_L2_WORLD_H
#define PERMTAB_TESTS_SUPPORT_L2_WORLD_H

#include "proxy/l2/private.h"
#include "tests/support/changing_policy.h"
#include "tests/support/redis_server.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define WORLD_HOSTS    3
#define WORLD_JOBS     8
#define WORLD_STORE_ID 7
#define WORLD_HANG_NS  120000000000ull /* only against hanging */
#define HOST_FILLS     6

struct pending {
    bool used;
    uint64_t epoch;
    struct facts facts;
};

struct host {
    struct world *world;
    unsigned number;
    struct publisher *publisher;
    struct counters counters;
    struct redis *redis;
    struct l2 *l2;
    struct memory_policy applied; /* the store as at the publisher's revision */
    bool woken;
    struct pending fills[HOST_FILLS];
    /* Of a look at a place; NULL: there is none. */
    struct facts_slice *slice;
    struct l2_place *place; /* while it is away */
    uint64_t slice_generation, place_epoch;
    bool place_held; /* it has come back */
};

/* A read of the store on a helper thread. */
struct job {
    struct store_job *job;
    bool ran;
};

struct totals {
    uint64_t fills, known, hits, misses, held, outdated, advances, epochs, refused, puts, waits, logs, lost,
        places;
};

struct world {
    struct changing_policy past;
    struct change_list log; /* rows of this history after revision `first` */
    uint64_t first;
    uint64_t purged; /* rows up to this revision have been trimmed */
    struct memory_policy backup;
    size_t backup_count; /* rows then; the backup is there when backup_held */
    bool backup_held;
    bool dump_held; /* Redis has written a file */
    struct redis_server *server;
    struct event_base *base;
    struct host hosts[WORLD_HOSTS];
    struct job jobs[WORLD_JOBS];
    bool stopping;  /* the helper threads take no more */
    unsigned looks; /* under way */
    struct {
        uint64_t user;
        struct scope_key scope;
    } recent[4]; /* asked for again and again, by all */
    bool one_token;
    uint64_t redis_trouble, store_trouble; /* how often, of 1000 steps */
    struct totals totals;
};

/* The group of tests has one Redis, which becomes its state. */
int world_start_redis(void **state);
int world_stop_redis(void **state);

/* Empties that Redis and starts all hosts; their connections come with the loop's turns. end it. */
struct world *world_begin(uint64_t seed, struct redis_server *server);
/* Ends the hosts, too. `totals`, or NULL: becomes what has happened in it. */
void world_end(struct world *world, struct totals *totals);

/* Anything less than `below`. */
uint64_t world_draw(struct world *world, uint64_t below);

/* Something changes in the store, or nothing. */
void world_commit(struct world *world);
/* The nonce of a revision that the log of this history has, or of its first. */
uint64_t world_nonce_at(const struct world *world, uint64_t revision);
/* The position of the store. */
struct log_position world_committed(const struct world *world);
/* Whether a poll from there finds its row again. */
bool world_in_log(const struct world *world, const struct log_position *at);
/* Copies rows to the list's end; the store's revision stays as it is. */
void world_append_rows(struct change_list *list, const struct change *items, size_t count);
/* Keeps the store as it is now, in place of what was kept. */
void world_backup_store(struct world *world);
/* Sets the store back to what was kept, if anything was. What was committed since has never been; what comes now has
 * the same revisions and other nonces. */
void world_restore_store(struct world *world);
/* A step of any read on the helper threads, if there is one at the place that is drawn: it runs, or its end is told. */
void world_step_job(struct world *world);

/* One command, which must succeed, or meet a key that holds the wrong kind of value. */
void world_ask_redis(struct world *world, const char *command);
/* Removes all values; the marker stays. */
void world_forget_values(struct world *world);

/* Turns the loop until Redis owes nobody a reply: for some turns at most. */
void world_until_quiet(struct world *world);
/* Does the same, however long Redis takes. */
void world_until_answered(struct world *world);
/* Turns the loop until all hosts are connected. */
void world_reconnect(struct world *world);

#endif
