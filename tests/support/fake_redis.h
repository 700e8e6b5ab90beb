/* A server that a test makes lie: it listens on a Unix socket, on the test's own loop, lets clients in as Redis
 * would (unless it is mute), counts what they send, and says whatever the test wants said. */
#ifndef PERMTAB_TESTS_SUPPORT_FAKE_REDIS_H
#define PERMTAB_TESTS_SUPPORT_FAKE_REDIS_H

#include <stdbool.h>
#include <stddef.h>

struct bufferevent;
struct event_base;
struct evconnlistener;

struct fake_redis {
    char folder[64];
    char path[96];
    char url[112];
    struct event_base *base;
    struct evconnlistener *listener;
    struct bufferevent *stream; /* the last client; NULL: gone */
    unsigned accepted;
    unsigned commands; /* that were answered by nobody: for the test to answer */
    unsigned pings;

    /* Tests turn these. */
    bool mute;    /* nothing is answered */
    bool hang_up; /* every client is let in and dropped */
    bool deaf;    /* PING alone is not answered */
};

void fake_redis_start(struct fake_redis *fake, struct event_base *base);
void fake_redis_stop(struct fake_redis *fake);
/* Sends the text to the last client, if it is there. */
void fake_redis_say(struct fake_redis *fake, const char *text);
void fake_redis_send(struct fake_redis *fake, const void *bytes, size_t size);
void fake_redis_drop(struct fake_redis *fake);

#endif
