"""Cloud backends: none and metal (addresses for LoadBalancer Services, announced by ARP).

Imports moorings_core ports, kernel and client only. Data: Services and Nodes in; Service status and frames out.
"""
