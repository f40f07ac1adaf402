"""Rules of PriorityLevelConfigurations. Source: upstream's pkg/apis/flowcontrol/validation, and what it declares on the types."""

from __future__ import annotations

import math

from moorings_core.ports.objects import Object

from .declared import late
from .errors import FieldError, Path, forbidden, invalid, not_supported, required

SPEC = Path("spec")
TYPES, RESPONSES = ("Exempt", "Limited"), ("Queue", "Reject")
MOST_QUEUES, HASH_BITS = 10_000_000, 60
EXEMPT = "exempt"
COUNT, PERCENT = "must be a non-negative integer", "must be between 0 and 100, inclusive"


def _level(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    kind, exempt, limited = spec.get("type", ""), spec.get("exempt"), spec.get("limited")
    found: list[FieldError] = []
    if (obj["metadata"].get("name") == EXEMPT) != (kind == "Exempt"):
        found.append(invalid(SPEC / "type", kind, "must be 'Exempt' if and only if `name` is 'exempt'"))
    if kind == "Exempt" and exempt is not None:
        found += _exempt(exempt, SPEC / "exempt")
    if kind == "Limited" and limited is not None:
        found += _limited(limited, SPEC / "limited")
    if kind and kind not in TYPES:
        found.append(not_supported(SPEC / "type", kind, TYPES))
    return found + late(_declared(spec))


def _declared(spec: Object) -> list[FieldError]:
    """Return what upstream finds by what it declares: after everything else, and without a reason."""
    kind, limited, found = spec.get("type", ""), spec.get("limited"), []
    for field, of in (("exempt", "Exempt"), ("limited", "Limited")):
        if spec.get(field) is not None and kind != of:
            found.append(forbidden(SPEC / field))
    if kind == "Limited" and limited is None:
        found.append(required(SPEC / "limited"))
    if not kind:
        found.append(required(SPEC / "type"))
    if limited is None:
        return found
    response, path = limited.get("limitResponse") or {}, SPEC / "limited" / "limitResponse"
    if (response.get("queuing") is not None) != (response.get("type") == "Queue"):
        where = path / "queuing"
        found.append(required(where) if response.get("type") == "Queue" else forbidden(where))
    return found if response.get("type") else [*found, required(path / "type")]


def _exempt(given: Object, path: Path) -> list[FieldError]:
    return _shares(given, path) + _lendable(given, path)


def _limited(given: Object, path: Path) -> list[FieldError]:
    found, response, where = _shares(given, path), given.get("limitResponse") or {}, path / "limitResponse"
    kind = response.get("type", "")
    if kind == "Queue" and response.get("queuing") is not None:
        found += _queuing(response["queuing"], where / "queuing")
    elif kind and kind not in RESPONSES:
        found.append(not_supported(where / "type", kind, RESPONSES))
    found += _lendable(given, path)
    borrowed = given.get("borrowingLimitPercent")
    if borrowed is not None and borrowed < 0:
        found.append(invalid(path / "borrowingLimitPercent", borrowed, f"if specified, {COUNT}"))
    return found


def _shares(given: Object, path: Path) -> list[FieldError]:
    shares = given.get("nominalConcurrencyShares") or 0
    return [] if shares >= 0 else [invalid(path / "nominalConcurrencyShares", shares, COUNT)]


def _lendable(given: Object, path: Path) -> list[FieldError]:
    percent = given.get("lendablePercent") or 0
    return [] if 0 <= percent <= 100 else [invalid(path / "lendablePercent", percent, PERCENT)]


def _queuing(given: Object, path: Path) -> list[FieldError]:
    length, queues, hand = (given.get(name) or 0 for name in ("queueLengthLimit", "queues", "handSize"))
    found = [] if length > 0 else [invalid(path / "queueLengthLimit", length, "must be positive")]
    if queues <= 0:
        found.append(invalid(path / "queues", queues, "must be positive"))
    elif queues > MOST_QUEUES:
        found.append(invalid(path / "queues", queues, f"must not be greater than {MOST_QUEUES}"))
    if hand <= 0:
        found.append(invalid(path / "handSize", hand, "must be positive"))
    elif hand > queues:
        found.append(invalid(path / "handSize", hand, f"should not be greater than queues ({queues})"))
    elif _bits(queues, hand) > HASH_BITS:
        text = f"required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS}"
        found.append(invalid(path / "handSize", hand, text))
    return found


def _bits(queues: int, hand: int) -> int:
    """Return how many bits of a flow's hash a hand of queues is dealt by."""
    return math.ceil(math.log2(queues) * hand)


CREATE = {("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"): _level}
