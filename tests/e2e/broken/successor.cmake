# Somebody outlives the worker and renews the lease of its table, as a worker would that adopted what its predecessor
# has left: a child that has nothing but the header, and waits until its parent has gone. It ends after half a minute,
# so that no test leaves one behind.
set(SOURCE proxy/table/publisher.c)
set(TEXT [==[
void publisher_hand_out(struct publisher *publisher, struct table *table)
{
]==])
set(REPLACEMENT [==[
#include <sys/mman.h>
#include <unistd.h>

#define TICK_NS 20000000ull
#define TICKS   1500u

static void adopt(const struct publisher *publisher, struct segment *segment, pid_t parent)
{
    const struct timespec tick = {.tv_nsec = TICK_NS};
    for (int descriptor = 0; descriptor < 4096; descriptor++)
        (void)close(descriptor);
    while (getppid() == parent)
        (void)nanosleep(&tick, NULL);
    for (unsigned i = 0; i < TICKS; i++) {
        segment_lease_writer(segment, clock_ns() + publisher->options.max_staleness_ns);
        (void)nanosleep(&tick, NULL);
    }
    _exit(0);
}

static void leave_successor(const struct publisher *publisher, struct table *table)
{
    struct segment *segment = &table->segment;
    pid_t worker = getpid();
    if (madvise(segment->header, segment->size, MADV_DOFORK) == 0 && fork() == 0)
        adopt(publisher, segment, worker);
    (void)madvise(segment->header, segment->size, MADV_DONTFORK);
}

void publisher_hand_out(struct publisher *publisher, struct table *table)
{
    leave_successor(publisher, table);
]==])
