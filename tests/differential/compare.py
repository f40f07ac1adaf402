"""Compares two answers after dropping what no two servers have in common, and says where they differ."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .peers import Answer, Request

VOLATILE = {
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "managedFields",
    "selfLink",
    "description",
    "continue",
    "token",
}
VOLATILE |= {"goVersion", "compiler", "buildDate", "gitCommit"}
"""What differs between any two servers, managedFields (which have a form of their own here), and prose, which ours leaves out."""
NODE_PORTS = range(30086, 32768)
"""Those that a server draws by lot; those before are for who asks for one."""
AGE = re.compile(r"\d{1,2}s")
MASKS = (
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "UID"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "TIME"),
    (re.compile(r"kube-api-access-[a-z0-9]{5}"), "kube-api-access-NAME"),
    (re.compile(r'(\\?"resourceVersion\\?":\\?")\d+'), r"\1VERSION"),
    (re.compile(r' in scheme "pkg/runtime/scheme.go:\d+"'), ""),
    (re.compile(r'Invalid value: "\{.*\}": (json|strict)'), r"Invalid value: OBJECT: \1"),
    (re.compile(r"\n(@@|changed: ).*", re.DOTALL), ""),  # upstream shows a diff of its Go structures, ours the changed fields
    (re.compile(r"Invalid value: \{.*?\}: field is immutable"), "Invalid value: OBJECT: field is immutable"),
    (re.compile(r"192\.0\.2\.1:\d+"), "ADDRESS"),
    (re.compile(r"\b10\.97\.\d+\.\d+\b"), "IPV4"),  # of Services, drawn by lot
    (re.compile(r"\bfd97::[0-9a-f:]+\b"), "IPV6"),
)
"""What stands in texts and differs between two runs."""
SHOWN = re.compile(r"Invalid value: \{.*\}: ")


OFF: set[str | tuple[str, str]] = {"f:schedulingGroup", "f:scheduling", "f:evictionResponders", "f:stopSignal", "f:bindMountOptions"}
OFF |= {("f:grpc", "f:mode"), ("f:httpGet", "f:protocol"), "f:healthStatus", "f:volumeHealth", "f:nodeAllocatableResourceClaimStatuses"}
"""Fields of features that are off: upstream notes who sent them before it drops them, ours drops them first."""
UNORDERED = re.compile(r"\.(limits|requests)\[|\.userAnnotations|^spec\.metrics\[|^spec\.nodeSelector")
"""Fields that upstream looks at in the order of a Go map, which is another one each time"""


def differences(request: Request, theirs: Answer, ours: Answer) -> list[str]:
    """Return a line for each place where our answer differs from upstream's."""
    if theirs.code != ours.code:
        return [f"code: upstream {theirs.code} ({_masked(_words(theirs.body))}), ours {ours.code} ({_masked(_words(ours.body))})"]
    if request.pick:
        return list(_members(*(set(a.body.get(request.pick, ())) for a in (theirs, ours))))
    told = list(_compare("warnings", list(theirs.warnings), list(ours.warnings))) if request.warned else []
    bodies = [normal(a.body) for a in (theirs, ours)]
    return told + list(_compare("", *(map(_said, bodies) if request.sparse else bodies)))


def _said(body: Any) -> Any:
    """Return a body without what is null, and without objects in texts: upstream shows those of its own structures."""
    if isinstance(body, str):
        return SHOWN.sub("Invalid value: OBJECT: ", body)
    if isinstance(body, list):
        return [_said(item) for item in body]
    return {k: _said(v) for k, v in body.items() if v is not None} if isinstance(body, dict) else body


def _members(theirs: set[str], ours: set[str]) -> Iterator[str]:
    for name in sorted(n for n in theirs ^ ours if "/watch/" not in n):  # an old form of watches that no client asks for
        yield f"{name}: upstream {'has it' if name in theirs else 'has it not'}"


def normal(body: Any) -> Any:
    """Return a body without its volatile parts; who manages what is told by whom, not when."""
    if isinstance(body, list):
        return [normal(item) for item in body]
    if isinstance(body, str):
        return "AGE" if AGE.fullmatch(body) else _masked(body)
    if isinstance(body, int) and body in NODE_PORTS:
        return "NODE PORT"
    if not isinstance(body, dict):
        return body
    kept = {key: normal(value) for key, value in body.items() if key not in VOLATILE}
    if isinstance(body.get("managedFields"), list):
        entries = ({**entry, "time": "", "fieldsV1": _managed(entry["fieldsV1"])} for entry in body["managedFields"])
        kept["managedFields"] = {f"{e['manager']}/{e['operation']}/{e.get('subresource', '')}": e for e in entries if e["fieldsV1"]}
    if "details" in kept and "reason" in kept:
        kept["details"] = _details(kept["details"])
        kept["message"] = _in_order(kept.get("message", ""), kept["details"])
    return kept


def _managed(fields: dict[str, Any], parent: str = "") -> dict[str, Any]:
    """Return FieldsV1 without fields that are off, and without what has nothing but such below it."""
    known = {name: below for name, below in fields.items() if name not in OFF and (parent, name) not in OFF}
    left = {name: _managed(below, name) for name, below in known.items()}
    return {name: kept for name, kept in left.items() if kept == fields[name] or kept.keys() - {"."}}


def _masked(text: str) -> str:
    for pattern, word in MASKS:
        text = pattern.sub(word, text)
    return text


def _in_order(message: str, details: dict[str, Any]) -> str:
    """Return what a refusal says, with its causes sorted where upstream has no order."""
    causes = [f"{cause.get('field')}: {cause.get('message')}" for cause in details.get("causes") or ()]
    if sum(1 for cause in causes if UNORDERED.search(cause)) < 2:
        return message
    return f"{message.partition(' is invalid: ')[0]} is invalid: {sorted(set(causes))}"


def _details(details: dict[str, Any]) -> dict[str, Any]:
    causes = details.get("causes")
    return {**details, "causes": sorted(causes, key=str)} if causes else details


def _compare(path: str, theirs: Any, ours: Any) -> Iterator[str]:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in sorted({*theirs, *ours}):
            yield from _compare(f"{path}.{key}".lstrip("."), theirs.get(key, ABSENT), ours.get(key, ABSENT))
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for index, (a, b) in enumerate(zip(theirs, ours, strict=True)):
            yield from _compare(f"{path}[{index}]", a, b)
    elif theirs != ours:
        yield f"{path}: upstream {theirs!r}, ours {ours!r}"


class _Absent:
    def __repr__(self) -> str:
        return "(absent)"


ABSENT = _Absent()


def _words(body: Any) -> str:
    return str(body.get("message", "")) if isinstance(body, dict) else str(body)[:200]
