/* Invalidations that are heard: others' messages, one's own, gaps between them, plain text and floods of it. */
#include "proxy/invalidate/history.h"
#include "tests/support/invalidation_host.h"

#include <inttypes.h>
#include <stdio.h>

static void others_messages_are_this_hosts_affair(void **state)
{
    struct invalidation_host *host = *state;
    host_fill(host, 1, server);
    host_fill(host, 2, server);
    host_put_user(host, 1);
    host_ask(host, "SADD " HOST_PREFIX "tag:x user:2");
    host_hear(host, host->all, "permtab1 invalidate 00000000000000aa 1 user:1 tag:x");
    assert_false(host_resident(host, 1, server));
    HOST_UNTIL(host, host->all->heard == 0);
    assert_true(host_resident(host, 2, server)); /* who invalidates a tag names its members */
    host_turn_for(host, 20);
    assert_true(host_has_user(host, 1));
    assert_int_equal(host->message_count, 0);
    assert_int_equal(host->counters.invalidations_heard, 1);
    assert_int_equal(host->counters.invalidations, 0);
    const struct invalidation_record *record =
        invalidation_history_before(invalidations_history(host->all), UINT64_MAX);
    assert_int_equal(record->source, INVALIDATION_MESSAGE);
    host_hear(host, host->all, "permtab1 invalidate 00000000000000aa 2 all");
    assert_int_equal(host->rebuilds, 1);
    host_turn_for(host, 20);
    assert_int_equal(host->flushes, 0);
    host_hear(host, host->all, "permtab1 invalidate 00000000000000aa 3 pattern:user:*");
    host_fill(host, 1, server);
    HOST_UNTIL(host, host->all->heard == 0);
    assert_false(host_resident(host, 1, server));
    assert_int_equal(host->swept_count, 0);
    host_hear(host, host->all, "permtab1 changed 0000000000000007 1 2 user:1");
    host_hear(host, host->all, "permtab1 written 0000000000000007 2 user:1");
    assert_int_equal(host->counters.invalidations_heard, 3);
}

static void own_messages_are_ignored(void **state)
{
    struct invalidation_host *host = *state;
    char text[128];
    host_fill(host, 1, server);
    snprintf(text, sizeof text, "permtab1 invalidate %016" PRIx64 " 9 user:1", host->all->options.host_id);
    host_hear(host, host->all, text);
    assert_true(host_resident(host, 1, server));
    assert_int_equal(host->counters.invalidations_heard, 0);
}

static void gaps_wake_the_poll(void **state)
{
    struct invalidation_host *host = *state;
    static const struct {
        const char *text;
        unsigned gaps, wakes;
    } steps[] = {
        {"permtab1 invalidate 00000000000000aa 7 user:1", 0, 0}, /* the first one heard */
        {"permtab1 invalidate 00000000000000aa 8 user:1", 0, 0},
        {"permtab1 invalidate 00000000000000aa 8 user:1", 0, 0}, /* twice */
        {"permtab1 invalidate 00000000000000bb 1 user:1", 0, 0},
        {"permtab1 invalidate 00000000000000aa 11 user:1", 2, 1},
        {"permtab1 invalidate 00000000000000aa 9 user:1", 2, 1}, /* late */
        {"permtab1 invalidate 00000000000000aa 12 user:1", 2, 1},
        {"permtab1 invalidate 00000000000000bb 3 user:1", 3, 2},
    };
    uint64_t kept = publisher_kept_version(host->publisher);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        host_hear(host, host->all, steps[i].text);
        assert_int_equal(publisher_kept_version(host->publisher), kept + steps[i].wakes);
        assert_int_equal(host->counters.invalidation_gaps, steps[i].gaps);
        assert_int_equal(host->wakes, steps[i].wakes);
    }
    /* Anybody may invent hosts: their number is bounded, and who speaks is remembered. */
    for (unsigned i = 0; i < 3 * ORIGINS_MAX; i++) {
        char text[128];
        snprintf(text, sizeof text, "permtab1 invalidate %016x 1 user:1", 0x1000 + i);
        host_hear(host, host->all, text);
        snprintf(text, sizeof text, "permtab1 invalidate 00000000000000aa %u user:1", 13 + i);
        host_hear(host, host->all, text);
    }
    assert_int_equal(host->counters.invalidation_gaps, 3);
    host_hear(host, host->all, "permtab1 invalidate 00000000000000aa 2000 user:1");
    assert_int_equal(host->wakes, 3);
    kept = publisher_kept_version(host->publisher);
    host_hear(host, host->all, "permtab1 invalidate 00000000000000cc 1 poke");
    assert_int_equal(host->wakes, 4);
    assert_int_equal(publisher_kept_version(host->publisher), kept + 1);
}

