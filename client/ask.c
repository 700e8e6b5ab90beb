/* The slow path: one check that the table did not answer. Under the lock, the table is brought up to date where
 * that is due and looked at once more (another thread may have asked for the same entry meanwhile); then the
 * sidecar is asked. A connection that breaks is made anew, and the question asked again, while there is time.
 *
 * A reply is believed as a table is: its deadline is compared with our clock after it has come. */
#include "client/handle.h"

#include <stdio.h>
#include <string.h>

uint64_t ask_deadline(const struct handle *handle)
{
    return channel_clock_ns() + (uint64_t)handle->check_ms * 1000000u;
}

enum permtab_decision ask_unknown(struct handle *handle, int code)
{
    permtab_thread_.why = code;
    count_add(handle, 0, 0, 1);
    return PERMTAB_UNKNOWN;
}

bool ask_scope_text(const struct handle *handle, permtab_scope scope, char text[ASK_SCOPE_SIZE])
{
    if (scope.type.slot == 0 || scope.type.slot >= handle->types.count)
        return false;
    const char *type = handle->types.texts[scope.type.slot];
    if (scope.id == 0 && strcmp(type, "global") == 0)
        (void)snprintf(text, ASK_SCOPE_SIZE, "global");
    else
        (void)snprintf(text, ASK_SCOPE_SIZE, "%s:%llu", type, (unsigned long long)scope.id);
    return true;
}

const char *ask_permission_text(const struct handle *handle, permtab_perm perm)
{
    if (perm.slot == 0 || perm.slot >= handle->permissions.count)
        return NULL;
    return handle->permissions.texts[perm.slot];
}

/* The decision in a reply to `check`, or why it counts for nothing now. */
static int judge_reply(const struct wire_value *result, const struct permtab_token *token)
{
    int64_t decision;
    uint64_t deadline, revision;
    if (!wire_as_i64(wire_get(result, "decision"), &decision) || decision < -1 || decision > 1 ||
        !wire_as_u64(wire_get(result, "deadline"), &deadline) ||
        !wire_as_id(wire_get(result, "revision"), &revision))
        return PERMTAB_E_PROTOCOL;
    if (decision < 0)
        return PERMTAB_E_STALE;
    if (token != NULL && revision < token->revision)
        return PERMTAB_E_BEHIND;
    if (channel_clock_ns() >= deadline) /* last: time passed while the reply was under way */
        return PERMTAB_E_STALE;
    return (int)decision;
}

static int call_check(struct handle *handle, const struct permtab_query *query, const char *permission,
                      const struct permtab_token *token, uint64_t deadline_ns)
{
    char scope[ASK_SCOPE_SIZE];
    struct wire_message reply;
    if (permission == NULL)
        permission = ask_permission_text(handle, query->perm);
    if (permission == NULL)
        return PERMTAB_E_NO_PERMISSION;
    if (!ask_scope_text(handle, query->scope, scope))
        return PERMTAB_E_NO_SCOPE_TYPE;
    uint32_t fields = 3u + (query->owned ? 1u : 0u) + (token != NULL ? 1u : 0u);
    struct wire_buffer *out = channel_request(&handle->own->channel, "check", fields);
    wire_put_u64(out, "user", query->user);
    wire_put_str(out, "scope", scope);
    wire_put_str(out, "permission", permission);
    if (query->owned)
        wire_put_u64(out, "owner", query->owner);
    if (token != NULL) {
        wire_str(out, "token");
        wire_map(out, 2);
        wire_put_u64(out, "store_id", token->store_id);
        wire_put_u64(out, "revision", token->revision);
    }
    int result = handle_call(handle, deadline_ns, &reply);
    if (result == 0)
        result = judge_reply(reply.result, token);
    wire_message_fini(&reply);
    return result;
}

/* In place of a state: live, and less than a quarter of the lease is left. */
#define ENDING 3u

/* Steps 1 to 6 of shm/reader.h, as the inline path takes them. 1, 0, or a code that says why there is no answer; *state
 * is the segment's, or ENDING. */
