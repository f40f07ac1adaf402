"""How benchmarks say their figures: one aligned line each, and one JSON line each in the file that MOORINGS_BENCH_JSON names."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Sequence
from pathlib import Path

FILE = "MOORINGS_BENCH_JSON"
PEERS = "MOORINGS_BENCH_PEERS"
"""Set: upstream's programs are measured in the same run"""
PEER = "MOORINGS_BENCH_PEER"
"""Set to its name while upstream is measured: its figures have the names of ours"""


def figure(name: str, value: float, unit: str, budget: str = "") -> None:
    """Print a figure and collect it. budget: what it is held against, as the design words it ("<= 20", "" for none)."""
    peer = os.environ.get(PEER, "")
    print(f"{name:64} {value:12.3f}  {unit:8} {peer or budget}", flush=True)
    if file := os.environ.get(FILE):
        with Path(file).open("a") as out:
            out.write(json.dumps({"name": name, "value": value, "unit": unit, "budget": "" if peer else budget, "peer": peer}) + "\n")


def spread(name: str, values: Sequence[float], unit: str, budget: str = "") -> None:
    """Print the median, which the budget is about, and the ninth decile of at least two values."""
    figure(f"{name}, p50", statistics.median(values), unit, budget)
    figure(f"{name}, p90", statistics.quantiles(values, n=10)[8], unit)
