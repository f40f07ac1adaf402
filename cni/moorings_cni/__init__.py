"""The CNI plugin: exec client, the node's server, IPAM, pod wiring, masquerade, network policy; transports `vxlan`, `routed`, `underlay`.

Imports moorings_core ports, kernel, client, config, log and registry.selectors only. Data: CNI calls, Nodes, Pods, Namespaces and
NetworkPolicies in; links, addresses, routes and nftables elements out. Which transport is used when is not decided here but by
`moorings_core.agent.exchange`.
"""
