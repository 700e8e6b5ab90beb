/* Growth from a small table to a large one under load: how long the loop is held, what a check costs meanwhile, and how
 * many bytes an entry takes at the end.
 *
 * One process is the sidecar without its store: a loop with the publisher, the workshop and the room of growth itself,
 * which decides as it does in the daemon, and with an event that fills entries all the time. The other one is a reader
 * on a core of its own. It is handed each table as clients are, and replaces its mapping as they do: populated before
 * it is used, unmapped in pieces.
 *
 * Turns of the loop are timed by the processor time of its thread, checks by the wall clock, one by one. A step's
 * figures during growth are compared with those at rest in the same table after it. */
#include "proxy/base/clock.h"
#include "proxy/growth/growth.h"
#include "proxy/table/fill.h"
#include "proxy/table/grow.h"
#include "proxy/table/workshop.h"
#include "shm/segment.h"
#include "tests/bench/measure.h"
#include "tests/support/memory_policy.h"

#include <event2/event.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SECOND   1000000000ull
#define CHANNELS 1000u
#define ROLE     100u
#define FILLS    64u /* in a turn: as many users as the daemon reads together */
#define REST_NS  (2 * SECOND)
#define PIECE    (2u << 20)
#define TIMES    4096u /* of the histogram: 32 for each power of two of nanoseconds */

static const struct scope_key global = {0, 0}, server = {1, 1};

enum phase { PHASE_AT_REST, PHASE_GROWING, PHASES };

struct histogram_ns {
    uint64_t counts[TIMES];
    uint64_t count, longest_ns, hits, attach_ns;
};

/* Shared by the two processes; the reader writes the histograms, and the segment that it has. */
struct common {
    uint64_t filled;   /* keys up to here were filled … */
    uint64_t resident; /* … and the last so many of them may be there */
    uint64_t segment;  /* which the reader uses */
    uint32_t phase, stop;
    struct histogram_ns histograms[PHASES];
};

static void must(int code, const char *what)
{
    if (code < 0)
        bench_die("%s: error %d", what, code);
}

static void stay_on_core(int core)
{
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(core, &cores);
    (void)sched_setaffinity(0, sizeof cores, &cores); /* without the core it runs wherever it may */
}

static struct scope_key channel_of(uint64_t number)
{
    return (struct scope_key){1000 + number % CHANNELS, 3};
}

/* ---- times ------------------------------------------------------------------------------------------------------- */

static uint32_t time_slot(uint64_t ns)
{
    if (ns < 32)
        return (uint32_t)ns;
    uint32_t power = 63 - (uint32_t)__builtin_clzll(ns);
    return (power - 4) * 32 + (uint32_t)(ns >> (power - 5) & 31);
}

static uint64_t slot_time(uint32_t slot)
{
    return slot < 32 ? slot : (32ull + slot % 32) << (slot / 32 - 1);
}

static void add_time(struct histogram_ns *histogram, uint64_t ns)
{
    uint32_t slot = time_slot(ns);
    histogram->counts[slot < TIMES ? slot : TIMES - 1]++;
    histogram->count++;
    histogram->longest_ns = ns > histogram->longest_ns ? ns : histogram->longest_ns;
}

static uint64_t percentile(const struct histogram_ns *histogram, double part)
{
    uint64_t wanted = (uint64_t)((double)histogram->count * part), seen = 0;
    for (uint32_t slot = 0; slot < TIMES; slot++)
        if ((seen += histogram->counts[slot]) > wanted)
            return slot_time(slot);
    return histogram->longest_ns;
}

/* ---- the reader -------------------------------------------------------------------------------------------------- */

struct reader {
    struct common *common;
    int socket;
    char *mapping;
    size_t size;
    struct permtab_shm_table table;
};

static int take_descriptor(int socket, size_t *size)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    int descriptor;
    struct iovec part = {size, sizeof *size};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control};
    if (recvmsg(socket, &message, 0) != (ssize_t)sizeof *size || CMSG_FIRSTHDR(&message) == NULL)
        bench_die("the reader was handed no table");
    memcpy(&descriptor, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof descriptor);
    return descriptor;
}

static void unmap_in_pieces(char *mapping, size_t size)
{
    const struct timespec pause = {0, 50000};
    for (size_t at = 0; at < size; at += PIECE) {
        (void)munmap(mapping + at, size - at < PIECE ? size - at : PIECE);
        (void)nanosleep(&pause, NULL);
    }
}

