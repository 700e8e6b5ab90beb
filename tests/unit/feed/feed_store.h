/* A store of a few variables in the place of store_*.c, for tests of the feed: what is done when the store fails, or
 * changes, between two of the feed's questions. Included by one file of a program. */
#ifndef PERMTAB_TESTS_UNIT_FEED_FEED_STORE_H
#define PERMTAB_TESTS_UNIT_FEED_FEED_STORE_H

#include "proxy/base/clock.h"
#include "proxy/store/store.h"
#include "tests/support/memory_policy.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST 5u

/* The store as it is, and what it shall do. Read and written by two threads. */
static struct {
    pthread_mutex_t mutex;
    uint64_t revision;
    enum change_kind kind;    /* of the change after FIRST */
    struct scope_key scope;   /* of it */
    unsigned schema_failures; /* how many looks at the schema still fail */
    bool changes_unseen;      /* a change is committed while what expired is read */
    bool too_many_permissions;
    bool read_only;
    bool away;  /* polls fail, and the connection with them */
    bool ended; /* the next poll finds that its connection was ended while it rested */
    bool broken;
    bool hangs;           /* a poll does not come back */
    uint64_t hung_ns;     /* since when one does not; 0: none */
    unsigned open_schema; /* how many connections still find another schema */
    uint64_t mark;        /* of the definitions */
    unsigned rebuilds_read, catalogues_read;
} fake = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void lock(void)
{
    pthread_mutex_lock(&fake.mutex);
}

static void unlock(void)
{
    pthread_mutex_unlock(&fake.mutex);
}

int store_open(struct store *out, const struct sql_options *options, struct failure *failure)
{
    int code = 0;
    (void)options;
    memset(out, 0, sizeof *out);
    lock();
    out->looked.mark = fake.mark;
    if (fake.open_schema > 0) {
        fake.open_schema--;
        code = failure_set(failure, PERMTAB_E_SCHEMA, "a trigger is missing");
    }
    unlock();
    return code;
}

void store_close(struct store *store)
{
    (void)store;
}

/* A connection that the server has ended: it says so when it is asked, once. */
bool sql_broken(const struct sql *sql)
{
    (void)sql;
    lock();
    bool broken = fake.broken;
    fake.broken = false;
    unlock();
    return broken;
}

int store_check_schema(struct store *store, struct failure *failure)
{
    int code = 0;
    lock();
    fake.rebuilds_read++;
    if (store->looked.mark != fake.mark)
        code = failure_set(failure, PERMTAB_E_SCHEMA, "the tables were made anew");
    store->looked.mark = fake.mark;
    if (fake.schema_failures > 0) {
        fake.schema_failures--;
        code = failure_set(failure, PERMTAB_E_STORE, "the store is away");
    }
    unlock();
    return code;
}

int store_snapshot(struct store *store, struct log_position *at, int64_t *now, struct failure *failure)
{
    (void)store, (void)failure;
    lock();
    *at = (struct log_position){7, fake.revision, fake.revision};
    unlock();
    *now = 1000;
    return 0;
}

void store_snapshot_end(struct store *store)
{
    (void)store;
}

int store_poll(struct store *store, const struct log_position *at, bool *newer, int64_t *now,
               struct failure *failure)
{
    (void)store;
    lock();
    while (fake.hangs) {
        if (fake.hung_ns == 0)
            fake.hung_ns = clock_ns();
        unlock();
        (void)usleep(1000);
        lock();
    }
    *newer = fake.revision > at->revision;
    bool read_only = fake.read_only, away = fake.away || fake.ended;
    fake.broken |= fake.ended;
    fake.ended = false;
    unlock();
    *now = 1000;
    if (away)
        return failure_set(failure, PERMTAB_E_STORE, "the store is away");
    return read_only ? failure_set(failure, PERMTAB_E_SCHEMA, "the server is read only") : 0;
}

int store_read_changes(struct store *store, uint64_t after, size_t limit, struct change_list *out,
                       struct failure *failure)
{
    (void)store, (void)failure, (void)limit;
    lock();
    *out = (struct change_list){.items = calloc(1, sizeof(struct change)), .count = 1};
    out->items[0] = (struct change){.revision = after + 1,
                                    .nonce = after + 1,
                                    .kind = fake.kind,
                                    .user = 1,
                                    .scope = fake.scope,
                                    .at = 990};
    unlock();
    return 0;
}

void change_list_fini(struct change_list *list)
{
    free(list->items);
    memset(list, 0, sizeof *list);
}

int store_read_roles(struct store *store, const uint64_t *ids, size_t count, struct role_list *out,
                     struct failure *failure)
{
    (void)store, (void)failure, (void)ids, (void)count;
    memset(out, 0, sizeof *out);
    return 0;
}

static void read_catalogue(struct catalogue *out)
{
    struct memory_policy policy;
    memory_policy_init(&policy);
    (void)memory_permission(&policy, "message.send");
    memory_catalogue(&policy, 1, out);
    memory_policy_fini(&policy);
}

int store_read_catalogue(struct store *store, uint32_t permissions_max, struct catalogue *out,
                         struct failure *failure)
{
    (void)store, (void)permissions_max;
    lock();
    fake.catalogues_read++;
    bool fails = fake.too_many_permissions;
    unlock();
    if (fails)
        return failure_set(failure, PERMTAB_E_LIMIT, "permissions_max is too small");
    read_catalogue(out);
    return 0;
}

int store_read_expired(struct store *store, int64_t from, int64_t to, size_t limit, struct change_list *out,
                       struct failure *failure)
{
    (void)store, (void)failure, (void)from, (void)to, (void)limit;
    memset(out, 0, sizeof *out);
    lock();
    fake.revision += fake.changes_unseen;
    fake.changes_unseen = false;
    unlock();
    return 0;
}

int store_trim_changes(struct store *store, int64_t keep_us, uint64_t keep_rows, size_t slice,
                       struct failure *failure)
{
    (void)store, (void)failure, (void)keep_us, (void)keep_rows, (void)slice;
    return 0;
}

#endif
