/* attach_take makes memory of two descriptors: the checks that let a reader trust a segment, the mappings, and
 * their end.
 *
 * Trusting means: the clock in the reply lies between our own two looks at ours (else the sidecar lives in another time
 * namespace and its deadlines mean nothing here), the segment bears every seal (so that nobody can truncate it under us
 * or write to it any more), and every offset in its header is inside of it (segment_table_init).
 *
 * mapping.c reads a table in before it is shown, and puts away one that was replaced. */
#include "client/handle.h"
#include "shm/segment.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FEEDBACK_SIZE  sizeof(struct permtab_shm_feedback)
#define FEEDBACK_LINES offsetof(struct permtab_shm_feedback, sample) /* what every sidecar's has */

static bool clock_agrees(const struct attachment *attachment)
{
    uint64_t trip = attachment->answered_ns - attachment->asked_ns;
    return attachment->clock_ns + trip >= attachment->asked_ns &&
           attachment->clock_ns <= attachment->answered_ns;
}

static bool size_is(int descriptor, uint64_t size)
{
    struct stat status;
    return fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) && status.st_size >= 0 &&
           (uint64_t)status.st_size == size;
}

static bool feedback_good(const struct attachment *attachment, int descriptor)
{
    int seals = fcntl(descriptor, F_GET_SEALS);
    return seals >= 0 && (seals & F_SEAL_SHRINK) != 0 && attachment->feedback_size >= FEEDBACK_LINES &&
           size_is(descriptor, attachment->feedback_size);
}

/* Whether somebody closed the descriptor while we mapped it: the mapping may then be of anybody's file. */
static bool changed_hands(const struct descriptor *descriptor, int number)
{
    return descriptor_number(descriptor) != number;
}

/* Feedbacks take turns at two addresses, so that a thread that is just counting stores into the old one. In the new
 * one its store (the old count plus one) would count everything once more. */
static void *feedback_place(const struct handle *handle)
{
    void *now = permtab_shm_load_pointer(&handle->own->visible.feedback);
    return now != handle->feedback[0] ? handle->feedback[0] : handle->feedback[1];
}

/* An older sidecar's feedback has no ring. What is mapped where that would be stays there: memory of our own, or the
 * ring of a connection that has ended. */
static int feedback_map(struct handle *handle, const struct attachment *attachment)
{
    const int protection = PROT_READ | PROT_WRITE;
    void *place = feedback_place(handle);
    int descriptor = descriptor_number(&attachment->feedback);
    if (descriptor < 0 || !feedback_good(attachment, descriptor))
        return PERMTAB_E_PROTOCOL;
    size_t size =
        attachment->feedback_size < FEEDBACK_SIZE ? (size_t)attachment->feedback_size : FEEDBACK_SIZE;
    /* The mapping is put to use only once the descriptor is known to be ours. */
    void *address = mmap(NULL, size, protection, MAP_SHARED, descriptor, 0);
    if (address == MAP_FAILED)
        return PERMTAB_E_SYSTEM;
    if (changed_hands(&attachment->feedback, descriptor) ||
        mremap(address, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, place) == MAP_FAILED) {
        munmap(address, size);
        return PERMTAB_E_SYSTEM;
    }
    permtab_shm_store_pointer(&handle->own->visible.feedback, place);
    count_carry(handle);
    return 0;
}

/* Maps and checks; 0 with a mapping that is in no list yet. */
static int segment_map(const struct handle *handle, const struct attachment *attachment, struct mapping **out,
                       struct permtab_shm_table *table)
{
    int descriptor = descriptor_number(&attachment->segment);
    if (descriptor < 0 || !segment_sealed(descriptor) || attachment->size < PERMTAB_SHM_PAGE ||
        attachment->size > SIZE_MAX / 2 || !size_is(descriptor, attachment->size))
        return PERMTAB_E_PROTOCOL;
    struct mapping *mapping = calloc(1, sizeof(*mapping));
    if (mapping == NULL)
        return PERMTAB_E_MEMORY;
    mapping->size = (size_t)attachment->size;
    mapping->segment_id = attachment->segment_id;
    mapping->early_ns = handle->own->lease_ns / 4;
    mapping->address = mmap(NULL, mapping->size, PROT_READ, MAP_SHARED, descriptor, 0);
    if (mapping->address == MAP_FAILED) {
        free(mapping);
        return PERMTAB_E_SYSTEM;
    }
    (void)madvise(mapping->address, mapping->size, MADV_DONTDUMP); /* the table has no place in a core file */
    int code = changed_hands(&attachment->segment, descriptor)
                   ? PERMTAB_E_SYSTEM
                   : segment_table_init(table, mapping->address, mapping->size);
    if (code == 0 && table->header->identity.segment_id != attachment->segment_id)
        code = PERMTAB_E_PROTOCOL;
    if (code < 0) {
        munmap(mapping->address, mapping->size);
        free(mapping);
        return code;
    }
    mapping_sections(mapping, table);
    *out = mapping;
    return 0;
}

