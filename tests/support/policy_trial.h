/* A store of its own for each test of policies, so that none depends on another's order: SQLite in a temporary
 * folder, or a database of the MariaDB or MySQL whose URL is in PERMTAB_TEST_MYSQL
 * ("mysql://user@/db?socket=/path"). */
#ifndef PERMTAB_TESTS_SUPPORT_POLICY_TRIAL_H
#define PERMTAB_TESTS_SUPPORT_POLICY_TRIAL_H

#include "proxy/document/policy.h"
#include "proxy/store/sql_driver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct policy_trial {
    struct store *store; /* empty at first, with the scope types server and channel */
    void *fixture;       /* of tests/unit/store/store_fixture.h */
};

struct trial_outcome {
    int code;
    struct policy_apply_result result;
    struct failure failure;
};

/* Two permissions, a server with a channel, two roles, an assignment. */
#define TRIAL_BASE                                                                                           \
    "{\"permissions\": [{\"name\": \"x.one\"}, {\"name\": \"x.two\"}],"                                      \
    " \"scopes\": [{\"scope\": \"server:1\", \"parent\": \"global\"},"                                       \
    "              {\"scope\": \"channel:10\", \"parent\": \"server:1\"},"                                   \
    "              {\"scope\": \"server:2\", \"parent\": \"global\"}],"                                      \
    " \"roles\": [{\"id\": 100, \"scope\": \"server:1\", \"allow\": [\"x.one\"]},"                           \
    "             {\"id\": 101, \"scope\": \"server:1\", \"inherits\": [100]}],"                             \
    " \"assignments\": [{\"user\": 7, \"role\": 100}]}"

extern const struct scope_types trial_types;

/* Runs tests whose state is a struct policy_trial, on SQLite and then on the server if there is one; how many
 * failed. */
int trial_run_all(const struct CMUnitTest *tests, size_t count);

/* One statement; must succeed. */
void trial_run(struct policy_trial *trial, const char *text);
/* The number that a statement selects. */
uint64_t trial_number(struct policy_trial *trial, const char *text);
uint64_t trial_revision(struct policy_trial *trial);

/* The document must be understood. */
struct trial_outcome trial_apply_with(struct policy_trial *trial, const char *text,
                                      const struct policy_apply_options *options);
struct trial_outcome trial_apply_text(struct policy_trial *trial, const char *text);
/* Must succeed. */
struct policy_apply_result trial_applied(struct policy_trial *trial, const char *text);
struct policy_apply_result trial_pruned(struct policy_trial *trial, const char *text);
/* Must be refused, and leave everything as it was. */
void trial_refused(struct policy_trial *trial, const char *text, int code, const char *error);
/* The whole store as a document, to be freed. */
char *trial_exported(struct policy_trial *trial);
/* The text of the largest sample, to be freed. */
char *trial_sample(void);

#endif
