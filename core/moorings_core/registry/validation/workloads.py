"""Rules of what makes pods."""

from __future__ import annotations

import re
from collections.abc import Callable

from moorings_core.ports.objects import Object
from moorings_core.registry.selectors import from_label_selector

from . import schedule
from .errors import FieldError, Path, forbidden, invalid, not_supported, required
from .metadata import check_labels
from .placement import label_selector
from .pods import pod_spec

SPEC = Path("spec")
ALWAYS = ("Always",)
ONCE = ("OnFailure", "Never")
CONCURRENCY = ("Allow", "Forbid", "Replace")
IMMUTABLE = "field is immutable"


def _workload(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    found = _not_negative(spec, "replicas", "revisionHistoryLimit", "minReadySeconds", "progressDeadlineSeconds")
    return found + _selector(spec) + _template(spec, ALWAYS)


def _kind_of(word: str) -> Callable[[Object], list[FieldError]]:
    def rule(obj: Object) -> list[FieldError]:
        spec = obj.get("spec") or {}
        found = _not_negative(spec, "replicas", "revisionHistoryLimit", "minReadySeconds")
        return found + _selector(spec, word) + _template(spec, ALWAYS)

    return rule


def _deployment(obj: Object) -> list[FieldError]:
    strategy = (obj.get("spec") or {}).get("strategy") or {}
    kind, path = strategy.get("type"), SPEC / "strategy"
    found = _workload(obj)
    if kind not in ("Recreate", "RollingUpdate"):
        found.append(not_supported(path / "type", kind or "", ("Recreate", "RollingUpdate")))
    rolling = strategy.get("rollingUpdate")
    if kind == "Recreate" and rolling is not None:
        found.append(forbidden(path / "rollingUpdate", "may not be specified when strategy `type` is 'Recreate'"))
    if kind == "RollingUpdate" and rolling:
        found += _rolling(rolling, path / "rollingUpdate")
    return found + _deadline(obj.get("spec") or {})


def _rolling(rolling: Object, path: Path) -> list[FieldError]:
    found = [e for f in ("maxUnavailable", "maxSurge") for e in count_or_share(rolling.get(f), path / f)]
    if not found and all(str(rolling.get(f)).rstrip("%") == "0" for f in ("maxSurge", "maxUnavailable")):
        found.append(invalid(path / "maxUnavailable", rolling["maxUnavailable"], "may not be 0 when `maxSurge` is 0"))
    return found


def count_or_share(value: object, path: Path) -> list[FieldError]:
    """Return what is wrong with a number of pods, or a share of them in percent."""
    if isinstance(value, str) and not re.fullmatch(r"[0-9]+%", value):
        text = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for"
        return [invalid(path, value, f"{text} validation is '[0-9]+%')")]
    if isinstance(value, int) and value < 0:
        return [invalid(path, value, "must be greater than or equal to 0")]
    if path.endswith("maxUnavailable") and isinstance(value, str) and int(value.rstrip("%")) > 100:
        return [invalid(path, value, "must not be greater than 100%")]
    return []


def _deadline(spec: Object) -> list[FieldError]:
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is None or deadline > spec.get("minReadySeconds", 0):
        return []
    return [invalid(SPEC / "progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")]


def _job(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    found = _not_negative(spec, "parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished")
    if spec.get("completionMode") == "Indexed" and spec.get("completions") is None:
        found.append(required(SPEC / "completions", "when completion mode is Indexed"))
    if spec.get("completionMode") not in ("Indexed", "NonIndexed"):
        found.append(not_supported(SPEC / "completionMode", spec.get("completionMode", ""), ("NonIndexed", "Indexed")))
    return found + _own_pods(obj) + check_once(spec, SPEC)


def _own_pods(job: Object) -> list[FieldError]:
    """Return whether a Job's selector and labels are others than those that the server makes from its uid."""
    spec, metadata = job.get("spec") or {}, job["metadata"]
    path = SPEC / "template" / "metadata" / "labels"
    labels = _template_labels(spec)
    found: list[FieldError] = []
    expected = {
        "controller-uid": metadata.get("uid", ""),
        "job-name": metadata.get("name", ""),
        "batch.kubernetes.io/controller-uid": metadata.get("uid", ""),
        "batch.kubernetes.io/job-name": metadata.get("name", ""),
    }
    selector = spec.get("selector")
    if selector is None:
        return [required(SPEC / "selector")]
    matcher = from_label_selector(selector)
    if not spec.get("manualSelector"):
        for key, value in expected.items():
            if key not in labels:
                found.append(required(path.at(key), f"must be '{value}'"))
            elif labels[key] != value:
                found.append(invalid(path.at(key), labels, f"must be '{value}'"))
        if not matcher.matches(expected):
            found.append(invalid(SPEC / "selector", selector, "`selector` not auto-generated"))
    if not matcher.matches(labels):
        found.append(invalid(path, labels, "`selector` does not match template `labels`"))
    return found


def check_once(spec: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with the template of pods that run to an end."""
    template = spec.get("template") or {}
    policy = (template.get("spec") or {}).get("restartPolicy")
    where = path / "template"
    found = check_labels((template.get("metadata") or {}).get("labels") or {}, where / "labels")
    if policy == "Always":
        found.append(required(where / "spec" / "restartPolicy", 'valid values: "OnFailure", "Never"'))
    allowed = (*ONCE, "Always") if policy == "Always" else ONCE
    return found + pod_spec(template.get("spec") or {}, where / "spec", allowed)


def _cron_job(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    found = [] if spec.get("schedule") else [required(SPEC / "schedule")]
    if spec.get("schedule") and (wrong := schedule.complaint(spec["schedule"])):
        found.append(invalid(SPEC / "schedule", spec["schedule"], wrong))
    if spec.get("timeZone") and schedule.unknown_zone(spec["timeZone"]):
        found.append(invalid(SPEC / "timeZone", spec["timeZone"], f"unknown time zone {spec['timeZone']}"))
    if spec.get("concurrencyPolicy") not in CONCURRENCY:
        found.append(not_supported(SPEC / "concurrencyPolicy", spec.get("concurrencyPolicy", ""), CONCURRENCY))
    found += _not_negative(spec, "startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit")
    return found + check_once((spec.get("jobTemplate") or {}).get("spec") or {}, Path("spec.jobTemplate.spec"))


def _daemon_set(obj: Object) -> list[FieldError]:
    update = (obj.get("spec") or {}).get("updateStrategy") or {}
    path = SPEC / "updateStrategy"
    found = _kind_of("daemonset")(obj)
    if update.get("type") not in ("RollingUpdate", "OnDelete"):
        return [*found, not_supported(path / "type", update.get("type", ""), ("OnDelete", "RollingUpdate"))]
    rolling = update.get("rollingUpdate")
    if update["type"] == "OnDelete" or rolling is None:
        return found
    path = path / "rollingUpdate"
    wrong = [e for f in ("maxUnavailable", "maxSurge") for e in count_or_share(rolling.get(f), path / f)]
    surge, loss = (str(rolling.get(f)).rstrip("%") != "0" for f in ("maxSurge", "maxUnavailable"))
    if not wrong and not surge and not loss:
        wrong.append(required(path / "maxUnavailable", "cannot be 0 when maxSurge is 0"))
    if not wrong and surge and loss:
        wrong.append(invalid(path / "maxSurge", rolling["maxSurge"], "may not be set when maxUnavailable is non-zero"))
    return found + wrong


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
    after, before = (_fixed_template(o["spec"], old) for o in (new, old))
    if after.get("metadata") != before.get("metadata"):
        found.append(invalid(SPEC / "template", new["spec"].get("template"), IMMUTABLE))
    elif after.get("spec") != before.get("spec"):
        found.append(invalid(SPEC / "template" / "spec", new["spec"]["template"]["spec"], IMMUTABLE))
    return found


def _fixed_template(spec: Object, old: Object) -> Object:
    """Return what of a Job's template may not change: all, but while it is suspended and has not begun, not where its pods may run."""
    template: Object = spec.get("template") or {}
    if not old["spec"].get("suspend") or (old.get("status") or {}).get("startTime"):
        return template
    free = ("nodeSelector", "affinity", "tolerations", "schedulingGates")
    pod = {k: v for k, v in (template.get("spec") or {}).items() if k not in free}
    pod["containers"] = [{**c, "resources": {}} for c in pod.get("containers") or ()]
    return {"metadata": {}, "spec": pod}


def _stateful_fixed(new: Object, old: Object) -> list[FieldError]:
    return [
        invalid(SPEC / field, new["spec"].get(field), IMMUTABLE)
        for field in ("selector", "volumeClaimTemplates", "serviceName", "podManagementPolicy")
        if new["spec"].get(field) != old["spec"].get(field)
    ]


def _not_negative(spec: Object, *fields: str) -> list[FieldError]:
    return [
        invalid(SPEC / field, spec[field], "must be greater than or equal to 0")
        for field in fields
        if spec.get(field) is not None and spec[field] < 0
    ]


def _selector(spec: Object, word: str = "deployment") -> list[FieldError]:
    selector = spec.get("selector")
    labels = _template_labels(spec)
    mismatch = invalid(SPEC / "template" / "metadata" / "labels", labels, "`selector` does not match template `labels`")
    if selector is None:
        return [required(SPEC / "selector"), mismatch]
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        return [invalid(SPEC / "selector", selector, f"empty selector is invalid for {word}")]
    if found := label_selector(selector, SPEC / "selector"):
        return found
    try:
        matches = from_label_selector(selector).matches(labels)
    except ValueError as error:
        return [invalid(SPEC / "selector", selector, str(error))]
    return [] if matches else [mismatch]


def _template_labels(spec: Object) -> dict[str, str]:
    return dict(sorted((((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}).items()))


def _template(spec: Object, restart_policies: tuple[str, ...]) -> list[FieldError]:
    template = spec.get("template") or {}
    path = SPEC / "template"
    found = check_labels((template.get("metadata") or {}).get("labels") or {}, path / "labels")
    return found + pod_spec(template.get("spec") or {}, path / "spec", restart_policies)


CREATE = {
    ("apps", "deployments"): _deployment,
    ("apps", "replicasets"): _kind_of("deployment"),
    ("apps", "statefulsets"): _kind_of("statefulset"),
    ("apps", "daemonsets"): _daemon_set,
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
