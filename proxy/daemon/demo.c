/* The demo's folder and policy. The policy is conf/policies/community.json, compiled in. */
#include "proxy/daemon/demo.h"

#include "proxy/document/policy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char community[] = {
#include "community.inc"
};

struct demo {
    char folder[64];
};

static int set_option(struct config *config, const char *name, const struct demo *demo, const char *before,
                      const char *after, struct failure *failure)
{
    char value[128];
    (void)snprintf(value, sizeof value, "%s%s%s", before, demo->folder, after);
    return config_set(config, name, value, failure);
}

int demo_configure(const struct demo *demo, struct config *config, struct failure *failure)
{
    int code = set_option(config, "store", demo, "sqlite:", "/permtab.db", failure);
    if (code == 0)
        code = set_option(config, "socket", demo, "", "/permtab.sock", failure);
    if (code == 0)
        code = set_option(config, "ops_socket", demo, "", "/permtab-ops.sock", failure);
    config->store_migrate = true;
    return code;
}

int demo_new(struct demo **out, struct config *config, struct failure *failure)
{
    const char *parent = getenv("XDG_RUNTIME_DIR");
    struct demo *demo = calloc(1, sizeof *demo);
    int code = PERMTAB_E_MEMORY;
    *out = NULL;
    if (!demo)
        return failure_set(failure, code, "out of memory");
    /* A socket's path is short, so a long $XDG_RUNTIME_DIR is not used. */
    if (!parent || parent[0] != '/' || strlen(parent) > 40 || access(parent, W_OK) < 0)
        parent = "/tmp";
    (void)snprintf(demo->folder, sizeof demo->folder, "%s/permtab-demo-XXXXXX", parent);
    if (!mkdtemp(demo->folder)) {
        code = failure_set(failure, PERMTAB_E_SYSTEM, "%s: %s", demo->folder, strerror(errno));
        free(demo);
        return code;
    }
    code = demo_configure(demo, config, failure);
    if (code < 0) {
        demo_free(demo);
        return code;
    }
    *out = demo;
    return 0;
}

int demo_fill_store(const struct config *config, struct store *store, struct failure *failure)
{
    struct policy policy;
    struct policy_apply_result result;
    struct policy_apply_options options = {.permissions_max = config->permissions_max};
    int code =
        policy_parse(&policy, POLICY_JSON, community, sizeof community - 1, &config->scope_types, failure);
    if (code < 0)
        return failure_wrap(failure, "the demo's policy");
    code = policy_apply(store, &policy, &options, &result, failure);
    policy_fini(&policy);
    return code < 0 ? failure_wrap(failure, "the demo's policy") : 0;
}

void demo_print(const struct demo *demo, const struct config *config, FILE *out)
{
    static const char *const commands[] = {
        "check 7 channel:10 message.send",   "permissions 7 channel:10",
        "explain 8 channel:12 message.send", "revoke 100 message.send",
        "check 7 channel:10 message.send",   "stats",
    };
    (void)fprintf(out, "permtabd serves a small community until you stop it (Ctrl-C).\n\n");
    (void)fprintf(out,
                  "  store       %s\n  socket      %s\n  ops socket  %s\n\nTry, in another terminal:\n\n",
                  config->store, config->socket, config->ops_socket);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        (void)fprintf(out, "  permtabctl --socket %s %s\n", config->socket, commands[i]);
    (void)fprintf(out, "  echo health | socat - %s\n\n%s is removed at the end.\n", config->ops_socket,
                  demo->folder);
    (void)fflush(out);
}

void demo_free(struct demo *demo)
{
    static const char *const files[] = {"permtab.db", "permtab.db-wal", "permtab.db-shm",
                                        "permtab.db-journal"};
    char path[96];
    if (!demo)
        return;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", demo->folder, files[i]);
        (void)unlink(path);
    }
    (void)rmdir(demo->folder);
    free(demo);
}
