"""Bare metal: addresses for Services of type LoadBalancer, out of pools in the cluster file, answered for by one node each.

Here live the pools and the plan (`pools`, `allocate`: pure), the controller that writes Service status (`controller`), and the
node half: election by Lease (`election`: pure), ARP (`frames`, `arp`) and the component (`speaker`). The data path is the
proxy's: it translates the address on whichever node the packets come to. Data: Services, EndpointSlices, Nodes in; Service
status, Leases and frames out.
"""

from .backend import backend

__all__ = ["backend"]
