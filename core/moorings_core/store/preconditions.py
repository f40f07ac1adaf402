"""Revisions and preconditions, decided on the event loop before anything is written: a conflict never reaches a disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from moorings_core.ports.store import DeleteRecord, Operation, PreconditionFailed


def reserve(operations: Sequence[Operation], present: Mapping[str, int], newest: int) -> list[int]:
    """Return the revision of each operation (0: nothing to do). Raises PreconditionFailed.

    present holds the revision of every key, those of writes under way included; newest is the last revision given out.
    """
    changed: dict[str, int] = {}
    revisions: list[int] = []
    for index, operation in enumerate(operations):
        have = changed.get(operation.key, present.get(operation.key, 0))
        if operation.expect is not None and operation.expect != have:
            raise PreconditionFailed(index, operation.key, have)
        if isinstance(operation, DeleteRecord) and have == 0:
            revisions.append(0)
            continue
        newest += 1
        revisions.append(newest)
        changed[operation.key] = 0 if isinstance(operation, DeleteRecord) else newest
    return revisions
