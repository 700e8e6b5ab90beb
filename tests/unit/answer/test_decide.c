/* The decision table, row by row. */
#include "proxy/answer/decide.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define STORE 0xfeedu

struct row {
    const char *when;
    struct table_state state; /* leased, resident, store, revision */
    bool has_token;
    uint64_t token_store, token_revision;
    enum decision expected;
};

static const struct row rows[] = {
    {"resident", {true, true, STORE, 10, 0}, false, 0, 0, DECIDE_REPLY},
    {"missing", {true, false, STORE, 10, 0}, false, 0, 0, DECIDE_FILL},
    {"resident, but no lease", {false, true, STORE, 10, 0}, false, 0, 0, DECIDE_UNKNOWN},
    {"missing, and no lease", {false, false, STORE, 10, 0}, false, 0, 0, DECIDE_UNKNOWN},
    {"the token is reached", {true, true, STORE, 10, 0}, true, STORE, 10, DECIDE_REPLY},
    {"the token is older", {true, true, STORE, 10, 0}, true, STORE, 9, DECIDE_REPLY},
    {"the token is reached, missing", {true, false, STORE, 10, 0}, true, STORE, 10, DECIDE_FILL},
    {"the token is ahead of a resident entry", {true, true, STORE, 10, 0}, true, STORE, 11, DECIDE_CATCH_UP},
    {"the token is ahead, missing", {true, false, STORE, 10, 0}, true, STORE, 11, DECIDE_CATCH_UP},
    {"the highest token there is", {true, true, STORE, 10, 0}, true, STORE, UINT64_MAX, DECIDE_CATCH_UP},
    {"a token of another store", {true, true, STORE, 10, 0}, true, STORE + 1, 5, DECIDE_REFUSE},
    {"a token of another store, ahead", {true, false, STORE, 10, 0}, true, STORE + 1, 50, DECIDE_REFUSE},
    {"no lease goes before the token", {false, true, STORE, 10, 0}, true, STORE + 1, 5, DECIDE_UNKNOWN},
    {"of a store that was replaced", {true, true, STORE, 10, 1}, false, 0, 0, DECIDE_UNKNOWN},
    {"of a store that was replaced, missing", {true, false, STORE, 10, 1}, true, STORE, 11, DECIDE_UNKNOWN},
    {"ids that are not tokens mean nothing", {true, true, STORE, 10, 0}, false, STORE + 1, 99, DECIDE_REPLY},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct row *row = &rows[i];
        struct question question = {
            .user = 7,
            .scope = {10, 2},
            .has_token = row->has_token,
            .token_store = row->token_store,
            .token_revision = row->token_revision,
        };
        enum decision got = decide(&question, &row->state);
        if (got != row->expected)
            print_error("%s: %d, not %d\n", row->when, (int)got, (int)row->expected);
        assert_int_equal(got, row->expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows)};
    return cmocka_run_group_tests_name("decide", tests, NULL, NULL);
}
