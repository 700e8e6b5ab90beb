/* The fake sidecar's table: segments kept by the real writer, with two sets, one for each parity of user + scope. */
#include "tests/support/fake_sidecar_private.h"

#include "client/channel.h"
#include "shm/order.h"

const char *const fake_permissions[FAKE_PERMISSIONS] = {"a.read",  "a.write", "b.read",
                                                        "b.write", "c",       "d.late"};
const char *const fake_types[FAKE_TYPES] = {"global", "server", "channel"};

bool fake_allows(uint64_t user, uint64_t scope, uint32_t bit, bool own)
{
    bool any = (user + scope + bit) % 2 == 0;
    return any || (own && bit % 3 == 0);
}

static void write_sets(struct fake *fake)
{
    for (uint64_t parity = 0; parity < 2; parity++) {
        uint64_t any = 0, own = 0;
        for (uint32_t bit = 0; bit < FAKE_PERMISSIONS; bit++) {
            any |= (uint64_t)fake_allows(parity, 0, bit, false) << bit;
            own |= (uint64_t)fake_allows(parity, 0, bit, true) << bit;
        }
        set_close_writer(&fake->segments[fake->segment_count - 1], fake->set_of[parity]);
        set_write_writer(&fake->segments[fake->segment_count - 1], fake->set_of[parity], &any, &own);
        set_open_writer(&fake->segments[fake->segment_count - 1], fake->set_of[parity]);
    }
}

void fake_table_renew(struct fake *fake)
{
    if (fake->renew && fake->segment_count > 0)
        segment_lease_writer(&fake->segments[fake->segment_count - 1], channel_clock_ns() + fake->lease_ns);
}

void fake_table_new(struct fake *fake)
{
    const struct segment_options options = {.permissions_max = 64,
                                            .entries = 4000,
                                            .sets = 8,
                                            .folds = 8,
                                            .targets = 4,
                                            .store_id = FAKE_STORE_ID};
    fake_require(fake->segment_count < FAKE_SEGMENTS, "too many segments");
    struct segment *segment = &fake->segments[fake->segment_count];
    fake_require(segment_new(segment, &options) == 0, "segment_new");
    fake->segment_count++;
    if (fake->segment_count > 1)
        set_pool_fini(&fake->sets);
    fake_require(set_pool_init(&fake->sets, segment) == 0, "set_pool_init");
    fake->map = (struct map){.buckets = segment->map,
                             .home_count = segment->table.map_buckets,
                             .hash_seed = segment->table.hash_seed};
    for (uint32_t bit = 0; bit < FAKE_PERMISSIONS; bit++)
        segment_name_set_writer(segment, bit, fake_permissions[bit]);
    for (uint32_t type = 0; type < FAKE_TYPES; type++)
        segment_type_set_writer(segment, type, fake_types[type]);
    segment_catalogue_set_writer(segment, fake->catalogue);
    fake->set_of[0] = set_take_writer(&fake->sets, channel_clock_ns());
    fake->set_of[1] = set_take_writer(&fake->sets, channel_clock_ns());
    write_sets(fake);
    segment_applied_writer(segment, fake->revision);
    segment_publish_writer(segment);
    fake_table_renew(fake);
}

void fake_table_put(struct fake *fake, uint64_t user, uint64_t scope)
{
    struct map_key key = {.key0 = user, .key1 = scope, .type = FAKE_CHANNEL};
    if (map_writer_find(&fake->map, key) != MAP_NO_SLOT)
        return;
    uint32_t slot = map_writer_vacancy(&fake->map, key);
    fake_require(slot != MAP_NO_SLOT, "the fake's table is full");
    map_insert_writer(&fake->map, slot, key, fake->set_of[(user + scope) % 2]);
}

void fake_put(struct fake *fake, uint64_t user, uint64_t scope)
{
    fake_lock(fake);
    fake_table_put(fake, user, scope);
    fake_unlock(fake);
}

void fake_remove(struct fake *fake, uint64_t user, uint64_t scope)
{
    struct map_key key = {.key0 = user, .key1 = scope, .type = FAKE_CHANNEL};
    fake_lock(fake);
    uint32_t slot = map_writer_find(&fake->map, key);
    if (slot != MAP_NO_SLOT)
        map_clear_writer(&fake->map, slot);
    fake_unlock(fake);
}

void fake_rewrite(struct fake *fake)
{
    fake_lock(fake);
    write_sets(fake);
    fake_unlock(fake);
}

void fake_retire(struct fake *fake, bool end_lease)
{
    fake_lock(fake);
    fake_table_new(fake);
    struct segment *old = &fake->segments[fake->segment_count - 2];
    segment_retire_writer(old);
    if (end_lease)
        segment_disbelieve_writer(old);
    fake_unlock(fake);
}

void fake_succeed(struct fake *fake)
{
    fake_lock(fake);
    fake_table_new(fake);
    fake_unlock(fake);
}

void fake_set_revision(struct fake *fake, uint64_t revision)
{
    fake_lock(fake);
    fake->revision = revision;
    segment_applied_writer(&fake->segments[fake->segment_count - 1], revision);
    fake_unlock(fake);
}

void fake_set_catalogue(struct fake *fake, bool late, bool gone)
{
    fake_lock(fake);
    fake->late = late;
    fake->gone = gone;
    fake->catalogue++;
    segment_catalogue_set_writer(&fake->segments[fake->segment_count - 1], fake->catalogue);
    fake_unlock(fake);
}
