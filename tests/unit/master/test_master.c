/* The master's decisions about workers that are played (master_fixture.h). */
#include "tests/unit/master/master_fixture.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

/* Has the master read a configuration that takes a new worker. */
static void reload(const struct fixture *fixture, uint32_t audit_entries)
{
    char line[64];
    (void)snprintf(line, sizeof line, "audit_entries = %u", audit_entries);
    if (!write_config(fixture, line))
        _exit(EXIT_USAGE);
    (void)kill(getppid(), SIGHUP);
}

/* ---- the first one ----------------------------------------------------------------------------------------------- */

static int refuse_configuration(void *context, const struct worker_start *start)
{
    (void)context;
    tell(start, CHANNEL_FAILED, "the store is another one");
    return EXIT_CONFIGURATION;
}

static int leave_for_no_reason(void *context, const struct worker_start *start)
{
    (void)context, (void)start;
    return EXIT_FINE;
}

static int die_of_a_signal(void *context, const struct worker_start *start)
{
    (void)context, (void)start;
    (void)signal(SIGUSR1, SIG_DFL);
    (void)raise(SIGUSR1);
    return EXIT_FINE;
}

static void test_the_first_workers_end_is_the_daemons(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(run(fixture, refuse_configuration), EXIT_CONFIGURATION);
    assert_string_equal(fixture->notes->failure, "the store is another one");
    assert_int_equal(run(fixture, leave_for_no_reason), EXIT_TRANSIENT); /* a supervisor is to try again */
    assert_non_null(strstr(fixture->notes->failure, "code 0 after "));
    assert_int_equal(run(fixture, die_of_a_signal), EXIT_TRANSIENT);
    assert_non_null(strstr(fixture->notes->failure, "signal 10, "));
    assert_int_equal(fixture->notes->begun, 1);
}

static int end_with_a_code(void *context, const struct worker_start *start)
{
    (void)context;
    serve_to_the_end(start);
    return 3;
}

static int end_well(void *context, const struct worker_start *start)
{
    (void)context;
    tell(start, (enum channel_kind)'?', "nobody knows what this is");
    tell(start, (enum channel_kind)0, "");
    serve_to_the_end(start);
    return EXIT_FINE;
}

static void test_its_end_when_it_was_told(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(run(fixture, end_with_a_code), 3);
    assert_int_equal(run(fixture, end_well), EXIT_FINE);
    assert_string_equal(fixture->notes->failure, "");
}

/* ---- the next ones ----------------------------------------------------------------------------------------------- */

/* How long after its death the next one began. */
static uint64_t gap_after(const struct notes *notes, uint64_t number)
{
    return notes->workers[number].begun_ns - notes->workers[number - 1].ended_ns;
}

#define LAST_QUICK 8

static int serve_for_a_moment(void *context, const struct worker_start *start)
{
    (void)context;
    if (start->number < LAST_QUICK) {
        tell(start, CHANNEL_READY, "");
        return 7;
    }
    serve_to_the_end(start);
    return EXIT_FINE;
}

/* Five that die quickly are replaced at once; then there are pauses, which grow. */
static void test_quick_deaths(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(run(fixture, serve_for_a_moment), EXIT_FINE);
    assert_int_equal(fixture->notes->begun, LAST_QUICK);
    assert_string_equal(fixture->notes->workers[0].last_death, "");
    assert_non_null(strstr(fixture->notes->workers[1].last_death, "code 7 after "));
    assert_null(strstr(fixture->notes->workers[1].last_death, "before it served"));
    assert_true(gap_after(fixture->notes, 6) >= 100 * MS);
    assert_true(gap_after(fixture->notes, 7) >= 200 * MS);
}

#define LAST_FAILED 5

static int fail_to_start(void *context, const struct worker_start *start)
{
    (void)context;
    if (start->number == 1) {
        tell(start, CHANNEL_READY, "");
        return EXIT_TRANSIENT;
    }
    if (start->number < LAST_FAILED) {
        tell(start, CHANNEL_FAILED, "the store is away");
        return EXIT_CONFIGURATION; /* it was right before */
    }
    serve_to_the_end(start);
    return EXIT_FINE;
}

/* Whoever dies before he serves is given pauses from the first time on; but is never the end of the daemon. */
static void test_starts_that_fail(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(run(fixture, fail_to_start), EXIT_FINE);
    assert_int_equal(fixture->notes->begun, LAST_FAILED);
    for (uint64_t number = 2; number < LAST_FAILED; number++)
        assert_true(gap_after(fixture->notes, number) >= (100u << (number - 2)) * MS);
    const char *last_death = fixture->notes->workers[LAST_FAILED - 1].last_death;
    assert_non_null(strstr(last_death, ", before it served: the store is away"));
}

