/* The workshop's thread. Orders wait in a list and are made one at a time; what was made goes through another list and
 * one eventfd to the loop. Tables to be freed wait in a third list, and go before the orders: an order is for what
 * memory there is without them, and freeing takes a fraction of making.
 *
 * An order that is taken back while the thread is at it is still made: a table takes a third of a second at most. It
 * is freed then. */
#include "proxy/table/workshop.h"

#include "proxy/base/thread.h"
#include "proxy/table/table.h"

#include <assert.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <utlist.h>

struct job {
    uint64_t number; /* 0: the table is to be freed */
    struct workshop_order order;
    int code;
    struct table *table;
    struct job *prev, *next;
};

struct workshop {
    int wake; /* eventfd: something is in `made` */
    struct event *event;
    pthread_t thread;
    bool running;
    uint64_t numbers; /* given to orders so far */

    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t more;
    struct job *orders, *dropped, *made;
    struct job *at; /* the order that the thread is at; NULL: none, or it was taken back */
    bool stopping;
};

/* ---- the thread -------------------------------------------------------------------------------------------------- */

/* The next smaller size, and whether there is one. The least of all may be larger than memory_max allows: a host
 * without any table answers nobody. */
static bool shrink(struct publisher_options *options, const struct table_size *least)
{
    if (least->entries == 0 || (options->entries <= least->entries && options->sets <= least->sets &&
                                options->folds <= least->folds && options->memory_max == 0))
        return false;
    options->entries = options->entries / 2 > least->entries ? options->entries / 2 : least->entries;
    options->sets = options->sets / 2 > least->sets ? options->sets / 2 : least->sets;
    options->folds = options->folds / 2 > least->folds ? options->folds / 2 : least->folds;
    if (options->entries == least->entries && options->sets == least->sets && options->folds == least->folds)
        options->memory_max = 0;
    return true;
}

static void make(struct job *job)
{
    struct publisher_options options = job->order.options;
    do {
        job->code = table_new(&job->table, &options, job->order.store_id);
    } while ((job->code == PERMTAB_E_MEMORY || job->code == PERMTAB_E_LIMIT) &&
             shrink(&options, &job->order.least));
}

/* Under the mutex. */
static void hand_to_loop(struct workshop *workshop, struct job *job)
{
    uint64_t one = 1;
    workshop->at = NULL;
    DL_APPEND(workshop->made, job);
    ssize_t written = write(workshop->wake, &one, sizeof one);
    assert(written == sizeof one); /* an eventfd far from its maximum takes it */
    (void)written;
}

static void job_free(struct job *job)
{
    table_free(job->table);
    free(job);
}

/* Makes one order, or frees one table. The mutex is held before and afterwards. */
static void work_once(struct workshop *workshop)
{
    bool order = workshop->dropped == NULL;
    struct job *job = order ? workshop->orders : workshop->dropped;
    if (order)
        DL_DELETE(workshop->orders, job);
    else
        DL_DELETE(workshop->dropped, job);
    workshop->at = order ? job : NULL;
    pthread_mutex_unlock(&workshop->mutex);
    if (order)
        make(job);
    else
        job_free(job);
    pthread_mutex_lock(&workshop->mutex);
    if (!order)
        return;
    if (workshop->at == job)
        hand_to_loop(workshop, job);
    else
        DL_APPEND(workshop->dropped, job); /* taken back */
}

static void *thread_main(void *context)
{
    struct workshop *workshop = context;
    pthread_mutex_lock(&workshop->mutex);
    while (!workshop->stopping) {
        if (workshop->orders != NULL || workshop->dropped != NULL)
            work_once(workshop);
        else
            (void)pthread_cond_wait(&workshop->more, &workshop->mutex);
    }
    pthread_mutex_unlock(&workshop->mutex);
    return NULL;
}

/* ---- the loop ---------------------------------------------------------------------------------------------------- */

