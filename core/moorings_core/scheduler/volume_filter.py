"""What the volumes of one pod say against nodes: claims for a single pod, what drivers take, where volumes can be reached.

Source: kube-scheduler's VolumeRestrictions, NodeVolumeLimits and VolumeBinding plugins, in that order.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

from moorings_core.ports.objects import Key, Object

from . import volume_limits, volumes
from .columns import Columns


class VolumeFilter:
    """Looks at one pod with its claims."""

    def __init__(
        self, pod: Object, claims: volumes.Claims, columns: Columns, view: volumes.VolumeView, nodes: volume_limits.NodeView
    ) -> None:
        self._claims, self._columns, self._view, self._nodes = claims, columns, view, nodes
        self._wanted = volume_limits.wanted_by(pod, view) if self else {}

    def __bool__(self) -> bool:
        """Whether the pod has claims at all: nodes need not be looked at without."""
        return bool(self._claims.bound or self._claims.waiting)

    def against(self) -> Mapping[int, str]:
        """Return why nodes, by position, are no place for the pod."""
        if not self:
            return {}
        found = ((position, self.reason(position)) for position in self._columns.index.values())
        return {position: reason for position, reason in found if reason}

    def reason(self, position: int, leaving: Container[Key] = ()) -> str:
        """Return why the node at `position` is no place for the pod, or ""; as it would be without the pods that leave."""
        node = self._columns.nodes[position]
        if node is None or not self:
            return ""
        if self._claims.taken(leaving):
            return volumes.IN_USE
        name = node["metadata"]["name"]
        reason = volume_limits.reason_against(self._wanted, name, self._view, self._nodes, leaving)
        return reason or volumes.reason_against(self._claims, node, self._view)
