/* segment_sealed and segment_table_init: what a reader checks before it trusts a segment, namely the seals on the
 * descriptor, and a private copy of the geometry in which every bound has been checked. The client links this file
 * as well as the sidecar, so it uses libc alone.
 *
 * Each shared field is read once, into private memory, and only the copy is checked and used. The sections
 * must come in the order of layout.h without overlapping, so that one walk checks every offset and length.
 *
 * Left to others: mapping, attaching, and whether the heartbeat is to be believed. */
#include "shm/segment.h"

#include "shm/order.h"

#include <fcntl.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

/* Tested as a mask: kernels may add seals of their own (F_SEAL_EXEC). */
bool segment_sealed(int descriptor)
{
    const int needed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
    int seals = fcntl(descriptor, F_GET_SEALS);
    return seals >= 0 && (seals & needed) == needed;
}

static struct permtab_shm_geometry geometry_copy(const struct permtab_shm_geometry *from)
{
    return (struct permtab_shm_geometry){
        .names_offset = permtab_shm_load64(&from->names_offset),
        .sets_offset = permtab_shm_load64(&from->sets_offset),
        .targets_offset = permtab_shm_load64(&from->targets_offset),
        .folds_offset = permtab_shm_load64(&from->folds_offset),
        .map_offset = permtab_shm_load64(&from->map_offset),
        .set_count = permtab_shm_load32(&from->set_count),
        .set_stride = permtab_shm_load32(&from->set_stride),
        .target_count = permtab_shm_load32(&from->target_count),
        .fold_buckets = permtab_shm_load32(&from->fold_buckets),
        .map_buckets = permtab_shm_load32(&from->map_buckets),
        .type_count = permtab_shm_load32(&from->type_count),
    };
}

/* Does a section of `length` bytes at `offset` lie behind *end and inside `size`? Then *end moves behind it.
 * No sum here can overflow: *end never passes size. */
static bool section_fits(uint64_t *end, uint64_t offset, uint64_t length, uint64_t size)
{
    if (offset % 64u != 0 || offset < *end || offset > size || length > size - offset)
        return false;
    *end = offset + length;
    return true;
}

static uint64_t buckets_length(uint32_t buckets)
{
    return ((uint64_t)buckets + PERMTAB_SHM_WINDOW - 1u) * sizeof(struct permtab_shm_bucket);
}

/* The bound of set_count below is the highest that permtab_shm_look_home can do with: a free slot must not look like a
 * set of an entry that has no type. */
_Static_assert(0u - PERMTAB_SHM_WORD(PERMTAB_SHM_SCOPE_TYPES, 1u) >= PERMTAB_SHM_INDEX_MASK,
               "no set has the number that a free slot makes");

static bool counts_good(const struct permtab_shm_geometry *geometry, uint32_t permissions_max)
{
    return permissions_max >= 64u && permissions_max <= PERMTAB_SHM_PERMISSIONS_MAX &&
           permissions_max % 64u == 0 && geometry->set_stride == permtab_shm_set_stride(permissions_max) &&
           geometry->set_count >= 1u && geometry->set_count <= PERMTAB_SHM_INDEX_MASK + 1u &&
           geometry->target_count >= 1u && geometry->target_count <= PERMTAB_SHM_INDEX_MASK + 1u &&
           geometry->fold_buckets >= 1u && geometry->fold_buckets <= PERMTAB_SHM_BUCKETS_MAX &&
           geometry->map_buckets >= 1u && geometry->map_buckets <= PERMTAB_SHM_BUCKETS_MAX &&
           geometry->type_count <= PERMTAB_SHM_SCOPE_TYPES;
}

static bool sections_good(const struct permtab_shm_geometry *geometry, uint32_t permissions_max,
                          uint64_t size)
{
    uint64_t end = PERMTAB_SHM_PAGE;
    return section_fits(&end, geometry->names_offset, (uint64_t)permissions_max * PERMTAB_SHM_NAME_SIZE,
                        size) &&
           section_fits(&end, geometry->sets_offset, (uint64_t)geometry->set_count * geometry->set_stride,
                        size) &&
           section_fits(&end, geometry->targets_offset,
                        (uint64_t)geometry->target_count * sizeof(struct permtab_shm_target), size) &&
           section_fits(&end, geometry->folds_offset, buckets_length(geometry->fold_buckets), size) &&
           section_fits(&end, geometry->map_offset, buckets_length(geometry->map_buckets), size);
}

int segment_table_init(struct permtab_shm_table *out, const void *mapping, size_t size)
{
    const struct permtab_shm_header *header = mapping;
    const char *base = mapping;
    if (mapping == NULL || (uintptr_t)mapping % 64u != 0 || size < PERMTAB_SHM_PAGE)
        return PERMTAB_E_PROTOCOL;
    if (permtab_shm_load64(&header->identity.magic) != PERMTAB_SHM_MAGIC)
        return PERMTAB_E_PROTOCOL;
    if (permtab_shm_load32(&header->identity.layout) != PERMTAB_SHM_LAYOUT)
        return PERMTAB_E_LAYOUT;
    uint32_t permissions_max = permtab_shm_load32(&header->identity.permissions_max);
    struct permtab_shm_geometry geometry = geometry_copy(&header->geometry);
    if (permtab_shm_load64(&header->identity.size) != size ||
        permtab_shm_load64(&header->identity.segment_id) == 0 || !counts_good(&geometry, permissions_max) ||
        !sections_good(&geometry, permissions_max, size))
        return PERMTAB_E_PROTOCOL;
    *out = (struct permtab_shm_table){
        .header = header,
        .map = (const void *)(base + geometry.map_offset),
        .folds = (const void *)(base + geometry.folds_offset),
        .targets = (const void *)(base + geometry.targets_offset),
        .names = (const void *)(base + geometry.names_offset),
        .sets = base + geometry.sets_offset,
        .first_set = base + geometry.sets_offset + geometry.set_stride,
        .hash_seed = permtab_shm_load64(&header->identity.hash_seed),
        .map_buckets = geometry.map_buckets,
        .fold_buckets = geometry.fold_buckets,
        .target_count = geometry.target_count,
        .set_count = geometry.set_count,
        .named_sets = geometry.set_count - 1,
        .set_stride = geometry.set_stride,
        .permissions_max = permissions_max,
    };
    return 0;
}
