/* The contents of a view's eight words; permtab.h lists them. */
#ifndef PERMTAB_CLIENT_VIEW_H
#define PERMTAB_CLIENT_VIEW_H

#include "client/handle.h"

static inline struct handle *view_handle(const struct permtab_view *view)
{
    return (struct handle *)(uintptr_t)view->private_[0];
}

static inline const struct permtab_geometry_ *view_geometry(const struct permtab_view *view)
{
    return (const struct permtab_geometry_ *)(uintptr_t)view->private_[1];
}

static inline const struct permtab_shm_set *view_set(const struct permtab_view *view)
{
    return (const struct permtab_shm_set *)(uintptr_t)view->private_[3];
}

/* R3 for the bits that were read from the set since the view was made. */
static inline bool view_set_holds(const struct permtab_view *view)
{
    return permtab_shm_load64(&view_set(view)->sequence) == view->private_[4];
}

#endif
