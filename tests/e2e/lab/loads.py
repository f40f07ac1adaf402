"""Runs `load.py` inside a place while a test does something to the cluster."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moorings_core.kernel.bpf import cgroups
from moorings_labs.cgroups import SYSTEM

from .places import Place

SCRIPT = Path(__file__).with_name("load.py")
READY_SECONDS, REPORT_SECONDS = 20.0, 30.0


@contextmanager
def load(place: Place, rate: float, *urls: str) -> Iterator[dict[str, Any]]:
    """Send requests while the block runs; the yielded mapping has the report afterwards."""
    command = [*_inside(place), "nsenter", f"--net={place.netns}", sys.executable, str(SCRIPT), str(rate), *urls]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], READY_SECONDS)
            assert ready, f"nothing answers at {urls}"
            assert process.stdout.readline() == "ready\n"
            report: dict[str, Any] = {}
            yield report
            text, _ = process.communicate(timeout=REPORT_SECONDS)
            report.update(json.loads(text))
        finally:
            process.kill()


def _inside(place: Place) -> list[str]:
    """Return what starts a command among the node's own processes, for a pod's place: some proxies know their clients by the cgroup."""
    root, process = cgroups(), Path(place.netns).parents[1]
    if root is None or not (process / "cgroup").exists():
        return []
    lines = (process / "cgroup").read_text().splitlines()
    names = next(line for line in lines if line.startswith("0:")).split(":", 2)[2].split("/")
    group = root.joinpath(*names[1:3], SYSTEM)
    return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs")] if group.is_dir() else []