static int fall_silent(void *context, const struct worker_start *start)
{
    (void)context;
    if (start->number > 1) {
        serve_to_the_end(start);
        return EXIT_FINE;
    }
    tell(start, CHANNEL_READY, "");
    hang();
}

static void test_silence(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(run(fixture, fall_silent), EXIT_FINE);
    assert_int_equal(fixture->notes->begun, 2);
    assert_non_null(strstr(fixture->notes->workers[1].last_death, "signal 9, Killed of its master after "));
    uint64_t lived_ns = fixture->notes->workers[1].begun_ns - fixture->notes->workers[0].begun_ns;
    assert_true(lived_ns >= 1000 * MS); /* a turn that took long counts from its begin */
}

/* ---- a start that does not go on --------------------------------------------------------------------------------- */

static int migrate_for_ever(void *context, const struct worker_start *start)
{
    (void)context;
    tell(start, CHANNEL_MIGRATING, "");
    (void)kill(getppid(), SIGTERM);
    wait_for(start, CHANNEL_STOP);
    (void)kill(getppid(), SIGTERM);
    hang();
}

/* The first signal waits for a migration, as long as that takes; the second one does not. */
static void test_told_twice_to_stop(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(run(fixture, migrate_for_ever), EXIT_TRANSIENT);
    assert_int_equal(fixture->notes->begun, 1);
    assert_int_equal(fixture->notes->workers[0].ended_ns, 0);
}

#define WATCHDOG_US 400000 /* a master that gets its turns late does not judge */
#define ENOUGH      40 /* it is fed some eleven times more when the start does not go on */

/* The supervisor's ear. It is there before the master, and its workers have it, too. */
static int listen_as_supervisor(const struct fixture *fixture)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/n", fixture->folder);
    int supervisor = socket(AF_UNIX, SOCK_DGRAM, 0);
    assert_true(supervisor >= 0);
    assert_int_equal(bind(supervisor, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(setenv("NOTIFY_SOCKET", address.sun_path, 1), 0);
    return supervisor;
}

/* How often the supervisor hears that, until it has heard it `enough` times, or nothing for so long. */
static unsigned count_heard(int supervisor, const char *wanted, unsigned enough, int silence_ms)
{
    struct pollfd wait = {.fd = supervisor, .events = POLLIN};
    unsigned count = 0;
    char text[512];
    while (count < enough && poll(&wait, 1, silence_ms) > 0) {
        ssize_t got = recv(supervisor, text, sizeof text - 1, 0);
        text[got < 0 ? 0 : got] = 0;
        count += strcmp(text, wanted) == 0;
    }
    return count;
}

static void stop_listening(const struct fixture *fixture)
{
    (void)close(fixture->supervisor);
    (void)unlink(getenv("NOTIFY_SOCKET"));
    (void)unsetenv("NOTIFY_SOCKET");
}

static int hang_at_start(void *context, const struct worker_start *start)
{
    struct fixture *fixture = context;
    if (start->number == 1) {
        tell(start, CHANNEL_READY, "");
        return EXIT_TRANSIENT;
    }
    fixture->notes->fed = count_heard(fixture->supervisor, "WATCHDOG=1", ENOUGH, 2000);
    serve_to_the_end(start);
    return EXIT_FINE;
}

/* The master's own patience is off. The supervisor's is what counts then, also for a worker that hangs at its start. */
static void test_the_watchdog_of_a_start(void **state)
{
    struct fixture *fixture = *state;
    char period[16];
    (void)snprintf(period, sizeof period, "%d", WATCHDOG_US);
    assert_true(write_config(fixture, "worker_timeout = \"0s\""));
    assert_int_equal(setenv("WATCHDOG_USEC", period, 1), 0);
    fixture->supervisor = listen_as_supervisor(fixture);
    int code = run(fixture, hang_at_start);
    stop_listening(fixture);
    (void)unsetenv("WATCHDOG_USEC");
    assert_int_equal(code, EXIT_FINE);
    assert_int_equal(fixture->notes->begun, 2);
    assert_in_range(fixture->notes->fed, 1, ENOUGH - 1);
}

static int migrate_for_long(void *context, const struct worker_start *start)
{
    struct fixture *fixture = context;
    tell(start, CHANNEL_MIGRATING, "");
    fixture->notes->asked = count_heard(fixture->supervisor, "EXTEND_TIMEOUT_USEC=30000000", 3, 10000);
    serve_to_the_end(start);
    return EXIT_FINE;
}

/* A migration takes as long as it takes, also when the supervisor's start time-out is shorter. */
static void test_a_migration_asks_for_time(void **state)
{
    struct fixture *fixture = *state;
    assert_true(write_config(fixture, "worker_timeout = \"0s\"")); /* nothing else wakes the master */
    fixture->supervisor = listen_as_supervisor(fixture);
    int code = run(fixture, migrate_for_long);
    stop_listening(fixture);
    assert_int_equal(code, EXIT_FINE);
    assert_int_equal(fixture->notes->asked, 3);
}

/* ---- configurations ---------------------------------------------------------------------------------------------- */

#define FIRST  5u /* audit_entries of three configurations */
#define SECOND 6u
#define THIRD  7u

/* Whether the master has a SIGHUP still to read. */
static bool hangup_waits(void)
{
    unsigned long long pending = 0;
    char path[64], line[256];
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)getppid());
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file) && sscanf(line, "ShdPnd: %llx", &pending) != 1)
        continue;
    if (file)
        (void)fclose(file);
    return pending >> (SIGHUP - 1) & 1;
}

