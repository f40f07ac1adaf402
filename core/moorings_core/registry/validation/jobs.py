"""Rules of Jobs and CronJobs. Source: upstream's pkg/apis/batch/validation, in its order."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from moorings_core.ports.objects import Object
from moorings_core.registry.selectors import from_label_selector

from . import job_status, names, schedule
from .errors import FieldError, Path, duplicate, invalid, not_supported, omitted, required, too_long, too_many
from .formats import domain_path, qualified
from .placement import label_selector
from .pods import template
from .workloads import IMMUTABLE, not_negative, selector_fixed, template_labels

SPEC = Path("spec")
ONCE = ("OnFailure", "Never")
CONCURRENCY = ("Allow", "Forbid", "Replace")
MODES = ("NonIndexed", "Indexed")
REPLACEMENTS = ("Failed", "TerminatingOrFailed")
ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
OPERATORS, STATUSES = ("In", "NotIn"), ("False", "True", "Unknown")
MOST_PARALLEL, MOST_COMPLETIONS, MOST_BESIDE = 100_000, 100_000, 10_000
MOST_RULES, MOST_VALUES, MOST_PATTERNS, MOST_MANAGER, MOST_INDEXES = 20, 255, 20, 63, 64 * 1024
MOST_CRON_NAME = 52
ABOVE = f"must be less than or equal to {MOST_BESIDE} when completions are above {MOST_COMPLETIONS} and used with backoff limit per index"
NOT_INDEXED = "requires indexed completion mode"
NO_MATCH = "`selector` does not match template `labels`"


def _job(obj: Object) -> list[FieldError]:
    return _whole_job(obj, new=True)


def _job_update(new: Object, old: Object) -> list[FieldError]:
    return _whole_job(new, new=False) + _job_fixed(new, old)


def _whole_job(obj: Object, *, new: bool) -> list[FieldError]:
    """Return what is wrong with a Job; new: its selector has to be the one that the server makes."""
    spec = obj.get("spec") or {}
    selector = spec.get("selector")
    wrong = label_selector(selector, SPEC / "selector")
    found = (_own_selector(obj) if new and not wrong and selector is not None else []) + job_spec(spec, SPEC)
    found += [required(SPEC / "selector")] if selector is None else wrong
    labels = template_labels(spec)
    if not wrong and not from_label_selector(selector).matches(labels):
        found.append(invalid(SPEC / "template" / "metadata" / "labels", labels or None, NO_MATCH))
    return found + _long_names(obj)


def _own_selector(job: Object) -> list[FieldError]:
    """Return whether a Job's selector and labels are others than those that the server makes from its uid."""
    spec, metadata = job["spec"], job["metadata"]
    if spec.get("manualSelector"):
        return []
    path, labels = SPEC / "template" / "metadata" / "labels", template_labels(spec)
    values = (("controller-uid", metadata.get("uid", "")), ("job-name", metadata.get("name", "")))
    expected = {f"{prefix}{name}": value for prefix in ("", "batch.kubernetes.io/") for name, value in values}
    found: list[FieldError] = []
    for key, value in expected.items():
        if key not in labels:
            found.append(required(path.at(key), f"must be '{value}'"))
        elif labels[key] != value:
            found.append(invalid(path.at(key), labels, f"must be '{value}'"))
    if not from_label_selector(spec["selector"]).matches(expected):
        found.append(invalid(SPEC / "selector", spec["selector"], "`selector` not auto-generated"))
    return found


def _long_names(job: Object) -> list[FieldError]:
    """Return whether the last pod of an indexed Job would have a name that is none."""
    spec, name = job.get("spec") or {}, job["metadata"].get("name", "")
    count = spec.get("completions") or 0
    last = f"{name}-{count - 1}"
    if spec.get("completionMode") != "Indexed" or count <= 0 or not names.label(last):
        return []
    return [invalid("metadata.name", name, f"will not able to create pod with invalid DNS label: {last}")]


