/* What the shim and the driver (tests/e2e/harness/injection.py) share: a file that both map. The driver writes `order`
 * before the program starts; the shim counts, and writes down where each call came from. Counts survive a fork and the
 * death of a process, so that "once" is once for a master and all of its workers together. */
#ifndef PERMTAB_FAULT_STATE_H
#define PERMTAB_FAULT_STATE_H

#include <stdbool.h>
#include <stdint.h>

#define FAULT_FRAMES_MAX  40u
#define FAULT_PLACES_MAX  65536u /* a power of two */
#define FAULT_MODULES_MAX 64u
#define FAULT_ANY_PROCESS UINT32_MAX

enum fault_kind {
    FAULT_MEMORY = 1,
    FAULT_SYSTEM = 2,
    FAULT_SQL = 4,
    FAULT_REDIS = 8,
};

/* What goes on failing after the call that was chosen. */
enum fault_reach { FAULT_ONCE, FAULT_PLACE, FAULT_FUNCTION, FAULT_KIND };

struct fault_order {
    uint32_t kinds;   /* of enum fault_kind, ored */
    uint32_t process; /* 0: the first; 1: its children; FAULT_ANY_PROCESS */
    uint64_t place;   /* 0: any */
    uint64_t
        caller; /* the place's innermost frame: most calls are told apart by it, without unwinding a stack */
    uint64_t number;  /* the n-th such call fails, from 1 on; 0: none, calls are counted and written down */
    uint32_t reach;   /* of enum fault_reach */
    uint32_t variant; /* which of a function's errors */
};

/* A place: a function, and the return addresses up to main, as (module << 40 | offset). */
struct fault_place {
    uint64_t place;
    uint64_t calls;
    uint32_t kind, frames;
    char function[32];
    uint64_t frame[FAULT_FRAMES_MAX];
};

struct fault_module {
    uint64_t begin, end;
    char path[240];
};

struct fault_state {
    struct fault_order order;
    uint64_t calls;  /* that the order is about */
    uint64_t failed; /* calls that were made to fail */
    uint64_t lost;   /* places that found no room */
    uint64_t module_count;
    struct fault_module modules[FAULT_MODULES_MAX]; /* of the process that began last */
    struct fault_place first;                       /* the call that was made to fail first */
    struct fault_place places[FAULT_PLACES_MAX];
};

/* 0, or what the call is to fail with, one of `errors`, which ends with 0. Sets errno to it. */
int fault_due(enum fault_kind kind, const char *function, const void *caller, const int *errors);
/* The function of the next library; ends the process when there is none. */
void *fault_next(const char *function);
void fault_forked(void);

#define FAULT_PUBLIC __attribute__((visibility("default")))
#define FAULT_HALF   (-1) /* not an error: less is done than was asked for */

/* The errors, likeliest first. */
#define FAULT_DUE(kind, function, ...)                                                                       \
    ({                                                                                                       \
        static const int errors_[] = {__VA_ARGS__, 0};                                                       \
        fault_due(kind, function, __builtin_return_address(0), errors_);                                     \
    })
/* The next function of that name; a static of the wrapper remembers it. */
#define FAULT_NEXT(function)                                                                                 \
    ({                                                                                                       \
        static __typeof__(&function) next_;                                                                  \
        if (!next_)                                                                                          \
            next_ = (__typeof__(&function))fault_next(#function);                                            \
        next_;                                                                                               \
    })

#endif
