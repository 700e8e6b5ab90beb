/* The first refusal in a transaction counts: what Redis says later follows from it. A command that fails while EXEC
 * runs it does not keep the others from running: its refusal stands among the replies of EXEC, for the caller to
 * judge. */
#include "proxy/redis/transaction.h"

#include "proxy/redis/parser.h"

#include <stdlib.h>

struct redis_transaction {
    redis_done_fn done; /* or NULL */
    void *context;
    size_t expected; /* commands that are still to be told */
    bool sealed;
    struct redis_reply *reason; /* the first refusal, or NULL */
};

struct redis_transaction *redis_transaction_new(redis_done_fn done, void *context)
{
    struct redis_transaction *transaction = calloc(1, sizeof *transaction);
    if (transaction) {
        transaction->done = done;
        transaction->context = context;
    }
    return transaction;
}

static void end_if_all_are_told(struct redis_transaction *transaction)
{
    if (!transaction->sealed || transaction->expected > 0)
        return;
    redis_reply_free(transaction->reason);
    free(transaction);
}

void redis_transaction_expect(struct redis_transaction *transaction)
{
    transaction->expected++;
}

void redis_transaction_seal(struct redis_transaction *transaction, bool whole)
{
    transaction->sealed = true;
    if (!whole)
        transaction->done = NULL;
    end_if_all_are_told(transaction);
}

void redis_transaction_queued(void *context, enum redis_status status, const struct redis_reply *reply)
{
    struct redis_transaction *transaction = context;
    transaction->expected--;
    if (status == REDIS_ERROR && !transaction->reason)
        transaction->reason = redis_reply_copy(reply); /* without memory EXEC's own words have to do */
    end_if_all_are_told(transaction);
}

void redis_transaction_executed(void *context, enum redis_status status, const struct redis_reply *reply)
{
    struct redis_transaction *transaction = context;
    transaction->expected--;
    if (status == REDIS_ERROR && transaction->reason)
        reply = transaction->reason;
    if (transaction->done)
        transaction->done(transaction->context, status, reply);
    end_if_all_are_told(transaction);
}