static int hang_up_at_start(void *context, const struct worker_start *start)
{
    const struct timespec moment = {.tv_nsec = MS};
    if (start->number == 1) {
        tell(start, CHANNEL_READY, "");
        return EXIT_TRANSIENT;
    }
    if (start->number == 2) {
        reload(context, SECOND);
        while (hangup_waits())
            (void)nanosleep(&moment, NULL);
        tell(start, CHANNEL_READY, "");
        wait_for(start, CHANNEL_LEAVE);
        return EXIT_FINE;
    }
    serve_to_the_end(start);
    return EXIT_FINE;
}

/* It is kept, and acted on when that worker serves. */
static void test_reload_while_a_later_worker_starts(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(run(fixture, hang_up_at_start), EXIT_FINE);
    assert_int_equal(fixture->notes->begun, 3);
    assert_int_not_equal(fixture->notes->workers[1].audit_entries, SECOND);
    assert_int_equal(fixture->notes->workers[2].audit_entries, SECOND);
}

static int answer_or_not(void *context, const struct worker_start *start)
{
    switch (start->number) {
    case 1:
        tell(start, CHANNEL_READY, "");
        tell(start, CHANNEL_ANSWERS, "");
        reload(context, SECOND);
        wait_for(start, CHANNEL_LEAVE);
        return EXIT_FINE;
    case 2: /* its store lets nobody poll */
        tell(start, CHANNEL_READY, "");
        reload(context, THIRD);
        wait_for(start, CHANNEL_LEAVE);
        return EXIT_FINE;
    case 3:
        tell(start, CHANNEL_READY, "");
        return EXIT_TRANSIENT;
    default:
        serve_to_the_end(start);
        return EXIT_FINE;
    }
}

/* Accepting clients is not enough: neither the second nor the third configuration has answered anybody. */
static void test_back_to_the_last_configuration_that_served(void **state)
{
    struct fixture *fixture = *state;
    char line[64];
    (void)snprintf(line, sizeof line, "audit_entries = %u", FIRST);
    assert_true(write_config(fixture, line));
    assert_int_equal(run(fixture, answer_or_not), EXIT_FINE);
    assert_int_equal(fixture->notes->begun, 4);
    assert_int_equal(fixture->notes->workers[1].audit_entries, SECOND);
    assert_int_equal(fixture->notes->workers[2].audit_entries, THIRD);
    assert_int_equal(fixture->notes->workers[3].audit_entries, FIRST);
}

static int answer_and_die(void *context, const struct worker_start *start)
{
    if (start->number < 3) {
        tell(start, CHANNEL_READY, "");
        tell(start, CHANNEL_ANSWERS, "");
    }
    if (start->number == 1) {
        reload(context, SECOND);
        wait_for(start, CHANNEL_LEAVE);
        return EXIT_FINE;
    }
    if (start->number < 4)
        return EXIT_TRANSIENT;
    serve_to_the_end(start);
    return EXIT_FINE;
}

/* What has answered is the configuration from then on, however its worker ends, and if the next one does not start. */
static void test_a_configuration_that_has_answered(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(run(fixture, answer_and_die), EXIT_FINE);
    assert_int_equal(fixture->notes->begun, 4);
    assert_int_equal(fixture->notes->workers[2].audit_entries, SECOND);
    assert_int_equal(fixture->notes->workers[3].audit_entries, SECOND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_first_workers_end_is_the_daemons, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_its_end_when_it_was_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_quick_deaths, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_starts_that_fail, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_silence, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_told_twice_to_stop, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_watchdog_of_a_start, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_migration_asks_for_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reload_while_a_later_worker_starts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_back_to_the_last_configuration_that_served, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_configuration_that_has_answered, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("master", tests, NULL, NULL);
}
