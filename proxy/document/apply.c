/* apply: a document into the store, all of it or nothing. One transaction in four steps:
 *
 *   load    the stored side of everything that the document names (apply_load.c)
 *   check   everything that needs the store to be judged (apply_check.c); nothing is written before it has passed
 *   write   the differences, parents before children (apply_write.c, apply_links.c)
 *   prune   everything that the document does not name, children before parents (apply_prune.c)
 *
 * Because only differences are written, a second run writes nothing and makes no change rows. Other writers wait
 * meanwhile: the transaction holds the revision counter from its beginning (transaction.c). */
#include "proxy/document/apply.h"
#include "proxy/document/transaction.h"

#include <stdlib.h>
#include <string.h>

static void apply_fini(struct apply *apply)
{
    for (size_t i = 0; i < apply->permission_count; i++) {
        free(apply->permissions[i].stored_name);
        free(apply->permissions[i].description);
    }
    for (size_t i = 0; i < apply->role_count; i++)
        free(apply->roles[i].name);
    free(apply->permissions);
    free(apply->scopes);
    free(apply->roles);
    free(apply->assignments);
    for (enum apply_link link = 0; link < LINK_COUNT; link++)
        rows_fini(&apply->links[link]);
    rows_fini(&apply->ancestry);
    rows_fini(&apply->changed_permissions);
    rows_fini(&apply->changed_scopes);
    rows_fini(&apply->changed_roles);
}

static int apply_write(struct apply *apply)
{
    bool prune = apply->options->prune;
    int code = apply_write_permissions(apply);
    if (code >= 0)
        code = apply_write_scopes(apply);
    if (code >= 0)
        code = apply_write_roles(apply);
    for (enum apply_link link = 0; code >= 0 && link < LINK_COUNT; link++)
        code = apply_links_write(apply, link);
    if (code >= 0 && prune)
        code = apply_prune_assignments(apply);
    if (code >= 0)
        code = apply_write_assignments(apply);
    if (code >= 0 && prune)
        code = apply_prune_objects(apply);
    return code;
}

/* Counts each object once, although its row and several of its lists have changed. */
static uint64_t distinct(struct row_list *changed)
{
    rows_sort(changed);
    return changed->count;
}

struct request {
    struct store *store;
    const struct policy *policy;
    const struct policy_apply_options *options;
    struct policy_apply_result *result;
};

static int apply_body(void *context, struct failure *failure)
{
    struct request *request = context;
    struct apply apply = {
        .store = request->store, .policy = request->policy, .options = request->options, .failure = failure};
    int code = apply_load(&apply);
    if (code >= 0)
        code = apply_check(&apply);
    if (code >= 0)
        code = apply_write(&apply);
    if (code == PERMTAB_E_MEMORY)
        failure_set(failure, code, "out of memory");
    if (code >= 0) {
        request->result->rows_written = apply.rows;
        request->result->permissions = distinct(&apply.changed_permissions);
        request->result->scopes = distinct(&apply.changed_scopes);
        request->result->roles = distinct(&apply.changed_roles);
        request->result->assignments = apply.changed_assignments;
    }
    apply_fini(&apply);
    return code;
}

int policy_apply(struct store *store, const struct policy *policy, const struct policy_apply_options *options,
                 struct policy_apply_result *result, struct failure *failure)
{
    struct request request = {.store = store, .policy = policy, .options = options, .result = result};
    memset(result, 0, sizeof *result);
    return policy_transaction(store, options->dry_run, apply_body, &request, result, failure);
}
