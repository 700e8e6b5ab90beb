/* Invalidation on a host without Redis: entries go, in slices where there are many; limits; history. */
#include "proxy/invalidate/history.h"
#include "proxy/invalidate/private.h"
#include "proxy/table/retire.h"
#include "tests/support/invalidation_host.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#define CROWD 9000u /* users, whose entries are some slices */

static void this_host_alone(void **state)
{
    struct invalidation_host *host = *state;
    host_fill(host, 1, server);
    host_fill(host, 2, server);
    host_fill(host, 2, channel);
    host_fill(host, 3, channel);
    host_start_texts(host, "user:1 user:2@channel:9 scope:channel:9 poke");
    /* The entry goes at once, before the loop turns. */
    assert_false(host_resident(host, 1, server));
    assert_false(host_resident(host, 2, channel));
    assert_false(host_resident(host, 3, channel));
    assert_true(host_resident(host, 2, server));
    assert_int_equal(host->done, 0);
    assert_int_equal(host->wakes, 1);
    assert_int_equal(host->told, 4); /* the poke as well: subscribers know what to make of it */
    assert_string_equal(host->told_reason, "a?reason");
    HOST_UNTIL(host, host->done == 1);
    assert_int_equal(host->code, 0);
    assert_int_equal(host->result.entries, 3);
    assert_int_equal(host->result.keys + host->result.failed, 0);
    assert_false(host->result.published);
    host_invalidate(host, "role:100");
    assert_int_equal(host->result.entries, 1);
    host_invalidate(host, "all");
    assert_int_equal(host->rebuilds, 1);
    struct target tag = host_target("tag:x");
    assert_int_equal(host_start(host, &tag, 1, 0), PERMTAB_E_UNREACHABLE);
}

static void patterns_in_slices(void **state)
{
    struct invalidation_host *host = *state;
    for (uint64_t user = 1; user <= 3000; user++)
        host_fill(host, user, server);
    host_fill(host, 5, channel);
    host_start_texts(host, "prefix:user:20 pattern:user:1[0-4]");
    unsigned turns = 0;
    while (host->done == 0) {
        assert_int_equal(host->told, 0); /* before all of them are gone nobody is told */
        assert_true(turns++ < 1000);
        event_base_loop(host->base, EVLOOP_ONCE);
    }
    assert_int_equal(host->told, 2);
    assert_true(turns > 1); /* 5,000 entries are more than a slice */
    assert_int_equal(host->result.entries, 1 + 10 + 100 + 5);
    assert_false(host_resident(host, 20, server) || host_resident(host, 200, server) ||
                 host_resident(host, 2099, server) || host_resident(host, 14, server));
    assert_true(host_resident(host, 15, server) && host_resident(host, 120, server) &&
                host_resident(host, 2100, server));
    host_invalidate(host, "pattern:scope:*:9");
    assert_int_equal(host->result.entries, 1);
    assert_false(host_resident(host, 5, channel));
    assert_true(host_resident(host, 5, server));
}

/* Parts that remember places apart from the table read them again, however they were named. */
static void places_are_forgotten_however_named(void **state)
{
    struct invalidation_host *host = *state;
    static const char *const texts[] = {"scope:channel:9", "prefix:scope:channel:", "pattern:*:9",
                                        "role:100"};
    uint64_t invalidated = publisher_kept_version(host->publisher);
    host_invalidate(host, "user:1");
    host_invalidate(host, "pattern:user:*");
    assert_int_equal(publisher_kept_version(host->publisher), invalidated);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        host_invalidate(host, texts[i]);
        assert_int_equal(publisher_kept_version(host->publisher), invalidated + i + 1);
    }
}

/* Those that remember what a place brings to everybody forget it with whatever is invalidated. */
static void what_places_bring_is_forgotten(void **state)
{
    struct invalidation_host *host = *state;
    static const char *const texts[] = {"scope:channel:9", "prefix:scope:channel:", "pattern:*:9", "role:100",
                                        "user:1",          "pattern:user:*",        "all"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        uint64_t version = publisher_places_version(host->publisher);
        host_invalidate(host, texts[i]);
        assert_true(publisher_places_version(host->publisher) > version);
    }
}

/* At once, though others have used this turn of the loop: nothing of it is put into L2 behind the invalidation. */
static void what_places_bring_is_forgotten_first(void **state)
{
    struct invalidation_host *host = *state;
    uint64_t version = publisher_places_version(host->publisher);
    host->all->work = 0;
    host_start_texts(host, "role:100");
    assert_true(publisher_places_version(host->publisher) > version);
    HOST_UNTIL(host, host->done == 1);
}

