/* Work: every job runs on a thread and is done on the loop; a store that is away fails jobs at once; freeing calls back
 * everything. The store is a fake that this file defines in place of store/store.c. */
#include "proxy/store/threads.h"

#include <assert.h>
#include <event2/event.h>
#include <event2/thread.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* The fake. Its state is shared with threads; tests run one after another. */
static atomic_int opened, closed, away, broken, replaced, dead;

int store_open(struct store *out, const struct sql_options *options, struct failure *failure)
{
    memset(out, 0, sizeof *out);
    assert(strcmp(options->url, "sqlite:fake") == 0 && strcmp(options->password, "word") == 0);
    atomic_fetch_add(&opened, 1);
    return atomic_load(&away) ? failure_set(failure, PERMTAB_E_STORE, "it is away") : 0;
}

void store_close(struct store *store)
{
    (void)store;
    atomic_fetch_add(&closed, 1);
}

/* A file that was replaced under the connection: it must be opened anew before it is asked again. */
bool store_current(const struct store *store)
{
    (void)store;
    return atomic_exchange(&replaced, 0) == 0;
}

bool sql_broken(const struct sql *sql)
{
    (void)sql;
    return atomic_exchange(&broken, 0) != 0;
}

/* A server that has ended the connection while it rested. */
bool sql_alive(struct sql *sql)
{
    (void)sql;
    return atomic_exchange(&dead, 0) == 0;
}

struct test_job {
    struct store_job job;
    pthread_t loop;
    pthread_t ran_on;
    bool had_store;
    char reason[64];
    int *left; /* counted down by done; the loop ends at 0 */
    struct event_base *base;
    atomic_int *gate; /* run waits until it is not 0 */
    atomic_int running;
    long slow_ns; /* that `done` takes */
    unsigned runs;
    unsigned failures;   /* so many runs lose their connection */
    bool done_something; /* before it was lost */
};

static int run(struct store_job *job, struct store *store, struct failure *failure)
{
    struct test_job *test = (struct test_job *)(void *)job;
    struct timespec moment = {.tv_nsec = 1000000};
    atomic_store(&test->running, 1);
    while (test->gate && atomic_load(test->gate) == 0)
        (void)nanosleep(&moment, NULL);
    test->ran_on = pthread_self();
    test->had_store = store != NULL;
    (void)snprintf(test->reason, sizeof test->reason, "%.63s", failure->text);
    test->runs++;
    if (test->runs > test->failures)
        return store != NULL ? 0 : PERMTAB_E_STORE;
    atomic_store(&broken, 1);
    test->job.once = test->done_something;
    return PERMTAB_E_STORE;
}

static void done(struct store_job *job)
{
    struct test_job *test = (struct test_job *)(void *)job;
    struct timespec moment = {.tv_nsec = test->slow_ns};
    assert_true(pthread_equal(pthread_self(), test->loop));
    if (test->slow_ns > 0)
        (void)nanosleep(&moment, NULL);
    if (--*test->left == 0)
        (void)event_base_loopbreak(test->base);
}

struct fixture {
    struct event_base *base;
    struct store_threads *pool;
    struct test_job jobs[1000];
    int left;
};

static struct fixture *begin(unsigned threads, size_t queue_max)
{
    char url[] = "sqlite:fake", password[] = "word";
    struct sql_options options = {.url = url, .password = password};
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    atomic_store(&opened, 0);
    atomic_store(&closed, 0);
    atomic_store(&away, 0);
    atomic_store(&broken, 0);
    atomic_store(&replaced, 0);
    atomic_store(&dead, 0);
    fixture->base = event_base_new();
    assert_non_null(fixture->base);
    struct store_threads_options pool = {fixture->base, "work", &options, threads, queue_max};
    assert_int_equal(store_threads_new(&fixture->pool, &pool), 0);
    memset(url, 'x', sizeof url - 1); /* options are copied */
    memset(password, 'x', sizeof password - 1);
    return fixture;
}

static void end(struct fixture *fixture)
{
    store_threads_free(fixture->pool);
    event_base_free(fixture->base);
    free(fixture);
}

static int submit(struct fixture *fixture, size_t index, atomic_int *gate)
{
    struct test_job *job = &fixture->jobs[index];
    *job =
        (struct test_job){.job = {.run = run, .done = done}, .loop = pthread_self(), .left = &fixture->left};
    job->base = fixture->base;
    job->gate = gate;
    int code = store_threads_submit(fixture->pool, &job->job);
    fixture->left += code == 0;
    return code;
}

static void test_all_are_done(void **state)
{
    struct fixture *fixture = begin(4, 1000);
    (void)state;
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(submit(fixture, i, NULL), 0);
    (void)event_base_dispatch(fixture->base);
    assert_int_equal(fixture->left, 0);
    for (size_t i = 0; i < 1000; i++) {
        assert_true(fixture->jobs[i].had_store);
        assert_false(pthread_equal(fixture->jobs[i].ran_on, pthread_self()));
    }
    end(fixture);
    assert_true(atomic_load(&opened) >= 1 && atomic_load(&opened) <= 4);
    assert_int_equal(atomic_load(&opened), atomic_load(&closed));
}

