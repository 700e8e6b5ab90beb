/* Samples of clients' hits: each is taken once, and whatever a client writes, it gets no more than its share. Who hears
 * of them is played by this file (--wrap, CMakeLists.txt). */
#include "proxy/serve/samples.h"

#include "proxy/serve/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define RING     PERMTAB_SHM_FEEDBACK_SAMPLES
#define SESSIONS 200u

static struct {
    struct catalogue catalogue;
    uint64_t sampled; /* in all */
    uint64_t of[SESSIONS];
    uint64_t turns, grants, settled;
} fake;

static struct session sessions[SESSIONS];
static struct counters counters;
static struct parts parts;
static struct server server;

void __wrap_answering_sampled(struct answering *answering, const struct ask_flow *flow, uint64_t user,
                              struct scope_key scope);
void __wrap_publisher_use_turn(struct publisher *publisher);
void __wrap_publisher_use_grant(struct publisher *publisher);
void __wrap_publisher_use_settle(struct publisher *publisher, struct use_share *share);
const struct catalogue *__wrap_publisher_catalogue(const struct publisher *publisher);

void __wrap_answering_sampled(struct answering *answering, const struct ask_flow *flow, uint64_t user,
                              struct scope_key scope)
{
    (void)answering;
    assert_ptr_equal(flow, &sessions[user % SESSIONS].flow); /* nobody pays for another */
    assert_true(scope.type < fake.catalogue.types.count);
    fake.sampled++;
    fake.of[user % SESSIONS]++;
}

void __wrap_publisher_use_turn(struct publisher *publisher)
{
    (void)publisher;
    fake.turns++;
}

void __wrap_publisher_use_grant(struct publisher *publisher)
{
    (void)publisher;
    assert_int_equal(fake.settled, fake.grants * server.session_count); /* each since the last one */
    fake.grants++;
}

void __wrap_publisher_use_settle(struct publisher *publisher, struct use_share *share)
{
    (void)publisher;
    assert_true(share >= &sessions[0].share && share <= &sessions[SESSIONS - 1].share);
    fake.settled++;
}

const struct catalogue *__wrap_publisher_catalogue(const struct publisher *publisher)
{
    (void)publisher;
    return &fake.catalogue;
}

/* Writes as a client would that nobody trusts. */
static void client_writes(const struct feedback *feedback, uint32_t at, uint64_t user, uint32_t type,
                          uint32_t mark)
{
    struct permtab_shm_sample sample = {.user = user, .scope_id = user + 1, .type = type, .mark = mark};
    off_t offset = (off_t)(offsetof(struct permtab_shm_feedback, sample) + at * sizeof sample);
    assert_int_equal(pwrite(feedback->descriptor, &sample, sizeof sample, offset), sizeof sample);
}

static struct feedback *new_feedback(void)
{
    struct feedback *feedback;
    assert_int_equal(feedback_new(&feedback, 0), 0);
    return feedback;
}

static void test_each_is_taken_once(void **state)
{
    (void)state;
    struct permtab_shm_sample out[RING];
    struct feedback *feedback = new_feedback();
    assert_int_equal(feedback_samples(feedback, out, RING), 0);
    client_writes(feedback, 3, 30, 2, 1);
    client_writes(feedback, 4, 40, 2, 0); /* none yet */
    assert_int_equal(feedback_samples(feedback, out, RING), 1);
    assert_int_equal(out[0].user, 30);
    assert_int_equal(out[0].scope_id, 31);
    assert_int_equal(feedback_samples(feedback, out, RING), 0);
    client_writes(feedback, 3, 33, 2, 2);
    client_writes(feedback, 4, 40, 2, 1);
    assert_int_equal(feedback_samples(feedback, out, RING), 2);
    client_writes(feedback, 3, 35, 2, UINT32_MAX); /* any other mark */
    assert_int_equal(feedback_samples(feedback, out, RING), 1);
    feedback_free(feedback);
}

