/* The segment: how big its sections are, how it comes into being, and the stores to its header.
 *
 * Geometry is fixed for a segment's life. A large table's entry map is nine tenths full when the table is: 23.7 bytes
 * an entry, and 30.8 after a step of growth (table_next_entries). By then one entry in a thousand finds a full window
 * in which nothing can be moved on, and evicts another; a reader does not notice the load (docs/PERFORMANCE.md). A
 * small table has a load of 0.70 when it is full, at which as many entries fit as were asked for. So has the fold map,
 * in which nothing is moved.
 *
 * Left to others: the memory (segment_memory.c), the checks of a reader (segment_table.c, which segment_new
 * runs too, on its own work), when to publish, renew and retire (the publisher). */
#include "shm/segment.h"

#include "shm/order.h"
#include "shm/segment_memory.h"
#include "shm/segment_options.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

/* 3 slots a bucket: 27 in 10 buckets are a load of 0.90, 21 one of 0.70. */
#define DENSE_IN_10 27u
#define LOOSE_IN_10 21u

static uint64_t buckets_for(uint64_t count, uint64_t in_10)
{
    uint64_t buckets = count / in_10 * 10u + (count % in_10 * 10u + in_10 - 1u) / in_10;
    return buckets > 0 ? buckets : 1u;
}

static uint64_t align(uint64_t offset, uint64_t to)
{
    return (offset + to - 1u) / to * to;
}

static uint64_t buckets_bytes(uint64_t buckets)
{
    return (buckets + PERMTAB_SHM_WINDOW - 1u) * sizeof(struct permtab_shm_bucket);
}

/* Sets the offsets, and returns the size. Counts are within the layout's limits, so nothing overflows 64 bits. */
static uint64_t place_sections(struct permtab_shm_geometry *geometry, uint32_t permissions_max)
{
    geometry->names_offset = PERMTAB_SHM_PAGE;
    geometry->sets_offset =
        align(geometry->names_offset + (uint64_t)permissions_max * PERMTAB_SHM_NAME_SIZE, 64u);
    geometry->targets_offset =
        align(geometry->sets_offset + (uint64_t)geometry->set_count * geometry->set_stride, 64u);
    geometry->folds_offset = align(
        geometry->targets_offset + (uint64_t)geometry->target_count * sizeof(struct permtab_shm_target), 64u);
    uint64_t end = geometry->folds_offset + buckets_bytes(geometry->fold_buckets);
    geometry->map_offset = align(end, PERMTAB_SHM_PAGE);
    uint64_t size = align(geometry->map_offset + buckets_bytes(geometry->map_buckets), PERMTAB_SHM_PAGE);
    /* The mapping begins at a huge page, so all of it but the tail can be mapped by huge pages. The tail too
     * where rounding up costs a thirty-second at most. */
    return size >= 32u * SEGMENT_HUGE_PAGE ? align(size, SEGMENT_HUGE_PAGE) : size;
}

static int plan(const struct segment_options *options, struct permtab_shm_geometry *geometry, uint64_t *size)
{
    if (options->permissions_max < 64u || options->permissions_max % 64u != 0 || options->entries == 0 ||
        options->sets == 0)
        return PERMTAB_E_INVALID;
    bool small = options->entries <= SEGMENT_SMALL_ENTRIES;
    uint64_t map_buckets = buckets_for(options->entries, small ? LOOSE_IN_10 : DENSE_IN_10);
    uint64_t fold_buckets = buckets_for(options->folds, LOOSE_IN_10);
    if (options->permissions_max > PERMTAB_SHM_PERMISSIONS_MAX || map_buckets > PERMTAB_SHM_BUCKETS_MAX ||
        fold_buckets > PERMTAB_SHM_BUCKETS_MAX || options->sets > PERMTAB_SHM_INDEX_MASK ||
        options->targets > PERMTAB_SHM_INDEX_MASK)
        return PERMTAB_E_LIMIT;
    *geometry = (struct permtab_shm_geometry){
        .set_count = options->sets + 1u,
        .set_stride = permtab_shm_set_stride(options->permissions_max),
        .target_count = options->targets + 1u,
        .fold_buckets = (uint32_t)fold_buckets,
        .map_buckets = (uint32_t)map_buckets,
    };
    *size = place_sections(geometry, options->permissions_max);
    if (*size > SIZE_MAX / 2u || (options->memory_max != 0 && *size > options->memory_max))
        return PERMTAB_E_LIMIT;
    return 0;
}