static int look(const struct handle *handle, const struct permtab_query *query,
                const struct permtab_token *token, uint32_t *state)
{
    const struct permtab_geometry_ *geometry = permtab_geometry_of_(&handle->visible);
    const struct permtab_shm_table *table = &geometry->table;
    struct permtab_shm_moment moment = permtab_shm_beat_read(table);
    uint32_t type = geometry->kinds[query->scope.type.slot % PERMTAB_TYPE_SLOTS_].type;
    uint32_t bit = query->perm.slot < geometry->permission_slots ? geometry->permissions[query->perm.slot]
                                                                 : PERMTAB_NO_NUMBER_;
    bool allowed = false;
    *state = moment.state;
    if (token != NULL && token->store_id != geometry->store_id)
        return PERMTAB_E_BEHIND;
    if (moment.state != PERMTAB_SHM_LIVE && moment.state != PERMTAB_SHM_RETIRED)
        return geometry_stale(geometry, moment.state);
    if (moment.catalogue != geometry->catalogue)
        return PERMTAB_E_CATALOGUE;
    if (bit >= table->permissions_max)
        return PERMTAB_E_NO_PERMISSION;
    if (type >= PERMTAB_SHM_SCOPE_TYPES)
        return PERMTAB_E_NO_SCOPE_TYPE;
    if (token != NULL && moment.applied_revision < token->revision)
        return PERMTAB_E_BEHIND;
    enum permtab_shm_found found =
        permtab_shm_check(table, query->user, query->scope.id, type, bit,
                          query->owned && query->owner == query->user, &allowed);
    uint64_t clock = permtab_shm_clock_ns();
    if (clock >= moment.lease_deadline)
        return geometry_stale(geometry, moment.state);
    if (moment.state == PERMTAB_SHM_LIVE && clock + geometry->early_ns >= moment.lease_deadline)
        *state = ENDING;
    if (found != PERMTAB_SHM_FOUND)
        return found == PERMTAB_SHM_MISS ? PERMTAB_E_MISS : PERMTAB_E_BUSY;
    return allowed ? 1 : 0;
}

int ask_locked(struct handle *handle, const struct permtab_query *query, const char *permission,
               const struct permtab_token *token, uint64_t deadline_ns)
{
    uint32_t ended = handle->own->ended, state;
    int code;
    do {
        code = handle_ready(handle, deadline_ns);
        if (code == 0 && permission == NULL) {
            code = look(handle, query, token, &state);
            if (code >= 0 || code == PERMTAB_E_NO_PERMISSION || code == PERMTAB_E_NO_SCOPE_TYPE)
                return code;
            code = 0;
        }
        if (code == 0)
            code = call_check(handle, query, permission, token, deadline_ns);
    } while (handle_again(handle, code, ended, deadline_ns));
    return code;
}

enum permtab_decision permtab_ask_(struct permtab *table, const struct permtab_query *query,
                                   const struct permtab_token *token)
{
    struct handle *handle = handle_of(table);
    /* The inline path leaves to us what a table answers that is about to be replaced. Looking for the newer one may
     * take time, in which the lease of the answer may end. */
    struct permtab_shm_moment moment = permtab_shm_beat_read(&permtab_geometry_of_(table)->table);
    uint32_t state;
    int late, code = look(handle, query, token, &state);
    if (code >= 0) {
        ahead_look(handle);
        if (permtab_shm_fresh(&moment)) {
            permtab_count_hit_(table, query->user, query->scope, true);
            return (enum permtab_decision)code;
        }
    }
    uint64_t deadline_ns = ask_deadline(handle);
    code = handle_lock(handle, deadline_ns);
    if (code == 0) {
        code = ask_locked(handle, query, NULL, token, deadline_ns);
        handle_unlock(handle);
    }
    if (code == PERMTAB_E_TIMEOUT && (late = look(handle, query, token, &state)) >= 0)
        code = late; /* the sidecar, which others ask, too, has filled it meanwhile */
    count_add(handle, 0, 1, 0);
    return code >= 0 ? (enum permtab_decision)code : ask_unknown(handle, code);
}

enum permtab_decision permtab_peek_(struct permtab *table, uint64_t user, permtab_scope scope,
                                    permtab_perm perm)
{
    struct handle *handle = handle_of(table);
    const struct permtab_query query = {.user = user, .scope = scope, .perm = perm};
    uint32_t state;
    int code = look(handle, &query, NULL, &state);
    if (code < 0) {
        count_add(handle, 0, 1, 0);
        return ask_unknown(handle, code);
    }
    if (state != PERMTAB_SHM_LIVE)
        permtab_thread_.why = PERMTAB_E_RETIRED;
    permtab_count_hit_(table, user, scope, false);
    return code != 0 ? PERMTAB_ALLOW : PERMTAB_DENY;
}
