"""The CSI driver: gRPC services, journal, pools (image: a file behind a loop device).

Layers: `image` (entry point) > `server`, `registration` (sockets) > `controller`, `node`, `identity` (the RPCs) > `pool` (what a
pool promises), `image_pool`, `filesystem` > `journal`, `faults`. Imports moorings_core ports, kernel, protos and log only.
CSI calls come in over a unix socket; files, loop devices and mounts go out.
"""
