"""What may become of a pod's spec: images, a shorter deadline, more tolerations, fewer gates. Source: upstream's ValidatePodUpdate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from moorings_core.ports.objects import Object

from .errors import FieldError, Path, forbidden, invalid, required

SPEC = Path("spec")
INT32_MOST = 2147483647
IMMUTABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
TERMS = SPEC / "affinity" / "nodeAffinity" / "requiredDuringSchedulingIgnoredDuringExecution" / "nodeSelectorTerms"
NO_ACCOUNT = "must not be specified when serviceAccountName is not set"


def _tokens(spec: Object) -> Iterator[Path]:
    """Yield the paths of tokens of the pod's account among its files; a new pod has an account by then."""
    for i, volume in enumerate(spec.get("volumes") or ()):
        for j, source in enumerate((volume.get("projected") or {}).get("sources") or ()):
            if source.get("serviceAccountToken") is not None:
                yield ((SPEC / "volumes").at(i) / "projected" / "sources").at(j) / "serviceAccountToken"


def pod_update(new: Object, old: Object) -> list[FieldError]:
    """Return which changes of a pod's spec may not be."""
    after, before = new["spec"], old["spec"]
    found = [] if after.get("serviceAccountName") else [forbidden(path, NO_ACCOUNT) for path in _tokens(after)]
    for field in ("containers", "initContainers"):
        now, was = after.get(field) or [], before.get(field) or []
        if len(now) != len(was):
            return [*found, forbidden(SPEC / field, "pod updates may not add or remove containers")]
        found += [error for i, container in enumerate(now) for error in _image(container, (SPEC / field).at(i))]
    late, stop = _deadline(after.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds"))
    found += late
    if stop:
        return found
    found += _tolerations(after.get("tolerations") or (), before.get("tolerations") or ())
    known = [gate.get("name", "") for gate in before.get("schedulingGates") or ()]
    for i, gate in enumerate(after.get("schedulingGates") or ()):
        if gate.get("name", "") not in known:
            text = f"only deletion is allowed, but found new scheduling gate '{gate.get('name', '')}'"
            found.append(forbidden((SPEC / "schedulingGates").at(i) / "name", text))
    masked = _masked(after, before)
    if known:
        found += _narrowed(masked, before)
    changed = sorted(_differing(masked, before, "spec"))
    return [*found, forbidden("spec", f"{IMMUTABLE}\nchanged: {', '.join(changed)}")] if changed else found


def _image(container: Object, path: Path) -> list[FieldError]:
    image = container.get("image") or ""
    if not image:
        return [required(path / "image")]
    return [] if image == image.strip() else [invalid(path / "image", image, "must not have leading or trailing whitespace")]


def _deadline(now: int | None, was: int | None) -> tuple[list[FieldError], bool]:
    """Return what is wrong with a pod's new deadline, and whether that is all that is told."""
    path = SPEC / "activeDeadlineSeconds"
    if now is None:
        return ([] if was is None else [invalid(path, None, "must not update from a positive integer to nil value")]), False
    if not 0 <= now <= INT32_MOST:
        return [invalid(path, now, f"must be between 0 and {INT32_MOST}, inclusive")], True
    if was is not None and was < now:
        return [invalid(path, now, "must be less than or equal to previous value")], True
    return [], False


def _tolerations(now: Sequence[Object], was: Sequence[Object]) -> list[FieldError]:
    kept = [_timeless(each) for each in now]
    if all(_timeless(each) in kept for each in was):
        return []
    return [forbidden(SPEC / "tolerations", "existing toleration can not be modified except its tolerationSeconds")]


def _timeless(toleration: Object) -> Object:
    return {field: value for field, value in toleration.items() if field != "tolerationSeconds"}


def _masked(after: Object, before: Object) -> Object:
    """Return a spec with what may change as it was before."""
    masked = dict(after)
    for field in ("containers", "initContainers"):
        if field in after and field in before:
            masked[field] = [{**n, "image": o.get("image")} for n, o in zip(after[field], before[field], strict=True)]
    free = ["activeDeadlineSeconds", "schedulingGates", "tolerations"]
    if (before.get("terminationGracePeriodSeconds") or 0) < 0 and after.get("terminationGracePeriodSeconds") == 1:
        free.append("terminationGracePeriodSeconds")
    for field in free:
        masked.pop(field, None)
        if field in before:
            masked[field] = before[field]
    return masked


def _narrowed(masked: Object, before: Object) -> list[FieldError]:
    """Return what is wrong with where a gated pod may now run, which may only be fewer places; what is right is masked."""
    found: list[FieldError] = []
    now, was = masked.get("nodeSelector") or {}, before.get("nodeSelector") or {}
    if any(now.get(key) != value for key, value in was.items()):
        text = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        found.append(invalid(SPEC / "nodeSelector", now or None, text))
    _as_before(masked, before, "nodeSelector")
    node, node_before = (((s.get("affinity") or {}).get("nodeAffinity") or {}) for s in (masked, before))
    if node != node_before:
        found += _terms(node, node_before)
        affinity = {k: v for k, v in (masked.get("affinity") or {}).items() if k != "nodeAffinity"}
        if node_before:
            affinity["nodeAffinity"] = node_before
        masked["affinity"] = affinity
        if not affinity:
            _as_before(masked, before, "affinity")
    return found


def _as_before(masked: Object, before: Object, field: str) -> None:
    masked.pop(field, None)
    if field in before:
        masked[field] = before[field]


def _terms(now: Object, was: Object) -> list[FieldError]:
    hard = "requiredDuringSchedulingIgnoredDuringExecution"
    after, before = ((affinity.get(hard) or {}).get("nodeSelectorTerms") or [] for affinity in (now, was))
    if before and len(after) != len(before):
        return [invalid(TERMS, after or None, "no additions/deletions to non-empty NodeSelectorTerms list are allowed")]
    text = "only additions are allowed (no mutations or deletions)"
    return [invalid(TERMS.at(i), after[i], text) for i, term in enumerate(before) if not _only_more(after[i], term)]


def _only_more(now: Object, was: Object) -> bool:
    if not was.get("matchExpressions") and not was.get("matchFields"):
        return not now.get("matchExpressions") and not now.get("matchFields")
    return all((now.get(f) or [])[: len(was.get(f) or [])] == (was.get(f) or []) for f in ("matchExpressions", "matchFields"))


def _differing(new: Any, old: Any, path: str) -> Iterator[str]:
    """Yield the paths of the values that differ."""
    if isinstance(new, dict) and isinstance(old, dict):
        for key in new.keys() | old.keys():
            yield from _differing(new.get(key), old.get(key), f"{path}.{key}")
    elif isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        for index, (a, b) in enumerate(zip(new, old, strict=True)):
            yield from _differing(a, b, f"{path}[{index}]")
    elif new != old:
        yield path
