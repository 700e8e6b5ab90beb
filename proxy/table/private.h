/* Shared by publisher.c, grow.c, fill.c, batch.c, retire.c, scan.c, use.c and audit.c. */
#ifndef PERMTAB_TABLE_PRIVATE_H
#define PERMTAB_TABLE_PRIVATE_H

#include "proxy/table/audit.h"
#include "proxy/table/fill.h"
#include "proxy/table/grow.h"
#include "proxy/table/heard.h"
#include "proxy/table/history.h"
#include "proxy/table/publisher.h"
#include "proxy/table/table.h"
#include "proxy/table/use.h"

/* The batch that is being applied. */
struct applying {
    struct batch *batch;     /* NULL: none */
    size_t expired, changes; /* how many of each have been dealt with … */
    struct scope_key
        places[3]; /* … except the entries below these: where a role is, and was in either table */
    uint32_t place_count;
};

/* What the other table is. Whatever happens to the table happens to the other one, too. */
enum other_table {
    OTHER_NONE,
    OTHER_NEXT,     /* is being made: never leased, handed to nobody */
    OTHER_RETIRED,  /* clients leave it; leased like the table */
    OTHER_RELEASED, /* its lease is not renewed any more, and has not lapsed yet */
};

/* How far the table has been copied into next. All of the three only go forward; see grow.c. */
struct growing {
    struct resident_role *watched; /* the last one copied, or NULL */
    uint32_t fold, slot;           /* the next ones to copy */
};

struct publisher {
    struct publisher_options options; /* of the first table; table->options has those of each */
    struct table *table;              /* clients are handed this one */
    struct table *other;              /* NULL or a second one */
    enum other_table other_is;
    struct growing growing;
    uint64_t tables; /* changes whenever one comes, goes, or changes places */
    bool rebuild_ordered; /* nothing grows until it is there, or given up */
    publisher_drop_fn drop;
    void *drop_context;
    publisher_yield_fn yield;
    void *yield_context;
    struct catalogue catalogue;
    struct history history;
    struct heard heard;
    struct applying applying;
    struct use_shares uses;
    uint64_t confirmed_ns;
    struct log_position at;
    int64_t expiry;        /* store's clock up to which expiry is applied; never goes back within a history */
    uint64_t lag_ns;       /* of the coarse clock, taken off every lease */
    bool believed;         /* false since publisher_end_lease */
    bool table_distrusted; /* this one, with STORE_NOT_BELIEVED */
    uint64_t distrusted;   /* how many tables were */
    uint64_t kept_version, places_version; /* see retire.h */
    uint64_t meaning;      /* of bits and numbers: see publisher.h */
    uint64_t catalogue_number;
    uint64_t batch;      /* number of the present or last batch */
    uint64_t generation; /* of the history: see publisher.h */
    struct counters *counters;
};

/* Takes the catalogue of `at`: writes its names into the segment, then its number. */
void publisher_catalogue_replace(struct publisher *publisher, struct catalogue *catalogue,
                                 const struct log_position *at);
/* Brings the gauges up to date. */
void publisher_count(struct publisher *publisher);
int publisher_answer_from_set(const struct publisher *publisher, const struct table *table, uint32_t set,
                              struct answer *answer) PERMTAB_MUST_CHECK;

/* Walks the tables: the one that clients are handed first, then the other. What is true of each when it has been
 * walked in this order is true of both: nothing is copied from one to the other meanwhile. */
static inline struct table *publisher_table_after(const struct publisher *publisher,
                                                  const struct table *table)
{
    return table == publisher->table ? publisher->other : NULL;
}
#define EACH_TABLE(publisher, each)                                                                          \
    for (struct table *each = (publisher)->table; each != NULL; each = publisher_table_after(publisher, each))

/* publisher_audit of either table. */
enum audit_outcome publisher_audit_table(const struct publisher *publisher, struct table *table,
                                         struct facts *facts, struct audit_finding *finding);

/* 0 when the table may become one of this publisher's; PERMTAB_E_INVALID. */
int publisher_takes(const struct publisher *publisher, const struct table *table,
                    uint64_t store_id) PERMTAB_MUST_CHECK;
/* Retire in each table (retire.c). The result, and *retired, count the entries of the one that clients are handed. */
uint64_t publisher_retire_user_now(struct publisher *publisher, uint64_t user, uint64_t now_ns);
bool publisher_retire_scope_now(struct publisher *publisher, struct scope_key scope, uint64_t now_ns,
                                uint64_t *work, uint64_t *retired);

/* Makes `table`, which is true and has its position, the one that clients are handed. */
void publisher_hand_out(struct publisher *publisher, struct table *table);
/* Gives a table that is not among the publisher's any more to whoever takes them. */
void publisher_drop(struct publisher *publisher, struct table *table);
/* Ends the other table's part in everything, at once. */
void publisher_drop_other(struct publisher *publisher);
/* Writes position, expiry, names and the catalogue's number into a table that is about to be kept true. */
void publisher_write_position(struct publisher *publisher, struct table *table);

#endif
