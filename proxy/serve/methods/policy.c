/* apply and export: whole policy documents. They pass as descriptors, because they may be larger than a message, and
 * are read, parsed and printed on a helper thread. */
#include "proxy/document/policy.h"
#include "proxy/base/container_of.h"
#include "proxy/serve/methods/methods.h"
#include "proxy/serve/task.h"
#include "proxy/serve/writes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct policy_task {
    struct task task;
    struct scope_types types;
    /* apply */
    int descriptor;
    enum policy_format format;
    struct policy_apply_options options;
    struct policy_apply_result result;
    struct policy_warnings warnings;
    /* export */
    size_t size;
    uint64_t revision; /* the document is of this revision or a later one */
};

static void policy_task_free(struct task *task)
{
    struct policy_task *work = container_of(task, struct policy_task, task);
    if (work->descriptor >= 0)
        (void)close(work->descriptor);
    free(work);
}

static struct policy_task *policy_task_new(struct request *request)
{
    struct policy_task *work = calloc(1, sizeof *work);
    if (!work) {
        request_fail(request, PERMTAB_E_MEMORY, "out of memory");
        return NULL;
    }
    work->task.free = policy_task_free;
    work->descriptor = -1;
    work->types = request_catalogue(request)->types;
    return work;
}

/* ---- apply ------------------------------------------------------------------------------------------------------ */

/* Reads a regular file alone: a pipe or a device could keep the thread for ever. */
static int read_document(int descriptor, char **out, size_t *size, struct failure *failure)
{
    struct stat status;
    size_t used = 0;
    if (fstat(descriptor, &status) < 0 || !S_ISREG(status.st_mode))
        return failure_set(failure, PERMTAB_E_INVALID, "the document must be a regular file or a memfd");
    if (status.st_size > (off_t)POLICY_SIZE_MAX)
        return failure_set(failure, PERMTAB_E_LIMIT, "the document is larger than %u MiB",
                           POLICY_SIZE_MAX >> 20);
    *size = (size_t)status.st_size;
    *out = malloc(*size + 1);
    if (!*out)
        return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
    while (used < *size) {
        ssize_t got = pread(descriptor, *out + used, *size - used, (off_t)used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return failure_set(failure, PERMTAB_E_SYSTEM, "the document cannot be read: %s",
                               got < 0 ? strerror(errno) : "it became shorter meanwhile");
        used += (size_t)got;
    }
    (*out)[*size] = 0;
    return 0;
}

static int apply_run(struct task *task, struct store *store)
{
    struct policy_task *work = container_of(task, struct policy_task, task);
    struct policy policy = {0};
    char *text = NULL;
    size_t size = 0;
    int code = read_document(work->descriptor, &text, &size, &task->failure);
    if (code == 0)
        code = policy_parse(&policy, work->format, text, size, &work->types, &task->failure);
    if (code == 0)
        code = policy_warn_ended(store, &policy, &work->warnings, &task->failure);
    if (code == 0) {
        code = policy_apply(store, &policy, &work->options, &work->result, &task->failure);
    }
    policy_fini(&policy);
    /* A dry run is rolled back, so its reply waits for no revision. */
    task->revision = work->options.dry_run ? 0 : work->result.revision;
    free(text);
    return code;
}

static void put_warnings(struct wire_buffer *reply, const struct policy_warnings *warnings)
{
    wire_put_array(reply, "warnings", (uint32_t)warnings->count);
    for (size_t i = 0; i < warnings->count; i++)
        wire_str(reply, warnings->texts[i]);
}

static void apply_reply(struct task *task)
{
    struct policy_task *work = container_of(task, struct policy_task, task);
    const struct policy_apply_result *result = &work->result;
    struct wire_buffer reply = reply_begin(task->request, REPLY_TOKEN_FIELDS + 7);
    reply_token(&reply, result->store_id, result->revision);
    wire_put_u64(&reply, "rows_written", result->rows_written);
    wire_put_u64(&reply, "permissions", result->permissions);
    wire_put_u64(&reply, "scopes", result->scopes);
    wire_put_u64(&reply, "roles", result->roles);
    wire_put_u64(&reply, "assignments", result->assignments);
    wire_put_bool(&reply, "dry_run", work->options.dry_run);
    put_warnings(&reply, &work->warnings);
    request_reply(task->request, &reply);
}

static bool read_format(struct request *request, const struct wire_value *params, enum policy_format *out)
{
    char text[8] = "auto";
    const struct wire_value *value = wire_get(params, "format");
    if (!wire_is_nil(value) && !wire_as_text(value, text, sizeof text))
        text[0] = 0;
    static const struct {
        const char *name;
        enum policy_format format;
    } formats[] = {{"json", POLICY_JSON}, {"yaml", POLICY_YAML}, {"auto", POLICY_AUTO}};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (strcmp(text, formats[i].name) == 0) {
            *out = formats[i].format;
            return true;
        }
    }
    return request_fail(request, PERMTAB_E_INVALID, "format: expected json, yaml or auto");
}

