"""Rules of what makes pods."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from moorings_core.ports.objects import Object
from moorings_core.registry.selectors import from_label_selector

from . import names, shown_claims
from .errors import FieldError, Path, forbidden, invalid, not_supported, required
from .placement import label_selector, shown_selector
from .pods import template
from .storage import claim_spec

SPEC = Path("spec")
ALWAYS = ("Always",)
IMMUTABLE = "field is immutable"
COUNTS: Mapping[str, int | None] = {"MaxUnavailable": 0, "MaxSurge": 0}
PARTITION: Mapping[str, int | None] = {"Partition": 0, "MaxUnavailable": None}
SHARE = re.compile(r"[0-9]+%")


def _pods_of(spec: Object, word: str, kind: str, wrong: str = "invalid label selector") -> list[FieldError]:
    """Return what is wrong with a selector and the template that it must select; kind: whose template it is, in upstream's words."""
    selector, found = spec.get("selector"), list[FieldError]()
    if selector is None:
        found.append(required(SPEC / "selector"))
    else:
        found += (bad := label_selector(selector, SPEC / "selector"))
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            found.append(invalid(SPEC / "selector", selector, f"empty selector is invalid for {word}"))
        if bad:
            found.append(invalid(SPEC / "selector", shown_selector(selector), wrong))
            return found + (_for_ever(spec, kind) if kind == "StatefulSet" else [])
    empty = selector is not None and not selector.get("matchLabels") and not selector.get("matchExpressions")
    labels = template_labels(spec)
    if not empty and (selector is None or not from_label_selector(selector).matches(labels)):
        text = "`selector` does not match template `labels`"
        found.append(invalid(SPEC / "template" / "metadata" / "labels", labels or None, text))
    return found + _template(spec, kind)


