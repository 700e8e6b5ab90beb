/* A store of its own for each test of policies, and what is said about it. */
#include "tests/support/policy_trial.h"

#include "tests/unit/store/store_fixture.h"

const struct scope_types trial_types = {.count = 3, .names = {"global", "server", "channel"}};

static int open_store(void **state, const char *mysql)
{
    struct policy_trial *trial = calloc(1, sizeof *trial);
    assert_non_null(trial);
    (void)fixture_ready(&trial->fixture, mysql);
    trial->store = &((struct fixture *)trial->fixture)->store;
    *state = trial;
    return 0;
}

static int open_sqlite(void **state)
{
    return open_store(state, NULL);
}

static int open_mysql(void **state)
{
    return open_store(state, getenv("PERMTAB_TEST_MYSQL"));
}

static int close_store(void **state)
{
    struct policy_trial *trial = *state;
    (void)fixture_free(&trial->fixture);
    free(trial);
    return 0;
}

static int run_all_on(const char *name, const struct CMUnitTest *tests, size_t count, CMFixtureFunction open)
{
    struct CMUnitTest *all = calloc(count, sizeof *all);
    assert_non_null(all);
    for (size_t i = 0; i < count; i++) {
        all[i] = tests[i];
        all[i].setup_func = open;
        all[i].teardown_func = close_store;
    }
    int failed = _cmocka_run_group_tests(name, all, count, NULL, NULL);
    free(all);
    return failed;
}

int trial_run_all(const struct CMUnitTest *tests, size_t count)
{
    int failed = run_all_on("sqlite", tests, count, open_sqlite);
    if (getenv("PERMTAB_TEST_MYSQL") == NULL)
        print_message("PERMTAB_TEST_MYSQL is not set: the same tests over MariaDB were skipped\n");
    else
        failed += run_all_on("mysql", tests, count, open_mysql);
    return failed;
}

void trial_run(struct policy_trial *trial, const char *text)
{
    OK(run(trial->store->sql, text));
}

uint64_t trial_number(struct policy_trial *trial, const char *text)
{
    return number(trial->store->sql, text);
}

uint64_t trial_revision(struct policy_trial *trial)
{
    return trial_number(trial, "SELECT revision FROM permtab_counter");
}

struct trial_outcome trial_apply_with(struct policy_trial *trial, const char *text,
                                      const struct policy_apply_options *options)
{
    struct trial_outcome outcome = {0};
    struct policy policy;
    outcome.code = policy_parse(&policy, POLICY_JSON, text, strlen(text), &trial_types, &outcome.failure);
    if (outcome.code < 0) {
        print_error("%s\n", outcome.failure.text);
        fail();
    }
    outcome.code = policy_apply(trial->store, &policy, options, &outcome.result, &outcome.failure);
    policy_fini(&policy);
    return outcome;
}

struct trial_outcome trial_apply_text(struct policy_trial *trial, const char *text)
{
    struct policy_apply_options options = {.permissions_max = 512};
    return trial_apply_with(trial, text, &options);
}

struct policy_apply_result trial_applied(struct policy_trial *trial, const char *text)
{
    struct trial_outcome outcome = trial_apply_text(trial, text);
    if (outcome.code < 0)
        print_error("%s\n  %s\n", text, outcome.failure.text);
    assert_int_equal(outcome.code, 0);
    assert_int_equal(outcome.result.revision, trial_revision(trial));
    assert_int_equal(outcome.result.store_id, trial->store->store_id);
    return outcome.result;
}

struct policy_apply_result trial_pruned(struct policy_trial *trial, const char *text)
{
    struct policy_apply_options options = {.permissions_max = 512, .prune = true};
    struct trial_outcome outcome = trial_apply_with(trial, text, &options);
    if (outcome.code < 0)
        print_error("%s\n  %s\n", text, outcome.failure.text);
    assert_int_equal(outcome.code, 0);
    return outcome.result;
}

char *trial_exported(struct policy_trial *trial)
{
    struct policy policy;
    char *text = NULL;
    size_t size;
    OK(policy_export(trial->store, &policy, &failure));
    assert_int_equal(policy_print(&policy, &trial_types, &text, &size), 0);
    policy_fini(&policy);
    return text;
}

void trial_refused(struct policy_trial *trial, const char *text, int code, const char *error)
{
    uint64_t before = trial_revision(trial);
    char *export_before = trial_exported(trial);
    struct trial_outcome outcome = trial_apply_text(trial, text);
    assert_int_equal(outcome.code, code);
    assert_int_equal(outcome.failure.code, code);
    assert_string_equal(outcome.failure.text, error);
    assert_int_equal(outcome.result.rows_written, 0);
    assert_int_equal(trial_revision(trial), before);
    char *export_after = trial_exported(trial);
    assert_string_equal(export_before, export_after);
    free(export_before);
    free(export_after);
}

char *trial_sample(void)
{
    FILE *file = fopen(SOURCE_DIR "/conf/policies/community.json", "rb");
    char *text = calloc(1, 1 << 16);
    assert_non_null(file);
    assert_non_null(text);
    assert_true(fread(text, 1, (1 << 16) - 1, file) > 0);
    fclose(file);
    return text;
}
