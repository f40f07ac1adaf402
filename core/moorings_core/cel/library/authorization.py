"""Questions to the authorizer from within an expression. Source: apiserver pkg/cel/library/authz.go.

A check is a message whose text is the attributes as JSON; who answers is given with each evaluation.
"""

from __future__ import annotations

import contextvars
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from .declare import ANY, AUTHORIZER, DECISION, GROUP_CHECK, PATH_CHECK, RESOURCE_CHECK, box, method, type_of, unbox


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is asked: may the user do this verb with a resource, or with a path. An empty user is the request's own."""

    verb: str = ""
    path: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    user: str = ""
    field_selector: str = ""
    label_selector: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer; error: why there is none."""

    allowed: bool
    reason: str = ""
    error: str = ""


Ask = Callable[[Attributes], Decision]
asking: contextvars.ContextVar[Ask] = contextvars.ContextVar("asking")


def authorizer() -> Any:
    """Return the value of the variable `authorizer`."""
    return box(AUTHORIZER, "{}")


def resource_check(attributes: Attributes) -> Any:
    """Return the value of `authorizer.requestResource`."""
    return box(RESOURCE_CHECK, json.dumps(asdict(attributes)))


def _with(kind: str, value: Any, **more: str) -> Any:
    for name in ("path", "resource"):
        if name in more and not more[name].strip():
            raise ValueError(f"{name} must not be empty")
    return box(kind, json.dumps(json.loads(unbox(value)) | more))


@method("path", AUTHORIZER, "string", gives=PATH_CHECK)
def _path(value: Any, path: str) -> Any:
    return _with(PATH_CHECK, value, path=path)


@method("group", AUTHORIZER, "string", gives=GROUP_CHECK)
def _group(value: Any, group: str) -> Any:
    return _with(GROUP_CHECK, value, group=group)


@method("serviceAccount", AUTHORIZER, "string", "string", gives=AUTHORIZER)
def _service_account(value: Any, namespace: str, name: str) -> Any:
    return _with(AUTHORIZER, value, user=f"system:serviceaccount:{namespace}:{name}")


@method("resource", GROUP_CHECK, "string", gives=RESOURCE_CHECK)
def _resource(value: Any, resource: str) -> Any:
    return _with(RESOURCE_CHECK, value, resource=resource)


@method("subresource", RESOURCE_CHECK, "string", gives=RESOURCE_CHECK)
def _subresource(value: Any, subresource: str) -> Any:
    return _with(RESOURCE_CHECK, value, subresource=subresource)


@method("namespace", RESOURCE_CHECK, "string", gives=RESOURCE_CHECK)
def _namespace(value: Any, namespace: str) -> Any:
    return _with(RESOURCE_CHECK, value, namespace=namespace)


@method("name", RESOURCE_CHECK, "string", gives=RESOURCE_CHECK)
def _name(value: Any, name: str) -> Any:
    return _with(RESOURCE_CHECK, value, name=name)


@method("fieldSelector", RESOURCE_CHECK, "string", gives=RESOURCE_CHECK)
def _field_selector(value: Any, selector: str) -> Any:
    return _with(RESOURCE_CHECK, value, field_selector=selector)


@method("labelSelector", RESOURCE_CHECK, "string", gives=RESOURCE_CHECK)
def _label_selector(value: Any, selector: str) -> Any:
    return _with(RESOURCE_CHECK, value, label_selector=selector)


@method("check", ANY, "string", gives=DECISION)
def _check(value: Any, verb: str) -> Any:
    if type_of(value) not in (PATH_CHECK, RESOURCE_CHECK):
        raise ValueError("no such overload")
    answer = asking.get()(Attributes(**(json.loads(unbox(value)) | {"verb": verb})))
    return box(DECISION, json.dumps(asdict(answer)))


@method("allowed", DECISION, gives="bool")
def _allowed(value: Any) -> bool:
    return bool(json.loads(unbox(value))["allowed"])


@method("reason", DECISION, gives="string")
def _reason(value: Any) -> str:
    return str(json.loads(unbox(value))["reason"])


@method("errored", DECISION, gives="bool")
def _errored(value: Any) -> bool:
    return bool(json.loads(unbox(value))["error"])


@method("error", DECISION, gives="string")
def _error(value: Any) -> str:
    return str(json.loads(unbox(value))["error"])