uint64_t segment_size(const struct segment_options *options)
{
    struct segment_options unlimited = *options;
    struct permtab_shm_geometry geometry;
    uint64_t size;
    unlimited.memory_max = 0;
    return plan(&unlimited, &geometry, &size) < 0 ? 0 : size;
}

static int random_fill(void *out, size_t size)
{
    ssize_t got;
    do {
        got = getrandom(out, size, 0);
    } while (got < 0 && errno == EINTR);
    return got == (ssize_t)size ? 0 : PERMTAB_E_SYSTEM;
}

/* The memory is private until segment_new returns. The helpers of order.h are used all the same, so that a killed
 * writer leaves a header that is either refused (no magic) or whole. */
static void write_geometry(struct permtab_shm_header *header, const struct permtab_shm_geometry *geometry)
{
    permtab_shm_store64(&header->geometry.names_offset, geometry->names_offset);
    permtab_shm_store64(&header->geometry.sets_offset, geometry->sets_offset);
    permtab_shm_store64(&header->geometry.targets_offset, geometry->targets_offset);
    permtab_shm_store64(&header->geometry.folds_offset, geometry->folds_offset);
    permtab_shm_store64(&header->geometry.map_offset, geometry->map_offset);
    permtab_shm_store32(&header->geometry.set_count, geometry->set_count);
    permtab_shm_store32(&header->geometry.set_stride, geometry->set_stride);
    permtab_shm_store32(&header->geometry.target_count, geometry->target_count);
    permtab_shm_store32(&header->geometry.fold_buckets, geometry->fold_buckets);
    permtab_shm_store32(&header->geometry.map_buckets, geometry->map_buckets);
}

static int write_identity(struct permtab_shm_header *header, const struct segment_options *options,
                          uint64_t size)
{
    uint64_t random[2];
    do {
        if (random_fill(random, sizeof(random)) < 0)
            return PERMTAB_E_SYSTEM;
    } while (random[0] == 0);
    permtab_shm_store32(&header->identity.layout, PERMTAB_SHM_LAYOUT);
    permtab_shm_store32(&header->identity.permissions_max, options->permissions_max);
    permtab_shm_store64(&header->identity.segment_id, random[0]);
    permtab_shm_store64(&header->identity.store_id, options->store_id);
    permtab_shm_store64(&header->identity.size, size);
    permtab_shm_store64(&header->identity.hash_seed, random[1]);
    permtab_shm_store64(&header->identity.magic, PERMTAB_SHM_MAGIC);
    return 0;
}

static void fill_in(struct segment *segment, const struct segment_memory *memory,
                    const struct permtab_shm_geometry *geometry)
{
    char *base = memory->mapping;
    segment->descriptor = memory->descriptor;
    segment->size = memory->size;
    segment->header = (void *)base;
    segment->map = (void *)(base + geometry->map_offset);
    segment->folds = (void *)(base + geometry->folds_offset);
    segment->targets = (void *)(base + geometry->targets_offset);
    segment->names = (void *)(base + geometry->names_offset);
    segment->sets = base + geometry->sets_offset;
    /* Every set is closed until somebody has written it. */
    for (uint32_t index = 0; index < geometry->set_count; index++) {
        void *set = segment->sets + (size_t)index * geometry->set_stride;
        permtab_shm_store64_relaxed(&((struct permtab_shm_set *)set)->sequence, 1u);
    }
}

int segment_new(struct segment *out, const struct segment_options *options)
{
    struct permtab_shm_geometry geometry;
    struct segment_memory memory;
    struct segment segment = {.descriptor = -1};
    uint64_t size;
    int code = plan(options, &geometry, &size);
    if (code < 0)
        return code;
    code = segment_memory_new(&memory, (size_t)size);
    if (code < 0)
        return code;
    fill_in(&segment, &memory, &geometry);
    write_geometry(segment.header, &geometry);
    code = write_identity(segment.header, options, size);
    if (code == 0)
        code = segment_memory_seal(&memory);
    if (code == 0)
        code = segment_table_init(&segment.table, memory.mapping, memory.size);
    if (code < 0) {
        int saved = errno;
        segment_memory_free(&memory);
        errno = saved;
        return code;
    }
    segment.huge_pages = segment_memory_is_huge(&memory);
    *out = segment;
    return 0;
}

