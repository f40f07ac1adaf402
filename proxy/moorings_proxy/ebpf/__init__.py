"""The ebpf backend of the proxy port: sockets of the node are led to endpoints when they connect, all else by nftables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moorings_core.ports.node import NodeComponent, NodeContext
from moorings_proxy.follow import Follower

from .proxy import EbpfProxy

__all__ = ["EbpfProxy", "backend"]


def backend(context: NodeContext, parameters: Mapping[str, Any]) -> NodeComponent:
    """Return the proxy of this node: the entry point `ebpf` of moorings.proxy. It takes no parameters."""
    return Follower(context, EbpfProxy)


backend.make = EbpfProxy  # type: ignore[attr-defined]  # for whoever runs it by itself: `moorings proxy`
