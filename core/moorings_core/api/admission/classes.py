"""Defaults and rules that come from classes: DefaultStorageClass, DefaultIngressClass, RuntimeClass, PersistentVolumeClaimResize,
and StorageObjectInUseProtection, which keeps what they made while it is in use.
"""

from __future__ import annotations

from collections.abc import Mapping

from moorings_core.ports.objects import Key, Object
from moorings_core.registry import quantity

from .attributes import Attributes
from .plugin import Step, World

STORAGE_DEFAULT = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
STORAGE_CLASS = "volume.beta.kubernetes.io/storage-class"
INGRESS_DEFAULT = "ingressclass.kubernetes.io/is-default-class"
INGRESS_CLASS = "kubernetes.io/ingress.class"
PROTECTION = {
    "persistentvolumes": "kubernetes.io/pv-protection",
    "persistentvolumeclaims": "kubernetes.io/pvc-protection",
    "volumeattributesclasses": "kubernetes.io/vac-protection",
}


def default_storage(world: World, a: Attributes) -> None:
    """Give a claim the default class."""
    spec = a.new["spec"]
    if spec.get("storageClassName") is None and STORAGE_CLASS not in _annotations(a.new):
        name = _newest_default(world, ("storage.k8s.io", "storageclasses"), STORAGE_DEFAULT)
        if name:
            spec["storageClassName"] = name


def default_ingress(world: World, a: Attributes) -> None:
    """Give an Ingress the default class."""
    spec = a.new.setdefault("spec", {})
    if spec.get("ingressClassName") is None and INGRESS_CLASS not in _annotations(a.new):
        name = _newest_default(world, ("networking.k8s.io", "ingressclasses"), (INGRESS_DEFAULT,))
        if name:
            spec["ingressClassName"] = name


def protect(world: World, a: Attributes) -> None:
    """Keep storage while it is in use."""
    finalizer, metadata = PROTECTION[a.resource.plural], a.new["metadata"]
    given = metadata.get("finalizers") or []
    if finalizer not in given:
        metadata["finalizers"] = [*given, finalizer]


def check_growth(world: World, a: Attributes) -> None:
    """Refuse that a claim grows which is not bound, or whose class does not let it."""
    old, new = a.old or {}, a.new
    if quantity.compare(_storage(new), _storage(old)) <= 0:
        return
    if (old.get("status") or {}).get("phase") != "Bound":
        raise a.forbidden("Only bound persistent volume claims can be expanded")
    name = _class_of(new)
    found = world.cache.collection("storage.k8s.io", "storageclasses").get(Key("", name)) if name and name == _class_of(old) else None
    if found is None or not found.object.get("allowVolumeExpansion"):
        text = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
        raise a.forbidden(text)


def run_by_class(world: World, a: Attributes) -> None:
    """Give a pod the overhead and the place of its RuntimeClass. Raises Forbidden."""
    spec, found = a.new["spec"], _runtime(world, a)
    if found is None:
        return
    overhead = (found.get("overhead") or {}).get("podFixed")
    if overhead is not None:
        if spec.get("overhead") and not _same(overhead, spec["overhead"]):
            raise a.forbidden("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
        spec["overhead"] = dict(overhead)
    scheduling = found.get("scheduling") or {}
    selector = dict(spec.get("nodeSelector") or {})
    for key, value in (scheduling.get("nodeSelector") or {}).items():
        if selector.setdefault(key, value) != value:
            pair = f"runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {selector[key]}"
            raise a.forbidden(f"conflict: {pair}")
    if selector:
        spec["nodeSelector"] = selector
    wanted = [t for t in scheduling.get("tolerations") or () if t not in (spec.get("tolerations") or ())]
    if wanted:
        spec["tolerations"] = [*(spec.get("tolerations") or ()), *wanted]


def check_overhead(world: World, a: Attributes) -> None:
    """Refuse an overhead that is not the class's."""
    given, found = a.new["spec"].get("overhead"), _runtime(world, a)
    wanted = ((found or {}).get("overhead") or {}).get("podFixed")
    if wanted is not None and not _same(wanted, given or {}):
        raise a.forbidden("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
    if wanted is None and given is not None:
        raise a.forbidden("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")


def _runtime(world: World, a: Attributes) -> Object | None:
    name = a.new["spec"].get("runtimeClassName")
    if name is None:
        return None
    found = world.cache.collection("node.k8s.io", "runtimeclasses").get(Key("", name))
    if found is None:
        raise a.forbidden(f'pod rejected: RuntimeClass "{name}" not found')
    return found.object


def _same(a: Mapping[str, str], b: Mapping[str, str]) -> bool:
    return a.keys() == b.keys() and all(quantity.compare(a[k], b[k]) == 0 for k in a)


def _newest_default(world: World, resource: tuple[str, str], marks: tuple[str, ...]) -> str:
    """Return the name of the class that is marked as default; of several the newest, of equally new ones the first by name."""
    classes = [s.object["metadata"] for s in world.cache.collection(*resource).select()]
    marked = [m for m in classes if any((m.get("annotations") or {}).get(mark) == "true" for mark in marks)]
    if not marked:
        return ""
    newest = max(m["creationTimestamp"] for m in marked)
    return str(min(m["name"] for m in marked if m["creationTimestamp"] == newest))


def _annotations(obj: Object) -> Object:
    return obj["metadata"].get("annotations") or {}


def _class_of(claim: Object) -> str:
    return str(_annotations(claim).get(STORAGE_CLASS) or claim["spec"].get("storageClassName") or "")


def _storage(claim: Object) -> str:
    resources = (claim.get("spec") or {}).get("resources") or {}
    return str((resources.get("requests") or {}).get("storage", "0"))


CLAIMS = ("", "persistentvolumeclaims")
MUTATE_STORAGE = (
    Step(default_storage, ("CREATE",), CLAIMS),
    Step(protect, ("CREATE",), CLAIMS),
    Step(protect, ("CREATE",), ("", "persistentvolumes")),
    Step(protect, ("CREATE",), ("storage.k8s.io", "volumeattributesclasses")),
)
MUTATE = (
    Step(run_by_class, ("CREATE",), ("", "pods")),
    Step(default_ingress, ("CREATE",), ("networking.k8s.io", "ingresses")),
)
VALIDATE = (Step(check_growth, ("UPDATE",), CLAIMS), Step(check_overhead, ("CREATE",), ("", "pods")))
