"""The CSI driver: gRPC service, journal, pools (image: file + loop).

Imports moorings_core ports, kernel and protos only. Data: CSI calls in; files, loop devices and mounts out.
"""
