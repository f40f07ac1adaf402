"""What the entry points name: the CNI server, which all transports of this package share, and one transport."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from moorings_core.ports.network import Transport
from moorings_core.ports.node import NodeComponent, NodeContext


class Backend:
    """A `ports.network.NetworkBackend`."""

    def __init__(self, transport: Callable[[NodeContext, Mapping[str, Any]], Transport]) -> None:
        self._transport = transport

    def __call__(self, context: NodeContext, parameters: Mapping[str, Any]) -> NodeComponent:
        """Return the component that wires pods on this node."""
        from .component import CniComponent

        return CniComponent(context, parameters)

    def transport(self, context: NodeContext, parameters: Mapping[str, Any]) -> Transport:
        """Return the way to other nodes."""
        return self._transport(context, parameters)
