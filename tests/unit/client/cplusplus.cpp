/* permtab.h as C++11 sees it: every part of the interface, compiled with -Wall -Wextra -Wpedantic -Werror, linked
 * against the shared library, and run against a sidecar that is not there. */
#include "client/permtab.h"

#include <cstdio>
#include <cstring>

namespace
{

struct permtab_options options()
{
    struct permtab_options made = permtab_options();
    made.size = sizeof made;
    made.open_ms = 60;
    made.server_uid = -1;
    return made;
}

// Never called: everything here must compile and link.
int everything(struct permtab *table)
{
    permtab_perm perm;
    permtab_type type;
    struct permtab_view view;
    struct permtab_rule *rule = nullptr;
    size_t error_at = 0;
    if (permtab_refresh(table) < 0 || permtab_permission(table, "message.send", &perm) < 0 ||
        permtab_scope_type(table, "channel", &type) < 0)
        return permtab_why(table);
    const permtab_scope place = permtab_at(type, 10);
    const struct permtab_token token = {1, 2};
    const struct permtab_query query = {7, 7, place, perm, true};
    enum permtab_decision decisions[6] = {
        permtab_check(table, 7, place, perm),
        permtab_peek(table, 7, place, perm),
        permtab_check_owned(table, 7, place, perm, 8),
        permtab_check_at(table, 7, place, perm, token),
        PERMTAB_UNKNOWN,
        PERMTAB_UNKNOWN,
    };
    if (!permtab_allowed(table, 7, place, perm) || permtab_check_many(table, &query, 1, decisions) < 0 ||
        permtab_view_get(table, 7, place, &view) < 0 ||
        permtab_rule_compile(table, "message.send", &rule, &error_at) < 0)
        return permtab_why(table);
    decisions[4] = permtab_view_has(&view, perm, false);
    decisions[5] = permtab_rule_eval(&view, rule, permtab_view_current(&view));
    permtab_rule_free(rule);
    return decisions[5];
}

} // namespace

int main(int count, char **)
{
    struct permtab *table = nullptr;
    const struct permtab_options quick = options();
    const int code = permtab_open(&table, "/nonexistent/permtab.sock", &quick);
    if (code != PERMTAB_E_UNREACHABLE ||
        std::strcmp(permtab_strerror(code), "the sidecar cannot be reached") != 0) {
        std::printf("permtab_open: %d\n", code);
        return 1;
    }
    return count > 1000 ? everything(table) : 0;
}
