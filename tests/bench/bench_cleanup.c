/* Measures what another client of Redis feels of a clean-up: an open loop of GETs at a fixed rate over a Unix
 * socket. The times of sending are fixed in advance and latency counts from them: a closed loop would ask less while
 * Redis is busy, and so hide it.
 *
 *     bench_cleanup SOCKET RATE        words on stdin begin phases; its end prints a table
 *
 * Speaks RESP itself: what is measured is Redis and this loop. How late requests are sent is reported beside: that
 * is the machine's noise, and no reading of latencies is better than it. */
#include "tests/bench/measure.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PHASES_MAX   8
#define SAMPLES_MAX  (4u << 20)
#define FLIGHT_MAX   65536u /* asked and not answered */
#define KEYS         1000u  /* load:0 to load:999 */
#define REPLY        "$5\r\nvalue\r\n"
#define REPLY_LENGTH (sizeof REPLY - 1)

struct phase {
    char name[32];
    size_t first; /* of its samples */
    uint64_t begun_ns, ended_ns;
};

struct flight {
    uint64_t due_ns;
};

struct load {
    int socket;
    uint64_t interval_ns, due_ns; /* of the next request */
    struct flight flights[FLIGHT_MAX];
    uint64_t sent, answered;
    size_t rest;                  /* bytes of a reply that has not come whole */
    uint32_t *latency, *lateness; /* nanoseconds, in the order of sending */
    struct phase phases[PHASES_MAX];
    unsigned phase_count;
};

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    if (descriptor < 0 || connect(descriptor, (struct sockaddr *)&address, sizeof address) < 0)
        bench_die("%s: %s", path, strerror(errno));
    return descriptor;
}

static void set_keys(struct load *load)
{
    for (unsigned i = 0; i < KEYS; i++) {
        char text[128], name[16];
        int length = snprintf(name, sizeof name, "load:%u", i);
        length = snprintf(text, sizeof text, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$5\r\nvalue\r\n", length, name);
        if (write(load->socket, text, (size_t)length) != length || read(load->socket, text, 5) != 5)
            bench_die("SET: %s", strerror(errno));
    }
}

static uint32_t clipped(uint64_t ns)
{
    return ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
}

/* Every request whose time has come, also when several have. */
static void send_due(struct load *load)
{
    uint64_t now = measure_now_ns();
    for (; load->due_ns <= now; load->due_ns += load->interval_ns) {
        char text[64], name[16];
        if (load->sent == SAMPLES_MAX || load->sent - load->answered == FLIGHT_MAX)
            bench_die("too many requests");
        int length = snprintf(name, sizeof name, "load:%u", (unsigned)(load->sent * 7919 % KEYS));
        length = snprintf(text, sizeof text, "*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", length, name);
        if (write(load->socket, text, (size_t)length) != length)
            bench_die("GET: %s", strerror(errno));
        load->flights[load->sent % FLIGHT_MAX].due_ns = load->due_ns;
        load->lateness[load->sent++] = clipped(measure_now_ns() - load->due_ns);
    }
}

static void take_replies(struct load *load)
{
    char bytes[REPLY_LENGTH * 256];
    ssize_t got = recv(load->socket, bytes, sizeof bytes, MSG_DONTWAIT);
    uint64_t now = measure_now_ns();
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
        bench_die("Redis has closed the connection");
    for (load->rest += got > 0 ? (size_t)got : 0; load->rest >= REPLY_LENGTH; load->rest -= REPLY_LENGTH) {
        uint64_t due = load->flights[load->answered % FLIGHT_MAX].due_ns;
        load->latency[load->answered++] = clipped(now - due);
    }
}

static void end_phase(struct load *load)
{
    if (load->phase_count > 0)
        load->phases[load->phase_count - 1].ended_ns = measure_now_ns();
}

/* A line of stdin; false at its end. */
static bool take_word(struct load *load)
{
    char line[32];
    ssize_t got = read(STDIN_FILENO, line, sizeof line - 1);
    end_phase(load);
    if (got <= 0)
        return false;
    line[got] = 0;
    line[strcspn(line, "\n")] = 0;
    if (load->phase_count == PHASES_MAX)
        bench_die("too many phases");
    struct phase *phase = &load->phases[load->phase_count++];
    (void)snprintf(phase->name, sizeof phase->name, "%s", line);
    phase->first = load->sent;
    phase->begun_ns = measure_now_ns();
    return true;
}

static void run(struct load *load)
{
    struct pollfd waits[] = {{.fd = load->socket, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    load->due_ns = measure_now_ns();
    for (;;) {
        uint64_t now = measure_now_ns();
        uint64_t left = load->due_ns > now ? load->due_ns - now : 0;
        struct timespec wait = {.tv_nsec = (long)left};
        int ready = ppoll(waits, 2, &wait, NULL);
        if (ready < 0 && errno != EINTR)
            bench_die("ppoll: %s", strerror(errno));
        if (ready > 0 && waits[0].revents)
            take_replies(load);
        if (ready > 0 && waits[1].revents && !take_word(load))
            return;
        send_due(load);
    }
}

static int by_size(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

/* Returns a quantile of samples that are sorted, in microseconds. */
static double at_share(const uint32_t *sorted, size_t count, double share)
{
    size_t at = (size_t)(share * (double)count);
    return count ? sorted[at < count ? at : count - 1] / 1000.0 : 0;
}

static void print(struct load *load)
{
    double first = 0;
    printf("%-10s %9s %8s %9s %9s %9s %9s %12s %10s\n", "phase", "GETs", "a second", "p50 us", "p99 us",
           "p99.9 us", "max us", "late p99 us", "p99 ratio");
    for (unsigned i = 0; i < load->phase_count; i++) {
        const struct phase *phase = &load->phases[i];
        size_t end = i + 1 < load->phase_count ? phase[1].first : load->answered;
        size_t count = end > phase->first ? end - phase->first : 0;
        uint32_t *latency = load->latency + phase->first, *lateness = load->lateness + phase->first;
        qsort(latency, count, sizeof *latency, by_size);
        qsort(lateness, count, sizeof *lateness, by_size);
        double p99 = at_share(latency, count, 0.99);
        first = i == 0 ? p99 : first;
        printf("%-10s %9zu %8.0f %9.1f %9.1f %9.1f %9.1f %12.1f %10.2f\n", phase->name, count,
               (double)count * 1e9 / (double)(phase->ended_ns - phase->begun_ns + 1),
               at_share(latency, count, 0.50), p99, at_share(latency, count, 0.999),
               at_share(latency, count, 1), at_share(lateness, count, 0.99), first > 0 ? p99 / first : 0);
    }
}

int main(int count, char **arguments)
{
    struct load *load = bench_memory(sizeof *load);
    if (count != 3 || measure_number(arguments[2]) == 0)
        bench_die("usage: bench_cleanup SOCKET RATE");
    load->socket = connect_to(arguments[1]);
    load->interval_ns = 1000000000 / measure_number(arguments[2]);
    load->latency = bench_memory(SAMPLES_MAX * sizeof *load->latency);
    load->lateness = bench_memory(SAMPLES_MAX * sizeof *load->lateness);
    (void)prctl(PR_SET_TIMERSLACK, 1UL); /* a wait ends when it should, not 50 us later */
    set_keys(load);
    run(load);
    print(load);
    return 0;
}
