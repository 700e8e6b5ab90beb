/* Shared by publisher.c, fill.c, batch.c, retire.c, scan.c and audit.c. */
#ifndef PERMTAB_TABLE_PRIVATE_H
#define PERMTAB_TABLE_PRIVATE_H

#include "proxy/table/fill.h"
#include "proxy/table/heard.h"
#include "proxy/table/history.h"
#include "proxy/table/publisher.h"
#include "proxy/table/table.h"

/* The batch that is being applied. */
struct applying {
    struct batch *batch;        /* NULL: none */
    size_t expired, changes;    /* how many of each have been dealt with … */
    struct scope_key places[2]; /* … except the entries below these */
    uint32_t place_count;
};

struct publisher {
    struct publisher_options options;
    struct table *table;
    struct catalogue catalogue;
    struct history history;
    struct heard heard;
    struct applying applying;
    uint64_t confirmed_ns;
    struct log_position at;
    int64_t expiry;        /* store's clock up to which expiry is applied; never goes back within a history */
    uint64_t lag_ns;       /* of the coarse clock, taken off every lease */
    bool believed;         /* false since publisher_end_lease */
    bool table_distrusted; /* this one, with STORE_NOT_BELIEVED */
    uint64_t distrusted;   /* how many tables were */
    uint64_t kept_version; /* see retire.h */
    uint64_t meaning;      /* of bits and numbers: see publisher.h */
    uint64_t batch;        /* number of the present or last batch */
    uint32_t sweep;        /* next slot to look at for entries of abandoned sets */
    uint64_t generation;   /* of the history: see publisher.h */
    struct counters *counters;
};

/* Takes the catalogue of `at`: writes its names into the segment, then its number. */
void publisher_catalogue_replace(struct publisher *publisher, struct catalogue *catalogue,
                                 const struct log_position *at);
/* Brings the gauges up to date. */
void publisher_count(struct publisher *publisher);
int publisher_answer_from_set(const struct publisher *publisher, uint32_t set,
                              struct answer *answer) PERMTAB_MUST_CHECK;

#endif
