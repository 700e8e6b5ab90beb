/* Raw sockets for comparison. */
#include "tests/bench/raw.h"

#include "tests/bench/measure.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int raw_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    if (descriptor < 0 || connect(descriptor, (struct sockaddr *)&address, sizeof address) < 0)
        bench_die("%s: %s", path, strerror(errno));
    return descriptor;
}

void raw_read(int descriptor, char *to, size_t size)
{
    while (size > 0) {
        ssize_t got = read(descriptor, to, size);
        if (got <= 0)
            bench_die("the other end has gone");
        to += got;
        size -= (size_t)got;
    }
}

void raw_write(int descriptor, const char *from, size_t size)
{
    if (write(descriptor, from, size) != (ssize_t)size)
        bench_die("the other end has gone");
}

static void echo(int descriptor)
{
    char message[RAW_REQUEST_SIZE] = {0};
    size_t size = 0;
    for (;;) {
        ssize_t got = read(descriptor, message + size, sizeof message - size);
        if (got <= 0)
            _exit(0);
        size += (size_t)got;
        if (size < sizeof message)
            continue;
        size = 0;
        if (write(descriptor, message, RAW_REPLY_SIZE) != RAW_REPLY_SIZE)
            _exit(0);
    }
}

pid_t raw_echo_start(int *descriptor)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        bench_die("socketpair: %s", strerror(errno));
    pid_t process = fork();
    if (process < 0)
        bench_die("fork: %s", strerror(errno));
    if (process == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)close(pair[0]);
        echo(pair[1]);
    }
    (void)close(pair[1]);
    *descriptor = pair[0];
    return process;
}

void raw_round_trip(int descriptor)
{
    char message[RAW_REQUEST_SIZE] = {0};
    raw_write(descriptor, message, RAW_REQUEST_SIZE);
    raw_read(descriptor, message, RAW_REPLY_SIZE);
}
