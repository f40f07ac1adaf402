"""What the writing subresources of pods may change: `resize` the resources of containers, `ephemeralcontainers` those containers. Pure.

Source: upstream's pod strategies (podResizeStrategy, podEphemeralContainersStrategy) and ValidatePodResize.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from moorings_core.ports.objects import Object

from .defaults import pod_level
from .quality import qos_class
from .validation.errors import FieldError, Path, forbidden, invalid

RESIZABLE = ("cpu", "memory")
METADATA = ("labels", "annotations", "finalizers", "ownerReferences")
MIRROR = "kubernetes.io/config.mirror"
SPEC = Path("spec")
ONLY = "only cpu and memory resources are mutable"


def prepare_update(new: Object, old: Object, subresource: str) -> None:
    """Take back whatever else the update of a pod's subresource changes."""
    asked = new["spec"]
    new["spec"] = _resized(asked, old["spec"]) if subresource == "resize" else _with_ephemeral(asked, old["spec"])
    if subresource == "resize" and new["spec"].get("resources"):
        pod_level.fill(new["spec"])
    for field in METADATA:
        new["metadata"].pop(field, None)
        if field in old["metadata"]:
            new["metadata"][field] = old["metadata"][field]


def validate(new: Object, old: Object, subresource: str) -> list[FieldError]:
    """Return what of the update of a pod's subresource may not be, beside what is wrong with the pod itself."""
    return _resize(new, old) if subresource == "resize" else _ephemeral(new, old)


def _with_ephemeral(asked: Object, old: Object) -> Object:
    spec = {k: v for k, v in old.items() if k != "ephemeralContainers"}
    return spec | ({"ephemeralContainers": asked["ephemeralContainers"]} if asked.get("ephemeralContainers") else {})


def _resized(asked: Object, old: Object) -> Object:
    """Return the old spec with the asked resources; as asked where the containers are not the same, which validation then refuses."""
    lists = {field: (asked.get(field) or [], old.get(field) or []) for field in ("containers", "initContainers")}
    if any(len(new) != len(known) for new, known in lists.values()):
        return asked
    merged = {field: _merged(new, known) for field, (new, known) in lists.items() if known}
    spec = {k: v for k, v in old.items() if k != "resources"} | merged
    resources = asked.get("resources") or old.get("resources")
    return spec | ({"resources": resources} if resources else {})


def _merged(asked: Sequence[Object], old: Sequence[Object]) -> list[Object]:
    if [c.get("name") for c in asked] != [c.get("name") for c in old]:
        return list(asked)
    pairs = zip(asked, old, strict=True)
    changing = ("resources", "resizePolicy")
    return [{k: v for k, v in known.items() if k not in changing} | {k: new[k] for k in changing if k in new} for new, known in pairs]


def _resize(new: Object, old: Object) -> list[FieldError]:
    if MIRROR in (old["metadata"].get("annotations") or {}):
        return [forbidden("", "static pods cannot be resized")]
    if (old["spec"].get("os") or {}).get("name") == "windows":
        return [forbidden("", "windows pods cannot be resized")]
    found = []
    if qos_class(new) != qos_class(old):
        shown = (new.get("status") or {}).get("qosClass", "")
        found.append(invalid(SPEC, shown, "Pod QOS Class may not change as a result of resizing"))
    if not _node_resizes(old):
        found.append(forbidden(SPEC, "Pod running on node without support for resize"))
    found += _pod_level(new["spec"], old["spec"])
    moved = _moved(new["spec"], old["spec"])
    return found + (moved or [*_removed(new["spec"], old["spec"]), *_other_changes(new["spec"], old["spec"])])


