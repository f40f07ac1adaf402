"""Rules of CSI drivers, of where they run, and of what they can hold. Source: upstream's pkg/apis/storage/validation."""

from __future__ import annotations

from collections.abc import Sequence

from moorings_core.ports.objects import Object

from . import names
from .amounts import not_negative
from .errors import FieldError, Path, duplicate, invalid, not_supported, required
from .formats import driver_name, named, qualified
from .placement import label_selector

SPEC = Path("spec")
FS_GROUPS = ("File", "None", "ReadWriteOnceWithFSType")
MODES = ("Persistent", "Ephemeral")
TOKEN_SECONDS = (600, 1 << 32)
PERIOD_LEAST = 10
NODE_ID_MOST = 256
IMMUTABLE = "field is immutable"


def _driver(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    tokens, in_secrets, period = (
        spec.get(f) for f in ("tokenRequests", "serviceAccountTokenInSecrets", "nodeAllocatableUpdatePeriodSeconds")
    )
    policy = spec.get("fsGroupPolicy")
    found = [] if policy in (None, *FS_GROUPS) else [not_supported(SPEC / "fsGroupPolicy", policy, FS_GROUPS)]
    found += _tokens(tokens or (), SPEC / "tokenRequests")
    modes = spec.get("volumeLifecycleModes") or ()
    found += [not_supported(SPEC / "volumeLifecycleModes", mode, MODES) for mode in modes if mode not in MODES]
    if period is not None and period < PERIOD_LEAST:
        text = f"must be greater than or equal to {PERIOD_LEAST} seconds"
        found.append(invalid(SPEC / "nodeAllocatableUpdatePeriodSeconds", period, text))
    if in_secrets is not None and not tokens:
        text = "serviceAccountTokenInSecrets is set but no tokenRequests are specified"
        found.append(invalid(SPEC / "serviceAccountTokenInSecrets", in_secrets, text))
    return found


def _tokens(tokens: Sequence[Object], path: Path) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for i, token in enumerate(tokens):
        audience, seconds, where = token.get("audience", ""), token.get("expirationSeconds"), path.at(i)
        if audience in seen:
            found.append(duplicate(where / "audience", audience))
            continue
        seen.add(audience)
        if seconds is not None and seconds < TOKEN_SECONDS[0]:
            found.append(invalid(where / "expirationSeconds", seconds, "may not specify a duration less than 10 minutes"))
        if seconds is not None and seconds > TOKEN_SECONDS[1]:
            found.append(invalid(where / "expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds"))
    return found


def _driver_update(new: Object, old: Object) -> list[FieldError]:
    fields = (("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes"))
    return [
        invalid(SPEC / shown, new["spec"].get(field), IMMUTABLE)
        for field, shown in fields
        if new["spec"].get(field) != old["spec"].get(field)
    ]


def _node(obj: Object) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for i, driver in enumerate((obj.get("spec") or {}).get("drivers") or ()):
        path, name, node = (SPEC / "drivers").at(i), driver.get("name", ""), driver.get("nodeID", "")
        found += driver_name(name, path / "name")
        if not node:
            found.append(required(path / "nodeID"))
        if len(node) > NODE_ID_MOST:
            found.append(invalid(path / "nodeID", node, f"must be {NODE_ID_MOST} characters or less"))
        count = (driver.get("allocatable") or {}).get("count")
        if count is not None and count < 0:
            found.append(invalid(path / "allocatable" / "count", count, "must be greater than or equal to 0"))
        if name in seen:
            found.append(duplicate(path / "name", name))
        seen.add(name)
        found += _keys(driver.get("topologyKeys") or (), path)
    return found


def _keys(keys: Sequence[str], path: Path) -> list[FieldError]:
    found: list[FieldError] = []
    for i, key in enumerate(keys):
        found += [] if key else [required(path)]
        found += [duplicate(path, key)] if key in keys[:i] else []
        found += qualified(key, path)
    return found


def _node_update(new: Object, old: Object) -> list[FieldError]:
    """A driver that is known on a node may change how many volumes it holds, nothing else."""
    before = {d.get("name"): _fixed(d) for d in (old.get("spec") or {}).get("drivers") or ()}
    after = [_fixed(d) for d in (new.get("spec") or {}).get("drivers") or ()]
    return [invalid(SPEC / "drivers", d, IMMUTABLE) for d in after if d.get("name") in before and before[d.get("name")] != d]


def _fixed(driver: Object) -> Object:
    return {k: v for k, v in driver.items() if k != "allocatable"}


def _capacity(obj: Object) -> list[FieldError]:
    found = label_selector(obj.get("nodeTopology"), Path("nodeTopology"))
    found += named(obj.get("storageClassName", ""), Path("storageClassName"), names.subdomain)
    return found + (not_negative(obj["capacity"], Path("capacity")) if obj.get("capacity") is not None else [])


def _capacity_update(new: Object, old: Object) -> list[FieldError]:
    return [invalid(field, new.get(field), IMMUTABLE) for field in ("nodeTopology", "storageClassName") if new.get(field) != old.get(field)]


GROUP = "storage.k8s.io"
CREATE = {(GROUP, "csidrivers"): _driver, (GROUP, "csinodes"): _node, (GROUP, "csistoragecapacities"): _capacity}
UPDATE = {(GROUP, "csidrivers"): _driver_update, (GROUP, "csinodes"): _node_update, (GROUP, "csistoragecapacities"): _capacity_update}
