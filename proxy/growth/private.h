/* Shared by growth.c and print.c. */
#ifndef PERMTAB_GROWTH_PRIVATE_H
#define PERMTAB_GROWTH_PRIVATE_H

#include "proxy/base/pause.h"
#include "proxy/base/trouble.h"
#include "proxy/growth/growth.h"
#include "proxy/growth/look.h"
#include "proxy/growth/policy.h"
#include "proxy/growth/retired.h"
#include "proxy/growth/room.h"

#define GROWTH_TEXT_SIZE 200u

enum growth_state {
    GROWTH_IDLE,
    GROWTH_LOOKING, /* at what memory is left */
    GROWTH_ORDERED, /* the workshop makes the next table */
    GROWTH_COPYING,
    GROWTH_LEAVING, /* clients leave the table before */
};

struct growth {
    struct growth_options options;
    struct growth_policy policy;
    struct look *look;
    struct event *timer;
    struct retired retired; /* tables that were let go, and may still be mapped by clients */
    struct pause look_pause;

    enum growth_state state;
    uint64_t since_ns;         /* in this state */
    uint64_t table_ns;         /* with this table */
    enum growth_reason reason; /* of what is under way, or waits for a look that is */
    uint64_t wanted;           /* entries of the table that was ordered last */
    uint64_t ordered;          /* its number at the workshop; 0: none is under way */
    uint64_t leaving_segment;
    bool released;
    bool awaits_lease; /* the first table is to be larger, and there was no lease in the last turn: growth_applied */

    enum growth_bound bound; /* what kept the last step small, or from being made */
    unsigned stays;          /* bits of bounds: since it last grew, the log has said that it stays because of these */
    struct pause pause;      /* before the next attempt */
    struct trouble trouble;  /* growth that is given up */
    uint64_t wanted_ns;      /* when growth was last wanted and has not come of it yet; 0: never */
    char wanted_text[GROWTH_TEXT_SIZE];
    uint64_t last_ns; /* when the table last grew; 0: never */
    char last_text[GROWTH_TEXT_SIZE];
};

/* The reason with its figures, as one phrase. */
void growth_reason_print(enum growth_reason reason, const struct growth_policy *policy,
                         char out[GROWTH_TEXT_SIZE]);

#endif
