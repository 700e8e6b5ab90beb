/* Log lines to standard error: time, level, text. A line has a noun, an id and a reason; never a payload or a secret.
 * Thread-safe. The level is process-wide: the log is the one thing that everything shares. */
#ifndef PERMTAB_BASE_LOG_H
#define PERMTAB_BASE_LOG_H

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

void log_level_set(enum log_level level);
int log_level_parse(const char *text, enum log_level *out); /* 0 or PERMTAB_E_INVALID */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)   log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
