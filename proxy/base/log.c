/* The log: one line, one write, to standard error. A supervisor (systemd, Kubernetes) keeps the lines; this
 * file knows no files and no rotation. A line is built in a buffer on the stack and written by one system
 * call, so that lines of two threads never mix. */
#include "proxy/base/log.h"

#include "client/wire/text.h"
#include "shm/error.h"
#include "shm/order.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_MAX 1024

static const char *const level_names[] = {"error", "warning", "info", "debug"};

/* The one process-wide state, as the header says. */
static uint32_t level_now = LOG_LEVEL_INFO;

void log_level_set(enum log_level level)
{
    permtab_shm_store32_relaxed(&level_now, level);
}

int log_level_parse(const char *text, enum log_level *out)
{
    for (size_t i = 0; i < sizeof level_names / sizeof level_names[0]; i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *out = (enum log_level)i;
            return 0;
        }
    }
    return PERMTAB_E_INVALID;
}

static size_t print_head(char *line, enum log_level level)
{
    struct timespec now;
    struct tm parts;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &parts);
    size_t used = strftime(line, LOG_LINE_MAX, "%Y-%m-%dT%H:%M:%S", &parts);
    int more =
        snprintf(line + used, LOG_LINE_MAX - used, ".%03ldZ %s ", now.tv_nsec / 1000000, level_names[level]);
    return used + (size_t)more;
}

void log_line(enum log_level level, const char *format, ...)
{
    if ((uint32_t)level > permtab_shm_load32_relaxed(&level_now))
        return;
    char line[LOG_LINE_MAX], text[LOG_LINE_MAX];
    size_t head = print_head(line, level);
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    /* The text may contain words of a peer, a policy or a server: they must not be able to forge a second line, nor
     * move what a terminal shows. */
    size_t used =
        head + text_clean_line(line + head, sizeof line - head - 1, text, length < 0 ? 0 : strlen(text));
    line[used++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, used);
    (void)written; /* nowhere to report it */
}
