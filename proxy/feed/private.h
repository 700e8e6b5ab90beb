/* Inside the feed: shared by feed.c, which takes turns with the loop, read.c, which asks the store, and lease.c. */
#ifndef PERMTAB_FEED_PRIVATE_H
#define PERMTAB_FEED_PRIVATE_H

#include "proxy/base/trouble.h"
#include "proxy/feed/feed.h"
#include "proxy/store/store.h"

#include <event2/event.h>
#include <pthread.h>

enum news_kind {
    NEWS_BATCH,       /* apply, then renew; most batches are empty and move the expiry alone */
    NEWS_REBUILD,     /* a whole new beginning */
    NEWS_FAILED,      /* no answer: no renewal */
    NEWS_DISBELIEVED, /* an answer that cannot be believed: the table goes */
};

/* The step that the feed is at, for the reason why there is no lease. */
enum feed_step {
    FEED_RESTS,    /* until the next poll is due */
    FEED_CONNECTS, /* the thread waits for the store from here on */
    FEED_LOOKS,
    FEED_POLLS,
    FEED_READS,
    FEED_REBUILDS,
    FEED_TRIMS,
    FEED_POSTS,   /* the thread waits for the loop */
    FEED_APPLIES, /* the loop is at work */
    FEED_ORDERS,  /* the loop waits for the workshop */
};

struct news {
    enum news_kind kind;
    uint64_t begun_ns;
    uint64_t asked_ns, answered_ns; /* around the look at the store's clock */
    int64_t store_now;
    struct batch batch; /* NEWS_BATCH; for NEWS_REBUILD its position, clock and catalogue alone */
    struct failure failure;
};

struct feed {
    /* Constant while the thread runs. */
    struct publisher *publisher;
    struct workshop *workshop;
    struct counters *counters;
    feed_news_fn tell;
    void *context;
    char *url, *password;
    struct sql_options options;
    uint32_t permissions_max;
    uint64_t interval_ns;
    uint64_t staleness_ns; /* how long a lease lasts; the loop's, too */
    int64_t keep_us;
    uint64_t keep_rows;
    int event_descriptor;
    struct event *event;
    pthread_t thread;
    bool running;

    pthread_mutex_t mutex;
    pthread_cond_t condition;
    /* Under the mutex. */
    bool stop, wake;
    /* somebody asks for a rebuild: it is made in its time, and the log is followed until then */
    bool rebuild;
    bool rebuild_first; /* the table is of no use: nothing but a rebuild may be done */
    enum feed_step step;
    uint64_t step_ns; /* when `step` began */
    bool news_posted;
    struct news news; /* the thread's until posted, then the loop's */
    /* The table's position, written by the loop while the thread waits. */
    struct log_position at;
    int64_t expiry;

    /* The thread's own. */
    struct store store;
    bool connected;
    struct schema_seen looked; /* by the connection before: tables may be made anew between two connections */
    bool believed;             /* false: the next poll must be a rebuild */
    uint64_t phase_ns;         /* polls are due at this moment and every interval after it */
    uint64_t schema_looked_ns, trimmed_ns;
    uint64_t rebuilt_ns; /* when the last rebuild was handed over */
    bool rebuild_wanted;
    uint64_t begun_ns;       /* when the last poll began */
    unsigned for_nothing;    /* polls in a row that the thread was woken for and that found nothing */
    struct trouble too_much; /* too many changes for a batch */

    /* The loop's own. */
    struct event *turn; /* pending while a batch is being applied */
    uint64_t taken_ns;  /* when it took the news under way */
    uint64_t order;     /* at the workshop, for the table of a rebuild; 0: none */
    /* Private to lease.c. */
    struct event *lease; /* due when the lease ends */
    uint64_t started_ns;
    bool lapsed; /* the lease has ended, and that was logged */
    char trouble[FAILURE_TEXT_SIZE];
    struct trouble rebuilds;
    struct trouble told;
};

/* Returns when the poll after the last one is due. Pure. */
uint64_t feed_due(const struct feed *feed, uint64_t now_ns);

/* The functions of read.c: called on the feed's thread, and they block on the store. */

/* Makes one poll, and puts what is new into `news`, which is zeroed but for begun_ns. Returns the kind. */
enum news_kind feed_read(struct feed *feed, struct news *news);
/* Removes old rows of the log, at most once a second. */
void feed_trim(struct feed *feed, uint64_t now_ns);
/* Closes the connection; the next poll connects again. */
void feed_disconnect(struct feed *feed);

/* Notes the feed's present step. May be called on any thread. */
void feed_step(struct feed *feed, enum feed_step step);

/* ---- lease.c, on the loop ---- */

int feed_lease_start(struct feed *feed, struct event_base *base) PERMTAB_MUST_CHECK;
/* Logs why the lease has ended, once. */
void feed_lease_look(struct feed *feed);
/* To be called when a poll is over: `text` says why it did not renew the lease; "" when it did. */
void feed_lease_polled(struct feed *feed, const char *text);

#endif
