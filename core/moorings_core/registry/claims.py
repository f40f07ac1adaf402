"""What a claim is filled from: `dataSource`, of old clients, and `dataSourceRef` say the same.

Source: upstream's pkg/api/persistentvolumeclaim (KEP 1495).
"""

from __future__ import annotations

from moorings_core.ports.objects import Object

OLD, NEW = "dataSource", "dataSourceRef"
BY_OLD_CLIENTS = (("", "PersistentVolumeClaim"), ("snapshot.storage.k8s.io", "VolumeSnapshot"))


def match_sources(claim: Object, old: Object | None) -> None:
    """Give either field what the other one says, in place; what old clients ask for is dropped if it is neither a claim nor a snapshot."""
    spec, before = claim.get("spec") or {}, (old or {}).get("spec") or {}
    if (spec.get(NEW) or {}).get("namespace") and before.get(NEW) is None:  # of another namespace: a feature that is off
        del spec[NEW]
    source = spec.get(OLD)
    in_use = before.get(OLD) is not None or before.get(NEW) is not None
    if source is not None and spec.get(NEW) is None and not in_use and _kind(source) not in BY_OLD_CLIENTS:
        del spec[OLD]
    if spec.get(OLD) is not None and spec.get(NEW) is None:
        spec[NEW] = dict(spec[OLD])
    elif spec.get(NEW) is not None and spec.get(OLD) is None and not spec[NEW].get("namespace"):
        spec[OLD] = {field: value for field, value in spec[NEW].items() if field != "namespace"}


def _kind(source: Object) -> tuple[str, str]:
    return source.get("apiGroup") or "", source.get("kind") or ""
