/* The counters as text, JSON and Prometheus, all from the one table. */
#ifndef PERMTAB_PROXY_STATS_H
#define PERMTAB_PROXY_STATS_H

#include "proxy/counters.h"

#include <stdio.h>

/* "name value" a line. */
void stats_print_text(const struct counters *counters, FILE *out);
/* One object on one line. */
void stats_print_json(const struct counters *counters, FILE *out);
/* Text exposition format 0.0.4: HELP, TYPE and a sample each; names begin with permtab_, counters end in _total. */
void stats_print_prometheus(const struct counters *counters, FILE *out);

#endif