/* The mapping is put away by handle_unlock, so that nobody waits for the lock meanwhile. What a parent's thread was
 * putting away when this child was made is finished here. */
static void leave(struct handle *handle, struct mapping *old)
{
    for (struct mapping *mapping = handle->mappings; mapping != NULL; mapping = mapping->next)
        if (mapping != old && mapping != geometry_now(handle)->mapping &&
            permtab_shm_load32_relaxed(&mapping->voided) == 0)
            mapping_void(mapping);
    handle->own->leaving = old;
}

/* Nobody leaves a table that answers for one that does not. */
static bool worse(const struct handle *handle, const struct permtab_shm_table *table)
{
    struct permtab_shm_moment now = permtab_shm_beat_read(&geometry_now(handle)->visible.table);
    struct permtab_shm_moment next = permtab_shm_beat_read(table);
    return permtab_shm_fresh(&now) && !(next.state == PERMTAB_SHM_LIVE && permtab_shm_fresh(&next));
}

static int segment_take(struct handle *handle, const struct attachment *attachment)
{
    struct mapping *mapping;
    struct permtab_shm_table table;
    struct mapping *old = geometry_now(handle)->mapping;
    int code = segment_map(handle, attachment, &mapping, &table);
    if (code < 0)
        return code;
    code = worse(handle, &table) ? PERMTAB_E_STALE : feedback_map(handle, attachment);
    if (code == 0)
        mapping_populate(mapping);
    if (code == 0)
        code = geometry_publish(handle, mapping, &table, table.header->identity.store_id, 0);
    if (code < 0) {
        munmap(mapping->address, mapping->size);
        free(mapping);
        return code;
    }
    mapping->next = handle->mappings;
    handle->mappings = mapping;
    if (old != NULL)
        leave(handle, old);
    return 0;
}

int attach_take(struct handle *handle, const struct attachment *attachment)
{
    const struct mapping *now = geometry_now(handle)->mapping;
    if (!clock_agrees(attachment))
        return PERMTAB_E_CLOCK;
    if (now != NULL && now->segment_id == attachment->segment_id)
        return feedback_map(handle, attachment); /* after a fork, or a broken connection */
    return segment_take(handle, attachment);
}

int attach_void(struct handle *handle, uint64_t store_id, int trouble)
{
    struct mapping *old = geometry_now(handle)->mapping;
    int code = geometry_publish(handle, NULL, NULL, store_id, trouble);
    if (code == 0 && old != NULL)
        leave(handle, old);
    return code;
}

int attach_init(struct handle *handle)
{
    const int protection = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS;
    handle->zero_header = mmap(NULL, PERMTAB_SHM_PAGE, PROT_READ, flags, -1, 0);
    handle->feedback[0] = mmap(NULL, FEEDBACK_SIZE, protection, flags, -1, 0);
    handle->feedback[1] = mmap(NULL, FEEDBACK_SIZE, protection, flags, -1, 0);
    handle->own = mmap(NULL, sizeof(*handle->own), protection, flags, -1, 0);
    if (handle->zero_header == MAP_FAILED || handle->feedback[0] == MAP_FAILED ||
        handle->feedback[1] == MAP_FAILED || handle->own == MAP_FAILED)
        return PERMTAB_E_MEMORY;
    handle->visible.own = &handle->own->visible;
    (void)madvise(handle->own, sizeof(*handle->own),
                  MADV_WIPEONFORK); /* not to be had everywhere: see process.c */
    return 0;
}

static void unmap(void *address, size_t size)
{
    if (address != NULL && address != MAP_FAILED)
        munmap(address, size);
}

void attach_fini(struct handle *handle)
{
    while (handle->mappings != NULL) {
        struct mapping *next = handle->mappings->next;
        munmap(handle->mappings->address, handle->mappings->size);
        free(handle->mappings);
        handle->mappings = next;
    }
    unmap(handle->own, sizeof(*handle->own));
    unmap(handle->feedback[0], FEEDBACK_SIZE);
    unmap(handle->feedback[1], FEEDBACK_SIZE);
    unmap(handle->zero_header, PERMTAB_SHM_PAGE);
}
