"""The entry points: one name of the cluster file's `storage.backend` each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moorings_core.ports.node import NodeContext

from .driver import Driver, component


def image(context: NodeContext, parameters: Mapping[str, Any]) -> Driver:
    """Volumes as files behind loop devices."""
    return component("image", context, parameters)


def btrfs(context: NodeContext, parameters: Mapping[str, Any]) -> Driver:
    """Volumes as subvolumes of a btrfs."""
    return component("btrfs", context, parameters)


def hostpath(context: NodeContext, parameters: Mapping[str, Any]) -> Driver:
    """Volumes as directories, without limits: for tests on one node."""
    return component("hostpath", context, parameters)
