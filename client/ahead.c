/* Looking for a newer table while the present one still answers. Two signs ask for it:
 *
 *   - The table was retired: another has taken its place, and this one is written through for a while.
 *   - Its lease is about to end: less than a quarter of it is left. While all is well the lease is renewed long before
 *     that, so whoever renewed it has died, perhaps, and his successor has a table of his own. A process that is
 *     answered by the table alone would learn of it when the lease has ended, and then have to wait.
 *
 * A caller that comes often does not wait for the look: it has its answer, sends what is to be sent, takes what has
 * come, and leaves the rest to the next one. A new connection takes three such steps. A process that asks a few times a
 * second would not be through with them before the lease ends, so a caller that comes SELDOM_NS after the look was due
 * waits for PATIENCE_NS at most. All processes of a host see the sign at the same moment, so each lets pass a random
 * part of the first half of the time that is left. */
#include "client/handle.h"

#include "shm/order.h"

#include <sys/random.h>
#include <unistd.h>

#define LOOK_NS     1000000u /* between two looks for the reply */
#define SHARES      256u
#define SELDOM_NS   10000000u
#define PATIENCE_NS 5000000u

bool ahead_wanted(const struct permtab_geometry_ *geometry, const struct permtab_shm_moment *moment,
                  uint64_t clock_ns)
{
    if (clock_ns >= moment->lease_deadline)
        return false;
    return moment->state == PERMTAB_SHM_RETIRED ||
           (moment->state == PERMTAB_SHM_LIVE && clock_ns + geometry->early_ns >= moment->lease_deadline);
}

/* 1 to SHARES, drawn once by each process; parent and children draw for themselves. */
static uint64_t share_of_process(struct own_page *own)
{
    uint64_t share = permtab_shm_load64_relaxed(&own->share);
    unsigned char drawn;
    if (share != 0)
        return share;
    if (getrandom(&drawn, sizeof(drawn), GRND_NONBLOCK) != (ssize_t)sizeof(drawn))
        drawn = (unsigned char)(((uint64_t)getpid() * 0x9e3779b97f4a7c15ull) >> 56);
    share = (uint64_t)drawn + 1;
    permtab_shm_store64_relaxed(&own->share, share);
    return share;
}

/* When this process saw first that the table was retired. */
static uint64_t retired_since(struct own_page *own, const struct permtab_geometry_ *geometry,
                              uint64_t clock_ns)
{
    uint64_t segment = geometry->table.header->identity.segment_id;
    if (permtab_shm_load64_relaxed(&own->retired_segment) != segment) {
        permtab_shm_store64_relaxed(&own->retired_ns, clock_ns);
        permtab_shm_store64_relaxed(&own->retired_segment, segment);
    }
    return permtab_shm_load64_relaxed(&own->retired_ns);
}

uint64_t ahead_from(struct handle *handle, const struct permtab_geometry_ *geometry,
                    const struct permtab_shm_moment *moment, uint64_t clock_ns)
{
    uint64_t deadline = moment->lease_deadline;
    uint64_t quarter = deadline > geometry->early_ns ? deadline - geometry->early_ns : 0;
    uint64_t sign = quarter;
    if (moment->state == PERMTAB_SHM_RETIRED) {
        uint64_t since = retired_since(handle->own, geometry, clock_ns);
        sign = since < quarter ? since : quarter;
    }
    return sign + geometry->early_ns / 2 / SHARES * share_of_process(handle->own);
}

void ahead_look(struct handle *handle)
{
    struct own_page *own = handle->own;
    uint64_t clock = channel_clock_ns(), due = permtab_shm_load64_relaxed(&own->next_look_ns);
    if (clock < due)
        return;
    const struct permtab_geometry_ *geometry = permtab_geometry_of_(&handle->visible);
    struct permtab_shm_moment moment = permtab_shm_beat_read(&geometry->table);
    if (!ahead_wanted(geometry, &moment, clock))
        return;
    uint64_t from = ahead_from(handle, geometry, &moment, clock);
    if (clock < from) {
        permtab_shm_store64_relaxed(&own->next_look_ns, from);
        return;
    }
    if (handle_lock(handle, HANDLE_NO_WAIT) < 0)
        return;
    bool patient = clock > due + SELDOM_NS && own->circuit.pause_ns == 0;
    uint64_t until = patient ? clock + PATIENCE_NS : HANDLE_NO_WAIT;
    own->looking = true;
    int code = handle_ready(handle, until);
    if (handle_broken(handle,
                      code)) /* the connection has ended, as it turned out: the next one is begun at once */
        code = handle_ready(handle, until);
    own->looking = false;
    uint64_t pause_ns = code == PERMTAB_E_TIMEOUT ? LOOK_NS : HANDLE_ATTEMPT_NS;
    permtab_shm_store64_relaxed(&own->next_look_ns, clock + pause_ns);
    handle_unlock(handle);
}
