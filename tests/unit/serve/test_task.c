/* When writes are answered. What they do is for tests/e2e/. */
#include "proxy/base/clock.h"
#include "proxy/config/config.h"
#include "proxy/serve/server.h"
#include "proxy/serve/task.h"
#include "proxy/table/publisher.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define STALENESS_MS 500u

/* What the table and the threads say, played (--wrap, CMakeLists.txt). */
static struct {
    uint64_t revision;
    unsigned replies;
} fake;

int __wrap_store_threads_submit(struct store_threads *pool, struct store_job *job);
struct log_position __wrap_publisher_position(const struct publisher *publisher);
bool __wrap_publisher_leased(const struct publisher *publisher, uint64_t now_ns);
void __wrap_feed_wake(struct feed *feed);

int __wrap_store_threads_submit(struct store_threads *pool, struct store_job *job)
{
    (void)pool;
    job->done(job);
    return 0;
}

struct log_position __wrap_publisher_position(const struct publisher *publisher)
{
    (void)publisher;
    return (struct log_position){.revision = fake.revision};
}

bool __wrap_publisher_leased(const struct publisher *publisher, uint64_t now_ns)
{
    (void)publisher, (void)now_ns;
    return false;
}

void __wrap_feed_wake(struct feed *feed)
{
    (void)feed;
}

static void reply(struct task *task)
{
    (void)task;
    fake.replies++;
}

static void leave(struct task *task)
{
    (void)task;
}

/* A poll that began before the write may still renew the lease, so the answer waits for one that did not, or until none
 * can. */
static void test_a_write_is_held_though_the_lease_has_ended(void **state)
{
    struct counters counters = {0};
    struct config config = {.max_staleness_ms = STALENESS_MS};
    struct parts parts = {.config = &config, .counters = &counters};
    struct server server = {.parts = &parts};
    struct request request = {.server = &server};
    struct task task = {.reply = reply, .free = leave, .writes = true, .revision = 8, .answer_by_ns = UINT64_MAX};
    (void)state;
    fake.revision = 7;
    for (unsigned until_late = 0; until_late < 2; until_late++) {
        fake.replies = 0;
        uint64_t before_ns = clock_ns();
        task_start(&task, &request);
        assert_int_equal(fake.replies, 0);
        task_release(&server, 7, before_ns + STALENESS_MS * 1000000ull - 1);
        assert_int_equal(fake.replies, 0);
        task_release(&server, until_late ? 7 : 8, until_late ? UINT64_MAX : before_ns);
        assert_int_equal(fake.replies, 1);
        assert_null(server.held);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_write_is_held_though_the_lease_has_ended)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
