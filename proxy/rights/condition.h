/* The condition that a delayed task may wait for: "USER SCOPE EXPRESSION". The expression is a rule as clients
 * compile them (client/wire/rule_text.c). Pure. */
#ifndef PERMTAB_RIGHTS_CONDITION_H
#define PERMTAB_RIGHTS_CONDITION_H

#include "client/wire/rule_text.h"
#include "proxy/base/failure.h"
#include "proxy/rights/catalogue.h"

#define CONDITION_TEXT_SIZE 1024 /* the zero included */

struct condition {
    uint64_t user;
    struct scope_key scope;
    struct rule_text rule;
};

enum condition_verdict { CONDITION_HOLDS, CONDITION_FAILS, CONDITION_UNKNOWN };

/* PERMTAB_E_SYNTAX, _NO_SCOPE_TYPE, _LIMIT, _MEMORY, with a sentence; fini it after 0 alone. */
int condition_parse(const struct scope_types *types, const char *text, struct condition *out,
                    struct failure *failure) PERMTAB_MUST_CHECK;
void condition_fini(struct condition *condition);
/* Whether there is a permission for every name. PERMTAB_E_NO_PERMISSION with a sentence. */
int condition_check(const struct condition *condition, const struct catalogue *catalogue,
                    struct failure *failure) PERMTAB_MUST_CHECK;
/* Judges the condition by `bits`, the permissions of the user there on any resource, `words` words long. A name
 * that has gone makes each part that depends on it unknown. */
enum condition_verdict condition_judge(const struct condition *condition, const struct catalogue *catalogue,
                                       const uint64_t *bits, uint32_t words);

#endif
