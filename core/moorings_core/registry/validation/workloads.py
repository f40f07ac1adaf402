"""Rules of what makes pods."""

from __future__ import annotations

from moorings_core.ports.objects import Object
from moorings_core.registry.selectors import from_label_selector

from .errors import FieldError, Path, forbidden, invalid, not_supported, required
from .metadata import check_labels
from .pods import pod_spec

SPEC = Path("spec")
ALWAYS = ("Always",)
ONCE = ("OnFailure", "Never")
IMMUTABLE = "field is immutable"


def _workload(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    found = _not_negative(spec, "replicas", "revisionHistoryLimit", "minReadySeconds", "progressDeadlineSeconds")
    return found + _selector(spec) + _template(spec, ALWAYS)


def _deployment(obj: Object) -> list[FieldError]:
    strategy = (obj.get("spec") or {}).get("strategy") or {}
    kind, path = strategy.get("type"), SPEC / "strategy"
    found = _workload(obj)
    if kind not in ("Recreate", "RollingUpdate"):
        found.append(not_supported(path / "type", kind or "", ("Recreate", "RollingUpdate")))
    rolling = strategy.get("rollingUpdate")
    if kind == "Recreate" and rolling is not None:
        found.append(forbidden(path / "rollingUpdate", "may not be specified when strategy `type` is 'Recreate'"))
    if kind == "RollingUpdate" and rolling and all(str(rolling.get(f)).rstrip("%") == "0" for f in ("maxSurge", "maxUnavailable")):
        found.append(invalid(path / "rollingUpdate" / "maxUnavailable", rolling["maxUnavailable"], "may not be 0 when `maxSurge` is 0"))
    return found


def _job(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    found = _not_negative(spec, "parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished")
    if spec.get("completionMode") == "Indexed" and spec.get("completions") is None:
        found.append(required(SPEC / "completions", "when completion mode is Indexed"))
    return found + _template(spec, ONCE, "template")


def _cron_job(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    found = [] if spec.get("schedule") else [required(SPEC / "schedule")]
    template = ((spec.get("jobTemplate") or {}).get("spec") or {}).get("template") or {}
    return found + pod_spec(template.get("spec") or {}, Path("spec.jobTemplate.spec.template.spec"), ONCE)


def _controller(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    return _not_negative(spec, "replicas", "minReadySeconds") + _template(spec, ALWAYS)


def _selector_fixed(new: Object, old: Object) -> list[FieldError]:
    if new["spec"].get("selector") != old["spec"].get("selector"):
        return [invalid(SPEC / "selector", new["spec"].get("selector"), IMMUTABLE)]
    return []


def _job_fixed(new: Object, old: Object) -> list[FieldError]:
    found = _selector_fixed(new, old)
    for field in ("completions", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"):
        if new["spec"].get(field) != old["spec"].get(field):
            found.append(invalid(SPEC / field, new["spec"].get(field), IMMUTABLE))
    if new["spec"].get("template") != old["spec"].get("template") and not old["spec"].get("suspend"):
        found.append(invalid(SPEC / "template", new["spec"].get("template"), IMMUTABLE))
    return found


def _stateful_fixed(new: Object, old: Object) -> list[FieldError]:
    free = (
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    )
    if {k: v for k, v in new["spec"].items() if k not in free} != {k: v for k, v in old["spec"].items() if k not in free}:
        listed = ", ".join(f"'{f}'" for f in free[:-1]) + f" and '{free[-1]}'"
        return [forbidden(SPEC, f"updates to statefulset spec for fields other than {listed} are forbidden")]
    return []


def _not_negative(spec: Object, *fields: str) -> list[FieldError]:
    return [
        invalid(SPEC / field, spec[field], "must be greater than or equal to 0")
        for field in fields
        if spec.get(field) is not None and spec[field] < 0
    ]


def _selector(spec: Object) -> list[FieldError]:
    selector = spec.get("selector")
    if selector is None:
        return [required(SPEC / "selector")]
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        return [invalid(SPEC / "selector", selector, "empty selector is invalid for deployment")]
    try:
        matches = from_label_selector(selector).matches(((spec.get("template") or {}).get("metadata") or {}).get("labels") or {})
    except ValueError as error:
        return [invalid(SPEC / "selector", selector, str(error))]
    if matches:
        return []
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    return [invalid(SPEC / "template" / "metadata" / "labels", labels, "`selector` does not match template `labels`")]


def _template(spec: Object, restart_policies: tuple[str, ...], field: str = "template") -> list[FieldError]:
    template = spec.get(field) or {}
    path = SPEC / field
    found = check_labels((template.get("metadata") or {}).get("labels") or {}, path / "labels")
    return found + pod_spec(template.get("spec") or {}, path / "spec", restart_policies)


CREATE = {
    ("apps", "deployments"): _deployment,
    ("apps", "replicasets"): _workload,
    ("apps", "statefulsets"): _workload,
    ("apps", "daemonsets"): _workload,
    ("", "replicationcontrollers"): _controller,
    ("batch", "jobs"): _job,
    ("batch", "cronjobs"): _cron_job,
}
UPDATE = {
    ("apps", "deployments"): _selector_fixed,
    ("apps", "replicasets"): _selector_fixed,
    ("apps", "daemonsets"): _selector_fixed,
    ("apps", "statefulsets"): _stateful_fixed,
    ("batch", "jobs"): _job_fixed,
}
