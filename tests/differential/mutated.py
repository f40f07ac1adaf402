"""One field at a time made wrong, in a body of every stable kind; tried only.

Two sources of what is wrong: every field that the body lacks gets what upstream's fully populated example holds there (right by type,
and mostly nonsense), and every field that it has is taken away, emptied, or made a value that few fields take.
"""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from .bodies import bodies
from .cases import Case, path
from .peers import Request

API = "k8s.io/api@v0.37.2"
NAMES = {"CustomResourceDefinition": "things.m.example.org", "APIService": "v1.m.example.org", "IPAddress": "10.97.0.9"}
LEFT = {"metadata", "status", "apiVersion", "kind"}
WRONG: dict[type, tuple[Any, ...]] = {
    str: ("", "A b!", "x" * 300),
    int: (-1, 0, 1 << 31),
    bool: (),
    list: ([],),
    dict: ({},),
}
Path_ = tuple[str | int, ...]


def mutated() -> list[Case]:
    """Return every case: of each kind, one for each wrong field."""
    account = Request("POST", path("v1", "serviceaccounts"), {"metadata": {"name": "default"}})
    return [("mutated: the account of pods", [account])] + [case for key, body in bodies().items() for case in _of(*key, body)]


def _of(api: str, plural: str, kind: str, namespaced: bool, body: dict[str, Any]) -> Iterator[Case]:
    where = f"{path(api, plural, '', 'default' if namespaced else '')}?dryRun=All"
    whole = {"apiVersion": api, "kind": kind, "metadata": {"name": NAMES.get(kind, "mutated")}, **body}
    told = kind if kind not in ("Event", "HorizontalPodAutoscaler") else f"{kind} {api}"
    yield f"mutated: {told}: as it is", [Request("POST", where, whole)]
    full = example(api, kind)
    if full:
        metadata = {"name": NAMES.get(kind, "mutated")}
        yield f"mutated: {told}: all of the example", [Request("POST", where, {**full, "metadata": metadata})]
        for steps, value in lacking(whole, full):
            yield f"mutated: {told}: with {named(steps)}", [Request("POST", where, put(whole, steps, value))]
    for steps, value in held(whole):
        if steps[0] in LEFT:
            continue
        yield f"mutated: {told}: without {named(steps)}", [Request("POST", where, drop(whole, steps))]
        for wrong in WRONG[type(value)]:
            if wrong != value:
                text = json.dumps(wrong) if len(json.dumps(wrong)) < 20 else "long"
                yield f"mutated: {told}: {named(steps)} {text}", [Request("POST", where, put(whole, steps, wrong))]


@cache
def _folder() -> Path:
    told = subprocess.run(["go", "env", "GOMODCACHE"], capture_output=True, text=True, check=True).stdout.strip()
    return Path(told) / API / "testdata" / "HEAD"


def example(api: str, kind: str) -> dict[str, Any]:
    """Return upstream's fully populated object of a kind, {} where there is none."""
    group, _, version = api.rpartition("/")
    file = _folder() / f"{group or 'core'}.{version}.{kind}.json"
    return dict(json.loads(file.read_text())) if file.exists() else {}


def lacking(body: Any, full: Any, steps: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    """Yield what the example has and the body has not, by the steps to it: the whole value at the first missing step."""
    if isinstance(body, dict) and isinstance(full, dict):
        for name, value in full.items():
            if not steps and name in LEFT:
                continue
            if name in body:
                yield from lacking(body[name], value, (*steps, name))
            else:
                yield (*steps, name), value
    elif isinstance(body, list) and isinstance(full, list) and body and full:
        yield from lacking(body[0], full[0], (*steps, 0))


def held(body: Any, steps: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    """Yield every field of a body by the steps to it."""
    items = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for step, value in items:
        yield (*steps, step), value
        yield from held(value, (*steps, step))


def put(body: dict[str, Any], steps: Path_, value: Any) -> dict[str, Any]:
    """Return a copy with a value at the end of the steps."""
    made, at = _copy_to(body, steps)
    at[steps[-1]] = value
    return made


def drop(body: dict[str, Any], steps: Path_) -> dict[str, Any]:
    """Return a copy without what is at the end of the steps."""
    made, at = _copy_to(body, steps)
    del at[steps[-1]]
    return made


def named(steps: Path_) -> str:
    """Return steps as a field path."""
    return "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in steps).removeprefix(".")


def _copy_to(body: dict[str, Any], steps: Path_) -> tuple[dict[str, Any], Any]:
    made = copy.deepcopy(body)
    at: Any = made
    for step in steps[:-1]:
        at = at[step]
    return made, at
