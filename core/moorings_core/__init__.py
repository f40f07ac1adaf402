"""The core of moorings: API, stores, scheduler, controllers, node agent and the one room that speaks to the kernel.

Core imports no backend (moorings_cni, _csi, _proxy, _cloud): it finds them by entry point, see `ports` and `config`.
Data comes in over the Kubernetes API (`api`), is kept by a store (`store`) and goes out by CRI, CNI and CSI on the nodes.
"""
