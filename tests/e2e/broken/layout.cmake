# Not broken: a daemon of another version, whose tables have a layout that our clients do not know.
set(SOURCE shm/layout.h)
set(TEXT "#define PERMTAB_SHM_LAYOUT 1u")
set(REPLACEMENT "#define PERMTAB_SHM_LAYOUT 2u")
set(USERS shm/segment.c shm/segment_table.c proxy/serve/methods/attach.c)
