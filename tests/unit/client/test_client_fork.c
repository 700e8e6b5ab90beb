/* Fork: a parent that opened the handle and eight children that go on using it. Each child counts for itself, talks
 * over a connection of its own, and leaves the parent's alone; also when the fork happened while another thread of
 * the parent held the lock and waited for a reply. */
#include "client/handle.h"
#include "tests/support/fake_sidecar.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define CHILDREN 8
#define CHECKS   20000u

struct bench {
    struct fake fake;
    struct permtab *table;
    permtab_perm read;
    permtab_type channel;
};

static void pause_ms(unsigned ms)
{
    struct timespec pause = {.tv_nsec = (long)ms * 1000000};
    nanosleep(&pause, NULL);
}

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));
    assert_non_null(bench);
    fake_start(&bench->fake);
    assert_int_equal(permtab_open(&bench->table, bench->fake.path, NULL), 0);
    assert_int_equal(permtab_permission(bench->table, "a.read", &bench->read), 0);
    assert_int_equal(permtab_scope_type(bench->table, "channel", &bench->channel), 0);
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    permtab_close(bench->table);
    fake_stop(&bench->fake);
    free(bench);
    return 0;
}

/* Has this process a page of its own to count into? */
static bool permtab_own_known(const struct permtab *table)
{
    return permtab_shm_load_pointer(&table->own->feedback) != NULL;
}

/* Counts our descriptors that are connected to the fake. */
static unsigned connections_to(const char *path)
{
    unsigned count = 0;
    for (int descriptor = 3; descriptor < 256; descriptor++) {
        struct sockaddr_un peer = {0};
        socklen_t size = sizeof(peer);
        count += getpeername(descriptor, (struct sockaddr *)&peer, &size) == 0 &&
                 peer.sun_family == AF_UNIX && strcmp(peer.sun_path, path) == 0;
    }
    return count;
}

#define REQUIRE(condition)                                                                                   \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            (void)fprintf(stderr, "child: line %d: %s\n", __LINE__, #condition);                             \
            _exit(1);                                                                                        \
        }                                                                                                    \
    } while (0)

/* Runs in a child: hits without a socket, then a miss, then more hits. */
static void child(struct bench *bench, unsigned number)
{
    permtab_scope place = permtab_at(bench->channel, 1);
    for (unsigned i = 0; i < CHECKS; i++)
        REQUIRE(permtab_peek(bench->table, 1, place, bench->read) == (int)fake_allows(1, 1, 0, false));
    REQUIRE(connections_to(bench->fake.path) ==
            0); /* a look alone makes none, and the parent's was closed here */
    for (unsigned i = 0; i < 5; i++) {
        uint64_t user = 1000 + number * 10 + i;
        REQUIRE(permtab_check(bench->table, user, place, bench->read) == (int)fake_allows(user, 1, 0, false));
    }
    REQUIRE(connections_to(bench->fake.path) == 1); /* our own */
    for (unsigned i = 0; i < CHECKS; i++)
        REQUIRE(permtab_check(bench->table, 1, place, bench->read) == (int)fake_allows(1, 1, 0, false));
    permtab_close(bench->table);
    REQUIRE(connections_to(bench->fake.path) == 0);
    _exit(0);
}

static void wait_for(pid_t pid)
{
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_preforking_parent(void **state)
{
    struct bench *bench = *state;
    permtab_scope place = permtab_at(bench->channel, 1);
    pid_t children[CHILDREN];
    fake_put(&bench->fake, 1, 1);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(permtab_peek(bench->table, 1, place, bench->read), PERMTAB_ALLOW);
    for (unsigned i = 0; i < CHILDREN; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0)
            child(bench, i);
    }
    for (unsigned i = 0; i < CHILDREN; i++)
        wait_for(children[i]);
    /* The parent's connection was not used or closed by anybody. */
    assert_int_equal(permtab_check(bench->table, 5000, place, bench->read), fake_allows(5000, 1, 0, false));
    struct fake_counts counts = fake_counts(&bench->fake);
    assert_int_equal(counts.connects, 1 + CHILDREN);
    assert_int_equal(counts.checks, CHILDREN * 5 + 1);
    /* The hits that a child counted before it had a page of its own are in no page but that. */
    struct permtab_shm_feedback parent;
    fake_lock(&bench->fake);
    assert_int_equal(pread(bench->fake.connections[0].feedback, &parent, sizeof(parent), 0), sizeof(parent));
    fake_unlock(&bench->fake);
    uint64_t hits = 0;
    for (unsigned line = 0; line < PERMTAB_SHM_FEEDBACK_LINES; line++)
        hits += parent.line[line].hits;
    assert_int_equal(hits, 100);
    struct permtab_shm_feedback_line sum = fake_feedback(&bench->fake);
    assert_int_equal(sum.hits, 100 + CHILDREN * 2 * CHECKS);
    assert_int_equal(sum.misses, CHILDREN * 5 + 1);
}