static void attach(struct reader *reader)
{
    char *before = reader->mapping;
    size_t size_before = reader->size;
    int descriptor = take_descriptor(reader->socket, &reader->size);
    reader->mapping = mmap(NULL, reader->size, PROT_READ, MAP_SHARED, descriptor, 0);
    if (reader->mapping == MAP_FAILED)
        bench_die("the reader cannot map the table");
    (void)close(descriptor);
    for (size_t at = 0; at < reader->size; at += PIECE)
        (void)madvise(reader->mapping + at, reader->size - at < PIECE ? reader->size - at : PIECE,
                      MADV_POPULATE_READ);
    must(segment_table_init(&reader->table, reader->mapping, reader->size), "segment_table_init");
    __atomic_store_n(&reader->common->segment, reader->table.header->identity.segment_id, __ATOMIC_RELEASE);
    if (before != NULL)
        unmap_in_pieces(before, size_before);
}

/* One check as permtab_peek does it. */
static bool check(const struct reader *reader, uint64_t user, struct scope_key scope, bool *retired)
{
    struct permtab_shm_moment moment = permtab_shm_beat_read(&reader->table);
    bool allowed = false;
    *retired = moment.state == PERMTAB_SHM_RETIRED;
    return permtab_shm_check(&reader->table, user, scope.id, scope.type, 0, false, &allowed) ==
               PERMTAB_SHM_FOUND &&
           permtab_shm_fresh(&moment) && allowed;
}

static void read_on(struct reader *reader)
{
    struct common *common = reader->common;
    uint64_t random = 88172645463325252ull;
    while (!__atomic_load_n(&common->stop, __ATOMIC_RELAXED)) {
        struct histogram_ns *histogram =
            &common->histograms[__atomic_load_n(&common->phase, __ATOMIC_RELAXED)];
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        uint64_t filled = __atomic_load_n(&common->filled, __ATOMIC_RELAXED);
        uint64_t resident = __atomic_load_n(&common->resident, __ATOMIC_RELAXED);
        uint64_t key = filled - random % (resident < filled ? resident : filled);
        bool retired;
        uint64_t begun = measure_now_ns();
        bool hit = check(reader, key, channel_of(key), &retired);
        uint64_t ended = measure_now_ns();
        add_time(histogram, ended - begun);
        histogram->hits += hit;
        if (retired) {
            attach(reader);
            histogram->attach_ns = measure_now_ns() - ended;
        }
    }
}

static pid_t start_reader(struct common *common, int *socket)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0)
        bench_die("socketpair");
    pid_t child = fork();
    if (child < 0)
        bench_die("fork");
    if (child > 0) {
        (void)close(pair[1]);
        *socket = pair[0];
        return child;
    }
    (void)close(pair[0]);
    stay_on_core(1);
    struct reader reader = {.common = common, .socket = pair[1]};
    attach(&reader);
    read_on(&reader);
    _exit(0);
}

/* ---- the sidecar ------------------------------------------------------------------------------------------------- */

struct house {
    uint64_t goal, small;
    struct common *common;
    int socket; /* to the reader */
    struct publisher *publisher;
    struct workshop *workshop;
    struct growth *growth;
    struct counters counters;
    struct memory_policy policy;
    struct facts facts[CHANNELS];
    struct event_base *base;
    struct event *fill, *renew;
    uint64_t handed; /* segment */
    uint64_t longest_turn_ns, turns;
    bool check_only; /* nothing is reported, and nothing rests */
};

static void hand_table(struct house *house)
{
    const struct segment *segment = publisher_segment(house->publisher);
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    size_t size = segment->size;
    struct iovec part = {&size, sizeof size};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    *head = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(head), &segment->descriptor, sizeof(int));
    if (sendmsg(house->socket, &message, 0) < 0)
        bench_die("the table cannot be handed over");
    house->handed = segment->header->identity.segment_id;
}

static bool reader_has(void *context, uint64_t segment)
{
    const struct house *house = context;
    return __atomic_load_n(&house->common->segment, __ATOMIC_ACQUIRE) == segment;
}

static void on_renew(evutil_socket_t descriptor, short what, void *context)
{
    struct house *house = context;
    (void)descriptor, (void)what;
    publisher_renew(house->publisher, clock_ns());
}

static bool at_goal(const struct house *house)
{
    return publisher_capacity(house->publisher) >= house->goal;
}

