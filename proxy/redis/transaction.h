/* The replies to the commands of one transaction, so that the caller hears why it was refused: EXEC itself says
 * only EXECABORT. Private to redis.c. */
#ifndef PERMTAB_REDIS_TRANSACTION_H
#define PERMTAB_REDIS_TRANSACTION_H

#include "proxy/redis/redis.h"

struct redis_transaction;

/* NULL when memory is short. It frees itself when it is sealed and all expected commands have been told. */
struct redis_transaction *redis_transaction_new(redis_done_fn done, void *context);
/* Counts one more command that was sent, and will be told. */
void redis_transaction_expect(struct redis_transaction *transaction);
/* No more commands will be sent. Without EXEC (`whole` false) done is not called. */
void redis_transaction_seal(struct redis_transaction *transaction, bool whole);

/* Both a redis_done_fn, with the transaction as context: for MULTI and what comes before EXEC, and for EXEC. */
void redis_transaction_queued(void *transaction, enum redis_status status, const struct redis_reply *reply);
void redis_transaction_executed(void *transaction, enum redis_status status, const struct redis_reply *reply);

#endif
