"""Every stable kind with as many fields set as upstream takes: made, read, changed in every way, applied by three, and deleted.

The body is upstream's fully populated example laid under the one of bodies.py. The example is nonsense in places, so upstream itself is
asked (tried only) what is wrong with it, and what it names is mended or left out until it takes the rest. What is null in an answer is
not compared with what is not there: to typed clients it is one.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

from .bodies import bodies
from .cases import APPLY, JSON, MERGE, PARTIAL, STRATEGIC, TABLE, Case, obj, path
from .mutated import NAMES, Path_, drop, example, held, lacking, put
from .peers import Answer, Peer, Request
from .rich import FULL, VOLUMES

PREFIX = "populated:"
TRIES = 400
GUESSES: tuple[Any, ...] = ("a", "/a", "a.example.org", "a.example.org/a", "10.0.0.0/8", "10.0.0.7", "1")
"""What a text may be that upstream finds wrong, in the order they are tried"""
NUMBERS = (1, 80)
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
STEP = re.compile(r"([^.\[\]]+)|\[([^\]]*)\]")
METADATA = ("labels", "annotations", "ownerReferences")
SAME_NAME = {"Service", "CustomResourceDefinition", "APIService", "IPAddress"}
"""Kinds whose second object has to be named as the first was: its name or what it holds is given to one alone"""
DROPPED_LATE = {"ResourceSlice"}
"""Kinds of which upstream takes fields away after it has counted them as a change: they would make a generation each time"""
SETTLED = {"CustomResourceDefinition": "InitialNamesAccepted", "APIService": '"Available"', "FlowSchema": '"Dangling"'}
"""What the server itself writes into the status of a new object"""
TWINS = {"v1": "events.k8s.io/v1", "events.k8s.io/v1": "v1", "autoscaling/v1": "autoscaling/v2", "autoscaling/v2": "autoscaling/v1"}
"""APIs that serve the same objects"""
_NAMED = "metadata.name%3Dpopulated"
SHARED = {
    "Event": {
        "v1": ("involvedObject.name%3Dx", "regarding.name%3Dx"),
        "events.k8s.io/v1": ("regarding.name%3Dx,reportingController%3Dexample.org%2Fc", "reportingComponent%3Dexample.org%2Fc"),
    },
    "HorizontalPodAutoscaler": {"autoscaling/v1": (_NAMED, _NAMED), "autoscaling/v2": (_NAMED, _NAMED)},
}
"""Kinds that they serve, with what selects an object in one and the other"""
RICH: dict[str, Path_] = {"Pod": ("spec",), "Deployment": ("spec", "template", "spec"), "PodTemplate": ("template", "spec")}


def populated(theirs: Peer, words: str) -> Iterator[Case]:
    """Yield the cases of the kinds that the words are about; upstream is asked for bodies as they are wanted."""
    for name, requests in _cases(theirs, words):
        yield name, [replace(request, sparse=True) for request in requests]


def _cases(theirs: Peer, words: str) -> Iterator[Case]:
    account = Request("POST", path("v1", "serviceaccounts"), {"metadata": {"name": "default"}})
    yield f"{PREFIX} the account of pods", [account]
    for (api, plural, kind, namespaced), body in bodies().items():
        told = kind if kind not in ("Event", "HorizontalPodAutoscaler") else f"{kind} {api}"
        name = f"{PREFIX} {told}:"
        if name.startswith(words) or words.startswith(name):
            yield from _life(theirs, name, path(api, plural, "", "default" if namespaced else ""), _whole(api, kind, body), api, kind)


def _whole(api: str, kind: str, body: dict[str, Any]) -> dict[str, Any]:
    return {**obj(api, kind, NAMES.get(kind, "populated")), **_richer(kind, body)}


def _richer(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return the body with the containers and volumes of rich.py: of a volume's many sources the example leaves none that is taken."""
    if kind not in RICH:
        return body
    return put(put(body, (*RICH[kind], "containers"), [FULL]), (*RICH[kind], "volumes"), VOLUMES)


