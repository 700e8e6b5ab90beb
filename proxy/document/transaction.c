/* Transactions that write policy: begun with the revision counter's row locked (sql_begin), so that writers queue;
 * repeated whole when the store asks for it, until the asker's time is over, or a bounded number of times when
 * there is no such time.
 *
 * Nothing is committed after the asker was told that the write was given up, or has gone: the connection's gate is
 * asked just before COMMIT is sent, and a caller that closes it afterwards learns that the outcome is unknown.
 *
 * When the connection breaks during the commit, or the store says that it failed and not how far it had come, nobody
 * has said whether it happened. Over a new connection the counter's row is locked first, which waits until the lost
 * transaction has ended one way or the other; then the last change row it would have written is there, with the nonce
 * that it had, or it is not and everything is repeated. */
#include "proxy/document/transaction.h"

#include "proxy/store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ATTEMPTS_MAX 12

int policy_revision(struct store *store, uint64_t *revision, struct failure *failure)
{
    static const char text[] = "SELECT revision FROM permtab_counter WHERE one = 1";
    int code = sql_number(sql_prepare(store_sql(store), text, failure), revision, failure);
    if (code == 0)
        return failure_set(failure, PERMTAB_E_SCHEMA, "the store's revision counter has no row");
    return code < 0 ? code : 0;
}

/* A commit that SQLite could not sync is not done for anybody, and yet all of it may be in the log: a recovery of the
 * log would find it there, and do it long after somebody was told that it was not. The next commit is written over it:
 * this one, which changes nothing. Before that nobody knows. */
static int write_over(struct store *store, struct failure *failure)
{
    if (sql_dialect(store_sql(store)) != SQL_SQLITE) {
        sql_rollback(store_sql(store));
        return 0;
    }
    static const char look[] = "PRAGMA user_version";
    char text[64];
    uint64_t version = 0; /* the application's, and a signed one */
    int code = sql_number(sql_prepare(store_sql(store), look, failure), &version, failure);
    (void)snprintf(text, sizeof text, "PRAGMA user_version = %d", (int)version);
    if (code > 0)
        code = sql_execute(store_sql(store), text, failure);
    if (code == 0)
        return sql_commit(store_sql(store), failure);
    sql_rollback(store_sql(store));
    return code;
}

/* 1: the transaction was committed; 0: it was not; or a code. */
static int find_out(struct store *store, const struct gate_trace *trace, struct failure *failure)
{
    uint64_t nonce;
    int code = sql_reconnect(&store->sql, failure);
    if (code < 0)
        return code;
    /* Another file in the place of SQLite's would say that nothing was done, and be written to. */
    if (!store_current(store))
        return failure_set(failure, PERMTAB_E_SCHEMA, "the store's file is another one now");
    code = sql_begin(store_sql(store), SQL_WRITE, failure);
    if (code < 0)
        return code;
    code = store_nonce(store, trace->revision, &nonce, failure);
    if (code > 0)
        code = nonce == trace->nonce ? 1 : 0;
    if (code == 0)
        return write_over(store, failure);
    sql_rollback(store_sql(store));
    return code;
}

/* Tries find_out several times, because the server may be away for a moment; once also when nobody waits any more. */
static int find_out_patiently(struct store *store, const struct gate_trace *trace, struct failure *failure)
{
    int code = PERMTAB_E_STORE_UNSURE;
    struct gate *gate = sql_gate(store_sql(store));
    gate_waits(gate, GATE_FOR_OUTCOME);
    for (unsigned attempt = 0; attempt < 5 && (attempt == 0 || gate_wanted(gate)); attempt++) {
        nanosleep(&(struct timespec){.tv_nsec = 200 * 1000 * 1000}, NULL);
        code = find_out(store, trace, failure);
        if (code >= 0)
            return code;
    }
    failure_wrap(failure,
                 "the commit failed or its answer was lost, and whether it was done could not be found out");
    failure->code = PERMTAB_E_STORE_UNSURE;
    return PERMTAB_E_STORE_UNSURE;
}

static int given_up(struct failure *failure)
{
    return failure_set(failure, PERMTAB_E_TIMEOUT, "given up, and nothing was changed");
}

static int commit(struct store *store, const struct gate_trace *trace, struct failure *failure)
{
    struct gate *gate = sql_gate(store_sql(store));
    if (!gate_commit(gate, trace)) {
        sql_rollback(store_sql(store));
        return given_up(failure);
    }
    int code = sql_commit(store_sql(store), failure);
    if (code == 0)
        return 0;
    if (code == PERMTAB_E_STORE_UNSURE) {
        code = find_out_patiently(store, trace, failure);
        if (code > 0)
            return 0;
        if (code == 0)
            code = failure_set(failure, PERMTAB_E_STORE_AGAIN, "the store did not commit");
    }
    if (code != PERMTAB_E_STORE_UNSURE && !gate_reopen(gate))
        return given_up(failure);
    return code;
}

static int once(struct store *store, bool dry_run, policy_body_fn body, void *context,
                struct policy_apply_result *result, struct failure *failure)
{
    struct gate_trace trace = {0};
    uint64_t before = 0;
    gate_waits(sql_gate(store_sql(store)), GATE_FOR_LOCK);
    int code = sql_begin(store_sql(store), SQL_WRITE, failure);
    if (code < 0)
        return code;
    gate_waits(sql_gate(store_sql(store)), GATE_FOR_STORE);
    code = policy_revision(store, &before, failure);
    if (code >= 0)
        code = body(context, failure);
    if (code >= 0)
        code = policy_revision(store, &trace.revision, failure);
    if (code >= 0 && trace.revision != before && !dry_run)
        code = store_nonce(store, trace.revision, &trace.nonce, failure);
    if (code < 0 || dry_run || trace.revision == before) {
        sql_rollback(store_sql(store));
        result->revision = before;
        return code;
    }
    result->revision = trace.revision;
    return commit(store, &trace, failure);
}

/* Rests longer with each attempt, and not for the same time in two writers that collide. */
static void rest(unsigned attempt)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long ms = 2 + (long)(attempt < ATTEMPTS_MAX ? attempt : ATTEMPTS_MAX) * 8 + now.tv_nsec % 10;
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000 * 1000}, NULL);
}

int policy_transaction(struct store *store, bool dry_run, policy_body_fn body, void *context,
                       struct policy_apply_result *result, struct failure *failure)
{
    struct failure own = {0};
    struct gate *gate = sql_gate(store_sql(store));
    int code = PERMTAB_E_STORE_AGAIN;
    if (failure == NULL)
        failure = &own;
    failure->code = 0;
    for (unsigned attempt = 0; code == PERMTAB_E_STORE_AGAIN; attempt++) {
        if (gate == NULL ? attempt == ATTEMPTS_MAX : !gate_wanted(gate))
            break;
        if (attempt > 0)
            rest(attempt);
        memset(result, 0, sizeof *result);
        code = once(store, dry_run, body, context, result, failure);
    }
    if (code == PERMTAB_E_STORE_AGAIN)
        code = gate == NULL ? failure_wrap(failure, "gave up after %d attempts", ATTEMPTS_MAX)
                            : given_up(failure);
    if (code < 0)
        memset(result, 0, sizeof *result);
    else
        result->store_id = store->store_id;
    return code < 0 ? code : 0;
}
