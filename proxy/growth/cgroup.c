/* Where the files are: /proc/self/cgroup names the process's cgroup of each hierarchy, /proc/self/mountinfo where the
 * hierarchy is mounted, and which cgroup of it is at the mount point. In a container the two may not fit together,
 * because one is seen from outside; then the mount point is the container's own cgroup.
 *
 * Pages of files that were not used lately are given back before anybody is killed, so they count as free. Shared
 * memory is not among them. */
#include "proxy/growth/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MARGIN_MIN (8ull << 20)
#define MARGIN_MAX (256ull << 20)

/* The names of files in one version of cgroups. */
struct version {
    const char *filesystem;
    const char *limits[2]; /* the lower one holds */
    const char *usage;
    const char *idle; /* in memory.stat */
};
static const struct version version1 = {
    "cgroup", {"memory.limit_in_bytes", NULL}, "memory.usage_in_bytes", "total_inactive_file "};
static const struct version version2 = {
    "cgroup2", {"memory.max", "memory.high"}, "memory.current", "inactive_file "};

enum reading { READ_NUMBER, READ_MAX, READ_NOTHING, READ_GARBAGE };

/* The whole of a small file as text; false when there is no such file. */
static bool read_file(const char *path, char *out, size_t size)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return false;
    size_t used = 0;
    ssize_t got = 1;
    while (used < size - 1 && (got = read(descriptor, out + used, size - 1 - used)) > 0)
        used += (size_t)got;
    (void)close(descriptor);
    out[used] = 0;
    return got >= 0;
}

static enum reading parse_number(const char *text, uint64_t *out)
{
    char *end;
    if (strcmp(text, "max\n") == 0 || strcmp(text, "max") == 0)
        return READ_MAX;
    errno = 0;
    *out = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || errno != 0 || (*end != 0 && *end != '\n' && *end != ' '))
        return READ_GARBAGE;
    return READ_NUMBER;
}

static enum reading read_number(const char *folder, const char *name, uint64_t *out)
{
    char path[PATH_MAX], text[64];
    int length = snprintf(path, sizeof path, "%s/%s", folder, name);
    if (length < 0 || (size_t)length >= sizeof path || !read_file(path, text, sizeof text))
        return READ_NOTHING;
    return parse_number(text, out);
}

/* The number behind `name` at the beginning of a line; 0 when there is none. */
static uint64_t number_of_line(const char *text, const char *name)
{
    size_t length = strlen(name);
    uint64_t number;
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, length) == 0)
            return parse_number(line + length + strspn(line + length, " "), &number) == READ_NUMBER ? number
                                                                                                    : 0;
    }
    return 0;
}

static uint64_t idle_files(const struct version *version, const char *folder)
{
    char path[PATH_MAX], text[8192];
    int length = snprintf(path, sizeof path, "%s/memory.stat", folder);
    if (length < 0 || (size_t)length >= sizeof path || !read_file(path, text, sizeof text))
        return 0;
    return number_of_line(text, version->idle);
}

static uint64_t without_margin(uint64_t limit, uint64_t used)
{
    uint64_t margin = limit / 16;
    margin = margin < MARGIN_MIN ? MARGIN_MIN : margin > MARGIN_MAX ? MARGIN_MAX : margin;
    if (used >= limit || limit - used <= margin)
        return 0;
    return limit - used - margin;
}

/* What one cgroup has left. One without the files has no limit: the root has none of them. */
static uint64_t left_in(const struct version *version, const char *folder)
{
    uint64_t limit = UINT64_MAX, used;
    for (size_t i = 0; i < 2 && version->limits[i] != NULL; i++) {
        uint64_t number;
        switch (read_number(folder, version->limits[i], &number)) {
        case READ_NUMBER:
            limit = number < limit ? number : limit;
            break;
        case READ_GARBAGE:
            return 0;
        case READ_MAX:
        case READ_NOTHING:
            break;
        }
    }
    if (limit == UINT64_MAX)
        return UINT64_MAX;
    if (read_number(folder, version->usage, &used) != READ_NUMBER)
        return 0;
    uint64_t idle = idle_files(version, folder);
    return without_margin(limit, used > idle ? used - idle : 0);
}

/* From the folder up to the mount point, both included. */
static uint64_t left_upwards(const struct version *version, char *folder, size_t top)
{
    uint64_t least = UINT64_MAX;
    for (;;) {
        uint64_t left = left_in(version, folder);
        least = left < least ? left : least;
        char *slash = strrchr(folder, '/');
        if (slash == NULL || (size_t)(slash - folder) < top)
            return least;
        *slash = 0;
    }
}

/* ---- the two files of /proc -------------------------------------------------------------------------------------- */

