"""Bytes as users write them."""

from __future__ import annotations

from moorings_core.registry.quantity import canonical


def quantity(size: int) -> str:
    """Return bytes as a quantity, in KiB and more where they are even."""
    return canonical(f"{size // 1024}Ki") if size % 1024 == 0 else str(size)
