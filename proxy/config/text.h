/* The text of a configuration file, ready for libconfuse. */
#ifndef PERMTAB_CONFIG_TEXT_H
#define PERMTAB_CONFIG_TEXT_H

#include "proxy/base/failure.h"

#include <stddef.h>

/* Reads a regular file of at most 1 MiB, with comments replaced by spaces and a newline at the end. *out is malloc'ed.
 * PERMTAB_E_SYSTEM, _LIMIT, _SYNTAX, _MEMORY; the failure names the path. */
int config_text_read(const char *path, char **out, size_t *size, struct failure *failure) PERMTAB_MUST_CHECK;

#endif
