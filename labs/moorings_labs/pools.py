"""Addresses for load balancers: a lab's subnet is chosen when it is made, so a cluster file cannot name a pool on it."""

from __future__ import annotations

import yaml

from .layout import Layout

FIRST, LAST = 200, 239


def with_pools(document: str, layout: Layout) -> str:
    """Return the cluster file's text with a pool on the lab's subnet for the metal cloud when it names none."""
    tree = yaml.safe_load(document) or {}
    cloud = tree.get("cloud") or {}
    if cloud.get("backend") != "metal" or "pools" in (cloud.get("parameters") or {}):
        return document
    pool = f"{layout.address(FIRST)}-{layout.address(LAST)}"
    filled = {**cloud, "parameters": {**(cloud.get("parameters") or {}), "pools": [pool]}}
    return yaml.safe_dump({**tree, "cloud": filled}, sort_keys=False)
