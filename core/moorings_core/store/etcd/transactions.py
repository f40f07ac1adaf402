"""A transaction that carries the commits of several callers: what is asked of etcd, and what its answer means. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aetcd import rpc

from moorings_core.ports.store import DeleteRecord, Operation, PutRecord

from .numbers import Numbers, headed

NEVER = -1
"""A revision that no key has: what is compared with it fails, and etcd says what the key does have."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A caller's operations, all or none; expected holds the etcd revision that each key must have, None where any will do."""

    operations: Sequence[Operation]
    expected: Sequence[int | None]


Copied = Mapping[str, tuple[int, int]]
"""By key of what came from another store: (its revision there, etcd's revision)"""


def commit_of(operations: Sequence[Operation], numbers: Numbers, copied: Copied) -> Commit:
    """Return a commit with what it expects in etcd's terms."""
    return Commit(operations, [_expected(operation, numbers, copied) for operation in operations])


def _expected(operation: Operation, numbers: Numbers, copied: Copied) -> int | None:
    expect = operation.expect
    if expect is None or expect == 0:
        return expect
    revision = numbers.back(expect)
    if revision >= numbers.first:
        return revision
    known, there = copied.get(operation.key, (0, 0))
    return there if known == expect else NEVER


def request(commits: Sequence[Commit], prefix: str) -> Any:
    """Return the etcd transaction of commits; it fails as a whole when one expectation of one commit does not hold."""
    wanted = rpc.TxnRequest()
    place = 0
    for commit in commits:
        for operation, expected in zip(commit.operations, commit.expected, strict=True):
            key = (prefix + operation.key).encode()
            if expected is not None:
                compare = wanted.compare.add(key=key, target=rpc.Compare.MOD, result=rpc.Compare.EQUAL)
                compare.mod_revision = expected
                wanted.failure.add().request_range.key = key
            step = wanted.success.add()
            if isinstance(operation, PutRecord):
                step.request_put.key, step.request_put.value = key, headed(operation.value, place)
            else:
                step.request_delete_range.key = key
            place += 1
    return wanted


def revisions(commits: Sequence[Commit], answer: Any, numbers: Numbers) -> list[list[int]]:
    """Return the port's revision of every operation of a transaction that succeeded; 0 for a delete of nothing.

    A delete has the place after the operation before it, as a follower of etcd's events counts it.
    """
    results = iter(answer.responses)
    found, index, last = [], 0, -1
    for commit in commits:
        mine = []
        for operation in commit.operations:
            result = next(results)
            if isinstance(operation, DeleteRecord) and not result.response_delete_range.deleted:
                mine.append(0)
            else:
                last = index if isinstance(operation, PutRecord) else last + 1
                mine.append(numbers.of(answer.header.revision, last))
            index += 1
        found.append(mine)
    return found


def failures(commits: Sequence[Commit], answer: Any, numbers: Numbers) -> list[tuple[int, str, int] | None]:
    """Return for every commit of a transaction that failed the expectation that did not hold: (index, key, what it has)."""
    results = iter(answer.responses)
    found: list[tuple[int, str, int] | None] = []
    for commit in commits:
        lost = None
        for index, (operation, expected) in enumerate(zip(commit.operations, commit.expected, strict=True)):
            if expected is None:
                continue
            kvs = next(results).response_range.kvs
            have = kvs[0].mod_revision if kvs else 0
            if have != expected and lost is None:
                lost = index, operation.key, numbers.stored(kvs[0].value, have)[1] if kvs else 0
        found.append(lost)
    return found
