/* Functions that changing_policy.c and changing_rows.c share: one change each, to what is drawn or
 * to the row at a place. */
#ifndef PERMTAB_TESTS_SUPPORT_CHANGING_PRIVATE_H
#define PERMTAB_TESTS_SUPPORT_CHANGING_PRIVATE_H

#include "tests/support/changing_policy.h"

uint32_t changing_bit(struct changing_policy *changing);
void change_append(struct change_list *list, struct change change);
/* Logs the change with the next revision. */
void change_log(struct changing_policy *changing, struct change change);

void change_unassign(struct changing_policy *changing, size_t at);
void change_unoverwrite(struct changing_policy *changing, size_t at);
void change_revoke(struct changing_policy *changing, size_t at);
void change_disinherit(struct changing_policy *changing, size_t at);
void change_assign(struct changing_policy *changing);
void change_overwrite(struct changing_policy *changing);
void change_grant(struct changing_policy *changing);
void change_inherit(struct changing_policy *changing);
void change_role_put(struct changing_policy *changing, bool replaces);
void change_role_delete(struct changing_policy *changing, bool vanishes);
void change_scope_put(struct changing_policy *changing);
void change_scope_delete(struct changing_policy *changing, bool vanishes);
void change_catalogue(struct changing_policy *changing);

#endif
