"""The ipvs backend of the proxy port: endpoints are chosen by the kernel's IP virtual servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moorings_core.ports.node import NodeComponent, NodeContext
from moorings_proxy.follow import Follower

from .proxy import IpvsProxy

__all__ = ["IpvsProxy", "backend"]


def backend(context: NodeContext, parameters: Mapping[str, Any]) -> NodeComponent:
    """Return the proxy of this node: the entry point `ipvs` of moorings.proxy. It takes no parameters."""
    return Follower(context, IpvsProxy)


backend.make = IpvsProxy  # type: ignore[attr-defined]  # for whoever runs it by itself: `moorings proxy`
