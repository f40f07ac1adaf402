"""Whether a history of concurrent calls on one object is one that an object that does one thing at a time could have had.

The search of Wing and Gong with the memory of Lowe: take any call that began before all others that are left ended, see whether its
answer fits the state, go on. A call without an answer may have been done at any time after its begin, or never.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Kind = Literal["create", "replace", "read", "delete"]
LOST = "lost"
"""The answer did not come."""


class State(NamedTuple):
    """What an object holds; version 0: nobody was told."""

    version: int
    value: str


@dataclass(frozen=True, slots=True)
class Call:
    """A call and its answer.

    answer: the new version, or "refused", of a create or replace; State or None of a read; "deleted" or "refused" of a delete; LOST.
    expected: the version that a replace asks for.
    """

    kind: Kind
    begin: float
    end: float
    answer: int | str | State | None
    value: str = ""
    expected: int = 0


def linearizable(calls: Sequence[Call]) -> bool:
    """Return whether there is an order of the calls that fits all answers and the times."""
    ordered = sorted(calls, key=lambda call: call.begin)
    seen: set[tuple[int, State | None]] = set()
    waiting: list[tuple[int, State | None]] = [((1 << len(ordered)) - 1, None)]
    while waiting:
        left, state = waiting.pop()
        if (left, state) in seen:
            continue
        seen.add((left, state))
        rest = [(i, call) for i, call in enumerate(ordered) if left >> i & 1]
        if all(call.answer == LOST for _, call in rest):
            return True
        first_end = min((call.end for _, call in rest if call.answer != LOST), default=math.inf)
        for i, call in rest:
            if call.begin > first_end:
                break
            waiting += [(left & ~(1 << i), after) for after in _after(state, call)]
    return False


def _after(state: State | None, call: Call) -> list[State | None]:
    """Return the states that may follow a call; none where its answer does not fit."""
    if call.kind == "read":
        return [state] if _reads(state, call.answer) else []
    happens = (state is None) if call.kind == "create" else state is not None
    if call.kind == "replace":
        happens = state is not None and state.version in (0, call.expected)
    if call.answer == LOST:
        return [None if call.kind == "delete" else State(0, call.value)] if happens else []
    if call.answer == "refused":
        return [state] if not happens or (state is not None and state.version == 0) else []
    if not happens:
        return []
    if call.kind == "delete":
        return [None]
    assert isinstance(call.answer, int)
    return [State(call.answer, call.value)] if state is None or call.answer > state.version else []


def _reads(state: State | None, answer: int | str | State | None) -> bool:
    if state is None or not isinstance(answer, State):
        return state is answer
    return state.value == answer.value and state.version in (0, answer.version)