/* Twenty have ended, and each has a lot to tell: the loop has other things to do as well. */
static void test_done_in_turns(void **state)
{
    atomic_int gate = 0;
    struct fixture *fixture = begin(1, 100);
    struct timespec moment = {.tv_nsec = 1000000};
    (void)state;
    for (size_t i = 0; i < 20; i++) {
        assert_int_equal(submit(fixture, i, NULL), 0);
        fixture->jobs[i].slow_ns = 300000;
    }
    assert_int_equal(submit(fixture, 20, &gate), 0);
    while (atomic_load(&fixture->jobs[20].running) == 0) /* after the others */
        (void)nanosleep(&moment, NULL);
    for (int left = fixture->left; left > 1; left = fixture->left) {
        assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
        assert_in_range(left - fixture->left, 1, 4);
    }
    atomic_store(&gate, 1);
    (void)event_base_dispatch(fixture->base);
    assert_int_equal(fixture->left, 0);
    end(fixture);
}

static void test_queue_is_bounded(void **state)
{
    atomic_int gate = 0;
    struct fixture *fixture = begin(1, 3);
    struct timespec moment = {.tv_nsec = 1000000};
    (void)state;
    assert_int_equal(submit(fixture, 0, &gate), 0);
    while (atomic_load(&fixture->jobs[0].running) == 0) /* the only thread has it, and takes no other */
        (void)nanosleep(&moment, NULL);
    for (size_t i = 1; i <= 3; i++)
        assert_int_equal(submit(fixture, i, &gate), 0);
    assert_int_equal(submit(fixture, 4, &gate), PERMTAB_E_FULL);
    atomic_store(&gate, 1);
    (void)event_base_dispatch(fixture->base);
    assert_int_equal(fixture->left, 0);
    end(fixture);
}

static void test_store_away(void **state)
{
    struct fixture *fixture = begin(2, 100);
    struct timespec wait = {.tv_sec = 1, .tv_nsec = 100000000};
    (void)state;
    atomic_store(&away, 1);
    for (size_t i = 0; i < 50; i++)
        assert_int_equal(submit(fixture, i, NULL), 0);
    (void)event_base_dispatch(fixture->base);
    for (size_t i = 0; i < 50; i++) {
        assert_false(fixture->jobs[i].had_store);
        assert_string_equal(fixture->jobs[i].reason, "it is away");
    }
    /* Threads try at most once a second, not once a job: both threads may have tried before either failed. */
    assert_in_range(atomic_load(&opened), 1, 2);
    atomic_store(&away, 0);
    (void)nanosleep(&wait, NULL);
    assert_int_equal(submit(fixture, 50, NULL), 0);
    (void)event_base_dispatch(fixture->base);
    assert_true(fixture->jobs[50].had_store);
    end(fixture);
}

static void test_broken_connection(void **state)
{
    struct fixture *fixture = begin(1, 10);
    (void)state;
    atomic_store(&broken, 1);
    assert_int_equal(submit(fixture, 0, NULL), 0);
    (void)event_base_dispatch(fixture->base);
    assert_int_equal(submit(fixture, 1, NULL), 0);
    (void)event_base_dispatch(fixture->base);
    assert_true(fixture->jobs[1].had_store);
    assert_int_equal(atomic_load(&opened), 2);
    end(fixture);
    assert_int_equal(atomic_load(&closed), 2);
}

static void test_replaced_file(void **state)
{
    struct fixture *fixture = begin(1, 10);
    (void)state;
    assert_int_equal(submit(fixture, 0, NULL), 0);
    (void)event_base_dispatch(fixture->base);
    atomic_store(&replaced, 1);
    assert_int_equal(submit(fixture, 1, NULL), 0);
    (void)event_base_dispatch(fixture->base);
    assert_true(fixture->jobs[1].had_store);
    assert_int_equal(atomic_load(&opened), 2);
    end(fixture);
}

/* One job with a good connection, and then one whose connection is lost at its first `failures` runs. */
static struct test_job *lose(struct fixture *fixture, unsigned failures, bool done_something)
{
    struct test_job *job = &fixture->jobs[1];
    assert_int_equal(submit(fixture, 0, NULL), 0);
    (void)event_base_dispatch(fixture->base);
    *job = (struct test_job){.job = {.run = run, .done = done},
                             .loop = pthread_self(),
                             .left = &fixture->left,
                             .base = fixture->base,
                             .failures = failures,
                             .done_something = done_something};
    fixture->left = 1;
    assert_int_equal(store_threads_submit(fixture->pool, &job->job), 0);
    (void)event_base_dispatch(fixture->base);
    return job;
}

