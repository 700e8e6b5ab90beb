/* The table of methods, and the serve function of each (struct method). */
#ifndef PERMTAB_SERVE_METHODS_METHODS_H
#define PERMTAB_SERVE_METHODS_METHODS_H

#include "proxy/serve/request.h"

extern const struct method methods[];
extern const size_t method_count;

void serve_hello(struct request *request, const struct wire_value *params); /* attach.c */
void serve_attach(struct request *request, const struct wire_value *params);
void serve_catalogue(struct request *request, const struct wire_value *params);
void serve_check(struct request *request, const struct wire_value *params); /* check.c */
void serve_permissions(struct request *request, const struct wire_value *params);
void serve_check_many(struct request *request, const struct wire_value *params); /* many.c */
void serve_explain(struct request *request, const struct wire_value *params);    /* explain.c */
void serve_apply(struct request *request, const struct wire_value *params);      /* policy.c */
void serve_export(struct request *request, const struct wire_value *params);
void serve_grant(struct request *request, const struct wire_value *params); /* change.c */
void serve_revoke(struct request *request, const struct wire_value *params);
void serve_assign(struct request *request, const struct wire_value *params);
void serve_unassign(struct request *request, const struct wire_value *params);
void serve_invalidate(struct request *request, const struct wire_value *params); /* invalidate.c */
void serve_invalidations(struct request *request, const struct wire_value *params);
void serve_tag_add(struct request *request, const struct wire_value *params); /* tags.c */
void serve_tag_remove(struct request *request, const struct wire_value *params);
void serve_tag_list(struct request *request, const struct wire_value *params);
void serve_tag_names(struct request *request, const struct wire_value *params);
void serve_cleanup(struct request *request, const struct wire_value *params); /* cleanup.c */
void serve_stats(struct request *request, const struct wire_value *params);   /* operate.c */
void serve_health(struct request *request, const struct wire_value *params);
void serve_delay(struct request *request, const struct wire_value *params); /* delayed.c */
void serve_delayed(struct request *request, const struct wire_value *params);
void serve_delayed_cancel(struct request *request, const struct wire_value *params);
void serve_delayed_run(struct request *request, const struct wire_value *params);
void serve_delayed_replace(struct request *request, const struct wire_value *params);
void serve_delayed_do(struct request *request, const struct wire_value *params);
void serve_delayed_stats(struct request *request, const struct wire_value *params);
void serve_delayed_advice(struct request *request, const struct wire_value *params);
void serve_warm(struct request *request, const struct wire_value *params); /* warm.c */
void serve_hot(struct request *request, const struct wire_value *params);
void serve_jobs(struct request *request, const struct wire_value *params);
void serve_jobs_cancel(struct request *request, const struct wire_value *params);
void serve_subscribe(struct request *request, const struct wire_value *params); /* subscribe.c */
void serve_unsubscribe(struct request *request, const struct wire_value *params);

#endif
