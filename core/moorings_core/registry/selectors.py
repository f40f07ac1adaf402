"""Label and field selectors: parsed once, matched often.

Source: apimachinery labels.Parse ("a=b,c!=d,e in (f,g),h notin (i),j,!k,n>1") and fields.ParseSelector ("a=b,c!=d").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from moorings_core.ports.objects import Object, Resource

from .custom import served

Labels = Mapping[str, str]
_TOKEN = re.compile(r"\s*(notin|in)(?=\s*\()|\s*(==|!=|=|>|<|!|,|\(|\))|\s*([^\s=!<>,()]+)")
_NAME = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on a label; operator is In, NotIn, Exists, DoesNotExist, Gt or Lt."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Labels) -> bool:
        """Whether the labels satisfy it."""
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value in self.values
            case "NotIn":
                return value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
        return value is not None and _compare(value, self.operator, next(iter(self.values)))


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """Requirements that must all hold; without any it matches everything, with `nothing` set nothing."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Labels) -> bool:
        """Whether the labels are selected."""
        return not self.nothing and all(r.matches(labels) for r in self.requirements)

    def __bool__(self) -> bool:
        return self.nothing or bool(self.requirements)


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """(field, wanted value, whether equal) conditions that must all hold."""

    terms: tuple[tuple[str, str, bool], ...] = ()

    def matches(self, fields: Mapping[str, str]) -> bool:
        """Whether an object's fields are selected."""
        return all((fields.get(name, "") == value) == equal for name, value, equal in self.terms)

    def requires(self, name: str) -> str | None:
        """Return the one value that a field must have, or None."""
        return next((value for field, value, equal in self.terms if field == name and equal), None)

    def __bool__(self) -> bool:
        return bool(self.terms)


def parse_labels(text: str) -> LabelSelector:
    """Return the selector that a string stands for. Raises ValueError."""
    return LabelSelector(tuple(_requirement(tokens, text) for tokens in _split(_tokens(text), text))) if text.strip() else LabelSelector()


def from_label_selector(selector: Object | None) -> LabelSelector:
    """Return the selector of a metav1.LabelSelector: None selects nothing, an empty one everything. Raises ValueError."""
    if selector is None:
        return LabelSelector(nothing=True)
    equal = [Requirement(k, "In", frozenset([v])) for k, v in (selector.get("matchLabels") or {}).items()]
    return LabelSelector((*equal, *(_expression(e) for e in selector.get("matchExpressions") or ())))


def parse_fields(text: str) -> FieldSelector:
    """Return the selector that a string stands for; a backslash escapes , = and itself. Raises ValueError."""
    terms = []
    for part in re.split(r"(?<!\\),", text) if text else ():
        match = re.fullmatch(r"((?:[^=!\\]|\\.)*)(==|!=|=)((?:[^\\]|\\.)*)", part)
        if match is None:
            raise ValueError(f"invalid selector: {text!r}; can't understand {part!r}")
        terms.append((match[1].strip(), re.sub(r"\\(.)", r"\1", match[3]), match[2] != "!="))
    return FieldSelector(tuple(terms))


_POD = (
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.phase",
    "status.nominatedNodeName",
)
_EVENT = (
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "type",
)


def _path(name: str) -> Callable[[Object], str]:
    parts = name.split(".")

    def read(obj: Object) -> str:
        value: object = obj
        for part in parts:
            value = value.get(part, "") if isinstance(value, dict) else ""
        return str(value).lower() if isinstance(value, bool) else str(value)

    return read


def _paths(*names: str) -> dict[str, Callable[[Object], str]]:
    return {name: _path(name) for name in names}


_FIELDS: dict[tuple[str, str], dict[str, Callable[[Object], str]]] = {
    ("", "pods"): {
        **_paths(*_POD),
        "spec.hostNetwork": lambda pod: str(bool(pod["spec"].get("hostNetwork"))).lower(),
        "status.podIP": _path("status.podIP"),
    },
    ("", "events"): {
        **_paths(*_EVENT),
        "source": lambda event: event.get("source", {}).get("component") or event.get("reportingComponent", ""),
    },
    ("events.k8s.io", "events"): {
        **_paths("reason", "type"),
        **{name.replace("involvedObject", "regarding"): _path(name) for name in _EVENT if name.startswith("involvedObject.")},
        "reportingController": _path("reportingComponent"),
    },  # of events as they are kept: of core/v1
    ("", "secrets"): _paths("type"),
    ("", "services"): _paths("spec.clusterIP", "spec.type"),  # kube-proxy asks for those with an address
    ("", "namespaces"): _paths("status.phase"),
    ("", "nodes"): {"spec.unschedulable": lambda node: str(bool(node.get("spec", {}).get("unschedulable"))).lower()},
    ("", "replicationcontrollers"): {"status.replicas": lambda o: str(o.get("status", {}).get("replicas", 0))},
    ("apps", "replicasets"): {"status.replicas": lambda o: str(o.get("status", {}).get("replicas", 0))},
    ("batch", "jobs"): {"status.successful": lambda o: str(o.get("status", {}).get("succeeded", 0))},
    ("certificates.k8s.io", "certificatesigningrequests"): _paths("spec.signerName"),
    ("certificates.k8s.io", "clustertrustbundles"): _paths("spec.signerName"),
    ("certificates.k8s.io", "podcertificaterequests"): _paths("spec.signerName", "spec.podName", "spec.nodeName"),
    ("resource.k8s.io", "resourceslices"): _paths("spec.nodeName", "spec.driver"),
}
_METADATA = _paths("metadata.name", "metadata.namespace")


