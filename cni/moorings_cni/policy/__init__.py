"""NetworkPolicy on one node: a pure model of networking.k8s.io/v1, and the nftables table that enforces it.

`model` reads API objects, `verdict` says slowly and with reasons what the policies mean, `classes` and `elements` turn them into
set elements, `layout` is the constant rule set, `table` the kernel's side, `follow` the node's component. Data: Pods, Namespaces,
NetworkPolicies and this node's attachments in; elements of `inet moorings_policy` out. The rules never change, and they stay
when the agent dies.
"""
