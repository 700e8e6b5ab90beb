/* A client of the daemon's socket that says what it likes and believes nothing: every reply is looked at. */
#ifndef PERMTAB_TESTS_FUZZ_CLIENT_WORLD_H
#define PERMTAB_TESTS_FUZZ_CLIENT_WORLD_H

#include "tests/fuzz/fuzz.h"

#define CLIENT_REQUESTS_MAX 24u

struct client {
    int socket;   /* -1: closed */
    bool garbage; /* it has sent bytes that are no request: one error under id 0 may come, and the end */
    uint64_t asked, answered; /* bits by id - 1 */
    unsigned asked_count;
    char *in;
    size_t in_size;
};

/* Connects to the daemon of daemon_world, and says hello. */
void client_open(struct client *client, bool hello);
/* Sends in pieces of `piece` bytes with the loop turning between, the first with `descriptor` unless that is -1. */
void client_send(struct client *client, const char *bytes, size_t size, size_t piece, int descriptor);
/* Reads what is there. Aborts on a reply that nobody asked for, a second one, a text that may not be shown. */
void client_read(struct client *client);
/* Turns the loop until all is answered or the connection has ended. Aborts when that takes a minute. */
void client_wait(struct client *client);
/* Leaves, and turns the loop until nothing of the client is left in the daemon. */
void client_close(struct client *client);

#endif
