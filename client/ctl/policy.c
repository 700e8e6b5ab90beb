/* permtabctl apply and export: whole documents, which pass as descriptors. */
#include "client/ctl/permtabctl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The sidecar reads regular files alone; stdin and pipes are copied into memory first. -1 with a line printed. */
static int open_document(const struct control *control, const char *name)
{
    struct stat status;
    bool standard = strcmp(name, "-") == 0;
    int descriptor = standard ? dup(STDIN_FILENO) : open(name, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0 || fstat(descriptor, &status) < 0) {
        (void)control_fail(control, 0, "%s: %s", name, strerror(errno));
        if (descriptor >= 0)
            close(descriptor);
        return -1;
    }
    if (S_ISREG(status.st_mode) && !standard)
        return descriptor;
    int memory = memfd_create("permtab-policy", MFD_CLOEXEC);
    if (memory < 0 || !control_copy(descriptor, memory)) {
        (void)control_fail(control, 0, "%s: %s", name, strerror(errno));
        if (memory >= 0)
            close(memory);
        memory = -1;
    }
    close(descriptor);
    return memory;
}

/* "auto": the sidecar looks at the text. */
static const char *format_of(const struct control *control, const char *name)
{
    const char *dot = strrchr(name, '.');
    if (control->format != NULL)
        return control->format;
    if (dot != NULL && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0))
        return "yaml";
    return dot != NULL && strcmp(dot, ".json") == 0 ? "json" : "auto";
}

/* The numbers of objects are of those that changed. */
static void print_applied(const struct control *control, const struct wire_value *result)
{
    uint64_t rows = control_u64(result, "rows_written");
    if (rows == 0) {
        control_say("nothing to change, revision %" PRIu64 "\n", control_u64(result, "revision"));
        return;
    }
    control_say("changed: permissions %" PRIu64 ", scopes %" PRIu64 ", roles %" PRIu64
                ", assignments %" PRIu64 "; ",
                control_u64(result, "permissions"), control_u64(result, "scopes"),
                control_u64(result, "roles"), control_u64(result, "assignments"));
    if (control->dry_run)
        control_say("%" PRIu64 " row%s would be written\n", rows, rows == 1 ? "" : "s");
    else
        control_say("%" PRIu64 " row%s written, revision %" PRIu64 "\n", rows, rows == 1 ? "" : "s",
                    control_u64(result, "revision"));
}

int control_apply(struct control *control)
{
    const char *name = control->arguments[0];
    struct wire_message reply;
    if (control->format != NULL && strcmp(control->format, "json") != 0 &&
        strcmp(control->format, "yaml") != 0)
        return control_fail(control, CONTROL_USAGE, "--format: expected json or yaml, not \"%s\"",
                            control->format);
    int code = control_write_time(control, CONTROL_APPLY_MS);
    if (code != 0)
        return code;
    int descriptor = open_document(control, name);
    if (descriptor < 0)
        return CONTROL_FAILED;
    code = control_connect(control, CONTROL_CALL_MS);
    if (code == 0) {
        struct wire_buffer *out = channel_request(&control->channel, "apply", 4);
        wire_put_u64(out, "timeout_ms", control->write_ms);
        wire_put_bool(out, "dry_run", control->dry_run);
        wire_put_bool(out, "prune", control->prune);
        wire_put_str(out, "format", format_of(control, name));
        code = control_write(control, descriptor, &reply);
    }
    close(descriptor);
    if (code != 0)
        return code;
    print_applied(control, reply.result);
    control_warnings(control, reply.result);
    wire_message_fini(&reply);
    return 0;
}

/* ---- export ------------------------------------------------------------------------------------------------------ */

int control_export(struct control *control)
{
    const char *name = control->count > 0 ? control->arguments[0] : "-";
    struct wire_message reply;
    int code = control_connect(control, CONTROL_CALL_MS);
    if (code != 0)
        return code;
    (void)channel_request(&control->channel, "export", 0);
    code = control_call(control, -1, CONTROL_LONG_MS, &reply);
    if (code != 0)
        return code;
    control_warnings(control, reply.result);
    wire_message_fini(&reply);
    struct descriptor taken = channel_take_descriptor(&control->channel, 0);
    int document = descriptor_number(&taken);
    if (document < 0 || lseek(document, 0, SEEK_SET) < 0)
        code = control_fail(control, CONTROL_FAILED, "the sidecar sent no document");
    else if (strcmp(name, "-") == 0 ? !control_copy(document, STDOUT_FILENO) : !control_save(document, name))
        code = control_fail(control, CONTROL_FAILED, "%s: %s", strcmp(name, "-") == 0 ? "stdout" : name,
                            strerror(errno));
    if (document >= 0)
        close(document);
    return code;
}