def _life(theirs: Peer, name: str, where: str, base: dict[str, Any], api: str, kind: str) -> Iterator[Case]:
    full = fitted(theirs, where, base, example(api, kind))
    own = full["metadata"]["name"]
    one, chosen = f"{where}/{own}", f"{where}?fieldSelector=metadata.name%3D{own}"
    settled = SETTLED.get(kind, "")
    if kind == "APIService":  # that of the custom kinds before goes after them
        yield f"{name} none yet", [Request("GET", one, until="NotFound")]
    yield f"{name} made", [Request("POST", where, full), Request("GET", one, until=settled)]
    if api in TWINS and kind in SHARED:
        yield f"{name} by the other API", [Request("GET", one.replace(api_path(api), api_path(TWINS[api])))]
    yield f"{name} shown", [Request("GET", chosen, headers=TABLE), Request("GET", one, headers=PARTIAL)]
    yield from _changed(name, one, full, base)
    yield from _status(theirs, name, one, full, example(api, kind), settled)
    if api in TWINS and kind in SHARED:
        other = where.replace(api_path(api), api_path(TWINS[api]))
        yield (
            f"{name} changed by the other API",
            [
                Request("PATCH", f"{other}/{own}", {"metadata": {"labels": {"other": "a"}}}, MERGE),
                Request("GET", one),
                *(Request("GET", f"{w}?fieldSelector={selector}") for w, selector in zip((where, other), SHARED[kind][api], strict=True)),
                Request("GET", f"{other}?fieldSelector=metadata.name%3D{own}", headers=TABLE),
                Request("GET", f"{other}/{own}", headers=PARTIAL),
            ],
        )
    yield f"{name} after all", [Request("GET", one), Request("GET", chosen), Request("GET", chosen, headers=TABLE)]
    yield f"{name} gone", [Request("DELETE", f"{one}?gracePeriodSeconds=0"), *_awaited(kind, one)]
    applied = copy.deepcopy(full)
    applied["metadata"]["name"] = own if kind in SAME_NAME else "applied"
    yield from _applied(theirs, name, where, applied, settled)


def api_path(api: str) -> str:
    """Return where an API begins."""
    return "/api/v1/" if api == "v1" else f"/apis/{api}/"


def _awaited(kind: str, one: str) -> list[Request]:
    return [Request("GET", one, until="NotFound")] if kind in SAME_NAME else []


def _changed(name: str, one: str, full: dict[str, Any], base: dict[str, Any]) -> Iterator[Case]:
    """Replaced and patched in each language; a group less is tried only."""
    versioned = put(full, ("metadata", "resourceVersion"), "{resourceVersion}")
    labelled = put(versioned, ("metadata", "labels"), {"put": "a", **full["metadata"].get("labels", {})})
    yield f"{name} put as it is", [Request("GET", one), Request("PUT", one, versioned)]
    yield f"{name} put with a label", [Request("GET", one), Request("PUT", one, labelled)]
    yield f"{name} merged", [Request("PATCH", one, {"metadata": {"annotations": {"merge": "a", "none": None}}}, MERGE)]
    operations = [
        {"op": "test", "path": "/metadata/name", "value": full["metadata"]["name"]},
        {"op": "add", "path": "/metadata/labels/json", "value": "a"},
    ]
    yield f"{name} patched by JSON", [Request("PATCH", one, operations, JSON)]
    yield f"{name} merged strategically", [Request("PATCH", one, {"metadata": {"labels": {"put": None, "strategic": "a"}}}, STRATEGIC)]
    for steps, value in lacking(base, full):
        if steps[0] == "metadata" or any(isinstance(step, int) for step in steps):
            continue
        less = nested(steps, None)
        yield f"{name} without {'.'.join(map(str, steps))}", [Request("PATCH", f"{one}?dryRun=All", less, MERGE)]
        if isinstance(value, dict | list):
            yield (
                f"{name} with {'.'.join(map(str, steps))} merged strategically",
                [Request("PATCH", f"{one}?dryRun=All", nested(steps, value), STRATEGIC)],
            )


