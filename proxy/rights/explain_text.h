/* The words of an explanation: adding numbered lines, naming roles, paths and times. Private to explain.c. */
#ifndef PERMTAB_RIGHTS_EXPLAIN_TEXT_H
#define PERMTAB_RIGHTS_EXPLAIN_TEXT_H

#include "client/wire/time_text.h"
#include "proxy/rights/closure.h"
#include "proxy/rights/explain.h"

#define EXPLAIN_LINES_MAX 1000
#define EXPLAIN_LINE_MAX  400 /* bytes */
#define ROLE_TEXT_SIZE    96
#define PATH_TEXT_SIZE    288

/* A line that decides is marked; a later one takes the mark. When memory is short `failed` sticks. */
struct lines {
    char **items;
    size_t count;
    size_t decisive;
    bool failed;
};

void lines_add(struct lines *lines, bool decides, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void lines_fini(struct lines *lines);

/* "7", or "7 (moderator)" when the definition is there; characters that a terminal obeys are replaced. */
const char *role_format(uint64_t role, const struct role *definition, char text[ROLE_TEXT_SIZE]);
/* "" for a held role, else ", inherited 100 → 50 → 7"; the middle of a long path is left out. */
const char *path_format(const struct closure *closure, const struct reached *reached,
                        char text[PATH_TEXT_SIZE]);

#endif