static void on_made(evutil_socket_t descriptor, short what, void *context)
{
    struct workshop *workshop = context;
    uint64_t count;
    (void)what;
    if (read(descriptor, &count, sizeof count) < 0)
        return;
    for (;;) {
        pthread_mutex_lock(&workshop->mutex);
        struct job *job = workshop->made;
        if (job != NULL)
            DL_DELETE(workshop->made, job);
        pthread_mutex_unlock(&workshop->mutex);
        if (job == NULL)
            return;
        job->order.made(job->order.context, job->code, job->table);
        free(job);
    }
}

uint64_t workshop_order(struct workshop *workshop, const struct workshop_order *order)
{
    struct job *job = calloc(1, sizeof *job);
    if (job == NULL)
        return 0;
    job->order = *order;
    job->number = ++workshop->numbers;
    pthread_mutex_lock(&workshop->mutex);
    DL_APPEND(workshop->orders, job);
    pthread_cond_signal(&workshop->more);
    pthread_mutex_unlock(&workshop->mutex);
    return workshop->numbers;
}

static struct job *find(struct job *list, uint64_t number)
{
    while (list != NULL && list->number != number)
        list = list->next;
    return list;
}

void workshop_cancel(struct workshop *workshop, uint64_t number)
{
    struct job *job;
    if (number == 0)
        return;
    pthread_mutex_lock(&workshop->mutex);
    if ((job = find(workshop->orders, number)) != NULL) {
        DL_DELETE(workshop->orders, job);
        free(job);
    } else if ((job = find(workshop->made, number)) != NULL) {
        DL_DELETE(workshop->made, job);
        DL_APPEND(workshop->dropped, job);
        pthread_cond_signal(&workshop->more);
    } else if (workshop->at != NULL && workshop->at->number == number) {
        workshop->at = NULL;
    }
    pthread_mutex_unlock(&workshop->mutex);
}

/* Without memory for the job the table is freed here and now. */
void workshop_free_table(struct workshop *workshop, struct table *table)
{
    struct job *job = table != NULL ? calloc(1, sizeof *job) : NULL;
    if (job == NULL) {
        table_free(table);
        return;
    }
    job->table = table;
    pthread_mutex_lock(&workshop->mutex);
    DL_APPEND(workshop->dropped, job);
    pthread_cond_signal(&workshop->more);
    pthread_mutex_unlock(&workshop->mutex);
}

void workshop_drop(void *workshop, struct table *table)
{
    workshop_free_table(workshop, table);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static int start(struct workshop *workshop, struct event_base *base)
{
    workshop->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (workshop->wake < 0)
        return PERMTAB_E_SYSTEM;
    workshop->event = event_new(base, workshop->wake, EV_READ | EV_PERSIST, on_made, workshop);
    if (workshop->event == NULL || event_add(workshop->event, NULL) < 0)
        return PERMTAB_E_MEMORY;
    int code = thread_start(&workshop->thread, thread_main, workshop);
    workshop->running = code == 0;
    return code;
}

int workshop_new(struct workshop **out, struct event_base *base)
{
    struct workshop *workshop = calloc(1, sizeof *workshop);
    if (workshop == NULL)
        return PERMTAB_E_MEMORY;
    pthread_mutex_init(&workshop->mutex, NULL);
    pthread_cond_init(&workshop->more, NULL);
    workshop->wake = -1;
    int code = start(workshop, base);
    if (code < 0) {
        workshop_free(workshop);
        return code;
    }
    *out = workshop;
    return 0;
}

static void free_all(struct job *list)
{
    struct job *job, *next;
    DL_FOREACH_SAFE(list, job, next)
    job_free(job);
}

void workshop_free(struct workshop *workshop)
{
    if (workshop == NULL)
        return;
    if (workshop->running) {
        pthread_mutex_lock(&workshop->mutex);
        workshop->stopping = true;
        pthread_cond_signal(&workshop->more);
        pthread_mutex_unlock(&workshop->mutex);
        (void)pthread_join(workshop->thread, NULL);
    }
    if (workshop->event != NULL)
        event_free(workshop->event);
    if (workshop->wake >= 0)
        (void)close(workshop->wake);
    free_all(workshop->orders);
    free_all(workshop->made);
    free_all(workshop->dropped);
    pthread_cond_destroy(&workshop->more);
    pthread_mutex_destroy(&workshop->mutex);
    free(workshop);
}
