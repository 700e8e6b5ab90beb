/* Cycles of inheritance. Pure. */
#ifndef PERMTAB_DOCUMENT_CYCLE_H
#define PERMTAB_DOCUMENT_CYCLE_H

#include "proxy/document/policy.h"
#include "proxy/document/rows.h"

/* Refuses a document with an edge that is part of a cycle, at the first such edge: PERMTAB_E_CONFLICT. `stored` are
 * the edges (role, parent) of roles beside the document, or NULL: a cycle that plain SQL has tied among them is no
 * reason to refuse it. PERMTAB_E_MEMORY. */
int cycle_check(const struct policy *policy, const struct row_list *stored,
                struct failure *failure) PERMTAB_MUST_CHECK;

#endif
