/* The counters and histograms as text, JSON and Prometheus, all from the two tables. `histograms` may be NULL: none. */
#ifndef PERMTAB_SERVE_STATS_H
#define PERMTAB_SERVE_STATS_H

#include "proxy/base/counters.h"
#include "proxy/base/histogram.h"

#include <stdio.h>

/* Prints "name value" a line; a histogram has a line for each of its figures. */
void stats_print_text(const struct counters *counters, const struct histograms *histograms, FILE *out);
/* Prints one object on one line; a histogram is an object with its figures, and with `buckets`: [upper bound, how
 * many in it], the last bound null. */
void stats_print_json(const struct counters *counters, const struct histograms *histograms, FILE *out);
/* Text exposition format 0.0.4: HELP, TYPE and samples; names begin with permtab_, counters end in _total, times in
 * _seconds. */
void stats_print_prometheus(const struct counters *counters, const struct histograms *histograms, FILE *out);

#endif