/* Those over the measure are passed over for good, and not the same ones each time. */
static void test_a_measure_of_them(void **state)
{
    (void)state;
    struct permtab_shm_sample out[RING];
    uint64_t seen[RING] = {0};
    struct feedback *feedback = new_feedback();
    for (uint32_t round = 1; round <= 100; round++) {
        for (uint32_t at = 0; at < RING; at++)
            client_writes(feedback, at, at, 2, round);
        size_t count = feedback_samples(feedback, out, 10);
        assert_int_equal(count, 10);
        for (size_t i = 0; i < count; i++)
            seen[out[i].user]++;
        assert_int_equal(feedback_samples(feedback, out, RING), 0);
    }
    for (uint32_t at = 0; at < RING; at++)
        assert_in_range(seen[at], 1, 30);
    feedback_free(feedback);
}

static void begin_server(unsigned count)
{
    memset(&server, 0, sizeof server);
    memset(&fake, 0, sizeof fake);
    memset(&counters, 0, sizeof counters);
    fake.catalogue.types.count = 3;
    parts = (struct parts){.counters = &counters};
    server.parts = &parts;
    server.session_count = count;
    for (unsigned i = 0; i < count; i++) {
        sessions[i] = (struct session){.server = &server, .feedback = new_feedback()};
        sessions[i].next = i + 1 < count ? &sessions[i + 1] : NULL;
    }
    server.sessions = count > 0 ? &sessions[0] : NULL;
}

static void end_server(void)
{
    for (unsigned i = 0; i < server.session_count; i++)
        feedback_free(sessions[i].feedback);
}

static void all_write(uint32_t mark)
{
    for (unsigned i = 0; i < server.session_count; i++)
        for (uint32_t at = 0; at < RING; at++)
            client_writes(sessions[i].feedback, at, i, at % 16, mark); /* three of sixteen types are there */
}

/* However many write however much, a turn has a bound, and all have their turn. */
static void test_all_have_their_share(void **state)
{
    (void)state;
    static const unsigned counts[] = {0, 1, 2, 63, 64, 65, SESSIONS};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        begin_server(counts[i]);
        unsigned turns = counts[i] / 64 + 1;
        for (uint32_t turn = 1; turn <= 20 * turns; turn++) {
            uint64_t before = counters.samples;
            all_write(turn);
            samples_collect(&server);
            assert_true(counters.samples - before <= 1600);
        }
        assert_int_equal(fake.turns, 20 * turns);
        assert_int_equal(fake.settled, 20 * turns * (counts[i] < 64 ? counts[i] : 64));
        assert_int_equal(fake.grants, counts[i] > 0 ? (fake.settled + counts[i] - 1) / counts[i] : 0);
        for (unsigned session = 0; session < counts[i]; session++)
            assert_true(fake.of[session] >= fake.sampled / counts[i] / 2 && fake.of[session] > 0);
        assert_true(fake.sampled < counters.samples / 4 + 1);
        end_server();
    }
}

static void test_sessions_come_and_go(void **state)
{
    (void)state;
    begin_server(3);
    server.sampled = &sessions[1];
    samples_forget(&server, &sessions[0]);
    assert_ptr_equal(server.sampled, &sessions[1]);
    samples_forget(&server, &sessions[1]);
    assert_ptr_equal(server.sampled, &sessions[2]);
    samples_forget(&server, &sessions[2]);
    assert_null(server.sampled);
    all_write(1);
    feedback_free(sessions[1].feedback);
    sessions[1].feedback = NULL; /* has not attached */
    samples_collect(&server);
    assert_true(fake.of[0] > 0 && fake.of[1] == 0 && fake.of[2] > 0);
    end_server();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_is_taken_once),
        cmocka_unit_test(test_a_measure_of_them),
        cmocka_unit_test(test_all_have_their_share),
        cmocka_unit_test(test_sessions_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
