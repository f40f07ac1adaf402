"""Rules of what makes pods."""

from __future__ import annotations

import re

from moorings_core.ports.objects import Object
from moorings_core.registry.selectors import from_label_selector

from . import names, schedule
from .errors import FieldError, Path, forbidden, invalid, not_supported, required
from .placement import label_selector
from .pods import template

SPEC = Path("spec")
ALWAYS = ("Always",)
ONCE = ("OnFailure", "Never")
CONCURRENCY = ("Allow", "Forbid", "Replace")
IMMUTABLE = "field is immutable"


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
            return [*found, invalid(SPEC / "selector", selector, wrong)]
    empty = selector is not None and not selector.get("matchLabels") and not selector.get("matchExpressions")
    labels = _template_labels(spec)
    if not empty and (selector is None or not from_label_selector(selector).matches(labels)):
        text = "`selector` does not match template `labels`"
        found.append(invalid(SPEC / "template" / "metadata" / "labels", labels or None, text))
    return found + _template(spec, kind)


def _replica_set(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    return _not_negative(spec, "replicas", "minReadySeconds") + _pods_of(spec, "deployment", "ReplicaSet")


def _stateful_set(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    found = _stateful_ways(spec) + _not_negative(spec, "replicas", "minReadySeconds")
    if (spec.get("ordinals") or {}).get("start", 0) < 0:
        found.append(invalid(SPEC / "ordinals.start", spec["ordinals"]["start"], "must be greater than or equal to 0"))
    if spec.get("serviceName") and (complaint := names.label(spec["serviceName"])):
        found.append(invalid(SPEC / "serviceName", spec["serviceName"], complaint))
    return found + _pods_of(spec, "statefulset", "StatefulSet", "") + _not_negative(spec, "revisionHistoryLimit")


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
        found.append(invalid(where / "rollingUpdate", rolling, "only allowed for updateStrategy 'RollingUpdate'"))
    elif kind == "RollingUpdate" and rolling:
        found += _stateful_rolling(rolling, where / "rollingUpdate")
    elif kind not in ("OnDelete", "RollingUpdate"):
        shown = {"Type": kind, "RollingUpdate": rolling and {k[0].upper() + k[1:]: v for k, v in rolling.items()}}
        found.append(invalid(where, shown, "must be 'RollingUpdate' or 'OnDelete'"))
    kept = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for field in ("whenDeleted", "whenScaled"):
        if kept.get(field) not in (None, "Retain", "Delete"):
            place = SPEC / "persistentVolumeClaimRetentionPolicy" / field
            found.append(not_supported(place, kept[field], ("Delete", "Retain")))
    return found


def _stateful_rolling(rolling: Object, path: Path) -> list[FieldError]:
    found = count_or_share(rolling.get("maxUnavailable"), path / "maxUnavailable")
    if rolling.get("partition", 0) < 0:
        found.append(invalid(path / "partition", rolling["partition"], "must be greater than or equal to 0"))
    return found


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
    shown = rolling and {"MaxUnavailable": rolling.get("maxUnavailable"), "MaxSurge": rolling.get("maxSurge")}
    return [not_supported(path, {"Type": kind or "", "RollingUpdate": shown}, ("Recreate", "RollingUpdate"))]


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
    given = spec.get("template") or {}
    policy, where = (given.get("spec") or {}).get("restartPolicy"), path / "template"
    found = template(given, where, (*ONCE, "Always", ""))
    if policy in ("Always", "", None):
        found.append(required(where / "spec" / "restartPolicy", 'valid values: "OnFailure", "Never"'))
    elif policy not in ONCE:
        found.append(not_supported(where / "spec" / "restartPolicy", policy, ONCE))
    return found


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


def _daemons(spec: Object) -> list[FieldError]:
    selector = spec.get("selector")
    found = label_selector(selector, SPEC / "selector")
    labels = _template_labels(spec)
    if not found and not (selector and from_label_selector(selector).matches(labels)):
        text = "`selector` does not match template `labels`"
        if selector is None or selector.get("matchLabels") or selector.get("matchExpressions"):
            found.append(invalid(SPEC / "template" / "metadata" / "labels", labels or None, text))
    if selector is not None and not selector.get("matchLabels") and not selector.get("matchExpressions"):
        found.append(invalid(SPEC / "selector", selector, "empty selector is invalid for daemonset"))
    return found + _template(spec, "DaemonSet") + _not_negative(spec, "minReadySeconds", "revisionHistoryLimit")


def _daemon_set(obj: Object) -> list[FieldError]:
    update = (obj.get("spec") or {}).get("updateStrategy") or {}
    path = SPEC / "updateStrategy"
    found = _daemons(obj.get("spec") or {})
    if update.get("type") not in ("RollingUpdate", "OnDelete"):
        shown = {"Type": update.get("type", ""), "RollingUpdate": update.get("rollingUpdate")}
        return [*found, not_supported(path, shown, ("RollingUpdate", "OnDelete"))]
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
    found, selector = _not_negative(spec, "minReadySeconds"), spec.get("selector") or {}
    if not selector:
        found.append(required(SPEC / "selector"))
    found += _not_negative(spec, "replicas")
    labels = _template_labels(spec)
    if selector and not selector.items() <= labels.items():
        text = "`selector` does not match template `labels`"
        found.append(invalid(SPEC / "template" / "metadata" / "labels", labels or None, text))
    return found + (_template(spec, "ReplicationController") if spec.get("template") is not None else [required(SPEC / "template")])


def _revision(obj: Object) -> list[FieldError]:
    number, data = obj.get("revision", 0), obj.get("data")
    found = [] if number >= 0 else [invalid("revision", number, "must be greater than or equal to 0")]
    if data is None:
        return [*found, required(Path("data"), "data is mandatory")]
    return found if isinstance(data, dict) else [*found, required(Path("data"), "data must be a valid JSON object")]


def _revision_fixed(new: Object, old: Object) -> list[FieldError]:
    return [] if new.get("data") == old.get("data") else [invalid("data", new.get("data"), IMMUTABLE)]


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


def _template_labels(spec: Object) -> dict[str, str]:
    return dict(sorted((((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}).items()))


def _template(spec: Object, kind: str) -> list[FieldError]:
    """Return what is wrong with the template of pods that run for ever."""
    given, path = spec.get("template") or {}, SPEC / "template"
    found, pod = template(given, path), given.get("spec") or {}
    if (policy := pod.get("restartPolicy", "Always")) != "Always":
        found.append(not_supported(path / "spec" / "restartPolicy", policy, ALWAYS))
    if pod.get("activeDeadlineSeconds") is not None:
        found.append(forbidden(path / "spec" / "activeDeadlineSeconds", f"activeDeadlineSeconds in {kind} is not Supported"))
    return found


CREATE = {
    ("apps", "deployments"): _deployment,
    ("apps", "replicasets"): _replica_set,
    ("apps", "statefulsets"): _stateful_set,
    ("apps", "daemonsets"): _daemon_set,
    ("", "replicationcontrollers"): _controller,
    ("apps", "controllerrevisions"): _revision,
    ("batch", "jobs"): _job,
    ("batch", "cronjobs"): _cron_job,
}
UPDATE = {
    ("apps", "deployments"): _selector_fixed,
    ("apps", "replicasets"): _selector_fixed,
    ("apps", "daemonsets"): _selector_fixed,
    ("apps", "statefulsets"): _stateful_fixed,
    ("apps", "controllerrevisions"): _revision_fixed,
    ("batch", "jobs"): _job_fixed,
}