def supported_fields(resource: Resource) -> Sequence[str]:
    """Return the fields that objects of a resource can be selected by."""
    custom = served.of(resource)
    more = custom.selectable if custom is not None else _FIELDS.get((resource.group, resource.plural), ())
    return [*(_METADATA if resource.namespaced else ("metadata.name",)), *more]


def check_fields(resource: Resource, selector: FieldSelector) -> None:
    """Raise ValueError where the selector names a field that the resource cannot be selected by."""
    supported = supported_fields(resource)
    for name, _, _ in selector.terms:
        if name not in supported:
            raise ValueError(f"field label not supported: {name}")


def field_reader(resource: Resource, name: str) -> Callable[[Object], str]:
    """Return the function that reads a supported field. Raises KeyError."""
    if name in _METADATA:
        return _METADATA[name]
    if served.of(resource) is not None:
        return _path(name)
    return _FIELDS[resource.group, resource.plural][name]


def field_values(resource: Resource, obj: Object) -> Mapping[str, str]:
    """Return the selectable fields of an object."""
    readers = _METADATA | _FIELDS.get((resource.group, resource.plural), {})
    return {name: read(obj) for name, read in readers.items()}


def _tokens(text: str) -> list[str]:
    found, position = [], 0
    while position < len(text.rstrip()):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"unable to parse requirement: unexpected {text[position]!r} in {text!r}")
        found.append(match[1] or match[2] or match[3])
        position = match.end()
    return found


def _split(tokens: Sequence[str], text: str) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token == "(") - (token == ")")
        if token == "," and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    if depth or not all(parts):
        raise ValueError(f"unable to parse requirement: unbalanced or empty part in {text!r}")
    return parts


OPERATORS = ("in", "notin", "=", "==", "!=", "gt", "lt")


def _requirement(tokens: Sequence[str], text: str) -> Requirement:
    match list(tokens):
        case ["!", key]:
            made = Requirement(key, "DoesNotExist")
        case [key]:
            made = Requirement(key, "Exists")
        case [key, "=" | "==" | "!=" | ">" | "<" as operator, *rest] if len(rest) < 2:
            names = {"=": "In", "==": "In", "!=": "NotIn", ">": "Gt", "<": "Lt"}
            made = Requirement(key, names[operator], frozenset(rest or [""]))
        case [key, "in" | "notin" as operator, "(", *values, ")"]:
            made = Requirement(key, "In" if operator == "in" else "NotIn", frozenset(v for v in values if v != ","))
        case [_, operator, *_] if operator not in OPERATORS:
            raise ValueError(f"unable to parse requirement: found '{operator}', expected: {', '.join(OPERATORS)}")
        case _:
            raise ValueError(f"unable to parse requirement: {' '.join(tokens)!r} in {text!r}")
    return _checked(made)


def _expression(expression: Object) -> Requirement:
    operator, values = expression["operator"], frozenset(expression.get("values") or ())
    if operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
        raise ValueError(f"{operator!r} is not a valid label selector operator")
    return _checked(Requirement(expression["key"], operator, values))


def _checked(requirement: Requirement) -> Requirement:
    if not _NAME.fullmatch(requirement.key):
        raise ValueError(f"invalid label key {requirement.key!r}")
    if requirement.operator in ("Gt", "Lt") and not re.fullmatch(r"-?\d+", next(iter(requirement.values))):
        raise ValueError(f"for {requirement.operator!r} the value of {requirement.key!r} must be an integer")
    return requirement


def _compare(value: str, operator: str, bound: str) -> bool:
    try:
        return int(value) > int(bound) if operator == "Gt" else int(value) < int(bound)
    except ValueError:
        return False
