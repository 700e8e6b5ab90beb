/* No mixture: readers hold every answer against the world's formula while the writer inserts, evicts, revokes,
 * rewrites sets, uses sets again, folds and unfolds, and moves entries within their windows at full speed. An entry
 * that is only moved must not even be missed.
 *
 *     stress_mixture [--seconds S] [--threads N] [--processes N] [--seed N]
 *
 * Built a second time with PERMTAB_STORE_HOOK as stress_mixture_slow, in which the writer dawdles after some of its
 * shared stores, so that the moments between two stores last long enough to be met.
 *
 * Threads read through the writer's own mapping, so that the thread sanitizer sees both sides; processes map the
 * descriptor read-only, as clients do. Exits 0 when no answer was wrong, nobody lost, everybody came back and every
 * kind of event has happened. */
#include "tests/stress/world.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { USERS = 24, ENTRIES = 100, READERS_MAX = 64, CALLS = 1024 };

struct tally {
    uint64_t looks, right, miss, busy, wrong_set, wrong_answer, lost, longest_ns;
};

/* Shared with the reader processes, anonymous. */
struct common {
    uint32_t stop;
    struct tally tally[READERS_MAX];
};

struct reader {
    struct world_view view;
    struct common *common;
    struct tally *tally;
    uint64_t random;
};

#ifdef PERMTAB_STORE_HOOK
void permtab_store_hook(void);

/* The hook has no argument, so its state is static; only the writer's thread comes here. */
void permtab_store_hook(void)
{
    static uint64_t random = 88172645463325252u;
    uint64_t pick = world_random(&random);
    if (pick % 16u == 0) {
        for (uint64_t n = 0; n < (pick >> 8) % 128u; n++)
            permtab_shm_pause();
    }
}
#endif

static uint64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void count(struct tally *tally, enum world_answer answer)
{
    tally->looks++;
    switch (answer) {
    case WORLD_RIGHT:
        tally->right++;
        break;
    case WORLD_MISS:
        tally->miss++;
        break;
    case WORLD_BUSY:
        tally->busy++;
        break;
    case WORLD_WRONG_SET:
        tally->wrong_set++;
        break;
    case WORLD_WRONG_ANSWER:
        tally->wrong_answer++;
        break;
    case WORLD_LOST:
        tally->lost++;
        break;
    }
}

static void *read_on(void *context)
{
    struct reader *reader = context;
    struct tally tally = {0};
    while (__atomic_load_n(&reader->common->stop, __ATOMIC_ACQUIRE) == 0) {
        uint64_t begun = now_ns();
        for (uint32_t n = 0; n < CALLS; n++) {
            struct world_key key = world_key_random(USERS, &reader->random);
            uint32_t bit = (uint32_t)(reader->random % 12u);
            bool straight = ((reader->random >> 32) & 1u) != 0;
            count(&tally, n % 4u == 0 ? world_check_any(&reader->view, key, bit, straight)
                                      : world_look_any(&reader->view, key));
        }
        uint64_t taken = (now_ns() - begun) / CALLS;
        if (taken > tally.longest_ns)
            tally.longest_ns = taken;
    }
    *reader->tally = tally;
    return NULL;
}

/* A client's process: its own read-only mapping. */
static int read_in_process(struct reader *reader, int descriptor, size_t size)
{
    struct permtab_shm_table table;
    void *mapping = mmap(NULL, size, PROT_READ, MAP_SHARED, descriptor, 0);
    if (mapping == MAP_FAILED || segment_table_init(&table, mapping, size) < 0)
        return 2;
    reader->view.table = &table;
    (void)read_on(reader);
    return 0;
}

struct settings {
    double seconds;
    uint32_t threads, processes;
    uint64_t seed;
};

static int settings_read(struct settings *out, int argc, char **argv)
{
    *out = (struct settings){.seconds = 3, .threads = 2, .processes = 2, .seed = 1};
    for (int at = 1; at < argc; at += 2) {
        if (at + 1 == argc)
            return -1;
        if (strcmp(argv[at], "--seconds") == 0)
            out->seconds = strtod(argv[at + 1], NULL);
        else if (strcmp(argv[at], "--threads") == 0)
            out->threads = (uint32_t)strtoul(argv[at + 1], NULL, 10);
        else if (strcmp(argv[at], "--processes") == 0)
            out->processes = (uint32_t)strtoul(argv[at + 1], NULL, 10);
        else if (strcmp(argv[at], "--seed") == 0)
            out->seed = strtoull(argv[at + 1], NULL, 10);
        else
            return -1;
    }
    return out->threads + out->processes <= READERS_MAX && out->seconds > 0 ? 0 : -1;
}

static void write_on(struct world *world, double seconds)
{
    uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
    while (now_ns() < end) {
        for (uint32_t n = 0; n < 64; n++)
            world_step_writer(world, 4u + (uint32_t)(world->random % 64u));
    }
}

