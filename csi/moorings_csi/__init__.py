"""The CSI driver: gRPC services, journal, pools (image, btrfs, hostpath). See csi/README.md.

Layers: `backends`, `command` (entry points) > `driver` > `server`, `registration` (sockets) > `controller`, `snapshot_service`, `node`,
`identity` (the RPCs) > `volumes`, `snapshots`, `staging`, `ephemeral` (what is done, in which order) > `pool` (what a pool promises) and
the pools > `ledger`, `journal`, `records`, `faults`. Imports moorings_core ports, kernel, protos, registry and log only.
CSI calls come in over a unix socket; files, subvolumes, loop devices and mounts go out.
"""
