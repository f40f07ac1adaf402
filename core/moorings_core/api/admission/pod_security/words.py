"""How answers count and quote."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def quoted(items: Iterable[str]) -> str:
    """Return the items in quotes, with commas."""
    return ", ".join(f'"{item}"' for item in items)


def counted(word: str, items: Sequence[object] | set[str] | list[str]) -> str:
    """Return a word in the number of the items."""
    return word if len(items) == 1 else f"{word}s"


def containers(names: Sequence[str]) -> str:
    """Return `container "a"` or `containers "a", "b"`."""
    return f"{counted('container', names)} {quoted(names)}"


def setters(pod: bool, names: Sequence[str]) -> str:
    """Return who has set something: the pod, containers, or both."""
    return " and ".join([*(["pod"] if pod else []), *([containers(names)] if names else [])])
