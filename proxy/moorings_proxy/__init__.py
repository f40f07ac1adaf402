"""The service proxy and cluster DNS: service model (pure), nftables backend, conntrack clean-up, DNS answers.

Imports moorings_core ports, kernel and client only. Data: Services and EndpointSlices in; map elements and DNS answers out.
"""
