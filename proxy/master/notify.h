/* Tells systemd the daemon's state (sd_notify's protocol), without its library. */
#ifndef PERMTAB_MASTER_NOTIFY_H
#define PERMTAB_MASTER_NOTIFY_H

/* Gives the supervisor a descriptor to keep under this name, for the next start. */
void notify_supervisor_store(const char *name, int descriptor);
/* Sends `state`, lines such as "READY=1" or "STOPPING=1", to $NOTIFY_SOCKET; does nothing when that is not set.
 * Never blocks. */
void notify_supervisor(const char *state);

#endif
