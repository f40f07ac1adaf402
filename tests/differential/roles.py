"""Writes api/access/roles.json: the roles and bindings that upstream's kube-apiserver gives a new cluster, as it tells them.

`labs/upstream.sh etcd kube-apiserver && python -m tests.differential.roles`
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from . import peers
from .peers import ROOT, Peer, Request

FILE = ROOT / "core/moorings_core/api/access/roles.json"
KINDS = ("clusterroles", "clusterrolebindings", "roles", "rolebindings")
OWN_LABEL = "kubernetes.io/bootstrapping"
LAST = "token-cleaner"
WAIT_SECONDS = 60.0


def main() -> None:
    """Ask upstream's server and write the file, one role or binding a line."""
    with tempfile.TemporaryDirectory() as directory:
        peer = peers.upstream(Path(directory) / "upstream")
        try:
            found = {kind: {_name(o): _short(o) for o in _all(peer, kind)} for kind in KINDS}
        finally:
            peer.close()
    parts = []
    for kind, entries in found.items():
        lines = ",\n".join(f"{json.dumps(name)}:{json.dumps(entry, separators=(',', ':'))}" for name, entry in sorted(entries.items()))
        parts.append(f'"{kind}":{{\n{lines}\n}}')
    FILE.write_text("{" + ",\n".join(parts) + "}\n")


def _all(peer: Peer, kind: str) -> list[dict[str, Any]]:
    """Return the objects of a kind once the last one that upstream makes is there."""
    end = time.monotonic() + WAIT_SECONDS
    while not any(LAST in item["metadata"]["name"] for item in _items(peer, "rolebindings")):
        assert time.monotonic() < end, "upstream's server has not made its roles"
        time.sleep(0.2)
    return _items(peer, kind)


def _items(peer: Peer, kind: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = peer.ask(Request("GET", f"/apis/rbac.authorization.k8s.io/v1/{kind}")).body["items"]
    return items


def _name(obj: dict[str, Any]) -> str:
    metadata = obj["metadata"]
    return f"{metadata['namespace']}/{metadata['name']}" if "namespace" in metadata else str(metadata["name"])


def _short(obj: dict[str, Any]) -> dict[str, Any]:
    labels = {k: v for k, v in obj["metadata"]["labels"].items() if k != OWN_LABEL}
    short: dict[str, Any] = {"labels": labels} if labels else {}
    if "roleRef" in obj:
        return short | {
            "role": f"{obj['roleRef']['kind']}:{obj['roleRef']['name']}",
            "to": [_subject(s) for s in obj.get("subjects") or ()],
        }
    if "aggregationRule" in obj:
        return short | {"from": [s["matchLabels"] for s in obj["aggregationRule"]["clusterRoleSelectors"]]}
    return short | {"rules": [_rule(rule) for rule in obj.get("rules") or ()]}


def _subject(subject: dict[str, str]) -> str:
    where = f"{subject['namespace']}/" if "namespace" in subject else ""
    return f"{subject['kind']}:{where}{subject['name']}"


def _rule(rule: dict[str, list[str]]) -> str:
    if "nonResourceURLs" in rule:
        return f"{','.join(rule['verbs'])}|{','.join(rule['nonResourceURLs'])}"
    parts = [rule["verbs"], rule["apiGroups"], rule["resources"], *([rule["resourceNames"]] if "resourceNames" in rule else [])]
    return "|".join(",".join(part) for part in parts)


if __name__ == "__main__":
    main()
