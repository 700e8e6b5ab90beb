/* The one place that decides how a question is answered; ask.c carries it out.
 *
 * The lease comes first: without it even a resident entry may be a grant that was taken back. A token comes before
 * the entry: check_at promises not to give an entry that is older than the write. */
#include "proxy/answer/decide.h"

enum decision decide(const struct question *question, const struct table_state *state)
{
    if (!state->leased || question->meaning != state->meaning)
        return DECIDE_UNKNOWN;
    if (question->has_token && question->token_store != state->store_id)
        return DECIDE_REFUSE;
    if (question->has_token && question->token_revision > state->revision)
        return DECIDE_CATCH_UP;
    return state->resident ? DECIDE_REPLY : DECIDE_FILL;
}