/* The path of our cgroup out of a line "4:memory:/a/b" or "0::/a/b"; NULL when the line is of another hierarchy. */
static char *path_in_line(const struct version *version, char *line)
{
    char *controllers = strchr(line, ':');
    char *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
    if (path == NULL || path[1] != '/')
        return NULL;
    *path++ = 0;
    path[strcspn(path, "\n")] = 0;
    controllers++;
    if (version == &version2)
        return *controllers == 0 ? path : NULL;
    char *save = NULL;
    for (char *name = strtok_r(controllers, ",", &save); name; name = strtok_r(NULL, ",", &save))
        if (strcmp(name, "memory") == 0)
            return path;
    return NULL;
}

static bool find_path(const char *root, const struct version *version, char out[PATH_MAX])
{
    char name[PATH_MAX], *line = NULL;
    size_t size = 0;
    bool found = false;
    (void)snprintf(name, sizeof name, "%s/proc/self/cgroup", root);
    FILE *file = fopen(name, "re");
    while (file != NULL && !found && getline(&line, &size, file) > 0) {
        const char *path = path_in_line(version, line);
        found = path != NULL && snprintf(out, PATH_MAX, "%s", path) < PATH_MAX;
    }
    if (file != NULL)
        (void)fclose(file);
    free(line);
    return found;
}

/* Blanks and backslashes are written as \040 and the like in mountinfo. */
static void unescape(char *text)
{
    char *out = text;
    for (const char *at = text; *at; out++) {
        bool octal = at[0] == '\\' && at[1] >= '0' && at[1] <= '3' && at[2] >= '0' && at[2] <= '7' &&
                     at[3] >= '0' && at[3] <= '7';
        *out = octal ? (char)((at[1] - '0') * 64 + (at[2] - '0') * 8 + (at[3] - '0')) : *at;
        at += octal ? 4 : 1;
    }
    *out = 0;
}

struct mount {
    char root[PATH_MAX]; /* which cgroup is at the mount point */
    char point[PATH_MAX];
};

/* "36 35 98:0 /root /point rw,noatime master:1 - cgroup cgroup rw,memory": proc(5). */
static bool read_mount(const struct version *version, const char *line, struct mount *out)
{
    char filesystem[32], options[256];
    const char *rest = strstr(line, " - ");
    if (rest == NULL || sscanf(rest, " - %31s %*s %255s", filesystem, options) != 2 ||
        strcmp(filesystem, version->filesystem) != 0 ||
        sscanf(line, "%*s %*s %*s %4095s %4095s", out->root, out->point) != 2)
        return false;
    unescape(out->root);
    unescape(out->point);
    char *save = NULL;
    for (char *name = strtok_r(options, ",", &save); name; name = strtok_r(NULL, ",", &save))
        if (strcmp(name, "memory") == 0)
            return true;
    return version == &version2;
}

static bool find_mount(const char *root, const struct version *version, struct mount *out)
{
    char name[PATH_MAX], *line = NULL;
    size_t size = 0;
    bool found = false;
    (void)snprintf(name, sizeof name, "%s/proc/self/mountinfo", root);
    FILE *file = fopen(name, "re");
    while (file != NULL && !found && getline(&line, &size, file) > 0)
        found = read_mount(version, line, out);
    if (file != NULL)
        (void)fclose(file);
    free(line);
    return found;
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

/* The part of the cgroup's path that is below the mount point; "" when the two do not fit together. */
static const char *below(const struct mount *mount, const char *path)
{
    size_t length = strcmp(mount->root, "/") == 0 ? 0 : strlen(mount->root);
    if (strncmp(path, mount->root, length) != 0 || (path[length] != '/' && path[length] != 0))
        return "";
    return strcmp(path + length, "/") == 0 ? "" : path + length;
}

static uint64_t left_by(const char *root, const struct version *version)
{
    struct mount mount;
    char path[PATH_MAX], folder[3 * PATH_MAX];
    if (!find_path(root, version, path) || !find_mount(root, version, &mount))
        return UINT64_MAX;
    size_t top = (size_t)snprintf(folder, sizeof folder, "%s%s", root, mount.point);
    (void)snprintf(folder + top, sizeof folder - top, "%s", below(&mount, path));
    if (access(folder, F_OK) < 0)
        folder[top] = 0;
    return left_upwards(version, folder, top);
}

static uint64_t left_on_machine(const char *root)
{
    char path[PATH_MAX], text[8192];
    (void)snprintf(path, sizeof path, "%s/proc/meminfo", root);
    if (!read_file(path, text, sizeof text))
        return UINT64_MAX;
    uint64_t total = number_of_line(text, "MemTotal:") * 1024,
             available = number_of_line(text, "MemAvailable:") * 1024;
    if (total == 0 || available > total)
        return UINT64_MAX;
    return without_margin(total, total - available);
}

void memory_left(const char *root, struct memory_left *out)
{
    uint64_t old = left_by(root, &version1), new = left_by(root, &version2);
    out->cgroup = old < new ? old : new;
    out->machine = left_on_machine(root);
}