def _node_resizes(pod: Object) -> bool:
    """A node that can resize says what its running containers have."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    running = next((s for s in statuses if "running" in (s.get("state") or {})), None)
    return running is None or running.get("resources") is not None


def _pod_level(new: Object, old: Object) -> list[FieldError]:
    """Return what is wrong with how the resources of the pod as a whole changed."""
    given, known = new.get("resources"), old.get("resources")
    path, found = SPEC / "resources", []
    if known is not None and given is None:
        return [forbidden(path, "pod-level resources cannot be removed")]
    if known is not None:
        found = [
            forbidden(path / field, f"pod-level resource {field} cannot be removed")
            for field in ("requests", "limits")
            if set((known or {}).get(field) or {}) - set((given or {}).get(field) or {})
        ]
    if _without_resizable(given or {}) != _without_resizable(known or {}):
        found.append(forbidden(SPEC, f"{ONLY} at pod-level"))
    return found


def _moved(new: Object, old: Object) -> list[FieldError]:
    """Return whether containers came, went, or changed their order or names."""
    found: list[FieldError] = []
    for field in ("containers", "initContainers"):
        given, known = [c.get("name") for c in new.get(field) or ()], [c.get("name") for c in old.get(field) or ()]
        if len(given) != len(known):
            found.append(forbidden(SPEC / field, f"{field} may not be added or removed on resize"))
            continue
        text = f"{field} may not be renamed or reordered on resize"
        found += [forbidden((SPEC / field).at(i) / "name", text) for i, name in enumerate(given) if name != known[i]]
    return found


def _removed(new: Object, old: Object) -> list[FieldError]:
    found: list[FieldError] = []
    for field in ("initContainers", "containers"):
        for i, (given, known) in enumerate(zip(new.get(field) or (), old.get(field) or (), strict=True)):
            path = (SPEC / field).at(i) / "resources"
            for kind in ("requests", "limits"):
                if set((known.get("resources") or {}).get(kind) or {}) - set((given.get("resources") or {}).get(kind) or {}):
                    found.append(forbidden(path / kind, f"resource {kind} cannot be removed"))
    return found


def _other_changes(new: Object, old: Object) -> list[FieldError]:
    """Return where something else than cpu and memory changed."""
    found: list[FieldError] = []
    for given, known in zip(new.get("containers") or (), old.get("containers") or (), strict=True):
        if _masked(given) != _masked(known):
            found.append(forbidden(SPEC, ONLY))
    for i, (given, known) in enumerate(zip(new.get("initContainers") or (), old.get("initContainers") or (), strict=True)):
        path = (SPEC / "initContainers").at(i)
        if _masked(given) != _masked(known):
            found.append(forbidden(path, "only cpu and memory resources for init or sidecar containers are mutable"))
        restarts = any(p.get("restartPolicy") == "RestartContainer" for p in given.get("resizePolicy") or ())
        if given != known and given.get("restartPolicy") != "Always" and restarts:
            found.append(forbidden(path, "non-sidecar init containers with a resize policy of RestartContainer cannot be resized"))
    return found


def _masked(container: Object) -> Object:
    """Return a container without the resources that may change; the other fields are compared."""
    return {**container, "resources": _without_resizable(container.get("resources") or {})}


def _without_resizable(resources: Mapping[str, Object]) -> Object:
    lists = {f: {k: v for k, v in (resources.get(f) or {}).items() if k not in RESIZABLE} for f in ("requests", "limits")}
    return {**resources, **lists}


def _ephemeral(new: Object, old: Object) -> list[FieldError]:
    path = SPEC / "ephemeralContainers"
    if MIRROR in (old["metadata"].get("annotations") or {}):
        return [forbidden("", "static pods do not support ephemeral containers")]
    given = {c.get("name"): c for c in new["spec"].get("ephemeralContainers") or ()}
    found: list[FieldError] = []
    for known in old["spec"].get("ephemeralContainers") or ():
        if known["name"] not in given:
            found.append(forbidden(path, f'existing ephemeral containers "{known["name"]}" may not be removed\n'))
        elif given[known["name"]] != known:
            new_one = given[known["name"]]
            changed = ", ".join(sorted(k for k in new_one.keys() | known.keys() if new_one.get(k) != known.get(k)))
            found.append(forbidden(path, f'existing ephemeral containers "{known["name"]}" may not be changed\nchanged: {changed}'))
    return found