def _status(theirs: Peer, name: str, one: str, full: dict[str, Any], whole: dict[str, Any], settled: str) -> Iterator[Case]:
    current = theirs.ask(Request("GET", f"{one}/status"))
    if current.code != 200 or "status" not in whole:
        return
    made = {"apiVersion": full["apiVersion"], "kind": full["kind"], "metadata": {"name": full["metadata"]["name"]}}
    with_status = mended(theirs, "PUT", f"{one}/status?dryRun=All", {**full, **made, "status": whole["status"]}, ("status",), {("status",)})
    if with_status is None:
        return
    yield f"{name} its status put", [Request("PUT", f"{one}/status", with_status), Request("GET", one, until=settled)]
    waited = [Request("GET", one, until=settled)] if settled else []
    yield (
        f"{name} its status merged",
        [
            Request("PATCH", f"{one}/status", {"status": with_status["status"], "metadata": {"labels": {"status": "a"}}}, MERGE),
            *waited,
            Request("PATCH", f"{one}/status", {"status": with_status["status"]}, STRATEGIC),
            *waited,
        ],
    )


def _applied(theirs: Peer, name: str, where: str, full: dict[str, Any], settled: str) -> Iterator[Case]:
    """Three managers apply: one the whole, two a part of it otherwise, three the same as two."""
    one = f"{where}/{full['metadata']['name']}"
    named = {"apiVersion": full["apiVersion"], "kind": full["kind"], "metadata": {"name": full["metadata"]["name"]}}
    waited = [Request("GET", one, until=settled)] if settled else []
    yield f"{name} applied", [_apply(one, "one", full), *waited, _apply(one, "one", full)]
    for number, part in enumerate(_otherwise(theirs, one, named, full)):
        again = f"{name} applied otherwise {number}"
        yield again, [_apply(one, "two", part), _apply(one, "two", part, "&force=true"), _apply(one, "three", part)]
        yield f"{again}, and taken back", [_apply(one, "one", full), _apply(one, "one", full, "&force=true"), _apply(one, "two", named)]
    less = copy.deepcopy(full)
    del less["metadata"]["labels"]
    yield f"{name} applied without labels", [_apply(one, "one", less), _apply(one, "three", named)]
    label = {"metadata": {"annotations": {"four": "a"}}}
    yield f"{name} applied, and merged by another", [Request("PATCH", f"{one}?fieldManager=four", label, MERGE)]
    yield f"{name} applied and read", [Request("GET", one), Request("DELETE", f"{one}?gracePeriodSeconds=0")]


def _apply(one: str, manager: str, body: dict[str, Any], query: str = "") -> Request:
    return Request("PATCH", f"{one}?fieldManager={manager}{query}", body, APPLY)


