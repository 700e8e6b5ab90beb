/* A master whose signals cannot be read, and workers that cannot be told to end: it ends all the same. What the master
 * reads is replaced (--wrap, CMakeLists.txt). */
#include "tests/unit/master/master_fixture.h"

#include <errno.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

/* ---- signals ----------------------------------------------------------------------------------------------------- */

static unsigned *unread; /* so many signals are not read; in memory that a worker shares with its master */

ssize_t __real_read(int file, void *data, size_t size);
ssize_t __wrap_read(int file, void *data, size_t size);
ssize_t __wrap_read(int file, void *data, size_t size)
{
    if (size != sizeof(struct signalfd_siginfo) || *unread == 0)
        return __real_read(file, data, size);
    --*unread;
    errno = EIO;
    return -1;
}

static int share_unread(void **state)
{
    unread = mmap(NULL, sizeof *unread, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(unread, MAP_FAILED);
    return set_up(state);
}

static int unshare_unread(void **state)
{
    (void)munmap(unread, sizeof *unread);
    return tear_down(state);
}

static int serve_the_deaf(void *context, const struct worker_start *start)
{
    (void)context;
    *unread = UINT32_MAX;
    serve_to_the_end(start);
    return EXIT_FINE;
}

/* A supervisor begins one that hears. The worker is told to end, as ever. */
static void test_signals_that_can_never_be_read(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(run(fixture, serve_the_deaf), EXIT_TRANSIENT);
    assert_int_equal(fixture->notes->begun, 1);
    assert_int_not_equal(fixture->notes->workers[0].ended_ns, 0);
}

static int serve_the_hard_of_hearing(void *context, const struct worker_start *start)
{
    (void)context;
    if (start->number == 1) {
        tell(start, CHANNEL_READY, "");
        *unread = 20;
        return EXIT_TRANSIENT; /* there is a signal of that */
    }
    *unread = 20;
    serve_to_the_end(start);
    return EXIT_FINE;
}

static void test_signals_that_are_read_late(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(run(fixture, serve_the_hard_of_hearing), EXIT_FINE);
    assert_int_equal(fixture->notes->begun, 2);
    assert_int_equal(*unread, 0);
}

/* ---- workers that cannot be told --------------------------------------------------------------------------------- */

static int migrate_unheard(void *context, const struct worker_start *start)
{
    (void)context;
    tell(start, CHANNEL_MIGRATING, "");
    if (shutdown(start->channel, SHUT_RD) < 0)
        _exit(EXIT_USAGE);
    (void)kill(getppid(), SIGTERM);
    hang();
}

/* A migration is waited for without end, unless nobody hears of its end. */
static void test_a_migration_that_cannot_be_told_to_end(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(run(fixture, migrate_unheard), EXIT_TRANSIENT);
    assert_int_equal(fixture->notes->begun, 1);
}

static int migrate_mindlessly(void *context, const struct worker_start *start)
{
    (void)context;
    if (start->number > 1) {
        serve_to_the_end(start);
        return EXIT_FINE;
    }
    tell(start, CHANNEL_READY, "");
    tell(start, CHANNEL_MIGRATING, "");
    (void)close(start->channel);
    hang();
}

static void test_a_migration_that_tells_no_more(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(run(fixture, migrate_mindlessly), EXIT_FINE);
    assert_int_equal(fixture->notes->begun, 2);
}

#define READY(test) cmocka_unit_test_setup_teardown(test, share_unread, unshare_unread)

int main(void)
{
    const struct CMUnitTest tests[] = {
        READY(test_signals_that_can_never_be_read),
        READY(test_signals_that_are_read_late),
        READY(test_a_migration_that_cannot_be_told_to_end),
        READY(test_a_migration_that_tells_no_more),
    };
    return cmocka_run_group_tests_name("master, unheard", tests, NULL, NULL);
}
