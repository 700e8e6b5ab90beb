/* A failure with its place: a code of shm/error.h and one sentence for people. Functions that can fail in ways a
 * user must understand take a `struct failure *` and fill it before they return the code. */
#ifndef PERMTAB_BASE_FAILURE_H
#define PERMTAB_BASE_FAILURE_H

#include "shm/error.h"

#define FAILURE_TEXT_SIZE 512

struct failure {
    int code;
    char text[FAILURE_TEXT_SIZE];
};

/* Sets code and text; returns code, so that `return failure_set(failure, PERMTAB_E_SYNTAX, "…", …);` reads well. A
 * NULL failure is allowed. */
int failure_set(struct failure *failure, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Puts "context: " in front of the text. Returns the code. */
int failure_wrap(struct failure *failure, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
