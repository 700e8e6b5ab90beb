/* A Redis server of a test's own, in a temporary folder, on a Unix socket and perhaps on a free port of 127.0.0.1
 * too: to be paused, killed and started again. It keeps nothing on disk: after a start it is empty. Ends with the
 * test program. */
#ifndef PERMTAB_TESTS_SUPPORT_REDIS_SERVER_H
#define PERMTAB_TESTS_SUPPORT_REDIS_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct redis_server {
    char folder[64];
    char path[96]; /* of the Unix socket */
    char url[112]; /* "unix:…" */
    uint16_t port; /* 0: none */
    char password[64];
    pid_t pid; /* 0: not running */
};

/* Whether redis-server is installed. A test program that finds it is not exits with 77. */
bool redis_server_installed(void);

/* Starts one and waits until it answers; exits the program with a message when it does not. `password` or NULL. */
void redis_server_start(struct redis_server *server, bool tcp, const char *password);
/* Kills it and removes the folder. */
void redis_server_stop(struct redis_server *server);

void redis_server_kill(
    struct redis_server *server); /* SIGKILL, and waits for its end; the socket file stays */
void redis_server_restart(struct redis_server *server); /* kills it if it runs; at the same address, empty */
void redis_server_pause(struct redis_server *server);   /* SIGSTOP, and waits until it has stopped */
void redis_server_resume(struct redis_server *server);

/* Runs one command over a connection of its own, blanks between the arguments, and writes the reply's first line or
 * text to `out`: "OK", "-ERR …", "12"; of an array its elements, blanks between them; "(nil)". Blocks, 5 s at most.
 * False when there was no reply. */
bool redis_server_ask(const struct redis_server *server, const char *command, char *out, size_t size);
/* The test fails unless the first line or text of the reply has `part` in it. */
void redis_server_says(const struct redis_server *server, const char *command, const char *part);

#endif
