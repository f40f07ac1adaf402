"""Objects that are wrong in ways that mutated.py does not come upon: every kind of volume, mount and policy, several fields at once.

The objects are data (wrong.yaml); what is wrong with them is upstream's to say. Tried only.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from .cases import CONTAINER, Case, path
from .peers import Request

MAIN = {"name": "main", "image": "example.org/i:1"}
TEMPLATE = {"spec": {"containers": [MAIN], "restartPolicy": "Never"}}
LONG_NAME = "x" * 62
DATA = Path(__file__).with_name("wrong.yaml")


def wrong() -> list[Case]:
    """Return every case of this file."""
    account = Request("POST", path("v1", "serviceaccounts"), {"metadata": {"name": "default"}})
    return [("wrong: the account of pods", [account]), *_cases(yaml.safe_load(DATA.read_text()))]


def _cases(data: dict[str, Any]) -> Iterator[Case]:
    around = data["around"]
    for name, volume in data["volumes"].items():
        yield f"wrong: a volume: {name}", _pod({"volumes": [{"name": "v", **volume}]})
    for name, container in data["containers"].items():
        yield f"wrong: a container: {name}", _pod({"containers": [{**MAIN, **container}], "volumes": around})
    for number, user in enumerate(data["users"]):
        yield f"wrong: a user of windows: {number}", _pod({"securityContext": {"windowsOptions": {"runAsUserName": user}}})
    for name, spec in data["pods"].items():
        yield f"wrong: a pod: {name}", _pod({"volumes": around, **spec})
    for name, spec in data["types"].items():
        yield f"wrong: the type of {name}", _pod(spec)
    for name, spec in data["jobs"].items():
        metadata = {"name": LONG_NAME if name == "of a long name" else "wrong"}
        yield f"wrong: a job: {name}", _try("batch/v1", "jobs", "Job", {"metadata": metadata, "spec": {"template": TEMPLATE, **spec}})
    for name, other in data["others"].items():
        place = (other["apiVersion"], other["resource"], other["kind"])
        yield f"wrong: {name}", _try(*place, other["body"], namespaced=other["namespaced"])


def _pod(spec: dict[str, Any]) -> list[Request]:
    return _try("v1", "pods", "Pod", {"spec": {"containers": [CONTAINER], **spec}})


def _try(api: str, plural: str, kind: str, body: dict[str, Any], *, namespaced: bool = True) -> list[Request]:
    whole = {"apiVersion": api, "kind": kind, "metadata": {"name": "wrong"}, **body}
    return [Request("POST", f"{path(api, plural, '', 'default' if namespaced else '')}?dryRun=All", whole)]
