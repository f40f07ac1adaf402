"""The CNI plugin: thin exec client, per-node daemon, IPAM, pod wiring; vxlan and routed backends.

Imports moorings_core ports, kernel and client only. Data: CNI calls and Node objects in; links, addresses, routes and nftables
elements out.
"""
