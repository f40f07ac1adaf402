"""Rules of metadata, for every kind."""

from __future__ import annotations

from collections.abc import Callable

from moorings_core.ports.objects import Object, Resource
from moorings_core.registry.facts import is_built_in

from . import names
from .errors import FieldError, Path, forbidden, invalid, required
from .formats import named, qualified
from .trust_bundles import unsigned_name

ANNOTATIONS_MOST = 256 * 1024
METADATA = Path("metadata")
OWNER = ("apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion")
"""The fields of a reference to an owner, of which the first four must be there"""
STANDARD_FINALIZERS = ("kubernetes", "orphan", "foregroundDeletion")
ANY_FINALIZER = {"admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io", "coordination.k8s.io", "node.k8s.io"}
"""Groups whose kinds are held to the rules of any API's objects only"""
_NAME_RULES: dict[tuple[str, str], Callable[[str], str]] = {
    ("", "namespaces"): names.label,
    ("", "services"): names.label,
    ("apps", "statefulsets"): names.label,
    ("policy", "poddisruptionbudgets"): names.path_segment,
    **{("rbac.authorization.k8s.io", p): names.path_segment for p in ("roles", "clusterroles", "rolebindings", "clusterrolebindings")},
    ("certificates.k8s.io", "clustertrustbundles"): unsigned_name,
    ("networking.k8s.io", "ipaddresses"): names.address,
    ("flowcontrol.apiserver.k8s.io", "flowschemas"): names.subdomain,
    ("apiregistration.k8s.io", "apiservices"): names.path_segment,
}


def check(resource: Resource, obj: Object) -> list[FieldError]:
    """Return what is wrong with an object's metadata."""
    metadata = obj["metadata"]
    found: list[FieldError] = []
    name = metadata.get("name", "")
    rule = _NAME_RULES.get((resource.group, resource.plural), names.subdomain)
    if prefix := metadata.get("generateName"):
        found += named(f"{prefix[:-2]}a" if len(prefix) > 1 and prefix.endswith("-") else prefix, METADATA / "generateName", rule)
    if not name:
        found.append(required(METADATA / "name", "name or generateName is required"))
    elif complaint := rule(name):
        found.append(invalid(METADATA / "name", name, complaint))
    found += check_labels(metadata.get("labels") or {}, METADATA / "labels")
    found += check_annotations(metadata.get("annotations") or {}, METADATA / "annotations")
    found += _owners(metadata.get("ownerReferences") or ())
    return found + _finalizers(resource, metadata.get("finalizers") or [])


def _finalizers(resource: Resource, given: list[str]) -> list[FieldError]:
    path = METADATA / "finalizers"
    found = [error for finalizer in given for error in qualified(finalizer, path)]
    if {"orphan", "foregroundDeletion"} <= set(given):
        found.append(invalid(path, given, "finalizer orphan and foregroundDeletion cannot be both set"))
    return found + [invalid(path.at(i), f, complaint) for i, f in enumerate(given) if (complaint := _unqualified(resource, f))]


def _unqualified(resource: Resource, finalizer: str) -> str:
    """Most built-in kinds know their plain finalizers; definitions, some others and custom resources may have any."""
    if "/" in finalizer or finalizer in STANDARD_FINALIZERS or resource.group in ANY_FINALIZER or not is_built_in(resource):
        return ""
    return "name is neither a standard finalizer name nor is it fully qualified"


def check_update(new: Object, old: Object) -> list[FieldError]:
    """Return which metadata may not change, or not any more."""
    found = []
    for field in ("name", "namespace"):
        if new["metadata"].get(field, "") != old["metadata"].get(field, ""):
            found.append(invalid(METADATA / field, new["metadata"].get(field, ""), "field is immutable"))
    if "deletionTimestamp" in old["metadata"]:
        known = set(old["metadata"].get("finalizers") or ())
        added = [f for f in new["metadata"].get("finalizers") or () if f not in known]
        if added:
            listed = ", ".join(f'"{f}"' for f in added)
            detail = f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{listed}}}"
            found.append(forbidden(METADATA / "finalizers", detail))
    return found


def check_labels(labels: Object, path: Path) -> list[FieldError]:
    """Return which labels have an impossible key or value."""
    found = []
    for key, value in labels.items():
        found += qualified(key, path)
        if complaint := names.label_value(str(value)):
            found.append(invalid(path, value, complaint))
    return found


def check_annotations(annotations: Object, path: Path) -> list[FieldError]:
    """Return which annotations have an impossible key, and whether they are too many."""
    found = [invalid(path, key, complaint) for key in annotations for complaint in names.label_key_complaints(key.lower())]
    if sum(len(k) + len(str(v)) for k, v in annotations.items()) > ANNOTATIONS_MOST:
        found.append(FieldError("FieldValueTooLong", path, f"Too long: may not be more than {ANNOTATIONS_MOST} bytes"))
    return found


def _owners(owners: list[Object] | tuple[()]) -> list[FieldError]:
    found: list[FieldError] = []
    for i, owner in enumerate(owners):
        path = (METADATA / "ownerReferences").at(i)
        version = owner.get("apiVersion", "")
        if version and (version.count("/") > 1 or version.endswith("/")):
            found.append(invalid(path / "apiVersion", version, "must be <group>/<version> or <version>"))
        found += [required(path / field, "must not be empty") for field in OWNER[:4] if not owner.get(field)]
        if (version, owner.get("kind")) == ("v1", "Event"):
            found.append(invalid(path, _shown(owner), "/v1, Kind=Event is disallowed from being an owner"))
    controllers = [f"{o.get('kind', '')}/{o.get('name', '')}" for o in owners if o.get("controller")]
    shown = [_shown(owner) for owner in owners]
    for other in controllers[1:]:
        detail = f'Only one reference can have Controller set to true. Found "true" in references for {controllers[0]} and {other}'
        found.append(invalid(METADATA / "ownerReferences", shown, detail))
    return found


def _shown(owner: Object) -> Object:
    """Return a reference as upstream shows it."""
    return {field: owner.get(field, "") for field in OWNER if field in owner or field in OWNER[:4]}
