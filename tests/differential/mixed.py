"""Several fields at once made wrong, in a body of every stable kind; tried only. What is wrong with each is drawn by a fixed seed.

An order of causes, and what one of them keeps from being said, shows only so. Nothing is emptied: see known.txt.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

from .bodies import bodies
from .cases import Case, path
from .mutated import LEFT, NAMES, drop, example, held, lacking, put
from .peers import Request

SEED, MANY = 20, 12
LEFT_OUT = {"APIService"}
"""It makes a group of its own, in the way of others"""
WRONG: dict[type, tuple[Any, ...]] = {
    str: ("", "A b!", "a", "a.b/c", "10.0.0.1", "10.0.0.01", "true", "5", "-1", "x" * 70, "Always"),
    int: (-1, 0, 1, 2, 100, 1 << 31),
    bool: (True, False),
}


def mixed() -> list[Case]:
    """Return every case: of each kind, several."""
    account = Request("POST", path("v1", "serviceaccounts"), {"metadata": {"name": "default"}})
    return [("mixed: the account of pods", [account]), *_cases(random.Random(SEED))]


def _cases(chance: random.Random) -> Iterator[Case]:
    for (api, plural, kind, namespaced), body in bodies().items():
        if kind in LEFT_OUT:
            continue
        where = f"{path(api, plural, '', 'default' if namespaced else '')}?dryRun=All"
        whole = {"apiVersion": api, "kind": kind, "metadata": {"name": NAMES.get(kind, "mixed")}, **body}
        for number in range(MANY):
            yield f"mixed: {kind} {api} {number}", [Request("POST", where, _without_nothing(_mixed(whole, example(api, kind), chance)))]


def _mixed(whole: dict[str, Any], full: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """Return a body with parts of the example and some fields made wrong."""
    made = copy.deepcopy(whole)
    for steps, value in list(lacking(whole, full)) if full and chance.random() < 0.7 else ():
        if chance.random() < 0.35:
            made = put(made, steps, _thinned(value, chance, chance.choice((0.5, 0.8, 1.0))))
    for _ in range(chance.randint(1, 6)):
        fields = [(steps, value) for steps, value in held(made) if steps[0] not in LEFT]
        if fields:
            made = _changed(made, *chance.choice(fields), chance)
    return made


def _changed(body: dict[str, Any], steps: tuple[str | int, ...], value: Any, chance: random.Random) -> dict[str, Any]:
    lot = chance.random()
    if lot < 0.2:
        return drop(body, steps)
    return put(body, steps, chance.choice(WRONG[type(value)])) if lot < 0.9 and type(value) in WRONG else body


def _thinned(value: Any, chance: random.Random, share: float) -> Any:
    """Return a value with this share of its fields."""
    if isinstance(value, dict):
        return {name: _thinned(child, chance, share) for name, child in value.items() if chance.random() < share}
    return [_thinned(child, chance, share) for child in value] if isinstance(value, list) else value


def _without_nothing(value: Any) -> Any:
    """Return a value without empty lists and maps, and without what holds nothing else."""
    if isinstance(value, dict):
        made = {name: _without_nothing(child) for name, child in value.items()}
        return {name: child for name, child in made.items() if child not in ({}, [])}
    return [child for item in value if (child := _without_nothing(item)) not in ({}, [])] if isinstance(value, list) else value