def _otherwise(theirs: Peer, one: str, named: dict[str, Any], full: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what two says: another label, and the first fields of the object that upstream lets change."""
    label = {**named, "metadata": {**named["metadata"], "labels": dict.fromkeys(full["metadata"]["labels"], "other")}}
    yield label
    found = 0
    for steps, value in held({k: v for k, v in full.items() if k not in named}):
        if found == 2 or any(isinstance(step, int) for step in steps):
            continue
        other = not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else None
        if other is None:
            continue
        part = {**named, **nested(steps, other)}
        asked = theirs.ask(_apply(one, "two", part, "&force=true&dryRun=All"))
        if asked.code == 200 and reached(asked.body, steps) == other:  # what Go's types leave out is as good as not said
            found += 1
            yield part


def reached(body: Any, steps: Path_) -> Any:
    """Return what is at the end of the steps, None for nothing."""
    for step in steps:
        body = body.get(step) if isinstance(body, dict) else None
    return body


def nested(steps: Path_, value: Any) -> dict[str, Any]:
    """Return a document that holds a value at the end of the steps, and nothing else."""
    for step in reversed(steps):
        value = {step: value}
    return dict(value)


def laid_under(base: Any, full: Any) -> Any:
    """Return base with what full has beside it."""
    if isinstance(base, dict) and isinstance(full, dict):
        return {**{k: copy.deepcopy(v) for k, v in full.items()}, **{k: laid_under(v, full.get(k)) for k, v in base.items()}}
    if isinstance(base, list) and isinstance(full, list) and base and full:
        return [laid_under(base[0], full[0]), *base[1:]]
    return copy.deepcopy(base)


def shared(body: Any, other: Any) -> Any:
    """Return what a body has that the other has, too."""
    if isinstance(body, dict) and isinstance(other, dict):
        return {k: shared(v, other[k]) for k, v in body.items() if k in other}
    if isinstance(body, list) and isinstance(other, list) and len(body) == len(other):
        return [shared(*pair) for pair in zip(body, other, strict=True)]
    return body


def fitted(theirs: Peer, where: str, base: dict[str, Any], full: dict[str, Any]) -> dict[str, Any]:
    """Return base with every field of the example that upstream takes beside it."""
    metadata = {**{k: full["metadata"][k] for k in METADATA if k in full.get("metadata", {})}, **base["metadata"]}
    metadata.setdefault("labels", {"a": "b"})
    wanted = {**laid_under(base, {k: v for k, v in full.items() if k not in ("status", "metadata")}), "metadata": metadata}
    kept = {tuple(steps) for steps, _ in held(base)}
    made = mended(theirs, "POST", f"{where}?dryRun=All", wanted, (), kept)
    if made is None:  # one at a time, where they do not go together
        made = {**base, "metadata": {"name": base["metadata"]["name"], "labels": metadata["labels"]}}
        for steps, value in lacking(base, wanted):
            tried = mended(theirs, "POST", f"{where}?dryRun=All", put(made, steps, value), steps, kept)
            made = tried if tried is not None else made
    if base["kind"] not in DROPPED_LATE:
        return made
    return dict(shared(made, theirs.ask(Request("POST", f"{where}?dryRun=All", made)).body))


def mended(
    theirs: Peer, method: str, where: str, body: dict[str, Any], within: Path_, kept: Collection[Path_] = ()
) -> dict[str, Any] | None:
    """Return a body as upstream takes it, what it refuses exchanged or left out within the steps; None where that is not enough.

    kept: what is not to be left out.
    """
    tried: dict[str, int] = {}
    for _ in range(TRIES):
        answer = theirs.ask(Request(method, where, body))
        if answer.code < 300:
            return body
        known, body = body, _mend(body, answer, tried, within, kept)
        if body == known:
            return None
    return None


def _mend(body: dict[str, Any], answer: Answer, tried: dict[str, int], within: Path_, kept: Collection[Path_]) -> dict[str, Any]:
    causes = (answer.body.get("details") or {}).get("causes") or () if isinstance(answer.body, dict) else ()
    for cause in causes:
        steps = _deepest(body, cause.get("field", ""))
        if steps in kept or len(steps) < max(len(within), 1) or steps[: len(within)] != within:
            continue
        body = _mend_one(body, steps, cause, tried)
    return body


def _mend_one(body: dict[str, Any], steps: Path_, cause: dict[str, str], tried: dict[str, int]) -> dict[str, Any]:
    value = _at(body, steps)
    key = repr(steps)
    count = tried[key] = tried.get(key, -1) + 1
    choices: tuple[Any, ...] = ()
    if cause["reason"] == "FieldValueNotSupported":
        choices = tuple(filter(None, QUOTED.findall(cause["message"].partition("supported values")[2])))
    elif cause["reason"] in ("FieldValueInvalid", "FieldValueRequired") and isinstance(value, str):
        choices = GUESSES
    elif cause["reason"] == "FieldValueInvalid" and isinstance(value, int) and not isinstance(value, bool):
        choices = NUMBERS
    if count < len(choices):
        return put(body, steps, choices[count])
    if steps[-1] in ("name", "apiVersion", "kind", "metadata") and len(steps) <= 2:
        return body
    less = drop(body, steps)
    return less if len(steps) < 2 or not isinstance(steps[-1], int) or _at(less, steps[:-1]) else drop(less, steps[:-1])


def _deepest(body: Any, field: str) -> Path_:
    """Return the steps of a field path as far as the body has them."""
    steps: list[str | int] = []
    at = body
    for match in STEP.finditer(field):
        step: str | int = match[1] or match[2]
        if isinstance(at, list):
            step = int(step) if str(step).isdigit() else 0
        if (isinstance(at, dict) and step in at) or (isinstance(at, list) and isinstance(step, int) and step < len(at)):
            steps.append(step)
            at = at[step]
        else:
            break
    return tuple(steps)


def _at(body: Any, steps: Path_) -> Any:
    for step in steps:
        body = body[step]
    return body