static void plain_text_is_l2s_affair_too(void **state)
{
    struct invalidation_host *host = *state;
    host_fill(host, 1, server);
    host_put_user(host, 1);
    host_hear(host, host->all, "user:1");
    assert_false(host_resident(host, 1, server));
    HOST_UNTIL(host, host->all->heard == 0);
    assert_false(host_has_user(host, 1));
    assert_int_equal(host->message_count, 0);
    /* A poke alone leaves no trace: who hears it polls. */
    host_hear(host, host->all, "poke");
    assert_int_equal(host->all->heard, 0);
    host_change_tag(host, "raid", (struct target[]){{.kind = TARGET_USER, .id = 2}}, 1, true);
    host_fill(host, 2, server);
    host_hear(host, host->all, "tag:raid");
    HOST_UNTIL(host, host->all->heard == 0);
    assert_false(host_resident(host, 2, server));
}

/* Every host hears a pattern and looks for it at home; one of them sweeps. */
static void one_host_sweeps(void **state)
{
    struct invalidation_host *host = *state;
    struct redis *second_redis = host_connect_redis(host);
    struct invalidations *second = host_invalidations(host, second_redis);
    host_hear(host, host->all, "pattern:user:4*");
    host_hear(host, second, "pattern:user:4*");
    HOST_UNTIL(host, host->swept_count == 1);
    host_turn_for(host, 50);
    assert_int_equal(host->swept_count, 1);
    assert_int_equal(host->all->heard + second->heard, 1);
    host_sweep_ends(host, 0, 1, "");
    HOST_UNTIL(host, host->all->heard + second->heard == 0);
    host_hear(host, second, "pattern:user:5*"); /* another one */
    HOST_UNTIL(host, host->swept_count == 2);
    host_sweep_ends(host, 0, 1, "");
    host_hear(host, host->all, "all");
    host_hear(host, second, "all");
    HOST_UNTIL(host, host->all->heard + second->heard == 0);
    assert_int_equal(host->rebuilds, 2);
    assert_int_equal(host->flushes, 1);
    invalidations_free(second);
    redis_free(second_redis);
}

#define CROWD 9000u /* users, whose entries are some slices */

static void floods_are_bounded(void **state)
{
    struct invalidation_host *host = *state;
    redis_server_pause(&host->redis_server); /* so that nothing ends */
    host_fill(host, CROWD, server);          /* whose set the others share */
    for (unsigned i = 0; i < HEARD_JOBS_MAX + 50; i++) {
        char text[64];
        snprintf(text, sizeof text, "user:%u", i);
        host_fill(host, i, server);
        host_hear(host, host->all, text);
    }
    assert_int_equal(host->all->heard, HEARD_JOBS_MAX);
    assert_int_equal(host->counters.invalidations_refused, 50);
    /* There is no room for a job, and the table is seen to all the same, in slices. */
    for (uint64_t user = HEARD_JOBS_MAX + 100; user < CROWD; user++)
        host_fill(host, user, server);
    host_hear(host, host->all, "user:9000 scope:server:1 user:9001");
    assert_true(host_resident(host, CROWD - 1, server));
    host_fill(host, CROWD + 1, channel);
    HOST_UNTIL(host, !invalidation_retire_left(host->all));
    assert_false(host_resident(host, CROWD - 1, server) || host_resident(host, CROWD + 1, channel));
    for (unsigned i = 0; i < HEARD_JOBS_MAX + 50; i++)
        assert_false(host_resident(host, i, server));
    for (unsigned i = 0; i < SPILLED_MAX; i++)
        host_hear(host, host->all, "user:1");
    assert_int_equal(host->counters.invalidations_refused, 51 + SPILLED_MAX);
    host_hear(host, host->all, "user:1");
    assert_int_equal(host->counters.invalidations_refused, 51 + SPILLED_MAX + 2); /* not even that */
    host_start_texts(host, "user:1"); /* who asks here is not kept out by it */
    redis_server_resume(&host->redis_server);
    HOST_UNTIL(host, host->done == 1 && host->all->heard == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, host_setup, host_teardown)
        T(others_messages_are_this_hosts_affair), T(own_messages_are_ignored), T(gaps_wake_the_poll),
        T(plain_text_is_l2s_affair_too),          T(one_host_sweeps),          T(floods_are_bounded),
#undef T
    };
    if (!redis_server_installed())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
