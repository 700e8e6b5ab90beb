/* Explains a decision: which role, inheritance path, overwrite, owner or requirement decided. Pure: from facts and
 * catalogue to lines of text. */
#ifndef PERMTAB_RIGHTS_EXPLAIN_H
#define PERMTAB_RIGHTS_EXPLAIN_H

#include "proxy/rights/resolve.h"

/* Lines in the order of docs/SEMANTICS.md, numbered ("1. role 100 (member) held at server:1, default"), UTF-8 without
 * control characters. Each at most 400 bytes, at most 1,000 of them. */
struct explanation {
    bool allowed;
    bool deprecated;
    char **lines;
    size_t line_count;
    size_t decisive; /* index of the line that decided */
};

/* `own`: the user owns the resource. facts->roles must hold every role and ancestor. The answer always agrees with
 * resolve(); a test compares them on random policies. PERMTAB_E_MEMORY, PERMTAB_E_NO_PERMISSION. */
int explain(struct explanation *out, const struct catalogue *catalogue, struct facts *facts, int64_t now,
            uint32_t bit, bool own) PERMTAB_MUST_CHECK;
void explanation_fini(struct explanation *explanation);

#endif