/* Children that the table answers, and that ask for nothing: all are known to the sidecar, and what they count. */
static void test_children_that_only_hit(void **state)
{
    struct bench *bench = *state;
    pid_t children[CHILDREN];
    int told[2];
    char byte;
    fake_put(&bench->fake, 1, 1);
    assert_int_equal(pipe(told), 0);
    for (unsigned i = 0; i < CHILDREN; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0) {
            permtab_scope place = permtab_at(bench->channel, 1);
            for (unsigned n = 0; n < CHECKS; n++)
                REQUIRE(permtab_check(bench->table, 1, place, bench->read) == PERMTAB_ALLOW);
            while (connections_to(bench->fake.path) == 0 || !permtab_own_known(bench->table)) {
                pause_ms(2); /* the reply is looked for by the checks that follow */
                REQUIRE(permtab_check(bench->table, 1, place, bench->read) == PERMTAB_ALLOW);
                REQUIRE(permtab_peek(bench->table, 1, place, bench->read) == PERMTAB_ALLOW);
            }
            REQUIRE(write(told[1], "x", 1) == 1);
            (void)pause();
        }
    }
    for (unsigned i = 0; i < CHILDREN; i++)
        assert_int_equal(read(told[0], &byte, 1), 1);
    assert_int_equal(fake_open_connections(&bench->fake), 1 + CHILDREN);
    struct permtab_shm_feedback_line sum = fake_feedback(&bench->fake);
    assert_true(sum.hits >= CHILDREN * CHECKS);
    assert_int_equal(sum.misses, 0);
    assert_int_equal(fake_counts(&bench->fake).checks, 0);
    for (unsigned i = 0; i < CHILDREN; i++) {
        kill(children[i], SIGKILL);
        assert_int_equal(waitpid(children[i], NULL, 0), children[i]);
    }
    close(told[0]);
    close(told[1]);
}

struct waiter {
    struct bench *bench;
    enum permtab_decision decision;
};

static void *ask(void *context)
{
    struct waiter *waiter = context;
    permtab_scope place = permtab_at(waiter->bench->channel, 1);
    waiter->decision = permtab_check(waiter->bench->table, 2, place, waiter->bench->read);
    return NULL;
}

/* The lock is held at the fork by a thread that does not exist in the child. */
static void test_fork_while_locked(void **state)
{
    struct bench *bench = *state;
    struct waiter waiter = {.bench = bench, .decision = PERMTAB_UNKNOWN};
    pthread_t thread;
    fake_lock(&bench->fake);
    bench->fake.delay_ms = 200;
    fake_unlock(&bench->fake);
    assert_int_equal(pthread_create(&thread, NULL, ask, &waiter), 0);
    pause_ms(80);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        uint64_t begin = channel_clock_ns();
        REQUIRE(permtab_check(bench->table, 3, permtab_at(bench->channel, 1), bench->read) == PERMTAB_ALLOW);
        REQUIRE(channel_clock_ns() - begin < 900000000u);
        REQUIRE(connections_to(bench->fake.path) == 1);
        _exit(0);
    }
    wait_for(pid);
    pthread_join(thread, NULL);
    assert_int_equal(waiter.decision, fake_allows(2, 1, 0, false));
    assert_int_equal(fake_counts(&bench->fake).connects, 2);
}

/* A child that closed every descriptor and opened others keeps what it opened. */
static void test_child_reuses_the_number(void **state)
{
    struct bench *bench = *state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        for (int descriptor = 3; descriptor < 256; descriptor++)
            close(descriptor);
        int pipes[40];
        for (unsigned i = 0; i < 40; i += 2)
            REQUIRE(pipe(pipes + i) == 0);
        REQUIRE(permtab_check(bench->table, 3, permtab_at(bench->channel, 1), bench->read) == PERMTAB_ALLOW);
        for (unsigned i = 0; i < 40; i += 2)
            REQUIRE(write(pipes[i + 1], "x", 1) == 1);
        _exit(0);
    }
    wait_for(pid);
}

/* Children of children, and a retirement after the fork that each process notices by itself. */
static void test_retired_after_fork(void **state)
{
    struct bench *bench = *state;
    permtab_scope place = permtab_at(bench->channel, 1);
    fake_put(&bench->fake, 1, 1);
    int told[2], peeked[2];
    assert_int_equal(pipe(told), 0);
    assert_int_equal(pipe(peeked), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char byte;
        pid_t grandchild = fork();
        REQUIRE(grandchild >= 0);
        REQUIRE(permtab_peek(bench->table, 1, place, bench->read) == PERMTAB_ALLOW);
        REQUIRE(write(peeked[1], "x", 1) == 1);
        REQUIRE(read(told[0], &byte, 1) == 1);
        REQUIRE(permtab_peek(bench->table, 1, place, bench->read) == PERMTAB_UNKNOWN);
        REQUIRE(permtab_why(bench->table) == PERMTAB_E_RETIRED);
        REQUIRE(permtab_refresh(bench->table) == 0);
        REQUIRE(permtab_check(bench->table, 1, place, bench->read) == PERMTAB_ALLOW);
        if (grandchild > 0) {
            int status = 0;
            REQUIRE(waitpid(grandchild, &status, 0) == grandchild && status == 0);
        }
        _exit(0);
    }
    for (unsigned i = 0; i < 2; i++) {
        char byte;
        assert_int_equal(read(peeked[0], &byte, 1), 1);
    }
    fake_retire(&bench->fake, true);
    assert_int_equal(write(told[1], "xx", 2), 2);
    wait_for(pid);
    assert_int_equal(permtab_check(bench->table, 1, place, bench->read), PERMTAB_ALLOW);
    assert_int_equal(fake_counts(&bench->fake).connects, 3);
    close(told[0]);
    close(told[1]);
    close(peeked[0]);
    close(peeked[1]);
}