static void fill_on(struct house *house)
{
    const struct timeval at_once = {0, 0};
    (void)event_add(house->fill, &at_once);
}

/* New keys in every turn, so that the loop never rests. Nobody asks for what is not there, so the sidecar is told of
 * misses by their fills alone. */
static void on_fill(evutil_socket_t descriptor, short what, void *context)
{
    struct house *house = context;
    uint64_t now_ns = clock_ns();
    (void)descriptor, (void)what;
    for (unsigned i = 0; i < FILLS; i++) {
        struct answer answer = {0};
        uint64_t key = house->common->filled + 1;
        struct facts *facts = &house->facts[key % CHANNELS];
        facts->user = key;
        if (publisher_fill(house->publisher, facts, now_ns, &answer) != PUBLISHER_FILLED)
            bench_die("user %llu was not filled", (unsigned long long)key);
        answer_fini(&answer);
        __atomic_store_n(&house->common->filled, key, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&house->common->resident, publisher_entries(house->publisher) * 9 / 10 + 1,
                     __ATOMIC_RELAXED);
    fill_on(house);
}

static uint64_t busy_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

static void turn(struct house *house)
{
    uint64_t before = busy_ns();
    (void)event_base_loop(house->base, EVLOOP_ONCE);
    uint64_t took = busy_ns() - before;
    house->longest_turn_ns = took > house->longest_turn_ns ? took : house->longest_turn_ns;
    house->turns++;
    if (publisher_segment(house->publisher)->header->identity.segment_id != house->handed)
        hand_table(house);
}

static void house_init(struct house *house, struct common *common, uint64_t first, uint64_t goal)
{
    struct catalogue catalogue;
    struct log_position at = {7, 1, 1};
    const struct publisher_options options = {
        .permissions_max = 512, .entries = first, .sets = 1000, .folds = 16, .max_staleness_ns = 2 * SECOND};
    *house = (struct house){.goal = goal, .common = common};
    memory_policy_init(&house->policy);
    memory_permission(&house->policy, "bench.permission");
    memory_scope(&house->policy, server, global, NULL);
    memory_role(&house->policy, ROLE, "member", server, true, true);
    memory_grant(&house->policy, ROLE, GRANT_ALLOW, 0);
    for (uint64_t number = 0; number < CHANNELS; number++) {
        memory_scope(&house->policy, channel_of(number), server, NULL);
        memory_overwrite(&house->policy, channel_of(number), OVERWRITE_ROLE, ROLE, 0, true);
    }
    memory_catalogue(&house->policy, 512 / 64, &catalogue);
    must(publisher_new(&house->publisher, &options, &at, 1000, &catalogue, &house->counters, NULL),
         "publisher_new");
    for (uint64_t number = 0; number < CHANNELS; number++) {
        memory_facts(&house->policy, 1, channel_of(number), 1000, &house->facts[number]);
        house->facts[number].nonce = 1;
        house->facts[number].revision = 1;
        house->facts[number].stranger = false;
        house->facts[number].generation = publisher_generation(house->publisher);
    }
}

static void house_start(struct house *house)
{
    struct growth_options growth = {.publisher = house->publisher,
                                    .counters = &house->counters,
                                    .attached = reader_has,
                                    .context = house,
                                    .entries_min = 1,
                                    .memory_max = UINT64_MAX / 2,
                                    .hit_rate_target = 0.5};
    const struct timeval lease = {0, 100000};
    growth.base = house->base = event_base_new();
    must(workshop_new(&house->workshop, house->base), "workshop_new");
    growth.workshop = house->workshop;
    must(growth_new(&house->growth, &growth), "growth_new");
    house->renew = event_new(house->base, -1, EV_PERSIST, on_renew, house);
    house->fill = event_new(house->base, -1, 0, on_fill, house);
    (void)event_add(house->renew, &lease);
    fill_on(house);
    publisher_renew(house->publisher, clock_ns());
    hand_table(house);
}

static void house_fini(struct house *house)
{
    event_free(house->fill);
    event_free(house->renew);
    growth_free(house->growth);
    publisher_free(house->publisher);
    workshop_free(house->workshop);
    event_base_free(house->base);
    for (uint64_t number = 0; number < CHANNELS; number++)
        facts_fini(&house->facts[number]);
    memory_policy_fini(&house->policy);
}

/* ---- measuring --------------------------------------------------------------------------------------------------- */

static void begin_phase(struct house *house, enum phase phase)
{
    memset(&house->common->histograms[phase], 0, sizeof house->common->histograms[phase]);
    house->longest_turn_ns = 0;
    __atomic_store_n(&house->common->phase, phase, __ATOMIC_RELAXED);
}

static void say_phase(const struct house *house, enum phase phase)
{
    static const char *const names[] = {"at rest", "growing"};
    const struct histogram_ns *seen = &house->common->histograms[phase];
    char world[64], text[64];
    if (house->check_only)
        return;
    (void)snprintf(world, sizeof world, "%llu entries",
                   (unsigned long long)publisher_capacity(house->publisher));
    (void)snprintf(text, sizeof text, "%s: longest turn", names[phase]);
    measure_figure("growth", world, text, (double)house->longest_turn_ns / 1e6, "ms");
    (void)snprintf(text, sizeof text, "%s: p50 of %llu checks", names[phase],
                   (unsigned long long)seen->count);
    measure_figure("growth", world, text, (double)percentile(seen, 0.5), "ns");
    (void)snprintf(text, sizeof text, "%s: p99.99", names[phase]);
    measure_figure("growth", world, text, (double)percentile(seen, 0.9999), "ns");
    (void)snprintf(text, sizeof text, "%s: hits", names[phase]);
    measure_figure("growth", world, text, 100 * (double)seen->hits / (double)(seen->count + !seen->count),
                   "%");
    (void)fflush(stdout);
}

/* Until the table has grown by one step, and its clients have left the one before. */
static void grow_once(struct house *house)
{
    uint64_t growths = house->counters.growths;
    begin_phase(house, PHASE_GROWING);
    while (house->counters.growths == growths || publisher_retired_segment(house->publisher) != 0)
        turn(house);
    if (house->common->histograms[PHASE_GROWING].hits == 0)
        bench_die("no check was a hit while the table grew");
    say_phase(house, PHASE_GROWING);
    if (house->check_only)
        return;
    measure_figure("growth", "the reader", "attaches again in",
                   (double)house->common->histograms[PHASE_GROWING].attach_ns / 1e6, "ms");
}

/* Nothing is filled, so nothing grows. */
static void rest(struct house *house)
{
    uint64_t until = clock_ns() + REST_NS;
    (void)event_del(house->fill);
    begin_phase(house, PHASE_AT_REST);
    while (clock_ns() < until)
        turn(house);
    say_phase(house, PHASE_AT_REST);
    fill_on(house);
}

static void say_end(const struct house *house)
{
    const struct segment *segment = publisher_segment(house->publisher);
    uint64_t sets = (uint64_t)segment->table.set_count * segment->table.set_stride;
    double entries = (double)publisher_capacity(house->publisher),
           here = (double)publisher_entries(house->publisher);
    measure_figure("growth", "at the end", "shared bytes an entry there is room for, sets apart",
                   (double)(segment->size - sets) / entries, "B");
    measure_figure("growth", "at the end", "shared bytes an entry that is there, sets apart",
                   (double)(segment->size - sets) / here, "B");
    measure_figure("growth", "at the end", "bytes an entry, private indexes included",
                   (double)publisher_memory(house->publisher) / entries, "B");
}

int main(int count, char **arguments)
{
    struct measure measure = {0};
    uint64_t sizes[2];
    int given = 0;
    for (int i = 1; i < count; i++) {
        if (measure_option(&measure, count, arguments, &i))
            continue;
        if (given == 2)
            bench_die("usage: bench_growth FROM_ENTRIES TO_ENTRIES");
        sizes[given++] = measure_number(arguments[i]);
    }
    if (given != 2)
        bench_die("usage: bench_growth FROM_ENTRIES TO_ENTRIES");
    struct common *common =
        mmap(NULL, sizeof *common, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (common == MAP_FAILED)
        bench_die("no memory");
    common->resident = common->filled = 1;
    struct house *house = bench_memory(sizeof *house);
    int socket;
    pid_t reader = start_reader(common, &socket);
    stay_on_core(0);
    house_init(house, common, sizes[0], sizes[1]);
    house->check_only = measure.check_only;
    house->socket = socket;
    house_start(house);
    while (!at_goal(house)) {
        grow_once(house);
        if (!house->check_only)
            rest(house);
    }
    if (!house->check_only)
        say_end(house);
    __atomic_store_n(&common->stop, 1, __ATOMIC_RELAXED);
    (void)waitpid(reader, NULL, 0);
    house_fini(house);
    free(house);
    return 0;
}
