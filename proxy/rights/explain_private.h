/* Shared by explain.c, explain_grants.c and explain_requires.c; private to them. */
#ifndef PERMTAB_RIGHTS_EXPLAIN_PRIVATE_H
#define PERMTAB_RIGHTS_EXPLAIN_PRIVATE_H

#include "proxy/rights/explain_text.h"

struct explaining {
    const struct catalogue *catalogue;
    struct facts *facts;
    int64_t now;
    bool own;
    struct inputs inputs;
    struct closure closure; /* through active roles */
};

const char *explain_scope(const struct explaining *explaining, uint32_t level, char text[SCOPE_TEXT_SIZE]);

/* Step 3 for roles. True when an allow grants all, and then its line decides. */
bool explain_all(const struct explaining *explaining, struct lines *lines);
/* Step 4 for one permission: whether roles allow it. There always is a line that decides. */
bool explain_grants(const struct explaining *explaining, const struct permission *permission,
                    struct lines *lines);
/* Step 5: overwrites change `allowed`. */
bool explain_overwrites(const struct explaining *explaining, const struct permission *permission,
                        bool allowed, struct lines *lines);
/* Step 6, for a permission that is allowed so far. PERMTAB_E_MEMORY. */
int explain_requires(const struct explaining *explaining, const struct permission *permission, bool *allowed,
                     struct lines *lines) PERMTAB_MUST_CHECK;

#endif