static void crowd(struct invalidation_host *host)
{
    for (uint64_t user = 1; user <= CROWD; user++)
        host_fill(host, user, server);
}

static unsigned count_crowd(struct invalidation_host *host)
{
    unsigned found = 0;
    for (uint64_t user = 1; user <= CROWD; user++)
        found += host_resident(host, user, server);
    return found;
}

static void a_large_scope_in_slices(void **state)
{
    struct invalidation_host *host = *state;
    uint64_t next = CROWD + 1;
    unsigned turns = 0;
    crowd(host);
    host_start_texts(host, "scope:server:1");
    while (host->done == 0) {
        unsigned left = count_crowd(host);
        assert_true(left >= CROWD - (turns + 1) * PUBLISHER_SLICE);
        if (left > 0)
            assert_int_equal(host->told, 0); /* who asks again is to get another answer */
        host_fill(host, next++, channel);    /* read before the invalidation, for all that is known here */
        event_base_loop(host->base, EVLOOP_ONCE);
        assert_true(turns++ < 100);
    }
    assert_true(turns >= CROWD / PUBLISHER_SLICE);
    assert_int_equal(host->told, 1);
    assert_int_equal(count_crowd(host), 0);
    assert_in_range(host->result.entries, CROWD + CROWD / PUBLISHER_SLICE - 1, CROWD + turns);
}

/* An invalidation that comes later does not wait for the whole of it. */
static void a_small_one_beside_a_large_one(void **state)
{
    struct invalidation_host *host = *state;
    crowd(host);
    host_start_texts(host, "scope:server:1");
    host_fill(host, CROWD + 1, global);
    host_start_texts(host, "user:9001 scope:channel:9");
    HOST_UNTIL(host, host->done == 1);
    assert_false(host_resident(host, CROWD + 1, global));
    assert_true(count_crowd(host) > 0);
    host_start_texts(host, "scope:server:1"); /* the same again */
    HOST_UNTIL(host, host->done == 3);
    assert_int_equal(count_crowd(host), 0);
}

static void free_in_the_middle_of_a_scope(void **state)
{
    struct invalidation_host *host = *state;
    crowd(host);
    host_start_texts(host, "scope:server:1");
    event_base_loop(host->base, EVLOOP_ONCE);
    assert_true(count_crowd(host) > 0);
    invalidations_free(host->all);
    host->all = NULL;
    assert_int_equal(host->done, 1);
    assert_int_equal(host->code, PERMTAB_E_REFUSED);
    event_base_loop(host->base, EVLOOP_NONBLOCK);
}

/* Patterns that are slow to compare with take more slices, and not longer ones. */
static void slow_patterns_in_short_slices(void **state)
{
    struct invalidation_host *host = *state;
    struct target targets[INVALIDATION_GLOBS_MAX];
    for (uint64_t user = 1; user <= 2000; user++)
        host_fill(host, user, server);
    for (size_t i = 0; i < INVALIDATION_GLOBS_MAX; i++) {
        targets[i].kind = TARGET_PATTERN;
        memset(targets[i].word, 'a', sizeof targets[i].word);
        memcpy(targets[i].word, "*[", 2);
        memcpy(targets[i].word + sizeof targets[i].word - 3, "]x", 3);
    }
    assert_return_code(host_start(host, targets, INVALIDATION_GLOBS_MAX, 0), 0);
    struct invalidation_job *job = host->all->jobs->prev;
    unsigned slices = 0;
    for (; job->matching; slices++)
        invalidation_match_slice(job);
    assert_true(slices > 20); /* five or six of patterns that are quick */
    invalidation_job_check(job);
    HOST_UNTIL(host, host->done == 1);
    assert_int_equal(host->result.entries, 0);
    assert_true(host_resident(host, 1, server));
}

static void everything_is_counted_once(void **state)
{
    struct invalidation_host *host = *state;
    for (uint64_t user = 1; user <= 10; user++)
        host_fill(host, user, server);
    host_invalidate(host, "all all all");
    assert_int_equal(host->result.entries, 10);
    assert_int_equal(host->counters.invalidation_entries, 10);
}

