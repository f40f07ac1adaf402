"""What a default server serves: stable versions of every group, from upstream's recorded discovery documents."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

STABLE = re.compile(r"v\d+")


def groups(discovery: Path) -> list[dict[str, Any]]:
    """Return the named groups in upstream's order, each with its stable versions, the preferred one first."""
    found = []
    for group in json.loads((discovery / "apis.json").read_text())["groups"]:
        versions = [v["version"] for v in group["versions"] if STABLE.fullmatch(v["version"])]
        if versions:
            found.append({"name": group["name"], "versions": versions})
    return found


def resources(discovery: Path) -> list[dict[str, Any]]:
    """Return every served resource with its verbs, names and subresources."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for file in sorted(discovery.glob("api*.json")):
        document = json.loads(file.read_text())
        if document.get("kind") != "APIResourceList" or not STABLE.fullmatch(document["groupVersion"].rpartition("/")[2]):
            continue
        group, _, version = document["groupVersion"].rpartition("/")
        for entry in document["resources"]:
            plural, _, subresource = entry["name"].partition("/")
            if subresource:
                found[group, version, plural]["subresources"][subresource] = _subresource(entry, group, version)
            else:
                found[group, version, plural] = _resource(entry, group, version)
    return list(found.values())


def _resource(entry: dict[str, Any], group: str, version: str) -> dict[str, Any]:
    return {
        "group": group,
        "version": version,
        "plural": entry["name"],
        "singular": entry["singularName"],
        "kind": entry["kind"],
        "bodyGroup": entry.get("group", group),
        "namespaced": entry["namespaced"],
        "verbs": entry["verbs"],
        "shortNames": entry.get("shortNames", []),
        "categories": entry.get("categories", []),
        "subresources": {},
    }


def _subresource(entry: dict[str, Any], group: str, version: str) -> dict[str, Any]:
    return {
        "group": entry.get("group", group),
        "version": entry.get("version", version),
        "kind": entry["kind"],
        "verbs": entry["verbs"],
    }