void segment_free(struct segment *segment)
{
    if (segment == NULL)
        return;
    struct segment_memory memory = {
        .descriptor = segment->descriptor, .mapping = segment->header, .size = segment->size};
    segment_memory_free(&memory);
    *segment = (struct segment){.descriptor = -1};
}

/* The text is stored in words of eight bytes, zero-padded, each through a helper of order.h. `to` is aligned to 8
 * and has room for `size` bytes, a multiple of 8. */
static void store_text(char *to, size_t size, const char *text)
{
    uint64_t *words = (uint64_t *)(void *)to;
    size_t length = strlen(text);
    for (size_t at = 0; at < size; at += 8) {
        uint64_t word = 0;
        if (at < length)
            memcpy(&word, text + at, length - at < 8 ? length - at : 8);
        permtab_shm_store64_relaxed(&words[at / 8], word);
    }
}

void segment_name_set_writer(struct segment *segment, uint32_t bit, const char *text)
{
    struct permtab_shm_name *name;
    size_t length = strlen(text);
    assert(bit < segment->table.permissions_max && length > 0 && length < sizeof(name->text));
    name = &segment->names[bit];
    if (permtab_shm_load32_relaxed(&name->length) != 0) {
        assert(strcmp(name->text, text) == 0);
        return;
    }
    store_text(name->text, sizeof(name->text), text);
    permtab_shm_store32(&name->length, (uint32_t)length);
}

void segment_type_set_writer(struct segment *segment, uint32_t type, const char *text)
{
    size_t length = strlen(text);
    uint32_t count = permtab_shm_load32_relaxed(&segment->header->geometry.type_count);
    assert(type < PERMTAB_SHM_SCOPE_TYPES && length > 0 && length < PERMTAB_SHM_TYPE_NAME_SIZE);
    if (type < count) {
        assert(strcmp(segment->header->type_names[type], text) == 0);
        return;
    }
    assert(type == count);
    store_text(segment->header->type_names[type], PERMTAB_SHM_TYPE_NAME_SIZE, text);
    permtab_shm_store32(&segment->header->geometry.type_count, count + 1u);
}

/* BEAT-3. */
void segment_catalogue_set_writer(struct segment *segment, uint64_t catalogue)
{
    permtab_shm_store64(&segment->header->beat.catalogue, catalogue);
}

/* BEAT-4. */
void segment_fold_count_writer(struct segment *segment, uint32_t count)
{
    permtab_shm_store32(&segment->header->beat.fold_count, count);
}

void segment_target_set_writer(struct segment *segment, uint32_t index, uint32_t type, uint64_t id)
{
    assert(index != 0 && index < segment->table.target_count && type < PERMTAB_SHM_SCOPE_TYPES);
    permtab_shm_store64(&segment->targets[index].id, id);
    permtab_shm_store64(&segment->targets[index].type, type);
}

void segment_publish_writer(struct segment *segment)
{
    assert(permtab_shm_load32_relaxed(&segment->header->beat.state) == PERMTAB_SHM_VOID);
    permtab_shm_store32(&segment->header->beat.state, PERMTAB_SHM_LIVE);
}

/* BEAT-1. */
void segment_lease_writer(struct segment *segment, uint64_t deadline_ns)
{
    uint64_t *deadline = &segment->header->beat.lease_deadline;
    if (!segment->disbelieved && deadline_ns > permtab_shm_load64_relaxed(deadline))
        permtab_shm_store64(deadline, deadline_ns);
}

/* BEAT-2. */
void segment_applied_writer(struct segment *segment, uint64_t revision)
{
    uint64_t *applied = &segment->header->beat.applied_revision;
    if (revision > permtab_shm_load64_relaxed(applied))
        permtab_shm_store64(applied, revision);
}

void segment_expiry_writer(struct segment *segment, int64_t applied_us)
{
    uint64_t *expiry = (uint64_t *)&segment->header->beat.expiry_applied;
    if (applied_us > (int64_t)permtab_shm_load64_relaxed(expiry))
        permtab_shm_store64(expiry, (uint64_t)applied_us);
}

void segment_retire_writer(struct segment *segment)
{
    permtab_shm_store32(&segment->header->beat.state, PERMTAB_SHM_RETIRED);
}

void segment_disbelieve_writer(struct segment *segment)
{
    segment->disbelieved = true;
    permtab_shm_store64(&segment->header->beat.lease_deadline, 0);
}
