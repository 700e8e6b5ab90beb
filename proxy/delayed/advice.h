/* Advice about the queue: urgent actions and recommendations from its state, each with the command that carries it
 * out. Pure. */
#ifndef PERMTAB_DELAYED_ADVICE_H
#define PERMTAB_DELAYED_ADVICE_H

#include "proxy/delayed/task.h"

#define DELAYED_LARGEST_MAX 10u
#define DELAYED_ADVICE_MAX  16u
#define DELAYED_OVERDUE_MS  5000u /* a task due for longer counts as overdue, and as late when it is taken */

struct delayed_state {
    uint64_t now_ms, queued, taken, overdue;
    bool has_first;
    uint64_t first_ms;         /* when the first of the queue is or was due */
    uint64_t failing, waiting; /* tasks that failed, or whose condition did not hold, again and again */
    size_t largest_count;
    struct {
        char index[DELAYED_INDEX_SIZE];
        uint64_t tasks;
    } largest[DELAYED_LARGEST_MAX];
};

enum delayed_action {
    DELAYED_CANCEL,
    DELAYED_RUN,     /* due now; without an index: overdue ones, faster than the pace */
    DELAYED_REPLACE, /* one task now in place of all tasks that have this target alone */
};

struct delayed_advice {
    uint64_t number; /* set by the service */
    bool urgent;
    enum delayed_action action;
    struct delayed_what what; /* text "": none */
    uint64_t most;
    char text[256];
    char command[192]; /* of permtabctl */
};

/* Urgent ones first; at most DELAYED_ADVICE_MAX. */
size_t delayed_advise(const struct delayed_state *state, struct delayed_advice *out);

#endif
