"""What calls cost, by the sizes of what they are given: Kubernetes' functions and the language's extensions.

Source: apiserver pkg/cel/library/cost.go; cel-go ext/lists.go, ext/sets.go. Both are part of the API: they decide which rules a
definition may have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .library.declare import AUTHORIZER, CIDR, DECISION, GROUP_CHECK, IP, PATH_CHECK, QUANTITY, RESOURCE_CHECK, SEMVER, URL
from .ranges import ENDLESS, LIST, MESSAGE, PATTERN, TRAVERSAL, UNKNOWN, Range, fixed
from .tree import Constant, Node, Type

CHECK = 350_000
"""Of one question to the authorizer: an expression has two"""
_PREFIX = Range(4, 16)
"""Bytes of an address"""
_NAME_PATTERN = 128
_ONE = fixed(1)


@dataclass(frozen=True, slots=True)
class Given:
    """One argument: its type and size; path leads to what a schema says of it; elements is the size of what a list holds."""

    node: Node
    type: Type
    size: Range
    elements: Range


class Cost(NamedTuple):
    """What a call costs without its arguments, and how large its result is, where that is known."""

    cost: Range
    size: Range | None = None


Estimate = Callable[[str, Given | None, Sequence[Given]], Cost | None]
"""Takes the overload, what stands before the dot and the arguments; None: this one is not told here"""


def of(function: str, overload: str, target: Given | None, args: Sequence[Given]) -> Cost | None:
    """Return what a call costs, or None of what the language itself tells."""
    own = _OVERLOADS.get(overload) or (_sort if "_sort" in overload else None)
    if own is not None and (found := own(overload, target, args)) is not None:
        return found
    estimate = _FUNCTIONS.get(function)
    return estimate(overload, target, args) if estimate is not None else None


def matching(text: Range, pattern: Range) -> Range:
    """Return what it costs to hold a text against a regular expression; the empty text costs as one of a character does."""
    return text.plus(_ONE).by(TRAVERSAL).times(pattern.by(PATTERN))


def _nominal(overload: str, target: Given | None, args: Sequence[Given]) -> Cost:
    return Cost(_ONE)


def _check(overload: str, target: Given | None, args: Sequence[Given]) -> Cost:
    return Cost(fixed(CHECK))


def _selector(overload: str, target: Given | None, args: Sequence[Given]) -> Cost | None:
    if len(args) != 1:
        return None
    length = args[0].size
    requirements = length.by(0.5).by(LIST + MESSAGE)
    return Cost(fixed(LIST).plus(length.by(TRAVERSAL)).plus(requirements))


def _walk(includes: bool) -> Estimate:
    def estimate(overload: str, target: Given | None, args: Sequence[Given]) -> Cost | None:
        if target is None:
            return None
        if target.type.parameters:
            is_text = target.type.parameters[0].kind in ("string", "bytes")
            each = _ONE.plus(target.elements.by(TRAVERSAL)) if is_text else _ONE
            return Cost(target.size.times(each))
        return Cost(target.size.times(_ONE) if includes else target.size.by(TRAVERSAL))

    return estimate


def _scan(factor: float, *, keeps: bool) -> Estimate:
    """Return the estimate of what walks over its argument; keeps: the result is as long."""

    def estimate(overload: str, target: Given | None, args: Sequence[Given]) -> Cost | None:
        return Cost(args[0].size.by(factor), args[0].size if keeps else None) if args else None

    return estimate


def _transform(overload: str, target: Given | None, args: Sequence[Given]) -> Cost | None:
    return None if target is None else Cost(target.size.by(TRAVERSAL), target.size)


def _replace(overload: str, target: Given | None, args: Sequence[Given]) -> Cost | None:
    if target is None or len(args) < 2:
        return None
    text, old, new = target.size, args[0].size, args[1].size
    longest = _replaced(text.most, old.least, grows=new.most > old.least)
    shortest = _replaced(text.least, old.most, grows=old.most > new.least)
    count, kept = (Range(*pair) for pair in zip(shortest, longest, strict=True))
    return Cost(text.by(2 * TRAVERSAL), count.times(new).plus(kept))


def _replaced(length: int, old: int, *, grows: bool) -> tuple[int, int]:
    """Return how often something is replaced and how much of the text stays."""
    if old == 0:  # it is found around every character
        return min(length + 1, ENDLESS), length
    if not grows:
        return 0, length
    return min(math.ceil(length / old), ENDLESS), 0


def _split(overload: str, target: Given | None, args: Sequence[Given]) -> Cost | None:
    if target is None:
        return None
    most = target.size.most
    if len(args) > 1 and isinstance(args[1].node, Constant) and isinstance(args[1].node.value, int):
        most = args[1].node.value % (ENDLESS + 1)
    return Cost(target.size.by(2 * TRAVERSAL), Range(0, most))


def _join(overload: str, target: Given | None, args: Sequence[Given]) -> Cost | None:
    if target is None:
        return None
    size = target.size.times(target.elements) if target.type.parameters else Range()
    if args:
        between = Range(max(target.size.least - 1, 0), max(target.size.most - 1, 0))
        size = size.plus(args[0].size.times(between))
    return Cost(size.by(TRAVERSAL), size)


def _find(overload: str, target: Given | None, args: Sequence[Given]) -> Cost | None:
    return None if target is None or not args else Cost(matching(target.size, args[0].size), Range(0, target.size.most))


def _ip(overload: str, target: Given | None, args: Sequence[Given]) -> Cost | None:
    if target is not None:
        return Cost(_ONE)
    return Cost(args[0].size.by(TRAVERSAL)) if args else None


def _contains(network: bool) -> Estimate:
    def estimate(overload: str, target: Given | None, args: Sequence[Given]) -> Cost | None:
        if not args:
            return None
        cost = _PREFIX.plus(_PREFIX).by(TRAVERSAL)
        if network:
            cost = cost.plus(_PREFIX.by(TRAVERSAL)).plus(_ONE)
        return Cost(cost.plus(args[0].size.by(TRAVERSAL)) if overload.endswith("_string") else cost)

    return estimate


def _validate(overload: str, target: Given | None, args: Sequence[Given]) -> Cost | None:
    return Cost(args[0].size.by(TRAVERSAL).by(_NAME_PATTERN * PATTERN)) if args else None


def _equal(overload: str, target: Given | None, args: Sequence[Given]) -> Cost | None:
    """Values of Kubernetes' own types are equal at once; addresses of pages as long as they are."""
    if len(args) != 2 or args[0].type != args[1].type:
        return None
    if args[0].type.name in _EQUAL_AT_ONCE:
        return Cost(_ONE)
    return Cost(Range(1, args[1].size.most if args[1].size != UNKNOWN else 1).by(TRAVERSAL)) if args[0].type.name == URL else None


