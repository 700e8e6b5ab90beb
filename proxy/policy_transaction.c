/* Transactions that write policy: begun with the revision counter in hand (sql_begin), so writers queue; repeated whole when
 * the store asks for it, a bounded number of times.
 *
 * When the connection breaks during the commit, nobody has said whether it happened. Over a new connection the counter's row
 * is locked first, which waits until the lost transaction has ended one way or the other; then the last change row it
 * would have written is there, with the nonce that it had, or it is not and everything is repeated. */
#include "proxy/policy_transaction.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ATTEMPTS_MAX 12

/* What a transaction was about to leave behind. */
struct trace {
    uint64_t revision;
    uint64_t nonce; /* of the change row with that revision */
};

int policy_failure_code(const struct failure *failure)
{
    return failure->code < 0 ? failure->code : PERMTAB_E_STORE;
}

int policy_revision(struct store *store, uint64_t *revision, struct failure *failure)
{
    static const char text[] = "SELECT revision FROM permtab_counter WHERE one = 1";
    struct sql_statement *statement = sql_prepare(store->sql, text, failure);
    if (statement == NULL)
        return policy_failure_code(failure);
    int code = sql_step(statement, failure);
    if (code > 0)
        *revision = sql_column_u64(statement, 0);
    sql_reset(statement);
    if (code == 0)
        return failure_set(failure, PERMTAB_E_SCHEMA, "the store's revision counter has no row");
    return code < 0 ? code : 0;
}

/* 1 and the nonce, 0 when there is no such row, or a code. */
static int nonce_of(struct store *store, uint64_t revision, uint64_t *nonce, struct failure *failure)
{
    static const char text[] = "SELECT nonce FROM permtab_change WHERE revision = ?";
    struct sql_statement *statement = sql_prepare(store->sql, text, failure);
    if (statement == NULL)
        return policy_failure_code(failure);
    sql_bind_u64(statement, 1, revision);
    int code = sql_step(statement, failure);
    if (code > 0)
        *nonce = sql_column_u64(statement, 0);
    sql_reset(statement);
    return code;
}

/* 1: it was committed; 0: it was not; or a code. */
static int find_out(struct store *store, const struct trace *trace, struct failure *failure)
{
    uint64_t nonce;
    int code = sql_reconnect(&store->sql, failure);
    if (code < 0)
        return code;
    code = sql_begin(store->sql, SQL_WRITE, failure);
    if (code < 0)
        return code;
    code = nonce_of(store, trace->revision, &nonce, failure);
    if (code > 0)
        code = nonce == trace->nonce ? 1 : 0;
    sql_rollback(store->sql);
    return code;
}

/* The server may be away for a moment. */
static int find_out_patiently(struct store *store, const struct trace *trace, struct failure *failure)
{
    int code = PERMTAB_E_STORE_UNSURE;
    for (unsigned attempt = 0; attempt < 5; attempt++) {
        nanosleep(&(struct timespec){.tv_nsec = 200 * 1000 * 1000}, NULL);
        code = find_out(store, trace, failure);
        if (code >= 0)
            return code;
    }
    failure_wrap(failure,
                 "the connection broke while committing, and whether it was done could not be found out");
    failure->code = PERMTAB_E_STORE_UNSURE;
    return PERMTAB_E_STORE_UNSURE;
}

static int once(struct store *store, bool dry_run, policy_body_fn body, void *context,
                struct policy_apply_result *result, struct failure *failure)
{
    struct trace trace = {0};
    uint64_t before = 0;
    int code = sql_begin(store->sql, SQL_WRITE, failure);
    if (code < 0)
        return code;
    code = policy_revision(store, &before, failure);
    if (code >= 0)
        code = body(context, failure);
    if (code >= 0)
        code = policy_revision(store, &trace.revision, failure);
    if (code >= 0 && trace.revision != before && !dry_run)
        code = nonce_of(store, trace.revision, &trace.nonce, failure);
    if (code < 0 || dry_run || trace.revision == before) {
        sql_rollback(store->sql);
        result->revision = before;
        return code;
    }
    result->revision = trace.revision;
    code = sql_commit(store->sql, failure);
    if (code != PERMTAB_E_STORE_UNSURE)
        return code;
    code = find_out_patiently(store, &trace, failure);
    if (code == 0)
        return failure_set(failure, PERMTAB_E_STORE_AGAIN, "the store did not commit");
    return code > 0 ? 0 : code;
}

/* Longer with each attempt, and not the same for two who collide. */
static void rest(unsigned attempt)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long ms = 2 + (long)attempt * 8 + now.tv_nsec % 10;
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000 * 1000}, NULL);
}

int policy_transaction(struct store *store, bool dry_run, policy_body_fn body, void *context,
                       struct policy_apply_result *result, struct failure *failure)
{
    struct failure own = {0};
    int code = PERMTAB_E_STORE_AGAIN;
    if (failure == NULL)
        failure = &own;
    failure->code = 0;
    for (unsigned attempt = 0; code == PERMTAB_E_STORE_AGAIN && attempt < ATTEMPTS_MAX; attempt++) {
        if (attempt > 0)
            rest(attempt);
        memset(result, 0, sizeof *result);
        code = once(store, dry_run, body, context, result, failure);
    }
    if (code == PERMTAB_E_STORE_AGAIN)
        failure_wrap(failure, "gave up after %d attempts", ATTEMPTS_MAX);
    if (code < 0)
        memset(result, 0, sizeof *result);
    else
        result->store_id = store->store_id;
    return code < 0 ? code : 0;
}