def _replica_set(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    return _not_negative(spec, "replicas", "minReadySeconds") + _pods_of(spec, "deployment", "ReplicaSet")


def _stateful_set(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    found = _stateful_ways(spec)
    for i, claim in enumerate(spec.get("volumeClaimTemplates") or ()):
        found += claim_spec(claim.get("spec") or {}, (SPEC / "volumeClaimTemplates").at(i) / "spec")
    found += _not_negative(spec, "replicas", "minReadySeconds")
    if (spec.get("ordinals") or {}).get("start", 0) < 0:
        found.append(invalid(SPEC / "ordinals.start", spec["ordinals"]["start"], "must be greater than or equal to 0"))
    if spec.get("serviceName") and (complaint := names.label(spec["serviceName"])):
        found.append(invalid(SPEC / "serviceName", spec["serviceName"], complaint))
    return found + _pods_of(_as_made(spec), "statefulset", "StatefulSet", "")


def _as_made(spec: Object) -> Object:
    """Return a spec whose template is as the controller makes pods of it: named by itself, with the volumes that it claims."""
    template = spec.get("template") or {}
    pod = {k: v for k, v in (template.get("spec") or {}).items() if k not in ("hostname", "subdomain")}
    claimed = [(claim.get("metadata") or {}).get("name", "") for claim in spec.get("volumeClaimTemplates") or ()]
    volumes = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in dict.fromkeys(claimed)]
    pod["volumes"] = [*volumes, *(v for v in pod.get("volumes") or () if v.get("name", "") not in claimed)]
    return {**spec, "template": {**template, "spec": pod}}


def _stateful_ways(spec: Object) -> list[FieldError]:
    """Return what is wrong with how a StatefulSet makes, changes and keeps what it has."""
    found: list[FieldError] = []
    management, update = spec.get("podManagementPolicy"), spec.get("updateStrategy") or {}
    if management not in ("OrderedReady", "Parallel"):
        where = SPEC / "podManagementPolicy"
        found.append(invalid(where, management, "must be 'OrderedReady' or 'Parallel'") if management else required(where))
    where, kind, rolling = SPEC / "updateStrategy", update.get("type"), update.get("rollingUpdate")
    if not kind:
        found.append(required(where))
    elif kind == "OnDelete" and rolling is not None:
        found.append(invalid(where / "rollingUpdate", _shown(rolling, PARTITION), "only allowed for updateStrategy 'RollingUpdate'"))
    elif kind == "RollingUpdate" and rolling:
        found += _stateful_rolling(rolling, where / "rollingUpdate")
    elif kind not in ("OnDelete", "RollingUpdate"):
        shown = {"Type": kind, "RollingUpdate": _shown(rolling, PARTITION)}
        found.append(invalid(where, shown, "must be 'RollingUpdate' or 'OnDelete'"))
    kept = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for field in ("whenDeleted", "whenScaled"):
        if kept.get(field) not in (None, "Retain", "Delete"):
            place = SPEC / "persistentVolumeClaimRetentionPolicy" / field
            found.append(not_supported(place, kept[field], ("Retain", "Delete")))
    return found


def _shown(rolling: Object | None, empty: Mapping[str, int | None]) -> Object | None:
    """Return how updates roll as upstream's own structure has it; empty: what its fields hold of themselves."""
    return rolling if rolling is None else {field: rolling.get(field[0].lower() + field[1:], value) for field, value in empty.items()}


def _stateful_rolling(rolling: Object, path: Path) -> list[FieldError]:
    found, loss, where = not_negative(rolling, path, "partition"), rolling.get("maxUnavailable"), path / "maxUnavailable"
    found += count_or_share(loss, where)
    if loss is not None and _is_none(loss):
        found.append(invalid(where, loss, "cannot be 0"))
    return found + no_more_than_all(loss, where)


def _deployment(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    found = _not_negative(spec, "replicas") + _pods_of(spec, "deployment", "ReplicaSet") + _strategy(spec.get("strategy") or {})
    return found + _not_negative(spec, "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds") + _deadline(spec)


def _strategy(strategy: Object) -> list[FieldError]:
    kind, rolling, path = strategy.get("type"), strategy.get("rollingUpdate"), SPEC / "strategy"
    if kind == "RollingUpdate":
        return _rolling(rolling, path / "rollingUpdate") if rolling else []
    if kind == "Recreate":
        text = "may not be specified when strategy `type` is 'Recreate'"
        return [] if rolling is None else [forbidden(path / "rollingUpdate", text)]
    return [not_supported(path, {"Type": kind or "", "RollingUpdate": _shown(rolling, COUNTS)}, ("Recreate", "RollingUpdate"))]


def _rolling(rolling: Object, path: Path) -> list[FieldError]:
    found = [e for f in ("maxUnavailable", "maxSurge") for e in count_or_share(rolling.get(f), path / f)]
    if all(_is_none(rolling.get(f)) for f in ("maxSurge", "maxUnavailable")):
        found.append(invalid(path / "maxUnavailable", rolling["maxUnavailable"], "may not be 0 when `maxSurge` is 0"))
    return found + no_more_than_all(rolling.get("maxUnavailable"), path / "maxUnavailable")


def count_or_share(value: object, path: Path) -> list[FieldError]:
    """Return what is wrong with a number of pods, or a share of them in percent."""
    if isinstance(value, str) and not SHARE.fullmatch(value):
        text = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for"
        return [invalid(path, value, f"{text} validation is '[0-9]+%')")]
    if isinstance(value, int) and value < 0:
        return [invalid(path, value, "must be greater than or equal to 0")]
    return []


def no_more_than_all(value: object, path: Path) -> list[FieldError]:
    """Return whether a share of pods is more than all of them."""
    share = int(value.rstrip("%")) if isinstance(value, str) and SHARE.fullmatch(value) else 0
    return [invalid(path, value, "must not be greater than 100%")] if share > 100 else []


def _is_none(value: object) -> bool:
    """Whether this many pods are none; what is neither a number nor a share counts as none."""
    return not (int(value.rstrip("%")) if SHARE.fullmatch(value) else 0) if isinstance(value, str) else not value


def _deadline(spec: Object) -> list[FieldError]:
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is None or deadline > spec.get("minReadySeconds", 0):
        return []
    return [invalid(SPEC / "progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")]


def _daemons(spec: Object) -> list[FieldError]:
    selector = spec.get("selector")
    found = label_selector(selector, SPEC / "selector")
    labels = template_labels(spec)
    if not found and not (selector and from_label_selector(selector).matches(labels)):
        text = "`selector` does not match template `labels`"
        if selector is None or selector.get("matchLabels") or selector.get("matchExpressions"):
            found.append(invalid(SPEC / "template" / "metadata" / "labels", labels or None, text))
    if selector is not None and not selector.get("matchLabels") and not selector.get("matchExpressions"):
        found.append(invalid(SPEC / "selector", selector, "empty selector is invalid for daemonset"))
    return found + _template(spec, "DaemonSet") + _not_negative(spec, "minReadySeconds")


def _daemon_set(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    found = _daemons(spec) + _daemon_update(spec.get("updateStrategy") or {}, SPEC / "updateStrategy")
    return found + _not_negative(spec, "revisionHistoryLimit")


def _daemon_update(update: Object, path: Path) -> list[FieldError]:
    rolling = update.get("rollingUpdate")
    if update.get("type") not in ("RollingUpdate", "OnDelete"):
        shown = {"Type": update.get("type", ""), "RollingUpdate": _shown(rolling, COUNTS)}
        return [not_supported(path, shown, ("RollingUpdate", "OnDelete"))]
    if update["type"] == "OnDelete" or rolling is None:
        return []
    path, fields = path / "rollingUpdate", ("maxUnavailable", "maxSurge")
    found = [e for rule in (count_or_share, no_more_than_all) for f in fields for e in rule(rolling.get(f), path / f)]
    loss, surge = (not _is_none(rolling.get(f)) for f in fields)
    if surge and loss:
        found.append(invalid(path / "maxSurge", rolling["maxSurge"], "may not be set when maxUnavailable is non-zero"))
    if not surge and not loss:
        found.append(required(path / "maxUnavailable", "cannot be 0 when maxSurge is 0"))
    return found


def _controller(obj: Object) -> list[FieldError]:
    spec, path = obj.get("spec") or {}, SPEC / "template"
    selector, template = spec.get("selector") or {}, spec.get("template")
    found = [] if selector else [required(SPEC / "selector")]
    if template is None:
        found.append(required(path))
    else:
        labels = template_labels(spec)
        if not selector.items() <= labels.items():
            text = "`selector` does not match template `labels`"
            found.append(invalid(path / "metadata" / "labels", labels or None, text))
        found += _template(spec, "ReplicationController")
    return found + _not_negative(spec, "replicas", "minReadySeconds")


def _revision(obj: Object) -> list[FieldError]:
    number, data = obj.get("revision", 0), obj.get("data")
    found = [] if number >= 0 else [invalid("revision", number, "must be greater than or equal to 0")]
    if data is None:
        return [*found, required(Path("data"), "data is mandatory")]
    return found if isinstance(data, dict) else [*found, required(Path("data"), "data must be a valid JSON object")]


def _revision_fixed(new: Object, old: Object) -> list[FieldError]:
    return [] if new.get("data") == old.get("data") else [invalid("data", new.get("data"), IMMUTABLE)]


def selector_fixed(new: Object, old: Object) -> list[FieldError]:
    """Return whether a selector was changed, which would lose pods."""
    if new["spec"].get("selector") != old["spec"].get("selector"):
        return [invalid(SPEC / "selector", new["spec"].get("selector"), IMMUTABLE)]
    return []


def _as_it_is(value: object) -> object:
    return value


_STATEFUL_FIXED: Mapping[str, Callable[[Any], object]] = {
    "selector": _as_it_is,
    "volumeClaimTemplates": shown_claims.shown,
    "serviceName": _as_it_is,
    "podManagementPolicy": _as_it_is,
}
"""What of a StatefulSet may not change, with how it is shown"""


def _stateful_fixed(new: Object, old: Object) -> list[FieldError]:
    return [
        invalid(SPEC / field, show(new["spec"].get(field)), IMMUTABLE)
        for field, show in _STATEFUL_FIXED.items()
        if new["spec"].get(field) != old["spec"].get(field)
    ]


def _not_negative(spec: Object, *fields: str) -> list[FieldError]:
    return not_negative(spec, SPEC, *fields)


def not_negative(holder: Object, path: Path, *fields: str) -> list[FieldError]:
    """Return which numbers are less than nothing."""
    return [
        invalid(path / field, holder[field], "must be greater than or equal to 0")
        for field in fields
        if holder.get(field) is not None and holder[field] < 0
    ]


def template_labels(spec: Object) -> dict[str, str]:
    """Return the labels of a template, in order."""
    return dict(sorted((((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}).items()))


def _template(spec: Object, kind: str) -> list[FieldError]:
    """Return what is wrong with the template of pods that run for ever."""
    return template(spec.get("template") or {}, SPEC / "template") + _for_ever(spec, kind)


def _for_ever(spec: Object, kind: str) -> list[FieldError]:
    """Return what of a template's pods lets them end."""
    pod, path, found = (spec.get("template") or {}).get("spec") or {}, SPEC / "template" / "spec", list[FieldError]()
    if (policy := pod.get("restartPolicy", "Always")) != "Always":
        found.append(not_supported(path / "restartPolicy", policy, ALWAYS))
    if pod.get("activeDeadlineSeconds") is not None:
        found.append(forbidden(path / "activeDeadlineSeconds", f"activeDeadlineSeconds in {kind} is not Supported"))
    return found


CREATE = {
    ("apps", "deployments"): _deployment,
    ("apps", "replicasets"): _replica_set,
    ("apps", "statefulsets"): _stateful_set,
    ("apps", "daemonsets"): _daemon_set,
    ("", "replicationcontrollers"): _controller,
    ("apps", "controllerrevisions"): _revision,
}
UPDATE = {
    ("apps", "deployments"): selector_fixed,
    ("apps", "replicasets"): selector_fixed,
    ("apps", "daemonsets"): selector_fixed,
    ("apps", "statefulsets"): _stateful_fixed,
    ("apps", "controllerrevisions"): _revision_fixed,
}
