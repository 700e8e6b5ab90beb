/* Nothing can be freed, everywhere: rule 4 of docs/HACKING.md. tests/e2e/test_house.py sees that no X_free of a header
 * is missing here. */
#include "client/names.h"
#include "client/permtab.h"
#include "proxy/answer/answer.h"
#include "proxy/answer/ask.h"
#include "proxy/answer/fetch.h"
#include "proxy/answer/read_job.h"
#include "proxy/answer/reads.h"
#include "proxy/answer/fill.h"
#include "proxy/answer/known_users_read.h"
#include "proxy/answer/slices.h"
#include "proxy/cleanup/cleanup.h"
#include "proxy/daemon/demo.h"
#include "proxy/delayed/delayed.h"
#include "proxy/feed/audit.h"
#include "proxy/feed/feed.h"
#include "proxy/growth/growth.h"
#include "proxy/growth/look.h"
#include "proxy/invalidate/fleet.h"
#include "proxy/invalidate/history.h"
#include "proxy/invalidate/invalidate.h"
#include "proxy/keys/keys.h"
#include "proxy/l2/l2.h"
#include "proxy/redis/dial.h"
#include "proxy/redis/link.h"
#include "proxy/redis/lookup.h"
#include "proxy/redis/parser.h"
#include "proxy/redis/redis.h"
#include "proxy/redis/subscriber.h"
#include "proxy/rights/facts_slice.h"
#include "proxy/serve/feedback.h"
#include "proxy/serve/listener.h"
#include "proxy/serve/ops.h"
#include "proxy/serve/session.h"
#include "proxy/serve/subscriptions.h"
#include "proxy/serve/writes.h"
#include "proxy/store/threads.h"
#include "proxy/table/publisher.h"
#include "proxy/table/table.h"
#include "proxy/table/workshop.h"
#include "proxy/warm/fleet_keys.h"
#include "proxy/warm/warm.h"
#include "shm/pages.h"
#include "shm/segment.h"
#include "shm/segment_memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_nothing_is_freed(void **state)
{
    (void)state;
    names_free(NULL);
    permtab_rule_free(NULL);
    answering_free(NULL);
    ask_queue_free(NULL);
    fetches_free(NULL);
    reads_free(NULL);
    fills_free(NULL);
    read_job_free(NULL);
    known_users_read_free(NULL);
    slices_free(NULL);
    facts_slice_free(NULL);
    cleanup_free(NULL);
    demo_free(NULL);
    delayed_free(NULL);
    audit_free(NULL);
    feed_free(NULL);
    growth_free(NULL);
    look_free(NULL);
    fleet_free(NULL);
    invalidation_history_free(NULL);
    invalidations_free(NULL);
    keys_free(NULL);
    keys_reading_free(NULL);
    l2_free(NULL);
    redis_dial_free(NULL);
    redis_link_free(NULL);
    redis_lookup_free(NULL);
    redis_parser_free(NULL);
    redis_reply_free(NULL);
    redis_free(NULL);
    redis_subscriber_free(NULL);
    facts_slice_free(NULL);
    feedback_free(NULL);
    listener_free(NULL);
    ops_free(NULL);
    session_free(NULL);
    subscriptions_free(NULL);
    writes_free(NULL);
    store_threads_free(NULL);
    pages_free(NULL, 0, 0);
    publisher_free(NULL);
    table_free(NULL);
    workshop_free(NULL);
    warm_free(NULL);
    fleet_keys_free(NULL);
    segment_free(NULL);
    segment_memory_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
