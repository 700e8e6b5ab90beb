/* permtabctl apply and export: whole documents, which pass as descriptors. */
#include "client/permtabctl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_SIZE 65536u

static bool write_all(int descriptor, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t count = write(descriptor, data, size);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return false;
        data += count;
        size -= (size_t)count;
    }
    return true;
}

/* From where `from` stands to its end. */
static bool copy(int from, int to)
{
    char data[COPY_SIZE];
    for (;;) {
        ssize_t count = read(from, data, sizeof(data));
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return count == 0;
        if (!write_all(to, data, (size_t)count))
            return false;
    }
}

/* The sidecar reads regular files; what is none (stdin, a pipe) is copied into memory first. -1 with a line printed. */
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
    if (memory < 0 || !copy(descriptor, memory)) {
        (void)control_fail(control, 0, "%s: %s", name, strerror(errno));
        if (memory >= 0)
            close(memory);
        memory = -1;
    }
    close(descriptor);
    return memory;
}

static bool is_yaml(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot != NULL && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0);
}

/* The numbers of objects are of those that changed. */
static void print_applied(const struct control *control, const struct wire_value *result)
{
    uint64_t rows = control_u64(result, "rows_written");
    if (rows == 0) {
        printf("nothing to change, revision %" PRIu64 "\n", control_u64(result, "revision"));
        return;
    }
    printf("changed: permissions %" PRIu64 ", scopes %" PRIu64 ", roles %" PRIu64 ", assignments %" PRIu64
           "; ",
           control_u64(result, "permissions"), control_u64(result, "scopes"), control_u64(result, "roles"),
           control_u64(result, "assignments"));
    if (control->dry_run)
        printf("%" PRIu64 " row%s would be written\n", rows, rows == 1 ? "" : "s");
    else
        printf("%" PRIu64 " row%s written, revision %" PRIu64 "\n", rows, rows == 1 ? "" : "s",
               control_u64(result, "revision"));
}

int control_apply(struct control *control)
{
    const char *name = control->arguments[0];
    struct wire_message reply;
    int descriptor = open_document(control, name);
    if (descriptor < 0)
        return CONTROL_FAILED;
    int code = control_connect(control, CONTROL_CALL_MS);
    if (code == 0) {
        struct wire_buffer *out = channel_request(&control->channel, "apply", 3);
        wire_str(out, "dry_run");
        wire_bool(out, control->dry_run);
        wire_str(out, "prune");
        wire_bool(out, control->prune);
        wire_str(out, "format");
        wire_str(out, is_yaml(name) ? "yaml" : "json");
        code = control_call(control, descriptor, CONTROL_LONG_MS, &reply);
    }
    close(descriptor);
    if (code != 0)
        return code;
    print_applied(control, reply.result);
    wire_message_fini(&reply);
    return 0;
}

/* ---- export ------------------------------------------------------------------------------------------------------- */

/* Writes beside the target and renames, so that a failed export leaves an old file as it was. */
static int save(const struct control *control, int document, const char *name)
{
    char beside[4096];
    if (snprintf(beside, sizeof(beside), "%s.new", name) >= (int)sizeof(beside))
        return control_fail(control, CONTROL_FAILED, "%s: the name is too long", name);
    int file = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (file < 0)
        return control_fail(control, CONTROL_FAILED, "%s: %s", beside, strerror(errno));
    bool good = copy(document, file) && fsync(file) == 0;
    good = close(file) == 0 && good;
    good = good && rename(beside, name) == 0;
    if (good)
        return 0;
    int code = control_fail(control, CONTROL_FAILED, "%s: %s", name, strerror(errno));
    (void)unlink(beside);
    return code;
}

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
    wire_message_fini(&reply);
    struct descriptor taken = channel_take_descriptor(&control->channel, 0);
    int document = descriptor_number(&taken);
    if (document < 0 || lseek(document, 0, SEEK_SET) < 0)
        code = control_fail(control, CONTROL_FAILED, "the sidecar sent no document");
    else if (strcmp(name, "-") != 0)
        code = save(control, document, name);
    else if (!copy(document, STDOUT_FILENO))
        code = control_fail(control, CONTROL_FAILED, "stdout: %s", strerror(errno));
    if (document >= 0)
        close(document);
    return code;
}
