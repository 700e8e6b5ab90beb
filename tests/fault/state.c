/* The counting shim: preloaded into a program by the tests, it makes one chosen call fail, or all from then on. The
 * program knows nothing of it.
 *
 * Counted is what is called by the program and by the libraries it uses, as far as calls go through the dynamic linker;
 * what the C library does inside itself is not seen, except for its allocations. Left alone are the dynamic linker,
 * which ends a process that has no memory, the sanitizers, and this library.
 *
 * Places are told apart by their whole stack, so that one run finds nearly the same ones as the next, whatever threads
 * and timers did meanwhile; numbers of calls are not that stable. */
#include "tests/fault/state.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define OWN_MAX  16u
#define PROBES   64u
#define TLS_FAST __attribute__((tls_model("initial-exec")))

static struct fault_state *state;
static uint32_t generation;           /* 0: the process that was started; 1: its children */
static __thread bool inside TLS_FAST; /* a call of the shim itself */
static struct {
    uintptr_t begin, end;
} left_alone[OWN_MAX];
static size_t left_alone_count;

/* ---- what is mapped where --------------------------------------------------------------------------------------- */

static bool to_be_left_alone(const char *path, uintptr_t begin, uintptr_t end)
{
    static const char *const names[] = {"ld-linux", "libasan", "libubsan", "liblsan", "libgcc_s"};
    uintptr_t self = (uintptr_t)&to_be_left_alone;
    if (self >= begin && self < end)
        return true;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strstr(path, names[i]))
            return true;
    return false;
}

static int note_module(struct dl_phdr_info *info, size_t size, void *context)
{
    uintptr_t begin = UINTPTR_MAX, end = 0;
    (void)size, (void)context;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type != PT_LOAD)
            continue;
        uintptr_t from = info->dlpi_addr + part->p_vaddr, to = from + part->p_memsz;
        begin = from < begin ? from : begin;
        end = to > end ? to : end;
    }
    if (state->module_count == FAULT_MODULES_MAX || begin >= end)
        return 0;
    struct fault_module *module = &state->modules[state->module_count++];
    *module = (struct fault_module){.begin = begin, .end = end};
    (void)snprintf(module->path, sizeof module->path, "%s", info->dlpi_name);
    /* The address sanitizer asks the C library about threads, and ends the process when that has no memory. */
    bool asked = strstr(module->path, "/libc.so") && dlsym(RTLD_DEFAULT, "__asan_init");
    if ((asked || to_be_left_alone(module->path, begin, end)) && left_alone_count < OWN_MAX) {
        left_alone[left_alone_count].begin = begin;
        left_alone[left_alone_count++].end = end;
    }
    return 0;
}

/* The address as (module << 40 | offset): the same wherever the kernel has put things. */
static uint64_t place_of(const void *address)
{
    uintptr_t at = (uintptr_t)address;
    for (uint64_t i = 0; i < state->module_count; i++)
        if (at >= state->modules[i].begin && at < state->modules[i].end)
            return i << 40 | (at - state->modules[i].begin);
    return UINT64_C(0xff) << 40;
}

static bool is_left_alone(const void *caller)
{
    for (size_t i = 0; i < left_alone_count; i++)
        if ((uintptr_t)caller >= left_alone[i].begin && (uintptr_t)caller < left_alone[i].end)
            return true;
    return false;
}

/* ---- places ------------------------------------------------------------------------------------------------------ */

/* The stack from the call on; frames of the shim, and those above `caller`, are not of it. */
static void look_around(struct fault_place *place, enum fault_kind kind, const char *function,
                        const void *caller)
{
    void *frames[FAULT_FRAMES_MAX + 8];
    int count = backtrace(frames, FAULT_FRAMES_MAX + 8), first = 0;
    while (first < count && frames[first] != caller)
        first++;
    if (first == count) { /* the unwinder lost its way */
        frames[0] = (void *)(uintptr_t)caller;
        first = 0;
        count = 1;
    }
    memset(place, 0, sizeof *place);
    place->kind = kind;
    (void)strncpy(place->function, function, sizeof place->function - 1);
    uint64_t hash = UINT64_C(14695981039346656037);
    for (const char *byte = function; *byte; byte++)
        hash = (hash ^ (unsigned char)*byte) * UINT64_C(1099511628211);
    for (int i = first; i < count && place->frames < FAULT_FRAMES_MAX; i++) {
        uint64_t frame = place_of(frames[i]);
        place->frame[place->frames++] = frame;
        hash = (hash ^ frame) * UINT64_C(1099511628211);
        hash ^= hash >> 29;
    }
    place->place = hash ? hash : 1;
}

