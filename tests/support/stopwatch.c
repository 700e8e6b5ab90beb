/* The kernel counts, for each thread, how long it could have run and had to wait: the second number of schedstat. A
 * kernel that does not count leaves the bound as it is. */
#include "tests/support/stopwatch.h"

#include "proxy/base/clock.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>

static uint64_t waited_by_thread(const char *tasks, const char *thread)
{
    char path[320];
    uint64_t ran, waited;
    (void)snprintf(path, sizeof path, "%s/%s/schedstat", tasks, thread);
    FILE *file = fopen(path, "re");
    if (!file)
        return 0; /* it has ended */
    int read = fscanf(file, "%" SCNu64 " %" SCNu64, &ran, &waited);
    (void)fclose(file);
    return read == 2 ? waited : 0;
}

static uint64_t waited_by(const char *process)
{
    char tasks[48];
    uint64_t sum = 0;
    (void)snprintf(tasks, sizeof tasks, "/proc/%s/task", process);
    DIR *folder = opendir(tasks);
    if (!folder)
        return 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;)
        if (entry->d_name[0] != '.')
            sum += waited_by_thread(tasks, entry->d_name);
    (void)closedir(folder);
    return sum;
}

static uint64_t waited(const struct stopwatch *watch)
{
    char number[24];
    (void)snprintf(number, sizeof number, "%ld", (long)watch->other);
    return waited_by("self") + (watch->other > 0 ? waited_by(number) : 0);
}

void stopwatch_begin(struct stopwatch *watch, pid_t other)
{
    watch->other = other;
    watch->waited_ns = waited(watch);
    watch->begun_ns = clock_ns();
}

uint64_t stopwatch_ms(const struct stopwatch *watch)
{
    uint64_t passed = clock_ns() - watch->begun_ns, now = waited(watch);
    uint64_t allowance = now > watch->waited_ns ? now - watch->waited_ns : 0;
    return allowance < passed ? (passed - allowance) / 1000000 : 0;
}
