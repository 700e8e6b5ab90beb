/* The table of options, for the files that read, check and print the configuration and for the test that
 * compares it with conf/permtab.conf and docs/CONFIGURATION.md. Everybody else uses struct config. */
#ifndef PERMTAB_CONFIG_OPTIONS_H
#define PERMTAB_CONFIG_OPTIONS_H

#include "proxy/config/config.h"

#include <stddef.h>

enum config_kind {
    CONFIG_TEXT,     /* char * */
    CONFIG_BOOL,     /* bool: true or false */
    CONFIG_NUMBER,   /* uint32_t */
    CONFIG_COUNT,    /* uint64_t */
    CONFIG_SIZE,     /* uint64_t bytes: "512MB", "64KiB" */
    CONFIG_DURATION, /* uint64_t milliseconds: "100ms", "2s", "5m", "1h", "7d" */
    CONFIG_PERCENT,  /* uint32_t: "10%" */
    CONFIG_MODE,     /* uint32_t, octal: "0666" */
    CONFIG_FRACTION, /* double, 0 to 1: 0.5 */
    CONFIG_TYPES,    /* struct scope_types: a list of names */
};

struct config_option {
    const char *name;
    enum config_kind kind;
    size_t offset; /* in struct config */
    /* the default, as it would be written in the file without quotes; lists with commas */
    const char *fallback;
    uint64_t min, max; /* of numbers, sizes (bytes), durations (ms) and modes */
    enum config_reload reload;
    const char *help;
};

extern const struct config_option config_options[];
extern const size_t config_option_count;

/* Reads `text` as the option's kind and stores it in the configuration. The failure says what is wrong with
 * the value and does not name the option. PERMTAB_E_INVALID, PERMTAB_E_MEMORY. */
int config_option_set(struct config *config, const struct config_option *option, const char *text,
                      struct failure *failure) PERMTAB_MUST_CHECK;
/* The value as config_option_set would read it; units as large as they divide evenly. */
void config_option_format(const struct config *config, const struct config_option *option, char *out,
                          size_t size);
/* Whether the file writes the value in quotes. */
bool config_option_quoted(const struct config_option *option);

/* The checks that need more than one option, or the world. *option: the name of the one to blame. */
int config_check(const struct config *config, const char **option,
                 struct failure *failure) PERMTAB_MUST_CHECK;

#endif