/* Returns how many calls came from there, this one included; 0 when the table is full. */
static uint64_t count_place(const struct fault_place *seen)
{
    for (uint32_t i = 0; i < PROBES; i++) {
        struct fault_place *place = &state->places[(seen->place + i) & (FAULT_PLACES_MAX - 1)];
        uint64_t there = __atomic_load_n(&place->place, __ATOMIC_ACQUIRE);
        if (there == 0 && __atomic_compare_exchange_n(&place->place, &there, seen->place, false,
                                                      __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
            place->kind = seen->kind;
            memcpy(place->function, seen->function, sizeof place->function);
            memcpy(place->frame, seen->frame, sizeof place->frame);
            place->frames = seen->frames;
            there = seen->place;
        }
        if (there == seen->place)
            return __atomic_add_fetch(&place->calls, 1, __ATOMIC_RELAXED);
    }
    (void)__atomic_add_fetch(&state->lost, 1, __ATOMIC_RELAXED);
    return 0;
}

/* ---- whose turn it is -------------------------------------------------------------------------------------------- */

static bool goes_on_failing(const struct fault_place *here)
{
    switch ((enum fault_reach)state->order.reach) {
    case FAULT_ONCE:
        return false;
    case FAULT_PLACE:
        return state->first.place == here->place;
    case FAULT_FUNCTION:
        return strcmp(state->first.function, here->function) == 0;
    case FAULT_KIND:
        return state->first.kind == here->kind;
    }
    return false;
}

/* Could it be the chosen call, as far as can be seen without unwinding the stack? */
static bool may_be_chosen(const void *caller, uint64_t number)
{
    const struct fault_order *order = &state->order;
    if (order->number == 0)
        return true;
    return order->place ? order->caller == place_of(caller) : order->number == number;
}

static bool decide(enum fault_kind kind, const char *function, const void *caller)
{
    const struct fault_order *order = &state->order;
    struct fault_place here = {.kind = kind};
    if (!(order->kinds & kind) || is_left_alone(caller))
        return false;
    if (order->process != FAULT_ANY_PROCESS && order->process != generation)
        return false;
    uint64_t number = __atomic_add_fetch(&state->calls, 1, __ATOMIC_RELAXED);
    (void)strncpy(here.function, function, sizeof here.function - 1);
    if (may_be_chosen(caller, number)) {
        look_around(&here, kind, function, caller);
        uint64_t of_place = count_place(&here);
        if (order->number && (order->place == 0 || order->place == here.place) &&
            order->number == (order->place ? of_place : number)) {
            state->first = here;
            (void)__atomic_add_fetch(&state->failed, 1, __ATOMIC_ACQ_REL);
            return true;
        }
    }
    if (__atomic_load_n(&state->failed, __ATOMIC_ACQUIRE) == 0 || !goes_on_failing(&here))
        return false;
    (void)__atomic_add_fetch(&state->failed, 1, __ATOMIC_ACQ_REL);
    return true;
}

/* What is over at once cannot be for good: who is told so tries again, and rightly for ever. */
static bool is_passing(int error)
{
    return error == FAULT_HALF || error == EINTR || error == EAGAIN;
}

int fault_due(enum fault_kind kind, const char *function, const void *caller, const int *errors)
{
    if (!state || inside)
        return 0;
    int kept = errno, count = 0;
    inside = true;
    bool due = decide(kind, function, caller);
    inside = false;
    errno = kept;
    if (!due)
        return 0;
    while (errors[count])
        count++;
    int error = errors[state->order.variant % (uint32_t)count];
    if (state->order.reach != FAULT_ONCE && is_passing(error))
        error = errors[0];
    if (is_passing(error) && __atomic_load_n(&state->failed, __ATOMIC_ACQUIRE) > 1)
        return 0;
    if (error > 0)
        errno = error;
    return error;
}

void *fault_next(const char *function)
{
    bool outer = !inside;
    inside = true;
    void *found = dlsym(RTLD_NEXT, function);
    if (outer)
        inside = false;
    if (!found)
        abort();
    return found;
}

void fault_forked(void)
{
    generation++;
}

/* ---- beginning --------------------------------------------------------------------------------------------------- */

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("PERMTAB_FAULT_STATE");
    void *frames[4];
    if (!path)
        return;
    inside = true;
    (void)backtrace(frames, 4); /* loads what it needs */
    int descriptor = open(path, O_RDWR | O_CLOEXEC);
    void *map = descriptor < 0 ? MAP_FAILED
                               : mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (map == MAP_FAILED)
        abort();
    (void)close(descriptor);
    state = map;
    state->module_count = 0;
    (void)dl_iterate_phdr(note_module, NULL);
    inside = false;
}
