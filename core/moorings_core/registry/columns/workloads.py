"""Columns of what makes pods."""

from __future__ import annotations

import datetime
from collections.abc import Callable

from moorings_core.ports.objects import Object

from .column import AGE, NAME, Column, age, duration, field, labels, parse_time, selector


def _containers(path: Callable[[Object], Object]) -> tuple[Column, Column]:
    def listed(key: str) -> Callable[[Object, datetime.datetime], str]:
        return lambda obj, _: ",".join(c.get(key, "") for c in path(obj).get("containers", ()))

    return Column("Containers", listed("name"), priority=1), Column("Images", listed("image"), priority=1)


def _template(obj: Object) -> Object:
    spec: Object = obj["spec"]["template"]["spec"]
    return spec


def _number(name: str, path: str) -> Column:
    return field(name, path, 0, type="integer")


def _ratio(obj: Object, _: datetime.datetime) -> str:
    return f"{obj.get('status', {}).get('readyReplicas', 0)}/{obj['spec'].get('replicas', 1)}"


def _job_status(job: Object, _: datetime.datetime) -> str:
    true = {c["type"] for c in job.get("status", {}).get("conditions", ()) if c["status"] == "True"}
    for kind, word in (
        ("Complete", "Complete"),
        ("Failed", "Failed"),
        ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"),
    ):
        if kind in true:
            return word
    return "Terminating" if "deletionTimestamp" in job["metadata"] else "Running"


def _job_completions(job: Object, _: datetime.datetime) -> str:
    wanted, done = job["spec"].get("completions"), job.get("status", {}).get("succeeded", 0)
    if wanted is not None:
        return f"{done}/{wanted}"
    parallelism = job["spec"].get("parallelism", 1)
    return f"{done}/1 of {parallelism}" if parallelism > 1 else f"{done}/1"


def _job_duration(job: Object, now: datetime.datetime) -> str:
    status = job.get("status", {})
    if not status.get("startTime"):
        return ""
    end = status.get("completionTime")
    if end is None:
        return age(status["startTime"], now)
    return duration(int((parse_time(end) - parse_time(status["startTime"])).total_seconds()))


_SELECTOR = Column("Selector", lambda obj, _: selector(obj["spec"].get("selector")), priority=1)
_REPLICA_SET = (
    NAME,
    _number("Desired", "spec.replicas"),
    _number("Current", "status.replicas"),
    _number("Ready", "status.readyReplicas"),
    AGE,
    *_containers(_template),
)
COLUMNS = {
    ("apps", "deployments"): (
        NAME,
        Column("Ready", _ratio),
        field("Up-to-date", "status.updatedReplicas", 0),
        field("Available", "status.availableReplicas", 0),
        AGE,
        *_containers(_template),
        _SELECTOR,
    ),
    ("apps", "replicasets"): (*_REPLICA_SET, _SELECTOR),
    ("", "replicationcontrollers"): (
        *_REPLICA_SET,
        Column("Selector", lambda o, _: labels(o["spec"].get("selector")), priority=1),
    ),
    ("apps", "statefulsets"): (NAME, Column("Ready", _ratio), AGE, *_containers(_template)),
    ("apps", "daemonsets"): (
        NAME,
        _number("Desired", "status.desiredNumberScheduled"),
        _number("Current", "status.currentNumberScheduled"),
        _number("Ready", "status.numberReady"),
        _number("Up-to-date", "status.updatedNumberScheduled"),
        _number("Available", "status.numberAvailable"),
        Column("Node Selector", lambda o, _: labels(_template(o).get("nodeSelector"))),
        AGE,
        *_containers(_template),
        _SELECTOR,
    ),
    ("batch", "jobs"): (
        NAME,
        Column("Status", _job_status),
        Column("Completions", _job_completions),
        Column("Duration", _job_duration),
        AGE,
        *_containers(_template),
        _SELECTOR,
    ),
    ("batch", "cronjobs"): (
        NAME,
        field("Schedule", "spec.schedule"),
        field("Timezone", "spec.timeZone"),
        Column("Suspend", lambda o, _: str(bool(o["spec"].get("suspend"))).capitalize(), type="boolean"),
        Column("Active", lambda o, _: len(o.get("status", {}).get("active", ())), type="integer"),
        Column("Last Schedule", lambda o, now: age(t, now) if (t := o.get("status", {}).get("lastScheduleTime")) else "<none>"),
        AGE,
        *_containers(lambda o: _template(o["spec"]["jobTemplate"])),
        Column("Selector", lambda o, _: selector(o["spec"]["jobTemplate"]["spec"].get("selector")), priority=1),
    ),
    ("apps", "controllerrevisions"): (
        NAME,
        Column(
            "Controller",
            lambda o, _: next(
                (
                    f"{'.'.join(filter(None, (r['kind'].lower(), r['apiVersion'].rpartition('/')[0])))}/{r['name']}"
                    for r in o["metadata"].get("ownerReferences", ())
                    if r.get("controller")
                ),
                "<none>",
            ),
        ),
        field("Revision", "revision", 0),
        AGE,
    ),
}