static void test_lost_while_resting_runs_again(void **state)
{
    struct fixture *fixture = begin(1, 10);
    (void)state;
    struct test_job *job = lose(fixture, 1, false);
    assert_int_equal(job->runs, 2);
    assert_true(job->had_store);
    assert_int_equal(atomic_load(&opened), 2);
    end(fixture);
}

/* The second connection is a new one: the store itself is ill. */
static void test_runs_again_once(void **state)
{
    struct fixture *fixture = begin(1, 10);
    (void)state;
    assert_int_equal(lose(fixture, 9, false)->runs, 2);
    end(fixture);
}

static void test_what_did_something_runs_once(void **state)
{
    struct fixture *fixture = begin(1, 10);
    (void)state;
    assert_int_equal(lose(fixture, 1, true)->runs, 1);
    end(fixture);
}

static void test_rested_is_tried_first(void **state)
{
    struct fixture *fixture = begin(1, 10);
    struct timespec wait = {.tv_sec = 1, .tv_nsec = 50000000};
    (void)state;
    assert_int_equal(submit(fixture, 0, NULL), 0);
    (void)event_base_dispatch(fixture->base);
    (void)nanosleep(&wait, NULL);
    atomic_store(&dead, 1);
    assert_int_equal(submit(fixture, 1, NULL), 0);
    (void)event_base_dispatch(fixture->base);
    assert_int_equal(fixture->jobs[1].runs, 1);
    assert_true(fixture->jobs[1].had_store);
    assert_int_equal(atomic_load(&opened), 2);
    end(fixture);
}

static void test_withdrawing(void **state)
{
    atomic_int gate = 0;
    struct fixture *fixture = begin(1, 3);
    struct timespec moment = {.tv_nsec = 1000000};
    (void)state;
    assert_int_equal(submit(fixture, 0, &gate), 0);
    while (atomic_load(&fixture->jobs[0].running) == 0)
        (void)nanosleep(&moment, NULL);
    for (size_t i = 1; i <= 3; i++)
        assert_int_equal(submit(fixture, i, &gate), 0);
    assert_false(store_threads_withdraw(fixture->pool, &fixture->jobs[0].job)); /* it runs */
    assert_true(
        store_threads_withdraw(fixture->pool, &fixture->jobs[3].job)); /* the last: the queue's end moves */
    assert_true(store_threads_withdraw(fixture->pool, &fixture->jobs[1].job));
    assert_false(store_threads_withdraw(fixture->pool, &fixture->jobs[1].job));
    fixture->left -= 2;
    assert_int_equal(submit(fixture, 4, &gate), 0);
    assert_int_equal(submit(fixture, 5, &gate), 0);
    assert_int_equal(submit(fixture, 6, &gate), PERMTAB_E_FULL);
    atomic_store(&gate, 1);
    (void)event_base_dispatch(fixture->base);
    assert_int_equal(fixture->left, 0);
    for (size_t i = 0; i <= 5; i++)
        assert_int_equal(fixture->jobs[i].runs, i != 1 && i != 3);
    end(fixture);
}

static void *open_gate(void *context)
{
    struct timespec moment = {.tv_nsec = 50000000};
    (void)nanosleep(&moment, NULL);
    atomic_store((atomic_int *)context, 1);
    return NULL;
}

/* Jobs that no thread has begun are called back too, without a store. */
static void test_free_calls_back(void **state)
{
    atomic_int gate = 0;
    pthread_t opener;
    struct fixture *fixture = begin(1, 100);
    (void)state;
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(submit(fixture, i, &gate), 0);
    assert_int_equal(pthread_create(&opener, NULL, open_gate, &gate), 0);
    store_threads_free(fixture->pool);
    fixture->pool = NULL;
    assert_int_equal(fixture->left, 0);
    assert_false(fixture->jobs[9].had_store);
    assert_string_equal(fixture->jobs[9].reason, "the sidecar is stopping");
    assert_int_equal(pthread_join(opener, NULL), 0);
    end(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_are_done),
        cmocka_unit_test(test_done_in_turns),
        cmocka_unit_test(test_queue_is_bounded),
        cmocka_unit_test(test_store_away),
        cmocka_unit_test(test_broken_connection),
        cmocka_unit_test(test_free_calls_back),
        cmocka_unit_test(test_replaced_file),
        cmocka_unit_test(test_lost_while_resting_runs_again),
        cmocka_unit_test(test_runs_again_once),
        cmocka_unit_test(test_what_did_something_runs_once),
        cmocka_unit_test(test_rested_is_tried_first),
        cmocka_unit_test(test_withdrawing),
    };
    if (evthread_use_pthreads() < 0)
        return 1;
    return cmocka_run_group_tests_name("work", tests, NULL, NULL);
}
