"""Cluster DNS on every node: answers from Services and EndpointSlices, everything else from upstream servers.

Here live the wire codec (`wire`), the zone (`zone`, pure), forwarding with a cache (`forward`), the sockets (`server`) and the
node component that ties them and publishes its address (`component`). Data: API objects and queries in, answers out, and one
EndpointSlice a node.
"""

from .component import component

__all__ = ["component"]