/* ---- an application with handlers of its own, which were there before ours ---- */

static struct bench *forking; /* handlers have no argument */

static void open_and_close(void)
{
    struct permtab *table;
    if (forking == NULL)
        return;
    REQUIRE(permtab_open(&table, forking->fake.path, NULL) == 0);
    permtab_close(table);
}

/* Runs before our own handler, in the child. */
static void open_anew(void)
{
    if (forking == NULL)
        return;
    permtab_close(forking->table);
    REQUIRE(permtab_open(&forking->table, forking->fake.path, NULL) == 0);
    REQUIRE(permtab_permission(forking->table, "a.read", &forking->read) == 0);
    REQUIRE(permtab_scope_type(forking->table, "channel", &forking->channel) == 0);
}

static void test_handlers_that_open_and_close(void **state)
{
    struct bench *bench = *state;
    (void)alarm(120); /* instead of hanging for ever */
    forking = bench;
    pid_t pid = fork();
    forking = NULL;
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)alarm(100);
        REQUIRE(permtab_check(bench->table, 3, permtab_at(bench->channel, 1), bench->read) == PERMTAB_ALLOW);
        permtab_close(bench->table);
        REQUIRE(connections_to(bench->fake.path) == 0);
        _exit(0);
    }
    wait_for(pid);
    (void)alarm(0);
    assert_int_equal(permtab_check(bench->table, 3, permtab_at(bench->channel, 1), bench->read),
                     PERMTAB_ALLOW);
}

/* ---- counting ---- */

/* The line that this thread counts into. `fresh`: it has not chosen one yet, as a thread that has just begun. */
static uint32_t line_of_thread(struct bench *bench, bool fresh)
{
    if (fresh)
        permtab_thread_.line = 0;
    (void)permtab_peek(bench->table, 1, permtab_at(bench->channel, 1), bench->read);
    return permtab_thread_.line;
}

/* Two threads that count into one line lose counts: a child's new threads do not take the line of the one that forked,
 * nor do threads take each other's because they began with different handles. */
static void test_lines_are_not_shared(void **state)
{
    struct bench *bench = *state;
    struct bench other = {.read = bench->read, .channel = bench->channel};
    uint32_t line = line_of_thread(bench, false);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        REQUIRE(line_of_thread(bench, false) == line);
        REQUIRE(line_of_thread(bench, true) != line);
        _exit(0);
    }
    wait_for(pid);
    assert_int_equal(permtab_open(&other.table, bench->fake.path, NULL), 0);
    assert_int_not_equal(line_of_thread(&other, true), line);
    permtab_close(other.table);
}

/* A thread that was counting into a child's own memory at the moment when that was carried over stores what it had
 * read before, plus one: the rest was carried over already. */
static void test_nothing_is_carried_over_twice(void **state)
{
    struct bench *bench = *state;
    struct handle *handle = handle_of(bench->table);
    uint64_t before = fake_feedback(&bench->fake).hits;
    handle->own->local[5].hits = 1000;
    count_carry(handle);
    handle->own->local[5].hits = 1001; /* late */
    count_carry(handle);
    count_carry(handle);
    assert_int_equal(fake_feedback(&bench->fake).hits, before + 1001);
}

/* The same at the moment when the process gets another page, after the sidecar's restart: what the thread stores late
 * belongs to the old one. */
static void test_late_count_after_a_new_connection(void **state)
{
    struct bench *bench = *state;
    struct permtab_shm_feedback_line *line = permtab_line_(bench->table);
    uint64_t before = fake_feedback(&bench->fake).hits, hits = line->hits + 1000;
    line->hits = hits;
    fake_suspend(&bench->fake);
    fake_resume(&bench->fake);
    assert_int_equal(permtab_check(bench->table, 3, permtab_at(bench->channel, 1), bench->read),
                     PERMTAB_ALLOW);
    line->hits = hits + 1; /* late */
    assert_int_equal(fake_counts(&bench->fake).connects, 2);
    assert_int_equal(fake_feedback(&bench->fake).hits, before + 1001);
    assert_true(permtab_line_(bench->table) != line);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_preforking_parent),
        TEST(test_children_that_only_hit),
        TEST(test_fork_while_locked),
        TEST(test_child_reuses_the_number),
        TEST(test_retired_after_fork),
        TEST(test_lines_are_not_shared),
        TEST(test_nothing_is_carried_over_twice),
        TEST(test_handlers_that_open_and_close),
        TEST(test_late_count_after_a_new_connection),
    };
    if (pthread_atfork(open_and_close, NULL, open_anew) != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
