"""The CNI plugin: exec client, the node's server, IPAM, pod wiring, masquerade; transports `vxlan` and `routed`.

Imports moorings_core ports, kernel, client, config and log only. Data: CNI calls and Node objects in; links, addresses, routes
and nftables elements out. Which transport is used when is not decided here but by `moorings_core.agent.exchange`.
"""