void serve_apply(struct request *request, const struct wire_value *params)
{
    struct policy_task *work = policy_task_new(request);
    if (!work)
        return;
    work->task.run = apply_run;
    work->task.reply = apply_reply;
    work->descriptor = session_take_descriptor(request->session);
    work->options.permissions_max = request->parts->config->permissions_max;
    if (!read_format(request, params, &work->format) ||
        !param_optional_bool(request, params, "dry_run", &work->options.dry_run) ||
        !param_optional_bool(request, params, "prune", &work->options.prune) ||
        !writes_deadline(request, params, request->parts->config->apply_timeout_ms,
                         &work->task.answer_by_ns)) {
        policy_task_free(&work->task);
        return;
    }
    if (work->descriptor < 0) {
        request_fail(request, PERMTAB_E_INVALID, "no descriptor came with the request");
        policy_task_free(&work->task);
        return;
    }
    work->task.locks = true; /* a dry run, too: it writes, and rolls back */
    work->task.writes = !work->options.dry_run;
    task_start(&work->task, request);
}

/* ---- export ------------------------------------------------------------------------------------------------------ */

static int write_document(struct policy_task *work, const char *text, struct failure *failure)
{
    size_t used = 0;
    work->descriptor = memfd_create("permtab-export", MFD_CLOEXEC);
    if (work->descriptor < 0)
        return failure_set(failure, PERMTAB_E_SYSTEM, "memfd_create: %s", strerror(errno));
    if (!descriptors_spare(work->task.server->parts->descriptors, work->descriptor))
        return failure_set(failure, PERMTAB_E_FULL, "no descriptor is left for the document");
    while (used < work->size) {
        ssize_t written = pwrite(work->descriptor, text + used, work->size - used, (off_t)used);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return failure_set(failure, PERMTAB_E_SYSTEM, "the document cannot be kept: %s", strerror(errno));
        used += (size_t)written;
    }
    return 0;
}

static int export_run(struct task *task, struct store *store)
{
    struct policy_task *work = container_of(task, struct policy_task, task);
    struct policy policy = {0};
    char *text = NULL;
    struct log_position at;
    int64_t now;
    int code = store_snapshot(store, &at, &now, &task->failure);
    if (code < 0)
        return code;
    store_snapshot_end(store);
    work->revision = at.revision;
    code = policy_export(store, &policy, &task->failure);
    if (code < 0)
        return code;
    policy_warn_refused(&policy, &work->warnings);
    code = policy_print(&policy, &work->types, &text, &work->size);
    if (code < 0)
        (void)failure_set(&task->failure, code, "the document cannot be printed: error %d", code);
    else
        code = write_document(work, text, &task->failure);
    policy_fini(&policy);
    free(text);
    return code;
}

static void export_reply(struct task *task)
{
    struct policy_task *work = container_of(task, struct policy_task, task);
    int descriptor = work->descriptor;
    work->descriptor = -1; /* the reply takes it */
    struct wire_buffer reply = reply_begin(task->request, 3);
    wire_put_u64(&reply, "size", work->size);
    wire_put_u64(&reply, "revision", work->revision);
    put_warnings(&reply, &work->warnings);
    request_reply_descriptors(task->request, &reply, &descriptor, 1);
}

/* A document that nobody takes from its socket keeps our memory. So each session gets one at a time, and the next
 * when that has been read. */
static bool may_export(struct request *request)
{
    struct session *session = request->session;
    int unread = 0;
    bool waits = session->exported && (ioctl(session->socket, TIOCOUTQ, &unread) < 0 || unread > 0);
    for (const struct request *other = session->requests; other; other = other->next)
        waits |= other != request && other->method == request->method;
    if (waits)
        request_fail(request, PERMTAB_E_FULL, "one at a time: the last one has not been read");
    return !waits;
}

void serve_export(struct request *request, const struct wire_value *params)
{
    struct policy_task *work = may_export(request) ? policy_task_new(request) : NULL;
    (void)params;
    if (!work)
        return;
    request->session->exported = true;
    work->task.run = export_run;
    work->task.reply = export_reply;
    task_start(&work->task, request);
}
