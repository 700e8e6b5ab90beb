# What `cmake --install` puts where. The client's headers keep their folders (permtab/permtab.h, permtab/shm/…), so that the same
# #include lines work from the source tree and from an installation.