_EQUAL_AT_ONCE = (IP, CIDR, QUANTITY, SEMVER, AUTHORIZER, PATH_CHECK, GROUP_CHECK, RESOURCE_CHECK, DECISION)


def _made(size: Range, factor: float = 1) -> Cost:
    return Cost(size.by(factor).plus(_ONE).plus(fixed(LIST)), size)


def _whole(given: Given, otherwise: int) -> int:
    value = given.node.value if isinstance(given.node, Constant) else None
    return max(value, 0) if isinstance(value, int) and not isinstance(value, bool) else otherwise


def _slice(overload: str, target: Given | None, args: Sequence[Given]) -> Cost | None:
    if target is None or len(args) != 2:
        return None
    return _made(fixed((_whole(args[1], target.size.most) - _whole(args[0], 0)) % (ENDLESS + 1)))


def _range(overload: str, target: Given | None, args: Sequence[Given]) -> Cost | None:
    return _made(fixed(_whole(args[0], ENDLESS))) if target is None and len(args) == 1 else None


def _reverse(overload: str, target: Given | None, args: Sequence[Given]) -> Cost | None:
    return None if target is None else _made(target.size)


def _flatten(overload: str, target: Given | None, args: Sequence[Given]) -> Cost | None:
    return None if target is None else _made(target.size, float(_whole(args[0], ENDLESS)) if args else 1.0)


def _distinct(overload: str, target: Given | None, args: Sequence[Given]) -> Cost | None:
    return None if target is None else _made(target.size.times(target.size), 2)


def _sort(overload: str, target: Given | None, args: Sequence[Given]) -> Cost | None:
    if target is None:
        return None
    size = (args[0] if args else target).size
    is_text = overload.removeprefix("list_").partition("_")[0] in ("string", "bytes")
    return _made(size.times(size), 2 + TRAVERSAL if is_text else 2)


def _sets(factor: float) -> Estimate:
    def estimate(overload: str, target: Given | None, args: Sequence[Given]) -> Cost | None:
        return Cost(args[0].size.times(args[1].size).by(factor).plus(_ONE)) if len(args) == 2 else None

    return estimate


_OVERLOADS: Mapping[str, Estimate] = {
    "list_slice": _slice,
    "list_range": _range,
    "list_reverse": _reverse,
    "list_flatten": _flatten,
    "list_flatten_int": _flatten,
    "list_distinct": _distinct,
    "list_sets_contains_list": _sets(1),
    "list_sets_intersects_list": _sets(1),
    "list_sets_equivalent_list": _sets(2),
}
_NOMINAL = """serviceAccount path group resource subresource namespace name allowed reason error errored masked prefixLength family
isUnspecified isLoopback isLinkLocalMulticast isLinkLocalUnicast isGlobalUnicast format.named sign asInteger isInteger
asApproximateFloat isGreaterThan isLessThan compareTo add sub major minor patch getScheme getHostname getHost getPort getEscapedPath
getQuery"""
_FUNCTIONS: Mapping[str, Estimate] = (
    dict.fromkeys(_NOMINAL.split(), _nominal)
    | dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), _walk(includes=False))
    | dict.fromkeys(("lowerAscii", "upperAscii", "substring", "trim"), _transform)
    | dict.fromkeys(("cidr", "isIP", "isCIDR", "quantity", "isQuantity", "semver", "isSemver"), _scan(TRAVERSAL, keeps=False))
    | {
        "check": _check,
        "fieldSelector": _selector,
        "labelSelector": _selector,
        "includes": _walk(includes=True),
        "url": _scan(TRAVERSAL, keeps=True),
        "jsonpatch.escapeKey": _scan(TRAVERSAL, keeps=True),
        "replace": _replace,
        "split": _split,
        "join": _join,
        "find": _find,
        "findAll": _find,
        "ip": _ip,
        "ip.isCanonical": _scan(2 * TRAVERSAL, keeps=False),
        "containsIP": _contains(network=False),
        "containsCIDR": _contains(network=True),
        "validate": _validate,
        "_==_": _equal,
    }
)