/* Readers that have not come back ten seconds after the end are in a loop without one. */
static int reap(const pid_t *children, uint32_t count)
{
    int broken = 0;
    for (uint32_t n = 0; n < count; n++) {
        int status = 0;
        pid_t got = 0;
        for (uint32_t tries = 0; tries < 1000 && got == 0; tries++) {
            got = waitpid(children[n], &status, WNOHANG);
            if (got == 0)
                (void)usleep(10000);
        }
        if (got != children[n] || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            (void)kill(children[n], SIGKILL);
            (void)fprintf(stderr, "reader process %u did not come back\n", n);
            broken++;
        }
    }
    return broken;
}

static int report(const struct world *world, const struct common *common, uint32_t readers, double seconds)
{
    struct tally sum = {0};
    for (uint32_t n = 0; n < readers; n++) {
        const struct tally *one = &common->tally[n];
        sum.looks += one->looks;
        sum.right += one->right;
        sum.miss += one->miss;
        sum.busy += one->busy;
        sum.wrong_set += one->wrong_set;
        sum.wrong_answer += one->wrong_answer;
        sum.lost += one->lost;
        sum.longest_ns = one->longest_ns > sum.longest_ns ? one->longest_ns : sum.longest_ns;
    }
    (void)printf(
        "writer: %.0f revisions a second; inserted %llu, evicted %llu, revoked %llu, replaced %llu, sets "
        "rewritten %llu, moved %llu, folded %llu, unfolded %llu, entries moved %llu\n",
        (double)world->revision / seconds, (unsigned long long)world->inserted,
        (unsigned long long)world->evicted, (unsigned long long)world->revoked,
        (unsigned long long)world->replaced, (unsigned long long)world->rewritten,
        (unsigned long long)world->moved, (unsigned long long)world->folded,
        (unsigned long long)world->unfolded, (unsigned long long)world->displaced);
    (void)printf("readers: %llu looks, %llu right, %llu misses, %llu busy, wrong sets %llu, wrong answers "
                 "%llu, lost %llu; "
                 "slowest block %llu ns a look\n",
                 (unsigned long long)sum.looks, (unsigned long long)sum.right, (unsigned long long)sum.miss,
                 (unsigned long long)sum.busy, (unsigned long long)sum.wrong_set,
                 (unsigned long long)sum.wrong_answer, (unsigned long long)sum.lost,
                 (unsigned long long)sum.longest_ns);
    if (sum.wrong_set != 0 || sum.wrong_answer != 0 || sum.lost != 0)
        return 1;
    if (sum.right == 0 || world->evicted == 0 || world->revoked == 0 || world->replaced == 0 ||
        world->rewritten == 0 || world->moved == 0 || world->folded == 0 || world->unfolded == 0 ||
        world->displaced == 0) {
        (void)fprintf(stderr, "something that this test is for has not happened\n");
        return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct settings settings;
    struct world world;
    struct reader readers[READERS_MAX];
    pthread_t threads[READERS_MAX];
    pid_t children[READERS_MAX];
    if (settings_read(&settings, argc, argv) < 0) {
        (void)fprintf(stderr,
                      "usage: stress_mixture [--seconds S] [--threads N] [--processes N] [--seed N]\n");
        return 64;
    }
    struct common *common =
        mmap(NULL, sizeof(*common), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (common == MAP_FAILED || world_init(&world, USERS, ENTRIES, settings.seed) < 0) {
        perror("stress_mixture");
        return 2;
    }
    uint32_t count_all = settings.threads + settings.processes;
    for (uint32_t n = 0; n < count_all; n++)
        readers[n] = (struct reader){{&world.segment.table, world.residence},
                                     common,
                                     &common->tally[n],
                                     settings.seed + 77u * (n + 1u)};
    for (uint32_t n = 0; n < settings.processes; n++) {
        children[n] = fork();
        if (children[n] == 0)
            _exit(read_in_process(&readers[settings.threads + n], world.segment.descriptor,
                                  world.segment.size));
        if (children[n] < 0)
            return 2;
    }
    for (uint32_t n = 0; n < settings.threads; n++) {
        if (pthread_create(&threads[n], NULL, read_on, &readers[n]) != 0)
            return 2;
    }
    write_on(&world, settings.seconds);
    __atomic_store_n(&common->stop, 1, __ATOMIC_RELEASE);
    (void)alarm(30); /* a thread that never comes back ends the test by a signal */
    int broken = reap(children, settings.processes);
    for (uint32_t n = 0; n < settings.threads; n++)
        (void)pthread_join(threads[n], NULL);
    int wrong = report(&world, common, count_all, settings.seconds);
    world_fini(&world);
    (void)munmap(common, sizeof(*common));
    return wrong != 0 || broken != 0;
}
