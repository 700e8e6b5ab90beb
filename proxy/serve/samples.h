/* Samples of the keys that clients hit, which nobody else sees: who only hits asks nothing. They are hints what to keep
 * in the table, and what to read first after the next start. */
#ifndef PERMTAB_SERVE_SAMPLES_H
#define PERMTAB_SERVE_SAMPLES_H

struct server;
struct session;

/* How often samples_collect is to be called. */
#define SAMPLES_MS 100u
/* Takes new samples from the next sessions in turn. */
void samples_collect(struct server *server);
/* To be called when a session is about to leave server->sessions. */
void samples_forget(struct server *server, const struct session *session);

#endif
