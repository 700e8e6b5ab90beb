/* All cases that hold for every store. Include it, define SETUP_EMPTY and SETUP_READY, and list STORE_CASES. */
#ifndef PERMTAB_TESTS_UNIT_STORE_STORE_CASES_H
#define PERMTAB_TESTS_UNIT_STORE_STORE_CASES_H

#include "tests/unit/store/store_cases_known.h"
#include "tests/unit/store/store_cases_log.h"
#include "tests/unit/store/store_cases_many.h"
#include "tests/unit/store/store_cases_orphans.h"
#include "tests/unit/store/store_cases_read.h"
#include "tests/unit/store/store_cases_schema.h"
#include "tests/unit/store/store_cases_slice.h"
#include "tests/unit/store/store_cases_user.h"

#define READY(test) cmocka_unit_test_setup_teardown(test, ready, fixture_free)
#define EMPTY(test) cmocka_unit_test_setup_teardown(test, empty, fixture_free)

#define STORE_CASES                                                                                          \
    READY(test_each_change_is_logged), READY(test_undone_changes_leave_no_gap),                              \
        READY(test_poll_sees_what_is_newer),                                                                 \
        READY(test_purged_rows_are_not_believed), READY(test_another_history_is_not_believed),               \
        READY(test_another_store_is_not_believed), READY(test_counter_keeps_itself), READY(test_trim),       \
        READY(test_follower_sees_each_commit_once), READY(test_rules_hold),                                  \
        READY(test_migrating_twice_changes_nothing), READY(test_too_new_is_refused),                         \
        READY(test_half_applied_is_refused), EMPTY(test_no_schema_is_refused),                               \
        READY(test_older_is_refused_then_migrated), READY(test_look_notices_a_dropped_trigger),              \
        READY(test_look_notices_other_changes), READY(test_scope_types_are_appended), READY(test_facts),     \
        READY(test_plain_scopes), READY(test_missing_scope_has_no_chain),                                    \
        READY(test_broken_chain_has_no_chain), READY(test_ids_above_the_sign),                               \
        READY(test_roles_with_ancestors), READY(test_catalogue), READY(test_expired),                        \
        READY(test_snapshot_is_one_moment), READY(test_users_present), READY(test_full_list_of_users),       \
        READY(test_scopes_present), READY(test_users_in_slices), READY(test_many_are_as_each),               \
        READY(test_many_with_too_much_in_common), READY(test_many_with_too_many_roles),                      \
        READY(test_known_are_as_each), READY(test_known_was_not), READY(test_known_is_of_one_moment),        \
        READY(test_one_with_many_rows), READY(test_user_and_kept_are_as_all),                                \
        READY(test_user_is_not_as_believed), READY(test_holders), READY(test_slice_is_as_each),                   \
        READY(test_slice_of_ids_about_the_sign), READY(test_slice_is_of_one_moment),                         \
        READY(test_slice_with_too_many_rows), READY(test_slice_with_many_roles_of_one),                      \
        READY(test_slice_with_too_much_in_common), READY(test_slice_of_no_place)

#endif