def job_spec(spec: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with a JobSpec, of a Job or of a CronJob's template."""
    found = not_negative(spec, path, "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished")
    found += not_negative(spec, path, "backoffLimitPerIndex", "maxFailedIndexes")
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        found.append(required(path / "backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    manager = spec.get("managedBy")
    if manager is not None:
        found += domain_path(manager, path / "managedBy")
        found += [too_long(path / "managedBy", MOST_MANAGER)] if len(manager) > MOST_MANAGER else []
    found += _mode(spec, path)
    policy, success = spec.get("podFailurePolicy"), spec.get("successPolicy")
    if policy is not None:
        found += _failures(policy, spec, path / "podFailurePolicy")
    if success is not None and spec.get("completionMode") != "Indexed":
        shown = {"Rules": [_shown(rule) for rule in success.get("rules") or ()]}
        found.append(invalid(path / "successPolicy", shown, NOT_INDEXED))
    elif success is not None:
        found += _success(success.get("rules") or (), spec.get("completions") or 0, path / "successPolicy" / "rules")
    allowed = REPLACEMENTS if policy is None else REPLACEMENTS[:1]
    if spec.get("podReplacementPolicy") not in (None, *allowed):
        found.append(not_supported(path / "podReplacementPolicy", spec["podReplacementPolicy"], allowed))
    return found + check_once(spec, path)


def _shown(rule: Object) -> Object:
    return {"SucceededIndexes": rule.get("succeededIndexes"), "SucceededCount": rule.get("succeededCount")}


def _mode(spec: Object, path: Path) -> list[FieldError]:
    mode = spec.get("completionMode")
    found = [] if mode in (None, *MODES) else [not_supported(path / "completionMode", mode, MODES)]
    if mode == "Indexed":
        found += _indexed(spec, path)
    elif mode in (None, "NonIndexed"):
        fields = ("backoffLimitPerIndex", "maxFailedIndexes")
        found += [invalid(path / field, spec[field], NOT_INDEXED) for field in fields if spec.get(field) is not None]
    return found


def _indexed(spec: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with the numbers of a Job that counts its pods."""
    count, beside, failed = spec.get("completions"), spec.get("parallelism") or 0, spec.get("maxFailedIndexes")
    found = [required(path / "completions", "when completion mode is Indexed")] if count is None else []
    if beside > MOST_PARALLEL:
        text = f"must be less than or equal to {MOST_PARALLEL} when completion mode is Indexed"
        found.append(invalid(path / "parallelism", beside, text))
    if failed is not None and count is not None and failed > count:
        found.append(invalid(path / "maxFailedIndexes", failed, "must be less than or equal to completions"))
    if failed is not None and failed > MOST_COMPLETIONS:
        found.append(invalid(path / "maxFailedIndexes", failed, f"must be less than or equal to {MOST_COMPLETIONS}"))
    if (count or 0) <= MOST_COMPLETIONS or spec.get("backoffLimitPerIndex") is None:
        return found
    text = ABOVE
    if failed is None:
        found.append(required(path / "maxFailedIndexes", f"must be specified when completions is above {MOST_COMPLETIONS}"))
    if beside > MOST_BESIDE:
        found.append(invalid(path / "parallelism", beside, ABOVE))
    return found + ([invalid(path / "maxFailedIndexes", failed, ABOVE)] if (failed or 0) > MOST_BESIDE else [])


def _failures(policy: Object, spec: Object, path: Path) -> list[FieldError]:
    rules, where = policy.get("rules") or (), path / "rules"
    found = [too_many(where, len(rules), MOST_RULES)] if len(rules) > MOST_RULES else []
    pod = (spec.get("template") or {}).get("spec") or {}
    containers = {c.get("name", "") for field in ("containers", "initContainers") for c in pod.get(field) or ()}
    for i, rule in enumerate(rules):
        place, action, codes, patterns = where.at(i), rule.get("action", ""), rule.get("onExitCodes"), rule.get("onPodConditions") or ()
        if action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
            found.append(invalid(place / "action", action, "requires the backoffLimitPerIndex to be set"))
        found += _one_of(action, ACTIONS, place / "action")
        found += _codes(codes, place / "onExitCodes", containers) if codes is not None else []
        found += _patterns(patterns, place / "onPodConditions")
        if codes is not None and patterns:
            found.append(omitted(place, "specifying both OnExitCodes and OnPodConditions is not supported"))
        if codes is None and not patterns:
            found.append(omitted(place, "specifying one of OnExitCodes and OnPodConditions is required"))
    return found


def _one_of(value: str, known: Sequence[str], path: Path) -> list[FieldError]:
    if not value:
        listed = " ".join(f'"{one}"' for one in known)
        return [required(path, f"valid values: [{listed}]")]
    return [] if value in known else [not_supported(path, value, known)]


def _codes(codes: Object, path: Path, containers: Collection[str]) -> list[FieldError]:
    operator, container, values, where = codes.get("operator", ""), codes.get("containerName"), codes.get("values") or [], path / "values"
    found = _one_of(operator, OPERATORS, path / "operator")
    if container is not None and container not in containers:
        text = "must be one of the container or initContainer names in the pod template"
        found.append(invalid(path / "containerName", container, text))
    if not values:
        found.append(invalid(where, codes.get("values"), "at least one value is required"))
    elif len(values) > MOST_VALUES:
        found.append(too_many(where, len(values), MOST_VALUES))
    for i, value in enumerate(values):
        if operator == "In" and value == 0:
            found.append(invalid(where.at(i), value, "must not be 0 for the In operator"))
        if value in values[:i]:
            found.append(duplicate(where.at(i), value))
    return found if values == sorted(values) else [*found, invalid(where, values, "must be ordered")]


def _patterns(patterns: Sequence[Object], path: Path) -> list[FieldError]:
    found = [too_many(path, len(patterns), MOST_PATTERNS)] if len(patterns) > MOST_PATTERNS else []
    for i, pattern in enumerate(patterns):
        found += qualified(pattern.get("type", ""), path.at(i) / "type")
        found += _one_of(pattern.get("status", ""), STATUSES, path.at(i) / "status")
    return found


def _success(rules: Sequence[Object], completions: int, path: Path) -> list[FieldError]:
    text = "at least one rules must be specified when the successPolicy is specified"
    found = [] if rules else [required(path, text)]
    found += [too_many(path, len(rules), MOST_RULES)] if len(rules) > MOST_RULES else []
    return found + [error for i, rule in enumerate(rules) for error in _success_rule(rule, completions, path.at(i))]


def _success_rule(rule: Object, completions: int, path: Path) -> list[FieldError]:
    count, indexes, where = rule.get("succeededCount"), rule.get("succeededIndexes"), path / "succeededCount"
    total, found = 0, list[FieldError]()
    if count is None and indexes is None:
        found.append(required(path, "at least one of succeededCount or succeededIndexes must be specified"))
    if indexes is not None:
        found += [too_long(path / "succeededIndexes", MOST_INDEXES)] if len(indexes) > MOST_INDEXES else []
        try:
            total = _count(indexes, completions)
        except ValueError as error:
            found.append(invalid(path / "succeededIndexes", indexes, f"error parsing succeededIndexes: {error}"))
    if count is None:
        return found
    found += not_negative(rule, path, "succeededCount")
    if count > completions:
        text = f"must be less than or equal to {completions} (the number of specified completions)"
        found.append(invalid(where, count, text))
    if indexes is not None and count > total:
        text = f"must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
        found.append(invalid(where, count, text))
    return found


def _count(indexes: str, completions: int) -> int:
    """Return how many indexes a text like 1,3-5 names. Raises ValueError."""
    last, total = -1, 0
    for interval in indexes.split(",") if indexes else ():
        if interval.count("-") > 1:
            text = "violates the requirement that an index interval can have at most two parts separated by '-'"
            raise ValueError(f'the fragment "{interval}" {text}')
        first, _, end = interval.partition("-")
        start = _index(first, completions)
        stop = _index(end, completions) if "-" in interval else start
        if "-" in interval and start >= stop:
            raise ValueError(f"non-increasing order, previous: {start}, current: {stop}")
        if last >= start:
            raise ValueError(f"non-increasing order, previous: {last}, current: {start}")
        last, total = stop, total + stop - start + 1
    return total


def _index(text: str, completions: int) -> int:
    if not re.fullmatch(r"[+-]?\d+", text):
        raise ValueError(f'cannot convert string to integer for index: "{text}"')
    if int(text) >= completions:
        raise ValueError(f'too large index: "{text}"')
    return int(text)


def check_once(spec: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with the template of pods that run to an end."""
    given = spec.get("template") or {}
    policy, where = (given.get("spec") or {}).get("restartPolicy"), path / "template"
    found = template(given, where, (*ONCE, "Always", ""))
    if policy in ("Always", "", None):
        found.append(required(where / "spec" / "restartPolicy", 'valid values: "OnFailure", "Never"'))
    elif policy not in ONCE:
        found.append(not_supported(where / "spec" / "restartPolicy", policy, ONCE))
    elif policy != "Never" and spec.get("podFailurePolicy") is not None:
        text = 'only "Never" is supported when podFailurePolicy is specified'
        found.append(invalid(where / "spec" / "restartPolicy", policy, text))
    return found


def _cron_job(obj: Object) -> list[FieldError]:
    spec, name = obj.get("spec") or {}, obj["metadata"].get("name", "")
    found = _when(spec)
    if spec.get("concurrencyPolicy") not in CONCURRENCY:
        policy, where = spec.get("concurrencyPolicy", ""), SPEC / "concurrencyPolicy"
        found.append(not_supported(where, policy, CONCURRENCY) if policy else required(where))
    job, path = (spec.get("jobTemplate") or {}).get("spec") or {}, SPEC / "jobTemplate" / "spec"
    found += job_spec(job, path)
    if job.get("selector") is not None:
        found.append(invalid(path / "selector", job["selector"], "`selector` will be auto-generated"))
    if job.get("manualSelector"):
        found.append(not_supported(path / "manualSelector", True, ("nil", "false")))
    found += not_negative(spec, SPEC, "successfulJobsHistoryLimit", "failedJobsHistoryLimit")
    if len(name) > MOST_CRON_NAME and "resourceVersion" not in obj["metadata"]:
        found.append(invalid("metadata.name", name, f"must be no more than {MOST_CRON_NAME} characters"))
    return found if spec.get("schedule") else [*found, required(SPEC / "schedule")]


def _when(spec: Object) -> list[FieldError]:
    text, zone, found = spec.get("schedule", ""), spec.get("timeZone"), list[FieldError]()
    if text and (wrong := schedule.complaint(text)):
        found.append(invalid(SPEC / "schedule", text, wrong))
    if "TZ" in text:
        found.append(invalid(SPEC / "schedule", text, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"))
    found += not_negative(spec, SPEC, "startingDeadlineSeconds")
    if zone == "":
        found.append(invalid(SPEC / "timeZone", zone, "timeZone must be nil or non-empty string"))
    elif zone is not None and zone.lower() == "local":
        text = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        found.append(invalid(SPEC / "timeZone", zone, text))
    elif zone is not None and schedule.unknown_zone(zone):
        found.append(invalid(SPEC / "timeZone", zone, f"unknown time zone {zone}"))
    return found


def _job_fixed(new: Object, old: Object) -> list[FieldError]:
    found = _changed(new, old, "completions") + selector_fixed(new, old)
    after, before = (_fixed_template(o["spec"], old) for o in (new, old))
    if after.get("metadata") != before.get("metadata"):
        found.append(invalid(SPEC / "template", new["spec"].get("template"), IMMUTABLE))
    elif after.get("spec") != before.get("spec"):
        found.append(invalid(SPEC / "template" / "spec", new["spec"]["template"]["spec"], IMMUTABLE))
    return found + _changed(new, old, "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy")


def _changed(new: Object, old: Object, *fields: str) -> list[FieldError]:
    return [invalid(SPEC / f, new["spec"].get(f), IMMUTABLE) for f in fields if new["spec"].get(f) != old["spec"].get(f)]


def _fixed_template(spec: Object, old: Object) -> Object:
    """Return what of a Job's template may not change: all, but while it is suspended and has not begun, not where its pods may run."""
    template: Object = spec.get("template") or {}
    if not old["spec"].get("suspend") or (old.get("status") or {}).get("startTime"):
        return template
    free = ("nodeSelector", "affinity", "tolerations", "schedulingGates")
    pod = {k: v for k, v in (template.get("spec") or {}).items() if k not in free}
    pod["containers"] = [{**c, "resources": {}} for c in pod.get("containers") or ()]
    return {"metadata": {}, "spec": pod}


CREATE = {("batch", "jobs"): _job, ("batch", "cronjobs"): _cron_job}
UPDATE = {("batch", "jobs"): _job_update}
STATUS = {("batch", "jobs"): job_status.check_status}