static void rebuild_while_matching(void **state)
{
    struct invalidation_host *host = *state;
    struct log_position at = {7, 1, 1};
    struct catalogue catalogue;
    for (uint64_t user = 1; user <= 3000; user++)
        host_fill(host, user, server);
    host_start_texts(host, "prefix:user:");
    event_base_loop(host->base, EVLOOP_ONCE);
    assert_int_equal(host->done, 0);
    memory_catalogue(&host->policy, 1, &catalogue);
    assert_int_equal(publisher_rebuild(host->publisher, &at, 1000, &catalogue, NULL, NULL), 0);
    host_fill(host, 1, server);
    HOST_UNTIL(host, host->done == 1);
    assert_int_equal(host->code, 0);
    assert_true(host_resident(host, 1, server));
}

static void limits(void **state)
{
    struct invalidation_host *host = *state;
    struct target *many = host_users(1, INVALIDATION_TARGETS_MAX + 1);
    assert_int_equal(host_start(host, many, 0, 0), PERMTAB_E_INVALID);
    assert_int_equal(host_start(host, many, INVALIDATION_TARGETS_MAX + 1, 0), PERMTAB_E_LIMIT);
    assert_int_equal(host_start(host, many, 1, INVALIDATION_BATCH_MAX + 1), PERMTAB_E_LIMIT);
    for (size_t i = 0; i <= INVALIDATION_GLOBS_MAX; i++)
        many[i] = host_target("prefix:user:1");
    assert_int_equal(host_start(host, many, INVALIDATION_GLOBS_MAX + 1, 0), PERMTAB_E_LIMIT);
    assert_return_code(host_start(host, many, INVALIDATION_GLOBS_MAX, 0), 0);
    for (size_t i = 1; i < INVALIDATION_JOBS_MAX; i++)
        assert_return_code(host_start(host, many + 20, 1, 0), 0);
    assert_int_equal(host_start(host, many + 20, 1, 0), PERMTAB_E_FULL);
    assert_int_equal(host->counters.invalidations_running, INVALIDATION_JOBS_MAX);
    assert_int_equal(host->counters.invalidations_refused, 5);
    HOST_UNTIL(host, host->done == INVALIDATION_JOBS_MAX);
    assert_int_equal(host->counters.invalidations_running, 0);
    assert_return_code(host_start(host, many + 20, INVALIDATION_TARGETS_MAX - 20, 0), 0);
    HOST_UNTIL(host, host->done == INVALIDATION_JOBS_MAX + 1);
    free(many);
}

static void another_from_done(void **state)
{
    struct invalidation_host *host = *state;
    host->again = true;
    host_invalidate(host, "user:1");
    HOST_UNTIL(host, host->done == 2);
}

static void free_tells_who_waits(void **state)
{
    struct invalidation_host *host = *state;
    host->again = true; /* whoever is told may not begin another */
    host_start_texts(host, "prefix:user:");
    struct invalidations *all = host->all;
    host->all = NULL;
    host->again = false;
    invalidations_free(all);
    assert_int_equal(host->done, 1);
    assert_int_equal(host->code, PERMTAB_E_REFUSED);
}

static void history_is_kept(void **state)
{
    struct invalidation_host *host = *state;
    struct target *many = host_users(1000000, 100);
    host_fill(host, 1, server);
    host_invalidate(host, "user:1 role:5");
    assert_return_code(host_start(host, many, 100, 0), 0);
    HOST_UNTIL(host, host->done == 2);
    const struct invalidation_record *record =
        invalidation_history_before(invalidations_history(host->all), UINT64_MAX);
    assert_int_equal(record->targets, 100);
    assert_non_null(strstr(record->what, "user:1000000,user:1000001,"));
    assert_non_null(strstr(record->what, " more"));
    record = invalidation_history_before(invalidations_history(host->all), record->number);
    assert_string_equal(record->what, "user:1,role:5");
    assert_string_equal(record->reason, "a?reason");
    assert_int_equal(record->result.entries, 1);
    uint64_t minute, hour;
    invalidation_history_rate(invalidations_history(host->all), INVALIDATION_CLIENT, TARGET_USER,
                              clock_ns() / SECOND, &minute, &hour);
    assert_int_equal(minute, 101);
    assert_int_equal(host->counters.invalidations, 2);
    free(many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, host_setup_alone, host_teardown)
        T(this_host_alone),
        T(patterns_in_slices),
        T(places_are_forgotten_however_named),
        T(what_places_bring_is_forgotten),
        T(what_places_bring_is_forgotten_first),
        T(a_large_scope_in_slices),
        T(a_small_one_beside_a_large_one),
        T(free_in_the_middle_of_a_scope),
        T(everything_is_counted_once),
        T(slow_patterns_in_short_slices),
        T(rebuild_while_matching),
        T(limits),
        T(another_from_done),
        T(free_tells_who_waits),
        T(history_is_kept),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
