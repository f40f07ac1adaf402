"""What can go wrong with an expression, in the words of the implementation that upstream uses where clients have come to know them."""

from __future__ import annotations

import re

_TAIL = re.compile(r" \[[A-Z_]+\]$")
_PLACE = re.compile(r"<input>:(-?\d+):(-?\d+): ")
_HEAD = re.compile(r"^[A-Z_]+: ")
NOTHING = "<input>:1:1: Syntax error: mismatched input '<EOF>'"
"""Of an expression that is empty: it ends where upstream's compiler counts no column yet"""
NO_TREE = "\nERROR: <input>:-1:-1: <<nil>> parsetree"
"""What is said beside the mistakes of an expression of which nothing could be read"""
EXCEEDED = "operation cancelled: actual cost limit exceeded"
EXHAUSTED = "validation failed due to running out of cost budget, no further validation rules will be run"
_REWORDED = (
    (re.compile(r'Key not found in map : "?(.*?)"?$'), r"no such key: \1"),
    (re.compile(r"No matching overloads found : (\S+)\(.*"), r"no such overload: \1"),
    (re.compile(r"divide by zero"), "division by zero"),
    (re.compile(r"modulus by zero"), "modulus by zero"),
    (re.compile(r"Index error: index=(-?\d+) size=\d+"), r"index out of bounds: \1"),
    (re.compile(r"Applying SELECT to non-message type"), "no such overload"),
    (re.compile(r'No value with name "(.*)" found in Activation'), r"no such attribute(s): \1"),
    (re.compile(r".*[Ii]teration budget exceeded.*"), EXCEEDED),
)


class CelError(ValueError):
    """An expression can't be used."""


class CompileError(CelError):
    """An expression breaks the grammar or mixes types; the text shows the position of each mistake."""


class EvaluationError(CelError):
    """An expression has no value for the given data."""


class OutOfBudget(EvaluationError):
    """An expression costs more than is left for those that run for one object."""


def compile_error(error: Exception) -> CompileError:
    """Return what is wrong with an expression, with the positions as the compiler names them."""
    text = _TAIL.sub("", _HEAD.sub("", str(error)))
    text = re.sub(r"undefined field '([^']*)' not found in struct '[^']*'", r"undefined field '\1'", text)
    text = _in_order(text.removesuffix(NO_TREE))
    return CompileError(text.replace("'\\u003F'", "'?'").replace(NOTHING, NOTHING.replace(":1:1:", ":1:0:")))


def _in_order(text: str) -> str:
    """Return mistakes in the order of their positions."""
    parts = re.split(r"(?:^|\n)ERROR: ", text)
    mistakes = [part for part in parts if part]
    if len(mistakes) < 2 or not all(_PLACE.match(mistake) for mistake in mistakes):
        return text
    ordered = sorted(mistakes, key=lambda mistake: [int(number) for number in _PLACE.findall(mistake)[0]])
    return "\n".join(f"ERROR: {mistake}" for mistake in ordered)


def evaluation_error(text: str) -> EvaluationError:
    """Return why an expression has no value."""
    text = _TAIL.sub("", _HEAD.sub("", text))
    for pattern, words in _REWORDED:
        if pattern.search(text):
            return EvaluationError(pattern.sub(words, text))
    return EvaluationError(text)
